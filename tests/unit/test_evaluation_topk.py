"""The running top k: equal to a full sort, however the stream of scores is cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from colbert_zero_lib.errors import DataError
from colbert_zero_lib.evaluation.topk import TopK


def full_sort(scores: np.ndarray, k: int) -> np.ndarray:
    return np.stack([np.lexsort((np.arange(len(row)), -row))[:k] for row in scores])


@pytest.mark.parametrize("block", [1, 7, 64, 500])
def test_blocks_in_any_order_give_the_full_sort_with_ties_by_position(block: int):
    rng = np.random.default_rng(block)
    # A few levels, negative ones and both zeros among them, make many ties, also at the boundary of the top k.
    scores = rng.choice(np.array([-2.5, -1.0, -0.0, 0.0, 1e-30, 3.0], dtype=np.float32), size=(5, 500))
    order = rng.permutation(500)
    best = TopK(5, 20)
    for start in range(0, 500, block):
        places = order[start : start + block]
        best.add(torch.from_numpy(scores[:, places]), torch.from_numpy(places))
    indices, found = best.result()
    assert indices.dtype == np.int32
    assert found.dtype == np.float32
    assert np.array_equal(indices, full_sort(scores, 20))
    assert np.array_equal(found, np.take_along_axis(scores, indices, axis=1))


def test_fewer_documents_than_k_leave_empty_places():
    best = TopK(1, 4)
    best.add(torch.tensor([[1.0, -np.inf, 2.0]]), torch.arange(3))
    indices, scores = best.result()
    assert indices.tolist() == [[2, 0, -1, -1]]
    assert scores.tolist() == [[2.0, 1.0, -np.inf, -np.inf]]


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(DataError, match="NaN"):
        TopK(1, 2).add(torch.tensor([[1.0, float("nan")]]), torch.arange(2))
