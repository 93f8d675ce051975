"""Tables 3 to 5 beside trained runs: each arm's mean, each delta with a test that knows its seeds, and its power.

Every row is one weighted sum of arms; how one is tested is in `deltas`, what it says is decided in `verdict`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from ..errors import ParameterError
from ..evaluation.power import seeds_needed
from ..evaluation.statistics import LEVEL
from ..published.tables import paper_table
from ..recipes import Recipe
from ..runs.arms import arm_name, baseline_of
from .deltas import Comparison, caption, findings
from .effects import EFFECTS, blocks, contrast, start_of
from .evidence import POWER, RunEvidence
from .verdict import EFFECT, NOTHING, SIGN_RULE

# `sum` is no question of its own: it is what both would be without an interaction.
SHOWN = ("prompts", "length", "both", "interaction", "length at evaluation")
_PRINTED = {"prompts": "delta_prompt", "length": "delta_length", "both": "delta_both"}


def paper_deltas() -> pd.DataFrame:
    """The cells of Table 5, one a row: start, stage, effect, paper (points), and the recipes arm and baseline.

    Cells that the paper leaves empty are left out.
    """
    arms = {(start, stage): rows["recipe"] for start, stage, _, rows in blocks(paper_table(4))}
    rows = []
    for row in paper_table(5).itertuples():
        block = (start_of(row.section, row.base_prompts), row.stage)
        for effect, column in _PRINTED.items():
            if not math.isnan(printed := getattr(row, column)):
                rows.append(
                    (*block, effect, printed, *(arms[block].loc[[arm]].item() for arm in EFFECTS[effect]))
                )
    return pd.DataFrame(rows, columns=["start", "stage", "effect", "paper", "arm", "baseline"])


def delta_findings(source: RunEvidence) -> pd.DataFrame:
    """Every cell of Table 5 beside the same delta in the source's runs: `paper_deltas` as `findings`, one family."""
    rows = paper_deltas().to_dict("records")
    return findings(source, [(row, {row["arm"]: 1.0, row["baseline"]: -1.0}) for row in rows])


def row_findings(number: int, source: RunEvidence) -> pd.DataFrame:
    """Every row of Table 3 or 4 beside the mean of the same arm in the source's runs, in points.

    Columns: start, stage, switches, recipe, source, paper; mean, mean_low, mean_high, mean_spread (two-level test),
    seeds and ``by_seed`` (each seed's mean); then the row less the arm with neither switch, whose sign is all that runs
    of another scale can be asked: paper_delta, and value, low, high, p, smallest as in `Estimate`, and verdict. Rows
    that are that arm, or have no ColBERT step, have none. ParameterError for another table.
    """
    if number not in (3, 4):
        raise ParameterError(f"The grid has rows in Tables 3 and 4, not in Table {number}: use 3 or 4.")
    table = paper_table(number)
    printed = dict(zip(table["recipe"], table["average_printed"], strict=True))
    rows: list[Comparison] = []
    for recipe, paper in printed.items():
        name, baseline = arm_name(Recipe.parse(recipe)), baseline_of(Recipe.parse(recipe))
        below = baseline and str(baseline)
        about = {"start": name.start, "stage": name.stage, "switches": name.switches, "recipe": recipe}
        about |= {"below": below, "paper": paper - printed.get(below, math.nan)}
        rows.append((about, {recipe: 1.0, below: -1.0} if below else {}))
    found = findings(source, rows)
    found["verdict"] = found["verdict"].where(found["below"].notna(), NOTHING)
    means = pd.DataFrame([_mean(source, recipe) for recipe in printed])
    about = found.rename(columns={"paper": "paper_delta"}).drop(
        columns=["seeds", "spread", "p_holm", "below"]
    )
    return about.assign(paper=list(printed.values()), **{name: means[name] for name in means})


def alignment_findings(source: RunEvidence) -> pd.DataFrame:
    """Fine-tuning with what pre-training had, less fine-tuning with the opposite, from every start of Table 4.

    With prompts and their length where the start was pre-trained with them, without both where it was not. One row a
    start and stage; those of Table 3 are the distilled ones from unsupervised starts. Columns: start, stage, matched
    and mismatched (printed recipes), paper, paper_low, paper_high (points, the interval over the 15 data sets), then
    those of `findings`.
    """

    def rows() -> Iterator[Comparison]:
        for start, stage, knows_prompts, arms in blocks(paper_table(4)):
            sign = 1.0 if knows_prompts else -1.0
            paper, recipes = _weighed(arms, {arm: sign * weight for arm, weight in EFFECTS["both"].items()})
            matched, mismatched = sorted(recipes, key=lambda recipe: -recipes[recipe])
            about = {"start": start, "stage": stage, "matched": matched, "mismatched": mismatched}
            yield about | paper, recipes

    return findings(source, rows())


def effect_findings(source: RunEvidence) -> pd.DataFrame:
    """What each switch adds over the arm with neither, and the interaction, in every block of Table 4.

    One row a block and effect: ``prompts``, ``length``, ``both``, ``interaction`` (both less the sum of the single
    two), ``length at evaluation`` (the same weights at a longer limit), as far as the paper trained the arms. Columns:
    start, stage, effect, then those of `alignment_findings` from ``paper`` on.
    """

    def rows() -> Iterator[Comparison]:
        for start, stage, _, arms in blocks(paper_table(4)):
            for effect in SHOWN:
                if set(EFFECTS[effect]) <= set(arms.index):
                    paper, recipes = _weighed(arms, EFFECTS[effect])
                    yield {"start": start, "stage": stage, "effect": effect} | paper, recipes

    return findings(source, rows())


def _weighed(arms: pd.DataFrame, weights: Mapping[Any, float]) -> tuple[dict[str, float], dict[str, float]]:
    """The paper's figure of a weighted sum of a block's arms with its interval, and the weights by printed recipe."""
    found = contrast(arms, weights)
    # .loc with a tuple would look for a row and a column
    recipes = dict(zip(arms.index, arms["recipe"], strict=True))
    paper = {"paper": found.mean, "paper_low": found.low, "paper_high": found.high}
    return paper, {recipes[arm]: weight for arm, weight in weights.items()}


def power_findings(source: RunEvidence, effect: float = EFFECT) -> pd.DataFrame:
    """How many seeds each delta of Table 5 needs to show ``effect`` points, or the paper's delta, in 80 of 100 cases.

    Columns: start, stage, effect, paper; seeds (run); of_queries and of_seeds (standard deviations in points: of the
    mean because of its queries, and of one seed's mean); smallest (shown by the seeds that were run), floor (shown by
    any number of seeds); needed (seeds for ``effect``; NA where no number is enough or nothing is known),
    needed_for_paper, and reason (one sentence). Deltas that were not run have only their names.
    """
    rows = []
    for row in paper_deltas().itertuples():
        delta = source.contrast({row.arm: 1.0, row.baseline: -1.0})
        about = (row.start, row.stage, row.effect, row.paper)
        if delta is None:
            rows.append((*about, 0, *[math.nan] * 4, None, None, "One of the two arms was not run."))
            continue
        spread = delta.variances
        assert spread is not None  # runs have variances
        asked = seeds_needed(spread, effect, POWER, 1 - LEVEL)
        as_printed = seeds_needed(spread, abs(row.paper), POWER, 1 - LEVEL).seeds if row.paper else None
        shown = (math.sqrt(spread.queries), math.sqrt(spread.seeds), delta.smallest, asked.smallest)
        rows.append((*about, delta.seeds, *shown, asked.seeds, as_printed, asked.reason))
    columns = ["start", "stage", "effect", "paper", "seeds", "of_queries", "of_seeds", "smallest", "floor"]
    table = pd.DataFrame(rows, columns=[*columns, "needed", "needed_for_paper", "reason"])
    return table.astype({"needed": "Int64", "needed_for_paper": "Int64"})


def delta_caption(findings: pd.DataFrame) -> str:
    """What stands above a table of `delta_findings`."""
    return caption(findings, "Deltas of Table 5", f"Verdicts ask for the sign only; {SIGN_RULE}")


def _mean(source: RunEvidence, recipe: str) -> dict[str, Any]:
    names = ("mean", "mean_low", "mean_high")
    found = source.contrast({recipe: 1.0})
    if found is None:
        return {**dict.fromkeys(names, math.nan), "mean_spread": "", "seeds": 0, "by_seed": ()}
    by_seed = tuple(source.means[recipe][seed] for seed in source.seeds([recipe]))
    means = dict(zip(names, (found.value, found.low, found.high), strict=True))
    return {**means, "mean_spread": found.spread, "seeds": found.seeds, "by_seed": by_seed}
