"""Which benchmarks there are, and their cases; each is measured in its own module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        yield case.name, partial(own.speed, case, run.texts, run.root, run.seconds, run.apart)


def memory(run: Run) -> Cases:
    """Peak memory of a training step against its peers."""
    from . import memory as own
    from . import training as cases_of

    cases = cases_of.quick_cases()[:1] if run.quick else cases_of.default_cases()[:6]
    repeats = 1 if run.quick else 2
    for case in cases_of.all_cases() if run.full else cases:
        yield case.name, partial(own.memory, case, run.texts, run.root, run.packages, repeats)


def growth(run: Run) -> Cases:
    """Peak memory of the unsupervised step against the batch size."""
    from . import memory as own

    encoder = "nano" if run.quick else own.GROWTH.encoder
    for size in (8,) if run.quick else (256, 512, 1024, 2048, 4096, 8192, 16_384):
        case = replace(own.GROWTH, encoder=encoder, batch_size=size)
        peers = not run.quick and size <= 1024
        yield case.name, partial(own.growth, case, run.texts, run.root, peers, run.packages)


def search(run: Run) -> Cases:
    """Encoding and exact search against its peers; PLAID by corpus size."""
    from . import plaid
    from . import search as own

    size = (40, 6) if run.quick else (10_000, 300)
    timed, rounds = (3, 1) if run.quick else (300, 3) if run.full else (20, 2)
    for encoder in ("nano",) if run.quick else ("2x128", "4x256"):
        name = own.exact_name(encoder, *size)
        yield name, partial(own.exact, encoder, run.texts, run.root, *size, timed, rounds, run.apart)
    encoder, queries = ("nano", 6) if run.quick else ("2x128", 300)
    for documents in (200,) if run.quick else (1_000, 3_000, 10_000):
        name = plaid.index_name(encoder, documents, queries)
        yield name, partial(plaid.index, encoder, run.texts, run.root, documents, queries)


def index(run: Run) -> Cases:
    """An index of one's own through its life, beside PyLate's PLAID and BM25."""
    from . import index as own

    encoder, queries, changes = ("nano", 3, 2) if run.quick else ("2x128", 100, 1000)
    for documents in (150,) if run.quick else (10_000, 100_000) if run.full else (10_000,):
        name = own.case_name(encoder, documents)
        yield name, partial(own.life, encoder, run.texts, run.root, documents, queries, changes)


def scaling(run: Run) -> Cases:
    """What a step and a search cost by size, beside a small model's prediction; throughput against the peers."""
    from . import plaid
    from . import scaling as own

    for axis, cases in own.cases(run.full).items():
        for case in cases[:1] if run.quick else cases:
            if run.quick:
                case = replace(case, encoder="nano", batch_size=8)
            label = f"{case.name} (by {axis.replace('_', ' ')})"
            yield label, partial(own.along, axis, label, case, run.texts, run.root, run.seconds, run.apart)
    sizes, rounds = (own.QUICK, 1) if run.quick else (own.SIZES, 3)
    yield own.step_name(*sizes[0]), partial(own.steps, run.texts, run.root, sizes, run.quick, rounds)
    documents, indexed = (
        ((100, 200, 400), 100) if run.quick else ((1_000, 3_000, 10_000, 100_000, 1_000_000), 3_000)
    )
    indexed = 100_000 if run.full else indexed
    yield plaid.exact_case(documents[0]), partial(plaid.by_documents, documents, indexed, rounds)


def roofline(run: Run) -> Cases:
    """What the machine can do, and the share of it that a step reaches."""
    from . import roofline as own
    from . import training as cases_of

    small = {"size": 256, "mebibytes": 8} if run.quick else {}
    yield own.MACHINE, partial(own.machine_row, run.device, **small)
    for case in cases_of.quick_cases()[:1] if run.quick else cases_of.default_cases()[:6]:
        yield own.name_of(case), partial(own.roofline, case, run.texts, run.root, run.seconds)


def curves(run: Run) -> Cases:
    """Training curves of the authors' way beside the recorded ones."""
    from colbert_zero_lib.runs.execute import workshop

    from . import curves as own

    shop = workshop("laptop", progress=False)
    for seed in own.SEEDS:
        for prefix in own.RECIPE.stages():
            name = own.name_of(shop.profile.name, prefix.steps[-1].phase.value, seed)
            yield name, partial(own.curve, shop, prefix, seed, run.root)


def cuda(run: Run) -> Cases:
    """The paper's sizes on a GPU: throughput, memory and hours of an epoch."""
    from . import cuda as own

    rounds = 1 if run.quick else 3
    for plan in own.plans(run.device, "nano" if run.quick else "ModernBERT-base", run.shrink):
        if run.quick:
            plan = replace(plan, case=replace(plan.case, batch_size=4, document_length=48))
        yield plan.name, partial(own.measure, plan, run.texts, run.root, rounds)


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
