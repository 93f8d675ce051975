"""How many seeds a difference needs: its variance split into queries and seeds, a test that knows both, and power.

Everything is in points of nDCG@10 (or another metric times 100); what is compared is decided by the caller.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from colbert_zero_lib.errors import ParameterError

from .statistics import paired_scores

if TYPE_CHECKING:
    from .results import Evaluation

MOST_SEEDS = 10_000


@dataclass(frozen=True)
class Variances:
    """What makes the mean of a paired difference uncertain, in points.

    The mean over n seeds has variance ``queries + seeds / n``: ``queries`` is the share of the queries at hand, fixed
    by the collections and lowered by no number of seeds; ``seeds`` is the variance between one seed's mean and
    another's on the same queries (NaN where only one was seen). ``count``: seeds seen; ``degrees``: degrees of
    freedom of ``queries``; ``source``: where ``seeds`` comes from. With one seed, ``queries`` holds what that seed
    does to single queries too and is a little too large.
    """

    value: float
    queries: float
    seeds: float
    count: int
    degrees: float
    source: str

    def standard_error(self, seeds: int) -> float:
        """Standard error of the mean over ``seeds`` seeds, in points."""
        return math.sqrt(self.queries + self.seeds / seeds)

    def degrees_of_freedom(self, seeds: int) -> float:
        """Welch's and Satterthwaite's degrees of freedom of that standard error, were it estimated from as many."""
        between = self.seeds / seeds
        spread = self.queries**2 / self.degrees + (between**2 / (seeds - 1) if seeds > 1 else 0.0)
        return (self.queries + between) ** 2 / spread if spread > 0 else math.inf


@dataclass(frozen=True)
class TwoLevelTest:
    """A t test of a mean against zero that draws both queries and seeds: points, two-sided p, 95 % interval."""

    value: float
    error: float
    degrees: float
    p: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class SeedsNeeded:
    """The smallest number of seeds that shows ``effect``; None where no number does, or the spread is not known.

    ``smallest``: the smallest effect that the collections can show however many seeds are run, in points (NaN where
    nothing is known); ``reason``: one sentence.
    """

    effect: float
    power: float
    seeds: int | None
    smallest: float
    reason: str


def decompose(
    arms: Sequence[tuple[float, Evaluation | Sequence[Evaluation]]], metric: str = "ndcg@10"
) -> Variances:
    """The variances of a weighted sum of arms' means; arms as in `contrast`: paired by query and by seed."""
    return split(paired_scores(arms, metric))


def split(scores: Mapping[str, np.ndarray]) -> Variances:
    """The variances of per-query figures: collection -> [seeds, queries], each from 0 to 1 (or their differences).

    Collections count alike. A two-way analysis of variance (seeds x queries) in each collection keeps what single
    queries do under single seeds out of the share of the queries.
    """
    matrices = [100 * np.asarray(matrix, dtype=float) for matrix in scores.values()]
    if not matrices or any(matrix.ndim != 2 or matrix.shape[1] < 2 for matrix in matrices):
        raise ParameterError("Variances need collections of two queries or more: leave out smaller ones.")
    count = matrices[0].shape[0]
    of_queries, below = 0.0, 0.0
    for matrix in matrices:
        queries = matrix.shape[1]
        variance = float(matrix.mean(axis=0).var(ddof=1))
        if count > 1:
            rest = matrix - matrix.mean(axis=0) - matrix.mean(axis=1, keepdims=True) + matrix.mean()
            error = float((rest**2).sum()) / ((count - 1) * (queries - 1))
            variance = max(0.0, variance - error / count)
        share = variance / (queries * len(matrices) ** 2)
        of_queries += share
        below += share**2 / (queries - 1)
    means = np.mean([matrix.mean(axis=1) for matrix in matrices], axis=0)  # [seeds]
    return Variances(
        value=float(means.mean()),
        queries=of_queries,
        seeds=float(means.var(ddof=1)) if count > 1 else math.nan,
        count=count,
        degrees=of_queries**2 / below if below > 0 else math.inf,
        source=f"its own {count} seeds" if count > 1 else "not known from one seed",
    )


def borrow(variances: Variances, seeds: float, source: str) -> Variances:
    """The same, with a variance between seeds taken from elsewhere; ``source`` says from where.

    Of two arms whose seeds are unrelated it is the sum of the two arms' own variances.
    """
    if not (math.isfinite(seeds) and seeds >= 0):
        raise ParameterError(f"A variance between seeds is a number from 0 upwards, not {seeds}.")
    return replace(variances, seeds=float(seeds), source=source)


def two_level_test(scores: Mapping[str, np.ndarray], level: float = 0.95) -> TwoLevelTest:
    """Is the mean of a paired difference zero? A t test whose error counts queries and seeds.

    ``scores`` as in `split`. The degrees of freedom follow Satterthwaite: two or three seeds say little about their
    spread, and where that spread is most of the error the interval is as wide as this makes it (a percentile
    bootstrap knows nothing of it). With one seed only queries are drawn.
    """
    from scipy.stats import t  # on first use: nothing else of the evaluation needs scipy

    found = split(scores)
    known = found if found.count > 1 else replace(found, seeds=0.0)
    error, degrees = known.standard_error(found.count), known.degrees_of_freedom(found.count)
    if error == 0:
        p = 1.0 if found.value == 0 else 0.0
        return TwoLevelTest(found.value, 0.0, degrees, p, found.value, found.value, found.count)
    half = float(t.ppf((1 + level) / 2, degrees)) * error
    p = float(2 * t.sf(abs(found.value) / error, degrees))
    return TwoLevelTest(found.value, error, degrees, p, found.value - half, found.value + half, found.count)


def predicted_power(variances: Variances, effect: float, seeds: int, alpha: float = 0.05) -> float:
    """How often `two_level_test` with ``seeds`` seeds finds a true difference of ``effect`` points (either sign).

    By the non-central t distribution. NaN where the variance between seeds is not known; ParameterError for fewer
    than two seeds, which show no spread.
    """
    if seeds < 2:
        raise ParameterError(f"Power over seeds needs two seeds or more, not {seeds}: run another.")
    if not 0 < alpha < 1:
        raise ParameterError(f"The level of a test lies between 0 and 1, not at {alpha}.")
    if math.isnan(variances.seeds):
        return math.nan
    error = variances.standard_error(seeds)
    if error == 0:
        return 1.0 if effect else alpha
    return _power(abs(effect) / error, variances.degrees_of_freedom(seeds), alpha)


def seeds_needed(
    variances: Variances, effect: float = 0.3, power: float = 0.8, alpha: float = 0.05
) -> SeedsNeeded:
    """How many seeds it takes to find a difference of ``effect`` points in ``power`` of all cases at level ``alpha``.

    More seeds shrink the share of the seeds alone. Where the queries' share is already too large, no number is
    enough, and only more queries or collections help: the answer is None and says what can be shown at best.
    """
    if not (effect > 0 and alpha < power < 1):
        raise ParameterError(
            f"Power analysis needs an effect above 0 and a power between {alpha:g} and 1, not {effect} and {power}."
        )
    if math.isnan(variances.seeds):
        reason = "The spread between seeds is not known from one seed: run a second, or borrow another arm's."
        return SeedsNeeded(effect, power, None, math.nan, reason)
    smallest = smallest_effect(variances, None, power, alpha)
    told = f"spread between seeds: {variances.source}"
    asked = f"{effect:g} points with {power:.0%} power at the {alpha:.0%} level"
    if predicted_power(variances, effect, MOST_SEEDS, alpha) < power:
        reason = f"No number of seeds shows {asked}: the queries alone hide differences below {smallest:.2f} points."
        return SeedsNeeded(effect, power, None, smallest, reason)
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        if predicted_power(variances, effect, middle, alpha) < power:
            low = middle
        else:
            high = middle
    return SeedsNeeded(effect, power, high, smallest, f"{high} seeds show {asked} ({told}).")


def smallest_effect(
    variances: Variances, seeds: int | None, power: float = 0.8, alpha: float = 0.05
) -> float:
    """The smallest true difference, in points, that ``seeds`` seeds find in ``power`` of all cases.

    None asks for as many seeds as one likes: what is left is the share of the queries.
    """
    if seeds is None:
        error, degrees = math.sqrt(variances.queries), variances.degrees
    else:
        error, degrees = variances.standard_error(seeds), variances.degrees_of_freedom(seeds)
    if math.isnan(error):
        return math.nan
    low, high = 0.0, 1.0
    while _power(high, degrees, alpha) < power:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _power(middle, degrees, alpha) < power else (low, middle)
    return high * error


def _power(distance: float, degrees: float, alpha: float) -> float:
    """Power of a two-sided t test when the truth lies ``distance`` standard errors from zero."""
    from scipy.stats import nct, norm, t

    if math.isinf(degrees) or degrees > 1e5:  # where the two agree and the non-central t is slow
        edge = float(norm.ppf(1 - alpha / 2))
        return float(norm.sf(edge - distance) + norm.cdf(-edge - distance))
    edge = float(t.ppf(1 - alpha / 2, degrees))
    above = float(nct.sf(edge, degrees, distance))
    below = float(nct.cdf(-edge, degrees, distance))
    # Far out, scipy's non-central t gives up; the truth there is certainty.
    return 1.0 if math.isnan(above) else above + (0.0 if math.isnan(below) else below)
