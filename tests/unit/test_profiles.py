"""Profiles: every arm of the paper can be run, settings hold what matters and nothing else, errors are sentences."""

from __future__ import annotations

from dataclasses import replace

import pytest

from colbert_zero_lib.errors import ProfileError
from colbert_zero_lib.paper_arms import PAPER_ROWS
from colbert_zero_lib.profiles import PROFILES, get_profile
from colbert_zero_lib.recipes import PIPELINES, TABLE1, Interaction, Phase, Recipe, Step


@pytest.mark.parametrize("name", PROFILES)
def test_every_arm_of_the_paper_has_budgets(name: str) -> None:
    profile = get_profile(name)
    for row in PAPER_ROWS:
        for prefix in row.recipe.stages() if row.recipe else ():
            assert profile.budget(prefix.steps[-1]).steps > 0


def test_an_unknown_profile_is_one_sentence_that_lists_the_known_ones() -> None:
    with pytest.raises(ProfileError, match="'huge'.*smoke, tiny, laptop, mini, minilm, base, paper"):
        get_profile("huge")


def test_the_papers_pipelines_begin_where_the_paper_began() -> None:
    paper, tiny = get_profile("paper"), get_profile("tiny")
    begun = {letter: str(paper.begun(recipe)) for letter, recipe in PIPELINES.items()}
    assert begun == {
        "a": "from nomic-ai/modernbert-embed-base > colbert:distillation",
        "b": "from nomic-ai/modernbert-embed-base-unsupervised > colbert:supervised > colbert:distillation",
        "c": str(PIPELINES["c"]),
    }
    for recipe in PIPELINES.values():
        assert paper.whole(paper.begun(recipe)) == recipe and tiny.begun(recipe) == recipe
    other = Recipe.parse("from ./mine > colbert:distillation")
    assert paper.begun(other) == other and paper.whole(other) == other


def test_minilm_begins_where_others_left_off_and_its_runs_are_the_papers() -> None:
    profile, start = get_profile("minilm"), "from all-MiniLM-L6-v2 > "
    begun = {letter: str(profile.begun(recipe)) for letter, recipe in PIPELINES.items()}
    assert begun["a"] == start + "colbert:distillation"
    assert begun["b"] == start + "colbert:supervised > colbert:distillation"
    assert begun["c"] == str(PIPELINES["c"])
    for recipe in PIPELINES.values():
        assert profile.whole(profile.begun(recipe)) == recipe
    bare = Recipe.parse(start + "colbert:supervised[-prompts,-length]")
    assert str(profile.whole(bare)) == "dense:unsupervised > colbert:supervised[-prompts,-length]"
    more = Recipe.parse(start + "dense:supervised")
    assert str(profile.whole(more)) == "dense:unsupervised > dense:supervised"


def test_what_a_profile_does_not_set_is_not_in_a_runs_settings() -> None:
    steps = PIPELINES["b"].steps[-1:]
    others = get_profile("laptop").settings(steps)["budgets"]["colbert:distillation"]
    minilm = get_profile("minilm").settings(steps)["budgets"]["colbert:distillation"]
    assert set(minilm) - set(others) == {"score_range", "kept_bytes"}


def test_a_switch_of_a_step_is_in_the_budget_of_that_step_alone() -> None:
    profile = get_profile("laptop")
    plain, muon, sharp, learned = (
        profile.budget(Step.parse(f"colbert:supervised{switch}"))
        for switch in ("", "[+muon]", "[temperature=0.02]", "[temperature=learned]")
    )
    assert plain.muon_learning_rate is None and plain.learned_temperature_steps == 0
    assert muon == replace(plain, muon_learning_rate=1e-3)
    assert sharp == replace(plain, temperature=0.02)
    assert learned == replace(plain, learned_temperature_steps=plain.steps)


def test_a_temperature_that_a_profile_has_anyway_is_no_other_training() -> None:
    own, other = (Recipe.parse(f"colbert:supervised[temperature={value}]") for value in (0.2, 0.02))
    profile = get_profile("laptop")
    assert profile.begun(own) == Recipe.parse("colbert:supervised") and profile.begun(other) == other


def test_settings_as_released_are_a_profile_of_their_own() -> None:
    paper, released = get_profile("paper"), get_profile("paper", "released")
    assert get_profile("paper-released") == released and released.name == "paper-released"
    assert get_profile("paper", "paper") == paper
    assert paper.settings(PIPELINES["c"].steps) != released.settings(PIPELINES["c"].steps)
    assert released.budget(PIPELINES["c"].steps[0]).temperature == 0.02
    for name, choices in (
        ("tiny", "released"),
        ("tiny-released", None),
        ("paper", "mine"),
        ("released", None),
    ):
        with pytest.raises(ProfileError):
            get_profile(name, choices)


def test_the_paper_profile_is_table_1() -> None:
    profile = get_profile("paper")
    for step in PIPELINES["c"]:
        printed, budget = TABLE1[step.phase], profile.budget(step)
        assert budget.batch_size == printed.batch_size
        # The printed lengths include the prompts' seven tokens, which a step adds.
        assert budget.query_length + 7 == printed.query_length
        assert budget.document_length + 7 == printed.document_length
        assert budget.learning_rate == printed.released_learning_rate


def test_settings_of_a_prefix_do_not_change_with_later_phases() -> None:
    tiny = get_profile("tiny")
    key = (Phase.DISTILLATION, Interaction.COLBERT)
    other = replace(tiny, budgets={**tiny.budgets, key: replace(tiny.budgets[key], steps=1)})
    prefixes = PIPELINES["c"].stages()
    assert tiny.settings(prefixes[1].steps) == other.settings(prefixes[1].steps)
    assert tiny.settings(prefixes[2].steps) != other.settings(prefixes[2].steps)


def test_the_step_that_makes_a_dense_model_a_colbert_has_its_own_learning_rate() -> None:
    tiny = get_profile("tiny")
    (*_, dense, kd_of_a), (*_, colbert, kd_of_c) = PIPELINES["a"], PIPELINES["c"]
    assert tiny.budget(kd_of_a, dense).learning_rate == tiny.budget(kd_of_a).conversion_learning_rate
    assert tiny.budget(kd_of_c, colbert).learning_rate == tiny.budget(kd_of_c).learning_rate
    assert (
        tiny.settings(PIPELINES["a"].steps)["budgets"]["colbert:distillation"]
        != (tiny.settings(PIPELINES["c"].steps)["budgets"]["colbert:distillation"])
    )


def test_switches_are_part_of_the_recipe_not_of_the_settings() -> None:
    tiny = get_profile("tiny")
    plain = Recipe.parse("colbert:unsupervised[-prompts,-length]")
    assert tiny.settings(plain.steps) == tiny.settings(PIPELINES["c"].stages()[0].steps)
