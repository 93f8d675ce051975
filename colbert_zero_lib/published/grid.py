"""Tables 3 to 5 beside trained runs: each arm's mean, each delta with a test that knows its seeds, and its power.

Figures of runs come from `evidence`, tests from ``evaluation``; torch is not needed, how runs are trained not known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import ParameterError
from ..evaluation.power import seeds_needed
from ..evaluation.statistics import seed_summary
from ..home import data_folder
from ..recipes import Recipe
from ..runs.arms import arm_name, baseline_of
from .deltas import POWER, Delta, compare, delta_columns, lent_words
from .effects import start_of
from .evidence import LEVEL, QUERY_DRAWS, RunEvidence
from .tables import paper_table
from .verdict_tables import holm
from .verdicts import NOTHING

AGREES, WITHIN_NOISE, DIFFERS = "agrees", "within noise", "differs"
NOT_RESOLVABLE = "not resolvable at this scale"
NOT_RUN = "not run"
EFFECT = 0.3  # points: near the paper's distance between pipelines (b) and (c)
RULE = (
    f"agrees, differs: the {LEVEL:.0%} interval leaves out zero on the paper's side, or on the other; within noise: it "
    "holds zero, though these collections and seeds would show a delta of the paper's size in "
    f"{POWER:.0%} of all cases; {NOT_RESOLVABLE}: it holds zero and they would not"
)

_SWITCHED = {"prompts": ("yes", "no"), "length": ("no", "yes"), "both": ("yes", "yes")}
_PRINTED = {"prompts": "delta_prompt", "length": "delta_length", "both": "delta_both"}


def grid_verdict(paper: float, delta: Delta | None) -> str:
    """What runs of another scale say about a delta that the paper prints; both in points. See `RULE`.

    Only the sign is asked: an interval that leaves out zero ``agrees`` or ``differs``. One that holds zero is ``within
    noise`` if a true delta of the paper's size would have been found in 80 of 100 cases, else ``not resolvable at this
    scale``; so it is, too, when nothing is known of the spread between seeds, whatever the interval over queries says.
    A printed delta of exactly 0 has no sign to agree with.
    """
    if delta is None:
        return NOT_RUN
    if math.isnan(delta.smallest):
        return NOT_RESOLVABLE
    if delta.low <= 0 <= delta.high:
        return WITHIN_NOISE if delta.smallest <= abs(paper) else NOT_RESOLVABLE
    return AGREES if paper and (delta.low > 0) == (paper > 0) else DIFFERS


def paper_deltas(folder: Path | None = None) -> pd.DataFrame:
    """The cells of Table 5, one a row: start, stage, effect, paper (points), and the recipes arm and baseline.

    ``folder`` is the root of a ``data`` folder. Cells that the paper leaves empty are left out.
    """
    root = (folder or data_folder()) / "paper"
    recipes: dict[tuple[Any, ...], str] = {}
    for row in paper_table(4, root).itertuples():
        if not row.note:
            block, switches = (row.section, row.base_prompts, row.stage), (row.plus_prompt, row.plus_length)
            recipes[block, switches] = row.recipe
    rows = []
    for row in paper_table(5, root).itertuples():
        block = (row.section, row.base_prompts, row.stage)
        for effect, switches in _SWITCHED.items():
            printed = float(getattr(row, _PRINTED[effect]))
            if not math.isnan(printed):
                start = start_of(row.section, row.base_prompts)
                arms = (recipes[block, switches], recipes[block, ("no", "no")])
                rows.append((start, row.stage, effect, printed, *arms))
    return pd.DataFrame(rows, columns=["start", "stage", "effect", "paper", "arm", "baseline"])


def delta_findings(source: RunEvidence, folder: Path | None = None) -> pd.DataFrame:
    """Every cell of Table 5 beside the same delta in the source's runs, one a row, in points.

    Columns: those of `paper_deltas`, source, value, low, high, p, drawn_low, drawn_high, seeds, smallest (as in
    `Delta`; NaN and 0 seeds where an arm was not run), ``spread`` (where the spread between seeds comes from),
    ``p_holm`` (p after Holm's correction over the deltas tested: they are one family) and verdict (see `RULE`).
    """
    table = paper_deltas(folder)
    found = [compare(source, *arms) for arms in zip(table["arm"], table["baseline"], strict=True)]
    table = table.assign(source=source.name, **delta_columns(found))
    table["spread"] = [delta.variances.source if delta else "" for delta in found]
    table["p_holm"] = holm(table["p"].to_numpy(float))
    table["verdict"] = [grid_verdict(*pair) for pair in zip(table["paper"], found, strict=True)]
    return table


def row_findings(number: int, source: RunEvidence, folder: Path | None = None) -> pd.DataFrame:
    """Every row of Table 3 or 4 beside the mean of the same arm in the source's runs, in points.

    Columns: start, stage, switches, recipe, source, paper; mean, mean_low, mean_high (bootstrap over queries, and over
    seeds where there are several), seeds, ``by_seed`` (each seed's mean) and deviation (between seeds); then the row
    less the arm with neither switch, whose sign is all that runs of another scale can be asked: paper_delta, and
    value, low, high, p, drawn_low, drawn_high, smallest as in `Delta`, and verdict. Rows that are that arm, or have no
    ColBERT step, have none. ParameterError for another table.
    """
    if number not in (3, 4):
        raise ParameterError(f"The grid has rows in Tables 3 and 4, not in Table {number}: use 3 or 4.")
    table = paper_table(number, (folder or data_folder()) / "paper")
    printed = dict(zip(table["recipe"], table["average_printed"], strict=True))
    rows, deltas = [], []
    for recipe, paper in printed.items():
        baseline = baseline_of(Recipe.parse(recipe))
        below = None if baseline is None else str(baseline)
        delta = compare(source, recipe, below) if below else None
        deltas.append(delta)
        paper_delta = paper - printed[below] if below in printed else math.nan
        said = NOTHING if below is None else grid_verdict(paper_delta, delta)
        name = arm_name(Recipe.parse(recipe))
        about = {"start": name.start, "stage": name.stage, "switches": name.switches, "recipe": recipe}
        of_seeds = _mean(source.evaluations.get(recipe, {}))
        asked = {"source": source.name, "paper": paper, "paper_delta": paper_delta, "verdict": said}
        rows.append({**about, **asked, **of_seeds})
    own = delta_columns(deltas)
    own.pop("seeds")  # those of the arm stand in its row already
    return pd.DataFrame(rows).assign(**own)[_ROW_COLUMNS]


_ROW_COLUMNS = [
    "start", "stage", "switches", "recipe", "source", "paper", "mean", "mean_low", "mean_high", "seeds", "by_seed",
    "deviation", "paper_delta", "value", "low", "high", "p", "drawn_low", "drawn_high", "smallest", "verdict",
]  # fmt: skip


def power_findings(source: RunEvidence, effect: float = EFFECT, folder: Path | None = None) -> pd.DataFrame:
    """How many seeds each delta of Table 5 needs to show ``effect`` points, or the paper's delta, in 80 of 100 cases.

    Columns: start, stage, effect, paper; seeds (run); of_queries and of_seeds (standard deviations in points: of the
    mean because of its queries, and of one seed's mean); smallest (shown by the seeds that were run), floor (shown by
    any number of seeds); needed (seeds for ``effect``; NA where no number is enough or nothing is known),
    needed_for_paper, and reason (one sentence). Deltas that were not run have only their names.
    """
    rows = []
    for row in paper_deltas(folder).itertuples():
        delta = compare(source, row.arm, row.baseline)
        about = {"start": row.start, "stage": row.stage, "effect": row.effect, "paper": row.paper}
        if delta is None:
            rows.append({**about, "seeds": 0, "reason": "One of the two arms was not run."})
            continue
        spread = delta.variances
        asked = seeds_needed(spread, effect, POWER, 1 - LEVEL)
        as_printed = seeds_needed(spread, abs(row.paper), POWER, 1 - LEVEL) if row.paper else None
        rows.append(
            {
                **about,
                "seeds": delta.seeds,
                "of_queries": math.sqrt(spread.queries),
                "of_seeds": math.sqrt(spread.seeds),
                "smallest": delta.smallest,
                "floor": asked.smallest,
                "needed": asked.seeds,
                "needed_for_paper": as_printed.seeds if as_printed else None,
                "reason": asked.reason,
            }
        )
    columns = ["start", "stage", "effect", "paper", "seeds", "of_queries", "of_seeds", "smallest", "floor"]
    table = pd.DataFrame(rows, columns=[*columns, "needed", "needed_for_paper", "reason"])
    return table.astype({"needed": "Int64", "needed_for_paper": "Int64"})


def delta_caption(findings: pd.DataFrame) -> str:
    """What stands above a table of `delta_findings`: what was tested and corrected, how it came out, and the rule."""
    run = findings[findings["seeds"] > 0]
    tested = int(run["p"].notna().sum())
    kept = int((run["p_holm"] < 1 - LEVEL).sum())
    sources = ", ".join(sorted(set(findings["source"])))
    return (
        f"Table 5 and {sources}: deltas in points of nDCG@10, {len(run)} of {len(findings)} run. Intervals and p count "
        f"queries and seeds (two-level test); p (Holm) is corrected over the {tested} deltas tested, and {kept} of "
        f"them stay below {1 - LEVEL:.2f}.{lent_words(run)} Verdicts ask for the sign only, each by its own interval; "
        f"{RULE}."
    )


def _mean(evaluations: Mapping[int, Any]) -> dict[str, Any]:
    if not evaluations:
        nothing = dict.fromkeys(("mean", "mean_low", "mean_high", "deviation"), math.nan)
        return {**nothing, "seeds": 0, "by_seed": ()}
    found = seed_summary(
        [evaluations[seed] for seed in sorted(evaluations)], level=LEVEL, samples=QUERY_DRAWS
    )
    return {
        "mean": 100 * found.mean,
        "mean_low": 100 * found.low,
        "mean_high": 100 * found.high,
        "deviation": 100 * found.deviation,
        "seeds": len(found.seeds),
        "by_seed": tuple(100 * value for value in found.seeds),
    }
