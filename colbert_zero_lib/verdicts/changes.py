"""Arms that change one thing, each less what it was changed from; and the temperatures that were learned.

The arms are those of ``runs.change_arms``, tests come from `deltas`; torch is not needed.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from ..recipes import ZERO
from ..runs import Run
from ..runs.change_arms import ChangeArm, dense_arms
from ..runs.passport import paper_recipe
from ..steps import LEARNED
from .deltas import findings
from .evidence import RunEvidence
from .verdict import CLEARLY, NOT_RUN


def change_findings(source: RunEvidence, arms: Iterable[ChangeArm], runs: Iterable[Run] = ()) -> pd.DataFrame:
    """Every arm less its base, one a row, in points: columns base, change, recipe, learned, then those of `findings`.

    p is corrected over all rows. ``learned``: the temperatures that ``runs`` of the arm's last step ended with where it
    learned one, by seed; empty otherwise.
    """
    learned: dict[str, list[str]] = {}
    for run in sorted(runs, key=lambda run: run.passport["seed"]):
        if (recipe := paper_recipe(run.passport)).steps and recipe.steps[-1].temperature == LEARNED:
            value = run.passport.get("temperature", {}).get(recipe.steps[-1].phase.value)
            learned.setdefault(str(recipe), []).append("" if value is None else f"{value:.3f}")
    rows = [
        (
            {"base": arm.base, "change": arm.change, "recipe": str(arm.recipe)}
            | {"learned": ", ".join(learned.get(str(arm.recipe), []))},
            {str(arm.recipe): 1.0, str(arm.less): -1.0},
        )
        for arm in arms
    ]
    return findings(source, rows, signs=False)


def dense_findings(source: RunEvidence) -> pd.DataFrame:
    """What was made of a dense model that is there: `change_findings` of `dense_arms`, then (b) less each mark."""
    arms = dense_arms()
    (both,) = (arm for arm in arms if arm.change.endswith("(b)") and arm.less == ZERO)
    marked = (both._replace(base=mark, less=mark) for mark in source.marks if mark != str(ZERO))
    return change_findings(source, [*arms, *marked])


def dense_headline(table: pd.DataFrame) -> str:
    """How many ways to adapt the dense start are clearly above it, by the tests of `dense_findings`."""
    ways = table[(table["base"] == "the dense start") & (table["verdict"] != NOT_RUN)]
    clear = int((ways["verdict"].isin(CLEARLY) & (ways["value"] > 0)).sum())
    return f"{clear} of {len(ways)} ways to adapt a dense model are clearly above it"
