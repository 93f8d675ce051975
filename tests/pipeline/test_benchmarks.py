"""Every benchmark at its smallest, measured for real, with the figure and table that its results make."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import cases, cuda, memory, plaid, records, scaling, search, sides, tables, training
from benchmarks.apart import MULTIVECTOR, Apart
from benchmarks.encoders import encoder_folder, open_encoder
from colbert_zero_lib.errors import RunError
from colbert_zero_lib.figures import benchmarks as figures
from colbert_zero_lib.recipes import TABLE1, Phase
from colbert_zero_lib.scaling_cost import PREDICTED
from tests.given_texts import GivenTexts

pytestmark = pytest.mark.pipeline

_PEERS = ("PyLate", "sentence-transformers")
TEXTS = GivenTexts(
    (
        "The harbour crane lifts two containers at once, and the ship waits until the tide turns.",
        "Yeast turns sugar into alcohol and carbon dioxide; bakers and brewers both depend on it.",
        "The violin has four strings tuned in fifths: G, D, A, E.",
        "Bees find their way by the sun and tell each other where the flowers are by dancing.",
    )
)


@pytest.fixture(scope="module")
def apart(sentence_transformers_6: Path) -> Iterator[Apart]:
    """A process that has sentence-transformers 6."""
    with Apart(sentence_transformers_6) as process:
        yield process


@pytest.fixture(scope="module")
def contents(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every benchmark that has a small size at its smallest, measured for real."""
    try:
        apart = request.getfixturevalue("apart")
    except pytest.skip.Exception:  # its own tests are skipped, no others
        apart = None
    small = cases.Run(TEXTS, tmp_path_factory.mktemp("encoders"), "quick", apart=apart)
    names = [name for name in cases.BENCHMARKS if name != "curves"]
    return command.measure(names, small, tmp_path_factory.mktemp("results"), say=lambda _: None)


def test_every_benchmark_measures_something(contents: dict[str, Any]) -> None:
    assert {*contents, "curves"} == set(cases.BENCHMARKS)
    for name, content in contents.items():
        records.check(content, name)
        assert content["rows"], name
    phases = {one["phase"] for one in contents["training"]["rows"]}
    assert phases == {phase.value for phase in Phase}
    axes = {*scaling.cases(), "batch", "exchange", "documents", "index"}
    assert {one["axis"] for one in contents["scaling"]["rows"]} == axes


def test_every_step_is_measured_beside_its_prediction(contents: dict[str, Any], tmp_path: Path) -> None:
    short = scaling.SHORT
    folder = encoder_folder("nano", TEXTS.vocabulary(), tmp_path)
    model = open_encoder(folder, short.document_length, short.query_length)
    lengths = (model.query_length, model.document_length)
    rows = [one for one in contents["scaling"]["rows"] if one["axis"] == "batch"]
    timed = [one for one in rows if one["quantity"] == scaling.STEP]
    sizes = {(one["batch_size"], one["devices"], one["processes"]) for one in timed}
    assert sizes == set(scaling.QUICK) and len(rows) == 2 * len(timed)
    for one in timed:
        assert one["ratio"] == pytest.approx(one["peer_seconds"] / one["ours_seconds"])
        assert (one["amounts"]["sent"] > 0) == (one["processes"] == 2)
        assert (one["shape"]["query_length"], one["shape"]["document_length"]) == lengths
    assert {one["fitted"] for one in timed} == {True, False}


@pytest.mark.parametrize("name", ["training", "memory", "scaling", "search"])
def test_both_peers_are_in_every_table(apart: Apart, contents: dict[str, Any], name: str) -> None:
    by_case: dict[str, set[str]] = {}
    for one in contents[name]["rows"]:
        if one["peer"] not in (plaid.PLAID_PEER, PREDICTED, memory.LEAST):
            by_case.setdefault(one["case"], set()).add(one["peer"])
    for peers in by_case.values():
        assert {search.RERANK if name == "search" else sides.AUTHORS, MULTIVECTOR} <= peers


@pytest.mark.parametrize("cut", ["cached", "activations_kept", "expansion"])
@pytest.mark.parametrize("case", training.quick_cases(), ids=lambda case: case.phase.value)
def test_sentence_transformers_6_has_our_loss_and_gradient(
    apart: Apart, tmp_path: Path, case: training.Case, cut: str
) -> None:
    case = replace(case, keep_activations=cut == "activations_kept", expansion=cut == "expansion")
    folder = encoder_folder(case.encoder, TEXTS.vocabulary(), tmp_path)
    # A budget of so few tokens cuts the batch into several parts.
    settings = sides.Settings(mini_batch_size=3, peer_mini_batch_tokens=100)
    found = training.agreement(case, folder, settings, TEXTS, apart)[MULTIVECTOR]
    assert found["loss_difference"] < 1e-5
    assert found["gradient_cosine"] > 0.99999
    assert found["gradient_length_ratio"] == pytest.approx(1, abs=1e-4)


def test_what_the_other_process_says_last_is_in_the_error(sentence_transformers_6: Path) -> None:
    with Apart(sentence_transformers_6) as process, pytest.raises(RunError, match="could not step .*side"):
        process.ask("step", rows=[])


def test_memory_is_measured_in_processes_of_their_own(contents: dict[str, Any]) -> None:
    for one in contents["memory"]["rows"]:
        # A step of so small an encoder takes little: no process counts what its parent holds.
        assert 0 < one["ours_mebibytes"] < 250 and 0 < one["peer_mebibytes"] < 250
        assert one["ours_model_mebibytes"] > 50  # a whole interpreter with torch in it
    assert {one["quantity"] for one in contents["memory"]["rows"]} == {
        memory.PEAK,
        "activations kept for the backward pass",
    }


def test_exact_search_finds_what_its_peers_find(contents: dict[str, Any]) -> None:
    *rows, index = contents["search"]["rows"]
    full = [one for one in rows if "bfloat16" not in one["case"]]
    assert all(one["ndcg@10_difference"] < 1e-4 and one["top10_agreement"] > 0.99 for one in full)
    half = [one for one in rows if one not in full]
    assert {one["peer"] for one in half} >= {search.RERANK, search.FLOAT32}
    assert all(0.5 < one["top10_agreement"] <= 1 for one in half)
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
    assert set(drawn) == {f"benchmarks_{name}" for name in {*contents, "throughput"} - {"index"}}
    for figure in drawn.values():
        figure.draw_without_rendering()
    for peer, axes in zip(_PEERS, drawn["benchmarks_training"].axes, strict=False):
        ratios = [one["ratio"] for one in contents["training"]["rows"] if one["peer"].startswith(peer)]
        shown = {round(float(line.get_xdata()[0]), 9) for line in axes.lines if len(line.get_xdata()) == 1}
        assert {round(ratio, 9) for ratio in ratios} <= shown
        assert f"{max(ratios):.1f} times as fast as" in drawn["benchmarks_training"].get_suptitle().replace(
            "\n", " "
        )
    assert not figures.draw({"training": {**contents["training"], "rows": []}})


def test_tables_hold_every_row(contents: dict[str, Any]) -> None:
    for name, content in contents.items():
        assert sum(table.row_count for table in tables.tables(name, content)) == len(content["rows"])
