"""What small data sets can rank: by hand, at the extremes, and against a simulation of queries."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from colbert_zero_lib.errors import ParameterError
from colbert_zero_lib.published import BEIR
from colbert_zero_lib.verdicts.small_sets import NANO, full_and_small, mean_error, ranked_again, right_order


def test_nanobeir_leaves_out_two_of_beirs_sets() -> None:
    assert len(NANO) == 13 and set(BEIR) - set(NANO) == {"TREC-COVID", "CQADupstack"}


def test_the_papers_models_have_both_means() -> None:
    found = full_and_small()
    assert found.loc["colbert-zero", "all"] == pytest.approx(55.43, abs=0.01)
    assert sorted(found["rank"]) == list(found["rank"])


def test_a_pair_is_ordered_as_often_as_queries_drawn_again_order_it() -> None:
    drawn = np.random.default_rng(0).normal(1.0, 30.0, (4000, 650)).mean(axis=1)
    assert right_order(1.0, 30.0) == pytest.approx((drawn > 0).mean(), abs=0.02)
    assert right_order(0.0, 30.0) == 0.5 and right_order(-50.0, 30.0) == pytest.approx(1.0)
    assert mean_error(30.0) == pytest.approx(30 / math.sqrt(650))


def test_far_models_keep_their_ranks_and_equal_ones_share_the_first_place() -> None:
    far = ranked_again(pd.Series({"b": 40.0, "a": 60.0, "c": 20.0}), 30.0)
    assert list(far.index) == ["a", "b", "c"] and np.array_equal(far, np.eye(3))
    same = ranked_again(pd.Series({"a": 50.0, "b": 50.0}), 30.0)
    assert same.sum(axis=0).tolist() == same.sum(axis=1).tolist() == [1, 1]
    assert same.loc["a", 1] == pytest.approx(0.5, abs=0.04)


def test_nothing_is_worked_out_from_no_spread() -> None:
    with pytest.raises(ParameterError, match="above 0"):
        mean_error(0.0)
