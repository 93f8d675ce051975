"""The prefix study: no training under two names, effects and explanations on planted runs, leads, figures."""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from colbert_zero_lib.cli_grid import show_differences
from colbert_zero_lib.errors import DataError, ParameterError
from colbert_zero_lib.evaluation import Evaluation, contribution_intervals
from colbert_zero_lib.evaluation.contributions import COLUMNS, PARTS
from colbert_zero_lib.figures import prefixes as drawings
from colbert_zero_lib.models import open_model, step_lengths
from colbert_zero_lib.prefixes import SIZED_KINDS, TRAINED_KINDS
from colbert_zero_lib.profiles import EvaluationSize, get_profile
from colbert_zero_lib.prompts import prefix_texts, prefix_tokens
from colbert_zero_lib.recipes import ZERO, Interaction, Phase, Recipe, Step
from colbert_zero_lib.runs import Run
from colbert_zero_lib.runs.arms import Job, arm_name, grid_jobs, grid_recipes
from colbert_zero_lib.runs.change_arms import dense_arms, lateon_arms, temperature_arms
from colbert_zero_lib.runs.grid import plan_grid, run_grid
from colbert_zero_lib.runs.prefix_arms import (
    SLOTS,
    STARTS,
    has_sizes,
    in_default_size,
    prefix_arms,
)
from colbert_zero_lib.runs.workshop import Workshop
from colbert_zero_lib.verdicts import RunEvidence, holm, recorded_evidence
from colbert_zero_lib.verdicts.changes import change_findings
from colbert_zero_lib.verdicts.evidence import BORROWED, BORROWED_AGAIN
from colbert_zero_lib.verdicts.grid import paper_deltas
from colbert_zero_lib.verdicts.prefixes import (
    effect_findings,
    expansion_findings,
    explanation_findings,
    explanations,
    mismatch_findings,
    prefix_caption,
)
from colbert_zero_lib.verdicts.verdict import CLEAR, CORRECTED_RULE, NOT_RESOLVABLE, NOT_RUN, WITHIN_NOISE

mpl.use("Agg")

FOUR = (4, 4)
DENSE_ARMS = tuple(arm.recipe for arm in prefix_arms(STARTS[0], prompts=FOUR))
TABLE4 = tuple(recipe for recipe in grid_recipes("table4") if len(recipe) == 2)
QUERIES = {"one": 60, "two": 40}
SUPERVISED = "dense:unsupervised > colbert:supervised"


# One training, one name


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("colbert:supervised[prefix=random/4]", "colbert:supervised[prefix=random]"),
        ("colbert:supervised[prefix=random/7]", "colbert:supervised[prefix=random/7]"),
        ("colbert:supervised[-length,prefix=mask/4]", "colbert:supervised[-length,prefix=mask]"),
        ("colbert:supervised @ prefix=random/4", "colbert:supervised @ prefix=random"),
        # What two names of one prefix said apart is then evaluated as trained.
        ("colbert:supervised[prefix=mask] @ prefix=mask/4", "colbert:supervised[prefix=mask]"),
        (
            "colbert:unsupervised[prefix=learned/4] > colbert:supervised @ prefix=learned/4",
            "colbert:unsupervised[prefix=learned] > colbert:supervised @ prefix=learned",
        ),
        ("colbert:supervised[prefix=swapped]", "colbert:supervised[prefix=swapped]"),
    ],
)
def test_a_prefix_of_the_prompts_size_needs_no_number(text: str, named: str) -> None:
    recipe = Recipe.parse(text)
    assert str(in_default_size(recipe, FOUR)) == named
    for uneven in ((4, 5), (5, 4)):
        assert in_default_size(recipe, uneven) == recipe


@pytest.mark.parametrize("kind", SIZED_KINDS)
def test_both_names_are_the_same_tokens_and_lengths(tiny_encoder_folder: Path, kind: str) -> None:
    prompts = ("find the ship: ", "the ship find: ")
    steps = [Step(Interaction.COLBERT, Phase.SUPERVISED)]
    model = open_model(tiny_encoder_folder, steps[0], lengths=(24, 40), prompts=prompts, projection=32)
    count, other = prefix_tokens(None, model.tokenizer, prompts)
    assert count == other
    both = (f"colbert:supervised[prefix={kind}]", f"colbert:supervised[prefix={kind}/{count}]")
    found = []
    for text in both:
        [step] = Recipe.parse(text).steps
        own = open_model(tiny_encoder_folder, step, lengths=(24, 40), prompts=prompts, projection=32)
        texts = prefix_texts(step, own.tokenizer, prompts)
        found.append((texts, step_lengths(step, EvaluationSize(), own.tokenizer, prompts)))
    assert found[0] == found[1]
    assert in_default_size(Recipe.parse(both[1]), (count, count)) == Recipe.parse(both[0])


def test_the_study_leaves_doubles_out_once_the_tokenizer_is_known() -> None:
    for start in STARTS:
        every, known = prefix_arms(start), prefix_arms(start, prompts=FOUR)
        trained = [arm for arm in known if arm.matched]
        assert len(trained) == 3 + len(TRAINED_KINDS) + len(SIZED_KINDS) * (len(SLOTS) - 1)
        # A double and its two mismatched evaluations go, for each kind.
        assert len(every) - len(known) == 3 * len(SIZED_KINDS)
        assert {arm.recipe for arm in known} == {in_default_size(arm.recipe, FOUR) for arm in every}
        assert not [arm.label for arm in known if arm.label.startswith("4 ")]
        assert prefix_arms(start, prompts=(3, 4)) == every
    assert has_sizes(grid_recipes("prefixes")) and not has_sizes(grid_recipes("table4"))


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """Tiny without texts, and a tokenizer with which both prompts take 4 tokens once the base encoder is there."""
    shop = Workshop(get_profile("tiny"), tmp_path / "home", "cpu", progress=False)
    shop.__dict__["source"] = SimpleNamespace(fingerprint="f" * 64, teacher="d" * 64)
    base = shop.key(ZERO, 0)
    monkeypatch.setattr("colbert_zero_lib.runs.grid.data_folder", lambda: tmp_path / "data")
    monkeypatch.setattr(Workshop, "prompt_lengths", lambda own: FOUR if own.ledger.get(base) else None)
    return shop


def make(shop: Workshop, recipe: Recipe, seed: int) -> Run:
    def build(work: Path) -> Mapping[str, Any]:
        (work / "model").mkdir(exist_ok=True)
        (work / "model" / "weights").write_bytes(b"w")
        passport = {"profile": "tiny", "seed": seed, "recipe": str(recipe), "device": "cpu (2 threads)"}
        return {**passport, "wall_seconds": {"evaluation": 1.0}, "mean_ndcg@10": 0.25}

    return shop.ledger.obtain(shop.key(recipe, seed), build)


def test_a_plan_names_each_training_once_when_the_base_encoder_is_there(shop: Workshop) -> None:
    recipes = grid_recipes("prefixes")
    before = plan_grid(shop, recipes, (0,))
    assert before.jobs == grid_jobs(recipes, (0,))  # nothing is known of the tokenizer yet
    make(shop, ZERO, 0)
    after = plan_grid(shop, recipes, (0,))
    assert len(before.jobs) - len(after.jobs) == len(STARTS) * len(SIZED_KINDS) * 3
    assert {in_default_size(job.recipe, FOUR) for job in before.jobs} == {job.recipe for job in after.jobs}
    assert all(in_default_size(job.recipe, FOUR) == job.recipe for job in after.jobs)


@pytest.mark.parametrize("base_first", [True, False])
def test_a_grid_trains_nothing_twice_under_two_names(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, base_first: bool
) -> None:
    trained: list[str] = []

    def fake(recipe: Recipe, seed: int, shop: Workshop) -> Run:
        if shop.ledger.get(shop.key(recipe, seed)) is None:
            trained.append(str(recipe))
        return make(shop, recipe, seed)

    monkeypatch.setattr("colbert_zero_lib.runs.execute.run_recipe", fake)
    if base_first:
        make(shop, ZERO, 0)
    text = f"{SUPERVISED}[prefix=random],{SUPERVISED}[prefix=random/4],{SUPERVISED}[prefix=random/4] @ prefix=none"
    recipes = grid_recipes(text)
    events = [event for event in run_grid(shop, plan_grid(shop, recipes, (0,))) if event.run]
    told = {event.job: event.run for event in events}
    assert trained == [
        *([] if base_first else ["base"]), "dense:unsupervised", f"{SUPERVISED}[prefix=random]",
        f"{SUPERVISED}[prefix=random] @ prefix=none",
    ]  # fmt: skip
    one, double = (Job(recipe, 0) for recipe in recipes[:2])
    # A plan that knew of no double still has a run for each of its arms.
    assert (double in told) is not base_first
    assert told.get(double, told[one]) == told[one]


# Effects and explanations


def planted(
    effect: Callable[[Recipe], float],
    seeds: tuple[int, ...] = (0, 1, 2),
    luck: float = 0.02,
    noise: float = 0.5,
    recipes: tuple[Recipe, ...] | None = None,
    rng: np.random.Generator | None = None,
) -> RunEvidence:
    """Runs whose true means are 50 points and what ``effect`` adds to a recipe; all in points.

    Evaluations of one training share the ``luck`` of its seed, and have 0.02 points of their own.
    """
    rng = rng or np.random.default_rng(5)
    names = [(name, f"q{place}") for name, size in QUERIES.items() for place in range(size)]
    frame = pd.DataFrame(names, columns=["collection", "query"]).assign(**{"recall@100": 0.0, "mrr@10": 0.0})
    base = 0.5 + rng.uniform(-0.2, 0.2, len(names))
    lucks: defaultdict[tuple[Recipe, int], float] = defaultdict(lambda: rng.normal(0, luck))
    found: dict[str, dict[int, Evaluation]] = {}
    for recipe in recipes or (*grid_recipes("prefixes"), *TABLE4):
        for seed in seeds:
            shift = effect(recipe) + lucks[recipe.training, seed] + (not recipe.trains) * rng.normal(0, 0.02)
            own = (shift + rng.normal(0, noise, len(names))) / 100
            found.setdefault(str(recipe), {})[seed] = Evaluation(frame.assign(**{"ndcg@10": base + own}))
    return RunEvidence("planted", found)


def as_expansion(recipe: Recipe) -> float:
    """A world in which every scored token adds, a point a doubling of their number, and nothing else matters."""
    prefix = recipe.evaluated_step.prepended
    counts = {"none": 0, "context": 0}
    count = counts.get(prefix.kind, 4 if prefix.tokens is None else prefix.tokens)
    return math.log2(1 + count)


@cache
def expansion() -> RunEvidence:
    return planted(as_expansion)


@cache
def one_seed() -> RunEvidence:
    return planted(as_expansion, seeds=(0,))


@cache
def effects(source: Callable[[], RunEvidence]) -> pd.DataFrame:
    return effect_findings(source(), FOUR)


@cache
def mismatches() -> pd.DataFrame:
    return mismatch_findings(expansion(), FOUR)


@cache
def predictions() -> pd.DataFrame:
    return explanation_findings(expansion(), FOUR)


def test_planted_effects_of_arms_are_found() -> None:
    table = effects(expansion)
    assert set(table["seeds"]) == {3} and len(table) == 2 * (2 + 6 + 3 * 5)
    assert sorted(table.loc[~table["sized"], "tokens"]) == [0, 0] + [4] * 14
    scored = table[~table["kind"].isin(["none", "context"])]
    np.testing.assert_allclose(
        scored["value"].astype(float), np.log2(1 + scored["tokens"].astype(float)), atol=0.2
    )
    assert set(scored["verdict"]) == {CLEAR}
    assert not (table.loc[table["kind"].isin(["none", "context"]), "verdict"] == CLEAR).any()
    # Each table is a family of its own.
    for sized in (True, False):
        own = table[table["sized"] == sized]
        np.testing.assert_array_equal(own["p_holm"], holm(own["p"].to_numpy(float)))


def test_the_papers_own_differences_stand_beside_two_arms_a_start() -> None:
    table = effect_findings(RunEvidence("nothing", {}))
    printed = table.dropna(subset="paper")
    assert list(printed["arm"]) == ["nothing, extra length", "the prompts"] * 2
    deltas = paper_deltas().set_index(["start", "stage", "effect"])["paper"]
    for row in printed.itertuples():
        effect = "both" if row.arm == "the prompts" else "length"
        assert row.paper == deltas[row.start, "supervised", effect]


def test_other_prefixes_at_evaluation_are_held_against_the_same_weights() -> None:
    table = mismatches().set_index(["start", "arm", "evaluated"])["value"]
    assert table["dense unsupervised", "the prompts", "nothing"] == pytest.approx(-math.log2(5), abs=0.2)
    unseen = table["ColBERT unsupervised", "the prompts", "the prompts as context only"]
    assert unseen == pytest.approx(-math.log2(5), abs=0.2)
    assert table["dense unsupervised", "nothing", "the prompts"] > 2


def test_a_world_of_implicit_expansion_speaks_for_it_and_for_nothing_else() -> None:
    table = predictions()
    assert len(table) == 10 + 11 and set(table["seeds"]) == {3}
    assert set(table.loc[table["explanation"] == "implicit query expansion", "speaks"]) == {"for it"}
    assert set(table.loc[table["explanation"] != "implicit query expansion", "speaks"]) == {""}
    trend = table[table["comparison"].str.contains("doubling")]
    expected = np.polyfit(np.log2(SLOTS), np.log2(1 + np.array(SLOTS)), 1)[0]
    np.testing.assert_allclose(trend["value"], expected, atol=0.1)


def test_a_world_of_content_speaks_for_content_and_against_what_contradicts_it() -> None:
    def content(recipe: Recipe) -> float:
        return 2.0 * (recipe.evaluated_step.prepended.kind in ("prompts", "context")) - 1.0 * (
            recipe.evaluated_step.prepended.kind == "mask"
        )

    table = explanation_findings(planted(content, recipes=DENSE_ARMS), FOUR)
    said = table[table["seeds"] > 0].groupby("explanation")["speaks"].agg(set)
    assert said["content"] == {"for it"} and said["context"] == {"for it"} and said["budget"] == {""}
    assert "against it" in said["implicit query expansion"]


@cache
def either() -> RunEvidence:
    """A world in which prompts or query expansion add two points, and both together no more."""

    def effect(recipe: Recipe) -> float:
        step = recipe.evaluated_step
        return 2.0 if step.prompts or step.expansion else 0.0

    return planted(effect, recipes=grid_recipes("expansion"))


def test_expansion_that_takes_over_from_prompts_is_seen_and_printed() -> None:
    source = either()
    table = expansion_findings(source)
    assert len(table) == 2 * 2 * 9 and set(table["seeds"]) == {3}
    values = table.groupby("comparison")["value"].mean()
    expected = {
        "prompts less none, without expansion": 2,
        "prompts less none, with expansion": 0,
        "the second less the first": -2,
        "expansion less none, without prompts": 2,
        "expansion less none, with prompts": 0,
        "trained with expansion, prompts off: evaluated with it less without it": 2,
        "trained without expansion, prompts on: evaluated with it less without it": 0,
    }
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=0.15)
    console = Console(width=160, file=io.StringIO())
    show_differences(source, grid_recipes("expansion"), FOUR, console)
    assert "the second less the first" in console.file.getvalue()


def shown(source: RunEvidence, recipes: tuple[Recipe, ...], runs: tuple[Run, ...] = ()) -> str:
    console = Console(width=200, file=io.StringIO())
    show_differences(source, recipes, FOUR, console, runs)
    return console.file.getvalue()


def test_each_change_of_lateon_is_held_against_the_same_base_and_lends_no_spread() -> None:
    def muon(recipe: Recipe) -> float:
        return 2.0 * any(step.muon for step in recipe)

    recipes = grid_recipes("lateon")
    assert len(recipes) == 6 and str(recipes[0]) == "colbert:unsupervised > colbert:supervised"
    assert len({str(arm_name(recipe)) for recipe in recipes}) == 6
    source = planted(muon, recipes=recipes)
    table = change_findings(source, lateon_arms()).set_index("change")
    expected = {"Muon": 2, "all four": 2, "two-layer residual head": 0}
    assert {name: table.loc[name, "value"] for name in expected} == pytest.approx(expected, abs=0.2)
    assert table.loc["Muon", "verdict"] == CLEAR
    text = shown(source, recipes)
    assert "LateOn's changes" in text and "temperature" not in text and "A true difference shows" in text
    # The base and the arm without prompts are the paper's: two seeds to spare in each.
    assert 3.5 < source.spread_of_trainings[1] <= 4


def test_a_dense_model_that_is_there_is_adapted_in_the_papers_ways_without_prompts() -> None:
    recipes = grid_recipes("dense")
    scale = get_profile("minilm")
    begun = [str(scale.begun(recipe)).partition(" > ")[2] for recipe in recipes]
    assert begun == [
        "", "colbert:supervised[-prompts,-length]", "colbert:distillation[-prompts,-length,teacher=both]",
        "colbert:supervised[-prompts,-length] > colbert:distillation[-prompts,-length,teacher=both]",
        "colbert:supervised",
    ]  # fmt: skip
    assert all(scale.whole(scale.begun(recipe)) == recipe for recipe in recipes)
    source = planted(lambda recipe: 3.0 * (len(recipe) == 3), recipes=recipes)
    table = change_findings(source, dense_arms()).set_index("change")
    assert table.loc["supervised before it: (b)", "value"] == pytest.approx(0, abs=0.2)
    assert table.loc["distillation after it: (b)", "value"] == pytest.approx(3, abs=0.2)
    assert "a dense model that is there" in shown(source, recipes)


def test_a_temperature_that_was_learned_stands_beside_what_it_gained(tmp_path: Path) -> None:
    assert len(temperature_arms()) == 12 and len(grid_recipes("temperature")) == 16
    arms = [arm for arm in temperature_arms() if arm.base == "dense supervised"]
    recipes = tuple(dict.fromkeys(recipe for arm in arms for recipe in (arm.less, arm.recipe)))
    text = "dense:unsupervised > dense:supervised[temperature=learned]"
    runs = tuple(
        Run(tmp_path, {"recipe": text, "seed": seed, "temperature": {"supervised": found}})
        for seed, found in enumerate((0.041, 0.0437))
    )
    source = planted(lambda recipe: -1.0 * (recipe.steps[-1].temperature == 0.02), recipes=recipes)
    table = change_findings(source, temperature_arms(), runs).set_index(["base", "change"])
    assert table.loc[("dense supervised", "0.02"), "value"] == pytest.approx(-1, abs=0.2)
    assert table.loc[("dense supervised", "learned"), "learned"] == "0.041, 0.044"
    assert set(table.loc["ColBERT supervised", "verdict"]) == {NOT_RUN}
    assert "0.041, 0.044" in shown(source, recipes, runs)


@pytest.mark.parametrize("start", STARTS, ids=str)
def test_every_prediction_compares_arms_of_the_study_or_of_the_papers_tables(start: Recipe) -> None:
    known = {str(arm.recipe) for arm in prefix_arms(start, prompts=FOUR)}
    known |= {str(recipe) for recipe in TABLE4}
    claims = explanations(start, FOUR)
    assert len({claim.id for claim in claims}) == len(claims)
    for clause in (clause for claim in claims for clause in claim.clauses):
        assert sum(clause.weights.values()) == pytest.approx(0)  # queries that are hard for all cancel
        assert set(clause.weights) <= known


def test_runs_under_either_name_are_found_and_the_one_of_default_size_comes_first() -> None:
    random, four = (Recipe.parse(f"{SUPERVISED}[prefix={name}]") for name in ("random", "random/4"))
    nothing = Recipe.parse(f"{SUPERVISED}[-prompts,-length]")
    both = planted(lambda r: 1.0 * (r == random) + 5.0 * (r == four), (0, 1), recipes=(random, four, nothing))

    def value(source: RunEvidence) -> float:
        table = effect_findings(source, FOUR).set_index(["start", "arm"])
        assert table.loc[("dense unsupervised", "random words"), "seeds"] == 2
        return table.loc[("dense unsupervised", "random words"), "value"]

    assert value(both) == pytest.approx(1, abs=0.3)
    lacking = {arm: of for arm, of in both.evaluations.items() if arm != str(random)}
    assert value(RunEvidence("lacking", lacking)) == pytest.approx(5, abs=0.3)
    mixed = {**both.evaluations, str(random): {0: both.evaluations[str(random)][0]}}
    assert value(RunEvidence("mixed", mixed)) == pytest.approx(3, abs=0.3)


def test_verdicts_follow_their_rule() -> None:
    assert set(effect_findings(RunEvidence("nothing", {}))["verdict"]) == {NOT_RUN}
    alone = effects(one_seed)
    assert set(alone["verdict"]) == {NOT_RESOLVABLE} and alone["p"].isna().all()
    assert (alone.loc[alone["kind"] == "random", "low"] > 0).all()  # an interval over queries decides nothing
    assert "over queries alone" in prefix_caption(alone, "Arms")
    for luck, word in ((0.01, WITHIN_NOISE), (2.0, NOT_RESOLVABLE)):
        table = effect_findings(planted(lambda _: 0.0, luck=luck, recipes=DENSE_ARMS), FOUR)
        table = table[table["seeds"] > 0]
        assert word in set(table["verdict"])
        rest = table[table["verdict"] != CLEAR]
        assert ((rest["smallest"] <= 0.3) == (rest["verdict"] == WITHIN_NOISE)).all()
        assert ((table["p_holm"] < 0.05) == (table["verdict"] == CLEAR)).all()


def test_a_lent_spread_counts_every_arm_of_a_difference_of_differences() -> None:
    lender = planted(lambda _: 0.0, (0, 1, 2, 3, 4), luck=0.5, recipes=(ZERO,)).evaluations
    kept = {arm: of for arm, of in one_seed().evaluations.items() if arm.startswith("colbert")}
    table = explanation_findings(RunEvidence("lent", {**kept, **lender}), FOUR).set_index(
        ["start", "comparison"]
    )
    start = "ColBERT unsupervised"
    of_two = table.loc[(start, "extra length alone less nothing")]
    of_four = next(row for (name, text), row in table.iterrows() if name == start and "had not" in text)
    assert of_two["spread"] == of_four["spread"] and "borrowed" in of_two["spread"]
    # Four arms of weight 1 vary by root 2 as much as two, and by more than that through their queries.
    ratio = (of_four["high"] - of_four["low"]) / (of_two["high"] - of_two["low"])
    assert ratio == pytest.approx(math.sqrt(2), rel=0.05)


@pytest.mark.parametrize(
    ("name", "there", "absent"),
    [
        ("prefixes", ["ColBERT unsupervised", "28 learned tokens", "Table 5"], ["distilled"]),
        ("table4", ["Table 5", "supervised"], ["less nothing", "[MASK]"]),
        (f"{SUPERVISED}[prefix=mask/4]", ["[MASK] tokens"], ["Table 5", "learned"]),
        ("dense:unsupervised", [], ["Table 5", "less nothing"]),
    ],
)
def test_a_grid_ends_with_what_its_own_arms_say(name: str, there: list[str], absent: list[str]) -> None:
    console = Console(width=160, file=io.StringIO())
    show_differences(expansion(), grid_recipes(name), FOUR, console)
    text = console.file.getvalue()
    assert all(words in text for words in there) and not any(words in text for words in absent)


def with_one_seed(source: RunEvidence, but: Sequence[str] = ()) -> RunEvidence:
    """The same, of every arm but those named its seed 0 alone."""
    return RunEvidence(
        "few", {arm: of if arm in but else {0: of[0]} for arm, of in source.evaluations.items()}
    )


def test_the_same_weights_under_another_prefix_share_the_luck_of_their_training() -> None:
    def reliance(recipe: Recipe) -> float:
        """Models that were trained with a prefix lose a point without it; one that had none misses none."""
        return -1.0 * (not recipe.trains and recipe.evaluated_step.prepended.kind == "none")

    recipes = tuple(arm.recipe for arm in prefix_arms(STARTS[0], slots=()))
    several = [str(recipe) for recipe in recipes if str(recipe.training) == SUPERVISED]
    found, false = [], []
    for draw in range(8):
        rng = np.random.default_rng(draw)
        source = with_one_seed(planted(reliance, luck=2.0, recipes=recipes, rng=rng), several)
        table = mismatch_findings(source, FOUR)
        table = table[table["seeds"] == 1]
        assert set(table["spread"]) == {BORROWED_AGAIN}
        planted_null = table["evaluated"] != "nothing"
        found.append((table.loc[~planted_null, "verdict"] == CLEAR).mean())
        false.append((table.loc[planted_null, "p"] < 0.05).mean())
    arms = effect_findings(source, FOUR)
    assert set(arms.loc[arms["seeds"] == 1, "spread"]) == {BORROWED}  # two trainings have the luck of two
    assert np.mean(found) > 0.8 and np.mean(false) < 0.1


def test_a_difference_across_trainings_and_switches_has_the_luck_of_both() -> None:
    source = planted(lambda _: 0.0, tuple(range(12)), luck=1.0, recipes=DENSE_ARMS)
    arm, other = SUPERVISED, f"{SUPERVISED}[prefix=mask]"
    few = with_one_seed(source, [str(r) for r in DENSE_ARMS if str(r.training) not in (arm, other)])

    def variance(weights: Mapping[str, float]) -> float:
        delta = few.contrast(weights)
        assert delta is not None and delta.seeds == 1
        return delta.variances.seeds

    trained = variance({arm: 1.0, other: -1.0})
    again = variance({f"{arm} @ prefix=none": 1.0, arm: -1.0})
    assert 0.5 < trained / 2 < 2 and again < 0.01
    assert variance({f"{arm} @ prefix=none": 1.0, other: -1.0}) == pytest.approx(trained + again)
    assert variance({f"{arm} @ prefix=none": 0.5, arm: 0.5, other: -1.0}) == pytest.approx(
        trained + again / 4
    )
    # What prefixes of other kinds do with some seed lends nothing.
    plain = {a: of for a, of in few.evaluations.items() if "prefix=" not in a or a == other}
    fewer = RunEvidence("plain", plain).contrast({arm: 1.0, other: -1.0})
    assert fewer is not None and fewer.variances.seeds == trained
    # Nobody lends what an evaluation under other switches adds: queries alone, and no p.
    bare = {a: of for a, of in few.evaluations.items() if len(of) == 1 or "@" not in a}
    alone = RunEvidence("bare", bare).contrast({f"{arm} @ prefix=none": 1.0, arm: -1.0})
    assert alone is not None and math.isnan(alone.p)


# What a part of the texts puts into the lead


def shares(rows: Mapping[tuple[str, bool, str], float]) -> pd.DataFrame:
    """A frame of `score_contributions` from sums by (query, relevant, part); both sides alike."""
    found = []
    for (query, relevant, _), _ in rows.items():
        whole = sum(value for (q, r, _), value in rows.items() if (q, r) == (query, relevant))
        for side in ("query", "document"):
            for part in PARTS:
                value = rows.get((query, relevant, part), 0.0)
                found.append((query, relevant, 1, side, part, 0.25, value / whole, value))
    return pd.DataFrame(found, columns=list(COLUMNS)).drop_duplicates()


def test_what_is_the_same_in_every_document_has_a_share_of_the_score_and_none_of_the_lead() -> None:
    frame = shares(
        {
            ("a", True, "prefix"): 4.0, ("a", True, "text"): 6.0,
            ("a", False, "prefix"): 4.0, ("a", False, "text"): 4.0,
            ("b", True, "prefix"): 4.0, ("b", True, "text"): 4.0,
            ("b", False, "prefix"): 4.0, ("b", False, "text"): 1.0,
            ("no relevant document", False, "text"): 9.0,
        }
    )  # fmt: skip
    found = contribution_intervals(frame, samples=200).set_index(["side", "part", "what"])
    for side in ("query", "document"):
        assert found.loc[(side, "prefix", "relevant"), "value"] == pytest.approx((0.4 + 0.5) / 2)
        assert found.loc[(side, "prefix", "others"), "value"] == pytest.approx((0.5 + 0.8) / 2)
        assert found.loc[(side, "prefix", "lead"), ["value", "low", "high"]].tolist() == [0, 0, 0]
        assert found.loc[(side, "text", "lead"), "value"] == 1
        # Two queries: the ends are those of either alone.
        assert found.loc[(side, "prefix", "relevant"), ["low", "high"]].tolist() == pytest.approx([0.4, 0.5])
    with pytest.raises(DataError, match="both"):
        contribution_intervals(frame[frame["query"] == "no relevant document"])


def test_a_part_that_leads_the_wrong_way_has_a_lead_below_zero() -> None:
    frame = shares(
        {
            ("a", True, "prefix"): 1.0, ("a", True, "text"): 5.0,
            ("a", False, "prefix"): 2.0, ("a", False, "text"): 2.0,
        }
    )  # fmt: skip
    found = contribution_intervals(frame, samples=50).set_index(["side", "part", "what"])["value"]
    assert found["query", "prefix", "lead"] == pytest.approx(-1 / 2)
    assert found["query", "text", "lead"] == pytest.approx(3 / 2)


# Figures


@cache
def leads() -> pd.DataFrame:
    rows = {}
    rng = np.random.default_rng(3)
    for query in range(20):
        for relevant in (True, False):
            for part in ("marker", "prefix", "text"):
                rows[f"q{query}", relevant, part] = float(rng.uniform(1, 2) + relevant * (part == "text"))
    return contribution_intervals(shares(rows), samples=100)


def bars() -> Figure:
    rng = np.random.default_rng(0)
    tokens = ["[CLS]", "[Q]", "search", "_", "query", ":", "tide", "[SEP]"]
    prefix = [2 <= place < 6 for place in range(8)]
    return drawings.token_bars(
        tokens, rng.uniform(0, 1, 8), rng.uniform(0, 1, (9, 8)), prefix, "A title of it"
    )


NONE = RunEvidence("recorded (laptop)", {})
FIGURES: dict[str, Callable[[], Figure]] = {
    "effects": lambda: drawings.effects_figure(effects(expansion)),
    "effects of one seed": lambda: drawings.effects_figure(effects(one_seed)),
    "effects not run": lambda: drawings.effects_figure(effect_findings(NONE)),
    "slots": lambda: drawings.slots_figure(effects(expansion), mismatches()),
    "slots of one seed": lambda: drawings.slots_figure(
        effects(one_seed), mismatch_findings(one_seed(), FOUR)
    ),
    "slots not run": lambda: drawings.slots_figure(
        effect_findings(NONE, FOUR), mismatch_findings(NONE, FOUR)
    ),
    "mismatches": lambda: drawings.mismatch_figure(mismatches()),
    "mismatches not run": lambda: drawings.mismatch_figure(mismatch_findings(NONE)),
    "expansion": lambda: drawings.expansion_figure(expansion_findings(either())),
    "expansion not run": lambda: drawings.expansion_figure(expansion_findings(NONE)),
    "contributions": lambda: drawings.contributions_figure(leads(), "the prompts"),
    "bars": bars,
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_legible_and_light(
    name: str, check_drawing: Callable[[Callable[[], Figure]], None]
) -> None:
    check_drawing(FIGURES[name])


def test_figures_say_what_was_not_run_and_draw_the_papers_side() -> None:
    effects, mismatches = effect_findings(NONE, FOUR), mismatch_findings(NONE, FOUR)
    for draw, findings in (
        (drawings.effects_figure, (effects,)),
        (drawings.slots_figure, (effects, mismatches)),
    ):
        figure = draw(*findings)
        assert "paper" in figure._suptitle.get_text() and "recorded yet" in figure._suptitle.get_text()
        crosses = [
            value
            for axes in figure.axes
            for line in axes.lines
            if line.get_marker() == "x" and len(line.get_xdata())
            for value in (line.get_xdata() if draw is drawings.effects_figure else line.get_ydata())
        ]
        printed = effect_findings(NONE)
        printed = printed if draw is drawings.effects_figure else printed[printed["kind"] == "prompts"]
        assert crosses == list(printed["paper"].dropna())
    table = drawings.explanation_table(explanation_findings(NONE), predictions())
    assert set(table.cells["recorded (laptop)"]) == {NOT_RUN} and CLEAR in set(table.cells["verdict"])
    assert CORRECTED_RULE in table.caption and "nan" not in table.markdown().lower()


def test_the_effect_figure_draws_every_interval() -> None:
    findings = effects(expansion)
    figure = drawings.effects_figure(findings)
    drawn = [bars[2][0].get_segments()[0][:, 0] for axes in figure.axes for bars in axes.containers]
    assert np.array(drawn) == pytest.approx(findings.loc[~findings["sized"], ["low", "high"]].to_numpy())


def test_the_figure_of_expansion_draws_what_was_run_and_nothing_else() -> None:
    def drawn(findings: pd.DataFrame) -> np.ndarray:
        axes = drawings.expansion_figure(findings).axes
        return np.array([bars[2][0].get_segments()[0][:, 0] for each in axes for bars in each.containers])

    findings = expansion_findings(either())
    order = findings.assign(turned=findings["comparison"].str.startswith("trained"))
    order = order.sort_values(["turned", "start"], ascending=[True, False], kind="stable")
    assert drawn(findings) == pytest.approx(order[["low", "high"]].to_numpy())
    one = {name: found for name, found in either().evaluations.items() if "-length" not in name}
    some = expansion_findings(RunEvidence("planted", {n: f for n, f in one.items() if n.startswith("dense")}))
    assert drawn(some) == pytest.approx(some.loc[some["seeds"] > 0, ["low", "high"]].to_numpy())
    assert len(drawn(some)) == 9


def test_the_figure_of_slots_draws_what_arms_add_above_and_what_they_leave_below() -> None:
    findings = {True: effects(expansion), False: mismatches()}
    panels = np.array(drawings.slots_figure(*findings.values()).axes).reshape(2, 2)
    for above, row in zip(findings, panels, strict=True):
        own = findings[above][findings[above]["kind"].isin(["prompts", *SIZED_KINDS])]
        own = own if above else own[own["evaluated"] == "nothing"]
        drawn = [bars[2][0].get_segments()[0][:, 1] for axes in row for bars in axes.containers]
        assert len(drawn) == 2 * (3 * len({*SLOTS, 4}) + 1)
        assert sorted(map(tuple, drawn)) == sorted(own[["low", "high"]].itertuples(index=False, name=None))


def test_the_title_of_shares_is_counted_from_them() -> None:
    table = leads()
    own = table[(table["side"] == "query") & (table["part"] == "prefix")].set_index("what")["value"]
    text = drawings.contributions_headline(table, "x")
    assert f"{100 * own['relevant']:.0f}% of score" in text
    assert f"{100 * own['lead']:.0f}% of the lead" in text
    none = table.assign(tokens=table["tokens"].where(table["part"] != "prefix", 0))
    assert "no scored token" in drawings.contributions_headline(none)


def test_bars_of_tokens_that_do_not_belong_together_are_one_sentence() -> None:
    with pytest.raises(ParameterError, match="2 tokens"):
        drawings.token_bars(["a", "b"], np.zeros(3), np.zeros((4, 2)), [True, False], "title")
    with pytest.raises(ParameterError, match="no arms"):
        drawings.effects_figure(effect_findings(NONE).iloc[:0])


def test_the_recorded_runs_can_be_asked() -> None:
    source = recorded_evidence("laptop")
    for find in (effect_findings, mismatch_findings, explanation_findings):
        table = find(source, FOUR)
        assert set(table["source"]) == {source.name} and (table["seeds"] >= 0).all()
