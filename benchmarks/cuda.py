"""The paper's own sizes on a GPU: ModernBERT-base's shape, batches of 16,384, and the hours that a whole phase takes.

The same functions run on a CPU with small sizes, which is how they are tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from colbert_zero_lib.errors import RunError
from colbert_zero_lib.recipes import TABLE1, Phase

from .encoders import encoder_folder
from .roofline import matmul_rate, step_operations
from .sides import AUTHORS, OURS, Settings
from .statistics import Rounds, ratio_of, seconds
from .texts import Texts
from .training import UNITS, Case, make_side

# One epoch of each phase (paper, section 3: pairs, rows, lists).
EPOCH = {Phase.UNSUPERVISED: 238_998_494, Phase.SUPERVISED: 1_695_819, Phase.DISTILLATION: 640_000}


@dataclass(frozen=True)
class Plan:
    """A phase at a size: the case, how each side cuts it, and the queries whose operations are counted."""

    case: Case
    settings: Settings
    counted: int


def plans(device: str, encoder: str = "ModernBERT-base", shrink: int = 1) -> list[Plan]:
    """The paper's three phases; ``shrink`` divides the batch sizes, for a smaller device or a test.

    The authors' scripts encode 512 texts at once and score as many queries. Scores of 512 queries against 16,384
    documents in one piece are more than any single device holds, so fewer are scored at once here; the supervised
    batch and the lists are the share of one of the authors' four devices.
    """
    made = []
    for phase, batch, documents in (
        (Phase.UNSUPERVISED, TABLE1[Phase.UNSUPERVISED].batch_size, 1),
        (Phase.SUPERVISED, TABLE1[Phase.SUPERVISED].batch_size // 4, 8),
        (Phase.DISTILLATION, TABLE1[Phase.DISTILLATION].batch_size // 8, 16),
    ):
        queries = max(2, batch // shrink)
        length = 180 if phase is Phase.UNSUPERVISED else 512
        settings = Settings(
            mini_batch_size=min(512, queries),
            score_mini_batch_size=min(16, queries),
        )
        case = Case(
            phase,
            encoder,
            length,
            batch_size=queries,
            documents=documents,
            device=device,
            mini_batch_tokens=max(1024, 131_072 // shrink),
        )
        made.append(Plan(case, settings, min(queries, 32)))
    return made


def _batches(texts: Texts, case: Case) -> Iterator[list[dict[str, Any]]]:
    number = 0
    while True:
        yield texts.batch(case.phase, *case.size, number)
        number += 1


def _peak(device: str) -> int | None:
    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else None


def measure(plan: Plan, texts: Texts, root: Path, rounds: int = 2, peer: bool = True) -> dict[str, Any]:
    """One row: both sides' time and memory, share of the device's rate, and hours of an epoch beside the paper's.

    Hours are those of this device alone, in GPU hours of the whole epoch; the paper's are GH200 hours. Operations are
    counted on a small batch and scaled by the batch's tokens, without MaxSim, which is less than 1% of the encoder's
    work only while batches are small: the share is a lower bound.
    """
    case, device = plan.case, plan.case.device
    folder = encoder_folder(case.encoder, texts.vocabulary(), root)
    synchronize = torch.cuda.synchronize if device.startswith("cuda") else _nothing
    names = [OURS, AUTHORS] if peer else [OURS]
    times: dict[str, list[float]] = {}
    peaks: dict[str, int | None] = {}
    operations: dict[str, float] = {}
    for name in names:
        # One after the other: two optimisers and two caches would share the device's memory and its peak.
        side = make_side(name, case, folder, plan.settings)
        small = texts.batch(case.phase, plan.counted, case.size[1], 0)
        operations[name] = step_operations(side, small) * case.size[0] / plan.counted
        batches = _batches(texts, case)
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
        try:
            side.step(next(batches))
            times[name] = [
                seconds(lambda side=side, rows=rows: side.step(rows), synchronize)  # type: ignore[misc]
                for rows, _ in zip(batches, range(rounds), strict=False)
            ]
        except torch.cuda.OutOfMemoryError as error:
            if name == OURS:
                raise RunError(f"{case.name} does not fit on {device}: raise --shrink.") from error
            continue
        peaks[name] = _peak(device)
        del side
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
    return _row(plan, times, peaks, operations, rounds)


def _row(
    plan: Plan,
    times: dict[str, list[float]],
    peaks: dict[str, int | None],
    operations: dict[str, float],
    rounds: int,
) -> dict[str, Any]:
    case = plan.case
    queries = case.size[0]
    rate = matmul_rate(torch.bfloat16, case.device, None if case.device != "cpu" else 512)
    ours = float(np.median(times[OURS]))
    paper = TABLE1[case.phase].gpu_hours
    row: dict[str, Any] = {
        "case": case.name,
        "quantity": "time of a training step",
        **case.fields(),
        "ours_share_of_rate": operations[OURS] / ours / rate,
        "machine_operations_per_second": rate,
        "ours_peak_bytes": peaks[OURS],
        "ours_epoch_hours": EPOCH[case.phase] / queries * ours / 3600,
        "paper_gpu_hours": paper,
    }
    if AUTHORS not in times:
        # The only other peer is the paper: GPU hours of an epoch, on its GH200.
        return row | {
            "peer": "the paper's GH200 hours",
            **ratio_of([row["ours_epoch_hours"]], [paper]).fields(),
            "ours_seconds": ours,
            "ours_rate": queries / ours,
            "rate_unit": UNITS[case.phase],
            "rounds": rounds,
        }
    counted = Rounds(tuple(times[OURS]), tuple(times[AUTHORS]))
    theirs = float(np.median(times[AUTHORS]))
    return row | {
        "peer": AUTHORS,
        **counted.fields(queries, UNITS[case.phase]),
        "peer_share_of_rate": operations[AUTHORS] / theirs / rate,
        "peer_peak_bytes": peaks[AUTHORS],
        "peer_epoch_hours": EPOCH[case.phase] / queries * theirs / 3600,
        "peer_mini_batch_size": plan.settings.mini_batch_size,
        "peer_score_mini_batch_size": plan.settings.score_mini_batch_size,
    }


def _nothing() -> None:
    return None


def smaller(plan: Plan, **changes: Any) -> Plan:
    """The same plan with other fields of its case: for a test."""
    return replace(plan, case=replace(plan.case, **changes))
