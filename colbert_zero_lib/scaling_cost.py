"""A small model of cost: the seconds of a step, or of a search, as a sum of what it does times what each piece costs.

``seconds = fixed + a * encoder FLOP + b * MaxSim FLOP + c * bytes of vectors + d * bytes sent``. The costs are fitted
on small sizes and say what larger ones take; what was measured beside it is in ``data/benchmarks/scaling.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import nnls

from .errors import DataError
from .scaling import StepShape, traffic

Amounts = Mapping[str, float]
# Passes of gradient caching that cost as much as a forward one: two forward, and one backward that counts twice.
CACHED_PASSES = 4
STEP, SEARCH = "time of a training step", "time of a query"
PREDICTED = "the cost model"


def step_amounts(shape: StepShape, sends: bool = True) -> dict[str, float]:
    """What one device does in a cached contrastive step (StepShape says of which size): FLOP, FLOP and bytes.

    ``encoder``: products of all its tokens with the weights, 2 operations each, in `CACHED_PASSES`. ``maxsim``:
    products of its query tokens with every document token of the batch, once forward; the way back follows the argmax,
    and its cost is in the fitted price. ``vectors``: bytes of all document vectors of the batch, which are put in order
    and have gradients that are cleared and summed, however few queries ask for them. ``sent``: `traffic`, 0 unless it
    ``sends``. ``fixed`` is 1.
    """
    own = shape.batch // shape.devices
    tokens = own * (shape.query_length + shape.documents * shape.document_length)
    compared = own * shape.query_length * shape.batch * shape.documents * shape.document_length
    return {
        "fixed": 1.0,
        "encoder": 2.0 * CACHED_PASSES * shape.products * tokens,
        "maxsim": 2.0 * shape.dimension * compared,
        "vectors": float(shape.document_bytes),
        "sent": sum(traffic(shape).values()) if sends else 0.0,
    }


def fit(amounts: Sequence[Amounts], measured: Sequence[float]) -> dict[str, float]:
    """The cost of one unit of each amount, none below 0, with the least squares of relative errors.

    DataError when there are fewer measurements than amounts.
    """
    names = list(dict.fromkeys(name for each in amounts for name in each))
    if len(amounts) < len(names):
        raise DataError(
            f"{len(amounts)} measurements cannot tell {', '.join(names)} apart: measure at more sizes."
        )
    table = np.array([[each.get(name, 0.0) for name in names] for each in amounts])
    table /= np.asarray(measured, dtype=float)[:, None]
    size = np.maximum(table.max(axis=0), np.finfo(float).tiny)
    found, _ = nnls(table / size, np.ones(len(table)))
    return dict(zip(names, (found / size).tolist(), strict=True))


def predict(costs: Amounts, amounts: Amounts) -> float:
    """What ``amounts`` cost in all."""
    return sum(costs.get(name, 0.0) * amount for name, amount in amounts.items())


def fitted(rows: Sequence[Mapping[str, Any]], quantity: str) -> dict[str, float]:
    """`fit` on the rows of ``scaling.json`` that are of one ``quantity`` and small enough to be fitted on."""
    own = [row for row in rows if row["quantity"] == quantity and row.get("fitted")]
    return fit([row["amounts"] for row in own], [row["ours_seconds"] for row in own])


def on_device(
    costs: Amounts,
    machine: Mapping[str, float],
    bfloat16: float,
    float32: float,
    memory: float,
    bandwidth: float,
) -> dict[str, float]:
    """The same costs on another device, if it reaches the same share of its rates: a prediction, not a measurement.

    ``machine`` holds the rates of the measured one (``bfloat16_operations_per_second``, ``float32_...``,
    ``copy_bytes_per_second``); the others are FLOP/s and bytes/s of the device. The encoder is taken to run in
    bfloat16, MaxSim in float32, as in the released scripts under accelerate; what is fixed stays as it is.
    """
    return {
        "fixed": costs["fixed"],
        "encoder": costs["encoder"] * machine["bfloat16_operations_per_second"] / bfloat16,
        "maxsim": costs["maxsim"] * machine["float32_operations_per_second"] / float32,
        "vectors": costs["vectors"] * machine["copy_bytes_per_second"] / memory,
        "sent": 1 / bandwidth,
    }
