"""The audit's statistics against exact answers and scipy's, and what a changed file does to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from colbert_zero_lib.corpora import hub
from colbert_zero_lib.errors import DataError, ParameterError
from colbert_zero_lib.figures import audit as drawings
from colbert_zero_lib.figures.catalogue import FIGURES, clause_names, headline_differences
from colbert_zero_lib.published import BEIR, Clause, find_claim
from colbert_zero_lib.published.comparison import Claim
from colbert_zero_lib.published.training_mix import (
    PHASES,
    beir_queries,
    coverage,
    domains,
    training_mix,
    training_rows,
)
from colbert_zero_lib.verdicts import TableEvidence, mteb_evidence, paper_evidence
from colbert_zero_lib.verdicts.audit import (
    domain_gaps,
    fewest_to_flip,
    paired_test,
    query_deviation,
    query_noise,
    rank_probabilities,
    robustness,
)
from colbert_zero_lib.verdicts.rerun import (
    field_since,
    forum_check,
    forum_scores,
    likely_causes,
    rerun_gaps,
    rerun_summary,
)

_DIFFERENCES = st.lists(st.integers(-40, 40).map(lambda number: number / 8), min_size=2, max_size=12)


def _change(file: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_csv(file, dtype=str, keep_default_na=False)).to_csv(file, index=False, lineterminator="\n")


def _set(file: Path, column: str, value: str, **where: str) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        rows = np.logical_and.reduce([table[name] == wanted for name, wanted in where.items()])
        assert rows.any()
        return table.assign(**{column: table[column].where(~rows, value)})

    _change(file, change)


def _values(*numbers: float) -> pd.Series:
    return pd.Series(numbers, index=[f"set {place}" for place in range(len(numbers))], dtype=float)


# Paired tests -------------------------------------------------------------------------------------------


def test_a_paired_test_by_hand() -> None:
    # 1, 2, 3, -4: of 16 sign patterns, sums of sizes at least |2| away from zero are 14
    found = paired_test([1.0, 2.0, 3.0, -4.0])
    assert found.mean == 0.5
    sums = [abs(a + b + c + d) for a in (1, -1) for b in (2, -2) for c in (3, -3) for d in (4, -4)]
    assert found.p == sum(value >= 2 for value in sums) / 16


def test_differences_that_all_agree_are_as_unlikely_as_can_be() -> None:
    found = paired_test([0.5, 1.0, 1.5, 2.0, 2.5])
    assert found.p == 2 / 2**5 and found.low > 0
    nothing = paired_test([0.0, 0.0, 0.0])
    assert (nothing.p, nothing.low, nothing.high) == (1.0, 0.0, 0.0)


def test_equal_sums_count_as_equal_though_their_last_bits_differ() -> None:
    assert paired_test([0.3, -(0.1 + 0.2), 5.0]).p == paired_test([0.3, -0.3, 5.0]).p


@settings(max_examples=60, deadline=None)
@given(_DIFFERENCES)
def test_the_exact_test_agrees_with_scipy(numbers: list[float]) -> None:
    exact = scipy.stats.permutation_test(
        (numbers,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    # scipy takes the smaller tail twice; the null is symmetric, so both are the same number here
    assert paired_test(numbers).p == pytest.approx(min(1.0, exact.pvalue))


@pytest.mark.parametrize("bad", [[1.0], [1.0, float("nan")], [1.0] * 21, [[1.0, 2.0]]])
def test_a_paired_test_says_what_it_takes(bad: list) -> None:
    with pytest.raises(ParameterError, match="2 to 20 finite differences"):
        paired_test(bad)


# One data set at a time ---------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-30, 30).map(float), min_size=2, max_size=7))
def test_no_smaller_choice_of_data_sets_turns_a_mean(numbers: list[float]) -> None:
    values, total = _values(*numbers), sum(numbers)
    wanted = None
    if total == 0:
        wanted = 0
    else:
        for mask in sorted(range(2 ** len(numbers)), key=lambda bits: bin(bits).count("1")):
            left = [number for place, number in enumerate(numbers) if not mask >> place & 1]
            if left and sum(left) * total <= 0:
                wanted = bin(mask).count("1")
                break
    assert fewest_to_flip(values) == wanted


# Ranks --------------------------------------------------------------------------------------------------


def _scores(**rows: float | list[float]) -> pd.DataFrame:
    return pd.DataFrame({name: np.broadcast_to(row, 15) for name, row in rows.items()}, index=list(BEIR)).T


def test_ranks_are_certain_where_one_model_is_better_everywhere() -> None:
    found = rank_probabilities(_scores(low=10.0, high=30.0, middle=20.0), samples=200)
    assert found.index.tolist() == ["high", "middle", "low"]
    assert found.to_numpy().tolist() == np.eye(3).tolist()


def test_models_that_tie_share_their_ranks() -> None:
    found = rank_probabilities(_scores(one=10.0, two=10.0, third=5.0), samples=50)
    assert found.loc["one"].tolist() == found.loc["two"].tolist() == [0.5, 0.5, 0.0]


def test_rank_probabilities_are_what_the_binomial_says() -> None:
    # a is above b on one data set by as much as b is above a on another: a leads when the first is drawn oftener
    a = np.zeros(15)
    a[0], a[1] = 1.0, -1.0
    found = rank_probabilities(_scores(a=a.tolist(), b=0.0), samples=40_000)
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(15, [1 / 15] * 15, size=200_000)
    wanted = (drawn[:, 0] > drawn[:, 1]).mean() + (drawn[:, 0] == drawn[:, 1]).mean() / 2
    assert found.loc["a", 1] == pytest.approx(wanted, abs=0.01)
    assert found.sum(axis=0).tolist() == pytest.approx([1, 1]) and found.sum(
        axis=1
    ).tolist() == pytest.approx([1, 1])


def test_ranks_need_models_and_scores() -> None:
    with pytest.raises(ParameterError):
        rank_probabilities(_scores(one=1.0))
    with pytest.raises(ParameterError):
        rank_probabilities(_scores(one=1.0, two=float("nan")))


# The training mix ---------------------------------------------------------------------------------------


def test_the_training_mix_has_every_split_and_adds_up_to_the_papers_rows() -> None:
    assert training_rows() == {"unsupervised": 238_998_494, "supervised": 1_695_819, "distillation": 640_000}
    data = training_mix().groupby("phase", sort=False)["data"].unique()
    assert [list(names) for names in data] == [
        [hub.UNSUPERVISED_DATA],
        [hub.SUPERVISED_DATA],
        [hub.DISTILLATION_DATA],
    ]


def test_five_data_sets_are_trained_on() -> None:
    groups = domains()
    assert set(groups["in-domain"]) == {"Quora", "NQ", "HotpotQA", "FEVER", "MSMARCO"}
    assert set(groups["in-domain"]) | set(groups["zero-shot"]) == set(BEIR)
    assert not set(groups["in-domain"]) & set(groups["zero-shot"])
    table = coverage()
    assert table.index.tolist() == list(BEIR) and list(table.columns) == [*PHASES, "closest"]
    assert table.loc["MSMARCO"].tolist() == ["neither", "training data", "training data", "training data"]
    assert table.loc["CQADupstack", "closest"] == "same source"


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("phase", "warm-up", "'warm-up' for phase"),
        ("data_set", "MARCO", "'MARCO' for data_set"),
        ("relation", "cousin", "'cousin' for relation"),
        ("relation", "", "a data set or a relation but not both"),
        ("rows", "many", "'many' for rows, which is not a whole number"),
    ],
)
def test_a_training_mix_that_is_wrong_names_the_line(
    published_copy: Path, column: str, value: str, sentence: str
) -> None:
    file = published_copy / "paper" / "training_mix.csv"
    _set(file, column, value, split="hotpotqa_hn_mine_shuffled")
    line = next(
        number
        for number, text in enumerate(file.read_text("utf-8").splitlines(), 1)
        if "hotpotqa_hn_mine_shuffled" in text
    )
    with pytest.raises(DataError, match=rf"training_mix.csv:{line} .*{sentence}"):
        training_mix(published_copy)


def test_a_split_has_one_size(published_copy: Path) -> None:
    file = published_copy / "paper" / "training_mix.csv"
    _set(file, "rows", "7", split="wikipedia", data_set="FEVER")
    with pytest.raises(DataError, match="another size"):
        training_mix(published_copy)


def test_moving_a_split_moves_the_groups(published_copy: Path) -> None:
    file = published_copy / "paper" / "training_mix.csv"
    _set(file, "relation", "same source", split="quora")
    assert "Quora" in domains(published_copy)["zero-shot"]


def test_query_noise_by_hand(published_copy: Path) -> None:
    queries = beir_queries()
    found = query_noise(20.0)
    assert found.loc["TREC-COVID", "error"] == pytest.approx(20 / np.sqrt(50))
    assert found.loc["average", "error"] == pytest.approx(20 / 15 * np.sqrt((1 / queries).sum()))
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(ParameterError):
            query_noise(bad)
    file = published_copy / "paper" / "beir_sets.csv"
    _change(file, lambda table: table[table["data_set"] != "NQ"])
    with pytest.raises(DataError, match="queries for NQ"):
        beir_queries(published_copy)


# Claims -------------------------------------------------------------------------------------------------


def _claim(relation: str = ">", threshold: float = 0.0) -> Claim:
    clause = Clause((("a", 1.0), ("b", -1.0)), relation, threshold)  # type: ignore[arg-type]
    return Claim("planted", "a is better than b.", "nowhere", "b", (clause,))


def _evidence(gap: list[float]) -> TableEvidence:
    return TableEvidence("planted", _scores(a=gap, b=0.0))


def test_a_claim_that_hangs_on_one_data_set_says_which() -> None:
    [row] = robustness(_evidence([-0.1] * 14 + [3.0]), [_claim()]).to_dict("records")
    assert row["value"] == pytest.approx(1.6 / 15) and row["holds"]
    assert row["breakers"] == "MSMARCO" and row["fewest"] == 1 and row["lowest"] == pytest.approx(-0.1)


def test_a_claim_that_all_data_sets_bear_out_is_broken_by_none() -> None:
    [row] = robustness(_evidence([1.0 + 0.1 * place for place in range(15)]), [_claim()]).to_dict("records")
    assert row["breakers"] == "" and np.isnan(row["fewest"]) and row["p"] == 2 / 2**15
    assert row["p_holm"] == row["p"]  # one clause alone needs no correction


def test_thresholds_and_directions_are_those_of_the_clause() -> None:
    gap = [1.0 + 0.1 * place for place in range(15)]  # mean 1.7
    [above] = robustness(_evidence(gap), [_claim(">", 2.0)]).to_dict("records")
    assert not above["holds"]
    [below] = robustness(_evidence(gap), [_claim("<", 2.0)]).to_dict("records")
    assert below["holds"] and below["p"] == above["p"]
    [about] = robustness(_evidence(gap), [_claim("about", 1.72)]).to_dict("records")
    # dropping a small one lifts the mean: (25.5 - x) / 14 > 1.72 for x < 1.42
    assert about["holds"] and about["breakers"] == ", ".join(BEIR[:5])
    assert np.isnan(about["fewest"]) and np.isnan(about["p"])  # no data set is for or against it


def test_every_clause_with_figures_is_audited() -> None:
    table = robustness(paper_evidence())
    wanted = {"full-pretraining-beats-kd-only", "beats-the-gte-models", "prompts-hurt-a-base-trained-without"}
    assert wanted <= set(table["claim"])
    assert "hours" not in set(table["clause"])  # GH200 hours stand on no data set
    assert len(set(clause_names(table))) == len(table)
    assert set(robustness(mteb_evidence())["claim"]) <= set(table["claim"])


def test_gaps_of_a_group_are_paired_with_the_reference() -> None:
    scores = _scores(
        reference=[float(place) for place in range(15)], other=[place + 1.0 for place in range(15)]
    )
    found = domain_gaps(scores, "reference")
    assert found["value"].tolist() == pytest.approx([1.0] * len(found))
    assert found["low"].tolist() == pytest.approx([1.0] * len(found))  # the same gap everywhere
    assert found.set_index("group").loc["in-domain", "sets"] == 5


def test_the_deviation_between_queries_is_the_mean_of_the_collections() -> None:
    a = pd.DataFrame(
        {"collection": ["x"] * 3 + ["y"] * 2, "query": list("12345"), "ndcg@10": [0.1, 0.2, 0.3, 0.5, 0.5]}
    )
    b = a.assign(**{"ndcg@10": 0.0}).iloc[::-1]
    assert query_deviation([(a, b)]) == pytest.approx(100 * (0.1 + 0.0) / 2)
    assert np.isnan(query_deviation([]))


# The rerun ----------------------------------------------------------------------------------------------


def test_gaps_are_mteb_minus_paper(published_copy: Path) -> None:
    before = rerun_gaps(published_copy)
    assert before["average"].to_numpy() == pytest.approx(before[list(BEIR)].mean(axis=1).to_numpy())
    _set(published_copy / "paper" / "table2_beir_ndcg10.csv", "SciFact", "70.00", model="colbert-zero")
    after = rerun_gaps(published_copy)
    assert after.loc["colbert-zero", "SciFact"] - before.loc["colbert-zero", "SciFact"] == pytest.approx(6.5)
    others = before.index != "colbert-zero"
    assert after[others].equals(before[others])


def test_a_row_that_repeats_the_model_card_is_no_second_witness() -> None:
    table = rerun_summary()
    assert table.index[table["copied"]].tolist() == ["modernbert-embed-supervised"]
    assert table.loc["modernbert-embed-supervised", "largest"] < 0.0051  # equal to the printed digits
    assert (table["low"] <= table["mean"]).all() and (table["mean"] <= table["high"]).all()


def test_causes_follow_from_facts_in_the_files(published_copy: Path) -> None:
    table = likely_causes(published_copy)
    assert table["gap"].abs().min() >= 0.5 and table["gap"].abs().is_monotonic_decreasing
    assert (table["rerun"] - table["paper"]).to_numpy() == pytest.approx(table["gap"].to_numpy())
    named = table.set_index(["model", "data_set"])["likely_cause"]
    assert "whole model" in named["gte-modernbert", "ClimateFEVER"]
    assert "few queries" in named["colbert-zero-supervised", "TREC-COVID"]
    assert "whole model" not in named["colbert-zero-supervised", "TREC-COVID"]
    assert "another revision" in named["gte-modernbert", "SciFact"]
    _set(
        published_copy / "mteb" / "beir_scores.csv",
        "dataset_revision",
        "x",
        model="lightonai/GTE-ModernColBERT-v1",
        task="ArguAna",
    )
    changed = likely_causes(published_copy).set_index(["model", "data_set"])["likely_cause"]
    assert "another revision" in changed["gte-moderncolbert", "ArguAna"]


def test_one_combined_figure_is_not_the_mean_of_its_forums(published_copy: Path) -> None:
    table = forum_check(published_copy)
    assert table.index[~table["agrees"]].tolist() == ["Alibaba-NLP/gte-modernbert-base"]
    assert forum_scores(published_copy).shape[1] == 12
    file = published_copy / "mteb" / "beir_scores.csv"
    _set(file, "ndcg_at_10", "0.5", model="lightonai/LateOn", task="CQADupstackRetrieval")
    assert "lightonai/LateOn" in forum_check(published_copy).index[~forum_check(published_copy)["agrees"]]


def test_the_field_is_ranked_and_measured_against_one_model(published_copy: Path) -> None:
    table = field_since(folder=published_copy)
    assert table["average"].is_monotonic_decreasing and set(table["kind"]) == {"colbert", "dense", "lexical"}
    assert np.isnan(table.loc["lightonai/ColBERT-Zero", "difference"])
    gaps = table["average"] - table.loc["lightonai/ColBERT-Zero", "average"]
    rest = table.index != "lightonai/ColBERT-Zero"
    assert table["difference"][rest].to_numpy(float) == pytest.approx(gaps[rest].to_numpy(float))
    assert not table.loc["lightonai/LateOn", "in_paper"] and table.loc["lightonai/ColBERT-Zero", "in_paper"]


# Figures ------------------------------------------------------------------------------------------------


def _shown(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_a_changed_score_arrives_in_claim_table_and_figure(published_copy: Path) -> None:
    draw = FIGURES
    before = robustness(paper_evidence(published_copy)).set_index(["claim", "clause"])
    for number in (2, 3, 4):
        file = next((published_copy / "paper").glob(f"table{number}_*.csv"))
        _change(file, lambda table: table.replace("90.59", "60.59"))  # ColBERT-Zero's FEVER, in three tables
    after = robustness(paper_evidence(published_copy)).set_index(["claim", "clause"])
    key = ("full-pretraining-beats-supervised-kd", "")
    assert after.loc[key, "value"] - before.loc[key, "value"] == pytest.approx(-2.0)
    assert before.loc[key, "holds"] and not after.loc[key, "holds"]
    assert headline_differences(published_copy)["(c) − (b)"]["FEVER"] == pytest.approx(60.59 - 89.71)
    assert "mean +0.30" in _shown(draw["audit_contributions"](None))
    assert "mean −1.70" in _shown(draw["audit_contributions"](published_copy))
    assert "colbert-zero, best as printed" in _shown(draw["audit_ranks"](None))
    assert "colbert-zero, best as printed" not in _shown(draw["audit_ranks"](published_copy))
    assert "(c) 53.43" in _shown(draw["audit_full_cost"](published_copy))
    assert "+29.9" in _shown(draw["audit_rerun"](published_copy))


def test_a_claim_that_one_data_set_turns_is_drawn_apart() -> None:
    table = robustness(paper_evidence(), [find_claim("beats-the-gte-models")])
    assert [bool(text) for text in table["breakers"]] == [False, True]
    [axes] = drawings.leave_one_out_ranges(table, clause_names(table)).axes
    thick = [line.get_color() for line in axes.lines if line.get_linewidth() == 6]
    assert thick[0] != thick[1]
