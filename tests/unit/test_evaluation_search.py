"""Retrievers against brute force and against PyLate's own encoding and scoring."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from pylate import models, rank
from pylate.scores import colbert_scores

from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.errors import DataError, ParameterError
from colbert_zero_lib.evaluation import (
    BM25,
    DenseRetriever,
    LateInteractionRetriever,
    PlaidRetriever,
    Ranking,
    Retriever,
    SearchOptions,
    choice,
    late_interaction,
    token_vectors,
    vectors,
)
from colbert_zero_lib.evaluation.choice import SearchCosts, choose_search, measured_costs
from colbert_zero_lib.evaluation.encode import TokenBatch, encode_batches
from colbert_zero_lib.evaluation.maxsim import ExactMaxSim
from colbert_zero_lib.evaluation.subjects import Subject
from colbert_zero_lib.evaluation.vectors import VectorStore
from colbert_zero_lib.training import packing

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

LONG = "the tide turns and the ship waits at the harbour, says the lighthouse; " * 6


@pytest.fixture
def expanding_colbert(tiny_encoder_folder: Path) -> models.ColBERT:
    """The tiny encoder with query expansion: queries filled up to 24 tokens with [MASK]."""
    torch.manual_seed(2)
    prompts = {"query": "search_query: ", "document": "search_document: "}
    return models.ColBERT(
        str(tiny_encoder_folder),
        embedding_size=32,
        query_length=24,
        document_length=40,
        prompts=prompts,
        device="cpu",
    )


def reranked(model: models.ColBERT, collection: Collection) -> tuple[list[list[str]], np.ndarray]:
    """Every document ranked for every query by PyLate: ids and scores."""
    queries = model.encode(list(collection.queries.values()), prompt_name="query", is_query=True)
    documents = model.encode(list(collection.corpus.values()), prompt_name="document", is_query=False)
    results = rank.rerank(
        documents_ids=[list(collection.corpus)] * len(queries),
        queries_embeddings=queries,
        documents_embeddings=[documents] * len(queries),
    )
    ids = [[result["id"] for result in row] for row in results]
    return ids, np.array([[result["score"] for result in row] for row in results])


# --- BM25 -----------------------------------------------------------------------------------------------------


def test_bm25_gives_the_score_worked_out_by_hand_to_stemmed_words():
    corpus = {"a": "ships and harbours", "b": "harbour", "c": "violins violins violins play"}
    ranking = BM25().search(Collection("hand", corpus, {"q": "the harbours"}, {"q": {"a": 1}}))
    # Lucene's idf with 2 of 3 documents; lengths 2, 1, 4 without stop words, mean 7/3.
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    score = {length: idf / (1 + 0.9 * (1 - 0.4 + 0.4 * length / (7 / 3))) for length in (1, 2)}
    assert ranking.document_ids(Collection("hand", corpus, {"q": ""}, {"q": {"a": 1}})) == {"q": ["b", "a"]}
    assert ranking.scores[0, :2] == pytest.approx([score[1], score[2]], rel=1e-5)
    assert ranking.indices[0].tolist() == [1, 0, -1]


def test_bm25_ranks_nothing_when_no_word_is_known_and_orders_twins_by_position():
    corpus = {"z": "a violin", "y": "a violin", "x": "a violin"}
    ranking = BM25().search(
        Collection("twins", corpus, {"q": "violin", "r": "zebra"}, {"q": {"z": 1}, "r": {"y": 1}})
    )
    assert ranking.indices.tolist() == [[0, 1, 2], [-1, -1, -1]]
    silent = BM25().search(Collection("silent", {"a": "the"}, {"q": "the"}, {"q": {"a": 1}}))
    assert silent.indices.tolist() == [[-1]]


def test_bm25_refuses_parameters_out_of_range():
    with pytest.raises(ParameterError, match="b=1.4"):
        BM25(b=1.4)


# --- Single vectors -------------------------------------------------------------------------------------------


def test_dense_search_is_brute_force_cosine_with_the_prompts(
    tiny_dense: SentenceTransformer, toy_collection: Collection
):
    queries = tiny_dense.encode(["search_query: " + text for text in toy_collection.queries.values()])
    documents = tiny_dense.encode(["search_document: " + text for text in toy_collection.corpus.values()])
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    documents /= np.linalg.norm(documents, axis=1, keepdims=True)
    cosine = queries @ documents.T
    ranking = DenseRetriever(tiny_dense).search(toy_collection, k=5)
    assert np.allclose(ranking.scores, -np.sort(-cosine, axis=1)[:, :5], atol=1e-5)
    assert np.allclose(
        np.take_along_axis(cosine, ranking.indices.astype(int), axis=1), ranking.scores, atol=1e-5
    )


def test_a_dense_ranking_does_not_depend_on_its_batches(tiny_dense, toy_collection: Collection):
    whole = DenseRetriever(tiny_dense).search(toy_collection, k=5)
    alone = DenseRetriever(tiny_dense, positions=1).search(toy_collection, k=5)
    np.testing.assert_array_equal(whole.indices, alone.indices)
    np.testing.assert_allclose(whole.scores, alone.scores, atol=1e-6)


@pytest.mark.parametrize("kind", [DenseRetriever, LateInteractionRetriever])
def test_packed_texts_have_the_scores_of_padded_ones(
    kind: type, toy_collection: Collection, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = request.getfixturevalue("tiny_dense" if kind is DenseRetriever else "tiny_colbert")
    padded, passes = kind(model).search(toy_collection, k=3), []
    forward = packing._packed_forward
    monkeypatch.setattr(packing, "WORTH_PACKING", 0)
    monkeypatch.setattr(packing, "_packed_forward", lambda *a, **b: passes.append(1) or forward(*a, **b))
    monkeypatch.delattr(model, "way")  # it was found too narrow
    packed = kind(model).search(toy_collection, k=3)
    assert len(passes) > 2  # one of them tries whether it works
    assert np.array_equal(packed.indices, padded.indices)
    assert np.allclose(packed.scores, padded.scores, atol=1e-5)


def test_every_retriever_keeps_the_contract(
    tiny_dense: SentenceTransformer, tiny_colbert: models.ColBERT, toy_collection: Collection
):
    for retriever in (BM25(), DenseRetriever(tiny_dense), LateInteractionRetriever(tiny_colbert)):
        assert isinstance(retriever, Retriever)
        ranking = retriever.search(toy_collection, k=3)
        assert ranking.query_ids == tuple(toy_collection.queries)
        assert ranking.indices.shape == ranking.scores.shape == (5, 3)
        assert ranking.indices.dtype == np.int32
        assert ranking.scores.dtype == np.float32
        assert (ranking.scores[:, 1:] <= ranking.scores[:, :-1]).all()


# --- Token vectors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_query", [True, False])
def test_token_vectors_are_those_of_pylate_encode(
    tiny_colbert: models.ColBERT, toy_collection: Collection, is_query: bool
):
    texts = [*toy_collection.queries.values(), *toy_collection.corpus.values(), LONG, "", "!", "?" * 200]
    name = "query" if is_query else "document"
    expected = tiny_colbert.encode(texts, prompt_name=name, is_query=is_query)
    for ours, theirs in zip(token_vectors(tiny_colbert, texts, is_query), expected, strict=True):
        assert ours.shape == theirs.shape
        assert np.allclose(ours, theirs, atol=1e-5)


def test_expanded_queries_keep_every_mask_position(
    expanding_colbert: models.ColBERT, toy_collection: Collection
):
    # Pitfall: [MASK] positions have attention 0 and are scored all the same.
    texts = [*toy_collection.queries.values(), "bread", LONG]
    expected = expanding_colbert.encode(texts, prompt_name="query", is_query=True)
    found = token_vectors(expanding_colbert, texts, is_query=True)
    assert {len(vectors) for vectors in found} == {24}
    assert all(np.allclose(ours, theirs, atol=1e-5) for ours, theirs in zip(found, expected, strict=True))


def test_the_prompt_counts_inside_the_query_length(tiny_colbert: models.ColBERT):
    # Pitfall: a long query is cut, and sooner when there is a prompt; how much sooner depends on the tokenizer.
    prompt = len(tiny_colbert.tokenizer(tiny_colbert.prompts["query"], add_special_tokens=False)["input_ids"])
    words = "tide ship tide ship tide ship tide ship tide"
    assert len(tiny_colbert.tokenizer(words, add_special_tokens=False)["input_ids"]) == 9
    # [CLS], [Q] and [SEP] leave 13 of 16 places to prompt and query.
    assert len(token_vectors(tiny_colbert, [words], is_query=True)[0]) == 16 - 13 + min(13, prompt + 9)
    assert prompt > 4
    assert len(token_vectors(tiny_colbert, [LONG], is_query=True)[0]) == 16


def test_punctuation_is_read_by_the_encoder_but_has_no_vector(tiny_colbert: models.ColBERT):
    plain, stopped = token_vectors(tiny_colbert, ["the ship waits", "the ship, waits!"], is_query=False)
    assert plain.shape == stopped.shape
    # Random weights attend weakly: what is read shows beyond the 1e-5 to which vectors are reproduced.
    assert not np.allclose(plain, stopped, atol=2e-5)


# --- Late interaction -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", ["tiny_colbert", "expanding_colbert"])
def test_exact_search_ranks_as_pylate_reranks(
    fixture: str, toy_collection: Collection, request: pytest.FixtureRequest
):
    model = request.getfixturevalue(fixture)
    ids, scores = reranked(model, toy_collection)
    ranking = LateInteractionRetriever(model).search(toy_collection)
    assert np.allclose(ranking.scores, scores, atol=1e-4)
    # Documents whose scores are closer than the tolerance may change places, others may not.
    for found, expected, row in zip(ranking.document_ids(toy_collection).values(), ids, scores, strict=True):
        by_pylate = dict(zip(expected, row, strict=True))
        assert np.allclose([by_pylate[document] for document in found], row, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_store_encodes_a_corpus_once_for_each_checkpoint(
    precision: str,
    tiny_colbert: models.ColBERT,
    toy_collection: Collection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    def search(model: models.ColBERT) -> Ranking:
        return LateInteractionRetriever(model, precision, positions=64, store=VectorStore(tmp_path)).search(
            toy_collection
        )

    model = copy.deepcopy(tiny_colbert)
    plain = LateInteractionRetriever(model, precision, positions=64).search(toy_collection)
    calls: list[bool] = []

    def counted(model: models.ColBERT, texts: list[str], is_query: bool, *rest: Any) -> Iterator[TokenBatch]:
        calls.append(is_query)
        return encode_batches(model, texts, is_query, *rest)

    monkeypatch.setattr(vectors, "encode_batches", counted)
    for _ in range(3):
        found = search(model)
        assert np.array_equal(found.scores, plain.scores)
        assert np.array_equal(found.indices, plain.indices)
    assert calls == [False]
    with torch.no_grad():
        next(model.parameters()).add_(0.01)  # another checkpoint
    search(model)
    model.prompts = {**model.prompts, "document": "other: "}
    search(model)
    assert calls == [False] * 3


def test_a_corpus_searched_in_parts_has_the_same_ranking(
    tiny_colbert: models.ColBERT, toy_collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = LateInteractionRetriever(tiny_colbert).search(toy_collection)
    for size, store in ((1, None), (5, None), (5, VectorStore(tmp_path)), (5, VectorStore(tmp_path))):
        monkeypatch.setattr(late_interaction, "_BLOCK", size)
        found = LateInteractionRetriever(tiny_colbert, store=store).search(toy_collection)
        assert np.array_equal(found.indices, whole.indices)
        assert np.allclose(found.scores, whole.scores, atol=1e-5)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_store_that_is_not_read_to_the_end_or_is_damaged_is_no_store(
    tiny_colbert: models.ColBERT, toy_collection: Collection, tmp_path: Path
):
    store, texts = VectorStore(tmp_path), list(toy_collection.corpus.values())
    batches = store.batches(tiny_colbert, texts, positions=16)
    next(batches)
    batches.close()
    assert not list(tmp_path.iterdir())
    list(store.batches(tiny_colbert, texts, positions=16))
    (place,) = tmp_path.iterdir()
    for harm in (lambda file: file.write_bytes(b""), Path.unlink):
        harm(next(place.glob("*.safetensors")))
        with pytest.warns(UserWarning, match="encoded again") as warned:
            again = list(store.batches(tiny_colbert, texts))
        assert len(warned) == 1
    kept = list(store.batches(tiny_colbert, texts))
    assert all(one.vectors.equal(other.vectors) for one, other in zip(again, kept, strict=True))
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="cannot be kept"):
        unkept = list(VectorStore(tmp_path / "file").batches(tiny_colbert, texts))
    assert len(unkept) == len(kept)


def test_an_index_is_chosen_where_the_measured_costs_say_so(
    tiny_colbert: models.ColBERT, toy_collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    costs = SearchCosts(exact_pair=1e-5, index_document=1e-2, index_query=0.2)
    assert not costs.index_pays(10_000, 300)  # 30 s of exact search against 160 s
    assert costs.index_pays(100_000, 3000)  # 3000 s against 1600 s
    dear = SearchCosts(exact_pair=1.0, index_document=0.0, index_query=0.0)
    with monkeypatch.context() as patched:
        patched.setattr(choice, "measured_costs", lambda: costs)
        assert choose_search(tiny_colbert, toy_collection) == "exact"
        patched.setattr(choice, "measured_costs", lambda: dear)
        assert choose_search(tiny_colbert, toy_collection) == "index"
        patched.setattr("colbert_zero_lib.training.memory.device_memory", lambda device: 1000)
        assert choose_search(tiny_colbert, toy_collection) == "exact"
    subject = Subject("tiny", "tiny", lambda: tiny_colbert)
    for search, kind in (("exact", LateInteractionRetriever), ("index", PlaidRetriever)):
        assert isinstance(subject.retriever(toy_collection, SearchOptions(search))[0], kind)
    file = tmp_path / "search.json"
    row = {"ours_seconds_per_query": 0.1, "peer_build_seconds": 50.0, "peer_seconds_per_query": 0.2}
    rows = [row | {"documents": 1000, "peer_build_seconds": 9.0}, row | {"documents": 5000}, {"documents": 9}]
    file.write_text(json.dumps({"rows": rows}))
    assert measured_costs(file) == SearchCosts(0.1 / 5000, 0.01, 0.2)
    file.write_text(json.dumps({"rows": []}))
    with pytest.raises(DataError, match="--only search"):
        measured_costs(file)


def test_no_score_depends_on_what_shares_its_batch(tiny_colbert: models.ColBERT, toy_collection: Collection):
    # Pitfall: a score that depends on padding. One text at a time is padded nowhere, all together are padded most.
    alone = LateInteractionRetriever(tiny_colbert, positions=1).search(toy_collection)
    together = LateInteractionRetriever(tiny_colbert, positions=10_000).search(toy_collection)
    assert np.allclose(alone.scores, together.scores, atol=1e-5)
    assert np.array_equal(alone.indices, together.indices)


def test_maxsim_is_right_where_every_similarity_is_negative(monkeypatch: pytest.MonkeyPatch):
    # Pitfall: padding that scores 0 beats a true maximum below 0, in documents as in queries.
    monkeypatch.setattr("colbert_zero_lib.evaluation.maxsim._TILES", {"cpu": (64, 16)})
    monkeypatch.setattr("colbert_zero_lib.evaluation.maxsim._PENDING", 30)
    rng = np.random.default_rng(0)
    queries = [torch.from_numpy(rng.random((n, 8), dtype=np.float32)) for n in (1, 5, 3, 5, 2)]
    documents = [-torch.from_numpy(rng.random((n, 8), dtype=np.float32)) for n in (4, 1, 9, 2, 6, 6, 3)]

    def batch(texts: list[torch.Tensor]) -> TokenBatch:
        longest = max(map(len, texts))
        padded = torch.stack([torch.cat([text, text[:1].expand(longest - len(text), -1)]) for text in texts])
        return TokenBatch(torch.arange(len(texts)), torch.tensor([len(text) for text in texts]), padded)

    search = ExactMaxSim([batch(queries)], len(queries), k=7)
    for place in range(0, 7, 3):
        part = batch(documents[place : place + 3])
        search.add(part._replace(rows=part.rows + place))
    indices, scores = search.result()
    expected = torch.stack(
        [torch.cat([colbert_scores(q[None], d[None])[0] for d in documents]) for q in queries]
    )
    assert (expected < 0).all()
    order = torch.argsort(-expected, dim=1)
    assert np.array_equal(indices, order.numpy())
    assert np.allclose(scores, expected.gather(1, order).numpy(), atol=1e-5)


def test_prompts_are_saved_with_the_model_and_used(
    tiny_colbert: models.ColBERT, toy_collection: Collection, tmp_path: Path
):
    # Pitfall: prompts given to a collator only are not saved, and the evaluation then runs without.
    tiny_colbert.save_pretrained(str(tmp_path))
    loaded = models.ColBERT(str(tmp_path), device="cpu", local_files_only=True)
    before = LateInteractionRetriever(tiny_colbert).search(toy_collection)
    assert np.allclose(
        LateInteractionRetriever(loaded).search(toy_collection).scores, before.scores, atol=1e-5
    )
    loaded.prompts = {}
    assert not np.allclose(
        LateInteractionRetriever(loaded).search(toy_collection).scores, before.scores, atol=1e-2
    )


def test_bfloat16_finds_nearly_the_same_documents(tiny_colbert: models.ColBERT, toy_collection: Collection):
    exact = LateInteractionRetriever(tiny_colbert).search(toy_collection)
    rough = LateInteractionRetriever(tiny_colbert, precision="bfloat16").search(toy_collection)
    assert not np.array_equal(exact.scores, rough.scores)
    assert np.allclose(exact.scores, rough.scores, rtol=0.02)
    with pytest.raises(ParameterError, match="float16"):
        LateInteractionRetriever(tiny_colbert, precision="float16")
