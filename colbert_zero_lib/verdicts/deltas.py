"""A comparison of trained arms: its interval and test over queries and seeds, and where one seed has its spread from.

Figures of runs come from `evidence`, tests from ``evaluation``; torch is not needed, how runs are trained not known.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..evaluation.power import Variances, borrow, decompose, mean_test, smallest_effect
from ..recipes import Recipe
from .evidence import LEVEL, RunEvidence
from .verdict import POWER, holm, sign_verdict

BORROWED = "borrowed from trainings of several seeds under the paper's switches"
BORROWED_AGAIN = "borrowed from trainings of several seeds that were evaluated under other switches, too"
# What a row of a table says of itself, and the comparison that it makes: arms (printed recipes) and their weights.
Comparison = tuple[Mapping[str, Any], Mapping[str, float]]


@dataclass(frozen=True)
class Delta:
    """An arm less its baseline, or another weighted sum of arms, in points, paired by query and by seed.

    ``low`` to ``high`` is the interval of the two-level test that ``p`` belongs to. ``smallest``: the smallest true
    delta that as many seeds show in 80 of 100 cases, NaN where the spread between seeds is not known. With one seed
    that spread is borrowed from the source's arms of several: between two trainings, that of trainings; between two
    evaluations of one training, which share its luck, that of such differences. If there are none, the interval is over
    queries alone and ``p`` is NaN.
    """

    value: float
    low: float
    high: float
    p: float
    smallest: float
    seeds: int
    variances: Variances


def compare(source: RunEvidence, arm: str, baseline: str) -> Delta | None:
    """The difference of two arms (printed recipes) over the seeds that both have; None without such a seed."""
    return weigh(source, {arm: 1.0, baseline: -1.0})


def weigh(source: RunEvidence, weights: Mapping[str, float]) -> Delta | None:
    """A weighted sum of arms (printed recipes) over the seeds that all of them have; None without such a seed."""
    seeds = source.seeds(weights)
    if not seeds:
        return None
    sides = [(weight, [source.evaluations[of][s] for s in seeds]) for of, weight in weights.items()]
    found = decompose(sides)
    if found.count == 1 and (lent := _lent_spread(source, weights)):
        found = borrow(found, *lent)
    test = mean_test(found, LEVEL)
    smallest = smallest_effect(found, found.count, POWER, 1 - LEVEL)
    p = math.nan if math.isnan(found.seeds) else test.p
    return Delta(test.value, test.low, test.high, p, smallest, found.count, found)


def findings(
    source: RunEvidence,
    comparisons: Iterable[Comparison],
    rule: Callable[[Any], str] = sign_verdict,
    family: str | None = None,
) -> pd.DataFrame:
    """Comparisons held against a source's runs, one a row, in points; ``rule`` gives a row's verdict.

    Columns: what each row says of itself, source, value, low, high, p, smallest (as in `Delta`), seeds, spread (where
    the spread between seeds comes from), p_holm (p after Holm's correction over the rows alike in ``family``, or over
    all) and verdict. NaN and 0 seeds where an arm was not run.
    """
    rows = []
    for about, weights in comparisons:
        delta = weigh(source, weights)
        own = {name: getattr(delta, name, math.nan) for name in ("value", "low", "high", "p", "smallest")}
        known = (
            {"seeds": delta.seeds, "spread": delta.variances.source} if delta else {"seeds": 0, "spread": ""}
        )
        rows.append({**about, "source": source.name, **own, **known, "p_holm": math.nan})
    table = pd.DataFrame(rows)
    for _, of_family in table.groupby(family) if family else [(None, table)]:
        table.loc[of_family.index, "p_holm"] = holm(of_family["p"].to_numpy(float))
    return table.assign(verdict=[rule(row) for row in table.itertuples()])


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
        parts.append((trainings, *source.spread_of_trainings))
    if again:
        parts.append((again, *source.spread_of_evaluations))
    if not all(degrees for _, _, degrees in parts):
        return None
    variance = sum(weight * spread for weight, spread, _ in parts)
    shares = sum((weight * spread) ** 2 / degrees for weight, spread, degrees in parts)
    freedom = variance**2 / shares if shares else min(degrees for _, _, degrees in parts)
    return variance, freedom, BORROWED if trainings else BORROWED_AGAIN


def lent_words(run: pd.DataFrame) -> str:
    """For a caption: in how many rows of `findings` that were run the spread between seeds is another's, or unknown."""
    rows = run["spread"].value_counts()
    words = [
        f" In {rows[lender]} rows of one seed the spread between seeds is {lender}."
        for lender in (BORROWED, BORROWED_AGAIN)
        if lender in rows
    ]
    if unknown := int(run["p"].isna().sum()):
        words.append(
            f" In {unknown} rows of one seed it is not known: an interval over queries alone, and no p."
        )
    return "".join(words)
