"""The paper's own sizes on a GPU: ModernBERT-base's shape, batches of 16,384, and the hours that a whole phase takes.

The same functions run on a CPU with small sizes, which is how they are tested.
"""

from __future__ import annotations

import gc
import itertools
import logging
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from colbert_zero_lib.errors import RunError
from colbert_zero_lib.recipes import TABLE1, Phase
from colbert_zero_lib.training.embedding import Features
from colbert_zero_lib.training.packing import Way, packs

from .encoders import encoder_folder
from .roofline import matmul_rate
from .sides import AUTHORS, KERNELS, OURS, Settings, Side
from .statistics import compared, ratio_of, seconds
from .texts import Passages, Row, Texts
from .training import UNITS, Case, make_side

_log = logging.getLogger(__name__)

# One epoch of each phase (paper, section 3: pairs, rows, lists).
EPOCH = {Phase.UNSUPERVISED: 238_998_494, Phase.SUPERVISED: 1_695_819, Phase.DISTILLATION: 640_000}


@dataclass(frozen=True)
class Plan:
    """A phase at a size, how each side cuts it, who takes part, and whether every document is as long as the limit.

    Peers pad every document to the limit, so that full length costs them nothing more.
    """

    case: Case
    settings: Settings
    peers: tuple[str, ...] = (AUTHORS, KERNELS)
    full: bool = False

    @property
    def name(self) -> str:
        """The case's name."""
        return f"{self.case.name}, full length" if self.full else self.case.name


def plans(device: str, encoder: str = "ModernBERT-base", shrink: int = 1) -> list[Plan]:
    """The paper's three phases; ``shrink`` divides the batch sizes, for a smaller device or a test.

    What one card cannot hold of the authors' way is cut so that it can: 256 texts are encoded and 8 queries scored at
    once, the supervised loss caches gradients, lists are taken four at a time and their gradients added. The time of
    the authors' scores grows with the square of the batch: a quarter of it shows their way in a quarter of a minute.
    """
    compiled = device.startswith("cuda")
    made = []
    largest = TABLE1[Phase.UNSUPERVISED].batch_size
    for phase, batch, documents in (
        (Phase.SUPERVISED, TABLE1[Phase.SUPERVISED].batch_size, 11),
        (Phase.DISTILLATION, TABLE1[Phase.DISTILLATION].batch_size // 2, 32),
        (Phase.UNSUPERVISED, largest // 4, 1),
        (Phase.UNSUPERVISED, largest, 1),
    ):
        queries = max(2, batch // shrink)
        length = 180 if phase is Phase.UNSUPERVISED else 512
        settings = Settings(
            mini_batch_size=min(256 if phase is Phase.UNSUPERVISED else 64, queries),
            score_mini_batch_size=min(8, queries),
            peer_caches=True,
            lists_at_once=4,
            compiled=compiled,
        )
        case = Case(phase, encoder, length, batch_size=queries, documents=documents, device=device)
        made.append(Plan(case, settings))
    return made + [
        replace(plan, peers=(), full=True) for plan in made if plan.case.batch_size != largest // 4
    ]


def needed_operations(side: Side, features: list[Features], lists: bool) -> float:
    """Floating-point operations that a step cannot do without: one forward and one backward pass over text alone.

    Products of the encoder, its attention, the projection and MaxSim; what is padded, or encoded twice to save memory,
    does not count. ``lists``: each query is scored against its own documents, not against all.
    """
    encoder: Any = side.model[0].auto_model
    weights = sum(each.weight.numel() for each in side.model.modules() if isinstance(each, nn.Linear))
    lengths = [column["attention_mask"].sum(dim=1).double().cpu() for column in features]
    tokens = torch.cat(lengths)
    seen = torch.zeros(())
    for kind in encoder.config.layer_types:
        reach = 2 * encoder.config.sliding_window + 1 if kind == "sliding_attention" else tokens.max()
        seen = seen + (tokens * tokens.clamp(max=float(reach))).sum()
    encoded = 2 * weights * tokens.sum() + 4 * encoder.config.hidden_size * seen
    queries, documents = lengths[0], torch.cat(lengths[1:])
    pairs = (
        (queries * documents.view(len(queries), -1).sum(1)).sum()
        if lists
        else queries.sum() * documents.sum()
    )
    dimension = side.model.get_sentence_embedding_dimension() or 128
    return float(3 * (encoded + 2 * dimension * pairs))


class _Bench:
    """One side on the device, what its steps took, and the most memory that one of them had."""

    def __init__(self, name: str, plan: Plan, folder: Path) -> None:
        self.side = make_side(name, plan.case, folder, plan.settings)
        self.device = plan.case.device
        self.times: list[float] = []
        self.peak: int | None = None

    def step(self, rows: list[Row], counted: bool = True) -> None:
        """A step on collated rows; collation is what workers do meanwhile."""
        cuda = self.device.startswith("cuda")
        features, labels = self.side.collate(rows)
        if cuda:
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        took = seconds(lambda: self.side.step_of(features, labels), self.side.wait)
        _log.info(
            "%s, %d rows: %.3f s%s", self.side.name, len(rows), took, "" if counted else ", not counted"
        )
        if counted:
            self.times.append(took)
            self.peak = torch.cuda.max_memory_allocated() if cuda else None


def measure(
    plan: Plan, texts: Texts, root: Path, rounds: int = 2, budget: float = 150.0
) -> list[dict[str, Any]]:
    """Rows of a phase, one a peer: time and memory by turns on the same batches, and the hours of an epoch.

    ``rounds`` are counted, fewer when ``budget`` seconds are over: but one in any case. A peer whose batch does not fit
    has no row. Hours are of this device alone; the paper's are GH200 hours.
    """
    case = plan.case
    texts = Passages(texts, plan.full)
    folder = encoder_folder(case.encoder, texts.vocabulary(), root)
    kernel = case.device.startswith("cuda") and find_spec("late_interaction_kernels") is not None
    names = [OURS, *(name for name in plan.peers if kernel or name != KERNELS)]
    batches = [texts.batch(case.phase, *case.size, number) for number in range(rounds + 1)]
    sides: dict[str, _Bench] = {}
    for name in names:
        bench = _Bench(name, plan, folder)
        try:
            # A peer is warm after a part of a batch; what ours compiles and tunes depends on the size.
            few = max(2, case.size[0] // 32) if case.phase is Phase.UNSUPERVISED and name != OURS else None
            bench.step(batches[0][:few], counted=False)
        except torch.cuda.OutOfMemoryError as error:
            if name == OURS:
                raise RunError(f"{plan.name} does not fit on {case.device}: raise --shrink.") from error
            continue
        sides[name] = bench
    spent = 0.0
    for rows in batches[1:]:
        for name, bench in list(sides.items()):
            try:
                bench.step(rows)
                spent += bench.times[-1]
            except torch.cuda.OutOfMemoryError:
                if name == OURS:
                    raise
                del sides[name]
        if spent > budget:
            break
    features, _ = sides[OURS].side.collate(batches[1])
    alike = against_the_cpu(plan, texts, folder)
    return [row | alike for row in _rows(plan, sides, features)]


def against_the_cpu(plan: Plan, texts: Texts, folder: Path) -> dict[str, Any]:
    """Ours on the device, rows packed, against a CPU, rows padded: loss and gradient in float32 of four rows."""
    queries, documents = plan.case.size
    rows = texts.batch(plan.case.phase, min(4, queries), documents, 0)
    found = []
    for device, packed in (("cpu", False), (plan.case.device, True)):
        side = make_side(OURS, replace(plan.case, device=device), folder, plan.settings, "float32")
        if packed:
            cast(Any, side.model).way = Way(torch.float32, packed=True)
        loss, gradient = side.gradient(rows)
        found.append((loss, gradient.double().cpu()))
    (loss, gradient), (own, ours) = found
    return {
        "cpu_loss_difference": abs(own - loss) / abs(loss),
        "cpu_gradient_cosine": float(F.cosine_similarity(ours, gradient, dim=0)),
    }


def _rows(plan: Plan, sides: dict[str, _Bench], features: list[Features]) -> list[dict[str, Any]]:
    case, queries = plan.case, plan.case.size[0]
    rate = matmul_rate(torch.bfloat16, case.device, None if case.device != "cpu" else 512)
    needed = needed_operations(sides[OURS].side, features, case.phase is Phase.DISTILLATION)
    tokens = sum(int(column["attention_mask"].sum()) for column in features)
    paper = TABLE1[case.phase].gpu_hours
    took = {name: float(np.median(bench.times)) for name, bench in sides.items()}
    hours = {name: EPOCH[case.phase] / queries * each / 3600 for name, each in took.items()}
    loss: Any = sides[OURS].side.loss
    common: dict[str, Any] = {
        "case": plan.name,
        "quantity": "time of a training step",
        **case.fields(),
        "mini_batch_tokens": loss.activations.tokens_at_once(sides[OURS].side.model, case.mini_batch_tokens),
        "activations_kept": False,
        "packed": packs(sides[OURS].side.model, is_query=False),
        "text_tokens": tokens,
        "needed_operations": needed,
        "machine_operations_per_second": rate,
        "ours_share_of_rate": needed / took[OURS] / rate,
        "ours_tokens_per_second": tokens / took[OURS],
        "ours_peak_bytes": sides[OURS].peak,
        "ours_epoch_hours": hours[OURS],
        "paper_gpu_hours": paper,
    }
    rows = []
    for name in itertools.islice(sides, 1, None):
        theirs = sides[name].times
        rows.append(
            common
            | {
                "peer": name,
                **compared(sides[OURS].times[: len(theirs)], theirs, queries, UNITS[case.phase]),
                "peer_share_of_rate": needed / took[name] / rate,
                "peer_peak_bytes": sides[name].peak,
                "peer_epoch_hours": hours[name],
                "peer_mini_batch_size": plan.settings.mini_batch_size,
                "peer_score_mini_batch_size": plan.settings.score_mini_batch_size,
                "peer_lists_at_once": plan.settings.lists_at_once,
            }
        )
    if rows:
        return rows
    # The only other peer is the paper: GPU hours of an epoch, on its GH200.
    return [
        common
        | {
            "peer": "the paper's GH200 hours",
            **ratio_of([hours[OURS]], [paper]),
            "ours_seconds": took[OURS],
            "ours_rate": queries / took[OURS],
            "rate_unit": UNITS[case.phase],
            "rounds": len(sides[OURS].times),
        }
    ]
