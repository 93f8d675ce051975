"""Rows of verdict tables: what the paper prints, what was rerun, and what an interval of ours says about it."""

from __future__ import annotations

import pandas as pd
import pytest

from colbert_zero_lib.evaluation import Difference
from colbert_zero_lib.recipes import PIPELINES, Recipe
from colbert_zero_lib.verdicts import (
    NOTHING,
    compare,
    paper_difference,
    recorded_difference,
    rerun_difference,
)

A, B, C = (PIPELINES[letter] for letter in "abc")


def measured(delta: float, low: float, high: float) -> Difference:
    return Difference("ndcg@10", delta, low, high, 0.5, 0.95, pd.DataFrame())


def test_the_papers_difference_is_that_of_its_printed_averages() -> None:
    assert paper_difference(C, B) == pytest.approx(55.43 - 55.12, abs=0.01)
    assert paper_difference(B, C) == pytest.approx(55.12 - 55.43, abs=0.01)


def test_recipes_of_table_4_are_found_there() -> None:
    bare = Recipe.parse("dense:unsupervised > dense:supervised > colbert:distillation[-prompts,-length]")
    assert paper_difference(A, bare) == pytest.approx(54.09 - 52.58, abs=0.01)


def test_what_nobody_printed_or_ran_is_none() -> None:
    unknown = Recipe.parse("dense:unsupervised > colbert:distillation")
    assert paper_difference(C, unknown) is None
    assert rerun_difference(C, unknown) is None
    assert rerun_difference(C, A) is None  # nobody evaluated the checkpoint of pipeline (a) again
    assert recorded_difference(C, unknown, "tiny") is None


def test_mteb_evaluated_every_checkpoint_of_pipeline_c() -> None:
    supervised = C.prefixes()[1]
    assert rerun_difference(C, supervised) == pytest.approx(-rerun_difference(supervised, C))


@pytest.mark.parametrize(
    ("interval", "said"),
    [((0.001, 0.02), "agrees"), ((-0.01, 0.02), "within noise"), ((-0.02, -0.001), "differs")],
)
def test_the_verdict_is_on_the_sign(interval, said) -> None:
    row = compare("c above b", C, B, measured(sum(interval) / 2, *interval), "tiny")
    assert row["verdict"] == said
    assert row["yours"].endswith(f"[{100 * interval[0]:+.2f}, {100 * interval[1]:+.2f}]")


def test_without_a_printed_difference_the_verdict_is_open() -> None:
    unknown = Recipe.parse("dense:unsupervised > colbert:distillation")
    row = compare("anything", C, unknown, measured(0.1, 0.05, 0.15), "tiny")
    assert (row["paper"], row["verdict"]) == (NOTHING, NOTHING)
