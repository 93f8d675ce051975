"""The order of the pipelines is told by the verdicts on their leads, not by their means."""

from __future__ import annotations

import re

import pytest

from colbert_zero_lib.recipes import PIPELINES
from colbert_zero_lib.verdicts import paper_evidence
from colbert_zero_lib.verdicts.pipelines import gains, lead, order, path_table
from tests.verdicts.test_prefix_study import planted

STAGES = {
    (letter, step): recipe for letter in PIPELINES for step, recipe in enumerate(PIPELINES[letter].stages())
}
# Points above the start after each step.
LEVELS = {"a": (0, -2, 4), "b": (0, 5, 7), "c": (6, 8, 7.05)}


def _source(luck: float):
    level = {recipe: LEVELS[letter][step] for (letter, step), recipe in STAGES.items()}
    return planted(lambda recipe: level[recipe], recipes=tuple(level), luck=luck)


def _signs(said: str) -> str:
    return re.sub(r" [\d.]+", "", said)


def test_an_order_is_told_where_the_verdict_on_a_lead_is_clear():
    source = _source(luck=0.05)
    assert _signs(order(source)) in ("(c) ≈ (b) > (a)", "(b) ≈ (c) > (a)")
    assert _signs(order(source, steps=1)) == "(c) > (a) ≈ (b)"  # (a) and (b) are one run there
    assert lead(source, "b", "a").value == pytest.approx(3, abs=0.3)


def test_where_no_neighbours_can_be_told_apart_the_ends_may_be():
    said = order(_source(luck=0.75))
    assert _signs(said).startswith("(b) ≈ (c) ≈ (a)") and said.endswith(
        "; paired by seed, only (b) and (a) can be told apart"
    )


def test_the_path_and_the_gains_are_those_that_were_planted():
    source = _source(luck=0.05)
    path = path_table(source)
    assert list(path["pipeline"]) == [*"aaabbbccc"]
    above = path["mean"] - path["mean"].iloc[0]
    assert above.tolist() == pytest.approx([each for letter in "abc" for each in LEVELS[letter]], abs=0.3)
    table = gains(source, paper_evidence()).set_index("claim")
    assert table.loc["(a) dense:supervised", "value"] == pytest.approx(-2, abs=0.3)
    assert table.loc["(a) dense:supervised", "verdict"] == "differs"
    assert table.loc["(c) colbert:distillation", "verdict"] == "differs"
    assert (table["paper"] > 0).all()
