"""Every benchmark at its smallest, measured for real, with the figure and table that its results make."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import cuda, records, scaling, search
from benchmarks.texts import GivenTexts
from colbert_zero_lib.figures import benchmarks as figures
from colbert_zero_lib.recipes import TABLE1, Phase

pytestmark = pytest.mark.pipeline

TEXTS = GivenTexts(
    (
        "The harbour crane lifts two containers at once, and the ship waits until the tide turns.",
        "Yeast turns sugar into alcohol and carbon dioxide; bakers and brewers both depend on it.",
        "The violin has four strings tuned in fifths: G, D, A, E.",
        "Bees find their way by the sun and tell each other where the flowers are by dancing.",
    )
)


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every benchmark that has a small size at its smallest, measured for real."""
    small = command.Run(TEXTS, tmp_path_factory.mktemp("encoders"), "quick")
    names = [name for name in command.BENCHMARKS if name != "curves"]
    return command.measure(names, small, tmp_path_factory.mktemp("results"), say=lambda _: None)


def test_every_benchmark_measures_something(contents: dict[str, Any]) -> None:
    assert {*contents, "curves"} == set(command.BENCHMARKS)
    for name, content in contents.items():
        records.check(content, name)
        assert content["rows"], name
    phases = {one["phase"] for one in contents["training"]["rows"]}
    assert phases == {phase.value for phase in Phase}
    assert {one["axis"] for one in contents["scaling"]["rows"]} == set(scaling.cases())


def test_memory_is_measured_in_processes_of_their_own(contents: dict[str, Any]) -> None:
    peak, kept = contents["memory"]["rows"]
    assert 0 < peak["ours_mebibytes"] < 2000
    assert peak["ours_model_mebibytes"] > 50  # a whole interpreter with torch in it
    assert kept["quantity"] == "activations kept for the backward pass"
    assert kept["ours_mebibytes"] > 0


def test_exact_search_finds_what_pylate_finds(contents: dict[str, Any]) -> None:
    exact, half, index = contents["search"]["rows"]
    assert exact["peer"] == search.RERANK
    assert exact["ndcg@10_difference"] < 1e-4
    assert half["peer"] == search.FLOAT32
    assert 0 < half["top10_agreement"] <= 1
    assert index["peer_build_seconds"] > 0
    assert 0 < index["top10_agreement"] <= 1


def test_hours_of_an_epoch_follow_from_seconds_of_a_step(contents: dict[str, Any]) -> None:
    for one in contents["cuda"]["rows"]:
        assert one["cpu_loss_difference"] < 1e-5 and one["cpu_gradient_cosine"] > 0.99999
        phase = Phase(one["phase"])
        hours = cuda.EPOCH[phase] / one["batch_size"] * one["ours_seconds"] / 3600
        assert one["ours_epoch_hours"] == pytest.approx(hours)
        assert one["paper_gpu_hours"] == TABLE1[phase].gpu_hours


def test_every_results_file_has_a_figure_drawn_from_it_alone(contents: dict[str, Any]) -> None:
    drawn = figures.draw(json.loads(json.dumps(contents)))
    assert list(drawn) == [f"benchmarks_{name}" for name in contents]
    for figure in drawn.values():
        figure.draw_without_rendering()
    ratios = [one["ratio"] for one in contents["training"]["rows"]]
    (axes,) = drawn["benchmarks_training"].axes
    shown = {round(float(line.get_xdata()[0]), 9) for line in axes.lines if len(line.get_xdata()) == 1}
    assert {round(ratio, 9) for ratio in ratios} <= shown
    assert f"{max(ratios):.1f}" in drawn["benchmarks_training"].get_suptitle()
    assert not figures.draw({"training": {**contents["training"], "rows": []}})


def test_tables_hold_every_row(contents: dict[str, Any]) -> None:
    for name, content in contents.items():
        assert sum(table.row_count for table in command.tables(name, content)) == len(content["rows"])
