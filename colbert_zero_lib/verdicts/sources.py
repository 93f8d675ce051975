"""Where figures come from: the paper, MTEB's rerun, recorded runs, the reader's runs.

What is known of a comparison of them is worked out in `evidence`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ..home import data_folder
from ..home import home as default_home
from ..profiles import Profile, get_profile
from ..published.recorded import recorded_marks, recorded_tables
from ..published.tables import BEIR, MTEB_MODELS, mteb_beir, paper_scores, paper_table
from ..recipes import Interaction, Phase, Recipe, Step
from ..runs import Ledger, Run, canonical_json
from ..runs.passport import paper_recipe
from .evidence import Evidence, RunEvidence, TableEvidence


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
    runs = (folder or data_folder()) / "runs"
    found, marks = recorded_tables(profile, runs), recorded_marks(profile, runs)
    return replace(
        RunEvidence.of_tables(f"recorded ({profile})", found, marks), full_scale=profile == "paper"
    )


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
        if canonical_json(settings) != canonical_json(current.settings(recipe.steps, _begun(run))):
            continue
        # What a recipe begins from is part of its name, unless it is the profile's own base.
        base = None if "start" in run.passport else key.get("base")
        circumstances = canonical_json(
            {**around, "base": base, **{part: key.get(part) for part in ("data", "versions")}}
        )
        sets.setdefault(circumstances, {})[str(paper_recipe(run.passport)), int(key["seed"])] = run
    chosen = max(sorted(sets.items()), key=lambda item: len(item[1]))[1] if sets else {}
    return RunEvidence.of_runs(f"yours ({current.name})", [run for _, run in sorted(chosen.items())])


def _begun(run: Run) -> Step | None:
    """A step of the interaction that a run's start had, where its passport says so: what a first step follows."""
    start = run.passport.get("start")
    interaction = start.get("interaction") if isinstance(start, Mapping) else None
    return Step(interaction, Phase.UNSUPERVISED) if interaction in list(Interaction) else None


def verdict_sources(runs: Iterable[Run], recorded: str) -> tuple[Evidence, ...]:
    """A verdict table's columns: the paper, MTEB's rerun, recorded runs of profile ``recorded``, these ``runs``."""
    runs = list(runs)
    profiles = ", ".join(sorted({str(run.passport["profile"]) for run in runs}))
    yours = RunEvidence.of_runs(f"yours ({profiles})" if profiles else "yours", runs)
    return paper_evidence(), mteb_evidence(), recorded_evidence(recorded), yours
