"""Recipes that begin at published checkpoints, for real and very small, against a hub on the loopback address."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from datasets import Dataset, DatasetDict

from colbert_zero_lib.corpora import Collection, minilm_folder
from colbert_zero_lib.errors import DataError, RecipeError, WheelError
from colbert_zero_lib.home import home
from colbert_zero_lib.profiles import EvaluationSize, PhaseBudget, Profile, get_profile
from colbert_zero_lib.recipes import PIPELINES, ZERO, Recipe
from colbert_zero_lib.runs import Ledger, Run, explain, record, validate_passport
from colbert_zero_lib.runs.execute import Workshop, run_recipe
from colbert_zero_lib.runs.grid import needs
from colbert_zero_lib.verdicts import ledger_evidence
from tests.hub.server import Server, commit
from tests.hub.stock import PROMPTS, WORDS

pytestmark = pytest.mark.pipeline


class Little:
    """A source of a few made-up rows."""

    fingerprint, teacher = "little", None

    def __init__(self) -> None:
        self.queries = [f"{a} {b}" for a in WORDS[:8] for b in WORDS[8:12]]
        self.documents = [
            f"the {query} by the {WORDS[place % 7]}" for place, query in enumerate(self.queries)
        ]
        corpus = {f"d{place}": text for place, text in enumerate(self.documents[:12])}
        asked = {f"q{place}": text for place, text in enumerate(self.queries[:6])}
        qrels = {f"q{place}": {f"d{place}": 1} for place in range(6)}
        self.collections: Mapping[str, Collection] = {"toy": Collection("toy", corpus, asked, qrels)}
        self.development = self.collections

    def texts(self) -> list[str]:
        return sorted(self.documents)

    def pairs(self) -> DatasetDict:
        return DatasetDict({"one": Dataset.from_dict({"query": self.queries, "document": self.documents})})

    def triples(self, negatives: int) -> DatasetDict:
        columns: dict[str, Any] = {"query": self.queries, "positive": self.documents}
        for place in range(negatives):
            columns[f"negative_{place}"] = self.documents[place + 1 :] + self.documents[: place + 1]
        return DatasetDict({"one": Dataset.from_dict(columns)})

    def scored(self, documents: int, scale: float, wanted: int, seed: int) -> Dataset:
        lists = [
            (self.documents[place:] + self.documents)[:documents] for place in range(len(self.documents))
        ]
        scores = [[scale * (documents - place) for place in range(documents)]] * len(lists)
        return Dataset.from_dict({"query": self.queries, "documents": lists, "scores": scores})


def small(profile: Profile) -> Profile:
    """The profile at a test's size: everything else is as it is."""

    def cut(budget: PhaseBudget) -> PhaseBudget:
        documents = 1 if budget.documents == 1 else 4
        return replace(
            budget, steps=2, batch_size=8, documents=documents, query_length=10, document_length=20
        )

    budgets = {key: cut(budget) for key, budget in profile.budgets.items()}
    return replace(profile, budgets=budgets, evaluation=EvaluationSize(query_length=10, document_length=20))


def open_shop(root: Path, profile: Profile) -> Workshop:
    shop = Workshop(small(profile), root, "cpu", progress=False)
    shop.__dict__.update(source=Little(), ledger=Ledger(root / "runs"), precision="float32")
    return shop


@pytest.fixture
def shop(hub: Server, tmp_path: Path) -> Iterator[Workshop]:
    """The profile `base` on a few rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield open_shop(tmp_path, get_profile("base"))


def test_the_papers_pipelines_run_from_the_published_models(
    hub: Server, shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = {"a": "nomic-ai/modernbert-embed-base", "b": "nomic-ai/modernbert-embed-base-unsupervised"}
    for letter, recipe in PIPELINES.items():
        run = run_recipe(letter, shop=shop)
        name = starts.get(letter, "answerdotai/ModernBERT-base")
        assert run.passport["start"] == {
            "name": name,
            "revision": None,
            "identity": commit(hub.root / "models" / name),
            "interaction": "dense" if letter in starts else None,
        }
        assert run.passport["pipeline"] == letter and run.passport["arm"]
        assert run.passport["key"]["base"] == run.passport["start"]["identity"]
        assert shop.profile.whole(validate_passport(run.passport)) == recipe
        assert record(run, tmp_path / "recorded").is_file()
        assert Ledger(shop.ledger.root).find(run.passport["recipe"]) == run
    monkeypatch.setattr("colbert_zero_lib.verdicts.sources.get_profile", lambda _: shop.profile)
    found = ledger_evidence("base", tmp_path).evaluations
    assert set(found) == {str(prefix) for recipe in PIPELINES.values() for prefix in recipe.stages()} - {
        "dense:unsupervised",
        "dense:unsupervised > dense:supervised",
    }
    # Neither a base nor a start was evaluated on the way.
    assert {len(run.passport["wall_seconds"]) for run in shop.ledger.runs()} == {2, 3, 4}
    assert len(shop.ledger.runs()) == 1 + 2 + 3


def test_what_is_needed_is_said_first_and_timed_once_it_was_measured(shop: Workshop) -> None:
    said: list[str] = []
    run_recipe("b", shop=shop, say=said.append)
    assert said == [
        "colbert:supervised: 2 steps, 16 rows, unknown time: never timed on this device",
        "colbert:distillation: 2 steps, 16 rows, unknown time: never timed on this device",
    ]
    run_recipe("b", shop=shop, say=said.append)
    assert len(said) == 2
    first, second = needs(shop, PIPELINES["b"], seed=1)
    assert ": 2 steps, 16 rows, " in first and "unknown" not in first + second
    other = replace(
        shop,
        profile=replace(
            shop.profile,
            budgets={
                key: replace(budget, document_length=400) for key, budget in shop.profile.budgets.items()
            },
        ),
    )
    other.__dict__.update(source=shop.source, ledger=shop.ledger, precision="float32")
    assert all("unknown time" in need for need in needs(other, PIPELINES["b"], seed=0))


def test_a_colbert_start_brings_its_prompts_and_lengths_and_is_what_it_is(
    hub: Server, shop: Workshop, tmp_path: Path
) -> None:
    name = "lightonai/ColBERT-Zero-unsupervised"
    recipe = f"from {name} > colbert:supervised"
    run = run_recipe(recipe, shop=shop)
    assert run.passport["key"]["settings"]["prompts"] == list(PROMPTS.values())
    copy = Path(shutil.copytree(hub.root / "models" / name, tmp_path / "copy@home"))
    pinned = f"from {name}@{commit(copy)} > colbert:supervised"
    assert run_recipe(pinned, shop=shop).folder == run.folder
    here = run_recipe(f"from {copy} > colbert:supervised", shop=shop)
    moved = run_recipe(
        f"from {copy.rename(tmp_path / 'moved')} > colbert:supervised",
        shop=open_shop(tmp_path, get_profile("base")),
    )
    assert here.folder == moved.folder != run.folder
    assert here.passport["loss"] == run.passport["loss"]
    assert "start.name" in explain(here, run).to_text()
    hub.close()  # a finished run needs its start no more
    alone = open_shop(tmp_path, get_profile("base"))
    assert dict(alone.open(run).prompts) == PROMPTS


def test_a_start_alone_is_evaluated_as_its_files_say(shop: Workshop) -> None:
    with_prompts, without = (
        run_recipe(f"from lightonai/ColBERT-Zero{end}", shop=shop) for end in ("", "-noprompts")
    )
    models = [cast(Any, shop.open(run)) for run in (with_prompts, without)]
    assert [(model.query_length, model.document_length) for model in models] == [(39, 519), (32, 512)]
    assert [any(model.prompts.values()) for model in models] == [True, False]
    assert set(with_prompts.passport["wall_seconds"]) == {"evaluation"}
    shorter = run_recipe("from lightonai/ColBERT-Zero @ -length", shop=shop)
    assert shorter.folder != with_prompts.folder
    assert cast(Any, shop.open(shorter)).query_length == shop.profile.evaluation.query_length
    dense = run_recipe("from nomic-ai/modernbert-embed-base", shop=shop)
    assert not hasattr(shop.open(dense), "query_length")


def test_prompts_of_the_start_win_and_every_mismatch_is_said(hub: Server, tmp_path: Path) -> None:
    other = ("question: ", "passage: ")
    shop = open_shop(tmp_path, replace(get_profile("base"), prompts=other))

    def said(recipe: str) -> tuple[Run, str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run = run_recipe(recipe, shop=shop)
        return run, " ".join(str(each.message) for each in caught)

    run, sentences = said("from lightonai/ColBERT-Zero-supervised > colbert:distillation")
    assert "'search_query: '" in sentences and "used in place of the profile's" in sentences
    assert "query expansion" in sentences
    assert dict(shop.open(run).prompts) == PROMPTS
    _, sentences = said("from lightonai/ColBERT-Zero-supervised > colbert:distillation[+expansion]")
    assert "query expansion" not in sentences
    run, sentences = said("from lightonai/ColBERT-Zero-supervised-noprompts > colbert:distillation")
    assert "has no prompts and colbert:distillation adds them" in sentences
    assert tuple(shop.open(run).prompts.values()) == other
    run, sentences = said("from lightonai/ColBERT-Zero-supervised > colbert:distillation[-prompts]")
    assert not any(shop.open(run).prompts.values())


def test_a_dense_step_after_a_colbert_start_is_refused_when_it_is_opened(shop: Workshop) -> None:
    with pytest.raises(RecipeError, match="dense:supervised cannot follow lightonai/ColBERT-Zero"):
        run_recipe("from lightonai/ColBERT-Zero > dense:supervised", shop=shop)
    assert shop.ledger.runs() == []


def test_an_offline_profile_takes_a_start_too(hub: Server, tmp_path: Path) -> None:
    shop = open_shop(tmp_path, get_profile("smoke"))
    run = run_recipe("from nomic-ai/modernbert-embed-base > colbert:distillation[-prompts]", shop=shop)
    settings = run.passport["key"]["settings"]["budgets"]["colbert:distillation"]
    assert settings["learning_rate"] == 1e-3  # of a step that makes a dense model a ColBERT one
    assert run.passport["pipeline"] is None
    assert [each.passport["recipe"] for each in shop.ledger.runs()] == [run.passport["recipe"]]


def test_a_pipeline_begins_at_the_encoder_in_the_pinned_wheel(tmp_path: Path) -> None:
    (tmp_path / "wheels").symlink_to(home() / "wheels")
    try:
        minilm_folder(tmp_path)
    except WheelError as error:
        pytest.skip(f"the wheel of all-MiniLM-L6-v2 is not on this machine: {error}")
    shop = open_shop(tmp_path, get_profile("minilm"))
    run = run_recipe("a", shop=shop)
    assert run.passport["recipe"] == "from all-MiniLM-L6-v2 > colbert:distillation"
    assert run.passport["pipeline"] == "a" and run.passport["start"]["name"] == "all-MiniLM-L6-v2"
    assert run.passport["parameters"] > 22_000_000
    validate_passport(run.passport)
    found = ledger_evidence(shop.profile, tmp_path)  # its first step turns a dense model into a ColBERT one
    assert str(PIPELINES["a"]) in found.means
    bare, named = (
        Recipe.parse(text)
        for text in ("colbert:distillation", "from all-MiniLM-L6-v2 > colbert:distillation")
    )
    assert shop.key(bare, 0) == shop.key(named, 0)
    assert shop.key(ZERO, 0).base == run.passport["start"]["identity"]
    with pytest.raises(DataError, match="Only the offline text has scores of teacher=both"):
        shop.key(Recipe.parse("colbert:distillation[teacher=both]"), 0)
