"""Sources of figures that claims are held against: the paper, MTEB's rerun, recorded runs, the reader's runs.

What a claim asks is in ``claims``; what a source's interval says about it is in ``verdicts``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..evaluation.power import pooled_spread
from ..evaluation.statistics import contrast as paired_contrast
from ..home import data_folder
from ..home import home as default_home
from ..profiles import Profile, get_profile
from ..published.comparison import Measure
from ..published.recorded import recorded_tables
from ..published.tables import BEIR, MTEB_MODELS, mteb_beir, paper_scores, paper_table
from ..recipes import Recipe
from ..runs import Ledger, Run, canonical_json
from ..runs.passport import paper_recipe

if TYPE_CHECKING:
    from ..evaluation import Evaluation

LEVEL = 0.95
DRAWS = 10_000  # of data sets: cheap, so that the ends of an interval do not depend on the seed
QUERY_DRAWS = 2_000  # of queries and seeds, as everywhere in the suite
_SEED = 0


@dataclass(frozen=True, eq=False)
class Estimate:
    """A weighted sum of arms' figures and its 95 % percentile bootstrap interval, in points of nDCG@10 (or hours).

    ``unit_of_resampling`` says what the interval speaks about: drawing the ``15 data sets`` answers "would other
    data sets say the same", never "would another seed". Drawn from 15, such an interval is a little narrow: in
    simulations it misses the truth 7 (normal) to 11 (skewed) times in 100 instead of 5. ``drawn`` holds the draws;
    empty for figures without any, such as hours, whose ``low`` and ``high`` are the value itself.
    """

    value: float
    low: float
    high: float
    unit_of_resampling: str
    seeds: int
    drawn: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)


@dataclass(frozen=True, eq=False)
class TableEvidence:
    """Published means: ``scores`` has a row an arm and a column a data set (percent), ``hours`` GH200 hours by arm."""

    name: str
    scores: pd.DataFrame
    hours: Mapping[str, float] = field(default_factory=dict)
    full_scale: bool = True

    @cached_property
    def _draws(self) -> np.ndarray:
        count = self.scores.shape[1]
        # The draws of `bootstrap_mean_interval`, so that one comparison has one interval wherever it is printed.
        return np.random.default_rng([_SEED, 1]).integers(count, size=(DRAWS, count))

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
        drawn = values[self._draws].mean(axis=1)
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        unit = f"{len(values)} data sets"
        return Estimate(float(values.mean()), float(low), float(high), unit, 1, drawn)


@dataclass(frozen=True, eq=False)
class RunEvidence:
    """Per-query figures of trained runs: ``evaluations[printed recipe][seed]``.

    ``full_scale`` is for runs of profile ``paper`` alone; anything smaller tests directions.
    """

    name: str
    evaluations: Mapping[str, Mapping[int, Evaluation]]
    full_scale: bool = False

    @classmethod
    def of_runs(cls, name: str, runs: Iterable[Run]) -> RunEvidence:
        """The test figures of finished runs, by the recipe and the seed in their passports."""
        from ..evaluation.results import Evaluation

        found: dict[str, dict[int, Evaluation]] = {}
        profiles = set()
        for run in runs:
            seeds = found.setdefault(str(paper_recipe(run.passport)), {})
            seeds[int(run.passport["seed"])] = Evaluation(run.per_query())
            profiles.add(run.passport["profile"])
        return cls(name, found, full_scale=profiles == {"paper"})

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

        Prefixes of other kinds lend nothing: what an odd one does to a training now and then is no measure of the rest.
        """
        recipes = {arm: Recipe.parse(arm) for arm in self.means}
        plain = (
            arm
            for arm, recipe in recipes.items()
            if recipe.trains and all(step.prefix is None for step in recipe)
        )
        return pooled_spread([*self.means[arm].values()] for arm in plain)

    @cached_property
    def spread_of_evaluations(self) -> tuple[float, float]:
        """`pooled_spread` of each evaluation under other switches less that of the same training as trained."""
        differences = []
        for arm, of_seeds in self.means.items():
            recipe = Recipe.parse(arm)
            as_trained = self.means.get(str(recipe.training), {})
            if not recipe.trains:
                differences.append(
                    [of_seeds[seed] - as_trained[seed] for seed in of_seeds if seed in as_trained]
                )
        return pooled_spread(differences)

    def missing(self, arms: Iterable[str], measure: Measure = "nDCG@10") -> tuple[str, ...]:
        """Those of ``arms`` without a run; GH200 hours are known of none."""
        return tuple(arm for arm in arms if measure != "nDCG@10" or not self.evaluations.get(arm))

    def seeds(self, arms: Iterable[str]) -> tuple[int, ...]:
        """The seeds that every one of ``arms`` was run with."""
        common = [set(self.evaluations.get(arm, {})) for arm in arms]
        return tuple(sorted(set.intersection(*common))) if common else ()

    def contrast(self, arms: Mapping[str, float], measure: Measure = "nDCG@10") -> Estimate | None:
        """The weighted sum over the seeds that all arms share, paired by query and by seed."""
        seeds = self.seeds(arms)
        if self.missing(arms, measure) or not seeds:
            return None
        sides = [(weight, [self.evaluations[arm][seed] for seed in seeds]) for arm, weight in arms.items()]
        found = paired_contrast(sides, level=LEVEL, samples=QUERY_DRAWS, seed=_SEED)
        unit = "queries and seeds" if len(seeds) > 1 else "queries"
        value, low, high = 100 * found.value, 100 * found.low, 100 * found.high
        return Estimate(value, low, high, unit, len(seeds), 100 * found.drawn)


# Draws of one source are paired: the same data sets, or queries, in every contrast.
Evidence = TableEvidence | RunEvidence


def paper_evidence(folder: Path | None = None) -> TableEvidence:
    """The printed figures of Tables 2 to 4, and Figure 2's hours; ``folder`` is the root of a ``data`` folder."""
    root = folder or data_folder()
    table2, figure2 = (paper_table(which, root / "paper") for which in (2, "figure2"))
    recipe_of = dict(zip(table2["model"], table2["recipe"], strict=True))
    hours = {
        str(recipe_of.get(model) or model): float(spent)
        for model, spent in zip(figure2["model"], figure2["colbert_gpu_hours_gh200"], strict=True)
    }
    return TableEvidence("paper", paper_scores(root)[list(BEIR)], hours)


def mteb_evidence(folder: Path | None = None) -> TableEvidence:
    """MTEB's figures of the released checkpoints that Table 2 prints too; ``folder`` as in ``paper_evidence``."""
    root = folder or data_folder()
    rerun, table2 = mteb_beir(root / "mteb"), paper_table(2, root / "paper")
    rows = {
        str(recipe or model): rerun.loc[MTEB_MODELS[model], list(BEIR)]
        for model, recipe in zip(table2["model"], table2["recipe"], strict=True)
        if MTEB_MODELS.get(model) in rerun.index
    }
    return TableEvidence("MTEB rerun", pd.DataFrame(rows).T.astype(float).reindex(columns=list(BEIR)))


def recorded_evidence(profile: str, folder: Path | None = None) -> RunEvidence:
    """The runs of a profile that are recorded under ``data/runs``; ProfileError for a profile that does not exist."""
    get_profile(profile)
    found: dict[str, dict[int, Evaluation]] = {}
    for passport, table in recorded_tables(profile, (folder or data_folder()) / "runs"):
        found.setdefault(str(paper_recipe(passport)), {})[int(passport["seed"])] = table
    return RunEvidence(f"recorded ({profile})", found, full_scale=profile == "paper")


def ledger_evidence(profile: str | Profile, home: Path | None = None) -> RunEvidence:
    """The reader's own finished runs of a profile, as its settings are now; ``home`` as ``COLBERT_ZERO_HOME``.

    Only runs of one set of circumstances (text, library versions, device, precision) are compared with each other:
    the set that has most runs. Reads passports and per-query tables, no model. ProfileError for an unknown profile.
    """
    current = get_profile(profile) if isinstance(profile, str) else profile
    sets: dict[str, dict[tuple[str, int], Run]] = {}
    for run in Ledger((home or default_home()) / "runs").runs():
        key = run.passport.get("key", {})
        settings = dict(key.get("settings", {}))
        around = {name: settings.pop(name, None) for name in ("device", "precision")}
        settings.pop("teacher", None)  # follows from the text and the library, which are compared
        if key.get("profile") != current.name or not run.per_query_file.is_file():
            continue
        recipe = Recipe.parse(key["recipe"])
        if canonical_json(settings) != canonical_json(current.settings(recipe.steps)):
            continue
        # What a recipe begins from is part of its name, unless it is the profile's own base.
        base = None if "start" in run.passport else key.get("base")
        circumstances = canonical_json(
            {**around, "base": base, **{part: key.get(part) for part in ("data", "versions")}}
        )
        sets.setdefault(circumstances, {})[str(paper_recipe(run.passport)), int(key["seed"])] = run
    chosen = max(sorted(sets.items()), key=lambda item: len(item[1]))[1] if sets else {}
    return RunEvidence.of_runs(f"yours ({current.name})", [run for _, run in sorted(chosen.items())])


def verdict_sources(runs: Iterable[Run], recorded: str) -> tuple[Evidence, ...]:
    """A verdict table's columns: the paper, MTEB's rerun, recorded runs of profile ``recorded``, these ``runs``."""
    runs = list(runs)
    profiles = ", ".join(sorted({str(run.passport["profile"]) for run in runs}))
    yours = RunEvidence.of_runs(f"yours ({profiles})" if profiles else "yours", runs)
    return paper_evidence(), mteb_evidence(), recorded_evidence(recorded), yours
