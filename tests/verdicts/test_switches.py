"""Prompts and length beside the paper: weights worked out by hand on planted arms, cuts against PyLate's own tokens."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from colbert_zero_lib.errors import ParameterError
from colbert_zero_lib.evaluation import Evaluation
from colbert_zero_lib.figures import power, switches
from colbert_zero_lib.figures.marks import headline
from colbert_zero_lib.lengths import cut, cut_table, marker_tokens, text_tokens
from colbert_zero_lib.paper_arms import PAPER_ROWS
from colbert_zero_lib.published import paper_table
from colbert_zero_lib.recipes import PIPELINES, Recipe
from colbert_zero_lib.runs.arms import arm_name, switch_arms
from colbert_zero_lib.verdicts import RunEvidence
from colbert_zero_lib.verdicts.effects import switch_effects
from colbert_zero_lib.verdicts.grid import alignment_findings, effect_findings, paper_deltas
from colbert_zero_lib.verdicts.verdict import AGREES, DIFFERS, NOT_RUN

if TYPE_CHECKING:
    from pylate.models import ColBERT

mpl.use("Agg")

ARMS = tuple(str(row.recipe) for row in PAPER_ROWS if row.table == 4)
BARE = "ColBERT unsupervised, no prompts"


def planted(points: Callable[[Recipe], float], seeds: int = 3, noise: float = 0.2) -> RunEvidence:
    """Every arm of Table 4 on 40 queries of two collections: 50 points and what the arm adds."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        [(name, f"q{place}", 0.0, 0.0) for name in ("one", "two") for place in range(20)],
        columns=["collection", "query", "recall@100", "mrr@10"],
    )
    hard = 0.5 + rng.uniform(-0.2, 0.2, len(frame))
    return RunEvidence(
        "planted",
        {
            arm: {
                seed: Evaluation(
                    frame.assign(
                        **{
                            "ndcg@10": hard
                            + (points(Recipe.parse(arm)) + rng.normal(0, noise, len(frame))) / 100
                        }
                    )
                )
                for seed in range(seeds)
            }
            for arm in ARMS
        },
    )


def two_and_three(recipe: Recipe) -> float:
    """Prompts add 2 points, length 3, together another 4; the limit of the evaluation alone adds 1."""
    step = recipe.steps[-1]
    late = recipe.evaluation_extra_length is not None
    return 2.0 * step.prompts + 3.0 * step.extra_length + 4.0 * (step.prompts and step.extra_length) + late


@cache
def runs() -> RunEvidence:
    return planted(two_and_three)


@cache
def effects() -> pd.DataFrame:
    return effect_findings(runs())


@cache
def alignment() -> pd.DataFrame:
    return alignment_findings(runs())


def test_planted_effects_come_back_and_the_interaction_is_what_the_sum_leaves() -> None:
    means = effects().groupby("effect")["value"].agg(["mean", "count"])
    expected = {"prompts": 2, "length": 3, "both": 9, "interaction": 4, "length at evaluation": 1}
    assert set(means.index) == set(expected)
    for effect, points in expected.items():
        assert means.loc[effect, "mean"] == pytest.approx(points, abs=0.1), effect
    # Five blocks have four arms, two have two; one arm was lengthened late.
    assert dict(means["count"]) == dict.fromkeys(("prompts", "length", "interaction"), 5) | {
        "both": 7, "length at evaluation": 1,
    }  # fmt: skip
    assert (effects()["low"] < effects()["value"]).all() and (effects()["value"] < effects()["high"]).all()


def test_the_papers_side_is_what_its_own_scores_say() -> None:
    own = switch_effects(paper_table(4)).set_index(["start", "stage", "effect"])
    for row in effects().itertuples():
        expected = own.loc[(row.start, row.stage, row.effect)]
        assert (row.paper, row.paper_low, row.paper_high) == tuple(expected)


def test_matched_means_with_the_switches_of_pretraining() -> None:
    table = alignment().set_index(["start", "stage"])
    assert len(table) == 7 and set(table["seeds"]) == {3}
    for (start, _), row in table.iterrows():
        matched, mismatched = Recipe.parse(row["matched"]), Recipe.parse(row["mismatched"])
        assert (
            matched.steps[-1].prompts is (start != BARE)
            and matched.steps[-1].prompts is matched.steps[0].prompts
        )
        assert mismatched.steps[0] == matched.steps[0]
        assert mismatched.steps[-1].prompts is not matched.steps[-1].prompts
        assert row["value"] == pytest.approx(-9 if start == BARE else 9, abs=0.3)
    printed = paper_deltas()
    printed = printed[printed["effect"] == "both"].set_index(["start", "stage"])["paper"]
    for key, row in table.iterrows():
        assert row["paper"] == pytest.approx(-printed[key] if key[0] == BARE else printed[key], abs=0.02)
    # The paper's sign after distillation is plus from every start, so planted minus nine from one of them differs.
    assert table.loc[(BARE, "distilled"), "verdict"] == DIFFERS
    assert table.loc[("dense unsupervised", "distilled"), "verdict"] == AGREES
    assert (table["p_holm"] >= table["p"]).all()


def test_arms_that_were_not_run_say_so_and_one_that_comes_fills_its_row() -> None:
    none = alignment_findings(RunEvidence("nothing", {}))
    assert set(none["verdict"]) == {NOT_RUN} and none["value"].isna().all() and none["paper"].notna().all()
    full = runs()
    arms = switch_arms("ColBERT unsupervised", "distilled")
    two = {
        str(arms[name]): full.evaluations[str(arms[name])]
        for name in ("+prompts +length", "−prompts −length")
    }
    some = effect_findings(RunEvidence("two", two))
    assert list(some.loc[some["seeds"] > 0, "effect"]) == ["both"]


def test_a_changed_score_of_the_paper_arrives(published_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = published_copy / "paper" / "table4_prompt_length_ndcg10.csv"
    text = file.read_text(encoding="utf-8")
    old = "54.18,42.75,37.28"
    assert text.count(old) == 1
    # The mean printed must stay that of its scores.
    file.write_text(text.replace(old, "60.18,87.75,82.28"), encoding="utf-8")
    monkeypatch.setattr("colbert_zero_lib.published.tables.data_folder", lambda: published_copy)
    table = alignment_findings(RunEvidence("nothing", {})).set_index(["start", "stage"])
    assert table.loc[(BARE, "distilled"), "paper"] == pytest.approx(54.61 - 60.18, abs=0.02)


def test_arms_are_found_by_start_stage_and_switches() -> None:
    arms = switch_arms("dense supervised", "distilled")
    assert len(arms) == 4 and arms["+prompts +length"] == PIPELINES["a"]
    assert len(switch_arms(BARE, "distilled")) == 3 and len(switch_arms(BARE, "supervised")) == 2
    for words, recipe in arms.items():
        assert arm_name(recipe).switches == words
    with pytest.raises(ParameterError, match="distilled from dense supervised"):
        switch_arms("dense supervised", "supervised")


# Lengths


@pytest.mark.parametrize("is_query", [True, False])
@pytest.mark.parametrize("prompted", [True, False])
def test_cuts_are_those_of_the_model(tiny_colbert: ColBERT, is_query: bool, prompted: bool) -> None:
    texts = ["honey", "bees find their way by the sun", "a violin, " * 5, "the tide turns " * 30]
    side = "query" if is_query else "document"
    prompt = tiny_colbert.prompts[side] if prompted else ""
    limit = tiny_colbert.query_length if is_query else tiny_colbert.document_length
    tokenizer = tiny_colbert.tokenizer
    taken = marker_tokens(tokenizer) + len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    tokens = text_tokens(tokenizer, texts)
    kept = [
        int(m.sum())
        for m in tiny_colbert.tokenize([prompt + t for t in texts], is_query=is_query)["attention_mask"]
    ]
    assert kept == [min(count + taken, limit) for count in tokens]
    found = cut(tokens, limit, taken)
    whole = [count + taken for count in tokens]
    assert found.texts == np.mean([length > limit for length in whole])
    assert 0 < found.texts < 1 and found.tokens == (sum(whole) - sum(kept)) / sum(tokens)


def test_cuts_by_hand() -> None:
    tokens = np.array([2, 5, 10, 3])
    assert cut(tokens, limit=8, taken=3) == (0.25, 5 / 20)
    assert cut(tokens, limit=8, taken=5) == (0.5, 9 / 20)
    table = cut_table({"query": tokens}, {"query": (8, 13)}, 3, {"query": 2})
    assert list(table["texts"]) == [0.25, 0.0, 0.5, 0.25] and list(table["prompts"]) == [
        False,
        False,
        True,
        True,
    ]
    for bad in (np.array([], dtype=int), tokens):
        with pytest.raises(ParameterError, match="limit of 3"):
            cut(bad, limit=3, taken=3)


# Figures


def _cuts() -> pd.DataFrame:
    tokens = {"query": np.arange(2, 40), "document": np.arange(5, 300)}
    return cut_table(
        tokens, {"query": range(12, 48), "document": range(16, 200, 8)}, 3, {"query": 4, "document": 4}
    )


def _curves() -> pd.DataFrame:
    rows = [
        (effect, seeds, 1 - math.exp(-effect * seeds / 5))
        for effect in (0.3, 1.0)
        for seeds in (2, 3, 5, 10, 50)
    ]
    return pd.DataFrame(rows, columns=["effect", "seeds", "power"])


MARKS = {"query": {"limit": 28, "+length": 32}, "document": {"limit": 96, "+length": 104}}
NOTHING = RunEvidence("nothing", {})
FIGURES: dict[str, Callable[[], Figure]] = {
    "alignment": lambda: switches.alignment_figure(alignment_findings(NOTHING), alignment()),
    "not run": lambda: switches.alignment_figure(alignment_findings(NOTHING)),
    "effects": lambda: switches.effects_figure(effects()[effects()["stage"] == "supervised"]),
    "one effect": lambda: switches.effects_figure(effects()[effects()["effect"] == "interaction"]),
    "two sources": lambda: switches.effects_figure(
        effects().assign(source="recorded (laptop)"), effects().assign(source="yours (tiny)", p=math.nan)
    ),
    "late": lambda: switches.effects_figure(effects()[effects()["effect"] == "length at evaluation"]),
    "cuts": lambda: switches.cut_figure(_cuts(), MARKS),
    "power": lambda: power.power_figure(_curves(), "(c) − (b), recorded (laptop)"),
    "no power": lambda: power.power_figure(_curves().iloc[:0], "recorded (mini)"),
    "alarms": lambda: power.alarms_figure(
        pd.DataFrame(
            {
                "questions": [1, 17, 1, 17],
                "method": ["alone"] * 2 + ["Holm"] * 2,
                "share": [0.05, 0.6, 0.05, 0.04],
            }
        )
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_legible_and_light(
    name: str, check_drawing: Callable[[Callable[[], Figure]], None]
) -> None:
    check_drawing(FIGURES[name])


def test_a_long_title_takes_a_second_line_and_a_short_one_does_not() -> None:
    figure = switches.effects_figure(effects())
    headline(figure, "short")
    assert figure._suptitle.get_text() == "short"
    headline(figure, "word " * 40)
    figure.canvas.draw()
    assert figure._suptitle.get_text().count("\n") >= 1
    assert figure._suptitle.get_window_extent().x1 <= figure.bbox.width


def test_every_interval_of_every_source_is_drawn() -> None:
    table = effects()
    [axes] = switches.effects_figure(table, table.assign(source="again")).axes
    spans = np.array([bars[2][0].get_segments()[0][:, 0] for bars in axes.containers])
    expected = [table[["paper_low", "paper_high"]], table[["low", "high"]], table[["low", "high"]]]
    assert spans == pytest.approx(np.concatenate([part.to_numpy() for part in expected]))
    with pytest.raises(ParameterError, match="same rows"):
        switches.effects_figure(table, table.iloc[1:])
    with pytest.raises(ParameterError, match="no effects"):
        switches.effects_figure(table.iloc[:0])
