"""The grid: its runs counted by hand, its plan on a fake ledger, its tables on planted effects, its figures."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from colbert_zero_lib.cli import app
from colbert_zero_lib.errors import ColbertZeroError, ParameterError
from colbert_zero_lib.evaluation import Evaluation
from colbert_zero_lib.figures import grid as drawings
from colbert_zero_lib.home import data_folder
from colbert_zero_lib.paper_arms import PAPER_ROWS
from colbert_zero_lib.profiles import get_profile
from colbert_zero_lib.published import paper_table
from colbert_zero_lib.recipes import PIPELINES, ZERO, Recipe
from colbert_zero_lib.runs import Run
from colbert_zero_lib.runs.arms import Job, arm_name, baseline_of, grid_jobs, grid_recipes
from colbert_zero_lib.runs.grid import plan_grid, read_seeds, run_grid
from colbert_zero_lib.runs.workshop import Workshop
from colbert_zero_lib.verdicts import RunEvidence, ledger_evidence, recorded_evidence
from colbert_zero_lib.verdicts.grid import (
    delta_caption,
    delta_findings,
    paper_deltas,
    power_findings,
    row_findings,
)
from colbert_zero_lib.verdicts.verdict import (
    AGREES,
    DIFFERS,
    NOT_RESOLVABLE,
    NOT_RUN,
    SIGN_RULE,
    WITHIN_NOISE,
)

mpl.use("Agg")

BOTH = str(PIPELINES["c"])
NEITHER = (
    "colbert:unsupervised > colbert:supervised[-prompts,-length] > colbert:distillation[-prompts,-length]"
)
LESS = {BOTH: 1.0, NEITHER: -1.0}
QUERIES = {"one": 60, "two": 40}


# The arms and their runs


@pytest.mark.parametrize(
    ("name", "arms", "runs"),
    [
        # Dense: unsupervised, supervised, 4 distilled, 4 + 4 after ColBERT steps; ColBERT: 1 + 4 + 4, bare: 1 + 2 + 2
        # and one only measured; the base encoder.
        ("table4", 25, 2 + 4 + 8 + 9 + 6 + 1),
        # Three bases, each with a supervised and a distilled run with prompts and without; the base encoder.
        ("table3", 9, 3 * 5 + 1),
        ("pipelines", 3, 3 + 2 + 3 + 1),
    ],
)
def test_a_shared_step_is_one_run(name: str, arms: int, runs: int) -> None:
    recipes = grid_recipes(name)
    assert len(recipes) == arms
    jobs = grid_jobs(recipes, (0,))
    assert len(jobs) == len(set(jobs)) == runs
    assert {job.recipe for job in jobs} >= set(recipes)
    assert len(grid_jobs(recipes, (3, 1, 3, 4))) == 3 * (runs - 1) + 1  # the base encoder is every seed's


def test_a_run_never_comes_before_the_run_it_starts_from() -> None:
    jobs = grid_jobs(grid_recipes("table4"), (2, 5))
    seen: set[tuple[Recipe, int]] = set()
    for job in jobs:
        before = job.before
        assert before is None or (before, jobs[0].seed if before == ZERO else job.seed) in seen
        seen.add((job.recipe, job.seed))
    assert jobs[0] == Job(ZERO, 2) and jobs[0].before is None
    assert [job.seed for job in jobs] == sorted(job.seed for job in jobs)
    assert sum(not job.recipe.trains for job in jobs) == 2


def test_grids_are_files_letters_and_recipes(tmp_path: Path) -> None:
    file = tmp_path / "arms.txt"
    file.write_text("# two arms\n\nc\ncolbert:unsupervised[-prompts,-length] # bare\nC\n", encoding="utf-8")
    bare = Recipe.parse("colbert:unsupervised[-prompts,-length]")
    assert grid_recipes(str(file)) == (PIPELINES["c"], bare)
    assert grid_recipes("a, colbert:unsupervised[-prompts,-length],a") == (PIPELINES["a"], bare)
    assert read_seeds("0, 2,0") == (0, 2)
    longer = Recipe.parse("base @ +length")
    assert grid_jobs([longer], (1, 2)) == (Job(ZERO, 1), Job(longer, 1))  # untrained: no seed changes it


def _file(text: str) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        (folder / "arms.txt").write_bytes(text.encode("latin-1"))
        return str(folder / "arms.txt")

    return write


@pytest.mark.parametrize(
    ("name", "culprit"),
    [
        ("table9", "table9"),
        ("a,x", "a,x"),
        ("colbert:unsupervized", "unsupervized"),
        (" , ", "names no recipe"),
        (_file("c\ncolbert:what\n"), "arms.txt:2"),
        (_file("# nothing\n"), "names no recipe"),
        (_file("\xff\xfe"), "arms.txt"),
    ],
)
def test_a_grid_that_is_none_is_one_sentence(
    name: str | Callable[[Path], str], culprit: str, tmp_path: Path
) -> None:
    text = name if isinstance(name, str) else name(tmp_path)
    result = CliRunner().invoke(app, ["grid", text, "--plan"], env={"COLBERT_ZERO_HOME": str(tmp_path)})
    assert result.exit_code == 2 and result.stdout == ""
    assert culprit in result.stderr and len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("seeds", ["", "1,-2", "one", "0..3", "1.5", "²"])
def test_seeds_that_are_none_are_one_sentence(seeds: str) -> None:
    with pytest.raises(ParameterError, match="--seeds") as raised:
        read_seeds(seeds)
    assert str(raised.value).endswith(".")


def test_arms_are_called_as_the_paper_calls_them() -> None:
    assert str(arm_name(Recipe.parse(NEITHER))) == "distilled from ColBERT unsupervised −prompts −length"
    assert str(arm_name(PIPELINES["a"])) == "distilled from dense supervised +prompts +length"
    assert str(arm_name(ZERO)) == "base encoder"
    names = {arm_name(row.recipe) for row in PAPER_ROWS if row.table in (3, 4) and row.recipe}
    assert len(names) == len({row.recipe for row in PAPER_ROWS if row.table in (3, 4)})


def test_the_baseline_of_an_arm_is_the_one_with_neither_switch() -> None:
    assert baseline_of(PIPELINES["c"]) == Recipe.parse(NEITHER)
    assert baseline_of(Recipe.parse(NEITHER)) is None
    assert baseline_of(PIPELINES["a"].stages()[1]) is None  # no ColBERT step
    longer = Recipe.parse(f"{NEITHER} @ +length")
    assert baseline_of(longer) == Recipe.parse(NEITHER)
    for row in paper_deltas().itertuples():
        assert str(baseline_of(Recipe.parse(row.arm))) == row.baseline


# The plan


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """Tiny without texts and recorded runs: keys need fingerprints of texts only."""
    monkeypatch.setattr("colbert_zero_lib.runs.grid.data_folder", lambda: tmp_path / "data")
    shop = Workshop(get_profile("tiny"), tmp_path / "home", "cpu", progress=False)
    shop.__dict__["source"] = SimpleNamespace(fingerprint="f" * 64, teacher="d" * 64)
    return shop


def make(shop: Workshop, recipe: Recipe, seed: int, seconds: float, evaluation: float = 2.0) -> Run:
    own = recipe.steps[-1].phase.value if recipe.steps else "pretraining"

    def build(work: Path) -> Mapping[str, Any]:
        (work / "model").mkdir(exist_ok=True)
        (work / "model" / "weights").write_bytes(b"w" * 100_000)
        return {
            "profile": shop.profile.name,
            "seed": seed,
            "recipe": str(recipe),
            "device": "cpu (2 threads)",
            "wall_seconds": {own: seconds, "evaluation": evaluation},
            "mean_ndcg@10": 0.25,
        }

    return shop.ledger.obtain(shop.key(recipe, seed), build)


def test_a_plan_counts_what_the_ledger_has_and_times_the_rest(shop: Workshop) -> None:
    fresh = plan_grid(shop, grid_recipes("pipelines"), (0, 1))
    assert len(fresh.missing) == len(fresh.jobs) == 17
    assert fresh.seconds is None and fresh.bytes is None and fresh.untimed == 17
    assert fresh.to_text().count("unknown") == 2

    for prefix, seconds in zip(PIPELINES["c"].stages(), (100.0, 20.0, 10.0), strict=True):
        make(shop, prefix, 0, seconds)
    make(shop, ZERO, 0, 50.0)
    make(shop, PIPELINES["c"].stages()[0], 1, 140.0)
    plan = plan_grid(shop, grid_recipes("c"), (0, 1))
    assert [str(job.recipe) for job in plan.missing] == [str(p) for p in PIPELINES["c"].stages()[1:]]
    assert {job.seed for job in plan.missing} == {1}
    assert plan.seconds == pytest.approx(20 + 10 + 2 * 2) and plan.untimed == 0
    assert plan.bytes is not None and 2 * 100_000 < plan.bytes < 2 * 110_000
    # Dense steps were never timed here; what is known is still said.
    mixed = plan_grid(shop, grid_recipes("a"), (0,))
    assert mixed.untimed == 2 and mixed.seconds == pytest.approx(10 + 2)
    # Another profile, and another kind of device, know nothing of this.
    other = dataclasses.replace(shop, device="cuda")
    other.__dict__.update(source=shop.source, precision="bfloat16")
    assert plan_grid(other, grid_recipes("c"), (0,)).seconds is None


def test_a_plan_takes_the_median_of_several_runs_and_recorded_ones_where_it_has_none(
    shop: Workshop, tmp_path: Path
) -> None:
    first = PIPELINES["c"].stages()[0]
    for seed, seconds in enumerate((100.0, 900.0, 140.0)):
        make(shop, first, seed, seconds)
    recorded = tmp_path / "data" / "runs" / "tiny"
    recorded.mkdir(parents=True)
    for name, recipe, field in (("x", "base", "pretraining"), ("y", str(first), "unsupervised")):
        passport = {"recipe": recipe, "device": "cpu", "wall_seconds": {field: 7.0, "evaluation": 1.0}}
        (recorded / f"{name}.json").write_text(json.dumps(passport), encoding="utf-8")
    (recorded / "torn.json").write_text("{", encoding="utf-8")
    plan = plan_grid(shop, [first], (3,))
    assert plan.seconds == pytest.approx(7 + 2 + 140 + 2)  # the base as recorded; evaluations as timed here


def test_a_damaged_run_is_not_counted_as_there(shop: Workshop) -> None:
    run = make(shop, ZERO, 0, 50.0)
    whole = plan_grid(shop, [PIPELINES["c"]], (0,))
    assert list(whole.done) == [Job(ZERO, 0)]
    (run.model_folder / "weights").write_bytes(b"torn")
    assert not plan_grid(shop, [PIPELINES["c"]], (0,)).done
    assert run.folder.is_dir()  # planning sets nothing aside


def test_without_any_run_a_plan_builds_no_text(tmp_path: Path) -> None:
    home = tmp_path / "home"
    result = CliRunner().invoke(app, ["grid", "table4", "--plan"], env={"COLBERT_ZERO_HOME": str(home)})
    assert result.exit_code == 0, result.stderr
    assert " 30," in result.stdout and not home.exists()


def test_a_grid_stops_at_the_first_error_and_keeps_what_is_done(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = make(shop, ZERO, 0, 50.0)
    asked: list[str] = []

    def fake(recipe: Recipe, seed: int, shop: Workshop) -> Run:
        asked.append(str(recipe))
        if len(asked) == 2:
            raise ParameterError("No.")
        return make(shop, recipe, seed, 1.0)

    monkeypatch.setattr("colbert_zero_lib.runs.execute.run_recipe", fake)
    plan = plan_grid(shop, [PIPELINES["c"]], (0,))
    events = []
    with pytest.raises(ColbertZeroError):
        for event in run_grid(shop, plan):
            events.append(event)
    prefixes = [str(prefix) for prefix in PIPELINES["c"].stages()]
    assert asked == prefixes[:2]
    assert [(str(e.job.recipe), e.run is not None) for e in events] == [
        ("base", True), (prefixes[0], False), (prefixes[0], True), (prefixes[1], False)
    ]  # fmt: skip
    assert events[0].run == done and events[0].score == 0.25
    assert len(plan_grid(shop, [PIPELINES["c"]], (0,)).done) == 2


@pytest.mark.parametrize("in_work", range(3))
def test_a_grid_passes_over_what_another_process_builds_and_what_hangs_on_it(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, in_work: int
) -> None:
    make(shop, ZERO, 0, 50.0)
    plan = plan_grid(shop, grid_recipes("pipelines"), (0,))
    other = PIPELINES["a"].stages()[in_work]
    for recipe in other.stages()[:-1]:
        make(shop, recipe, 0, 1.0)

    def fake(recipe: Recipe, seed: int, shop: Workshop) -> Run:
        return make(shop, recipe, seed, 1.0)

    def while_in_work(work: Path) -> Mapping[str, Any]:
        begun = []
        for event in run_grid(shop, plan):
            if event.run is None and event.job.recipe == other:
                break  # nothing is left but to wait
            begun.append(event.job.recipe)
        expected = {job.recipe for job in plan.jobs if other not in job.recipe.stages()}
        assert set(begun) == expected and PIPELINES["c"] in expected
        raise ParameterError("Seen.")

    monkeypatch.setattr("colbert_zero_lib.runs.execute.run_recipe", fake)
    with pytest.raises(ParameterError, match="Seen"):
        shop.ledger.obtain(shop.key(other, 0), while_in_work)
    # Nobody is at work any more: the rest comes in order.
    again = plan_grid(shop, plan.recipes, (0,))
    assert again.missing[0].recipe == other
    assert [event.job for event in run_grid(shop, again) if event.run] == list(again.jobs)


# The tables


def planted(
    effects: Mapping[str, float],
    seeds: tuple[int, ...] = (0, 1, 2, 3),
    luck: float = 0.05,
    noise: float = 1.0,
    rng: np.random.Generator | None = None,
    arms: tuple[str, ...] | None = None,
) -> RunEvidence:
    """Runs of every arm, true means 50 points and what ``effects`` adds; luck of a seed and noise in points."""
    rng = rng or np.random.default_rng(7)
    hard = {name: 0.5 + rng.uniform(-0.2, 0.2, size) for name, size in QUERIES.items()}
    names = [(name, f"q{place}") for name, size in QUERIES.items() for place in range(size)]
    frame = pd.DataFrame(names, columns=["collection", "query"]).assign(**{"recall@100": 0.0, "mrr@10": 0.0})
    base = np.concatenate(list(hard.values()))
    printed = arms or tuple(dict.fromkeys(str(row.recipe) for row in PAPER_ROWS if row.table in (3, 4)))
    found: dict[str, dict[int, Evaluation]] = {}
    for arm in printed:
        for seed in seeds:
            shift = (effects.get(arm, 0.0) + rng.normal(0, luck)) / 100
            values = np.clip(base + shift + rng.normal(0, noise / 100, len(base)), 0, 1)
            found.setdefault(arm, {})[seed] = Evaluation(frame.assign(**{"ndcg@10": values}))
    return RunEvidence("planted", found)


def as_printed(sign: float = 1.0, scale: float = 1.0) -> dict[str, float]:
    table = paper_deltas()
    return {arm: sign * scale * paper for arm, paper in zip(table["arm"], table["paper"], strict=True)}


@cache
def as_in_the_paper() -> RunEvidence:
    return planted(as_printed())


@cache
def deltas_as_in_the_paper() -> pd.DataFrame:
    return delta_findings(as_in_the_paper())


@cache
def rows_as_in_the_paper(number: int) -> pd.DataFrame:
    return row_findings(number, as_in_the_paper())


def test_planted_effects_are_found_with_their_signs() -> None:
    same, other = deltas_as_in_the_paper(), delta_findings(planted(as_printed(-1.0)))
    assert len(same) == 17 and set(same["seeds"]) == {4}
    assert (same["verdict"] == AGREES).sum() >= 13 and not (same["verdict"] == DIFFERS).any()
    assert (other["verdict"] == DIFFERS).sum() >= 13 and not (other["verdict"] == AGREES).any()
    assert np.abs(same["value"] - same["paper"]).max() < 0.3
    assert ((same["low"] <= same["paper"]) & (same["paper"] <= same["high"])).sum() >= 15
    assert (same["p_holm"] >= same["p"]).all() and (same["p_holm"] < 0.05).sum() >= 6


def test_planted_nulls_are_not_found() -> None:
    rng = np.random.default_rng(11)
    arms = (BOTH, NEITHER)
    clear = held = 0
    for _ in range(30):
        found = planted({}, (0, 1, 2), 0.5, 5.0, rng, arms).contrast(LESS)
        assert found is not None
        clear += not found.low <= 0 <= found.high
        moved = planted({BOTH: 1.0}, (0, 1, 2), 0.5, 5.0, rng, arms).contrast(LESS)
        assert moved is not None
        held += moved.low <= 1.0 <= moved.high
    assert clear <= 4 and held >= 26  # 1.5 of 30 expected at most, standard deviation 1.2


def test_a_delta_too_small_for_the_runs_is_not_resolvable_and_one_large_enough_is_noise() -> None:
    # Seeds differ by 1 point: 0.3 cannot be seen with 3 of them. By 0.05 and with many queries it can.
    loud = delta_findings(planted({}, (0, 1, 2), luck=1.0))
    small = loud[loud["paper"].abs() < 0.5]
    assert set(small["verdict"]) <= {NOT_RESOLVABLE, AGREES, DIFFERS}
    assert (small["verdict"] == NOT_RESOLVABLE).sum() >= 6
    still = delta_findings(planted({}, tuple(range(6)), luck=0.02, noise=0.5))
    assert (
        set(still["verdict"]) <= {WITHIN_NOISE, AGREES, DIFFERS} and (still["verdict"] == WITHIN_NOISE).any()
    )
    for table in (loud, still):
        noisy = table[table["verdict"] == WITHIN_NOISE]
        assert (noisy["smallest"] <= noisy["paper"].abs()).all()
        hidden = table[table["verdict"] == NOT_RESOLVABLE]
        assert (hidden["smallest"] > hidden["paper"].abs()).all()


def test_one_seed_decides_nothing_unless_other_arms_lend_their_spread() -> None:
    alone = delta_findings(planted(as_printed(scale=5), seeds=(0,)))
    assert set(alone["verdict"]) == {NOT_RESOLVABLE} and alone["p"].isna().all()
    runs = dict(planted(as_printed(scale=5), seeds=(0,)).evaluations)
    more = planted({}, tuple(range(6)), luck=0.05, arms=(str(PIPELINES["a"]),))
    lent = delta_findings(RunEvidence("lent", {"base": more.evaluations[str(PIPELINES["a"])], **runs}))
    assert set(lent["seeds"]) == {1} and lent["p"].notna().all()
    assert (lent["verdict"] == AGREES).sum() >= 12
    assert "borrowed" in delta_caption(lent) and "over queries alone" in delta_caption(alone)


def test_arms_that_were_not_run_are_empty_cells() -> None:
    runs = planted(as_printed(), arms=(BOTH, NEITHER))
    deltas = delta_findings(runs)
    assert (deltas["verdict"] == NOT_RUN).sum() == 16
    rows = row_findings(4, runs).set_index("recipe")
    assert rows.loc[BOTH, "verdict"] == AGREES and rows.loc[BOTH, "seeds"] == 4
    assert rows.loc[NEITHER, "mean"] == pytest.approx(50, abs=1.5) and rows.loc[NEITHER, "verdict"] == "–"
    assert (rows["seeds"] == 0).sum() == 23 and rows.loc[rows["seeds"] == 0, "mean"].isna().all()
    none = RunEvidence("nothing", {})
    assert set(delta_findings(none)["verdict"]) == {NOT_RUN}
    assert power_findings(none)["needed"].isna().all()
    assert "0 of 17 run" in delta_caption(delta_findings(none))


def test_rows_of_both_tables_carry_the_papers_means_and_the_same_deltas() -> None:
    runs = as_in_the_paper()
    deltas = deltas_as_in_the_paper().set_index("arm")
    for number in (3, 4):
        rows = rows_as_in_the_paper(number)
        assert list(rows["paper"]) == list(paper_table(number)["average_printed"])
        own = rows.set_index("recipe")
        for arm in set(own.index) & set(deltas.index):
            assert own.loc[arm, "value"] == deltas.loc[arm, "value"]
            assert own.loc[arm, "verdict"] == deltas.loc[arm, "verdict"]
            assert own.loc[arm, "paper_delta"] == pytest.approx(deltas.loc[arm, "paper"], abs=0.011)
        mean = rows["mean_low"].to_numpy() <= rows["mean"].to_numpy()
        assert mean.all() and (rows["mean"] <= rows["mean_high"]).all()
        assert rows["by_seed"].map(np.mean).to_numpy() == pytest.approx(rows["mean"].to_numpy())
    with pytest.raises(ParameterError, match="Table 5"):
        row_findings(5, runs)


def test_different_seeds_differ_and_are_paired_by_name() -> None:
    runs = planted(as_printed(), seeds=(0, 1, 2))
    first, second = (
        RunEvidence("some", {arm: {s: of[s] for s in kept} for arm, of in runs.evaluations.items()})
        for kept in ((0, 1), (1, 2))
    )
    a, b = delta_findings(first), delta_findings(second)
    assert (a["value"] != b["value"]).all()
    lacking = {arm: dict(of) for arm, of in runs.evaluations.items()}
    del lacking[BOTH][0]
    found = RunEvidence("lacking", lacking).contrast(LESS)
    same = second.contrast(LESS)
    assert found is not None and same is not None and found.seeds == 2
    assert found.value == same.value


def test_a_change_of_a_file_arrives_in_the_table(
    published_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = published_copy / "paper" / "table5_deltas.csv"
    text = file.read_text(encoding="utf-8")
    assert text.count(",1.26,") == 1
    file.write_text(text.replace(",1.26,", ",-1.26,"), encoding="utf-8")
    runs = as_in_the_paper()
    before = deltas_as_in_the_paper().set_index("arm")
    monkeypatch.setattr("colbert_zero_lib.published.tables.data_folder", lambda: published_copy)
    after = delta_findings(runs).set_index("arm")
    assert (before.loc[BOTH, "verdict"], after.loc[BOTH, "verdict"]) == (AGREES, DIFFERS)
    assert after.loc[BOTH, "paper"] == -1.26

    runs_folder = published_copy / "runs" / "laptop"
    shutil.copytree(data_folder() / "runs" / "laptop", runs_folder, copy_function=shutil.copyfile)
    shown = row_findings(4, recorded_evidence("laptop", published_copy)).set_index("recipe")
    assert shown.loc[BOTH, "seeds"] == 3
    one = runs_folder / f"{PIPELINES['c'].slug}--seed1.parquet"
    frame = pd.read_parquet(one)
    frame["ndcg@10"] = 0.0
    frame.to_parquet(one)
    moved = row_findings(4, recorded_evidence("laptop", published_copy)).set_index("recipe")
    assert moved.loc[BOTH, "by_seed"][1] == 0.0
    assert moved.loc[BOTH, "mean"] == pytest.approx(
        shown.loc[BOTH, "mean"] - shown.loc[BOTH, "by_seed"][1] / 3
    )


def test_power_says_what_the_verdicts_say() -> None:
    runs = planted(as_printed(), (0, 1, 2), luck=0.5)
    deltas, power = delta_findings(runs), power_findings(runs, effect=0.3)
    assert list(power["smallest"]) == list(deltas["smallest"])
    assert (power["floor"] < power["smallest"]).all()
    # Two arms whose seeds differ by half a point: ((1.96 + 0.84) / 0.3) ** 2 * 0.5 = 44 on average.
    assert 15 < power["needed"].median() < 100
    coarse = power_findings(runs, effect=1.0)
    assert (coarse["needed"] < power["needed"]).all()
    with pytest.raises(ParameterError):
        power_findings(runs, effect=0.0)


def test_the_readers_runs_stand_beside_the_recorded_ones(tmp_path: Path) -> None:
    mine = ledger_evidence("tiny", tmp_path)
    table = drawings.delta_table(deltas_as_in_the_paper(), delta_findings(mine))
    assert {"planted", "yours (tiny)", "p (Holm)", "verdict"} <= set(table.cells.columns)
    assert set(table.cells["verdict"]) == {NOT_RUN} and set(table.cells["yours (tiny)"]) == {""}


# Words and figures


def test_the_rule_and_the_correction_stand_in_the_captions() -> None:
    deltas, rows = deltas_as_in_the_paper(), rows_as_in_the_paper(3)
    table = drawings.delta_table(deltas)
    assert SIGN_RULE in table.caption and "Holm" in table.caption and "of 17 tested" in table.caption
    kept = int((deltas["p_holm"] < 0.05).sum())
    assert f"{kept} stay below" in table.caption
    assert SIGN_RULE in drawings.row_table(3, rows).caption
    assert len(drawings.row_table(3, rows).cells) == 9
    power = drawings.power_table(power_findings(as_in_the_paper()), 0.3)
    assert "seeds for 0.3" in power.cells.columns
    for made in (table, power):
        assert "nan" not in made.markdown().lower()


@cache
def one_seed() -> RunEvidence:
    return planted(as_printed(), (0,), arms=(BOTH, NEITHER))


FIGURES: dict[str, Callable[[], Figure]] = {
    "deltas": lambda: drawings.deltas_figure(deltas_as_in_the_paper()),
    "deltas of one seed": lambda: drawings.deltas_figure(delta_findings(one_seed())),
    "deltas not run": lambda: drawings.deltas_figure(delta_findings(recorded_evidence("laptop"))),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_legible_and_light(
    name: str, check_drawing: Callable[[Callable[[], Figure]], None]
) -> None:
    check_drawing(FIGURES[name])


def test_the_titles_are_counted_from_the_tables() -> None:
    deltas = deltas_as_in_the_paper()
    agree = int((deltas["verdict"] == AGREES).sum())
    assert f"{agree} agree" in drawings.deltas_headline(deltas)
    turned = deltas.assign(verdict=DIFFERS)
    assert "17 differ" in drawings.deltas_headline(turned)


def test_the_delta_figure_draws_both_figures_of_every_delta() -> None:
    deltas = deltas_as_in_the_paper()
    [axes] = drawings.deltas_figure(deltas).axes
    crosses = [
        line.get_xdata()[0] for line in axes.lines if line.get_marker() == "x" and len(line.get_xdata())
    ]
    assert crosses == list(deltas["paper"])
    spans = [bars[2][0].get_segments()[0][:, 0] for bars in axes.containers]
    assert np.array(spans) == pytest.approx(deltas[["low", "high"]].to_numpy())


def test_nothing_to_draw_is_one_sentence() -> None:
    none = RunEvidence("nothing", {})
    with pytest.raises(ParameterError, match="no deltas"):
        drawings.deltas_figure(delta_findings(none).iloc[:0])
