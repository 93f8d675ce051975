"""Run the suite's notebooks headless, strictly: every parameter is checked before the first cell runs.

How a committed notebook is cleaned is in ``conventions``; no one notebook is known here.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import starmap
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nbformat
from traitlets.config import Config

from .errors import NotebookError, ParameterError, UnknownNameError
from .home import home, repository
from .parameters import Parameter, check_given, declared
from .reading import check_ordinary
from .scratch import scratch


@dataclass(frozen=True)
class NotebookRun:
    """A finished headless run: the notebook's name, where its output lies, and its wall seconds."""

    name: str
    output: Path
    seconds: float


def notebooks_folder() -> Path:
    """The checkout's ``notebooks`` folder; NotebookError when the library was installed without one."""
    root = repository()
    if root is None:
        raise NotebookError(
            "The notebooks are not part of an installed package: work in a git checkout instead."
        )
    return root / "notebooks"


def find_notebooks(names: Sequence[str] = (), folder: Path | None = None) -> list[Path]:
    """The numbered notebooks in reading order, or those that ``names`` mean (``03`` or a whole name)."""
    folder = folder or notebooks_folder()
    known = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not names:
        return known
    chosen: list[Path] = []
    for name in names:
        stem = name.removesuffix(".ipynb")
        found = [path for path in known if path.stem == stem or path.stem.split("_")[0] == stem]
        if len(found) != 1:
            listed = ", ".join(path.stem for path in found or known) or "none"
            kind = "Several notebooks answer" if found else "No notebook answers"
            raise UnknownNameError(f"{kind} to {name!r}: choose from {listed}.")
        chosen += found
    return [path for path in known if path in chosen]


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a version 4 notebook; NotebookError names a file that is missing or not one."""
    try:
        if path.exists():
            check_ordinary(path)
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        nbformat.validate(notebook)
        return notebook
    except FileNotFoundError:
        raise NotebookError(f"{path.name} is not in {path.parent.name}: check the name.") from None
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NotebookError(
            f"{path.name} cannot be read as a notebook ({reason}): restore it from git."
        ) from None


def parameters_index(path: Path, notebook: nbformat.NotebookNode) -> int:
    """The place of the only cell tagged ``parameters``; NotebookError when there is none or more than one."""
    tagged = [
        place
        for place, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", [])
    ]
    if len(tagged) != 1:
        raise NotebookError(
            f"{path.name} has {len(tagged)} cells tagged 'parameters' and needs exactly one: "
            "tag the cell after the title."
        )
    return tagged[0]


def read_parameters(path: Path) -> dict[str, Parameter]:
    """What the notebook's parameters cell declares, in its order, without running it."""
    notebook = read_notebook(path)
    return declared(notebook.cells[parameters_index(path, notebook)].source, path.name)


def check_parameters(path: Path, parameters: Mapping[str, Any]) -> None:
    """ParameterError for what the notebook does not declare or allow (`parameters.check_given`)."""
    check_given(parameters, read_parameters(path), f"notebook {path.name}", path.resolve().parent)


@contextlib.contextmanager
def _own_kernel() -> Iterator[Config]:
    """Make ``python3`` mean this interpreter, whatever kernels and start-up files the user's home holds.

    The kernel runs in another folder, from where a relative home would be another one: it gets an absolute path. What
    it leaves among temporary files goes when it ends, or with the next kernel where it is killed.
    """
    with scratch("colbert-zero-kernel") as folder:
        spec = Path(folder, "kernels", "python3", "kernel.json")
        spec.parent.mkdir(parents=True)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=50"]
        spec.write_text(
            json.dumps({"argv": argv, "display_name": "Python 3 (ipykernel)", "language": "python"})
        )
        paths = [str(folder), *filter(None, [os.environ.get("JUPYTER_PATH")])]
        changes = {"JUPYTER_PATH": os.pathsep.join(paths), "IPYTHONDIR": str(Path(folder, "ipython"))}
        changes |= {"COLBERT_ZERO_HOME": str(home()), "TMPDIR": str(folder)}
        changes["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # silences the debugger's note about frozen modules
        before = {name: os.environ.get(name) for name in changes}
        os.environ.update(changes)
        tempfile.tempdir = None  # to be looked up anew
        try:
            # Beside the notebook's own, so that a killed run leaves nothing in the temporary directory.
            yield Config(KernelManager={"connection_file": str(folder / "connection.json")})
        finally:
            tempfile.tempdir = None
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def run_notebook(path: Path, parameters: Mapping[str, Any], output: Path) -> NotebookRun:
    """Execute one notebook in a fresh kernel, in the notebook's own folder.

    A failing cell raises NotebookError with the notebook, the cell's number in the source notebook (from 1)
    and the exception's last line; ``output`` then holds everything up to and including that cell.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    from .kernels import manager

    check_parameters(path, parameters)
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.is_symlink():  # papermill would write to what it points to
        output.unlink()
    start = time.perf_counter()
    try:
        with _own_kernel() as config:
            papermill.execute_notebook(
                str(path.resolve()),
                str(output.resolve()),
                parameters=dict(parameters) or None,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                cwd=str(path.resolve().parent),
                config=config,
                kernel_manager_class=manager(),
            )
    except PapermillExecutionError as error:
        place = parameters_index(path, read_notebook(path))
        injected = bool(parameters) and error.cell_index > place  # papermill adds a cell after the parameters
        reason = f"{error.ename}: {error.evalue}".strip().splitlines()[-1]
        raise NotebookError(
            f"Notebook {path.name} stopped at cell {error.cell_index + 1 - injected}: {reason} "
            f"(the output up to there is in {_shown(output)})."
        ) from None
    except RuntimeError:  # a dead kernel, and one that never answered
        raise NotebookError(
            f"The kernel of notebook {path.name} died or did not answer, most often for want of memory: "
            f"choose a smaller profile (the output up to there is in {_shown(output)})."
        ) from None
    return NotebookRun(path.stem, output, time.perf_counter() - start)


def run_notebooks(
    names: Sequence[str],
    parameters: Mapping[str, Any],
    output_folder: Path,
    *,
    profile: str | None = None,
    folder: Path | None = None,
    jobs: int = 1,
    say: Callable[[str], None] = lambda sentence: None,
) -> list[NotebookRun]:
    """Run the named notebooks (all where none is), each in a fresh kernel, in reading order.

    Every notebook must know every one of ``parameters``; ``profile`` goes only to those that have a profile.
    All are checked before the first one starts. ``jobs`` run at a time, sharing the cores, first those that took
    longest the last time; one that wants a run which another is training waits for it. Raises ParameterError,
    UnknownNameError or NotebookError; none begins after one has failed.
    """
    if jobs < 1:
        raise ParameterError(f"{jobs} notebooks at a time make no progress: give --jobs 1 or more.")
    paths = find_notebooks(names, folder)
    if not paths:
        raise NotebookError(
            f"There is no notebook in {_shown(folder or notebooks_folder())}: check the checkout."
        )
    work: list[tuple[Path, dict[str, Any], Path]] = []
    for path in paths:
        given = dict(parameters)
        if profile is not None and "profile" in read_parameters(path):
            given.setdefault("profile", profile)
        check_parameters(path, given)
        work.append((path, given, output_folder / path.name))
    if jobs > 1:
        work.sort(key=lambda each: -_took(each[2]))
    from .kernels import forked_kernels

    say(f"{len(work)} notebooks" + f", {jobs} at a time" * (jobs > 1))
    done = []
    environment = _share_of_cores(jobs)
    with forked_kernels(len(work), environment):
        for run in _side_by_side(work, jobs, environment) if jobs > 1 else starmap(run_notebook, work):
            done.append(run)
            say(f"{run.name}: {run.seconds:.0f} s")
    return sorted(done, key=lambda run: run.name)


def _took(output: Path) -> float:
    """The seconds of the notebook that was executed there before; 0 where there is none."""
    with contextlib.suppress(NotebookError):
        return float(read_notebook(output).metadata.get("papermill", {}).get("duration") or 0)
    return 0.0


def _side_by_side(
    work: Sequence[tuple[Path, dict[str, Any], Path]], jobs: int, environment: Mapping[str, str]
) -> Iterator[NotebookRun]:
    """`run_notebook` in ``jobs`` processes, since a kernel's environment is its process's; runs as they end."""
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_adopt, initargs=(environment,)) as pool:
        try:
            for future in as_completed([pool.submit(run_notebook, *each) for each in work]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _adopt(environment: Mapping[str, str]) -> None:
    os.environ.update(environment)


def _share_of_cores(jobs: int) -> dict[str, str]:
    if jobs == 1 or "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))}


def _shown(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    return str(path)
