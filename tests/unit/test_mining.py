"""Hard-negative mining on corpora small enough to rank by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from colbert_zero_lib.corpora.mining import (
    NONE,
    interleave,
    safe_negatives,
    top_bm25,
    top_dense,
)
from colbert_zero_lib.errors import ParameterError

DOCUMENTS = [
    "the heron fishes in the shallow river",  # 0
    "herons nest in tall trees",  # 1
    "the river floods the valley in spring",  # 2
    "a violin has four strings",  # 3
    "the cello is tuned below the viola",  # 4
    "In the shallow river, the heron fishes",  # 5: says the same as 0
]
# Angles in degrees: the cosine of a difference is the score.
ANGLES = {"heron river": 0.0, "string instrument": 100.0, "flood of a valley": 10.0} | dict(
    zip(DOCUMENTS, (20.0, 30.0, 40.0, 90.0, 130.0, 22.0), strict=True)
)


def encode(texts: Sequence[str], is_query: bool) -> np.ndarray:
    angles = np.radians([ANGLES[text] for text in texts])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_bm25_agrees_with_the_formula() -> None:
    documents = ["red fish", "blue fish pond water", "green tree"]
    places, scores = top_bm25(["fish"], documents, depth=3, k1=0.9, b=0.4)
    # Lucene's BM25 without its constant (k1 + 1): idf * tf / (tf + k1 * (1 - b + b * length / mean length)).
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    mean = (2 + 4 + 2) / 3
    by_hand = [idf / (1 + 0.9 * (0.6 + 0.4 * length / mean)) for length in (2, 4)]
    assert places.tolist() == [[0, 1, NONE]]
    assert scores[0, :2] == pytest.approx(by_hand, rel=1e-5)
    assert scores[0, 2] == -np.inf


def test_bm25_stems_and_leaves_unknown_queries_empty() -> None:
    places, _ = top_bm25(["fishing", "zebra", "the"], ["fished there", "nothing"], depth=2)
    assert places.tolist() == [[0, NONE], [NONE, NONE], [NONE, NONE]]


def test_ties_go_to_the_earlier_document_whatever_the_depth() -> None:
    queries, documents = np.ones((1, 1), np.float32), np.ones((9, 1), np.float32)
    for depth in (1, 4, 9):
        assert top_dense(queries, documents, depth)[0].tolist() == [list(range(depth))]


def test_dense_search_agrees_with_sorting_everything() -> None:
    generator = np.random.default_rng(0)
    queries, documents = generator.normal(size=(300, 8)), generator.normal(size=(50, 8))
    places, scores = top_dense(queries, documents, 7)
    everything = queries @ documents.T
    assert np.array_equal(places, np.argsort(-everything, axis=1)[:, :7])
    assert np.allclose(scores, np.sort(everything, axis=1)[:, :-8:-1])


def test_lists_are_merged_by_turns() -> None:
    first, second = np.array([[4, 2, 7]]), np.array([[2, NONE]])
    assert interleave(first, second).tolist() == [[4, 2, 7, NONE, NONE]]
    assert interleave(second, first).tolist() == [[2, 4, 7, NONE, NONE]]


def test_candidates_close_to_the_positive_are_taken_for_answers() -> None:
    candidates = np.array([[1, 2, 3, NONE]])
    scores = np.array([[0.77, 0.75, 0.20, 0.0]])
    # The limit is 0.95 * 0.8 = 0.76.
    safe = safe_negatives(candidates, scores, [{0}], np.array([0.8]), DOCUMENTS, relative_margin=0.95)
    assert safe.tolist() == [[False, True, True, False]]


def test_a_positive_with_a_negative_score_still_sets_a_limit_below_itself() -> None:
    candidates, scores = np.array([[2, 3]]), np.array([[-0.101, -0.12]])
    safe = safe_negatives(candidates, scores, [{0}], np.array([-0.1]), DOCUMENTS, relative_margin=0.9)
    assert safe.tolist() == [[False, True]]


def test_other_positives_and_their_near_duplicates_are_not_negatives() -> None:
    candidates, scores = np.array([[1, 2, 5]]), np.zeros((1, 3))
    safe = safe_negatives(candidates, scores, [{0, 1}], np.array([1.0]), DOCUMENTS)
    assert safe.tolist() == [[False, True, False]]


def test_a_margin_out_of_range_is_refused() -> None:
    with pytest.raises(ParameterError, match="relative_margin must be above 0 and at most 1"):
        safe_negatives(np.array([[1]]), np.zeros((1, 1)), [{0}], np.ones(1), DOCUMENTS, relative_margin=1.2)
