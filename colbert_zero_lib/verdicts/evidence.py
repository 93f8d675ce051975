"""What is known of a weighted sum of arms: its interval and test, from published means or from trained runs.

Published means are drawn again by data set; nobody has more of them. Runs have one inference, wherever they are shown:
the two-level test over queries and seeds (`mean_test`), its spread between seeds borrowed from the source's other arms
where a comparison has a single seed, or two or three that agree more closely than those (`steadied`). Without anyone
that lends, an interval is over queries alone and decides nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..evaluation.power import smallest_effect
from ..evaluation.statistics import (
    LEVEL,
    Variances,
    mean_test,
    paired_scores,
    percentiles,
    pooled_spread,
    redrawn_means,
    split,
    steadied,
)
from ..published.comparison import Measure
from ..recipes import ZERO, Recipe
from ..runs import Run
from ..runs.passport import paper_recipe

if TYPE_CHECKING:
    from ..evaluation import Evaluation

POWER = 0.8
BORROWED = "borrowed from trainings of several seeds under the paper's switches"
BORROWED_AGAIN = "borrowed from trainings of several seeds that were evaluated under other switches, too"


@dataclass(frozen=True, eq=False)
class Estimate:
    """A weighted sum of arms' figures and its 95 % interval, in points of nDCG@10 (or hours).

    ``over`` says what the interval speaks about: ``15 data sets`` answers "would other data sets say the same", never
    "would another seed". Of runs it is ``queries and seeds``, or ``queries`` where nothing is known of seeds, and
    ``variances`` has what they are made of. ``drawn`` has the draws of data sets. Hours have neither.
    """

    value: float
    low: float
    high: float
    over: str
    seeds: int
    drawn: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    variances: Variances | None = None

    def p_of(self, bound: float) -> float:
        """Two-sided p-value of the sum being ``bound`` in truth; NaN of hours, and where seeds are not known."""
        if self.blind:
            return math.nan
        if self.variances:
            return mean_test(replace(self.variances, value=self.value - bound)).p
        # A draw at the bound itself speaks for neither side, so it counts for both.
        sides = [int((self.drawn <= bound).sum()), int((self.drawn >= bound).sum())]
        return min(1.0, 2 * (1 + min(sides)) / (1 + self.drawn.size)) if self.drawn.size else math.nan

    @cached_property
    def p(self) -> float:
        """Two-sided p-value of there being no difference."""
        return self.p_of(0.0)

    @property
    def blind(self) -> bool:
        """Whether it comes from runs of which the spread between seeds is not known."""
        return self.variances is not None and math.isnan(self.variances.seeds)

    @property
    def spread(self) -> str:
        """Where the spread between seeds comes from; empty for published figures."""
        return self.variances.source if self.variances else ""

    @cached_property
    def smallest(self) -> float:
        """The smallest true difference that as many seeds show in 80 of 100 cases; NaN where seeds are not known."""
        return smallest_effect(self.variances, self.seeds, POWER, 1 - LEVEL) if self.variances else math.nan


@dataclass(frozen=True, eq=False)
class TableEvidence:
    """Published means: ``scores`` has a row an arm and a column a data set (percent), ``hours`` GH200 hours by arm."""

    name: str
    scores: pd.DataFrame
    hours: Mapping[str, float] = field(default_factory=dict)
    full_scale: bool = True

    def missing(self, arms: Iterable[str], measure: Measure = "nDCG@10") -> tuple[str, ...]:
        """Those of ``arms`` that the table, or the list of hours, does not name."""
        known = self.scores.index if measure == "nDCG@10" else self.hours
        return tuple(arm for arm in arms if arm not in known)

    def per_collection(self, arms: Mapping[str, float]) -> pd.Series:
        """The weighted sum on each data set, in points."""
        return sum((weight * self.scores.loc[arm] for arm, weight in arms.items()), 0.0 * self.scores.iloc[0])

    def contrast(self, arms: Mapping[str, float], measure: Measure = "nDCG@10") -> Estimate | None:
        """The weighted sum, and how it varies when the data sets are drawn again; hours have no such interval."""
        if self.missing(arms, measure):
            return None
        if measure == "GH200 hours":
            hours = float(sum(weight * self.hours[arm] for arm, weight in arms.items()))
            return Estimate(hours, hours, hours, "none, hours are not resampled", 1)
        values = self.per_collection(arms).to_numpy(float)
        drawn = redrawn_means(values)
        return Estimate(float(values.mean()), *percentiles(drawn), f"{len(values)} data sets", 1, drawn)


@dataclass(frozen=True, eq=False)
class RunEvidence:
    """Per-query figures of trained runs: ``evaluations[printed recipe][seed]``.

    ``full_scale`` is for runs of profile ``paper`` alone; anything smaller tests directions. ``marks`` are figures that
    no seed of ours changes, by name: BM25's, or those of a start that others trained.
    """

    name: str
    evaluations: Mapping[str, Mapping[int, Evaluation]]
    full_scale: bool = False
    marks: Mapping[str, Evaluation] = field(default_factory=dict)

    @classmethod
    def of_tables(
        cls,
        name: str,
        tables: Iterable[tuple[Mapping[str, Any], Evaluation]],
        marks: Mapping[str, Evaluation] | None = None,
    ) -> RunEvidence:
        """Passports with their figures, by recipe and seed; a start that was only measured is one of the marks."""
        found: dict[str, dict[int, Evaluation]] = {}
        fixed = dict(marks or {})
        profiles = set()
        for passport, table in tables:
            recipe = paper_recipe(passport)
            if recipe == ZERO and "start" in passport:
                fixed[str(recipe)] = table
            else:
                found.setdefault(str(recipe), {})[int(passport["seed"])] = table
            profiles.add(passport["profile"])
        return cls(name, found, profiles == {"paper"}, fixed)

    @classmethod
    def of_runs(cls, name: str, runs: Iterable[Run]) -> RunEvidence:
        """The test figures of finished runs."""
        from ..evaluation.results import Evaluation

        return cls.of_tables(name, ((run.passport, Evaluation(run.per_query())) for run in runs))

    @cached_property
    def means(self) -> dict[str, dict[int, float]]:
        """Mean nDCG@10 over collections, in points: recipe -> seed -> mean."""
        return {
            arm: {seed: 100 * found.mean() for seed, found in of_seeds.items()}
            for arm, of_seeds in self.evaluations.items()
        }

    @cached_property
    def spread_of_trainings(self) -> tuple[float, float]:
        """`pooled_spread` of the means of each training under the paper's own switches.

        Other switches lend nothing: what an odd one does to a training now and then is no measure of the rest.
        """
        recipes = {arm: Recipe.parse(arm) for arm in self.means}
        # What goes on from one supervised step is of one family.
        return pooled_spread(
            (recipe.first(2), [*self.means[arm].values()])
            for arm, recipe in recipes.items()
            if recipe.trains and all(step.is_of_the_paper for step in recipe)
        )

    @cached_property
    def spread_of_evaluations(self) -> tuple[float, float]:
        """`pooled_spread` of each evaluation under other switches less that of the same training as trained."""
        differences = []
        for arm, of_seeds in self.means.items():
            recipe = Recipe.parse(arm)
            as_trained = self.means.get(str(recipe.training), {})
            if not recipe.trains:
                shared = [of_seeds[seed] - as_trained[seed] for seed in of_seeds if seed in as_trained]
                differences.append((recipe.training, shared))
        return pooled_spread(differences, alike=0.5)  # each is less the same figure

    def missing(self, arms: Iterable[str]) -> tuple[str, ...]:
        """Those of ``arms`` without a run."""
        return tuple(arm for arm in arms if arm not in self.marks and not self.evaluations.get(arm))

    def seeds(self, arms: Iterable[str]) -> tuple[int, ...]:
        """The seeds that every one of ``arms`` was run with; a mark has any."""
        common = [set(self.evaluations.get(arm, {})) for arm in arms if arm not in self.marks]
        return tuple(sorted(set.intersection(*common))) if common else ()

    def contrast(self, arms: Mapping[str, float], measure: Measure = "nDCG@10") -> Estimate | None:
        """The weighted sum over the seeds that all arms share, paired by query and by seed; hours are not known."""
        seeds = self.seeds(arms)
        if measure != "nDCG@10" or not seeds:
            return None
        sides = [(weight, [self._of(arm, seed) for seed in seeds]) for arm, weight in arms.items()]
        found = split(paired_scores(sides))
        if lent := self._lent_spread(arms):
            found = steadied(found, *lent)
        test = mean_test(found)
        over = "queries" if math.isnan(found.seeds) else "queries and seeds"
        return Estimate(test.value, test.low, test.high, over, len(seeds), variances=found)

    def _of(self, arm: str, seed: int) -> Evaluation:
        return self.marks[arm] if arm in self.marks else self.evaluations[arm][seed]

    def _lent_spread(self, weights: Mapping[str, float]) -> tuple[float, float, str] | None:
        """The variance between seeds of a weighted sum of arms, as the arms of several seeds have it.

        Evaluations of one training cancel its luck as far as their weights do; each of them under other switches than
        the training's adds the luck of such an evaluation. Trainings that share steps vary less against each other than
        this says, which errs on the side of caution. With the degrees of freedom (Satterthwaite's, where both
        count) and the words for where it comes from. None where no arm of several seeds tells.
        """
        trained: dict[str, float] = defaultdict(float)
        again = 0.0
        for arm, weight in weights.items():
            if arm in self.marks:
                continue
            recipe = Recipe.parse(arm)
            trained[str(recipe.training)] += weight
            again += 0.0 if recipe.trains else weight**2
        parts = []
        if trainings := sum(weight**2 for weight in trained.values() if abs(weight) > 1e-9):
            parts.append((trainings, *self.spread_of_trainings))
        if again:
            parts.append((again, *self.spread_of_evaluations))
        if not parts or not all(degrees for _, _, degrees in parts):
            return None
        variance = sum(weight * spread for weight, spread, _ in parts)
        shares = sum((weight * spread) ** 2 / degrees for weight, spread, degrees in parts)
        freedom = variance**2 / shares if shares else min(degrees for _, _, degrees in parts)
        return variance, freedom, BORROWED if trainings else BORROWED_AGAIN


Evidence = TableEvidence | RunEvidence
