"""Recipes print, parse, refuse what nobody can train, and cover every row the paper prints."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbert_zero_lib.errors import RecipeError
from colbert_zero_lib.paper_arms import PAPER_ROWS, PaperRow, paper_rows
from colbert_zero_lib.recipes import (
    PIPELINES,
    TABLE1,
    ZERO,
    Interaction,
    Phase,
    Recipe,
    Step,
    find_recipe,
    pipeline_of,
)

PAPER = Path(__file__).resolve().parents[2] / "data" / "paper"
FILES = {
    2: "table2_beir_ndcg10.csv",
    3: "table3_prompt_alignment_ndcg10.csv",
    4: "table4_prompt_length_ndcg10.csv",
}


def printed(table: int) -> list[dict[str, str]]:
    with (PAPER / FILES[table]).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def joined(table: int) -> list[tuple[PaperRow, dict[str, str]]]:
    rows = printed(table)
    return [(ours, rows[ours.row]) for ours in PAPER_ROWS if ours.table == table]


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    phases = [phase for phase in Phase if draw(st.booleans())]
    dense = draw(st.integers(0, len(phases)))
    steps = []
    for place, phase in enumerate(phases):
        is_dense = place < dense and phase is not Phase.DISTILLATION
        interaction = Interaction.DENSE if is_dense else Interaction.COLBERT
        expansion = not is_dense and draw(st.booleans())
        plain = Step(interaction, phase, draw(st.booleans()), draw(st.booleans()), None, expansion)
        sampled = phase is Phase.SUPERVISED and draw(st.booleans())
        steps.append(replace(plain, muon=draw(st.booleans()), sampled=sampled))
    late = not steps or steps[-1].interaction is Interaction.COLBERT
    expanded = draw(st.sampled_from([None, True, False])) if late else None
    return Recipe(tuple(steps), draw(st.sampled_from([None, True, False])), evaluation_expansion=expanded)


@given(recipes())
def test_a_printed_recipe_parses_back_to_itself(recipe: Recipe) -> None:
    assert Recipe.parse(str(recipe)) == recipe
    assert hash(Recipe.parse(str(recipe))) == hash(recipe)
    assert Recipe.parse(str(recipe)).measured_step == recipe.measured_step


@given(recipes(), recipes())
def test_slugs_are_safe_for_files_and_as_distinct_as_recipes(one: Recipe, other: Recipe) -> None:
    assert set(one.slug) <= set("abcdefghijklmnopqrstuvwxyz-")
    assert (one.slug == other.slug) == (one == other)


@given(recipes())
def test_prefixes_grow_by_one_step_and_end_with_what_is_trained(recipe: Recipe) -> None:
    prefixes = recipe.stages()
    assert [len(prefix) for prefix in prefixes] == list(range(1, len(recipe) + 1))
    assert all(prefix.steps == recipe.steps[: len(prefix)] for prefix in prefixes)
    assert not prefixes or prefixes[-1] == recipe.training


def test_the_printed_form_is_the_documented_one() -> None:
    assert str(PIPELINES["b"]) == "dense:unsupervised > colbert:supervised > colbert:distillation"
    assert str(Recipe.parse("colbert : supervised [ -length , -prompts ]@+length")) == (
        "colbert:supervised[-prompts,-length] @ +length"
    )
    assert (
        Recipe.parse("dense:unsupervised>colbert:supervised[-prompts,-length]").slug
        == "dense-unsupervised--colbert-supervised-noprompts-nolength"
    )
    assert str(ZERO) == "base" and Recipe.parse(" base ") == ZERO and ZERO.stages() == ()


def test_what_came_after_the_paper_is_written_behind_its_switches() -> None:
    text = "colbert:supervised[-prompts,+head,+muon,+sampled,temperature=0.02]"
    step = Step.parse(text.replace("0.02", ".020"))
    assert str(step) == text and step.temperature == 0.02 and step.head and step.muon and step.sampled
    assert step.slug == "colbert-supervised-noprompts-head-muon-sampled-temperature0.02"
    assert Step.parse("dense:unsupervised[temperature=learned]").temperature == "learned"


def test_an_evaluation_length_that_changes_nothing_is_the_same_recipe() -> None:
    assert Recipe.parse("colbert:supervised @ +length") == Recipe.parse("colbert:supervised")
    assert Recipe.parse("colbert:supervised @ -length") != Recipe.parse("colbert:supervised")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("colbert:pretraining", ["pretraining", "unsupervised", "supervised", "distillation"]),
        ("splade:supervised", ["splade", "dense", "colbert"]),
        ("colbert:supervised[-masks]", ["-masks", "-prompts", "-length"]),
        ("colbert:supervised[]", ["''", "-prompts"]),
        ("colbert:supervised[-prompts,-prompts]", ["-prompts", "twice"]),
        ("colbert:supervised @ longer", ["longer", "+length", "-length", "-expansion"]),
        ("colbert:supervised[-expansion]", ["-expansion", "+expansion"]),
        ("dense:supervised[+expansion]", ["+expansion", "colbert step"]),
        ("dense:supervised @ +expansion", ["+expansion", "colbert step"]),
        ("colbert", ["colbert", "interaction:phase"]),
        ("", ["interaction:phase"]),
        ("colbert:supervised >", ["interaction:phase"]),
        ("colbert:unsupervised > dense:supervised", ["dense:supervised", "colbert:unsupervised"]),
        ("colbert:distillation > colbert:supervised", ["colbert:supervised", "colbert:distillation"]),
        ("colbert:supervised > colbert:supervised", ["at most once"]),
        ("dense:unsupervised > dense:distillation", ["dense distillation", "colbert:distillation"]),
        ("dense:supervised[+head]", ["+head", "colbert step"]),
        ("colbert:unsupervised > colbert:supervised[+head]", ["projection already", "+head"]),
        ("colbert:unsupervised[+sampled]", ["+sampled", "mined negatives"]),
        ("colbert:distillation[temperature=0.2]", ["temperature=0.2", "Table 1"]),
        ("colbert:supervised[temperature=0]", ["'0'", "above 0"]),
        ("colbert:supervised[temperature=nan]", ["'nan'", "temperature=learned"]),
    ],
)
def test_a_recipe_that_nobody_can_read_or_train_is_refused_in_one_sentence(
    text: str, named: list[str]
) -> None:
    with pytest.raises(RecipeError) as refused:
        Recipe.parse(text)
    message = str(refused.value)
    assert all(name in message for name in named)
    assert message.endswith(".") and ". " not in message and "\n" not in message


def test_steps_built_from_words_are_checked_like_parsed_ones() -> None:
    assert Step("dense", "supervised") == Step(Interaction.DENSE, Phase.SUPERVISED)  # type: ignore[arg-type]
    with pytest.raises(RecipeError):
        Step("dense", "kd")  # type: ignore[arg-type]


def test_a_recipe_is_found_by_pipeline_letter_or_grammar() -> None:
    assert find_recipe("C") is PIPELINES["c"]
    assert find_recipe("base") == ZERO
    assert find_recipe(str(PIPELINES["a"])) == PIPELINES["a"]
    assert [pipeline_of(find_recipe(letter)) for letter in "abc"] == ["a", "b", "c"]
    assert pipeline_of(PIPELINES["c"].stages()[1]) is None


def test_pipelines_cost_what_figure_2_says() -> None:
    with (PAPER / "figure2_pipelines.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(PIPELINES)
    for row in rows:
        recipe = PIPELINES[row["pipeline"][0]]
        assert recipe.colbert_gpu_hours == float(row["colbert_gpu_hours_gh200"])
        assert [s.interaction.value for s in recipe] == [row["unsupervised"], row["supervised"], row["kd"]]
        assert row["model"] in [paper.model for paper in paper_rows(recipe)]


def test_table_1_is_the_printed_one() -> None:
    with (PAPER / "table1_hyperparameters.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["phase"].replace("kd", "distillation"): row for row in csv.DictReader(file)}
    assert set(rows) == {phase.value for phase in TABLE1}
    for phase, ours in TABLE1.items():
        row = rows[phase.value]
        assert ours.phase is phase
        assert ours.learning_rate_low == float(row["lr_sweep_low"])
        assert ours.learning_rate_high == float(row["lr_sweep_high"])
        assert ours.learning_rates_tried == int(row["lr_values_tried"])
        assert ours.batch_size == int(row["batch_size"])
        assert ours.temperature == (float(row["temperature"]) if row["temperature"] else None)
        assert ours.query_length == int(row["query_length_tokens"])
        assert ours.document_length == int(row["document_length_tokens"])
        assert ours.gpu_hours == float(row["gpu_hours_gh200"])
        assert ours.nodes == int(row["nodes_of_4_gh200"])


@pytest.mark.parametrize("table", [2, 3, 4])
def test_every_printed_row_is_covered_once_and_in_order(table: int) -> None:
    ours = [row.row for row in PAPER_ROWS if row.table == table]
    assert ours == list(range(len(printed(table))))


def test_table_2_recipes_are_those_of_the_named_models() -> None:
    for ours, row in joined(2):
        assert ours.model == row["model"]
        assert (ours.recipe is None) == row["model"].startswith("gte-")


def test_table_3_recipes_follow_the_printed_columns() -> None:
    for ours, row in joined(3):
        assert ours.recipe is not None
        base, *rest = ours.recipe
        with_prompts = row["base_prompts"] == "yes"
        dense = row["base"] == "modernbert-embed-unsupervised"
        assert base == Step(
            Interaction("dense" if dense else "colbert"), Phase.UNSUPERVISED, with_prompts, with_prompts
        )
        phases = [] if row["stage"] == "unsupervised" else [Phase.SUPERVISED, Phase.DISTILLATION]
        on = row["finetune_prompts"] == "yes"
        assert rest == [Step(Interaction.COLBERT, phase, on, on) for phase in phases]


def test_table_4_recipes_follow_the_printed_columns() -> None:
    for ours, row in joined(4):
        assert ours.recipe is not None
        with_prompts = row["base_prompts"] == "yes"
        only_evaluation = row["note"] == "extra length at evaluation only"
        prompts = row["plus_prompt"] == "yes"
        length = row["plus_length"] == "yes"
        start = [
            Step(
                Interaction.COLBERT if "colbert" in row["section"] else Interaction.DENSE,
                Phase.UNSUPERVISED,
                with_prompts,
                with_prompts,
            )
        ]
        phases = [Phase.SUPERVISED, Phase.DISTILLATION]
        if row["section"] == "kd from dense supervised":
            start.append(Step(Interaction.DENSE, Phase.SUPERVISED))
            phases = [Phase.DISTILLATION]
        if row["stage"] == "supervised":
            phases = [Phase.SUPERVISED]
        trained = length and not only_evaluation
        steps = start + [Step(Interaction.COLBERT, phase, prompts, trained) for phase in phases]
        assert list(ours.recipe) == steps
        assert ours.recipe.measured_step.extra_length == length


def test_one_recipe_has_one_set_of_printed_values() -> None:
    columns = list(printed(2)[0])[-15:]
    values: dict[Recipe, set[tuple[float, ...]]] = defaultdict(set)
    shared: dict[Recipe, int] = defaultdict(int)
    for ours in PAPER_ROWS:
        if ours.recipe is not None:
            row = printed(ours.table)[ours.row]
            values[ours.recipe].add(tuple(float(row[name]) for name in columns))
            shared[ours.recipe] += 1
    assert {str(recipe): found for recipe, found in values.items() if len(found) > 1} == {}
    # Seven of Table 2's rows come back in 3 or 4, and four more arms stand in both 3 and 4: the comparison
    # above had eleven recipes to compare.
    assert sum(count > 1 for count in shared.values()) == 11


def test_shared_prefixes_are_trained_once_in_the_table_4_grid() -> None:
    grid = [row.recipe for row in PAPER_ROWS if row.table == 4 and row.recipe is not None]
    # dense base: unsupervised + supervised + 4 distillations; 4 supervised + 4 distilled on the dense base;
    # 1 + 4 + 4 on the ColBERT base; 1 + 2 + 2 on the one without prompts (the extra length at evaluation
    # trains nothing).
    assert len({prefix for recipe in grid for prefix in recipe.stages()}) == 6 + 8 + 9 + 5
    assert sum(len(recipe.stages()) for recipe in grid) == 65


def test_a_distillation_step_may_name_its_teacher() -> None:
    text = "colbert:supervised > colbert:distillation[-prompts,teacher=both]"
    recipe = Recipe.parse(text)
    assert str(recipe) == text and recipe.steps[1].teacher == "both"
    assert recipe.slug == "colbert-supervised--colbert-distillation-noprompts-both"
    assert recipe != Recipe.parse("colbert:supervised > colbert:distillation[-prompts]")
    for wrong, words in (
        ("colbert:supervised[teacher=both]", "has no teacher"),
        ("colbert:distillation[teacher=me]", "Unknown teacher 'me'"),
        ("colbert:distillation[teacher=both,teacher=cross-encoder]", "stands twice"),
        ("colbert:distillation[pupil=both]", "Unknown switch"),
    ):
        with pytest.raises(RecipeError, match=words):
            Recipe.parse(wrong)
