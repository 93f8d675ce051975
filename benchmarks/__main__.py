"""`python -m benchmarks`: measure, print tables of ratios, write results and draw their figures.

Which benchmarks there are is listed here; each is measured in its own module.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colbert_zero_lib.errors import ColbertZeroError, ParameterError, RunError

if TYPE_CHECKING:
    from .apart import Apart

Rows = list[dict[str, Any]]
# A case: its name, under which it is found again, and what measures it.
Cases = Iterator[tuple[str, Callable[[], Rows]]]


@dataclass(frozen=True)
class Run:
    """How much is measured, and with what."""

    texts: Any
    root: Path
    mode: str
    device: str = "cpu"
    shrink: int = 1
    # The process of sentence-transformers 6; None leaves its rows out.
    apart: Apart | None = None

    @property
    def quick(self) -> bool:
        """Whether it is only to be seen that everything runs."""
        return self.mode == "quick"

    @property
    def full(self) -> bool:
        """Whether everything is measured."""
        return self.mode == "full"

    @property
    def packages(self) -> Path | None:
        """Where fresh processes of sentence-transformers 6 find it."""
        return self.apart.folder if self.apart else None

    @property
    def seconds(self) -> float:
        """Time for the counted rounds of one case; at least three are counted."""
        return 0.1 if self.quick else 10.0


def training(run: Run) -> Cases:
    """Speed of a training step against its peers."""
    from . import training as own

    cases = own.quick_cases() if run.quick else own.all_cases() if run.full else own.default_cases()
    for case in cases:
        yield case.name, lambda case=case: own.speed(case, run.texts, run.root, run.seconds, run.apart)  # type: ignore[misc]


def memory(run: Run) -> Cases:
    """Peak memory of a training step against its peers."""
    from . import memory as own
    from . import training as cases_of

    cases = cases_of.quick_cases()[:1] if run.quick else cases_of.default_cases()[:6]
    for case in cases_of.all_cases() if run.full else cases:

        def measure(case: cases_of.Case = case, repeats: int = 1 if run.quick else 2) -> Rows:
            return own.memory(case, run.texts, run.root, run.packages, repeats=repeats)

        yield case.name, measure


def growth(run: Run) -> Cases:
    """Peak memory of the unsupervised step against the batch size."""
    from . import memory as own

    for size in (8,) if run.quick else (256, 512, 1024, 2048, 4096, 8192, 16_384):
        encoder = "nano" if run.quick else own.GROWTH.encoder
        peers = not run.quick and size <= 1024
        measure = lambda size=size, peers=peers, encoder=encoder: own.growth(  # noqa: E731
            size, run.texts, run.root, peers, encoder, run.packages
        )
        name = own.growth_case(size).name
        yield name.replace(own.GROWTH.encoder, encoder), measure


def search(run: Run) -> Cases:
    """Encoding and exact search against its peers; PLAID by corpus size."""
    from . import search as own

    def exact(encoder: str, documents: int, queries: int, timed: int, rounds: int) -> Rows:
        return own.exact(
            encoder, run.texts, run.root, documents, queries, timed, rounds=rounds, apart=run.apart
        )

    size = (40, 6) if run.quick else (10_000, 300)
    timed, rounds = (3, 1) if run.quick else (300, 3) if run.full else (20, 2)
    for encoder in ("nano",) if run.quick else ("2x128", "4x256"):
        name = own.exact_name(encoder, *size)
        yield name, lambda encoder=encoder: exact(encoder, *size, timed, rounds)  # type: ignore[misc]
    for documents in (200,) if run.quick else (1_000, 3_000, 10_000):
        encoder = "nano" if run.quick else "2x128"
        queries = 6 if run.quick else 300
        yield (
            own.index_name(encoder, documents, queries),
            lambda documents=documents, encoder=encoder, queries=queries: [  # type: ignore[misc]
                own.index(encoder, run.texts, run.root, documents, queries)
            ],
        )


def index(run: Run) -> Cases:
    """An index of one's own through its life, beside PyLate's PLAID and BM25."""
    from . import index as own

    encoder, changes = ("nano", 2) if run.quick else ("2x128", 1000)
    for documents in (150,) if run.quick else (10_000, 100_000) if run.full else (10_000,):
        queries = 3 if run.quick else 100

        def measure(documents: int = documents, queries: int = queries) -> Rows:
            return own.life(encoder, run.texts, run.root, documents, queries, changes)

        yield own.case_name(encoder, documents), measure


def scaling(run: Run) -> Cases:
    """What a step and a search cost by size, beside a small model's prediction; throughput against the peers."""
    from dataclasses import replace

    from . import scaling as own
    from . import search
    from .training import speed

    for axis, cases in own.cases(run.full).items():
        for case in cases[:1] if run.quick else cases:
            if run.quick:
                case = replace(case, encoder="nano", batch_size=8)
            label = f"{case.name} (by {axis.replace('_', ' ')})"

            def measure(case: Any = case, axis: str = axis, label: str = label) -> Rows:
                rows = speed(case, run.texts, run.root, run.seconds, run.apart, compare=False)
                return [row | {"case": label, "axis": axis} for row in rows]

            yield label, measure
    sizes, rounds = (own.QUICK, 1) if run.quick else (own.SIZES, 3)
    yield own.step_name(*sizes[0]), lambda: own.steps(run.texts, run.root, sizes, run.quick, rounds)
    documents, indexed = (
        ((100, 200, 400), 100) if run.quick else ((1_000, 3_000, 10_000, 100_000, 1_000_000), 3_000)
    )
    yield (
        search.exact_case(documents[0]),
        lambda: search.by_documents(documents, 100_000 if run.full else indexed, rounds=rounds),
    )


def roofline(run: Run) -> Cases:
    """What the machine can do, and the share of it that a step reaches."""
    from . import roofline as own
    from . import training as cases_of

    small = {"size": 256, "mebibytes": 8} if run.quick else {}
    yield own.MACHINE, lambda: [own.machine_row(run.device, **small)]
    for case in cases_of.quick_cases()[:1] if run.quick else cases_of.default_cases()[:6]:
        yield (
            own.name_of(case),
            lambda case=case: own.roofline(case, run.texts, run.root, run.seconds),  # type: ignore[misc]
        )


def curves(run: Run) -> Cases:
    """Training curves of the authors' way beside the recorded ones."""
    from colbert_zero_lib.runs.execute import workshop

    from . import curves as own

    shop = workshop("laptop", progress=False)
    for seed in own.SEEDS:
        for prefix in own.RECIPE.stages():
            name = own.name_of(shop.profile.name, prefix.steps[-1].phase.value, seed)
            yield (
                name,
                lambda prefix=prefix, seed=seed: [own.curve(shop, prefix, seed, run.root)],  # type: ignore[misc]
            )


def cuda(run: Run) -> Cases:
    """The paper's sizes on a GPU: throughput, memory and hours of an epoch."""
    from . import cuda as own

    for plan in own.plans(run.device, "nano" if run.quick else "ModernBERT-base", run.shrink):
        if run.quick:
            plan = own.smaller(plan, batch_size=4, document_length=48)
        rounds = 1 if run.quick else 3
        yield (
            plan.name,
            lambda plan=plan, rounds=rounds: own.measure(plan, run.texts, run.root, rounds),  # type: ignore[misc]
        )


BENCHMARKS: dict[str, Callable[[Run], Cases]] = {
    "training": training,
    "memory": memory,
    "growth": growth,
    "search": search,
    "index": index,
    "scaling": scaling,
    "roofline": roofline,
    "curves": curves,
    "cuda": cuda,
}

# What is measured only when asked for: one needs a GPU, the others an hour, and one of them the recorded runs.
SEPARATE = ("cuda", "curves", "index")


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
    threads: Annotated[int, typer.Option(min=0, help="Threads of torch; 0 keeps its choice.")] = 0,
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
    if threads:
        torch.set_num_threads(threads)
    folder = output or (home() / "cache" / "benchmarks-quick" if quick else data_folder() / "benchmarks")
    mode = "quick" if quick else "full" if full else "default"
    console = Console()
    if draw:
        names = [name for name in names if only or (folder / f"{name}.json").is_file()]
        contents = {name: read(folder / f"{name}.json") for name in names}
    else:
        say = lambda text: console.print(text, highlight=False)  # noqa: E731
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
