"""One training step: rows in, gradient or optimiser step out, whatever the library; and what a step takes of memory.

Nothing here knows PyLate or this suite's losses: processes that have other libraries import it too.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import MethodType
from typing import Any, TypeVar

import torch
from accelerate.utils import convert_outputs_to_fp32
from torch import Tensor, nn

from colbert_zero_lib.training.memory import SavedActivations, peak_memory

from .statistics import seconds

Row = dict[str, Any]
Features = dict[str, Any]  # a column: padded ids, attention, and what else its library's encoder reads
Model = TypeVar("Model", bound=nn.Module)
TEMPERATURE = 0.2
WARMUP_ROWS = 2  # a first small step loads lazy libraries and makes the optimiser's own state


class Side:
    """A way of training: rows in, one optimiser step out.

    ``scoring`` is entered around each forward and backward pass; ``lists_at_once`` bounds the lists of a pass, whose
    gradients add up.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        collator: Callable[[list[Row]], dict[str, Any]],
        loss: nn.Module,
        lists_at_once: int | None = None,
        scoring: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.name, self.collator, self.loss = name, collator, loss
        self.model: Any = model
        self.lists_at_once, self.scoring = lists_at_once, scoring
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
        model.train()

    def collate(self, rows: Sequence[Row]) -> tuple[list[Features], Tensor | None]:
        """Padded columns on the model's device, queries first, and the teacher's scores if there are any."""
        batch = self.collator(list(rows))
        device = self.model.device
        features = []
        for name in [key.removesuffix("input_ids") for key in batch if key.endswith("_input_ids")]:
            column = {key.removeprefix(name): value for key, value in batch.items() if key.startswith(name)}
            features.append({key: _moved(value, device) for key, value in column.items()})
        return features, _moved(batch.get("label"), device)

    def backward(self, rows: Sequence[Row]) -> float:
        """Collation, forward and backward pass; gradients are left in the model."""
        return self.backward_of(*self.collate(rows))

    def backward_of(self, features: list[Features], labels: Tensor | None) -> float:
        """Forward and backward pass of a collated batch."""
        total = 0.0
        with self.scoring():
            for share, part, of_part in _parts(features, labels, self.lists_at_once):
                loss = self.loss(part, of_part) * share
                loss.backward()
                total += float(loss.detach())
        return total

    def timed(self, rows: Sequence[Row]) -> float:
        """Seconds of one whole training step."""
        return seconds(lambda: self.step(rows), self.wait)

    def wait(self) -> None:
        """Until a device that works ahead has done what it was given."""
        if self.model.device.type == "cuda":
            torch.cuda.synchronize()

    def step(self, rows: Sequence[Row]) -> float:
        """One whole training step, as the trainer does it; returns the loss."""
        return self.step_of(*self.collate(rows))

    def step_of(self, features: list[Features], labels: Tensor | None) -> float:
        """The step of a collated batch: what is left of it where workers collate ahead."""
        self.optimizer.zero_grad()
        value = self.backward_of(features, labels)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return value

    def gradient(self, rows: Sequence[Row]) -> tuple[float, Tensor]:
        """The loss and the gradient of all parameters, end to end, in double precision."""
        self.optimizer.zero_grad()
        value = self.backward(rows)
        found = [p.grad for p in self.model.parameters() if p.grad is not None]
        return value, torch.cat([gradient.detach().flatten().double() for gradient in found])


def _parts(
    features: list[Features], labels: Tensor | None, at_once: int | None
) -> Iterator[tuple[float, list[Features], Tensor | None]]:
    """A batch whole, or its lists ``at_once`` at a time: its share of the queries, its columns and labels."""
    if labels is None or at_once is None:
        yield 1.0, features, labels
        return
    queries = len(labels)
    for rows in torch.arange(queries).split(at_once):
        part = [
            {key: value.unflatten(0, (queries, -1))[rows].flatten(0, 1) for key, value in column.items()}
            for column in features
        ]
        yield len(rows) / queries, part, labels[rows]


def half_precision(model: Model) -> Model:
    """Autocast the forward pass to bfloat16 with float32 outputs: as accelerate does for every trainer."""
    inner = torch.autocast(next(model.parameters()).device.type, torch.bfloat16)(type(model).forward)
    vars(model)["forward"] = MethodType(convert_outputs_to_fp32(inner), model)
    return model


def resident() -> int:
    """Bytes of this process in memory now; the peak so far where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return peak_memory()


def peak() -> int:
    """Bytes of the largest size since `forget_peak`.

    What the system says of a whole process counts its parent's memory too, in which it began.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
    except (OSError, ValueError, StopIteration):
        return peak_memory()


def forget_peak() -> None:
    """Let the peak start from what is in memory now (Linux); elsewhere a higher peak while loading hides a step's."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def step_memory(side: Side, rows: Sequence[Row], activations: bool) -> dict[str, int]:
    """How far memory grows in a step, after a small one, and what autograd keeps if ``activations`` asks: bytes.

    The process must be a fresh one: what an earlier step left could be used again.
    """
    side.step(rows[:WARMUP_ROWS])
    gc.collect()
    forget_peak()
    before = resident()
    side.step(rows)
    grown = peak() - before
    kept = 0
    if activations:
        with SavedActivations(side.model) as saved:
            side.backward(rows)
        kept = saved.peak
    return {"step_bytes": grown, "activation_bytes": kept, "model_bytes": before}


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value
