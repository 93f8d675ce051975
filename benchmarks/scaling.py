"""How the cost of a training step moves with length, tokens at once and threads, with the batch and with processes.

Along the first three axes ours is timed beside its peers (in `training`). Steps of other batches and processes are
timed here, by turns, one thread a process, and what they take is predicted from the small ones
(`colbert_zero_lib.scaling_cost`). `python -m benchmarks.scaling <file>`, under torchrun, is one of the processes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

from colbert_zero_lib.errors import RunError
from colbert_zero_lib.models import parameters
from colbert_zero_lib.recipes import Phase
from colbert_zero_lib.scaling import StepShape, cached_memory
from colbert_zero_lib.scaling_check import in_processes
from colbert_zero_lib.scaling_cost import STEP, fitted, step_amounts
from colbert_zero_lib.training.contrastive import Contrastive
from colbert_zero_lib.training.embedding import Chunk, Encoded

from .apart import Apart
from .encoders import encoder_folder
from .memory import DIMENSION, LEAST, MEBIBYTE, PEAK
from .roofline import copy_rate, matmul_rate
from .sides import OURS, Settings
from .statistics import beside_prediction, ratio_of, seconds, spread
from .steps import TEMPERATURE, Side, forget_peak, peak, resident
from .texts import Texts
from .training import Case, make_side, speed

BASE = Case(Phase.UNSUPERVISED, "2x128", 64)
# Every query and document is exactly as long as its limit, and so short that the largest batch is stepped in half a
# minute on one core.
SHORT = Case(Phase.UNSUPERVISED, "2x128", 8, query_length=4)
EXCHANGED = 64 << 20  # bytes of the all-reduce that shows what sending alone costs
# (pairs of the batch, devices that share it, processes here). Where devices are more than processes, the step is that
# of one device: its own pairs, and the documents of all others as vectors that were gathered.
SIZES = [(size, 1, 1) for size in (128, 256, 512, 1024, 2048)]
SIZES += [(size, 2, 2) for size in (256, 512, 1024, 2048)]
SIZES += [(1024, 16, 1), (1024, 128, 1), (4096, 8, 1), (16_384, 32, 1), (65_536, 256, 1)]
QUICK = [(8, 1, 1), (16, 1, 1), (32, 1, 1), (16, 2, 2), (64, 4, 1), (2048, 64, 1)]
# Batches of up to so many pairs are fitted on; what larger ones take is predicted.
FITTED = 1024


def cases(full: bool = False) -> dict[str, list[Case]]:
    """The cases along each axis beside peers; the axis goes into the row, for the figure."""
    lengths = (64, 128, 256, 512) if full else (64, 180, 512)
    tokens_at_once = (512, 1024, 2048, 4096, 8192, 16_384) if full else (512, 2048, 8192)
    threads = sorted({1, 2, os.cpu_count() or 1} if full else {1, min(2, os.cpu_count() or 1)})
    return {
        "document_length": [replace(BASE, document_length=length) for length in lengths],
        "mini_batch_tokens": [replace(BASE, mini_batch_tokens=tokens) for tokens in tokens_at_once],
        "threads": [replace(BASE, threads=count) for count in threads],
    }


def along(
    axis: str, label: str, case: Case, texts: Texts, root: Path, budget: float, apart: Apart | None
) -> list[dict[str, Any]]:
    """Rows of a case of an axis, beside peers, under its own ``label``."""
    rows = speed(case, texts, root, budget, apart, compare=False)
    return [row | {"case": label, "axis": axis} for row in rows]


def step_name(batch: int, devices: int, processes: int) -> str:
    """The case's name."""
    who = "two processes" if processes > 1 else "one process" if devices == 1 else f"one of {devices} devices"
    return f"batch {batch:,}, {who}"


class OneOfMany(Contrastive):
    """One device's step in a larger batch: the documents of ``others`` are there as if gathered; nothing is sent."""

    others: Encoded | None = None

    def _loss(self, queries: Any, query_mask: Any, documents: Encoded, *rest: Any) -> torch.Tensor:
        if self.others:
            documents = Encoded(
                documents.vectors + self.others.vectors,
                documents.masks + self.others.masks,
                documents.parts + self.others.parts,
            )
        return super()._loss(queries, query_mask, documents, *rest)


def _others(own: int, batch: int, width: int) -> Encoded | None:
    """Unit vectors for the documents of a batch that other devices encoded."""
    if own == batch:
        return None
    vectors = F.normalize(torch.randn(batch - own, width, DIMENSION), dim=-1).requires_grad_()
    vectors.grad = torch.zeros_like(vectors)
    mask = torch.ones(vectors.shape[:2], dtype=torch.bool)
    return Encoded([vectors], [mask], [Chunk(torch.arange(own, batch), {}, is_query=False)])


def steps(
    texts: Texts,
    root: Path,
    sizes: Iterable[tuple[int, int, int]] = tuple(SIZES),
    quick: bool = False,
    rounds: int = 3,
) -> list[dict[str, Any]]:
    """Seconds and peak memory of a cached step at every size, by turns, beside what the small ones predict.

    ``sizes`` are (batch, devices, processes). Every round starts one process, then two, each of which steps once at
    every size of its own, after one step that is not counted. Collation, which workers do meanwhile, is not timed.
    """
    sizes, case = list(sizes), replace(SHORT, encoder="nano") if quick else SHORT
    folder = encoder_folder(case.encoder, texts.vocabulary(), root)
    words = " ".join(texts.vocabulary()[:2000]).split()
    found: dict[tuple[int, int, int], list[dict[str, float]]] = {size: [] for size in sizes}
    machine: dict[str, Any] = {}
    for _ in range(rounds):
        for processes in (1, 2):
            own = [size for size in sizes if size[2] == processes]
            work = {"case": asdict(case) | {"phase": case.phase.value}, "folder_of_encoder": str(folder)}
            result = in_processes(__name__, {**work, "words": words, "sizes": own}, processes, 600)
            for size, took in zip(own, result["steps"], strict=True):
                found[size].append(took)
            machine.setdefault(str(processes), []).append(result["machine"])
    rates = {name: float(np.median([each[name] for each in machine["1"]])) for name in machine["1"][0]}
    rows = []
    for size in sizes:
        rows += _rows(case, size, found[size], rates)
    sent = [each["exchange_seconds"] for each in machine["2"]]
    rows.append(
        {
            "case": f"{EXCHANGED >> 20} MiB averaged over two processes",
            "quantity": STEP,
            "axis": "exchange",
            "fitted": True,
            "amounts": {"sent": float(EXCHANGED)},
            **spread(sent, "seconds"),
        }
    )
    costs = fitted(rows, STEP)
    return [row if row["quantity"] == PEAK else beside_prediction(row, costs) for row in rows]


def _rows(
    case: Case, size: tuple[int, int, int], took: list[dict[str, float]], rates: Mapping[str, float]
) -> list[dict[str, Any]]:
    batch, devices, processes = size
    shape = StepShape(
        batch,
        **{name: int(took[0][name]) for name in ("query_length", "document_length", "weights", "products")},
        devices=devices,
        dimension=DIMENSION,
    )
    common = {
        "case": step_name(*size),
        "axis": "batch",
        **replace(case, batch_size=batch).fields(),
        "devices": devices,
        "processes": processes,
        "threads_each": 1,
        "texts": f"all of {shape.query_length} and {shape.document_length} tokens",
        "shape": asdict(shape),
    }
    amounts = step_amounts(shape, sends=processes > 1)
    peaks = [each["bytes"] for each in took]
    floor = cached_memory(shape, 0, 0)
    least = floor["own token vectors"] + floor["gathered documents"]
    return [
        common
        | {"quantity": STEP, "amounts": amounts, "fitted": batch <= FITTED, **rates}
        | spread([each["seconds"] for each in took], "seconds"),
        common
        | {"peer": LEAST, "quantity": PEAK, "peer_mebibytes": least / MEBIBYTE}
        | ratio_of(peaks, [least] * len(peaks))
        | spread([each / MEBIBYTE for each in peaks], "mebibytes"),
    ]


# -- a process ---------------------------------------------------------------------------------------------------


def _step(side: Side, features: Any) -> None:
    """A whole step; with several processes all take the mean of their gradients."""
    side.optimizer.zero_grad()
    side.backward_of(features, None)
    if dist.get_world_size() > 1:
        gradients = [each.grad for each in side.model.parameters()]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, mean in zip(gradients, flat.split([each.numel() for each in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient) / dist.get_world_size())
    torch.nn.utils.clip_grad_norm_(side.model.parameters(), 1.0)
    side.optimizer.step()


def _process(file: Path) -> None:
    work = json.loads(file.read_text(encoding="utf-8"))
    case = Case(**{**work["case"], "phase": Phase(work["case"]["phase"])})
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, processes = dist.get_rank(), dist.get_world_size()
    side = make_side(OURS, case, Path(work["folder_of_encoder"]), Settings())
    loss = side.loss = OneOfMany(side.model, TEMPERATURE, case.mini_batch_tokens, gradient_cache=True)
    linear = (each.weight.numel() for each in side.model.modules() if isinstance(each, torch.nn.Linear))
    counts = {"weights": parameters(side.model), "products": sum(linear)}

    def collated(batch: int, devices: int) -> Any:
        own = batch // devices
        words, rng = work["words"], np.random.default_rng([batch, rank])
        starts = rng.integers(0, len(words) - 20, (own, 2))
        texts = [[" ".join(words[start : start + 20]) for start in pair] for pair in starts.tolist()]
        features, _ = side.collate([dict(zip(("query", "document"), pair, strict=True)) for pair in texts])
        if not all(each["attention_mask"].all() for each in features):
            raise RunError("A text of the benchmark is shorter than its limit: draw more words for it.")
        lengths = [each["input_ids"].shape[1] for each in features]
        counts.update(query_length=lengths[0], document_length=lengths[1])
        loss.others = _others(own, batch, lengths[1]) if processes == 1 else None
        return features

    _step(side, collated(64, processes))
    forget_peak()
    before, steps = resident(), []
    for batch, devices, _ in work["sizes"]:
        features = collated(batch, devices)
        forget_peak()
        took = seconds(lambda features=features: _step(side, features), dist.barrier)  # type: ignore[misc]
        steps.append({"seconds": took, "bytes": peak() - before, **counts})
        loss.others = None
    machine: dict[str, float] = {}
    if processes > 1:
        flat = torch.ones(EXCHANGED // 4)
        dist.all_reduce(flat)
        machine["exchange_seconds"] = seconds(lambda: dist.all_reduce(flat), dist.barrier)
    else:
        for name in ("bfloat16", "float32"):
            machine[f"{name}_operations_per_second"] = matmul_rate(getattr(torch, name), size=1024)
        machine["copy_bytes_per_second"] = copy_rate()
    if rank == 0:
        result = {"steps": steps, "machine": machine}
        Path(work["folder"], "result.json").write_text(json.dumps(result), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    _process(Path(sys.argv[1]))
