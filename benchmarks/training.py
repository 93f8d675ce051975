"""Training speed of every phase against its peers, with the loss and gradient of all on one batch.

Memory is in `memory`, the way throughput scales in `scaling`; both use the cases of this module.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pylate.models import ColBERT

from colbert_zero_lib.profiles import PhaseBudget
from colbert_zero_lib.recipes import Phase
from colbert_zero_lib.training.packing import go_fast

from .apart import MULTIVECTOR, Apart, ApartSide, save_for_others
from .encoders import encoder_folder, open_encoder
from .sides import AUTHORS, KERNELS, OURS, SIDES, Settings, with_kernels
from .statistics import alternate, compared
from .steps import Row, Side, half_precision
from .texts import Texts, batches

UNITS = {Phase.UNSUPERVISED: "pairs/s", Phase.SUPERVISED: "queries/s", Phase.DISTILLATION: "queries/s"}
# Queries of a batch, documents of a query.
SIZES = {Phase.UNSUPERVISED: (128, 1), Phase.SUPERVISED: (16, 8), Phase.DISTILLATION: (8, 16)}
# What the authors' loss may encode at once on a CPU; the fastest of them is the peer.
MINI_BATCHES = (8, 32, 128)
# The same in tokens of text, for sentence-transformers 6.
TOKEN_BUDGETS = (2048, 8192)


@dataclass(frozen=True)
class Case:
    """What is trained; lengths are in tokens, without those of the prompts."""

    phase: Phase
    encoder: str
    document_length: int
    batch_size: int = 0
    documents: int = 0
    query_length: int = 32
    expansion: bool = False
    precision: str = "bfloat16"
    threads: int = 0
    device: str = "cpu"
    keep_activations: bool = False
    mini_batch_tokens: int = PhaseBudget.mini_batch_tokens

    @property
    def size(self) -> tuple[int, int]:
        """Queries of a batch and documents of a query; those of the phase unless given."""
        queries, documents = SIZES[self.phase]
        return self.batch_size or queries, self.documents or documents

    @property
    def name(self) -> str:
        """For tables and for finding the row again."""
        queries, documents = self.size
        batch = f"{queries:,}" + (f" x {documents}" if documents > 1 else "")
        words = [self.phase.value, self.encoder, f"{self.document_length} tokens", f"batch {batch}"]
        if self.expansion:
            words.append("expanded")
        if self.keep_activations:
            words.append("activations kept")
        if self.mini_batch_tokens != PhaseBudget.mini_batch_tokens:
            words.append(f"{self.mini_batch_tokens:,} at once")
        if self.threads:
            words.append(f"{self.threads} threads" if self.threads > 1 else "1 thread")
        if self.precision != "bfloat16":
            words.append(self.precision)
        return ", ".join(words)

    def fields(self) -> dict[str, Any]:
        """The case as columns of a row."""
        queries, documents = self.size
        return {
            "phase": self.phase.value,
            "encoder": self.encoder,
            "document_length": self.document_length,
            "query_length": self.query_length,
            "batch_size": queries,
            "documents_per_query": documents,
            "query_expansion": self.expansion,
            "mini_batch_tokens": self.mini_batch_tokens,
            "activations_kept": self.keep_activations or self.phase is not Phase.UNSUPERVISED,
            "precision": self.precision,
        }


def default_cases() -> list[Case]:
    """The sizes that the suite promises something about, and one of each other kind."""
    cases = [Case(phase, "4x256", 180) for phase in Phase]
    cases += [Case(phase, "2x128", 64) for phase in Phase]
    usual = Case(Phase.UNSUPERVISED, "4x256", 180)
    cases += [replace(usual, keep_activations=True), replace(usual, expansion=True)]
    # What the profiles' recorded runs encode at once.
    cases += [replace(Case(phase, "2x128", 64), mini_batch_tokens=8192) for phase in Phase]
    cases.append(Case(Phase.SUPERVISED, "MiniLM", 180))
    return cases


def all_cases() -> list[Case]:
    """Every phase, encoder and length, after the default ones."""
    grid = [
        Case(phase, encoder, length)
        for length in (64, 180, 512)
        for encoder in ("2x128", "4x256", "MiniLM")
        for phase in Phase
    ]
    return list(dict.fromkeys([*default_cases(), *grid]))


def quick_cases() -> list[Case]:
    """One small case of each phase, to see that everything runs."""
    sizes = {Phase.UNSUPERVISED: (8, 1), Phase.SUPERVISED: (4, 3), Phase.DISTILLATION: (2, 4)}
    return [Case(phase, "nano", 48, batch_size=b, documents=d) for phase, (b, d) in sizes.items()]


def make_side(name: str, case: Case, folder: Path, settings: Settings, precision: str | None = None) -> Side:
    """A side of its own on a fresh copy of the encoder: the same weights for every call."""
    model = _opened(case, folder)
    precision = precision or case.precision
    if precision == "bfloat16":
        model = half_precision(model)
    if name == OURS:
        go_fast(model, precision, settings.compiled)
    cut = replace(settings, mini_batch_tokens=case.mini_batch_tokens, keep_activations=case.keep_activations)
    return {**SIDES, KERNELS: with_kernels}[name](model, case.phase, cut)


def make_apart(
    apart: Apart, case: Case, folder: Path, settings: Settings, precision: str | None = None
) -> ApartSide:
    """What `make_side` makes, in the process of sentence-transformers 6."""
    with tempfile.TemporaryDirectory() as place:
        return ApartSide(
            apart,
            save_for_others(_opened(case, folder), Path(place)),
            phase=case.phase.value,
            cached=case.phase is Phase.UNSUPERVISED and not case.keep_activations,
            mini_batch_tokens=settings.peer_mini_batch_tokens,
            precision=precision or case.precision,
        )


def _opened(case: Case, folder: Path) -> ColBERT:
    return open_encoder(folder, case.document_length, case.query_length, case.expansion, case.device)


def all_sides(
    case: Case, folder: Path, settings: Settings, apart: Apart | None, precision: str | None = None
) -> dict[str, Side | ApartSide]:
    """Ours and its peers by name; sentence-transformers 6 where ``apart`` is its process."""
    sides: dict[str, Side | ApartSide] = {
        name: make_side(name, case, folder, settings, precision) for name in SIDES
    }
    if apart:
        sides[MULTIVECTOR] = make_apart(apart, case, folder, settings, precision)
    return sides


def best_settings(case: Case, folder: Path, texts: Texts, apart: Apart | None) -> Settings:
    """Settings with which the peers' cached steps are fastest here; one step of each choice, after one."""
    settings, (queries, documents) = Settings(), case.size
    if case.phase is not Phase.UNSUPERVISED or queries <= min(MINI_BATCHES) or case.device != "cpu":
        return settings
    rows = texts.batch(case.phase, queries, documents, 0)
    sizes = sorted({min(size, queries) for size in MINI_BATCHES})
    choices = [replace(settings, mini_batch_size=size) for size in sizes]
    settings = _fastest(choices, partial(make_side, AUTHORS, case, folder), rows)
    if apart and not case.keep_activations:
        choices = [replace(settings, peer_mini_batch_tokens=tokens) for tokens in TOKEN_BUDGETS]
        settings = _fastest(choices, partial(make_apart, apart, case, folder), rows)
    return settings


def _fastest(
    choices: list[Settings], make: Callable[[Settings], Side | ApartSide], rows: list[Row]
) -> Settings:
    times: list[float] = []
    for settings in choices:
        side = make(settings)
        if not times:
            side.timed(rows)
        times.append(side.timed(rows))
    return choices[times.index(min(times))]


def agreement(
    case: Case, folder: Path, settings: Settings, texts: Texts, apart: Apart | None = None
) -> dict[str, dict[str, Any]]:
    """By peer: relative difference of the losses, cosine and length ratio of the gradients, in float32 on one batch.

    PyLate's cached loss hands the encoder a gradient that is ``batch_size`` times too large; it is divided here.
    """
    queries, documents = case.size
    queries = min(queries, 32)
    rows = texts.batch(case.phase, queries, documents, 0)
    sides = all_sides(case, folder, settings, apart, "float32")
    loss, gradient = sides.pop(OURS).gradient(rows)
    found = {}
    for name, side in sides.items():
        peer_loss, peer_gradient = side.gradient(rows)
        divided = queries if name == AUTHORS and case.phase is Phase.UNSUPERVISED else 1
        peer_gradient = peer_gradient / divided
        found[name] = {
            "loss_difference": abs(loss - peer_loss) / abs(peer_loss),
            "gradient_cosine": float(F.cosine_similarity(gradient, peer_gradient, dim=0)),
            "gradient_length_ratio": float(gradient.norm() / peer_gradient.norm()),
            "agreement_queries": queries,
            "peer_gradient_divided_by": divided,
        }
    return found


def speed(
    case: Case,
    texts: Texts,
    root: Path,
    budget: float,
    apart: Apart | None = None,
    compare: bool = True,
) -> list[dict[str, Any]]:
    """One row a peer: collation, forward, backward and optimiser step, all sides by turns on the same batches."""
    threads = torch.get_num_threads()
    folder = encoder_folder(case.encoder, texts.vocabulary(), root)
    settings = best_settings(case, folder, texts, apart)
    queries, documents = case.size
    try:
        if case.threads:
            torch.set_num_threads(case.threads)
        timed = {name: side.timed for name, side in all_sides(case, folder, settings, apart).items()}
        spent = alternate(timed, batches(texts, case.phase, queries, documents), budget)
    finally:
        torch.set_num_threads(threads)
    alike = agreement(case, folder, settings, texts, apart) if compare else {}
    cut = {
        AUTHORS: {"peer_mini_batch_size": settings.mini_batch_size},
        MULTIVECTOR: {"peer_mini_batch_tokens": settings.peer_mini_batch_tokens},
    }
    return [
        {
            "case": case.name,
            "peer": name,
            "quantity": "time of a training step",
            **case.fields(),
            **compared(spent[OURS], spent[name], queries, UNITS[case.phase]),
            "threads": case.threads or threads,
            **(cut[name] if case.phase is Phase.UNSUPERVISED else {}),
            **alike.get(name, {}),
        }
        for name in spent
        if name != OURS
    ]
