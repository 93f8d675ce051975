"""Claims are judged rightly where the truth was planted, and follow the tables that they are read from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from colbert_zero_lib.errors import DataError, ParameterError, ProfileError, UnknownNameError
from colbert_zero_lib.evaluation import Evaluation, difference
from colbert_zero_lib.evaluation.statistics import paired_scores
from colbert_zero_lib.profiles import get_profile
from colbert_zero_lib.published import BEIR, CLAIMS, Claim, Clause, find_claim, paper_scores, paper_table
from colbert_zero_lib.recipes import PIPELINES, Recipe
from colbert_zero_lib.runs import Ledger, RunKey, canonical_json
from colbert_zero_lib.verdicts import (
    RunEvidence,
    TableEvidence,
    claims_table,
    clause_table,
    holm,
    judge,
    judge_all,
    ledger_evidence,
    mteb_evidence,
    multiplicity,
    paper_evidence,
    recorded_evidence,
    verdict_sources,
)
from colbert_zero_lib.verdicts.evidence import BORROWED
from colbert_zero_lib.verdicts.verdict import NOT_RESOLVABLE

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data"
NOISE = np.array([1.0, -1.0] * 7 + [0.0])  # 15 data sets, mean zero


def planted(gap: np.ndarray | float, **more: np.ndarray | float) -> TableEvidence:
    """Two arms on 15 data sets, the first ahead of the second by ``gap`` on each."""
    base = np.linspace(20, 90, 15)
    rows = {"worse": base, "better": base + gap} | {name: base + ahead for name, ahead in more.items()}
    return TableEvidence("planted", pd.DataFrame(rows, index=list(BEIR)).T)


def ahead(a: str = "better", b: str = "worse", relation: str = ">", threshold: float = 0.0) -> Clause:
    return Clause(((a, 1.0), (b, -1.0)), relation, threshold)


def claim(*clauses: Clause) -> Claim:
    return Claim("planted", "The better arm is better.", "nowhere", "The opposite.", clauses)


@pytest.mark.parametrize(
    ("gap", "clause", "said", "holds"),
    [
        (2 + NOISE, ahead(), "agrees", True),
        (-2 + NOISE, ahead(), "differs", False),
        (0.1 + 5 * NOISE, ahead(), "within noise", True),
        (-0.1 + 5 * NOISE, ahead(), "within noise", False),
        (-2 + NOISE, ahead(relation="<"), "agrees", True),
        (2 + NOISE, ahead(relation="<"), "differs", False),
        (2 + NOISE, ahead(threshold=1), "agrees", True),
        (2 + NOISE, ahead(threshold=1.9), "within noise", True),
        (2 + NOISE, ahead(threshold=3), "differs", False),
        (0.1 * NOISE, ahead(relation="about", threshold=0.5), "agrees", True),
        (2 * NOISE, ahead(relation="about", threshold=0.5), "within noise", True),
        (2 + NOISE, ahead(relation="about", threshold=0.5), "differs", False),
        (0.0, ahead(), "within noise", False),
    ],
)
def test_planted_truths_are_told(gap: np.ndarray | float, clause: Clause, said: str, holds: bool) -> None:
    found = judge(claim(clause), planted(gap))
    assert (found.verdict, found.holds) == (said, holds)
    estimate = found.findings[0].estimate
    assert estimate is not None and estimate.low <= estimate.value <= estimate.high
    assert estimate.value == pytest.approx(float(np.mean(gap)))
    assert estimate.over == "15 data sets"
    # p and the interval are two readings of the same draws.
    assert (found.p < 0.05) == (said != "within noise")


def test_a_claim_is_as_good_as_its_weakest_clause() -> None:
    source = planted(2 + NOISE, other=1 + 8 * NOISE, worst=-3 + NOISE)
    sure, unsure, wrong = (ahead(name) for name in ("better", "other", "worst"))
    assert judge(claim(sure, sure), source).verdict == "agrees"
    assert judge(claim(sure, unsure), source).verdict == "within noise"
    assert judge(claim(sure, unsure, wrong), source).verdict == "differs"
    mixed = judge(claim(sure, unsure), source)
    assert mixed.weakest is not None and mixed.weakest.clause == unsure
    assert mixed.weakest.share < judge(claim(sure), source).findings[0].share


def test_weights_make_ratios_and_interactions() -> None:
    source = planted(0.0, double=np.linspace(20, 90, 15))
    at_most_half = claim(Clause((("worse", 1.0), ("double", -0.5)), relation="about", threshold=1e-9))
    assert judge(at_most_half, source).verdict == "agrees"


@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_few_verdicts_are_clear_by_chance(truth: float) -> None:
    """Data sets drawn from a normal population: the 95 % percentile interval of 15 misses the truth in 5 to 11 %."""
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(300):
        estimate = planted(truth + 2 * rng.standard_normal(15)).contrast({"better": 1, "worse": -1})
        assert estimate is not None
        wrong += not estimate.low <= truth <= estimate.high
    assert 0.03 < wrong / 300 < 0.11


def test_the_interval_is_that_of_another_implementation() -> None:
    stats = pytest.importorskip("scipy.stats")
    gap = np.random.default_rng(3).gamma(2, 2, 15) - 3
    found = planted(gap).contrast({"better": 1, "worse": -1})
    other = stats.bootstrap(
        (gap,), np.mean, n_resamples=20_000, method="percentile", random_state=np.random.default_rng(11)
    ).confidence_interval
    assert found is not None
    assert (found.low, found.high) == (
        pytest.approx(other.low, abs=0.06),
        pytest.approx(other.high, abs=0.06),
    )


def test_holm_by_hand() -> None:
    adjusted = holm(np.array([0.01, 0.04, np.nan, 0.03, 0.005]))
    np.testing.assert_allclose(adjusted, [0.03, 0.06, np.nan, 0.06, 0.02])


def test_a_clause_that_compares_nothing_is_refused() -> None:
    for wrong in (
        lambda: Clause(()),
        lambda: Clause((("a", 1.0), ("a", -1.0))),
        lambda: Clause((("a", 0.0),)),
        lambda: Clause((("a", 1.0),), relation=">="),  # type: ignore[arg-type]
        lambda: Clause((("a", 1.0),), threshold=float("nan")),
        lambda: Clause((("a", 1.0),), "about", -1.0),
        lambda: claim(),
    ):
        with pytest.raises(ParameterError):
            wrong()


def test_claims_are_found_by_their_id() -> None:
    assert len({each.id for each in CLAIMS}) == len(CLAIMS)
    assert all(find_claim(each.id) is each for each in CLAIMS)
    with pytest.raises(UnknownNameError, match="full-pretraining-beats-kd-only"):
        find_claim("nothing")


def test_the_paper_has_every_figure_that_its_claims_need_and_none_contradicts_them() -> None:
    table = judge_all(CLAIMS, [paper_evidence()])
    assert table["holds"].tolist() == [True] * len(CLAIMS)
    assert not table["verdict"].isin(["no figures", "differs"]).any()
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    sentence = multiplicity(table)
    assert sentence.startswith(f"{len(CLAIMS)} verdicts") and sentence.count(".") >= 1


def test_the_papers_contrasts_are_those_of_its_printed_averages() -> None:
    printed = {}
    for number in (2, 3, 4):
        for row in paper_table(number).to_dict("records"):
            printed[row["recipe"] or row["model"]] = row["average_printed"]
    source = paper_evidence()
    for each in CLAIMS:
        for clause in each.clauses:
            if clause.measure == "nDCG@10":
                expected = sum(weight * printed[arm] for arm, weight in clause.arms)
                found = source.contrast(clause.weights)
                rounding = 0.006 * sum(abs(weight) for _, weight in clause.arms)
                assert found is not None and found.value == pytest.approx(expected, abs=rounding)


def test_the_rerun_has_what_it_measured_and_says_what_it_lacks() -> None:
    rerun = mteb_evidence()
    assert judge(find_claim("beats-the-gte-models"), rerun).verdict != "no figures"
    lacking = judge(find_claim("full-pretraining-beats-kd-only"), rerun)
    assert (lacking.verdict, lacking.holds) == ("no figures", None)
    assert rerun.missing([str(PIPELINES["a"]), str(PIPELINES["c"])]) == (str(PIPELINES["a"]),)


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_a_changed_score_arrives_in_the_claim(published_copy: Path) -> None:
    about = find_claim("beats-the-gte-models")
    change(
        published_copy / "paper" / "table2_beir_ndcg10.csv", ",72.68,88.55", ",99.68,88.55"
    )  # gte-modernbert on ArguAna
    before, after = judge(about, paper_evidence()), judge(about, paper_evidence(published_copy))
    assert (before.holds, after.holds) == (True, False)
    was, now = before.findings[1].estimate, after.findings[1].estimate
    assert was is not None and now is not None
    assert now.value - was.value == pytest.approx(-27 / 15)
    assert now.low < was.low


def test_changed_hours_arrive_in_the_claim(published_copy: Path) -> None:
    about = find_claim("almost-all-at-a-tenth-of-the-cost")
    assert judge(about, paper_evidence(published_copy)).holds
    change(published_copy / "paper" / "figure2_pipelines.csv", ",40,55.12", ",42,55.12")
    found = judge(about, paper_evidence(published_copy))
    assert (found.holds, found.verdict) == (False, "differs")
    assert found.weakest is not None and found.weakest.clause.label == "hours"


def test_a_changed_rerun_arrives_in_the_claim(published_copy: Path) -> None:
    arms = {str(PIPELINES["c"]): 1.0}
    was = mteb_evidence(published_copy).contrast(arms)
    scores = pd.read_csv(published_copy / "mteb" / "beir_scores.csv", dtype=str, keep_default_na=False)
    row = (scores["model"] == "lightonai/ColBERT-Zero") & (scores["beir_name"] == "SciFact")
    lowered = float(scores.loc[row, "ndcg_at_10"].item()) - 0.15
    scores.loc[row, "ndcg_at_10"] = str(lowered)
    scores.to_csv(published_copy / "mteb" / "beir_scores.csv", index=False)
    now = mteb_evidence(published_copy).contrast(arms)
    assert was is not None and now is not None and now.value - was.value == pytest.approx(-1.0)


def test_a_row_that_differs_between_tables_is_named(published_copy: Path) -> None:
    file = published_copy / "paper" / "table4_prompt_length_ndcg10.csv"
    change(file, ",55.43,42.62,", ",55.43,43.62,")
    with pytest.raises(DataError) as refused:
        paper_scores(published_copy)
    message = str(refused.value)
    assert f"{file.name}:21 " in message and "FiQA" in message and "table2" in message
    assert "43.62" in message and "42.62" in message and "\n" not in message


def test_every_printed_model_is_one_row() -> None:
    scores = paper_scores()
    assert scores.columns.tolist() == [*BEIR, "average"]
    assert scores.index.is_unique and not scores.isna().any().any()
    printed = {row["recipe"] or row["model"] for n in (2, 3, 4) for row in paper_table(n).to_dict("records")}
    assert set(scores.index) == printed
    assert scores.loc["gte-modernbert", "average"] == pytest.approx(55.33, abs=0.006)


def evaluation(seed: int, shift: float = 0.0) -> Evaluation:
    """Two collections; queries are as hard whatever the seed and shift."""
    hard = np.random.default_rng(5).uniform(0.3, 0.6, 60)
    luck = np.random.default_rng(100 + seed).normal(0, 0.02, 60)
    table = pd.DataFrame({"collection": ["x"] * 40 + ["y"] * 20, "query": [f"q{i}" for i in range(60)]})
    table["ndcg@10"] = np.clip(hard + luck + shift, 0, 1)
    table["recall@100"] = table["mrr@10"] = 0.0
    return Evaluation(table)


A, B, C = (str(PIPELINES[letter]) for letter in "abc")


def small_runs(**changes: object) -> RunEvidence:
    kept = {
        A: {0: evaluation(0), 1: evaluation(1)},
        B: {0: evaluation(2, 0.05), 1: evaluation(3, 0.05)},
        C: {0: evaluation(4, 0.2)},
    }
    return RunEvidence("yours (tiny)", kept, **changes)  # type: ignore[arg-type]


def test_at_another_scale_only_the_direction_is_asked() -> None:
    runs = small_runs()
    assert judge(find_claim("full-pretraining-beats-kd-only"), runs).verdict == "agrees"
    high = claim(Clause(((C, 1.0), (A, -1.0)), ">", 50.0))
    assert judge(high, runs).verdict == "agrees"
    assert judge(high, small_runs(full_scale=True)).verdict == "differs"
    close = judge(find_claim("supervised-kd-is-close-to-full"), runs)
    assert close.verdict == "differs"


def test_hours_of_another_scale_are_left_out() -> None:
    found = judge(find_claim("almost-all-at-a-tenth-of-the-cost"), small_runs())
    assert found.verdict == "differs"
    assert found.findings[1].estimate is None


def test_runs_are_compared_over_the_seeds_that_all_arms_share() -> None:
    runs = small_runs()
    two, one = runs.contrast({B: 1, A: -1}), runs.contrast({C: 1, A: -1})
    assert two is not None and one is not None
    assert (two.seeds, one.seeds) == (2, 1) and {two.over, one.over} == {"queries and seeds"}
    assert one.spread == BORROWED
    assert runs.seeds([A, B, C]) == (0,)
    apart = RunEvidence("apart", {A: {0: evaluation(0)}, B: {1: evaluation(1)}})
    assert apart.contrast({A: 1, B: -1}) is None
    assert judge(claim(Clause(((A, 1.0), (B, -1.0)))), apart).verdict == "no figures"


def test_what_one_seed_says_of_queries_alone_is_marked_and_decides_nothing() -> None:
    alone = RunEvidence("alone", {A: {0: evaluation(0)}, C: {0: evaluation(4, 0.2)}})
    found, expected = alone.contrast({C: 1, A: -1}), difference(evaluation(4, 0.2), evaluation(0))
    assert found is not None and found.over == "queries" and np.isnan(found.p)
    assert (found.value, found.low, found.high) == pytest.approx([100 * end for end in expected[:3]])
    table = claims_table(["full-pretraining-beats-kd-only"], [paper_evidence(), alone])
    assert found.low > 10 and table["verdict"].tolist() == [NOT_RESOLVABLE]
    assert (
        table["alone"][0].endswith("]*") and "has nobody to borrow from (1 times)" in table.attrs["caption"]
    )


def test_a_mark_is_the_same_for_every_seed_and_has_no_spread_of_its_own(tmp_path: Path) -> None:
    kept, mark = small_runs().evaluations, evaluation(4, -0.1)
    marked = RunEvidence("yours (tiny)", kept, marks={"BM25": mark})
    copied = RunEvidence("yours (tiny)", {**kept, C: dict.fromkeys((0, 1), mark)})
    found, twice = marked.contrast({B: 1, "BM25": -1}), copied.contrast({B: 1, C: -1})
    assert found is not None and twice is not None and found.seeds == 2 and not marked.missing(["BM25"])
    assert found.value == pytest.approx(twice.value)
    # Of one seed with a mark, a single training's spread is lent; of two trainings that of both.
    one, both = marked.contrast({C: 1, "BM25": -1}), marked.contrast({C: 1, A: -1})
    assert one is not None and both is not None and one.variances is not None and both.variances is not None
    assert one.variances.seeds == pytest.approx(both.variances.seeds / 2)


def test_a_start_that_others_trained_is_a_mark(tmp_path: Path) -> None:
    passports = [{"recipe": "base", "seed": 0, "profile": "minilm", "start": {"name": "all-MiniLM-L6-v2"}}]
    passports += [{"recipe": "base", "seed": 0, "profile": "tiny"}]
    others, ours = (RunEvidence.of_tables("", [(each, evaluation(0))]) for each in passports)
    assert (list(others.marks), list(others.evaluations)) == (["base"], [])
    assert (list(ours.marks), list(ours.evaluations)) == ([], ["base"])


def test_what_arms_share_cancels_in_a_contrast() -> None:
    """Seed and query effects that all arms have leave an interaction of exactly zero."""
    same = [evaluation(seed) for seed in (0, 1, 2)]
    for matrix in paired_scores([(1.0, same), (-1.0, same), (-1.0, same), (1.0, same)]).values():
        assert matrix.shape[0] == 3 and np.abs(matrix).max() < 1e-12
    with pytest.raises(ParameterError, match="seeds"):
        paired_scores([(1.0, same), (-1.0, same[:2])])


def test_seeds_that_agree_by_luck_borrow_the_spread_of_the_others() -> None:
    """C is ahead by the same on each of two seeds, and by other seeds' spread not clearly; four seeds are believed."""
    rng = np.random.default_rng(0)
    luck = dict(enumerate(rng.normal(0, 0.02, 4)))
    kept = {A: {seed: evaluation(0, 0.1 + by) for seed, by in luck.items()}}
    kept |= {C: {seed: evaluation(0, 0.11 + by) for seed, by in luck.items()}}
    four = RunEvidence("four", kept)
    two = RunEvidence("two", {A: kept[A], C: {seed: kept[C][seed] for seed in (0, 1)}})
    steady, wide = four.contrast({C: 1, A: -1}), two.contrast({C: 1, A: -1})
    assert steady is not None and wide is not None
    assert (steady.seeds, steady.spread, steady.value) == (4, "its own 4 seeds", pytest.approx(wide.value))
    assert (wide.seeds, wide.spread) == (2, BORROWED) and wide.low < 0 < steady.low
    assert (
        "Where two or three seeds agree too closely"
        in claims_table(["full-pretraining-beats-kd-only"], [two]).attrs["caption"]
    )


def test_recorded_runs_are_evidence_and_profiles_are_checked() -> None:
    assert recorded_evidence("laptop").name == "recorded (laptop)"
    assert not recorded_evidence("laptop").full_scale
    assert recorded_evidence("paper").full_scale
    with pytest.raises(ProfileError, match="laptop"):
        recorded_evidence("latpop")
    slugs = {Recipe.parse(arm).slug for arm in recorded_evidence("laptop").evaluations}
    files = {file.name.split("--seed")[0] for file in (DATA / "runs" / "laptop").glob("*.parquet")}
    assert slugs == files


def keep(home: Path, recipe: str, seed: int, score: Evaluation, **changes: object) -> None:
    """A finished run in a ledger, made by nobody."""
    settings = get_profile("tiny").settings(Recipe.parse(recipe).steps) | {
        "device": "cpu",
        "precision": "float32",
    }
    settings |= {name: value for name, value in changes.items() if name != "data"}
    key = RunKey(recipe, "tiny", canonical_json(settings), seed, "base", str(changes.get("data", "text")), ())

    def build(folder: Path) -> dict[str, object]:
        score.to_parquet(folder / "per_query.parquet")
        return {"profile": "tiny", "recipe": recipe, "seed": seed}

    Ledger(home / "runs").obtain(key, build)


def test_the_readers_runs_come_from_the_ledger_as_the_profile_is_now(tmp_path: Path) -> None:
    assert ledger_evidence("tiny", tmp_path).evaluations == {}
    keep(tmp_path, A, 0, evaluation(0))
    keep(tmp_path, B, 0, evaluation(1))
    keep(tmp_path, B, 1, evaluation(2))
    keep(tmp_path, C, 0, evaluation(3), prompts=["another: ", "prompt: "])  # settings of an earlier day
    keep(tmp_path, A, 0, evaluation(4), data="another text")  # not to be compared with the rest
    keep(tmp_path, C, 0, evaluation(5), device="cuda")
    found = ledger_evidence("tiny", tmp_path)
    assert {arm: sorted(seeds) for arm, seeds in found.evaluations.items()} == {A: [0], B: [0, 1]}
    assert found.evaluations[A][0].mean() == evaluation(0).mean()
    assert (found.name, found.full_scale) == ("yours (tiny)", False)
    assert ledger_evidence("laptop", tmp_path).evaluations == {}


def test_the_verdict_table_has_a_column_a_source_and_a_row_a_clause(tmp_path: Path) -> None:
    keep(tmp_path, B, 0, evaluation(0, 0.2))
    keep(tmp_path, A, 0, evaluation(0))
    sources = verdict_sources(Ledger(tmp_path / "runs").runs(), "laptop")
    table = claims_table(["supervised-kd-beats-kd-only", find_claim("kd-improves-on-supervised")], sources)
    assert table.columns.tolist() == ["claim", "paper", "MTEB rerun", "recorded", "yours", "verdict"]
    assert table["verdict"].tolist() == [NOT_RESOLVABLE, "–", "–", "–"]
    assert table["paper"][0].startswith("+1.04 [") and table["MTEB rerun"][0] == "–"
    with_size = claims_table(["full-pretraining-beats-kd-only"], sources)["claim"][0]
    assert with_size.endswith("(its sign)")
    figures = clause_table(["supervised-kd-beats-kd-only"], sources).set_index("source")
    assert figures.loc["paper", "value"] == pytest.approx(1.036, abs=0.01)
    assert np.isnan(figures.loc["MTEB rerun", "value"])
    assert figures.loc["yours (tiny)", "value"] == pytest.approx(20)
