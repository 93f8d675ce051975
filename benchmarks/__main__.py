"""`python -m benchmarks`: measure, print tables of ratios, write results and draw their figures.

Which benchmarks there are is in ``cases``.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from colbert_zero_lib.errors import ColbertZeroError, ParameterError, RunError

from .cases import BENCHMARKS, SEPARATE, Run


def measure(
    names: list[str], run: Run, output: Path, fresh: bool = False, say: Callable[[str], object] = print
) -> dict[str, Any]:
    """Measure the cases of ``names`` that ``output`` does not hold yet; the results files' contents by name."""
    from colbert_zero_lib.training.devices import release_freed_memory

    from .records import Record

    contents = {}
    for name in names:
        settings = {
            "mode": "quick" if run.quick else "measured",
            "seconds": run.seconds,
            "shrink": run.shrink,
        }
        record = Record(output / f"{name}.json", settings, run.device, fresh, say)
        began = time.perf_counter()
        for case, work in BENCHMARKS[name](run):
            if record.has(case):
                say(f"{name}: {case}: kept")
                continue
            started = time.perf_counter()
            try:
                rows = work()
            except ColbertZeroError as error:
                say(f"{name}: {case}: {error}")
                continue
            record.add(*rows)
            gc.collect()
            release_freed_memory()  # for the peer's process
            ratios = ", ".join(f"{row['ratio']:.2f}" for row in rows)
            say(f"{name}: {case}: {ratios} ({time.perf_counter() - started:.0f} s)")
        say(f"{name}: {(time.perf_counter() - began) / 60:.1f} minutes")
        contents[name] = record.content()
    return contents


def main(
    only: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(BENCHMARKS)}; may be given again.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Tiny sizes: does everything run?")] = False,
    full: Annotated[bool, typer.Option(help="Every size, not only the ones promised.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the results; data/benchmarks unless --quick.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, or cuda for the benchmark of that name.")] = "cpu",
    shrink: Annotated[int, typer.Option(min=1, help="Divide the GPU's batch sizes by this.")] = 1,
    fresh: Annotated[bool, typer.Option(help="Measure again what is there already.")] = False,
    draw: Annotated[bool, typer.Option(help="Only print and draw what is recorded.")] = False,
) -> None:
    """Measure speed and memory as ratios against PyLate, as the paper's authors use it, and sentence-transformers 6."""
    import torch
    from rich.console import Console

    from colbert_zero_lib.corpora import load_offline
    from colbert_zero_lib.figures import benchmarks as figures
    from colbert_zero_lib.figures import save
    from colbert_zero_lib.home import data_folder, home

    from .apart import Apart, packages
    from .records import read
    from .tables import tables
    from .texts import OfflineTexts

    gpu = device.startswith("cuda")
    names = only or (["cuda"] if gpu else [name for name in BENCHMARKS if name not in SEPARATE or draw])
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise ParameterError(f"No benchmark is called {unknown[0]!r}: choose one of {', '.join(BENCHMARKS)}.")
    if quick and full:
        raise ParameterError("--quick and --full ask for opposite things: choose one of them.")
    if gpu and not torch.cuda.is_available():
        raise ParameterError("--device cuda needs a GPU that torch can see: leave it out to measure the CPU.")
    if "curves" in names and quick:
        raise ParameterError("The benchmark 'curves' trains in full: leave --quick out.")
    if "cuda" in names and not gpu and not quick and not draw:
        raise ParameterError("The benchmark 'cuda' needs --device cuda; on a CPU only --quick tries it.")
    folder = output or (home() / "cache" / "benchmarks-quick" if quick else data_folder() / "benchmarks")
    mode = "quick" if quick else "full" if full else "default"
    console = Console()
    if draw:
        names = [name for name in names if only or (folder / f"{name}.json").is_file()]
        contents = {name: read(folder / f"{name}.json") for name in names}
    else:
        say = partial(console.print, highlight=False)
        with ExitStack() as stack:
            apart = None
            if not gpu:
                try:
                    apart = stack.enter_context(Apart(packages(home() / "peers")))
                except RunError as error:
                    say(f"{error} Its rows are left out.")
            run = Run(
                OfflineTexts(load_offline()), home() / "cache" / "benchmarks", mode, device, shrink, apart
            )
            contents = measure(names, run, folder, fresh, say)
    for name, content in contents.items():
        for made in tables(name, content):
            console.print("", made)
    console.print("\nA ratio above 1 means that ours is faster or smaller.")
    drawn = None if folder == data_folder() / "benchmarks" else folder
    for name, figure in figures.draw(contents).items():
        save(figure, name, drawn)


def run_command() -> None:
    """The command; an error of the library is one sentence, a keyboard interrupt another."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app(prog_name="python -m benchmarks", standalone_mode=True)
    except ColbertZeroError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.secho("interrupted: the same command goes on where this one stopped", err=True)
        sys.exit(130)


if __name__ == "__main__":
    run_command()
