"""Where the time of a training step goes, by the operations that torch's profiler sees in it.

The step is the one that is timed elsewhere; an operation belongs to the first part that knows it or one of its callers.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from .statistics import seconds
from .steps import Row, Side

COLLATOR, PYTHON = "collator", "Python between operations"
PRODUCTS, REST = "products of the encoder", "norms, activations, copies, casts"
# Names begin so; what is not here, nor called by one of these, is `PRODUCTS` or `REST`.
_KNOWN = {
    COLLATOR: (COLLATOR,),
    "optimizer": ("Optimizer.", "aten::_foreach_", "aten::linalg_vector_norm"),
    "attention": ("GroupedAttention", "aten::scaled_dot_product", "ScaledDotProduct"),
    "embedding": ("aten::embedding_dense_backward", "aten::embedding", "EmbeddingBackward"),
    "MaxSim and loss": (
        "_AllPairs", "aten::bmm", "BmmBackward", "aten::amax", "AmaxBackward", "aten::cross_entropy_loss",
        "aten::log_softmax", "LogSoftmaxBackward", "NllLossBackward", "aten::kl_div",
    ),
}  # fmt: skip
_PRODUCTS = ("aten::mm", "aten::addmm")
_NODE = "autograd::engine::evaluate_function: "
# Chunks are encoded again where the loss that was returned would collect its gradient.
_AGAIN = f"{_NODE}torch::autograd::AccumulateGrad"
_PASSES = ("forward", "backward", "second forward")


def _callers(event: Any) -> Iterator[str]:
    while event is not None:
        yield event.name
        event = event.cpu_parent


def part_of(names: Sequence[str]) -> str:
    """The part of an operation, from its name and those of its callers, innermost first."""
    if names[0] in ("step", _AGAIN):
        return PYTHON
    for part, known in _KNOWN.items():
        if any(name.removeprefix(_NODE).startswith(known) for name in names):
            return part
    if not names[0].startswith(_PRODUCTS):
        return REST
    node = next((name for name in names if name.startswith(_NODE)), None)
    return f"{PRODUCTS}, {_PASSES[0 if node is None else 2 if node == _AGAIN else 1]}"


def parts(side: Side, rows: Sequence[Row], dtype: torch.dtype) -> dict[str, dict[str, float]]:
    """By part: ``share`` of a step's time; of products ``rate`` and ``alone`` in operations per second.

    ``alone`` is what the same shapes reach by themselves. The profiler takes time for each operation: many small ones
    look dearer than they are.
    """
    spent: dict[str, float] = defaultdict(float)
    shapes: dict[str, Counter[tuple[int, int, int]]] = defaultdict(Counter)
    for _ in range(3):
        given: dict[str, Any] = {"activities": [ProfilerActivity.CPU], "acc_events": True}
        with profile(record_shapes=True, **given) as seen, record_function("step"):
            with record_function(COLLATOR):
                batch = side.collate(rows)
            side.step_of(*batch)
        for event in seen.events():
            names = list(_callers(event))
            if names[-1] == "step":
                part = part_of(names)
                spent[part] += event.self_cpu_time_total / 1e6
                if part.startswith(PRODUCTS):
                    left, right = [shape for shape in event.input_shapes if len(shape) == 2][-2:]
                    shapes[part][left[0], left[1], right[1]] += 1
    whole = sum(spent.values())
    result = {}
    for part, own in sorted(spent.items(), key=lambda pair: -pair[1]):
        result[part] = {"share": own / whole}
        if part in shapes:
            operations = sum(2 * math.prod(shape) * count for shape, count in shapes[part].items())
            alone = sum(_alone(shape, dtype) * count for shape, count in shapes[part].items())
            result[part] |= {"rate": operations / own, "alone": operations / alone}
    return result


def _alone(shape: tuple[int, int, int], dtype: torch.dtype) -> float:
    """Seconds of a product of ``[rows, inner]`` and ``[inner, columns]``: the best of three, after one."""
    rows, inner, columns = shape
    a, b = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
    return min([seconds(lambda: a @ b) for _ in range(4)][1:])
