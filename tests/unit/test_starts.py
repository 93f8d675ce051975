"""Recipes that begin at a checkpoint: how they are written, and what they share with other recipes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbert_zero_lib.errors import RecipeError
from colbert_zero_lib.recipes import ZERO, Recipe
from colbert_zero_lib.runs.arms import Job, arm_name, baseline_of, grid_jobs
from colbert_zero_lib.starts import Start

STEPS = ["", " > colbert:distillation", " > dense:supervised > colbert:distillation[-length]"]
AFTER = ["", " @ -length", " @ +length", " @ prefix=none"]
NAMES = st.from_regex(r"[A-Za-z0-9_-][\w.-]{0,8}/[\w.-]{1,12}", fullmatch=True)
PATHS = st.builds(
    str.__add__,
    st.sampled_from(["./", "/", "~/", "../"]),
    st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=12),
)
REVISIONS = st.none() | st.sampled_from(
    ["main", "v1.0", "refs/pr/3", "d5f1d1e4d7ddb9aa22ce0d8f57f0cd361f39ac77"]
)
STARTS = st.builds(Start, NAMES, REVISIONS) | st.builds(Start, PATHS)


@given(STARTS, st.sampled_from(STEPS), st.sampled_from(AFTER))
def test_a_recipe_with_a_start_parses_back_to_itself(start: Start, steps: str, after: str) -> None:
    recipe = Recipe.parse(f"from {start}{steps}{after}")
    assert recipe.start == start and len(recipe) == steps.count(">")
    assert Recipe.parse(str(recipe)) == recipe and hash(Recipe.parse(str(recipe))) == hash(recipe)
    assert recipe.evaluation_extra_length in ({"+": True, "-": False}.get(after[3:4]), None)
    assert [prefix.start for prefix in recipe.stages()] == [start] * len(recipe)
    assert not recipe.stages() or recipe.stages()[-1] == recipe.training
    assert set(recipe.slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@given(STARTS, STARTS)
def test_slugs_are_as_distinct_as_starts(one: Start, other: Start) -> None:
    assert (Recipe((), start=one).slug == Recipe((), start=other).slug) == (one == other)


def test_blanks_are_free_around_a_hub_id() -> None:
    recipe = Recipe.parse("from lightonai/ColBERT-Zero@v1 > colbert:distillation @ -length")
    assert Recipe.parse("  from  lightonai/ColBERT-Zero@v1>colbert : distillation@-length ") == recipe
    assert recipe.start == Start("lightonai/ColBERT-Zero", "v1") and recipe.evaluation_extra_length is False


def test_what_a_start_is_measured_with_is_kept_though_a_base_has_it_anyway() -> None:
    assert Recipe.parse("base @ -length") == ZERO
    assert Recipe.parse("from a/b @ -length") != Recipe.parse("from a/b")
    assert Recipe.parse("from a/b") != ZERO


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("from", "missing after 'from'"),
        ("from > colbert:supervised", "missing after 'from'"),
        ("from base > colbert:supervised", "leave 'from base' out"),
        ("from my folder > colbert:supervised", "'folder > colbert:supervised'"),
        ("from a/b@+length", r"'\+length' is no revision of a/b"),
        ("from a/b >", "interaction:phase"),
        ("from a/b > colbert:distillation > colbert:supervised", "phases go"),
        ("from a/b > from c/d > colbert:supervised", "interaction:phase"),
        ("colbert:supervised > from a/b", "interaction:phase"),
    ],
)
def test_half_a_start_is_refused_in_one_sentence(text: str, named: str) -> None:
    with pytest.raises(RecipeError, match=named) as refused:
        Recipe.parse(text)
    assert str(refused.value).endswith(".") and "\n" not in str(refused.value)


def test_a_grid_opens_starts_and_runs_them_only_when_asked_to() -> None:
    both = [Recipe.parse(f"from a/b > colbert:supervised{end}") for end in ("", " > colbert:distillation")]
    assert [str(job.recipe) for job in grid_jobs(both, [0, 1])] == [*map(str, both)] * 2
    alone = Recipe.parse("from a/b")
    assert grid_jobs([*both, alone], [0, 1])[0] == Job(alone, 0)
    assert grid_jobs([Recipe.parse("colbert:supervised")], [0])[0] == Job(ZERO, 0)
    assert Job(ZERO, 0) not in grid_jobs([Recipe.parse("colbert:supervised")], [0], own_base=False)
    assert Job(both[1], 0).before == both[0] and Job(both[0], 0).before == alone
    assert arm_name(both[0]).start == "a/b"
    baseline = baseline_of(both[0])
    assert baseline is not None and baseline.start == alone.start
