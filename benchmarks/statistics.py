"""Ways of doing the same work, timed by turns, and the ratio of their times with its spread.

What is timed is the caller's business; files and tables are in `records`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from colbert_zero_lib.errors import ParameterError
from colbert_zero_lib.scaling_cost import PREDICTED, predict

SECOND_LOOK = 3  # rounds below which a spread says nothing


@dataclass(frozen=True)
class Ratio:
    """How many times less ours needs than its peer: median over rounds, 95% bootstrap interval of that median."""

    value: float
    low: float
    high: float

    def fields(self) -> dict[str, float]:
        """The three numbers under the names that a row of results has."""
        return {"ratio": self.value, "ratio_low": self.low, "ratio_high": self.high}


def ratio_of(
    ours: Sequence[float], peer: Sequence[float], level: float = 0.95, samples: int = 2000, seed: int = 0
) -> Ratio:
    """Median of ``peer[i] / ours[i]`` over rounds, and a percentile bootstrap over the rounds.

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
    draws = np.random.default_rng(seed).integers(0, len(rounds), (samples, len(rounds)))
    medians = np.median(rounds[draws], axis=1)
    low, high = np.quantile(medians, [(1 - level) / 2, (1 + level) / 2])
    return Ratio(float(np.median(rounds)), float(low), float(high))


def spread(values: Sequence[float], unit: str) -> dict[str, Any]:
    """Ours alone over rounds, as columns in ``unit``: the median, its 95% bootstrap interval, and every round."""
    found = ratio_of([1.0] * len(values), values)
    columns = (f"ours_{unit}", f"ours_{unit}_low", f"ours_{unit}_high")
    named = dict(zip(columns, (found.value, found.low, found.high), strict=True))
    return {**named, "each": list(values), "rounds": len(values)}


def beside_prediction(row: dict[str, Any], costs: Mapping[str, float]) -> dict[str, Any]:
    """A row of `spread` seconds and their ``amounts``, beside what these cost by the model: predicted over measured."""
    predicted = predict(costs, row["amounts"])
    ratio = ratio_of(row["each"], [predicted] * row["rounds"])
    return {**row, "peer": PREDICTED, "peer_seconds": predicted, **ratio.fields()}


@dataclass(frozen=True)
class Rounds:
    """Seconds of every counted round; round ``i`` did the same work on both sides."""

    ours: tuple[float, ...]
    peer: tuple[float, ...]

    @property
    def ratio(self) -> Ratio:
        """Peer's seconds over ours."""
        return ratio_of(self.ours, self.peer)

    def fields(self, work: float, unit: str) -> dict[str, Any]:
        """What a row says of them: the ratio, both medians, and the rates when a round does ``work`` units."""
        ours, peer = float(np.median(self.ours)), float(np.median(self.peer))
        return {
            **self.ratio.fields(),
            "ours_seconds": ours,
            "peer_seconds": peer,
            "ours_rate": work / ours,
            "peer_rate": work / peer,
            "rate_unit": unit,
            "rounds": len(self.ours),
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
    least: int = SECOND_LOOK,
) -> dict[str, tuple[float, ...]]:
    """The seconds that each side took for each batch, beginning with another side each time, for ``budget`` seconds.

    The first ``warmup`` batches are not counted; at least ``least`` others are, however long they take.
    """
    times: dict[str, list[float]] = {name: [] for name in timed}
    names, started = list(timed), time.perf_counter()
    for number, batch in enumerate(batches):
        if number == warmup:
            started = time.perf_counter()
        if number - warmup >= least and time.perf_counter() - started > budget:
            break
        first = number % len(names)
        for name in names[first:] + names[:first]:
            took = timed[name](batch)
            if number >= warmup:
                times[name].append(took)
    return {name: tuple(took) for name, took in times.items()}
