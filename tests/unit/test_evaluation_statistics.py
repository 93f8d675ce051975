"""Intervals and tests on simulated figures whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from colbert_zero_lib.errors import DataError, ParameterError
from colbert_zero_lib.evaluation import Evaluation, difference, seed_summary
from colbert_zero_lib.evaluation.statistics import bootstrap_mean_interval

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


def test_a_95_percent_interval_holds_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0)
    truth = np.mean(list(TRUTH.values()))
    intervals = [bootstrap_mean_interval(draw(rng), samples=400, seed=i) for i in range(400)]
    held = np.mean([low <= truth <= high for _, low, high in intervals])
    # Standard error of the share: 0.011. The percentile interval is a shade too narrow on 40 queries.
    assert 0.91 <= held <= 0.98


def test_the_width_is_that_of_the_normal_approximation():
    scores = draw(np.random.default_rng(1))
    error = np.sqrt(sum(values.var() / len(values) for values in scores.values())) / 2
    interval = bootstrap_mean_interval(scores, samples=4000)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.06)
    wider = bootstrap_mean_interval(scores, level=0.99, samples=4000)
    assert wider.high - wider.low == pytest.approx(2 * 2.576 * error, rel=0.08)


def test_without_an_effect_p_is_below_five_percent_about_five_times_in_a_hundred():
    rng = np.random.default_rng(2)
    p = []
    for i in range(100):
        queries = draw(rng)
        p.append(difference(trained(rng, queries), trained(rng, queries), samples=400, seed=i).p)
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.1
    assert np.mean(p) == pytest.approx(0.5, abs=0.08)


def test_a_planted_effect_is_found_because_queries_are_paired():
    rng = np.random.default_rng(3)
    queries = draw(rng)
    a, b = trained(rng, queries, shift=0.01), trained(rng, queries)
    paired = difference(a, b)
    assert paired.delta == pytest.approx(a.mean() - b.mean())
    assert paired.low < 0.01 < paired.high
    assert paired.clear
    assert paired.p < 0.01
    # The separate intervals are ten times wider and overlap: without pairing nothing would be seen.
    assert a.interval().low < b.interval().high
    assert paired.high - paired.low < (a.interval().high - a.interval().low) / 3


def test_a_difference_in_one_collection_shows_there_and_not_in_the_other():
    rng = np.random.default_rng(4)
    queries = draw(rng)
    b = trained(rng, queries)
    moved = {name: values + (0.05 if name == "small" else 0) for name, values in queries.items()}
    table = difference(trained(rng, moved), b).collections
    assert table.index.tolist() == ["large", "small"]
    assert table["queries"].tolist() == [120, 40]
    assert 0.03 < table.loc["small", "low"] < 0.05 < table.loc["small", "high"]
    assert table.loc["large", "high"] < 0.01
    assert np.allclose(table["delta"], table["a"] - table["b"])


def test_a_difference_turns_round_with_its_sides_and_is_nil_with_itself():
    rng = np.random.default_rng(5)
    queries = draw(rng)
    a, b = trained(rng, queries), trained(rng, queries)
    forth, back = difference(a, b), difference(b, a)
    assert (forth.delta, forth.low, forth.high) == pytest.approx((-back.delta, -back.high, -back.low))
    assert forth.p == back.p
    same = difference(a, a)
    assert (same.delta, same.low, same.high, same.p, same.clear) == (0, 0, 0, 1, False)


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


def test_seeds_widen_the_interval_by_their_own_spread():
    rng = np.random.default_rng(7)
    queries = draw(rng)
    calm = [trained(rng, queries, run=0.0) for _ in range(5)]
    wild = [trained(rng, queries, run=0.05) for _ in range(5)]
    steady, spread = seed_summary(calm), seed_summary(wild)
    assert spread.deviation == pytest.approx(np.std([run.mean() for run in wild], ddof=1))
    assert spread.mean == pytest.approx(np.mean([run.mean() for run in wild]))
    assert spread.seeds == pytest.approx([run.mean() for run in wild])
    assert spread.deviation > 5 * steady.deviation
    # Variances of queries and seeds add up: Var = Var(queries) + deviation^2 / seeds.
    low, high = steady.low, steady.high
    expected = np.sqrt(((high - low) / 3.92) ** 2 + spread.deviation**2 / 5) * 3.92
    assert spread.high - spread.low == pytest.approx(expected, rel=0.15)


def test_the_seed_interval_holds_the_truth_most_of_the_time_with_five_seeds():
    rng = np.random.default_rng(8)
    truth, held = np.mean(list(TRUTH.values())), []
    for i in range(60):
        queries = draw(rng)
        summary = seed_summary([trained(rng, queries, run=0.02) for _ in range(5)], samples=300, seed=i)
        held.append(summary.low <= truth <= summary.high)
    assert 0.88 <= np.mean(held) <= 0.99


def test_one_seed_has_no_spread():
    alone = trained(np.random.default_rng(9), draw(np.random.default_rng(9)))
    summary = seed_summary([alone])
    assert np.isnan(summary.deviation)
    assert summary.collections["deviation"].isna().all()
    assert summary.seeds == pytest.approx((alone.mean(),))
    assert summary.mean == pytest.approx(alone.mean())
    assert summary.high - summary.low == pytest.approx(alone.interval().high - alone.interval().low, rel=0.1)


def test_luck_of_the_seeds_alone_is_no_difference_between_recipes():
    rng = np.random.default_rng(10)
    single, several = [], []
    for i in range(30):
        queries = draw(rng)
        a = [trained(rng, queries, run=0.02) for _ in range(5)]
        b = [trained(rng, queries, run=0.02) for _ in range(5)]
        single.append(difference(a[0], b[0], samples=300, seed=i).p < 0.05)
        several.append(difference(a, b, samples=300, seed=i).p < 0.05)
    # Two runs differ by luck, which queries alone cannot show; five runs a side know their own spread.
    assert np.mean(single) > 0.5
    assert np.mean(several) < 0.15


def test_an_effect_larger_than_the_spread_of_seeds_is_found():
    rng = np.random.default_rng(11)
    queries = draw(rng)
    better = [trained(rng, queries, shift=0.05, run=0.01) for _ in range(3)]
    found = difference(better, [trained(rng, queries, run=0.01) for _ in range(3)])
    assert found.low < 0.05 < found.high
    assert found.clear
    assert found.p < 0.02


def test_levels_and_samples_out_of_range_are_refused():
    scores = draw(np.random.default_rng(12))
    with pytest.raises(ParameterError, match="95"):
        bootstrap_mean_interval(scores, level=95)
    with pytest.raises(ParameterError, match="at least one sample"):
        bootstrap_mean_interval(scores, samples=0)
    with pytest.raises(ParameterError, match="at least one evaluation"):
        seed_summary([])
