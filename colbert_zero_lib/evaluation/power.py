"""How many seeds a difference needs: its variance split into queries and seeds, a test that knows both, and power.

Everything is in points of nDCG@10 (or another metric times 100); what is compared is decided by the caller.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from colbert_zero_lib.errors import ParameterError

from .statistics import paired_scores

if TYPE_CHECKING:
    from .results import Evaluation

MOST_SEEDS = 10_000
_ESTIMATES = 400  # of the spread between seeds, over which power is averaged


@dataclass(frozen=True)
class Variances:
    """What makes the mean of a paired difference uncertain, in points.

    The mean over n seeds has variance ``queries + seeds / n``: ``queries`` is the share of the queries at hand, fixed
    by the collections and lowered by no number of seeds; ``seeds`` is the variance between one seed's mean and
    another's on the same queries (NaN where only one was seen). ``count``: seeds seen; ``degrees`` and
    ``seed_degrees``: degrees of freedom of the two; ``source``: where ``seeds`` comes from. With one seed,
    ``queries`` holds what that seed does to single queries too and is a little too large.
    """

    value: float
    queries: float
    seeds: float
    count: int
    degrees: float
    seed_degrees: float
    source: str

    def standard_error(self, seeds: int) -> float:
        """Standard error of the mean over ``seeds`` seeds, in points."""
        return math.sqrt(self.queries + self.seeds / seeds)

    def freedom(self, seeds: int) -> float:
        """Degrees of freedom of the spread between seeds, were it estimated from as many.

        For as many seeds as were seen, those of the estimate at hand, which may be borrowed. ParameterError for a
        single seed that lends no estimate.
        """
        found = self.seed_degrees if seeds == self.count else seeds - 1.0
        if not found > 0:
            raise ParameterError(f"A spread between seeds needs two seeds or more, not {seeds}: run another.")
        return found


@dataclass(frozen=True)
class TwoLevelTest:
    """A test of a mean against zero that counts both queries and seeds: points, two-sided p, 95 % interval."""

    value: float
    error: float
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
        seed_degrees=count - 1.0,
        source=f"its own {count} seeds" if count > 1 else "not known from one seed",
    )


def pooled_spread(means: Iterable[Sequence[float]]) -> tuple[float, float]:
    """The variance between seeds of one arm's mean, pooled over arms, and its degrees of freedom.

    ``means``: an arm's means (or differences), one a seed, in points; arms of a single seed say nothing. (NaN, 0) if
    none says anything.
    """
    arms = [np.asarray(of_seeds, dtype=float) for of_seeds in means if len(of_seeds) > 1]
    degrees = float(sum(len(arm) - 1 for arm in arms))
    total = float(sum(((arm - arm.mean()) ** 2).sum() for arm in arms))
    return (total / degrees if degrees else math.nan), degrees


def borrow(variances: Variances, seeds: float, degrees: float, source: str) -> Variances:
    """The same, with a variance between seeds (and its degrees of freedom) taken from elsewhere: ``source`` says where.

    Of two arms whose seeds are unrelated it is the sum of the two arms' own variances; arms that share trained steps
    vary less against each other, so that the sum errs on the side of caution.
    """
    if not (math.isfinite(seeds) and seeds >= 0 and degrees > 0):
        raise ParameterError(
            f"A variance between seeds is a number from 0 upwards with some degrees of freedom, not {seeds} with "
            f"{degrees:g}."
        )
    return replace(variances, seeds=float(seeds), seed_degrees=float(degrees), source=source)


def mean_test(found: Variances, level: float = 0.95) -> TwoLevelTest:
    """The test of a mean whose variances are known: queries and seeds, or queries alone where one seed was seen.

    The half-width of the interval is the root of the summed squares of two t intervals' half-widths, one over queries
    and one over seeds (Howe's approximation, the MOVER of later writers). Two or three seeds say little about their
    spread, and this is as wide as that makes it: in simulations it misses the truth in at most 5 cases of 100 for any
    mix of the two, where Satterthwaite's degrees of freedom miss it in 12 with two seeds and 8 with three, and the
    percentile bootstrap in 20 with three.
    """
    known = not math.isnan(found.seeds)
    error = found.standard_error(found.count) if known else math.sqrt(found.queries)
    between = found.seeds / found.count if known else 0.0
    freedom = found.freedom(found.count) if known else 1.0

    def margin(alpha: float) -> float:
        return float(_margin(found, between, freedom, alpha))

    half = margin(1 - level)
    if error == 0:
        p = 1.0 if found.value == 0 else 0.0
    else:  # the level at which the interval would end at zero
        low, high = -30.0, 0.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if margin(10**middle) > abs(found.value) else (low, middle)
        p = 10**high
    return TwoLevelTest(found.value, error, p, found.value - half, found.value + half, found.count)


def _margin(found: Variances, between: np.ndarray | float, freedom: float, alpha: float) -> np.ndarray:
    """Half-width of the interval at level 1 - alpha, for one or many estimates of the variance between seeds."""
    from scipy.special import stdtrit  # on first use: nothing else of the evaluation needs scipy

    of_queries = found.queries and found.queries * float(stdtrit(min(found.degrees, 1e9), alpha / 2)) ** 2
    return np.sqrt(of_queries + np.asarray(between) * float(stdtrit(freedom, alpha / 2)) ** 2)


def predicted_power(variances: Variances, effect: float, seeds: int, alpha: float = 0.05) -> float:
    """How often `mean_test` with ``seeds`` seeds finds a true difference of ``effect`` points (either sign).

    Worked out over the estimates of the spread between seeds that so many would give; that of the queries, of which
    there are many, is taken as known. NaN where the variance between seeds is not known; ParameterError for fewer
    than two seeds, which show no spread.
    """
    if seeds < 2:
        raise ParameterError(f"Power over seeds needs two seeds or more, not {seeds}: run another.")
    if not 0 < alpha < 1:
        raise ParameterError(f"The level of a test lies between 0 and 1, not at {alpha}.")
    if math.isnan(variances.seeds):
        return math.nan
    margin, error = _margins(variances, seeds, alpha)
    if error == 0:
        return 1.0 if effect else alpha
    return _power(abs(effect), margin, error)


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

    None asks for as many seeds as one likes: what is left is the share of the queries. NaN where the variance
    between seeds is not known.
    """
    if seeds is not None and math.isnan(variances.seeds):
        return math.nan
    margin, error = _margins(variances, seeds, alpha)
    if error == 0:
        return 0.0
    low, high = 0.0, error
    while _power(high, margin, error) < power:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _power(middle, margin, error) < power else (low, middle)
    return high


def _margins(variances: Variances, seeds: int | None, alpha: float) -> tuple[np.ndarray, float]:
    """The half-widths that `mean_test` may come to, alike in likelihood, and the error of the mean itself.

    ``seeds`` None: seeds without end.
    """
    from scipy.special import gammaincinv

    if seeds is None:
        return _margin(variances, np.zeros(1), 1.0, alpha), math.sqrt(variances.queries)
    between, freedom = variances.seeds / seeds, variances.freedom(seeds)
    shares = (np.arange(_ESTIMATES) + 0.5) / _ESTIMATES
    estimates = between * 2 * gammaincinv(freedom / 2, shares) / freedom  # chi-square over its degrees
    return _margin(variances, estimates, freedom, alpha), variances.standard_error(seeds)


def _power(effect: float, margin: np.ndarray, error: float) -> float:
    """How often a mean of ``effect``, give or take ``error``, is further from zero than ``margin``."""
    from scipy.special import ndtr

    return float(np.mean(ndtr((effect - margin) / error) + ndtr((-effect - margin) / error)))
