"""Hard-negative mining on corpora small enough to rank by hand."""

from __future__ import annotations

import numpy as np

from colbert_zero_lib.corpora.mining import NONE, interleave, safe_negatives, top_dense

DOCUMENTS = [
    "the heron fishes in the shallow river",  # 0
    "herons nest in tall trees",  # 1
    "the river floods the valley in spring",  # 2
    "a violin has four strings",  # 3
    "the cello is tuned below the viola",  # 4
    "In the shallow river, the heron fishes",  # 5: says the same as 0
]


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
