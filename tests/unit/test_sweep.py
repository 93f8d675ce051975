"""Learning-rate sweeps: which rates are tried, which one the rule chooses, and the files that say so."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from colbert_zero_lib.errors import ColbertZeroError, DataError, ParameterError, RecipeError, RunError
from colbert_zero_lib.evaluation import Evaluation
from colbert_zero_lib.figures.sweep import step_name, sweep_figure, sweep_table
from colbert_zero_lib.profiles import get_profile
from colbert_zero_lib.published.recorded import read_sweep, record_sweep, recorded_sweeps, sweep_file
from colbert_zero_lib.recipes import PIPELINES, TABLE1, Phase, Recipe
from colbert_zero_lib.runs.rates import Sweep, judge, swept_rates
from colbert_zero_lib.runs.sweep import RateSweep, sweep, with_rate
from colbert_zero_lib.runs.workshop import Workshop

mpl.use("Agg")

RECIPE = "dense:unsupervised > dense:supervised"
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)


def evaluation(shift: float, noise: int | None = None, queries: int = 80) -> Evaluation:
    """Two collections whose queries differ far more (0.2 to 0.8) than ``shift``, which every query gets alike."""
    rng = np.random.default_rng(7)
    hardness = rng.uniform(0.2, 0.8, size=2 * queries)
    values = hardness + shift
    if noise is not None:
        values = values + np.random.default_rng(noise).normal(0, 0.1, size=len(values))
    frame = pd.DataFrame(
        {
            "collection": ["dev-a"] * queries + ["dev-b"] * queries,
            "query": [f"q{place}" for place in range(2 * queries)],
            "ndcg@10": values.clip(0, 1),
            "recall@100": 1.0,
            "mrr@10": 0.5,
        }
    )
    return Evaluation(frame)


def planted(means: Mapping[float, float | None], present: float, noise: bool = False) -> Sweep:
    measured = {
        rate: None if mean is None else evaluation(mean, place if noise else None)
        for place, (rate, mean) in enumerate(means.items())
    }
    return judge(measured, RECIPE, "laptop", 0, present, {rate: {"run": f"{rate:g}"} for rate in means})


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("present", [3e-3, 1e-3 / 3, 8e-6])
def test_rates_are_as_many_and_as_far_apart_as_in_table_1_with_the_present_one_among_them(
    phase: Phase, present: float
) -> None:
    rates = swept_rates(phase, present)
    printed = TABLE1[phase]
    assert len(rates) == printed.learning_rates_tried == 10
    assert rates[5] == present
    assert rates[-1] / rates[0] == pytest.approx(
        printed.learning_rate_high / printed.learning_rate_low, rel=0.01
    )
    steps = np.diff(np.log(rates))
    assert steps == pytest.approx([steps.mean()] * 9, abs=0.01)
    assert all(float(f"{rate:.3g}") == rate for rate in rates if rate != present)


def test_rates_by_hand() -> None:
    # The supervised range is 2e-5 / 8e-8 = 250: between ten values there is a factor of 250 ** (1 / 9) = 1.8469.
    rates = swept_rates(Phase.SUPERVISED, 1e-3)
    assert rates[:2] + rates[5:7] == (4.65e-05, 8.6e-05, 1e-3, 1.85e-3)


def test_a_planted_optimum_is_found_and_replaces_the_present_rate() -> None:
    found = planted(dict(zip(RATES, (-0.1, -0.02, 0.0, -0.03, -0.1), strict=True)), present=3e-4)
    assert found.best.rate == 1e-3
    assert found.level_with_best == (1e-3,)
    assert found.recommended == 1e-3
    assert not found.best_is_at_the_edge
    # Every query moves by the same amount, so the paired difference is exact where the means' intervals overlap.
    near = found.rows[1]
    assert near.behind == pytest.approx(0.02)
    assert (near.behind_low, near.behind_high) == pytest.approx((0.02, 0.02))
    assert near.high is not None and found.best.low is not None and near.high > found.best.low


def test_on_a_plateau_the_present_rate_is_kept() -> None:
    found = planted(dict(zip(RATES, (-0.2, 0.0, 0.0, 0.0, -0.2), strict=True)), present=3e-4, noise=True)
    assert set(found.level_with_best) == {3e-4, 1e-3, 3e-3}
    assert found.recommended == found.present == 3e-4
    assert found.best.rate != found.present  # else keeping it would say nothing


def test_equal_rates_give_the_lower_one_and_an_optimum_at_the_edge_is_told() -> None:
    found = planted({1e-4: 0.0, 3e-4: 0.0, 1e-3: -0.1}, present=1e-3)
    assert found.best.rate == found.recommended == 1e-4
    assert found.level_with_best == (1e-4, 3e-4)
    assert found.best_is_at_the_edge


def test_a_diverged_rate_is_neither_best_nor_kept() -> None:
    found = planted({1e-4: -0.1, 3e-4: 0.0, 1e-3: None}, present=1e-3)
    assert [row.diverged for row in found.rows] == [False, False, True]
    assert found.recommended == 3e-4
    assert 1e-3 not in found.level_with_best


def test_a_sweep_without_its_present_rate_or_without_any_figure_is_refused() -> None:
    with pytest.raises(RunError, match=r"present 0\.5"):
        planted({1e-4: 0.0, 3e-4: 0.0}, present=0.5)
    with pytest.raises(RunError, match="diverged: sweep lower ones"):
        planted({1e-4: None, 3e-4: None}, present=1e-4)


def test_a_conversion_sweeps_its_own_rate_and_leaves_those_of_other_steps() -> None:
    profile = get_profile("laptop")
    for recipe in (PIPELINES["a"], Recipe.parse("dense:unsupervised > colbert:supervised")):
        *_, before, step = recipe.steps
        changed = with_rate(profile, step, 5e-4)
        assert changed.budget(step, before).learning_rate == 5e-4
        kept = with_rate(profile, step, profile.budget(step, before).learning_rate)
        assert kept.settings(recipe.steps) == profile.settings(recipe.steps)
        assert changed.settings(recipe.steps[:-1]) == profile.settings(recipe.steps[:-1])
    *_, before, step = PIPELINES["c"].steps
    assert with_rate(profile, step, 5e-4).budget(step, before).learning_rate == 5e-4


def test_only_a_recipe_that_trains_a_step_can_be_swept(tmp_path: Path) -> None:
    shop = Workshop(get_profile("tiny"), tmp_path, "cpu", progress=False)
    for text in ("base", "colbert:unsupervised[-prompts,-length] @ +length"):
        with pytest.raises(RecipeError, match="ends in none"):
            sweep(text, shop=shop)
    with pytest.raises(ParameterError, match="above 0, not -1"):
        RateSweep(Recipe.parse(RECIPE), 0, shop, (1e-3, -1.0))


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    return record_sweep(
        planted(dict(zip(RATES, (-0.1, -0.02, 0.0, -0.03, None), strict=True)), 3e-4), tmp_path
    )


def test_what_is_recorded_is_read_again(recorded: Path, tmp_path: Path) -> None:
    assert recorded == tmp_path / "sweeps/laptop/dense-unsupervised--dense-supervised--seed0.json"
    found = read_sweep(recorded)
    assert found == planted(dict(zip(RATES, (-0.1, -0.02, 0.0, -0.03, None), strict=True)), 3e-4)
    assert sweep_file(found, tmp_path) == recorded
    assert recorded_sweeps("laptop", tmp_path) == [found]
    assert recorded_sweeps("tiny", tmp_path) == []
    assert json.loads(recorded.read_text())["outcome"]["recommended"] == 1e-3


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    *inner, last, value = path

    def change(page: dict[str, Any]) -> None:
        place: Any = page
        for step in inner:
            place = place[step]
        place[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda page: page.pop("rows"), "'rows' of .* is missing"),
        (_set("seed", "0"), "'seed' of .* is '0'"),
        (_set("present", None), "'present' of .* not a learning rate"),
        (_set("present", 0.5), r"present 0\.5"),
        (_set("rows", 0, {}), r"'rows\[0\]' of .* is not a rate"),
        (_set("rows", 1, "mean", None), r"'rows\[1\]' of .* no numbers"),
        (_set("rows", 1, "low", "0.1"), r"'rows\[1\]' of .* no numbers"),
        (_set("rows", 2, "collections", []), r"'rows\[2\]' of .* no objects"),
        (_set("rows", 2, "mean", 0.01), "'outcome' of .* does not follow"),
        (_set("outcome", "recommended", 3e-4), "'outcome' of .* does not follow"),
        (_set("recipe", "dense:nothing"), "Unknown phase"),
        (_set("recipe", "dense:unsupervised"), "move it there"),
        (_set("profile", "tiny"), "move it there"),
    ],
)
def test_a_bad_file_is_one_sentence_that_names_it(
    recorded: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    page = json.loads(recorded.read_text())
    change(page)
    recorded.write_text(json.dumps(page))
    with pytest.raises(DataError, match=message) as error:
        read_sweep(recorded)
    assert str(recorded) in str(error.value)


def test_a_file_that_is_no_json_or_not_there_names_itself(recorded: Path) -> None:
    recorded.write_text("{")
    for file in (recorded, recorded.with_name("none.json")):
        with pytest.raises(ColbertZeroError, match=file.name):
            read_sweep(file)


def test_the_figure_marks_what_was_found() -> None:
    lost = planted({1e-4: -0.1, 3e-4: 0.0, 1e-3: None}, present=1e-4)
    kept = planted({1e-4: -0.1, 3e-4: 0.0, 1e-3: -0.2}, present=3e-4)
    figure = sweep_figure([lost, kept])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib says so when panels do not fit
        figure.canvas.draw()
    assert len(figure.axes) == 2
    assert "level with the best in 1 of 2 sweeps" in figure._suptitle.get_text()
    crosses = [
        [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "x"] for axes in figure.axes
    ]
    assert crosses == [[[1e-3]], []]
    below = [line.get_xdata().tolist() for line in figure.axes[1].lines if line.get_marker() == "v"]
    assert below == [[1e-3]]
    assert [text.get_text() for text in figure.axes[1].texts] == [f"{100 * (kept.rows[2].mean or 0):.1f}"]
    for axes, sweep_ in zip(figure.axes, (lost, kept), strict=True):
        best = [line for line in axes.lines if line.get_marker() == "D"]
        assert [line.get_xdata()[0] for line in best] == [3e-4]
        assert best[0].get_ydata()[0] == pytest.approx(100 * sweep_.best.mean)
    written = " ".join(text.get_text() for text in figure.findobj(Text))
    assert "diverged" in written and "dense supervised" in written
    assert "0.0003 was better than the one in use, 0.0001" in sweep_figure([lost])._suptitle.get_text()
    assert "could not be told from the best" in sweep_figure([kept])._suptitle.get_text()
    assert "In all 2 sweeps" in sweep_figure([kept, kept])._suptitle.get_text()
    with pytest.raises(ParameterError, match="no sweep to draw"):
        sweep_figure([])


def test_the_table_has_the_rates_and_how_far_the_one_in_use_is_behind() -> None:
    worse = planted({1e-4: -0.02, 3e-4: 0.0, 1e-3: None}, present=1e-4)
    best = planted({1e-4: -0.1, 3e-4: 0.0, 1e-3: 0.0}, present=3e-4)
    lost = planted({1e-4: -0.1, 3e-4: 0.0, 1e-3: None}, present=1e-3)
    name = "dense supervised"
    assert sweep_table([worse, best, lost]).cells.to_numpy().tolist() == [
        [name, "0.0001", "0.0003", "+2.00 [+2.00, +2.00]", "0.0003", "0.0003"],
        [name, "0.0003", "0.0003", "is the best", "2, 0.0003 to 0.001", "0.0003"],
        [name, "0.001", "0.0003", "diverged", "0.0003", "0.0003"],
    ]
    assert len(sweep_table([]).cells) == 0


def test_a_panel_names_the_model_that_a_conversion_starts_from() -> None:
    assert step_name(PIPELINES["c"]) == "ColBERT distillation"
    assert step_name(PIPELINES["a"]) == "ColBERT distillation\nfrom dense supervised"
    assert step_name(Recipe.parse("from ./mine > colbert:supervised")) == "ColBERT supervised\nfrom ./mine"
