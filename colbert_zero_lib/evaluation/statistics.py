"""How sure a mean or a difference is: bootstrap over queries, and over seeds where there are several.

Plain numpy on per-query figures; whether a difference agrees with the paper is decided in `published`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from colbert_zero_lib.errors import DataError, ParameterError

if TYPE_CHECKING:
    from .results import Evaluation


class Interval(NamedTuple):
    """A mean and the percentile bootstrap interval around it."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Difference:
    """How far A is above B: ``delta`` = mean(A) - mean(B), unweighted over collections.

    ``low``, ``high``: bootstrap interval at ``level``; ``p``: two-sided bootstrap p-value of no difference;
    ``collections``: the same for each collection (index: name; columns queries, a, b, delta, low, high, p).
    """

    metric: str
    delta: float
    low: float
    high: float
    p: float
    level: float
    collections: pd.DataFrame

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, eq=False)
class Contrast:
    """A weighted sum of means, each unweighted over collections, such as mean(A) - 2 mean(B) + mean(C).

    ``low``, ``high``: bootstrap interval at ``level``; ``drawn`` [samples]: the draws that it comes from;
    ``collections``: the same for each collection (index: name; columns queries, value, low, high).
    """

    metric: str
    value: float
    low: float
    high: float
    level: float
    seeds: int
    collections: pd.DataFrame
    drawn: np.ndarray


@dataclass(frozen=True, eq=False)
class SeedSummary:
    """One recipe over several seeds: the mean, its interval over seeds and queries, and the spread between
    seeds.

    ``seeds``: each seed's mean over collections; ``deviation``: their standard deviation (n - 1; NaN for one
    seed); ``collections``: index name, columns queries, mean, low, high, deviation.
    """

    metric: str
    mean: float
    low: float
    high: float
    deviation: float
    level: float
    seeds: tuple[float, ...]
    collections: pd.DataFrame


def bootstrap_mean_interval(
    scores: Mapping[str, np.ndarray], level: float = 0.95, samples: int = 2000, seed: int = 0
) -> Interval:
    """Interval of the unweighted mean over collections, queries being drawn with replacement within each
    collection.

    ``scores`` maps a collection to its per-query figures [queries]. The collections themselves are taken as
    given: the interval says what other queries would have done, not what other collections would.
    """
    matrices = [np.asarray(values, dtype=np.float64)[None] for values in scores.values()]
    point, drawn = _bootstrap(matrices, samples, seed)
    low, high = _percentiles(over_collections(drawn, list(scores)), level)
    return Interval(float(over_collections(point, list(scores))), low, high)


def group_of(collection: str) -> str:
    """What a collection counts as part of: ``beir/cqadupstack`` for each of its forums, else itself."""
    return "/".join(collection.split("/")[:2])


def over_collections(values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Mean of ``values`` [..., collections], the parts of a group counting as one (BEIR's way with CQADupstack)."""
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        groups.setdefault(group_of(name), []).append(place)
    if len(groups) == len(names):
        return values.mean(axis=-1)
    return np.stack([values[..., places].mean(axis=-1) for places in groups.values()], axis=-1).mean(axis=-1)


def difference(
    a: Evaluation | Sequence[Evaluation],
    b: Evaluation | Sequence[Evaluation],
    metric: str = "ndcg@10",
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Paired comparison of A with B on the same queries; give sequences to compare over seeds.

    Each draw takes the same queries for A and B, so that easy and hard queries cancel. With several
    evaluations a side, seeds are drawn too, independently for A and B. p counts the draws whose distance from
    the observed delta reaches the delta itself (the bootstrap centred on no difference), plus one, over
    ``samples`` plus one.
    """
    names, (left, right) = _aligned([_several(a), _several(b)], metric)
    point_a, drawn_a = _bootstrap(left, samples, seed, stream=1)
    point_b, drawn_b = _bootstrap(right, samples, seed, stream=2)
    deltas, drawn = point_a - point_b, drawn_a - drawn_b
    rows = [
        (
            left[i].shape[1],
            point_a[i],
            point_b[i],
            deltas[i],
            *_percentiles(drawn[:, i], level),
            _p(deltas[i], drawn[:, i]),
        )
        for i in range(len(names))
    ]
    table = pd.DataFrame(rows, index=names, columns=["queries", "a", "b", "delta", "low", "high", "p"])
    delta, over_all = float(over_collections(deltas, names)), over_collections(drawn, names)
    low, high = _percentiles(over_all, level)
    return Difference(metric, delta, low, high, _p(delta, over_all), level, table.rename_axis("collection"))


def contrast(
    arms: Sequence[tuple[float, Evaluation | Sequence[Evaluation]]],
    metric: str = "ndcg@10",
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> Contrast:
    """Weighted sum of several arms' means on the same queries; each arm is (weight, one evaluation a seed).

    The sum is taken query by query and seed by seed before anything is drawn, so that what arms share cancels:
    hard queries, and training that runs of one seed have in common. Hence every arm needs the same seeds, in the
    same order; ParameterError if their numbers differ, DataError if collections or queries do. (`difference`
    draws the seeds of its two sides apart and takes any number of either.)
    """
    summed = paired_scores(arms, metric)
    names, matrices = list(summed), list(summed.values())
    point, drawn = _bootstrap(matrices, samples, seed)
    rows = [
        (matrix.shape[1], point[i], *_percentiles(drawn[:, i], level)) for i, matrix in enumerate(matrices)
    ]
    table = pd.DataFrame(rows, index=names, columns=["queries", "value", "low", "high"])
    over_all = over_collections(drawn, names)
    return Contrast(
        metric,
        float(over_collections(point, names)),
        *_percentiles(over_all, level),
        level,
        len(matrices[0]),
        table.rename_axis("collection"),
        over_all,
    )


def paired_scores(
    arms: Sequence[tuple[float, Evaluation | Sequence[Evaluation]]], metric: str = "ndcg@10"
) -> dict[str, np.ndarray]:
    """The weighted sum of several arms query by query and seed by seed: collection -> [seeds, queries].

    Arms and errors as in `contrast`.
    """
    weights = [float(weight) for weight, _ in arms]
    sides = [_several(evaluations) for _, evaluations in arms]
    if len({len(side) for side in sides}) != 1:
        raise ParameterError(
            "A contrast needs the same seeds of every arm: leave out those that some arm lacks."
        )
    names, matrices = _aligned(sides, metric)
    summed = (
        sum(weight * matrix for weight, matrix in zip(weights, of_collection, strict=True))
        for of_collection in zip(*matrices, strict=True)
    )
    return dict(zip(names, map(np.asarray, summed), strict=True))


def seed_summary(
    evaluations: Sequence[Evaluation],
    metric: str = "ndcg@10",
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> SeedSummary:
    """Mean over seeds with an interval over both seeds and queries (hierarchical bootstrap).

    Every evaluation must hold the same queries. With one evaluation only queries are drawn and the interval
    knows nothing of seeds; with two or three it is still a rough guide.
    """
    names, (matrices,) = _aligned([_several(evaluations)], metric)
    point, drawn = _bootstrap(matrices, samples, seed)
    by_seed = np.stack([matrix.mean(axis=1) for matrix in matrices], axis=1)  # [seeds, collections]
    rows = [
        (matrices[i].shape[1], point[i], *_percentiles(drawn[:, i], level), _deviation(by_seed[:, i]))
        for i in range(len(names))
    ]
    table = pd.DataFrame(rows, index=names, columns=["queries", "mean", "low", "high", "deviation"])
    seeds = over_collections(by_seed, names)
    low, high = _percentiles(over_collections(drawn, names), level)
    return SeedSummary(
        metric,
        float(over_collections(point, names)),
        low,
        high,
        _deviation(seeds),
        level,
        tuple(float(value) for value in seeds),
        table.rename_axis("collection"),
    )


def _bootstrap(
    matrices: Sequence[np.ndarray], samples: int, seed: int, stream: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Means [collections] of matrices [seeds, queries], and bootstrap draws of them [samples, collections].

    Query draws depend on ``seed`` alone, so two calls on the same queries are paired; seed draws depend on
    ``stream`` too. A seed is one training run: it is drawn once for all collections.
    """
    if samples < 1:
        raise ParameterError(f"the bootstrap needs at least one sample, not {samples}.")
    count = len(matrices[0])
    # Trailing zeros of a seed sequence count for nothing, hence streams from 1 upwards.
    rng = np.random.default_rng([seed, 1])
    seeds = _weights(np.random.default_rng([seed, 2 + stream]), count, samples)
    drawn = np.empty((samples, len(matrices)))
    for column, matrix in enumerate(matrices):
        centre = matrix.mean(axis=0)
        # Drawing n seeds from n shows only (n - 1) / n of their variance, a third too little for n = 3.
        widened = centre + (matrix - centre) * np.sqrt(count / (count - 1)) if count > 1 else matrix
        queries = _weights(rng, matrix.shape[1], samples)
        drawn[:, column] = ((seeds @ widened) * queries).sum(axis=1)
    return np.array([matrix.mean() for matrix in matrices]), drawn


def _weights(rng: np.random.Generator, count: int, samples: int) -> np.ndarray:
    """Each thing's share of a resample of ``count`` things: [samples, count], rows summing to one."""
    drawn = rng.integers(count, size=(samples, count)) + count * np.arange(samples)[:, None]
    return np.bincount(drawn.ravel(), minlength=samples * count).reshape(samples, count) / count


def _percentiles(drawn: np.ndarray, level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ParameterError(f"the level of an interval lies between 0 and 1, not at {level}.")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _p(delta: float, drawn: np.ndarray) -> float:
    """Two-sided: how often a draw, shifted to a true difference of zero, is as far out as ``delta``."""
    # The margin keeps a draw that equals the delta up to rounding on the side of "as far out".
    far = np.abs(drawn - delta) >= abs(delta) - 1e-12
    return float((1 + far.sum()) / (1 + len(drawn)))


def _deviation(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def _several(evaluations: Evaluation | Sequence[Evaluation]) -> list[Evaluation]:
    found = list(evaluations) if isinstance(evaluations, Sequence) else [evaluations]
    if not found:
        raise ParameterError("there is nothing to compare: pass at least one evaluation.")
    return found


def _aligned(sides: Sequence[list[Evaluation]], metric: str) -> tuple[list[str], list[list[np.ndarray]]]:
    """Collection names, and of every side each one's figures [seeds, queries], queries in the same order."""
    first = sides[0][0].scores(metric)
    found: list[list[np.ndarray]] = []
    for evaluations in sides:
        scored = [evaluation.scores(metric) for evaluation in evaluations]
        for other in scored:
            if set(other) != set(first):
                name = min(set(other) ^ set(first))
                raise DataError(
                    f"collection {name!r} is missing from one evaluation: compare on the same collections."
                )
        side = []
        for name, series in first.items():
            figures = []
            for values in (other[name] for other in scored):
                if not values.index.equals(series.index):  # it mostly is, and sets of words take long
                    if odd := set(series.index) ^ set(values.index):
                        raise DataError(
                            f"query {min(odd)!r} of collection {name!r} is missing from one evaluation: "
                            "compare on the same queries."
                        )
                    values = values.reindex(series.index)
                figures.append(values.to_numpy())
            side.append(np.stack(figures))
        found.append(side)
    return list(first), found
