"""Evaluating any model on any set: the figures of BEIR's, trec_eval's and PyLate's own evaluation, kept and resumed."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval
from beir.datasets.data_loader import GenericDataLoader
from beir.retrieval.evaluation import EvaluateRetrieval
from pylate import evaluation as pylate_evaluation
from pylate import models, rank
from typer.testing import CliRunner, Result

from colbert_zero_lib.cli import app
from colbert_zero_lib.corpora import Collection, read_collection, write_collection
from colbert_zero_lib.corpora.evaluation_sets import SETS, evaluation_set, parts
from colbert_zero_lib.errors import CheckpointError, DataError, ParameterError, RunError, UnknownNameError
from colbert_zero_lib.evaluation import (
    Evaluation,
    SearchOptions,
    difference,
    evaluate_model,
    find_sets,
    find_subject,
    sessions,
)
from colbert_zero_lib.evaluation.subjects import Subject
from colbert_zero_lib.models import open_model
from colbert_zero_lib.recipes import PIPELINES
from colbert_zero_lib.runs import Ledger, RunKey, canonical_json
from tests.conftest import SENTENCES
from tests.hub.fixtures import hub_environment, use_hub
from tests.hub.server import Server

EXACT = SearchOptions("exact", "float32")


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, ["evaluate", *words], env={"COLUMNS": "160"})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLBERT_ZERO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def tiny(tiny_colbert: models.ColBERT) -> Subject:
    return Subject("tiny", "t" * 40, lambda: tiny_colbert)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Queries that are documents of the corpus under their own ids, grades, and a judged document that is missing."""
    corpus = {f"d{place}": text for place, text in enumerate(SENTENCES)}
    queries = {f"d{place}": SENTENCES[place] for place in range(6)}
    queries["q"] = "how bees find flowers"
    drawn = np.random.default_rng(5)
    qrels = {}
    for query in queries:
        others = [document for document in corpus if document != query]
        qrels[query] = {
            str(d): int(g) for d, g in zip(drawn.choice(others, 5, False), (2, 1, 1, 0, 3), strict=True)
        }
    qrels["d1"]["gone"] = 2
    return write_collection(Collection("own", corpus, queries, qrels), tmp_path / "own")


def test_a_beir_folder_has_the_figures_of_beir_and_of_trec_eval(
    folder: Path, home: Path, tiny: Subject, tiny_colbert: models.ColBERT
) -> None:
    sets = find_sets([folder], home, identical_ids_out=True)
    found = evaluate_model(tiny, sets, home, EXACT)
    corpus, queries, qrels = GenericDataLoader(str(folder)).load("test")
    texts = [f"{document['title']} {document['text']}".strip() for document in corpus.values()]
    encoded = [
        tiny_colbert.encode(list(part), prompt_name=side, is_query=side == "query", show_progress_bar=False)
        for part, side in ((queries.values(), "query"), (texts, "document"))
    ]
    ranked = rank.rerank([list(corpus)] * len(queries), encoded[0], [encoded[1]] * len(queries))
    results = {
        query: {match["id"]: float(match["score"]) for match in matches}
        for query, matches in zip(queries, ranked, strict=True)
    }
    ndcg, _, recall, _ = EvaluateRetrieval.evaluate(qrels, results, [10, 100], ignore_identical_ids=True)
    assert round(found.mean("ndcg@10"), 5) == ndcg["NDCG@10"]
    assert round(found.mean("recall@100"), 5) == recall["Recall@100"]
    # BEIR has taken the identical ids out of the results by now.
    by_query = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}).evaluate(results)
    for query, value in found.scores()["own"].items():
        assert value == pytest.approx(by_query[query]["ndcg_cut_10"], abs=1e-6)


def test_identical_ids_stay_unless_the_set_says_so(folder: Path, home: Path, tiny: Subject) -> None:
    own = evaluate_model(tiny, [folder], home, EXACT)
    out = evaluate_model(tiny, find_sets([folder], home, identical_ids_out=True), home, EXACT)
    assert out.mean() > own.mean()
    # Here the identical id is the answer, and finding it counts.
    texts = dict(zip("abc", SENTENCES, strict=False))
    chance = Collection("chance", texts, texts, {key: {key: 1} for key in texts})
    assert evaluate_model(tiny, [chance], home, EXACT).mean() == 1.0


@pytest.mark.parametrize("name", ["SciFact", "QuoraRetrieval"])
def test_pylates_own_evaluator_gives_the_same_figure_on_nanobeir(name: str, hub: Server, home: Path) -> None:
    subject = find_subject("lightonai/ColBERT-Zero", home, "cpu")
    found = evaluate_model(subject, [f"nanobeir/{name}"], home, EXACT)
    evaluator = pylate_evaluation.NanoBEIREvaluator(
        [name], query_prompts="search_query: ", corpus_prompts="search_document: ", show_progress_bar=False
    )
    theirs = evaluator(subject.model)
    assert found.mean() == pytest.approx(theirs[f"Nano{name}_MaxSim_ndcg@10"], abs=1e-4)


def test_a_model_keeps_its_lengths_but_for_beirs_long_queries(hub: Server, home: Path) -> None:
    subject = find_subject("lightonai/ColBERT-Zero", home, "cpu")

    def lengths(name: str, **given: Any) -> list[int]:
        return subject.retriever(evaluation_set(name), SearchOptions(**given))[1]["lengths"]

    prompt = len(subject.model.tokenizer("search_query:", add_special_tokens=False)["input_ids"])
    assert lengths("beir/arguana") == [64 + prompt, 519]
    assert lengths("nanobeir/ArguAna") == [39, 519]
    assert lengths("beir/arguana", query_length=20, document_length=30) == [20, 30]
    assert lengths("nanobeir/NQ") == [39, 519]


def test_the_forums_of_cqadupstack_count_as_one_set(
    home: Path, tmp_path: Path, toy_collection: Collection
) -> None:
    corpus = {**toy_collection.corpus, "twin": toy_collection.corpus["d4"]}
    sets = [
        replace(toy_collection, name=name, corpus=dict(list(corpus.items())[place % 5 :]))
        for place, name in enumerate((*parts("beir/cqadupstack"), "beir/scifact"))
    ]
    found = evaluate_model("bm25", sets, home, output=tmp_path / "results")
    means = {name: scores["ndcg@10"] for name, scores in found.metrics().items()}
    forums = [means[name] for name in parts("beir/cqadupstack")]
    expected = (np.mean(forums) + means["beir/scifact"]) / 2
    assert found.mean() == pytest.approx(expected)
    assert found.interval().mean == pytest.approx(expected)
    assert difference(found, found).delta == 0
    files = {file.name: file for file in (tmp_path / "results" / "BM25" / "bm25").iterdir()}
    assert set(files) == {"model_meta.json", "CQADupstackRetrieval.json"} | {
        f"{SETS[name].task}.json" for name in found.collections
    }
    whole = json.loads(files["CQADupstackRetrieval.json"].read_text())
    assert whole["scores"]["test"][0]["main_score"] == pytest.approx(np.mean(forums), abs=2e-5)


def test_results_have_mtebs_names_and_values(hub: Server, home: Path, tmp_path: Path) -> None:
    found = evaluate_model("bm25", ["beir/msmarco"], home, output=tmp_path)
    content = json.loads((tmp_path / "BM25" / "bm25" / "MSMARCO.json").read_text())
    assert set(content) == {
        "dataset_revision", "task_name", "mteb_version", "scores", "evaluation_time", "kg_co2_emissions",
    }  # fmt: skip
    assert content["dataset_revision"] == evaluation_set("beir/msmarco").revision
    (scores,) = content["scores"]["dev"]
    assert scores["main_score"] == scores["ndcg_at_10"] == pytest.approx(found.mean(), abs=1e-5)
    assert scores["mrr_at_10"] == pytest.approx(found.mean("mrr@10"), abs=1e-5)
    assert scores["recall_at_100"] == pytest.approx(found.mean("recall@100"), abs=1e-5)
    assert (scores["hf_subset"], scores["languages"]) == ("default", ["eng-Latn"])
    depths = (1, 3, 5, 10, 20, 100, 1000)
    assert {f"{m}_at_{k}" for m in ("ndcg", "map", "recall", "precision", "mrr") for k in depths} <= set(
        scores
    )


def test_what_was_measured_is_not_measured_again(
    folder: Path, home: Path, tiny: Subject, toy_collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def interrupted() -> Collection:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_model(
            tiny, {"own": lambda: read_collection(folder), "toy": interrupted}, home, EXACT, say=said.append
        )
    kept = list((home / "evaluations").rglob("*.json"))
    assert len(kept) == 1
    ranked: list[str] = []
    plain = sessions.rank

    def counted(retriever: Any, collection: Collection, k: int) -> Any:
        ranked.append(collection.name)
        return plain(retriever, collection, k)

    monkeypatch.setattr(sessions, "rank", counted)
    found = evaluate_model(tiny, [folder, toy_collection], home, EXACT, say=said.append)
    assert (found.collections, ranked) == (("own", "toy"), ["toy"])
    assert "measured before" in said[-2] and "measured before" not in said[-1]
    assert any("1 judged document is missing" in sentence for sentence in said)
    for lock in list((home / "evaluations").rglob("*.lock")):  # another user's, as good as
        lock.unlink()
        lock.mkdir()
    assert evaluate_model(tiny, [folder], home, EXACT).metrics() == found.only(["own"]).metrics()
    for lock in list((home / "evaluations").rglob("*.lock")):
        lock.rmdir()
    # Another model, other text, another setting or a damaged file: anew.
    evaluate_model(replace(tiny, identity="u" * 40), [toy_collection], home, EXACT)
    evaluate_model(
        tiny, [replace(toy_collection, qrels={**toy_collection.qrels, "q0": {"d1": 1}})], home, EXACT
    )
    evaluate_model(tiny, [toy_collection], home, replace(EXACT, query_length=8))
    assert ranked == ["toy"] * 4
    (file,) = kept
    file.write_bytes(file.read_bytes()[:100])
    with pytest.warns(UserWarning, match="own is measured again"):
        again = evaluate_model(tiny, [folder], home, EXACT)
    assert ranked[4:] == ["own"]
    assert again.metrics() == found.only(["own"]).metrics()


def test_a_result_in_a_folder_that_is_closed_is_read(
    folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate_model("bm25", [folder], home)

    def closed(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("colbert_zero_lib.evaluation.sessions.FileLock", closed)
    assert evaluate_model("bm25", [folder], home).per_query.equals(first.per_query)


def test_a_killed_evaluation_goes_on_with_the_next_set(hub: Server, home: Path, tmp_path: Path) -> None:
    sets = [word for name in ("SciFact", "NQ", "FEVER", "MSMARCO") for word in ("--on", f"nanobeir/{name}")]
    process = subprocess.Popen(
        [sys.executable, "-c", "from colbert_zero_lib.cli import app; app()", "evaluate", "bm25", *sets],
        env=hub_environment(hub.address, tmp_path / "hf", home),
        stdout=subprocess.DEVNULL,
    )

    def done() -> dict[str, int]:
        return {file.name: file.stat().st_mtime_ns for file in (home / "evaluations").rglob("*.seal")}

    while not done():
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = done()
    result = invoke("bm25", *sets)
    assert result.exit_code == 0, result.stderr
    assert len(done()) == 4 and before.items() <= done().items()
    assert result.stdout.count("measured before") == len(before) < 4


def test_a_run_is_evaluated_as_its_profile_does(
    tiny_encoder_folder: Path, home: Path, toy_collection: Collection
) -> None:
    recipe = PIPELINES["c"].stages()[0]

    def build(work: Path) -> Mapping[str, Any]:
        prompts = ("search_query: ", "search_document: ")
        model = open_model(
            tiny_encoder_folder, recipe.steps[-1], lengths=(12, 20), prompts=prompts, projection=32
        )
        model.save_pretrained(str(work / "model"), create_model_card=False)
        return {"profile": "smoke", "seed": 0, "recipe": str(recipe)}

    key = RunKey(str(recipe), "smoke", canonical_json({}), 0, "toy", "f" * 64, (("torch", "2"),))
    run = Ledger(home / "runs").obtain(key, build)
    by_digest = evaluate_model(run.digest[:8], [toy_collection], home, EXACT)
    subject = find_subject(str(run.folder), home)
    assert subject.identity == run.digest
    _, settings = subject.retriever(toy_collection, EXACT)
    assert settings["lengths"] != [12, 20]  # those of the profile's evaluation, not of training
    assert evaluate_model(subject, [toy_collection], home, EXACT).metrics() == by_digest.metrics()
    with (run.model_folder / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x7f")
    with pytest.raises(RunError, match=r"other bytes in model/model\.safetensors than were written"):
        evaluate_model(run.digest[:8], [toy_collection], home, EXACT)


def test_the_command_compares_dense_late_and_lexical_models(hub: Server, home: Path, tmp_path: Path) -> None:
    names = ("lightonai/ColBERT-Zero", "nomic-ai/modernbert-embed-base", "bm25")
    sets = ("--on", "nanobeir/SciFact", "--on", "beir/arguana")
    first = invoke(*names, *sets, "--output", str(tmp_path / "out"))
    assert first.exit_code == 0, first.stderr
    for word in (*names[:2], "BM25", "nanobeir/SciFact", "beir/arguana", "mean", "p (Holm)"):
        assert word in first.stdout
    assert len(list((tmp_path / "out").glob("*/*/ArguAna.json"))) == 3
    again = invoke(*names, *sets)
    assert again.stdout.count("measured before") == 6


def test_a_filled_cache_is_enough_and_an_empty_one_is_one_sentence(
    hub: Server, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("lightonai/ColBERT-Zero-noprompts", "--on", "nanobeir/NQ")
    assert invoke(*words).exit_code == 0
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf", offline=True)
    assert "measured before" in invoke(*words).stdout
    for offline, cause in ((True, "HF_HUB_OFFLINE"), (False, "127.0.0.1:9")):
        use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "empty", offline)
        for unknown in (words, ("bm25", "--on", "beir/scifact")):
            started = time.perf_counter()
            result = invoke(*unknown)
            assert time.perf_counter() - started < 10
            assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1)
            assert cause in result.stderr


def test_what_cannot_be_evaluated_is_one_sentence(
    hub: Server, home: Path, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="bare encoder"):
        find_subject("answerdotai/ModernBERT-base", home)
    with pytest.raises(UnknownNameError, match="'c3po'"):
        find_subject("c3po", home)
    with pytest.raises(UnknownNameError, match="'beer'.*offline"):
        find_sets(["beer"], home)
    with pytest.raises(DataError, match="Two sets are called 'own'"):
        find_sets([folder, str(folder)], home)
    with pytest.raises(DataError, match="choose test"):
        evaluate_model("bm25", find_sets([folder], home, split="dev"), home)
    with pytest.raises(ParameterError, match="fast"):
        SearchOptions("fast")
    with pytest.raises(ParameterError, match="query_length"):
        SearchOptions(query_length=0)
    blocked = tmp_path / "blocked"
    blocked.touch()
    with pytest.raises(DataError, match="cannot be written to .*blocked"):
        evaluate_model("bm25", [folder], blocked)
    with pytest.raises(DataError, match="Results cannot be written to .*blocked"):
        evaluate_model("bm25", [folder], home, output=blocked)


def test_evaluations_are_frames_of_every_query(folder: Path, home: Path) -> None:
    found = evaluate_model("bm25", [folder], home)
    assert isinstance(found, Evaluation)
    assert len(found.per_query) == 7
    assert list(found.per_query.columns) == ["collection", "query", "ndcg@10", "recall@100", "mrr@10"]
