"""What the machine can do (matrix products, copies), what a training step needs, and the share that is reached.

Rates are measured, not looked up; operations are counted by torch, attention included.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from colbert_zero_lib.recipes import Phase

from .encoders import encoder_folder
from .parts import PRODUCTS, parts
from .sides import AUTHORS, OURS, SIDES, Settings
from .statistics import alternate, ratio_of, seconds
from .steps import Side
from .texts import Texts
from .training import Case, make_side

SIZE = {"cpu": 2048, "cuda": 8192}
REPEATS = 5
MACHINE = "matrix product in bfloat16"


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def matmul_rate(dtype: torch.dtype, device: str = "cpu", size: int | None = None) -> float:
    """Floating-point operations per second of a square matrix product: the best of some."""
    size = size or SIZE[device.partition(":")[0]]
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    a @ b
    times = [seconds(lambda: a @ b, lambda: _wait(device)) for _ in range(REPEATS)]
    return 2 * size**3 / min(times)


def copy_rate(device: str = "cpu", mebibytes: int = 256) -> float:
    """Bytes per second, read and written, of a copy too large for any cache: the best of some."""
    source = torch.ones(mebibytes << 18, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    times = [seconds(lambda: target.copy_(source), lambda: _wait(device)) for _ in range(REPEATS)]
    return 2 * source.numel() * source.element_size() / min(times)


def step_operations(side: Any, rows: list[dict[str, Any]]) -> int:
    """Floating-point operations of matrix products in one step: encoder, attention, MaxSim, both directions."""
    # torch counts products; attention is taken apart into them. What is skipped by following the argmax is not work.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        side.backward(rows)
    side.optimizer.zero_grad()
    return int(counter.get_total_flops())


def least_operations(side: Any, case: Case, rows: list[dict[str, Any]]) -> int:
    """Operations that no way of encoding can leave out: products of text tokens in the fewest passes.

    Each text is encoded at its own length, attention over all of it included: once forward and, twice as much, back;
    once more forward where gradients are cached. Padding, MaxSim and all that is not a product count as time alone.
    """
    model = side.model
    config, out = model[0].auto_model.config, model[1].out_features
    width, inner = config.hidden_size, config.intermediate_size
    passes = 4 if case.phase is Phase.UNSUPERVISED and not case.keep_activations else 3
    features, _ = side.collate(rows)
    total = 0
    for place, each in enumerate(features):
        whole = place == 0 and case.expansion
        lengths = torch.full_like(each["input_ids"], 1) if whole else each["attention_mask"]
        for tokens in lengths.sum(dim=1).tolist():
            layer = 2 * tokens * width * (4 * width + 3 * inner) + 4 * tokens**2 * width
            total += config.num_hidden_layers * layer + 2 * tokens * width * out
    return passes * total


def roofline(case: Case, texts: Texts, root: Path, budget: float) -> list[dict[str, Any]]:
    """Rows of one case: work (operations of a step, both sides) and reach (share of the machine's product rate).

    The peer of the other rows is the machine's own rate at the case's precision: a ratio of 0.3 means that a step takes
    as long as `least_operations` would at 30% of it, the same for both sides. Then our step by part.
    """
    settings = Settings(mini_batch_size=8)
    folder = encoder_folder(case.encoder, texts.vocabulary(), root)
    sides = {name: make_side(name, case, folder, settings) for name in SIDES}
    rows = texts.batch(case.phase, *case.size, 1)
    operations = {name: step_operations(side, rows) for name, side in sides.items()}
    needed = least_operations(sides[OURS], case, rows)
    dtype = torch.bfloat16 if case.precision == "bfloat16" else torch.float32
    rate = matmul_rate(dtype, case.device)
    spent = alternate({name: side.timed for name, side in sides.items()}, itertools.repeat(rows), budget)
    result: list[dict[str, Any]] = [
        {
            "case": name_of(case),
            "peer": AUTHORS,
            "quantity": "operations of a training step",
            **case.fields(),
            **ratio_of([operations[OURS]], [operations[AUTHORS]]),
            "ours_operations": operations[OURS],
            "peer_operations": operations[AUTHORS],
            "rounds": 1,
        }
    ]
    for name in SIDES:
        least = needed / rate
        result.append(
            {
                "case": f"{name_of(case)}, {'ours' if name == OURS else 'authors'}",
                "peer": f"this machine's {case.precision} matrix product",
                "quantity": "share of the machine's rate",
                **case.fields(),
                **ratio_of(list(spent[name]), [least] * len(spent[name])),
                "side": name,
                "operations_per_second": needed / float(np.median(spent[name])),
                "least_operations": needed,
                "machine_operations_per_second": rate,
                "rounds": len(spent[name]),
            }
        )
    if case.device == "cpu":
        result += part_rows(case, sides[OURS], rows, dtype, float(np.median(spent[OURS])))
    return result


def part_rows(
    case: Case, side: Side, rows: list[dict[str, Any]], dtype: torch.dtype, step: float
) -> list[dict[str, Any]]:
    """A row for each part of our step of ``step`` seconds, and for products one that compares their rates."""
    result: list[dict[str, Any]] = []
    for part, found in parts(side, rows, dtype).items():
        named = {"case": f"{name_of(case)}, {part}", **case.fields(), "part": part, "rounds": 1}
        own = found["share"] * step
        result.append(
            named
            | {"peer": "the whole step", "quantity": "share of a step's time"}
            | ratio_of([step], [own])
            | {"ours_seconds": own, "peer_seconds": step}
        )
        if part.startswith(PRODUCTS):
            result.append(
                named
                | {"peer": "the same products alone", "quantity": "rate of a step's products"}
                | ratio_of([1 / found["rate"]], [1 / found["alone"]])
                | {"ours_rate": found["rate"] / 1e9, "peer_rate": found["alone"] / 1e9}
                | {"rate_unit": "GFLOP/s"}
            )
    return result


def name_of(case: Case) -> str:
    """The case's name."""
    return f"roofline of {case.name}"


def machine_row(device: str, size: int | None = None, mebibytes: int = 256) -> list[dict[str, Any]]:
    """The machine's rates as a row: bfloat16 products against float32 ones, and copies."""
    full, half = (matmul_rate(dtype, device, size) for dtype in (torch.float32, torch.bfloat16))
    return [
        {
            "case": MACHINE,
            "peer": "the same in float32",
            "quantity": "operations per second of a matrix product",
            **ratio_of([1 / half], [1 / full]),
            "bfloat16_operations_per_second": half,
            "float32_operations_per_second": full,
            "copy_bytes_per_second": copy_rate(device, mebibytes),
            "threads": torch.get_num_threads(),
            "rounds": 1,
        }
    ]
