"""The benchmarks: ratios on known numbers, the results file and its resuming, figures, and one small case of each."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import (
    apart,
    cases,
    cuda,
    curves,
    index,
    memory,
    parts,
    records,
    roofline,
    scaling,
    search,
    sides,
    training,
)
from benchmarks.encoders import SHAPES, encoder_folder, open_encoder
from benchmarks.plaid import PLAID_PEER
from benchmarks.statistics import alternate, compared, ratio_of
from benchmarks.steps import half_precision
from benchmarks.texts import batches
from colbert_zero_lib.errors import DataError, ParameterError, UnknownNameError
from colbert_zero_lib.figures import benchmarks as figures
from colbert_zero_lib.home import data_folder
from colbert_zero_lib.published import recorded_runs
from colbert_zero_lib.recipes import TABLE1, Phase
from tests.given_texts import GivenTexts

SENTENCES = (
    "The harbour crane lifts two containers at once, and the ship waits until the tide turns.",
    "Yeast turns sugar into alcohol and carbon dioxide; bakers and brewers both depend on it.",
    "The violin has four strings tuned in fifths: G, D, A, E.",
    "Glaciers carve valleys with a U-shaped profile; rivers carve valleys shaped like the letter V.",
    "Bees find their way by the sun and tell each other where the flowers are by dancing.",
)
TEXTS = GivenTexts(SENTENCES)
STEP = "time of a training step"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where encoders are kept for this module's tests."""
    return tmp_path_factory.mktemp("encoders")


@pytest.fixture
def run(root: Path) -> cases.Run:
    return cases.Run(TEXTS, root, "quick")


# -- ratios ------------------------------------------------------------------------------------------------------


def test_a_ratio_is_the_median_over_rounds_of_peer_over_ours() -> None:
    ratio = ratio_of([1.0, 2.0, 4.0], [3.0, 4.0, 20.0])  # 3, 2 and 5 times
    assert ratio == {"ratio": 3.0, "ratio_low": 2.0, "ratio_high": 5.0}  # a resample may hold one round only


def test_equal_rounds_leave_no_doubt_and_many_rounds_leave_less() -> None:
    assert ratio_of([1.0] * 5, [2.0] * 5) == ratio_of([3.0], [6.0])
    noisy = [1.0 + 0.1 * (place % 7) for place in range(70)]
    few, many = ratio_of(noisy[:7], [2.0] * 7), ratio_of(noisy, [2.0] * 70)
    assert many["ratio_high"] - many["ratio_low"] < few["ratio_high"] - few["ratio_low"]
    assert ratio_of(noisy, [2.0] * 70) == many  # the bootstrap is seeded


@pytest.mark.parametrize(("ours", "peer"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0])])
def test_a_ratio_of_nothing_is_refused(ours: list[float], peer: list[float]) -> None:
    with pytest.raises(ParameterError, match=r"A ratio needs"):
        ratio_of(ours, peer)


def test_rates_are_work_over_median_seconds() -> None:
    fields = compared((2.0, 4.0, 3.0), (6.0, 6.0, 6.0), 12, "pairs/s")
    assert (fields["ours_rate"], fields["peer_rate"]) == (4.0, 2.0)
    assert (fields["ours_seconds"], fields["peer_seconds"], fields["rounds"]) == (3.0, 6.0, 3)


def test_sides_take_turns_on_the_same_batches_after_a_warm_up() -> None:
    calls: list[tuple[str, int]] = []

    def side(name: str, seconds: float) -> Callable[[int], float]:
        return lambda batch: calls.append((name, batch)) or seconds  # type: ignore[func-returns-value]

    timed = {"ours": side("ours", 1.0), "one": side("one", 2.0), "other": side("other", 3.0)}
    times = alternate(timed, itertools.count(), budget=0.0, warmup=2)
    assert times == {"ours": (1.0,) * 3, "one": (2.0,) * 3, "other": (3.0,) * 3}
    assert [batch for _, batch in calls] == [number for number in range(5) for _ in timed]
    assert [name for name, _ in calls[::3]] == ["ours", "one", "other", "ours", "one"]


# -- the results file --------------------------------------------------------------------------------------------


def row(case: str = "a", **more: Any) -> dict[str, Any]:
    return {"case": case, "peer": "p", "ratio": 2.0, "ratio_low": 1.5, "ratio_high": 2.5} | more


def test_a_results_file_keeps_its_contract(tmp_path: Path) -> None:
    record = records.Record(tmp_path / "new" / "training.json", {"seconds": 1.0})
    record.add(row())
    content = json.loads(record.file.read_text())
    assert content["rows"] == [row()]
    assert {"processor", "cores", "memory_bytes", "torch_threads", "device"} <= set(content["machine"])
    assert content["versions"]["torch"] == torch.__version__.partition("+")[0] or content["versions"]["torch"]
    assert set(content) == {"machine", "versions", "git_commit", "settings", "rows"}
    assert records.read(record.file) == content


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda content: content.pop("machine"), "no 'machine'"),
        (lambda content: content.pop("git_commit"), "no 'git_commit'"),
        (lambda content: content["rows"][0].pop("ratio_low"), "no 'ratio_low'"),
        (lambda content: content["rows"][0].update(ratio=3.0), "not within its interval"),
        (lambda content: content["rows"][0].update(ratio_low=0.0), "not within its interval"),
    ],
)
def test_a_results_file_without_a_field_is_refused(
    tmp_path: Path, damage: Callable[[dict[str, Any]], Any], says: str
) -> None:
    record = records.Record(tmp_path / "a.json", {})
    record.add(row())
    content = record.content()
    damage(content)
    record.file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=says):
        records.read(record.file)


def test_measured_cases_are_kept_as_long_as_nothing_changed(tmp_path: Path) -> None:
    file, said = tmp_path / "a.json", []
    records.Record(file, {"seconds": 1.0}).add(row("a"))
    assert records.Record(file, {"seconds": 1.0}, say=said.append).has("a")
    assert not records.Record(file, {"seconds": 1.0}, say=said.append).has("b")
    assert not records.Record(file, {"seconds": 1.0}, fresh=True).has("a")
    assert not said
    assert not records.Record(file, {"seconds": 2.0}, say=said.append).has("a")
    assert "settings differ" in said[-1]
    content = json.loads(file.read_text())
    content["machine"]["processor"] = "another"
    file.write_text(json.dumps(content))
    assert not records.Record(file, {"seconds": 1.0}, say=said.append).rows
    file.write_text("{")
    assert not records.Record(file, {"seconds": 1.0}, say=said.append).rows
    assert "is not JSON" in said[-1]


def test_an_interrupted_run_goes_on_where_it_stopped(
    tmp_path: Path, run: cases.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def benchmark(fails: bool) -> Callable[[cases.Run], cases.Cases]:
        def work(case: str) -> list[dict[str, Any]]:
            if fails and case == "b":
                raise KeyboardInterrupt
            measured.append(case)
            return [row(case)]

        return lambda run: ((case, lambda case=case: work(case)) for case in "abc")

    monkeypatch.setitem(cases.BENCHMARKS, "training", benchmark(fails=True))
    with pytest.raises(KeyboardInterrupt):
        command.measure(["training"], run, tmp_path)
    assert [one["case"] for one in records.read(tmp_path / "training.json")["rows"]] == ["a"]
    monkeypatch.setitem(cases.BENCHMARKS, "training", benchmark(fails=False))
    content = command.measure(["training"], run, tmp_path)["training"]
    assert measured == ["a", "b", "c"]
    assert [one["case"] for one in content["rows"]] == ["a", "b", "c"]


# -- what is compared --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", training.quick_cases(), ids=lambda case: case.phase.value)
def test_both_sides_have_one_loss_and_one_gradient(case: training.Case, root: Path) -> None:
    folder = encoder_folder(case.encoder, TEXTS.vocabulary(), root)
    (found,) = training.agreement(case, folder, sides.Settings(mini_batch_size=3), TEXTS).values()
    assert found["loss_difference"] < 1e-4
    assert found["gradient_cosine"] > 0.9999
    assert found["gradient_length_ratio"] == pytest.approx(1, abs=1e-3)


def test_only_the_authors_pad_documents_to_the_limit(root: Path) -> None:
    case = training.quick_cases()[0]
    folder = encoder_folder(case.encoder, TEXTS.vocabulary(), root)
    rows = TEXTS.batch(case.phase, *case.size, 0)
    ours, authors = (training.make_side(name, case, folder, sides.Settings()) for name in sides.SIDES)
    short = [{"query": one["query"], "document": "a short one"} for one in rows]
    assert authors.collate(short)[0][1]["input_ids"].shape[1] == authors.model.document_length
    assert ours.collate(short)[0][1]["input_ids"].shape[1] < authors.model.document_length
    for ours_side, authors_side in zip(ours.collate(rows)[0], authors.collate(rows)[0], strict=True):
        assert torch.equal(ours_side["attention_mask"].sum(1), authors_side["attention_mask"].sum(1))


def test_half_precision_is_inside_the_encoder_alone(root: Path) -> None:
    model = open_encoder(encoder_folder("nano", TEXTS.vocabulary(), root), 32)
    features = model.tokenize(["a ship"], is_query=False)
    full = model(dict(features))["token_embeddings"]
    half = half_precision(model)(dict(features))["token_embeddings"]
    assert half.dtype == torch.float32
    assert torch.equal(half, half.bfloat16().float())
    assert not torch.equal(full, half)


def test_an_encoder_is_made_once_and_an_unknown_one_is_refused(root: Path) -> None:
    first = encoder_folder("nano", TEXTS.vocabulary(), root)
    made = (first / "model.safetensors").stat().st_mtime_ns
    assert encoder_folder("nano", TEXTS.vocabulary(), root) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == made
    assert encoder_folder("nano", [*TEXTS.vocabulary(), "more"], root) != first
    with pytest.raises(UnknownNameError, match="choose one of nano"):
        encoder_folder("huge", [], root)


def test_batches_are_the_same_every_time_and_differ_from_each_other() -> None:
    for phase in Phase:
        first, second = itertools.islice(batches(TEXTS, phase, 3, 4), 2)
        assert first == TEXTS.batch(phase, 3, 4, 0)
        assert first != second
        assert len(first) == 3


def test_every_promised_case_is_among_the_default_ones() -> None:
    names = {case.name for case in training.default_cases()}
    assert {training.Case(phase, "4x256", 180).name for phase in Phase} <= names
    everything = training.all_cases()
    assert len({case.name for case in everything}) == len(everything) >= 27
    assert all(case.encoder in SHAPES for case in everything)
    points = [case.name for cases in scaling.cases(full=True).values() for case in cases]
    assert len(points) > len(set(points))  # axes cross in one point


def test_operations_of_a_product_are_counted_exactly() -> None:
    class Product:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])

        def backward(self, rows: list[dict[str, Any]]) -> None:
            left = torch.ones(3, 5, requires_grad=True)
            (left @ torch.ones(5, 7, requires_grad=True)).sum().backward()

    assert roofline.step_operations(Product(), []) == 3 * (
        2 * 3 * 5 * 7
    )  # forward, and one product for either side


def test_the_least_operations_are_those_of_text_alone() -> None:
    config = SimpleNamespace(hidden_size=8, intermediate_size=16, num_hidden_layers=3)
    model = [SimpleNamespace(auto_model=SimpleNamespace(config=config)), SimpleNamespace(out_features=4)]
    ids, mask = torch.ones(1, 5, dtype=torch.long), torch.tensor([[1, 1, 0, 0, 0]])
    side = SimpleNamespace(
        model=model, collate=lambda _: ([{"input_ids": ids, "attention_mask": mask}], None)
    )
    # Queries, keys, values and output; two halves of the gate and its output; similarities and sums; projection.
    layer = 2 * 2 * (4 * 8 * 8 + 3 * 8 * 16) + 2 * 2 * 2 * 2 * 8
    once = 3 * layer + 2 * 2 * 8 * 4
    case = training.Case(Phase.UNSUPERVISED, "nano", 5)
    for passes, asked in ((4, case), (3, replace(case, keep_activations=True))):
        assert roofline.least_operations(side, asked, []) == passes * once


def test_an_operation_belongs_to_what_called_it() -> None:
    node, again = "autograd::engine::evaluate_function: ", parts._AGAIN
    for names, part in (
        (["aten::mm", "aten::linear", "step"], f"{parts.PRODUCTS}, forward"),
        (["aten::mm", f"{node}MmBackward0", again, "step"], f"{parts.PRODUCTS}, backward"),
        (["aten::mm", "aten::linear", again, "step"], f"{parts.PRODUCTS}, second forward"),
        (["aten::bmm", "GroupedAttention", "step"], "attention"),
        (["aten::mm", "_AllPairs", "step"], "MaxSim and loss"),
        (["aten::copy_", "aten::to", "step"], parts.REST),
        (["aten::fill_", f"{node}EmbeddingBackward0", "step"], "embedding"),
        (["aten::cat", "collator", "step"], parts.COLLATOR),
        ([again, "step"], parts.PYTHON),
    ):
        assert parts.part_of(names) == part


def test_the_parts_of_a_step_are_the_whole_of_it(root: Path) -> None:
    (case,) = [case for case in training.quick_cases() if case.phase is Phase.UNSUPERVISED]
    side = training.make_side("ours", case, encoder_folder("nano", SENTENCES, root), sides.Settings())
    rows = TEXTS.batch(case.phase, *case.size, 0)
    shown = roofline.part_rows(case, side, rows, torch.bfloat16, step=2.0)
    shares = {row["part"]: row["ours_seconds"] for row in shown if row["peer"] == "the whole step"}
    assert sum(shares.values()) == pytest.approx(2)
    assert {f"{parts.PRODUCTS}, {each}" for each in parts._PASSES} < set(shares)


def test_the_papers_sizes_are_those_of_its_table() -> None:
    plans = {plan.case.phase: plan for plan in cuda.plans("cuda") if not plan.full}
    unsupervised = plans[Phase.UNSUPERVISED].case
    assert unsupervised.size == (TABLE1[Phase.UNSUPERVISED].batch_size, 1)
    assert plans[Phase.SUPERVISED].case.size == (64, 11)
    assert plans[Phase.DISTILLATION].case.size == (64, 32)
    assert (unsupervised.query_length + 7, unsupervised.document_length + 7) == (39, 187)
    assert all(plan.case.size[0] >= 2 for plan in cuda.plans("cuda", shrink=10_000))


# -- rows and figures from known numbers -------------------------------------------------------------------------


def test_growth_is_against_a_peer_or_the_least_that_must_be_held(root: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(memory, "in_fresh_process", lambda *_, **__: {"step_bytes": 1 << 20})
    small = replace(memory.GROWTH, encoder="nano")
    (one,) = memory.growth(replace(small, batch_size=4), TEXTS, root, peers=False)
    assert one["peer"] == memory.LEAST
    assert one["peer_mebibytes"] == one["vectors_and_gradients_mebibytes"]
    assert one["ratio"] == pytest.approx(one["peer_mebibytes"] / one["ours_mebibytes"])
    (more,) = memory.growth(replace(small, batch_size=8), TEXTS, root, peers=False)
    assert 1.5 < more["activations_mebibytes"] / one["activations_mebibytes"] < 2.5


def test_curves_that_are_another_seeds_lie_as_far_apart_as_seeds_do(monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = curves.RECIPE.stages()[1]
    recorded = {run["seed"]: run for run in recorded_runs("laptop") if run["recipe"] == str(prefix)}
    phase = prefix.steps[-1].phase.value
    shop = SimpleNamespace(profile=SimpleNamespace(name="laptop"))
    rows = []
    for loss, difference in ((recorded[0]["loss"][phase], 0.0), (recorded[1]["loss"][phase], None)):
        theirs = recorded[1] | {"loss": loss}
        monkeypatch.setattr(curves, "authors_run", lambda *_, theirs=theirs: theirs)
        rows += curves.curve(shop, prefix, 0, Path())
        if difference is not None:
            assert rows[-1]["difference"] == difference
            assert rows[-1]["ratio"] == 1.0
    assert rows[1]["difference"] == pytest.approx(rows[1]["seed_difference"], rel=0.5)
    figure = figures.training_curves({"rows": rows[:1]})
    figure.draw_without_rendering()
    assert "closer together" in figure.get_suptitle()
    far = rows[0] | {"difference": 2 * rows[0]["seed_difference"]}
    assert "further apart" in figures.training_curves({"rows": [far]}).get_suptitle()


def test_the_readme_tells_the_recorded_index() -> None:
    rows = {
        (row["case"].rpartition(", ")[2], row["peer"]): row
        for row in records.read(data_folder() / "benchmarks" / "index.json")["rows"]
        if row["documents"] == 100_000
    }
    exact, plaid, bm25 = (
        rows[key] for key in (("exact", PLAID_PEER), ("plaid", PLAID_PEER), ("exact", index.BM25_PEER))
    )
    sides = ((exact, "ours"), (plaid, "ours"), (exact, "peer"), (bm25, "peer"))

    def line(words: str, cell: Callable[[Callable[[str], float]], str]) -> str:
        return f"| {words} | {' | '.join(cell(lambda key, r=r, s=s: r[f'{s}_{key}']) for r, s in sides)} |"  # type: ignore[misc]

    def size(mebibytes: float | None) -> str:
        return f"{mebibytes:,.0f} MiB" if mebibytes else "none"

    lines = [
        line("built in", lambda side: f"{side('build_seconds'):,.0f} s"),
        line("1,000 documents added, in ten calls", lambda side: f"{side('add_seconds'):.1f} s"),
        line("1,000 documents deleted, in ten calls", lambda side: f"{side('delete_seconds'):.1f} s"),
        line(
            "a query, median and 95th percentile",
            lambda side: f"{1000 * side('p50_seconds'):.0f}, {1000 * side('p95_seconds'):.0f} ms",
        ),
        line("ten best that exact search finds, too", lambda side: f"{100 * side('recall@10'):.0f} %"),
        line("memory at the peak, above what was there", lambda side: size(side("mebibytes_of_memory"))),
        line("on disk", lambda side: size(side("mebibytes_on_disk"))),
    ]
    readme = (data_folder().parent / "README.md").read_text(encoding="utf-8")
    assert [each for each in lines if each not in readme] == []


def test_curves_need_recorded_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = SimpleNamespace(profile=SimpleNamespace(name="tiny"))
    with pytest.raises(DataError, match="record them first"):
        curves.curve(shop, curves.RECIPE, 0, Path())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"only": ["speed"]}, "No benchmark is called 'speed'"),
        ({"quick": True, "full": True}, "opposite things"),
        ({"only": ["cuda"]}, "needs --device cuda"),
        ({"only": ["curves"], "quick": True}, "trains in full"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        command.main(**options)


def test_the_readmes_figures_are_the_recorded_ones() -> None:
    folder = data_folder() / "benchmarks"
    rows = {
        (row["case"], row["quantity"], row["peer"]): row
        for name in ("training", "memory", "search")
        for row in records.read(folder / f"{name}.json")["rows"]
    }

    def cells(case: Callable[[str], str], quantity: str, *peers: str) -> str:
        found = [rows[case(encoder), quantity, peer] for encoder in ("4x256", "2x128") for peer in peers]
        return " | ".join(
            f"{row['ratio']:.1f} [{row['ratio_low']:.1f}, {row['ratio_high']:.1f}]" for row in found
        )

    lines = []
    for phase in Phase:
        names = {one.encoder: one.name for one in training.default_cases()[:6] if one.phase is phase}
        lines += [
            f"| {words} | {cells(names.__getitem__, quantity, sides.AUTHORS, apart.MULTIVECTOR)} |"
            for words, quantity in (
                (f"{phase.value} step", STEP),
                (f"{phase.value} step, peak memory", memory.PEAK),
            )
        ]
    for words, end in (
        ("encode and search 10,000 documents, float32", ""),
        ("the same in bfloat16", ", bfloat16"),
    ):
        searched = cells(
            lambda encoder, end=end: search.exact_name(encoder, 10_000, 300) + end,  # type: ignore[misc]
            "time to encode and search",
            search.RERANK,
            apart.MULTIVECTOR,
        )
        lines.append(f"| {words} | {searched} |")
    readme = (data_folder().parent / "README.md").read_text(encoding="utf-8")
    assert [line for line in lines if line not in readme] == []
