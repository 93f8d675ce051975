"""Models leave the suite alive: an exported one gives the suite's own scores in other libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pylate import models as pylate_models
from sentence_transformers import SentenceTransformer
from typer.testing import CliRunner

from benchmarks.apart import environment
from colbert_zero_lib.cli import app
from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.errors import ParameterError, RunError
from colbert_zero_lib.evaluation import DenseRetriever, Evaluation, LateInteractionRetriever, evaluate
from colbert_zero_lib.export import export_run
from colbert_zero_lib.model_card import model_card
from colbert_zero_lib.models import open_model, step_lengths
from colbert_zero_lib.profiles import EvaluationSize, get_profile
from colbert_zero_lib.recipes import Recipe
from colbert_zero_lib.runs import Ledger, Run, RunKey, canonical_json
from colbert_zero_lib.runs.saved import read_settings, store_settings

pytestmark = pytest.mark.pipeline

RECIPES = (
    "colbert:supervised",
    "colbert:supervised[-prompts]",
    "colbert:supervised[-prompts,-length] @ +length",
    "colbert:supervised[prefix=learned/3]",
    "colbert:supervised[prefix=mask]",
    "colbert:supervised[prefix=swapped] @ prefix=none",
    "dense:unsupervised > colbert:supervised",
    "dense:supervised",
    "dense:supervised[-prompts]",
)
# Short enough to cut texts and queries of the toy collection, and longer than those of training.
SIZE = EvaluationSize(query_length=10, document_length=20)
PROFILE = replace(get_profile("smoke"), projection=32, evaluation=SIZE)
TRAINED = (14, 24)

# Run by an interpreter that has sentence-transformers 6: folder and texts in, a list of scores for each query out.
PLAIN = """
import json, sys
from sentence_transformers import MultiVectorEncoder, SentenceTransformer, __version__
assert int(__version__.split(".")[0]) >= 6, __version__
queries, documents, folders = json.load(sys.stdin)
found = {}
for name, folder in folders.items():
    model = (SentenceTransformer if name.startswith("dense:supervised") else MultiVectorEncoder)(folder, device="cpu")
    found[name] = model.similarity(model.encode_query(queries), model.encode_document(documents)).tolist()
print(json.dumps(found))
"""


def saved_run(recipe: Recipe, encoder: Path, ledger: Ledger, toy: Collection) -> Run:
    """A run as the suite saves one, of random weights."""
    shared: dict[str, Any] = {"prompts": PROFILE.prompts, "projection": PROFILE.projection}

    def build(work: Path) -> Mapping[str, Any]:
        folder = encoder
        for step in recipe.steps:
            trained = open_model(folder, step, lengths=TRAINED, seed=1, **shared)
            folder = work / ("model" if step is recipe.steps[-1] else step.slug)
            trained.save_pretrained(str(folder), create_model_card=False)
        lengths = step_lengths(recipe.measured_step, SIZE, trained.tokenizer, PROFILE.prompts)
        model = open_model(work / "model", recipe.evaluated_step, lengths=lengths, **shared)
        np.save(work / "scores.npy", suite_scores(model, toy))
        evaluation = evaluate(retriever(model), {"toy": toy})
        evaluation.to_parquet(work / "per_query.parquet")
        passport = {
            "profile": PROFILE.name,
            "seed": 0,
            "recipe": str(recipe),
            "pipeline": None,
            "arm": None,
            "device": "cpu",
            "versions": {"torch": "2"},
            "git_commit": None,
            "data": {"fingerprint": "f" * 64},
            "wall_seconds": {step.phase.value: 1.0 for step in recipe.steps},
            "metrics": evaluation.metrics(),
            "mean_ndcg@10": evaluation.mean(),
            "lengths": list(lengths),
        }
        store_settings(model, work / "model")
        return passport

    settings = canonical_json(PROFILE.settings(recipe.steps))
    return ledger.obtain(RunKey(str(recipe), PROFILE.name, settings, 0, "toy", "f" * 64), build)


def retriever(model: SentenceTransformer) -> Any:
    return LateInteractionRetriever(model) if hasattr(model, "skiplist") else DenseRetriever(model)


def suite_scores(model: SentenceTransformer, toy: Collection) -> np.ndarray:
    """[queries, documents] as the suite's own search finds them."""
    ranking = retriever(model).search(toy, k=len(toy.corpus))
    found = np.empty(ranking.scores.shape)
    np.put_along_axis(found, ranking.indices.astype(int), ranking.scores, axis=1)
    return found


def late_scores(folder: Path, toy: Collection) -> np.ndarray:
    model = pylate_models.ColBERT(str(folder))
    queries = model.encode(list(toy.queries.values()), prompt_name="query", is_query=True)
    documents = model.encode(list(toy.corpus.values()), prompt_name="document", is_query=False)
    return np.array([[(one @ other.T).max(1).sum() for other in documents] for one in queries])


def dense_scores(folder: Path, toy: Collection) -> np.ndarray:
    model = SentenceTransformer(str(folder))
    queries = model.encode_query(list(toy.queries.values()))
    return model.similarity(queries, model.encode_document(list(toy.corpus.values()))).numpy()


@pytest.fixture(scope="module")
def toy(toy_collection: Collection) -> Collection:
    """With signs that the vocabulary has and lacks, and texts that are cut."""
    corpus = {**toy_collection.corpus, "odd": "{honey} ~ yeast: α–β | [ship] <tide>; a_b", "signs": "., !"}
    queries = {**toy_collection.queries, "long": " ".join(toy_collection.queries.values())}
    return Collection("toy", corpus, queries, {**toy_collection.qrels, "long": {"d0": 1}})


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return Ledger(tmp_path_factory.mktemp("home") / "runs")


@pytest.fixture(scope="module")
def exported(
    ledger: Ledger, tiny_encoder_folder: Path, toy: Collection, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Run, Path]]:
    """Every recipe's run and the folder it was exported to."""
    shelf, found = tmp_path_factory.mktemp("exported"), {}
    for place, text in enumerate(RECIPES):
        run = saved_run(Recipe.parse(text), tiny_encoder_folder, ledger, toy)
        found[text] = run, export_run(run, shelf / str(place))
    return found


@pytest.mark.parametrize("text", RECIPES)
def test_plain_pylate_and_sentence_transformers_give_the_scores_of_the_suite(
    exported: dict[str, tuple[Run, Path]], toy: Collection, text: str
) -> None:
    run, folder = exported[text]
    plain = (dense_scores if text.startswith("dense:supervised") else late_scores)(folder, toy)
    np.testing.assert_allclose(plain, np.load(run.folder / "scores.npy"), atol=1e-4)


def test_sentence_transformers_6_gives_the_scores_of_the_suite(
    exported: dict[str, tuple[Run, Path]], toy: Collection, sentence_transformers_6: Path
) -> None:
    folders = {text: str(folder) for text, (_, folder) in exported.items()}
    given = json.dumps([list(toy.queries.values()), list(toy.corpus.values()), folders])
    command = [sys.executable, "-c", PLAIN]
    done = subprocess.run(
        command,
        input=given,
        env=environment(sentence_transformers_6),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for text, scores in json.loads(done.stdout.splitlines()[-1]).items():
        expected = np.load(exported[text][0].folder / "scores.npy")
        np.testing.assert_allclose(scores, expected, atol=1e-4, err_msg=text)


def test_the_files_say_how_the_model_was_evaluated(exported: dict[str, tuple[Run, Path]]) -> None:
    late = read_settings(exported["colbert:supervised"][1])
    assert late["prompts"] == dict(zip(("query", "document"), PROFILE.prompts, strict=True))
    assert late["query_length"] > SIZE.query_length and late["document_length"] > SIZE.document_length
    assert late["do_query_expansion"] is False
    converted = read_settings(exported["dense:unsupervised > colbert:supervised"][1])
    assert (converted["model_type"], converted["similarity_fn_name"]) == ("ColBERT", "MaxSim")
    assert "[UNK]" in late["skiplist_words"] and "." in late["skiplist_words"]
    other = read_settings(exported["colbert:supervised[prefix=swapped] @ prefix=none"][1])
    assert other["prompts"] == {"query": "", "document": ""}


def test_the_card_has_the_front_matter_and_the_figures_of_the_run(
    exported: dict[str, tuple[Run, Path]],
) -> None:
    run, folder = exported["colbert:supervised"]
    _, front, page = (folder / "README.md").read_text().split("---\n", 2)
    matter = yaml.safe_load(front)
    assert matter["library_name"] == "PyLate" and matter["pipeline_tag"] == "sentence-similarity"
    assert matter["license"] == "other" and "base_model" not in matter
    mean, low, high = Evaluation(run.per_query()).interval()
    for needed in (str(run.digest), "f" * 64, f"{mean:.4f}", f"{low:.4f} to {high:.4f}", "search_query: "):
        assert needed in page
    start = {"name": "owner/model", "revision": None, "identity": "c0ffee" + 34 * "0"}
    other = replace(run, passport={**run.passport, "start": start, "source": "hub"})
    begun = model_card(other, read_settings(folder))
    assert "lightonai/ms-marco-en-bge-gemma" in begun
    assert yaml.safe_load(begun.split("---\n", 2)[1])["base_model"] == "owner/model" and "c0ffee" in begun
    mine = replace(
        run, passport={**run.passport, "start": start | {"identity": 64 * "0"}}
    )  # a folder of that name
    assert "huggingface.co/owner" not in model_card(mine, read_settings(folder))
    dense = yaml.safe_load((exported["dense:supervised"][1] / "README.md").read_text().split("---\n", 2)[1])
    assert dense["library_name"] == "sentence-transformers"


def test_a_folder_that_holds_something_is_left_as_it_is(
    exported: dict[str, tuple[Run, Path]], tmp_path: Path
) -> None:
    run, _ = exported["dense:supervised"]
    (tmp_path / "mine.txt").write_text("mine")
    for folder in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(ParameterError, match="not empty"):
            export_run(run, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_others_could_not_use_is_not_exported_and_leaves_nothing(
    ledger: Ledger, tiny_encoder_folder: Path, toy: Collection, tmp_path: Path
) -> None:
    recipe = Recipe.parse("colbert:supervised[prefix=context]")
    run = saved_run(recipe, tiny_encoder_folder, ledger, toy)
    with pytest.raises(RunError, match="context"):
        export_run(run, tmp_path / "new")
    (run.model_folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match="bytes in model"):
        export_run(run, tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_the_command_exports_by_any_name_of_a_run(
    exported: dict[str, tuple[Run, Path]], ledger: Ledger, tmp_path: Path
) -> None:
    _, folder = exported["dense:supervised"]
    words = ["export", "dense:supervised", str(tmp_path / "new" / "one"), "--licence", "cc-by-sa-4.0"]
    done = CliRunner().invoke(app, words, env={"COLBERT_ZERO_HOME": str(ledger.root.parent)})
    assert done.exit_code == 0, done.output
    names = {path.relative_to(folder) for path in folder.rglob("*")}
    assert {path.relative_to(tmp_path / "new" / "one") for path in (tmp_path / "new/one").rglob("*")} == names
    assert "license: cc-by-sa-4.0" in (tmp_path / "new" / "one" / "README.md").read_text()
