"""The paper's tables as figures: measured right, drawn from the files, legible, light, the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from typer.testing import CliRunner

from colbert_zero_lib.cli import app
from colbert_zero_lib.errors import DataError, ParameterError, UnknownNameError
from colbert_zero_lib.figures import save
from colbert_zero_lib.figures.catalogue import FIGURES, draw
from colbert_zero_lib.published import BEIR, paper_table
from colbert_zero_lib.recipes import PIPELINES
from colbert_zero_lib.verdicts import paper_evidence
from colbert_zero_lib.verdicts.effects import (
    alignment,
    contrast,
    gaps,
    per_dataset,
    start_of,
    switch_effects,
    switch_gains,
)

mpl.use("Agg")


def _texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def change(folder: Path, file: str, row: dict[str, str], column: str, value: str) -> None:
    table = pd.read_csv(folder / "paper" / file, dtype=str, keep_default_na=False)
    chosen = np.logical_and.reduce([table[name] == text for name, text in row.items()])
    assert chosen.sum() == 1
    table.loc[chosen, column] = value
    table.to_csv(folder / "paper" / file, index=False, lineterminator="\n")


# measuring


def planted(**shifts: float) -> pd.DataFrame:
    """Rows that differ from ``base`` by the same number of points on every data set."""
    base = pd.Series(np.linspace(20, 80, 15), index=list(BEIR))
    return pd.DataFrame({"base": base, **{name: base + shift for name, shift in shifts.items()}}).T


def test_a_constant_difference_has_an_interval_of_no_width() -> None:
    found = contrast(planted(better=1.5), {"better": 1, "base": -1})
    assert found == pytest.approx((1.5, 1.5, 1.5))
    alone = contrast(planted(better=1.5), {"better": 1})
    assert alone.high - alone.low > 10  # without pairing the data sets' own spread is all there is


def test_a_contrast_is_the_weighted_sum_and_its_interval_that_of_a_plain_bootstrap() -> None:
    scores = paper_table(2).set_index("model")
    weights = {"colbert-zero": 1.0, "moderncolbert-embed-base": -0.5, "gte-modernbert": -0.5}
    rows = scores[list(BEIR)].astype(float)
    values = (
        rows.loc["colbert-zero"] - (rows.loc["moderncolbert-embed-base"] + rows.loc["gte-modernbert"]) / 2
    )
    pd.testing.assert_series_equal(per_dataset(scores, weights), values, check_names=False)
    drawn = np.random.default_rng(7).choice(values.to_numpy(), (40_000, 15)).mean(axis=1)
    found = contrast(scores, weights)
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.08)
    with pytest.raises(UnknownNameError, match="nobody"):
        contrast(scores, {"nobody": 1})


def test_a_comparison_has_the_same_interval_here_and_in_the_claims() -> None:
    evidence = paper_evidence()
    scores = paper_table(2).dropna(subset="recipe").set_index("recipe")
    for better, worse in (("c", "b"), ("c", "a"), ("b", "a")):
        weights = {str(PIPELINES[better]): 1.0, str(PIPELINES[worse]): -1.0}
        there = evidence.contrast(weights)
        assert there is not None
        assert contrast(scores, weights) == pytest.approx((there.value, there.low, there.high))


def test_gaps_are_zero_to_oneself_and_turn_their_sign_with_the_reference() -> None:
    table = paper_table(2)
    there = gaps(table).set_index("model")
    back = gaps(table, "gte-modernbert").set_index("model")
    assert there.loc["colbert-zero", ["value", "low", "high"]].tolist() == [0, 0, 0]
    one, other = there.loc["gte-modernbert"], back.loc["colbert-zero"]
    assert one["value"] == pytest.approx(-other["value"]) and one["low"] == pytest.approx(
        -other["high"], abs=0.15
    )
    printed = table.set_index("model")["average_printed"]
    assert (there["mean"] - printed).abs().max() < 0.006


def test_switch_effects_are_table_5s_deltas() -> None:
    effects = switch_effects(paper_table(4)).set_index(["start", "stage", "effect"])["value"]
    compared = 0
    for row in paper_table(5).itertuples():
        block = (start_of(row.section, row.base_prompts), row.stage)
        for effect, column in (
            ("prompts", "delta_prompt"),
            ("length", "delta_length"),
            ("both", "delta_both"),
        ):
            if not np.isnan(getattr(row, column)):
                # two averages, each printed with two decimals
                assert effects[(*block, effect)] == pytest.approx(getattr(row, column), abs=0.0101)
                compared += 1
    assert compared == 17


def test_an_interaction_is_what_both_add_beyond_the_sum() -> None:
    table = paper_table(4)
    first = (table["section"] == "kd from dense supervised").to_numpy()
    for row, shift in zip(
        np.flatnonzero(first), (0.0, 1.0, 2.0, 5.0), strict=True
    ):  # neither, prompts, length, both
        table.loc[row, list(BEIR)] = np.linspace(20, 80, 15) + shift
    found = switch_effects(table).query("start == 'dense supervised'").set_index("effect")
    assert found["value"].to_dict() == pytest.approx(
        {"prompts": 1, "length": 2, "both": 5, "sum": 3, "interaction": 2}
    )
    assert found["low"].to_dict() == pytest.approx(found["high"].to_dict())
    assert switch_gains(table).loc[("dense supervised", "distilled")].tolist() == pytest.approx([5.0] * 15)


def test_blocks_have_the_effects_that_were_trained() -> None:
    effects = switch_effects(paper_table(4))
    bare = effects[effects["start"] == "ColBERT unsupervised, no prompts"]
    assert bare.groupby("stage")["effect"].agg(set).to_dict() == {
        "supervised": {"both"},
        "distilled": {"both", "length at evaluation"},
    }
    assert len(effects) == 5 * 5 + 3
    table = paper_table(4)
    lacking = table.drop(
        index=table.index[(table["plus_prompt"] == "yes") & (table["plus_length"] == "yes")][0]
    )
    with pytest.raises(DataError, match="kd from dense supervised"):
        switch_effects(lacking)


def test_alignment_compares_with_what_the_base_was_pretrained_with() -> None:
    found = alignment(paper_table(3))
    table = paper_table(3)
    for row in found.itertuples():
        own = table[(table["base"] == row.base) & (table["base_prompts"] == row.base_prompts)]
        same = own[own["finetune_prompts"] == row.base_prompts]["average_printed"].item()
        other = own[~own["finetune_prompts"].isin([row.base_prompts, ""])]["average_printed"].item()
        assert (row.aligned, row.misaligned) == pytest.approx((same, other), abs=0.006)
        assert row.value == pytest.approx(row.aligned - row.misaligned)
        assert row.low <= row.value <= row.high


# drawing


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_legible_in_print_and_inside_its_edges(name: str, check_drawing: Any) -> None:
    check_drawing(lambda: draw(name))


def test_an_unknown_figure_or_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="paper_cost"):
        draw("paper_costs")
    with pytest.raises(ParameterError, match="svg, pdf, png"):
        save(draw("paper_figure2"), "x", tmp_path, "gif")
    save(draw("paper_figure2"), "x", tmp_path, "pdf")
    assert (tmp_path / "x.pdf").read_bytes()[:4] == b"%PDF" and b"CreationDate" not in (
        tmp_path / "x.pdf"
    ).read_bytes()


ZERO = {"model": "colbert-zero"}
ARM = {"section": "kd from dense supervised", "plus_prompt": "yes", "plus_length": "yes"}
CHANGES = [
    # (file, row, column, new value, figure, what it then says)
    ("table1_hyperparameters.csv", {"phase": "kd"}, "gpu_hours_gh200", "77", "paper_figure1", "77 GH200 hours"),
    ("figure2_pipelines.csv", ZERO, "beir_average_ndcg10", "56.78", "paper_figure2", "56.78"),
    ("figure2_pipelines.csv", ZERO, "colbert_gpu_hours_gh200", "777", "paper_cost", "(c) 777 h"),
    ("table2_beir_ndcg10.csv", {"model": "gte-modernbert"}, "FiQA", "78.81", "paper_cost", "gte-modernbert 57.33"),
    ("table2_beir_ndcg10.csv", {"model": "gte-modernbert"}, "FiQA", "78.81", "paper_table2", "57.33"),
    ("table2_beir_ndcg10.csv", {"model": "gte-modernbert"}, "FiQA", "78.81", "paper_table2_heat_map", "78.8"),
    (
        "table3_prompt_alignment_ndcg10.csv",
        {"base": "modernbert-embed-unsupervised", "finetune_prompts": "no"}, "FiQA", "71.30", "paper_table3", "56.44",
    ),
    ("table4_prompt_length_ndcg10.csv", ARM, "FiQA", "72.51", "paper_table4_heat_map", "+30.9"),
]  # fmt: skip


@pytest.mark.parametrize("case", CHANGES, ids=lambda case: f"{case[4]}: {case[0]}")
def test_a_changed_value_arrives_in_the_figure(
    case: tuple[str, dict[str, str], str, str, str, str], published_copy: Path
) -> None:
    file, row, column, value, name, said = case
    assert said not in _texts(draw(name, published_copy))
    change(published_copy, file, row, column, value)
    assert said in _texts(draw(name, published_copy))


def test_a_changed_value_moves_the_points_and_their_intervals(published_copy: Path) -> None:
    def drawn() -> list[float]:
        axes = [axes for axes in draw("paper_table5", published_copy).axes if axes.containers]
        bars = [bars for one in axes for bars in one.containers]
        return [
            float(value)
            for one in bars
            for line in one[2]
            for part in line.get_segments()
            for value in part.ravel()
        ]

    before = drawn()
    change(published_copy, "table4_prompt_length_ndcg10.csv", ARM, "FEVER", "44.82")
    after = drawn()
    assert len(before) == len(after) and np.abs(np.subtract(before, after)).max() > 1


def test_the_heat_map_marks_the_best_model_of_every_data_set() -> None:
    table = paper_table(2)
    [axes] = draw("paper_table2_heat_map").axes
    bold = {
        (round(text.get_position()[0], 2), text.get_position()[1])
        for text in axes.texts
        if text.get_weight() == "bold"
    }
    best = {(round(1.75 + place, 2), table[name].idxmax() + 0.5) for place, name in enumerate(BEIR)}
    assert best <= bold and len(bold) == 16  # and the mean's


# all at once


def test_a_damaged_file_is_one_sentence_from_the_command(published_copy: Path, tmp_path: Path) -> None:
    change(published_copy, "table2_beir_ndcg10.csv", ZERO, "FiQA", "high")
    result = CliRunner().invoke(
        app, ["figures", "--data", str(published_copy), "--output", str(tmp_path / "out")]
    )
    assert result.exit_code == 2 and len(result.stderr.strip().splitlines()) == 1
    assert (
        "table2_beir_ndcg10.csv:11" in result.stderr and "'high'" in result.stderr and "FiQA" in result.stderr
    )
