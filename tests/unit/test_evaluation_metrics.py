"""Metrics: a hand-worked example, an independent implementation, and what ties and gaps do."""

from __future__ import annotations

import math

import numpy as np
import pytest

from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.errors import DataError, ParameterError
from colbert_zero_lib.evaluation import Ranking, score_ranking


def ranking_of(rows: list[list[int]], queries: list[str], scores: np.ndarray | None = None) -> Ranking:
    indices = np.array(rows, dtype=np.int32)
    if scores is None:
        scores = np.where(indices >= 0, -np.arange(indices.shape[1]), -np.inf)
    return Ranking(tuple(queries), indices, scores.astype(np.float32))


def collection_of(documents: int, qrels: dict[str, dict[str, int]]) -> Collection:
    corpus = {f"d{place}": f"text {place}" for place in range(documents)}
    return Collection("small", corpus, {query: query for query in qrels}, qrels)


def reference(ranked: list[str], grades: dict[str, int]) -> tuple[float, float, float]:
    """nDCG@10, recall@100 and MRR@10 written out from their definitions."""
    gains = [max(0, grades.get(document, 0)) for document in ranked]
    ideal = sorted((grade for grade in grades.values() if grade > 0), reverse=True)
    dcg = sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains[:10]))
    best = sum(gain / math.log2(rank + 2) for rank, gain in enumerate(ideal[:10]))
    recall = sum(gain > 0 for gain in gains[:100]) / len(ideal)
    reciprocal = next((1 / (rank + 1) for rank, gain in enumerate(gains[:10]) if gain > 0), 0.0)
    return dcg / best, recall, reciprocal


def test_a_graded_example_worked_out_by_hand():
    collection = collection_of(4, {"q": {"d0": 2, "d1": 1, "d3": 0}})
    scored = score_ranking(ranking_of([[3, 1, 0, 2]], ["q"]), collection)
    # Gains 0, 1, 2 at ranks 1 to 3: (1 / log2 3 + 2 / log2 4) / (2 / log2 2 + 1 / log2 3).
    expected = (1 / math.log2(3) + 1) / (2 + 1 / math.log2(3))
    assert scored["query"].tolist() == ["q"]
    assert scored["ndcg@10"].item() == pytest.approx(expected, abs=1e-9)
    assert scored["recall@100"].item() == 1
    assert scored["mrr@10"].item() == 0.5


def test_random_rankings_agree_with_the_definitions():
    rng = np.random.default_rng(3)
    qrels = {
        f"q{query}": {f"d{place}": int(rng.integers(0, 4)) for place in rng.choice(150, 12, replace=False)}
        for query in range(60)
    }
    for query in qrels:
        qrels[query]["d149"] = 1
    collection = collection_of(150, qrels)
    rows = [rng.permutation(150)[:120].tolist() for _ in qrels]
    scored = score_ranking(ranking_of(rows, list(qrels)), collection)
    expected = [
        reference([f"d{place}" for place in row], qrels[query])
        for row, query in zip(rows, qrels, strict=True)
    ]
    assert np.allclose(scored[["ndcg@10", "recall@100", "mrr@10"]], expected, atol=1e-9)
    assert scored["ndcg@10"].nunique() > 20


def test_equal_scores_are_judged_in_the_order_of_the_ranking_whatever_the_ids():
    collection = collection_of(3, {"q": {"d0": 1}})
    level = np.zeros((1, 3))
    first = score_ranking(ranking_of([[0, 1, 2]], ["q"], level), collection)
    last = score_ranking(ranking_of([[2, 1, 0]], ["q"], level), collection)
    assert first["mrr@10"].item() == 1
    assert last["mrr@10"].item() == pytest.approx(1 / 3)


def test_a_query_without_results_counts_as_zero_and_is_not_left_out():
    collection = collection_of(3, {"found": {"d0": 1}, "lost": {"d1": 1}})
    scored = score_ranking(ranking_of([[0, -1, -1], [-1, -1, -1]], ["found", "lost"]), collection)
    assert scored["query"].tolist() == ["found", "lost"]
    assert scored["ndcg@10"].tolist() == [1, 0]


def test_a_relevant_document_past_rank_ten_counts_for_recall_only():
    collection = collection_of(12, {"q": {"d11": 1}})
    scored = score_ranking(ranking_of([list(range(12))], ["q"]), collection)
    assert scored[["ndcg@10", "recall@100", "mrr@10"]].to_numpy().tolist() == [[0, 1, 0]]


def test_rankings_too_short_for_recall_at_100_are_refused():
    collection = collection_of(120, {"q": {"d0": 1}})
    with pytest.raises(ParameterError, match="k=100"):
        score_ranking(ranking_of([list(range(10))], ["q"]), collection)


def test_a_ranking_of_other_queries_is_refused():
    collection = collection_of(3, {"q": {"d0": 1}})
    with pytest.raises(DataError, match="'other'"):
        score_ranking(ranking_of([[0, 1, 2], [0, 1, 2]], ["q", "other"]), collection)


def test_a_ranking_of_the_wrong_shape_is_refused():
    with pytest.raises(DataError, match=r"\[2, k\]"):
        Ranking(("a", "b"), np.zeros((1, 3), dtype=np.int32), np.zeros((1, 3), dtype=np.float32))
