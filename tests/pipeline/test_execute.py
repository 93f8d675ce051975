"""Recipes through the ledger, for real and very small: shared prefixes, passports, seeds, the evaluation length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pylate.models import ColBERT

from benchmarks.curves import authors_run
from colbert_zero_lib.profiles import get_profile
from colbert_zero_lib.prompts import prompt_tokens
from colbert_zero_lib.recipes import PIPELINES
from colbert_zero_lib.runs import explain, record, validate_passport
from colbert_zero_lib.runs.execute import Workshop, run_recipe

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def shop(open_shop: Callable[..., Workshop], tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The real text at the smallest profile; its runs go to a folder of their own."""
    smoke = get_profile("smoke")
    # After more steps, what two ways of summing in bfloat16 differ by has grown.
    budgets = {key: replace(budget, steps=3) for key, budget in smoke.budgets.items()}
    return open_shop(tmp_path_factory.mktemp("runs"), replace(smoke, budgets=budgets))


def test_pipelines_share_their_prefixes_and_are_trained_once(shop: Workshop) -> None:
    final = {letter: run_recipe(recipe, seed=1, shop=shop) for letter, recipe in PIPELINES.items()}
    found = {run.passport["recipe"] for run in shop.ledger.runs()}
    assert found == {"base", *(str(p) for recipe in PIPELINES.values() for p in recipe.stages())}
    before = {run.folder: run.folder.stat().st_mtime_ns for run in shop.ledger.runs()}
    again = {letter: run_recipe(letter, seed=1, shop=shop) for letter in PIPELINES}
    assert {letter: run.folder for letter, run in again.items()} == {k: r.folder for k, r in final.items()}
    assert {run.folder: run.folder.stat().st_mtime_ns for run in shop.ledger.runs()} == before


def test_passports_are_complete_and_can_be_recorded(shop: Workshop, tmp_path: Path) -> None:
    run = run_recipe("c", seed=1, shop=shop)
    assert validate_passport(run.passport) == PIPELINES["c"]
    assert set(run.passport["wall_seconds"]) == {"unsupervised", "supervised", "distillation", "evaluation"}
    assert set(run.per_query()["collection"]) == set(shop.collections)
    assert record(run, tmp_path).is_file()
    assert not list(run.folder.glob("checkpoints"))


def test_the_same_seed_gives_the_same_figures_and_another_seed_does_not(
    shop: Workshop, open_shop: Callable[..., Workshop], tmp_path: Path
) -> None:
    recipe = PIPELINES["c"].stages()[0]
    once = run_recipe(recipe, seed=1, shop=shop)
    other = run_recipe(recipe, seed=2, shop=shop)
    again = run_recipe(recipe, seed=1, shop=open_shop(tmp_path, shop.profile))
    assert again.per_query().equals(once.per_query())
    assert again.passport["loss"] == once.passport["loss"]
    assert other.passport["loss"] != once.passport["loss"]
    assert "seed" in explain(once, other).to_text()


def test_the_evaluation_length_changes_no_weight(shop: Workshop) -> None:
    trained = run_recipe("colbert:unsupervised[-prompts,-length]", seed=1, shop=shop)
    longer = run_recipe("colbert:unsupervised[-prompts,-length] @ +length", seed=1, shop=shop)
    assert longer.folder != trained.folder
    weights = "model.safetensors"
    assert (longer.model_folder / weights).read_bytes() == (trained.model_folder / weights).read_bytes()
    short, long = shop.open(trained), shop.open(longer)
    extra = [prompt_tokens(short.tokenizer, prompt) for prompt in shop.profile.prompts]
    assert long.query_length - short.query_length == extra[0] > 0
    assert long.document_length - short.document_length == extra[1] > 0
    # The folders say so themselves, to PyLate alone too; the second did not change the first, whose files it links to.
    assert trained.checked()
    for run, model in ((trained, short), (longer, long)):
        plain = ColBERT(str(run.model_folder))
        found = {"query": plain.query_length, "document": plain.document_length}
        assert found == run.passport["lengths"]
        assert (plain.query_length, plain.document_length) == (model.query_length, model.document_length)
        assert plain.prompts == model.prompts and plain.do_query_expansion is False


def test_pylates_own_parts_see_the_same_batches_and_begin_with_the_same_loss(
    shop: Workshop, tmp_path: Path
) -> None:
    recipe = PIPELINES["c"]
    ours = run_recipe(recipe, seed=1, shop=shop).passport["loss"]["distillation"]
    theirs = authors_run(shop, recipe, seed=1, root=tmp_path)
    assert [step for step, _ in theirs["loss"]] == [step for step, _ in ours]
    assert [value for _, value in theirs["loss"]] == pytest.approx([value for _, value in ours], rel=1e-2)
    assert 0 <= theirs["mean_ndcg@10"] <= 1
    assert authors_run(shop, recipe, seed=1, root=tmp_path) == theirs  # kept, not trained again
    unsupervised = run_recipe(recipe.stages()[0], seed=1, shop=shop).passport["loss"]["unsupervised"]
    first = authors_run(shop, recipe.stages()[0], seed=1, root=tmp_path)["loss"][0]
    assert first == pytest.approx(unsupervised[0], rel=1e-3)
