"""Prompts and length in runs beside the paper: alignment with pre-training, each effect, and both together.

Every row is one weighted sum of arms of Table 4; how one is tested is in ``grid``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..evaluation.statistics import Interval
from ..home import data_folder
from .deltas import delta_columns, weigh
from .effects import EFFECTS, blocks, contrast
from .evidence import RunEvidence
from .grid import grid_verdict
from .tables import paper_table
from .verdict_tables import holm

# `sum` is no question of its own: it is what both would be without an interaction.
SHOWN = ("prompts", "length", "both", "interaction", "length at evaluation")


@dataclass(frozen=True)
class _Row:
    about: Mapping[str, Any]
    weights: Mapping[str, float]  # by printed recipe
    paper: Interval


def alignment_findings(source: RunEvidence, folder: Path | None = None) -> pd.DataFrame:
    """Fine-tuning with what pre-training had, less fine-tuning with the opposite, from every start of Table 4.

    With prompts and their length where the start was pre-trained with them, without both where it was not. One row a
    start and stage; those of Table 3 are the distilled ones from unsupervised starts. Columns: start, stage, matched
    and mismatched (printed recipes), paper, paper_low, paper_high (points, the interval over the 15 data sets),
    source, the runs' value, low, high, p, drawn_low, drawn_high, seeds, smallest (as in `grid.Delta`), p_holm over
    the rows, verdict (`grid.RULE`). ``folder`` is the root of a ``data`` folder.
    """

    def rows() -> Iterator[_Row]:
        for start, stage, knows_prompts, arms in _blocks(folder):
            sign = 1.0 if knows_prompts else -1.0
            weights = {switches: sign * weight for switches, weight in EFFECTS["both"].items()}
            recipes = _by_recipe(arms, weights)
            matched, mismatched = sorted(recipes, key=lambda recipe: -recipes[recipe])
            about = {"start": start, "stage": stage, "matched": matched, "mismatched": mismatched}
            yield _Row(about, recipes, contrast(arms, weights))

    return _findings(source, list(rows()))


def effect_findings(source: RunEvidence, folder: Path | None = None) -> pd.DataFrame:
    """What each switch adds over the arm with neither, and the interaction, in every block of Table 4.

    One row a block and effect: ``prompts``, ``length``, ``both``, ``interaction`` (both less the sum of the single
    two), ``length at evaluation`` (the same weights at a longer limit), as far as the paper trained the arms. Columns:
    start, stage, effect, then those of `alignment_findings` from ``paper`` on.
    """
    table = [
        _Row({"start": start, "stage": stage, "effect": effect}, _by_recipe(arms, weights), found)
        for start, stage, _, arms in _blocks(folder)
        for effect, weights in EFFECTS.items()
        if effect in SHOWN and set(weights) <= set(arms.index)
        for found in [contrast(arms, weights)]
    ]
    return _findings(source, table)


def _blocks(folder: Path | None) -> Iterator[tuple[str, str, bool, pd.DataFrame]]:
    return blocks(paper_table(4, (folder or data_folder()) / "paper"))


def _by_recipe(arms: pd.DataFrame, weights: Mapping[Any, float]) -> dict[str, float]:
    # .loc with a tuple would look for a row and a column
    recipes = dict(zip(arms.index, arms["recipe"], strict=True))
    return {recipes[switches]: weight for switches, weight in weights.items()}


def _findings(source: RunEvidence, rows: list[_Row]) -> pd.DataFrame:
    found = [weigh(source, row.weights) for row in rows]
    table = pd.DataFrame([row.about for row in rows])
    table[["paper", "paper_low", "paper_high"]] = [row.paper for row in rows]
    table = table.assign(source=source.name, **delta_columns(found))
    table["p_holm"] = holm(table["p"].to_numpy(float))
    table["verdict"] = [grid_verdict(row.paper.mean, delta) for row, delta in zip(rows, found, strict=True)]
    return table
