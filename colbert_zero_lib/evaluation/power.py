"""How many seeds a difference needs: the power of the test in `statistics`, and the smallest effect that it shows.

Everything is in points of nDCG@10 (or another metric times 100); what is compared is decided by the caller.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from colbert_zero_lib.errors import ParameterError

from .statistics import Variances, margin_of

MOST_SEEDS = 10_000
_ESTIMATES = 400  # of the spread between seeds, over which power is averaged


@dataclass(frozen=True)
class SeedsNeeded:
    """The smallest number of seeds that shows an effect; None where no number does, or the spread is not known.

    ``smallest``: the smallest effect that the collections can show however many seeds are run, in points (NaN where
    nothing is known); ``reason``: one sentence.
    """

    seeds: int | None
    smallest: float
    reason: str


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
        return SeedsNeeded(None, math.nan, reason)
    smallest = smallest_effect(variances, None, power, alpha)
    told = f"spread between seeds: {variances.source}"
    asked = f"{effect:g} points with {power:.0%} power at the {alpha:.0%} level"

    def shown(seeds: int) -> bool:
        return predicted_power(variances, effect, seeds, alpha) >= power

    if not shown(MOST_SEEDS):
        alone = (
            "the queries alone hide" if variances.count > 1 else "as far as one seed tells, the queries hide"
        )
        reason = f"No number of seeds shows {asked}: {alone} differences below {smallest:.2f} points."
        return SeedsNeeded(None, smallest, reason)
    # Up to those at hand the spread may be a lent one, known better than so many seeds would tell it.
    few = range(2, max(variances.count, 2) + 1)
    more = range(few.stop, MOST_SEEDS)
    seeds = next(filter(shown, few), None) or few.stop + bisect_left(more, True, key=shown)
    return SeedsNeeded(seeds, smallest, f"{seeds} seeds show {asked} ({told}).")


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
        return margin_of(variances, np.zeros(1), 1.0, alpha), math.sqrt(variances.queries)
    between, freedom = variances.seeds / seeds, variances.freedom(seeds)
    shares = (np.arange(_ESTIMATES) + 0.5) / _ESTIMATES
    estimates = between * 2 * gammaincinv(freedom / 2, shares) / freedom  # chi-square over its degrees
    return margin_of(variances, estimates, freedom, alpha), variances.standard_error(seeds)


def _power(effect: float, margin: np.ndarray, error: float) -> float:
    """How often a mean of ``effect``, give or take ``error``, is further from zero than ``margin``."""
    from scipy.special import ndtr

    return float(np.mean(ndtr((effect - margin) / error) + ndtr((-effect - margin) / error)))
