"""The three pipelines as trained: their level after each step, what each step gains, and their order at the end."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pandas as pd

from ..recipes import PIPELINES
from .deltas import findings
from .evidence import Estimate, Evidence, RunEvidence
from .verdict import AGREES, decide


def path_table(source: RunEvidence) -> pd.DataFrame:
    """A row for each step of each pipeline that was run, in points.

    Columns: pipeline, phase, interaction, mean, low, high (of the two-level test), deviation (between seeds) and spread
    (where that comes from).
    """
    rows = []
    for letter, recipe in PIPELINES.items():
        for step, prefix in zip(recipe, recipe.stages(), strict=True):
            if found := source.contrast({str(prefix): 1.0}):
                deviation = found.variances.seeds**0.5 if found.variances else float("nan")
                row = (found.value, found.low, found.high, deviation, found.spread)
                rows.append((letter, step.phase.value, step.interaction.value, *row))
    columns = ["pipeline", "phase", "interaction", "mean", "low", "high", "deviation", "spread"]
    return pd.DataFrame(rows, columns=columns)


def lead(source: Evidence, first: str, second: str, steps: int = 3) -> Estimate | None:
    """Points by which pipeline ``first`` is above ``second`` after ``steps`` steps; None where one was not run."""
    weights: Counter[str] = Counter()  # two pipelines may share a step
    for letter, sign in ((first, 1), (second, -1)):
        weights[str(PIPELINES[letter].stages()[steps - 1])] += sign
    return source.contrast(weights)


def order(source: RunEvidence, steps: int = 3) -> str:
    """The pipelines from best to worst: ``>`` where the verdict on a lead is clear, ``≈`` where it is not.

    Where no neighbours can be told apart it says whether the ends can.
    """
    path = path_table(source).groupby("pipeline")["mean"]
    means = {str(letter): own.iloc[steps - 1] for letter, own in path if len(own) >= steps}
    ranked = sorted(means, key=lambda letter: -means[letter])

    def clear(first: str, second: str) -> bool:
        return decide(lead(source, first, second, steps)) == AGREES

    signs = [" > " if clear(*neighbours) else " ≈ " for neighbours in pairwise(ranked)]
    told = [f"({letter}) {means[letter]:.1f}" for letter in ranked]
    said = "".join(sign + text for sign, text in zip(["", *signs], told, strict=True))
    if len(ranked) > 2 and " > " not in signs and clear(ranked[0], ranked[-1]):
        said += f"; paired by seed, only ({ranked[0]}) and ({ranked[-1]}) can be told apart"
    return said


def gains(source: RunEvidence, paper: Evidence) -> pd.DataFrame:
    """What each later step of each pipeline adds to the step before it: `findings` with columns pipeline and step.

    ``paper`` is the paper's own gain, NaN where it printed no score of the step before.
    """
    rows = []
    for letter, recipe in PIPELINES.items():
        for step, (before, after) in zip(recipe.steps[1:], pairwise(recipe.stages()), strict=True):
            weights = {str(after): 1.0, str(before): -1.0}
            printed = paper.contrast(weights)
            name = f"({letter}) {step}"
            about = {"claim": name, "pipeline": letter, "paper": printed.value if printed else float("nan")}
            rows.append((about, weights))
    return findings(source, rows)
