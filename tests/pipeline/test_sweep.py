"""A learning-rate sweep for real and very small: its runs, what they may look at, resumption and divergence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from colbert_zero_lib.cli import app
from colbert_zero_lib.evaluation import Evaluation
from colbert_zero_lib.profiles import get_profile
from colbert_zero_lib.published.recorded import recorded_sweeps
from colbert_zero_lib.recipes import PIPELINES, Recipe
from colbert_zero_lib.runs.execute import Workshop, run_recipe
from colbert_zero_lib.runs.sweep import RateSweep, sweep

pytestmark = pytest.mark.pipeline

RECIPE = "colbert:unsupervised > colbert:supervised"
PREFIX = "colbert:unsupervised"


class Forbidden(dict[str, Any]):
    """Test collections that nobody may look at."""

    def _opened(self, *_: object) -> Any:
        raise AssertionError("the test collections were opened")

    __getitem__ = __iter__ = __len__ = keys = values = items = get = _opened  # type: ignore[assignment]


@pytest.fixture(scope="module")
def shop(open_shop: Callable[..., Workshop], tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The real text at the smallest profile, with a ledger of its own."""
    return open_shop(tmp_path_factory.mktemp("home") / "runs")


def test_a_sweep_reads_no_test_collection_shares_its_prefix_and_is_trained_once(shop: Workshop) -> None:
    run_recipe(PREFIX, seed=1, shop=shop)
    ordinary = {run.folder.name for run in shop.ledger.runs()}
    blind = replace(shop)
    closed = replace(shop.source)
    closed.__dict__.update(
        corpora=replace(shop.source.corpora, collections=Forbidden()), lists=shop.source.lists
    )
    blind.__dict__.update(source=closed, ledger=shop.ledger)
    found = sweep(RECIPE, seed=1, shop=blind, rates=(1e-5, 1e-2))
    with pytest.raises(AssertionError, match="were opened"):
        run_recipe(RECIPE, seed=1, shop=blind)
    assert [row.rate for row in found.rows] == [1e-5, 1e-3, 1e-2]
    assert found.present == 1e-3
    assert {run.folder.name for run in shop.ledger.runs()} == ordinary

    plan = RateSweep(Recipe.parse(RECIPE), 1, shop, (1e-5, 1e-2))
    runs = plan.ledger.runs()
    assert len(runs) == 3
    for run in runs:
        assert "metrics" not in run.passport
        assert not run.per_query_file.exists()
        assert run.passport["key"]["settings"]["evaluated"] == "development"
    used = {run.passport["key"]["settings"]["budgets"]["colbert:supervised"]["learning_rate"] for run in runs}
    assert used == {1e-5, 1e-3, 1e-2}
    means = {row.rate: row.mean for row in found.rows}
    for rate in plan.rates:
        figures = Evaluation.from_parquet(plan.obtain(rate).folder / "development.parquet")
        assert set(figures.collections) == set(shop.development)
        assert figures.mean() == pytest.approx(means[rate])

    times = {run.folder: run.folder.stat().st_mtime_ns for run in runs}
    assert sweep(RECIPE, seed=1, shop=shop, rates=(1e-5, 1e-2)) == found
    assert {run.folder: run.folder.stat().st_mtime_ns for run in plan.ledger.runs()} == times


def test_an_ordinary_run_of_a_rate_is_not_trained_again_and_gives_the_same_figures(
    shop: Workshop, open_shop: Callable[..., Workshop], tmp_path: Path
) -> None:
    recipe = Recipe.parse(PREFIX)
    whole = run_recipe(recipe, seed=1, shop=shop)
    plan = RateSweep(recipe, 1, shop)
    assert plan.present in plan.done()
    assert plan.obtain(plan.present).folder == whole.folder
    alone = RateSweep(recipe, 1, open_shop(tmp_path / "runs")).obtain(plan.present)
    assert alone.passport["key"]["settings"]["evaluated"] == "development"
    assert alone.passport["development"] == whole.passport["development"]


def test_a_rate_that_diverges_is_a_row_and_is_not_tried_again(shop: Workshop) -> None:
    found = sweep(PREFIX, seed=1, shop=shop, rates=(1e38,))
    assert [row.diverged for row in found.rows] == [False, True]
    assert found.recommended == found.present
    plan = RateSweep(Recipe.parse(PREFIX), 1, shop, (1e38,))
    assert set(plan.done()) == {3e-3, 1e38}


def test_a_sweep_passes_over_a_rate_that_another_process_trains(shop: Workshop) -> None:
    run_recipe(PREFIX, seed=1, shop=shop)
    rates = (2e-5, 3e-5)
    plan = RateSweep(Recipe.parse(RECIPE), 1, shop, rates)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if len(said) == len(plan.rates):
            raise KeyboardInterrupt  # what is left is in work elsewhere

    def elsewhere(work: Path) -> dict[str, Any]:
        with pytest.raises(KeyboardInterrupt):
            sweep(RECIPE, seed=1, shop=shop, rates=rates, say=say)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        plan.ledger.obtain(plan.key(rates[0]), elsewhere)
    assert [line.split()[0] for line in said[1:]] == ["3e-05", "0.001"]
    assert set(plan.done()) == {rates[1], plan.present}


def test_the_terminal_sweeps_ten_rates_prints_them_and_records_them(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colbert_zero_lib.runs.execute.workshop", lambda *_, **__: shop)
    monkeypatch.setattr("colbert_zero_lib.home.recording_folder", lambda: tmp_path)
    words = ["sweep", PREFIX, "--seed", "1"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert recorded_sweeps("smoke", tmp_path / "runs") == []  # only where that is asked for
    done = CliRunner().invoke(app, [*words, "--record"])
    assert done.exit_code == 0, done.output
    (found,) = recorded_sweeps("smoke", tmp_path / "runs")
    assert len(found.rows) == 10
    assert all(row.source["run"] and row.source["device"] for row in found.rows)
    missing = [row.rate for row in found.rows if f"{row.rate:.3g}" not in done.output]
    assert not missing
    few = CliRunner().invoke(app, [*words, "--rate", str(found.rows[0].rate)])
    assert "2 learning rates, 2 there already" in few.output


def test_the_keys_of_ordinary_runs_are_those_that_were_recorded(shop: Workshop) -> None:
    """A recorded passport holds its key: the same profile and seed still give it, but for library versions."""
    laptop = Workshop(get_profile("laptop"), shop.home, "cpu", progress=False)
    laptop.__dict__.update(source=shop.source)
    folder = Path(__file__).parents[2] / "data" / "runs" / "laptop"
    for recipe in PIPELINES.values():
        passport = json.loads((folder / f"{recipe.slug}--seed0.json").read_text())
        key = laptop.key(recipe, 0).to_mapping()
        assert {**key, "versions": None} == {**passport["key"], "versions": None}
