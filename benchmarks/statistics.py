"""Ways of doing the same work, timed by turns, and the ratio of their times with its spread.

What is timed is the caller's business; files and tables are in `records`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from colbert_zero_lib.errors import ParameterError
from colbert_zero_lib.scaling_cost import PREDICTED, predict

LEAST_ROUNDS = 3  # fewer show no spread


def ratio_of(ours: Sequence[float], peer: Sequence[float]) -> dict[str, float]:
    """How many times less ours needs than its peer, as columns: median over rounds, its 95% bootstrap interval.

    Both sequences hold seconds (or bytes) of the same rounds; the division happens within a round because both sides
    saw the same batch there, and the same neighbours on the machine.
    """
    if len(ours) != len(peer) or not len(ours):
        raise ParameterError(
            f"A ratio needs as many rounds of ours as of the peer, not {len(ours)} and {len(peer)}."
        )
    if min(*ours, *peer) <= 0:
        raise ParameterError("A ratio needs times above zero: measure more work in a round.")
    rounds = np.asarray(peer, dtype=float) / np.asarray(ours, dtype=float)
    draws = np.random.default_rng(0).integers(0, len(rounds), (2000, len(rounds)))
    low, high = np.quantile(np.median(rounds[draws], axis=1), [0.025, 0.975])
    return {"ratio": float(np.median(rounds)), "ratio_low": float(low), "ratio_high": float(high)}


def spread(values: Sequence[float], unit: str) -> dict[str, Any]:
    """Ours alone over rounds, as columns in ``unit``: the median, its 95% bootstrap interval, and every round."""
    found = ratio_of([1.0] * len(values), values)
    named = {name.replace("ratio", f"ours_{unit}"): value for name, value in found.items()}
    return {**named, "each": list(values), "rounds": len(values)}


def beside_prediction(row: dict[str, Any], costs: Mapping[str, float]) -> dict[str, Any]:
    """A row of `spread` seconds and their ``amounts``, beside what these cost by the model: predicted over measured."""
    predicted = predict(costs, row["amounts"])
    ratio = ratio_of(row["each"], [predicted] * row["rounds"])
    return {**row, "peer": PREDICTED, "peer_seconds": predicted, **ratio}


def compared(ours: Sequence[float], peer: Sequence[float], work: float, unit: str) -> dict[str, Any]:
    """Seconds of the same rounds as columns: the ratio, both medians, and rates where a round does ``work`` units."""
    own, other = float(np.median(ours)), float(np.median(peer))
    return {
        **ratio_of(ours, peer),
        "ours_seconds": own,
        "peer_seconds": other,
        "ours_rate": work / own,
        "peer_rate": work / other,
        "rate_unit": unit,
        "rounds": len(ours),
    }


def seconds(work: Callable[[], object], synchronize: Callable[[], object] = lambda: None) -> float:
    """Wall-clock seconds of ``work``; ``synchronize`` waits for a device that works ahead."""
    synchronize()
    started = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - started


def alternate(
    timed: Mapping[str, Callable[[Any], float]],
    batches: Iterable[Any],
    budget: float,
    warmup: int = 1,
) -> dict[str, tuple[float, ...]]:
    """The seconds that each side took for each batch, beginning with another side each time, for ``budget`` seconds.

    The first ``warmup`` batches are not counted; at least three others are, however long they take.
    """
    times: dict[str, list[float]] = {name: [] for name in timed}
    names, started = list(timed), time.perf_counter()
    for number, batch in enumerate(batches):
        if number == warmup:
            started = time.perf_counter()
        if number - warmup >= LEAST_ROUNDS and time.perf_counter() - started > budget:
            break
        first = number % len(names)
        for name in names[first:] + names[:first]:
            took = timed[name](batch)
            if number >= warmup:
                times[name].append(took)
    return {name: tuple(took) for name, took in times.items()}
