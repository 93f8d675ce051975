"""Hours and prices: the paper's are reproduced, estimates follow from their inputs, bad input is named."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from colbert_zero_lib.errors import DataError, ParameterError
from colbert_zero_lib.published import paper_table
from colbert_zero_lib.published.cost import (
    Hardware,
    cost_table,
    dense_share,
    paper_throughput,
    phase_hours,
    price,
)
from colbert_zero_lib.recipes import PIPELINES, Phase, Recipe

A, B, C = PIPELINES.values()


def hours(recipe: Recipe, folder: Path | None = None) -> tuple[float, float, float]:
    found = cost_table(folder).set_index("recipe").loc[str(recipe)]
    return found["counted"], found["low"], found["high"]


def test_the_hours_of_figure_2_follow_from_table_1() -> None:
    printed = paper_table("figure2").set_index("pipeline")["colbert_gpu_hours_gh200"]
    for letter, spent in zip("abc", printed, strict=True):
        assert hours(PIPELINES[letter])[0] == spent == PIPELINES[letter].colbert_gpu_hours


def test_dense_steps_cost_less_than_the_same_with_late_interaction_but_not_nothing() -> None:
    for recipe in (A, B):
        counted, low, high = hours(recipe)
        assert counted < low < high
    assert hours(B)[2] - hours(B)[0] == phase_hours()[Phase.UNSUPERVISED]
    assert hours(C) == (408.0, 408.0, 408.0)
    # in-batch negatives alone compare a query with 16,384 documents, mined ones with some hundreds
    assert dense_share(Phase.UNSUPERVISED) < 0.8 < dense_share(Phase.SUPERVISED) < 1


def test_the_share_of_dense_work_by_hand() -> None:
    # 39 + 187 tokens through 110 M weights, against 16,384 documents of 39 x 187 pairs of 128 numbers
    encoder = 2 * 110e6 * (39 + 187)
    maxsim = 2 * 128 * 39 * 187 * 16_384
    assert dense_share(Phase.UNSUPERVISED) == pytest.approx(encoder / (encoder + maxsim))


def test_the_cost_table_has_every_trained_row_of_table_2() -> None:
    table = cost_table()
    assert len(table) == paper_table(2)["recipe"].notna().sum()
    assert table.set_index("pipeline").loc[list("abc"), "counted"].tolist() == [8, 40, 408]
    assert (table["counted"] <= table["low"]).all() and (table["low"] <= table["high"]).all()


def test_the_papers_throughput_gives_the_papers_hours_back() -> None:
    quote = price(C, Hardware("GH200", devices=32, price_per_hour=2.0))
    assert quote.device_hours == pytest.approx(408) and quote.money == pytest.approx(816)
    assert quote.wall_hours == pytest.approx(408 / 32)
    assert paper_throughput()[Phase.DISTILLATION] == pytest.approx(640_000 / (8 * 3600))


def test_a_price_by_hand() -> None:
    machine = Hardware("one node", devices=4, price_per_hour=3.0, efficiency=0.5)
    quote = price(B, machine, {Phase.SUPERVISED: 100.0, Phase.DISTILLATION: 50.0})
    # 1,695,819 and 640,000 rows at 200 and 100 a second, twice as many device hours as four full devices take
    wall = (1_695_819 / 200 + 640_000 / 100) / 3600
    assert quote.wall_hours == pytest.approx(wall) and quote.device_hours == pytest.approx(4 * wall)
    assert quote.money == pytest.approx(12 * wall)


def test_nothing_to_train_costs_nothing() -> None:
    quote = price(Recipe(()), Hardware("GH200", price_per_hour=2.0))
    assert quote.money == 0 and quote.wall_hours == 0


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"devices": 0}, "devices"),
        ({"devices": 1.5}, "devices"),
        ({"devices": True}, "devices"),
        ({"price_per_hour": -1.0}, "price_per_hour"),
        ({"price_per_hour": math.nan}, "price_per_hour"),
        ({"efficiency": 0.0}, "efficiency"),
        ({"efficiency": 1.1}, "efficiency"),
    ],
)
def test_hardware_that_cannot_be_is_refused(changes: dict, word: str) -> None:
    with pytest.raises(ParameterError, match=f"{word} of 'mine'"):
        Hardware("mine", **changes)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"throughput": {Phase.SUPERVISED: 1.0}}, "throughput of colbert:distillation is nan"),
        ({"throughput": dict.fromkeys(Phase, 0.0)}, "throughput of colbert:supervised is 0.0"),
        ({"throughput": dict.fromkeys(Phase, -2.0)}, "throughput of colbert:supervised is -2.0"),
        ({"throughput": dict.fromkeys(Phase, math.inf)}, "throughput of colbert:supervised is inf"),
    ],
)
def test_a_price_that_cannot_be_worked_out_says_why(options: dict, sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        price(B, Hardware("mine"), **options)


def test_a_changed_hour_arrives(published_copy: Path) -> None:
    file = published_copy / "paper" / "table1_hyperparameters.csv"
    text = file.read_text("utf-8")
    assert text.count(",32,1,") == 1
    file.write_text(text.replace(",32,1,", ",52,1,"), "utf-8")
    assert hours(B, published_copy)[0] == 60
    assert cost_table(published_copy).set_index("pipeline").loc["c", "counted"] == 428
    assert price(B, Hardware("GH200"), folder=published_copy).device_hours == pytest.approx(60)
    file.write_text(text.replace("kd,1e-3", "distilling,1e-3"), "utf-8")
    with pytest.raises(DataError, match="no phase 'kd'"):
        phase_hours(published_copy)
