"""Every prefix trained for real, very small: what moves, what is saved, what another prefix at evaluation changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pylate import models as pylate_models
from pylate.models import ColBERT
from safetensors.torch import load_file

from colbert_zero_lib.evaluation import score_contributions, token_vectors
from colbert_zero_lib.models import open_model
from colbert_zero_lib.profiles import get_profile
from colbert_zero_lib.prompts import SIDES, describe_prefix, learned_names, prompt_tokens, unscored_positions
from colbert_zero_lib.recipes import Recipe
from colbert_zero_lib.runs import Run, record, validate_passport
from colbert_zero_lib.runs.execute import Workshop, obtain_base, run_recipe

pytestmark = pytest.mark.pipeline

KINDS = ["random", "learned/3", "mask/14", "swapped", "same", "context"]
WEIGHTS = "model.safetensors"
TEXTS = ["how does a list sort its items", "sorted"]


@pytest.fixture(scope="module")
def shop(open_shop: Callable[..., Workshop], tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """One layer on the real text; its runs go to a folder of their own."""
    # Of different lengths, so that the sides cannot be mistaken for each other.
    profile = replace(
        get_profile("smoke"), name="other", prompts=("search_query: ", "this is a search_document: ")
    )
    return open_shop(tmp_path_factory.mktemp("runs"), profile)


def trained(shop: Workshop, kind: str, end: str = "") -> Run:
    return run_recipe(f"colbert:unsupervised[prefix={kind}]{end}", seed=1, shop=shop)


def before_training(shop: Workshop, run: Run) -> ColBERT:
    """The model that the run's only step started from."""
    step = Recipe.parse(run.passport["recipe"]).steps[-1]
    profile = shop.profile
    options = {"lengths": (28, 64), "prompts": profile.prompts, "projection": profile.projection, "seed": 1}
    return open_model(obtain_base(shop).model_folder, step, **options)


def rows(model: ColBERT, names: list[str]) -> torch.Tensor:
    weight = model[0].auto_model.get_input_embeddings().weight
    return weight[model.tokenizer.convert_tokens_to_ids(names)].detach()


@pytest.mark.parametrize("kind", KINDS)
def test_a_prefix_is_trained_saved_and_reloaded(shop: Workshop, tmp_path: Path, kind: str) -> None:
    run = trained(shop, kind)
    assert all(math.isfinite(loss) for _, loss in run.passport["loss"]["unsupervised"])
    ours = shop.open(run)
    theirs = pylate_models.ColBERT(str(run.model_folder), device="cpu")
    theirs.query_length, theirs.document_length = ours.query_length, ours.document_length
    assert theirs.prompts == ours.prompts
    started = before_training(shop, run).eval()
    started.query_length, started.document_length = ours.query_length, ours.document_length
    for is_query in (True, False):
        pairs = zip(
            *(token_vectors(model, TEXTS, is_query) for model in (ours, theirs, started)), strict=True
        )
        for mine, loaded, untrained in pairs:
            np.testing.assert_array_equal(mine, loaded)
            assert mine.shape == untrained.shape and np.abs(mine - untrained).max() > 1e-4
    assert validate_passport(run.passport) and record(run, tmp_path).is_file()
    assert run.passport["prefix"] == describe_prefix(ours)
    tokens = [run.passport["prefix"][side]["tokens"] for side in SIDES]
    query, document = (prompt_tokens(ours.tokenizer, prompt) for prompt in shop.profile.prompts)
    expected = {
        "learned/3": [3, 3],
        "mask/14": [14, 14],
        "swapped": [document, query],
        "same": [query, query],
    }
    assert tokens == expected.get(kind, [query, document]) and query != document
    size = shop.profile.evaluation
    assert [ours.query_length - size.query_length, ours.document_length - size.document_length] == tokens


def test_learned_rows_move_and_the_next_step_keeps_them(shop: Workshop) -> None:
    run = trained(shop, "learned/3")
    names = learned_names("query", 3) + learned_names("document", 3)
    drawn, moved = rows(before_training(shop, run), names), rows(shop.open(run), names)
    assert (moved - drawn).abs().amax(dim=1).min() > 1e-4
    assert len(moved.unique(dim=0)) == 6
    after = run_recipe("colbert:unsupervised[prefix=learned/3] > colbert:supervised", seed=1, shop=shop)
    model = shop.open(after)
    assert model.prompts == dict(zip(SIDES, shop.profile.prompts, strict=True))
    # Nothing stood there in the second step, and nothing decays weights: not a bit has changed.
    assert rows(model, names).equal(moved)
    again = run_recipe(
        "colbert:unsupervised[prefix=learned/3] > colbert:supervised[prefix=learned/3]", seed=1, shop=shop
    )
    assert not rows(shop.open(again), names).equal(moved)


def test_context_is_left_out_of_scores_and_of_their_gradient(shop: Workshop) -> None:
    run = trained(shop, "context")
    model = shop.open(run)
    collection = next(iter(shop.collections.values()))
    assert unscored_positions(model, True) is not None and unscored_positions(model, False) is not None
    shares = score_contributions(model, collection, others=5)
    assert (shares.loc[shares["part"] == "prefix", ["tokens", "score"]] == 0).all().all()
    scored = trained(shop, "context", " @ prefix=prompts")
    shares = score_contributions(shop.open(scored), collection, others=5)
    assert (shares.loc[(shares["part"] == "prefix") & (shares["side"] == "query"), "score"] > 0).all()
    # The prompts' arm saw the same texts at the same lengths: only what was scored is different.
    prompts = run_recipe("colbert:unsupervised", seed=1, shop=shop)
    assert "prefix" not in prompts.passport
    mine, theirs = (load_file(found.model_folder / WEIGHTS) for found in (run, prompts))
    assert mine.keys() == theirs.keys() and not all(mine[name].equal(theirs[name]) for name in mine)


@pytest.mark.parametrize("kind", KINDS)
def test_another_prefix_at_evaluation_changes_the_figures_and_no_weight(shop: Workshop, kind: str) -> None:
    run = trained(shop, kind)
    for other in ("none", "prompts"):
        again = trained(shop, kind, f" @ prefix={other}")
        assert again.folder != run.folder and again.passport["wall_seconds"].keys() == {
            "unsupervised",
            "evaluation",
        }
        assert (again.model_folder / WEIGHTS).read_bytes() == (run.model_folder / WEIGHTS).read_bytes()
        columns = ["ndcg@10", "mrr@10"]
        assert not np.array_equal(again.per_query()[columns], run.per_query()[columns])
        model, before = shop.open(again), shop.open(run)
        assert (model.query_length, model.document_length) == (before.query_length, before.document_length)
        shown = [again.passport["prefix"][side]["text"] for side in SIDES]
        assert shown == (["", ""] if other == "none" else list(shop.profile.prompts))
        assert unscored_positions(model, True) is None


def test_as_many_words_as_the_prompts_take_are_the_default(shop: Workshop) -> None:
    run = trained(shop, "same")
    count = run.passport["prefix"]["query"]["tokens"]
    model = shop.open(trained(shop, "random"))
    named = shop.open(trained(shop, f"random/{count}"))
    assert model.prompts["query"] == named.prompts["query"]
    assert model.prompts["document"].split()[:count] == named.prompts["document"].split()


def test_expanded_queries_are_filled_up_and_scored_and_evaluation_may_turn_that_off(shop: Workshop) -> None:
    run, off = (
        run_recipe(f"colbert:unsupervised[+expansion]{end}", seed=1, shop=shop)
        for end in ("", " @ -expansion")
    )
    plain = run_recipe("colbert:unsupervised", seed=1, shop=shop)
    ours, cut, other = (shop.open(found) for found in (run, off, plain))
    assert [len(vectors) for vectors in token_vectors(ours, TEXTS, True)] == [ours.query_length] * len(TEXTS)
    assert max(len(vectors) for vectors in token_vectors(cut, TEXTS, True)) < ours.query_length
    assert ours.query_length == other.query_length and not other.do_query_expansion
    assert pylate_models.ColBERT(str(run.model_folder), device="cpu").do_query_expansion
    mine, same, theirs = (load_file(found.model_folder / WEIGHTS) for found in (run, off, plain))
    assert all(mine[name].equal(same[name]) for name in mine)
    assert not all(mine[name].equal(theirs[name]) for name in mine)
    assert not np.array_equal(run.per_query()["mrr@10"], off.per_query()["mrr@10"])
