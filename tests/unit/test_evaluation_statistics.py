"""Intervals and tests on simulated figures whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from colbert_zero_lib.errors import DataError, ParameterError
from colbert_zero_lib.evaluation import Evaluation, by_collection, difference
from colbert_zero_lib.evaluation.statistics import mean_test, paired_scores, split

SIZES = {"large": 120, "small": 40}
TRUTH = {"large": 0.5, "small": 0.3}


def evaluation_of(scores: dict[str, np.ndarray]) -> Evaluation:
    names = [(name, f"q{place}") for name, values in scores.items() for place in range(len(values))]
    table = pd.DataFrame(names, columns=["collection", "query"])
    table["ndcg@10"] = np.concatenate(list(scores.values()))
    table["recall@100"] = table["mrr@10"] = 0.0
    return Evaluation(table)


def draw(rng: np.random.Generator, deviation: float = 0.2) -> dict[str, np.ndarray]:
    """Difficulties of the queries, bounded well inside [0, 1] so that noise can be added."""
    width = deviation * np.sqrt(3)
    return {name: TRUTH[name] + rng.uniform(-width, width, size) for name, size in SIZES.items()}


def trained(
    rng: np.random.Generator,
    queries: dict[str, np.ndarray],
    shift: float = 0.0,
    run: float = 0.0,
    noise: float = 0.02,
) -> Evaluation:
    """One training run: the queries' difficulties, a shift, a luck shared by all queries, and noise on each."""
    luck = rng.normal(0, run)
    return evaluation_of(
        {
            name: np.clip(values + shift + luck + rng.normal(0, noise, len(values)), 0, 1)
            for name, values in queries.items()
        }
    )


def test_a_95_percent_interval_over_queries_holds_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0)
    truth = np.mean(list(TRUTH.values()))
    intervals = [evaluation_of(draw(rng, 0.15)).interval() for _ in range(200)]
    held = np.mean([low <= truth <= high for _, low, high in intervals])
    assert 0.91 <= held <= 0.98  # standard error of the share: 0.015


def test_the_width_is_that_of_the_normal_approximation():
    scores = draw(np.random.default_rng(1), 0.15)
    error = np.sqrt(sum(values.var() / len(values) for values in scores.values())) / 2
    evaluation = evaluation_of(scores)
    interval = evaluation.interval()
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.04)
    assert interval.mean == pytest.approx(evaluation.mean())


def test_forums_of_one_site_count_as_one_collection():
    rng = np.random.default_rng(13)
    scores = {"beir/cqadupstack/a": rng.uniform(size=30), "beir/cqadupstack/b": rng.uniform(size=30)}
    whole = evaluation_of(scores | {"beir/scifact": rng.uniform(size=30)})
    assert whole.interval().mean == pytest.approx(whole.mean())
    errors = [np.var(v, ddof=1) / 30 for v in whole.scores().values()]
    expected = 2 * 1.98 * np.sqrt(errors[0] / 16 + errors[1] / 16 + errors[2] / 4)
    assert whole.interval().high - whole.interval().low == pytest.approx(expected, rel=0.03)


def test_a_single_query_has_a_value_and_no_interval_and_adds_nothing_to_that_of_the_mean():
    both = evaluation_of({"one": np.array([0.4]), "more": np.array([0.1, 0.3, 0.2])})
    found, more = both.interval(), both.only(["more"]).interval()
    assert found.mean == pytest.approx(0.3)
    assert found.high - found.low == pytest.approx((more.high - more.low) / 2)
    assert by_collection(both)["low"].isna().tolist() == [True, False]


def test_without_an_effect_p_is_below_five_percent_about_five_times_in_a_hundred():
    rng = np.random.default_rng(2)
    p = []
    for _ in range(100):
        queries = draw(rng)
        p.append(difference(trained(rng, queries), trained(rng, queries)).p)
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.1
    assert np.mean(p) == pytest.approx(0.5, abs=0.08)


def test_a_planted_effect_is_found_because_queries_are_paired():
    rng = np.random.default_rng(3)
    queries = draw(rng)
    a, b = trained(rng, queries, shift=0.01), trained(rng, queries)
    paired = difference(a, b)
    assert paired.delta == pytest.approx(a.mean() - b.mean())
    assert paired.low < 0.01 < paired.high
    assert paired.p < 0.01
    # The separate intervals are ten times wider and overlap: without pairing nothing would be seen.
    assert a.interval().low < b.interval().high
    assert paired.high - paired.low < (a.interval().high - a.interval().low) / 3


def test_what_moved_in_one_collection_shows_there_and_not_in_the_other():
    rng = np.random.default_rng(4)
    queries = draw(rng)
    b = trained(rng, queries)
    moved = {name: values + (0.05 if name == "small" else 0) for name, values in queries.items()}
    before, after = by_collection(b), by_collection(trained(rng, moved))
    assert before.index.tolist() == ["large", "small"]
    gained = after["mean"] - before["mean"]
    assert 0.03 < gained["small"] < 0.07 and abs(gained["large"]) < 0.01
    assert ((before["low"] < before["mean"]) & (before["mean"] < before["high"])).all()


def test_a_difference_turns_round_with_its_sides_and_is_nil_with_itself():
    rng = np.random.default_rng(5)
    queries = draw(rng)
    a, b = trained(rng, queries), trained(rng, queries)
    forth, back = difference(a, b), difference(b, a)
    assert (forth.delta, forth.low, forth.high) == pytest.approx((-back.delta, -back.high, -back.low))
    assert forth.p == pytest.approx(back.p)
    same = difference(a, a)
    assert same == (0, 0, 0, 1)


def test_the_order_of_queries_does_not_matter_but_their_names_do():
    rng = np.random.default_rng(6)
    queries = draw(rng)
    a, b = trained(rng, queries), trained(rng, queries)
    shuffled = Evaluation(b.per_query.sample(frac=1, random_state=0))
    assert difference(a, shuffled).low == pytest.approx(difference(a, b).low)
    with pytest.raises(DataError, match="'q7' of collection 'small'"):
        difference(a, Evaluation(b.per_query.drop(SIZES["large"] + 7)))
    with pytest.raises(DataError, match="collection 'small'"):
        difference(a.only(["large"]), b)


def test_luck_of_the_seeds_alone_is_no_difference_between_recipes():
    rng = np.random.default_rng(10)
    single, several = [], []
    for _ in range(30):
        queries = draw(rng)
        a = [trained(rng, queries, run=0.02) for _ in range(5)]
        b = [trained(rng, queries, run=0.02) for _ in range(5)]
        single.append(difference(a[0], b[0]).p < 0.05)
        several.append(difference(a, b).p < 0.05)
    # Two runs differ by luck, which queries alone cannot show; five runs a side know their own spread.
    assert np.mean(single) > 0.5
    assert np.mean(several) < 0.15


def test_an_effect_larger_than_the_spread_of_seeds_is_found():
    rng = np.random.default_rng(11)
    queries = draw(rng)
    better = [trained(rng, queries, shift=0.08, run=0.01) for _ in range(3)]
    other = [trained(rng, queries, run=0.01) for _ in range(3)]
    found = difference(better, other)
    assert found.low < 0.08 < found.high
    assert found.low > 0 and found.p < 0.05
    test = mean_test(split(paired_scores([(1.0, better), (-1.0, other)])))
    assert (test.value, test.p) == pytest.approx((100 * found.delta, found.p))


def test_no_evaluation_at_all_is_refused():
    with pytest.raises(ParameterError, match="at least one evaluation"):
        by_collection([])
