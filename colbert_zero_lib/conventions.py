"""What a committed notebook looks like: its checks, and the cleaning that lets nothing churn.

Running notebooks is in ``suite``; no rule here knows any one notebook.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nbformat

from .errors import NotebookError
from .home import home, repository
from .keeping import write_whole
from .published.crosswalk import PAPER_ITEMS, TAG
from .scratch import scratch
from .stamps import address, set_address, stamp
from .suite import (
    find_notebooks,
    parameters_index,
    read_notebook,
    read_parameters,
    run_notebook,
)

MAXIMUM_BYTES = 1_000_000
MAXIMUM_CODE_LINES = 25
HEAVY_PNG = 102_400
_KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
_TAGS = ("parameters", "program", "verdict", "volatile")
_KEPT_CELL_METADATA = ("tags", "jupyter", "slideshow")
_WIDGET = "application/vnd.jupyter.widget"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PROGRESS = re.compile(r"\d+%\s*\|.*\||\b\d+(?:\.\d+)?(?:it|s)/(?:s|it)\b|^Map(?: \(num_proc.*)?:")
_ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}")
_ABSOLUTE = re.compile(r"(?<![\w.:/~*-])/(?:home|root|Users|tmp|work|opt|var|mnt|private)/\w|\b[A-Z]:\\\\?\w")


def _replacements() -> list[tuple[str, str]]:
    root = repository()
    places = [(str(home().resolve()), ".colbert_zero"), (sys.prefix, ".venv")]
    places += [(str(root), ".")] if root else []
    places += [(str(Path(tempfile.gettempdir()).resolve()), "<temporary>"), (str(Path.home()), "~")]
    return sorted((place for place in places if len(place[0]) > 1), key=lambda place: -len(place[0]))


def _clean_text(text: str) -> str:
    lines = []
    for line in _ANSI.sub("", text).split("\n"):
        shown = line.rsplit("\r", 1)[-1] if not line.endswith("\r") else line[:-1].rsplit("\r", 1)[-1]
        if not _PROGRESS.search(line):
            lines.append(shown.rstrip())
    text = _ADDRESS.sub("", "\n".join(lines))
    for place, name in _replacements():
        text = text.replace(place, name)
    return text


def _light_png(text: str) -> str:
    """A heavy picture (base64) with a palette of 256 colours, a third of its bytes; light ones stay as they are."""
    content = base64.b64decode(text)
    if len(content) <= HEAVY_PNG:
        return text
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(content))
    except (OSError, Image.DecompressionBombError) as error:
        raise NotebookError(
            f"A picture in a notebook cannot be read ({error}): run the notebook again."
        ) from None
    if picture.mode == "P":
        return text
    stream = io.BytesIO()
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii") + "\n" * text.endswith("\n")


def _clean_data(data: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for kind, value in sorted(data.items()):
        if kind.startswith(_WIDGET):
            continue
        if isinstance(value, str) and (kind.startswith("text/") or kind == "image/svg+xml"):
            value = _clean_text(value)
            value = re.sub(r"<dc:date>.*?</dc:date>", "", value, flags=re.DOTALL)
        if kind == "image/png":
            value = _light_png(value)
        kept[kind] = value
    return kept


def _clean_outputs(outputs: Sequence[Any], count: int) -> list[nbformat.NotebookNode]:
    kept: list[nbformat.NotebookNode] = []
    for output in outputs:
        node = nbformat.from_dict(dict(output))
        if node.output_type == "stream":
            if node.name != "stdout":
                continue
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += node.text
                continue
        elif node.output_type in ("display_data", "execute_result"):
            data = _clean_data(node.data)
            if len(data) < len(node.data) and set(data) <= {"text/plain"}:
                continue  # a widget without a still picture: its text/plain twin is only its repr
            node.data = nbformat.from_dict(data)
            node.metadata = nbformat.from_dict({})
            if node.output_type == "execute_result":
                node.execution_count = count
        kept.append(node)
    for node in kept:
        if node.output_type == "stream":
            node.text = _clean_text(node.text)
    return [node for node in kept if node.output_type != "stream" or node.text.strip()]


def cleaned(
    notebook: nbformat.NotebookNode, committed: nbformat.NotebookNode | None = None
) -> nbformat.NotebookNode:
    """A copy without progress bars, widgets, stderr, machine paths, memory addresses or timing metadata.

    A cell tagged ``volatile`` (it prints timings) keeps the outputs it has in ``committed`` while its source
    is the same. Cleaning what is clean changes nothing.
    """
    earlier = {c.source: c.outputs for c in (committed.cells if committed else []) if c.cell_type == "code"}
    cells, count = [], 0
    for place, cell in enumerate(notebook.cells):
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags or "papermill-error-cell-tag" in tags:
            continue
        identity = cell.get("id") or hashlib.sha1(f"{place}\n{cell.source}".encode()).hexdigest()[:8]
        metadata = {name: cell.metadata[name] for name in _KEPT_CELL_METADATA if cell.metadata.get(name)}
        node = {
            "cell_type": cell.cell_type,
            "id": identity,
            "metadata": metadata,
            "source": cell.source.rstrip(),
        }
        if cell.cell_type == "code":
            executed = cell.execution_count is not None
            count += executed
            outputs = cell.outputs
            if "volatile" in tags and earlier.get(cell.source):
                outputs = earlier[cell.source]
            node["execution_count"] = count if executed else None
            node["outputs"] = _clean_outputs(outputs, count)
        cells.append(node)
    metadata = {"kernelspec": dict(_KERNEL), "language_info": {"name": "python"}}
    return nbformat.from_dict({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def _write(path: Path, notebook: nbformat.NotebookNode) -> bool:
    text = nbformat.writes(notebook).rstrip("\n") + "\n"
    if path.read_text(encoding="utf-8") == text:
        return False
    write_whole(path, text)
    return True


def clean_file(path: Path) -> bool:
    """Clean a notebook in place without running it; True when the file changed."""
    notebook = read_notebook(path)
    return _write(path, cleaned(notebook, notebook))


def refresh(
    names: Sequence[str] = (),
    folder: Path | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> list[Path]:
    """Execute notebooks with their own parameters, put the cleaned outputs in place; the changed files.

    A notebook that fails keeps its committed outputs, and NotebookError says where it stopped.
    """
    from .kernels import forked_kernels

    changed, paths = [], find_notebooks(names, folder)
    with scratch("colbert-zero-refresh") as workplace, forked_kernels(len(paths)):
        for path in paths:
            say(f"{path.stem} ...")
            run = run_notebook(path, {}, workplace / path.name)
            differs = _write(path, cleaned(read_notebook(run.output), read_notebook(path)))
            say(f"{path.stem}: {run.seconds:.0f} s, {'changed' if differs else 'unchanged'}")
            changed += [path] if differs else []
    return changed


def stamp_all(place: str | None = None) -> list[Path]:
    """Give every notebook the set-up cell and badge of the repository's address, a new one if given; those changed."""
    if place:
        set_address(place)
    changed = []
    for path in find_notebooks():
        notebook = read_notebook(path)
        if stamp(notebook, path.stem, address()) and _write(path, notebook):
            changed.append(path)
    return changed


def check_notebook(path: Path) -> list[str]:
    """What is wrong with a committed notebook, one sentence each; an empty list when nothing is."""
    try:
        notebook = read_notebook(path)
        place = parameters_index(path, notebook)
        parameters = read_parameters(path)
    except NotebookError as error:
        return [str(error)]
    problems = []
    first = notebook.cells[0]
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        problems.append("the first cell is not a title: begin with a markdown cell `# ...`")
    if place != 1:
        problems.append(f"the parameters cell is cell {place + 1}: put it right after the title")
    for parameter in parameters.values():
        if parameter.annotation is None or not parameter.comment:
            problems.append(f"parameter {parameter.name!r} needs a type and a trailing comment")
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        problems.append("the kernelspec is not python3")
    problems += _check_cells(notebook)
    if path.stat().st_size > MAXIMUM_BYTES:
        problems.append(
            f"it weighs {path.stat().st_size / 1e6:.1f} MB: keep it under 1 MB with lighter figures"
        )
    if (
        not problems
        and nbformat.writes(cleaned(notebook, notebook)).rstrip() != path.read_text("utf-8").rstrip()
    ):
        problems.append("it is not in its clean form: run `colbert-zero notebooks --clean`")
    return problems


def _check_cells(notebook: nbformat.NotebookNode) -> list[str]:
    problems = []
    code = [
        (n, cell)
        for n, cell in enumerate(notebook.cells, 1)
        if cell.cell_type == "code" and cell.source.strip()
    ]
    if not any(cell.outputs for _, cell in code):
        problems.append("it has no outputs, so a reader on the web sees no result: run `make refresh`")
    else:
        problems += [
            f"cell {n} was never run: run `make refresh`" for n, c in code if c.execution_count is None
        ]
    for number, cell in code:
        lines = len(cell.source.splitlines())
        if lines > MAXIMUM_CODE_LINES:
            problems.append(f"cell {number} has {lines} lines of code: move the plumbing to the library")
        if any(output.output_type == "error" for output in cell.outputs):
            problems.append(f"cell {number} shows an error")
        if any("<style" in output.get("data", {}).get("text/html", "") for output in cell.outputs):
            problems.append(f"cell {number} shows a style sheet, which readers do not get: use `data_table`")
    for number, cell in enumerate(notebook.cells, 1):
        known = (*_TAGS, *(TAG + item.id for item in PAPER_ITEMS))
        problems += [
            f"cell {number} has the unknown tag {tag!r}: use one of {', '.join(known)}"
            for tag in cell.metadata.get("tags", [])
            if tag not in known
        ]
        texts = [cell.source]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            texts += [output.get("text", ""), *(v for k, v in data.items() if k.startswith("text/"))]
        found = next((found for text in texts if (found := _ABSOLUTE.search(str(text)))), None)
        if found:
            problems.append(f"cell {number} holds an absolute path ({found[0]}...)")
    return problems
