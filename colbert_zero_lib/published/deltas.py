"""A difference of trained arms: its interval and test over queries and seeds, and where one seed has its spread from.

Figures of runs come from `evidence`, tests from ``evaluation``; torch is not needed, how runs are trained not known.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..evaluation.power import Variances, borrow, decompose, mean_test, pooled_spread, smallest_effect
from ..recipes import Recipe
from .evidence import LEVEL, RunEvidence

POWER = 0.8
BORROWED = "borrowed from trainings of several seeds under the paper's switches"
BORROWED_AGAIN = "borrowed from trainings of several seeds that were evaluated under other switches, too"


@dataclass(frozen=True)
class Delta:
    """An arm less its baseline, or another weighted sum of arms, in points, paired by query and by seed.

    ``low`` to ``high`` is the interval of the two-level test that ``p`` belongs to; ``drawn_low`` to ``drawn_high``
    the percentile bootstrap's over queries and seeds, which the tables of claims print and which is too narrow where
    few seeds differ much. ``smallest``: the smallest true delta that as many seeds show in 80 of 100 cases, NaN where
    the spread between seeds is not known. With one seed that spread is borrowed from the source's arms of several:
    between two trainings, that of trainings; between two evaluations of one training, which share its luck, that of
    such differences. If there are none, the interval is over queries alone and ``p`` is NaN.
    """

    value: float
    low: float
    high: float
    p: float
    drawn_low: float
    drawn_high: float
    seeds: int
    smallest: float
    variances: Variances


def compare(source: RunEvidence, arm: str, baseline: str) -> Delta | None:
    """The difference of two arms (printed recipes) over the seeds that both have; None without such a seed."""
    return weigh(source, {arm: 1.0, baseline: -1.0})


def weigh(source: RunEvidence, weights: Mapping[str, float]) -> Delta | None:
    """A weighted sum of arms (printed recipes) over the seeds that all of them have; None without such a seed."""
    drawn = source.contrast(weights)
    if drawn is None:
        return None
    seeds = source.seeds(weights)
    found = decompose(
        [(weight, [source.evaluations[of][s] for s in seeds]) for of, weight in weights.items()]
    )
    if found.count == 1:
        lent = _lent_spread(source, weights)
        found = borrow(found, *lent) if lent else found
    test = mean_test(found, LEVEL)
    smallest = smallest_effect(found, found.count, POWER, 1 - LEVEL)
    p = math.nan if math.isnan(found.seeds) else test.p
    return Delta(test.value, test.low, test.high, p, drawn.low, drawn.high, found.count, smallest, found)


def _lent_spread(source: RunEvidence, weights: Mapping[str, float]) -> tuple[float, float, str] | None:
    """The variance between seeds of a weighted sum of arms that were run once, as the source's other arms have it.

    Evaluations of one training cancel its luck as far as their weights do; each of them under other switches than the
    training's adds the luck of such an evaluation. With the degrees of freedom (Satterthwaite's, where both count) and
    the words for where it comes from. None where no arm of several seeds tells.
    """
    trained: dict[str, float] = defaultdict(float)
    again = 0.0
    for arm, weight in weights.items():
        recipe = Recipe.parse(arm)
        trained[str(recipe.training)] += weight
        again += 0.0 if recipe.trains else weight**2
    parts = []
    if trainings := sum(weight**2 for weight in trained.values() if abs(weight) > 1e-9):
        parts.append((trainings, *pooled_spread(_trained_plainly(source))))
    if again:
        parts.append((again, *pooled_spread(_evaluated_again(source))))
    if not all(degrees for _, _, degrees in parts):
        return None
    variance = sum(weight * spread for weight, spread, _ in parts)
    shares = sum((weight * spread) ** 2 / degrees for weight, spread, degrees in parts)
    freedom = variance**2 / shares if shares else min(degrees for _, _, degrees in parts)
    return variance, freedom, BORROWED if trainings else BORROWED_AGAIN


def _trained_plainly(source: RunEvidence) -> Iterator[list[float]]:
    """The means of each training under the paper's own switches: one list an arm, by seed.

    Prefixes of other kinds lend nothing: what an odd one does to a training now and then is no measure of the rest.
    """
    for arm, of_seeds in source.means.items():
        recipe = Recipe.parse(arm)
        if recipe.trains and all(step.prefix is None for step in recipe):
            yield list(of_seeds.values())


def _evaluated_again(source: RunEvidence) -> Iterator[list[float]]:
    """Each evaluation under other switches less that of the same training as trained: one list an arm, by seed."""
    for arm, of_seeds in source.means.items():
        recipe = Recipe.parse(arm)
        as_trained = source.means.get(str(recipe.training), {})
        if not recipe.trains:
            yield [of_seeds[seed] - as_trained[seed] for seed in of_seeds if seed in as_trained]


def lent_words(findings: pd.DataFrame) -> str:
    """For a caption: in how many rows the spread between seeds is another's, and whose, or not known at all.

    ``findings``: rows that were run, with the columns ``spread`` and ``p``.
    """
    rows = findings["spread"].value_counts()
    words = [
        f" In {rows[lender]} rows of one seed the spread between seeds is {lender}."
        for lender in (BORROWED, BORROWED_AGAIN)
        if lender in rows
    ]
    if unknown := int(findings["p"].isna().sum()):
        words.append(
            f" In {unknown} rows of one seed it is not known: an interval over queries alone, and no p."
        )
    return "".join(words)


def delta_columns(deltas: Sequence[Delta | None]) -> dict[str, Any]:
    """Columns of a table with a `Delta` a row: NaN, and 0 seeds, where there is none."""
    names = ("value", "low", "high", "p", "drawn_low", "drawn_high", "smallest")
    columns: dict[str, Any] = {
        name: [math.nan if delta is None else getattr(delta, name) for delta in deltas] for name in names
    }
    return {**columns, "seeds": [0 if delta is None else delta.seeds for delta in deltas]}
