"""Hard negatives: documents that look right for a query and, as far as can be told, are not.

Candidates come from BM25 and from a dense encoder that the caller brings; ``teacher`` keeps the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import chain, zip_longest

import numpy as np
import torch

from colbert_zero_lib.corpora.text import tokens
from colbert_zero_lib.evaluation.topk import TopK

NONE = -1
NEAR_DUPLICATE = 0.9
_QUERIES_AT_ONCE = 256


def top_dense(
    query_vectors: np.ndarray, document_vectors: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """The ``depth`` best documents of each query by dot product.

    ``query_vectors`` is ``[queries, dimension]``, ``document_vectors`` ``[documents, dimension]``, floats. Returns
    places in the documents (int32 ``[queries, depth]``, best first, -1 where there is none) and scores (float32, -inf
    there). Ties go to the earlier document.
    """
    found = []
    for start in range(0, len(query_vectors), _QUERIES_AT_ONCE):
        scores = torch.from_numpy(query_vectors[start : start + _QUERIES_AT_ONCE] @ document_vectors.T)
        best = TopK(len(scores), depth)
        best.add(scores, torch.arange(len(document_vectors)))
        found.append(best.result())
    places, scores = zip(*found, strict=True)
    return np.concatenate(places), np.concatenate(scores)


def interleave(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Two candidate lists ``[queries, depth]`` merged by turns without repeats, -1 padded at the end."""
    width = first.shape[1] + second.shape[1]
    merged = np.full((len(first), width), NONE, dtype=np.int32)
    for row, (ours, theirs) in enumerate(zip(first, second, strict=True)):
        turns = chain(*zip_longest(ours.tolist(), theirs.tolist(), fillvalue=NONE))
        kept = [place for place in dict.fromkeys(turns) if place != NONE]
        merged[row, : len(kept)] = kept
    return merged


def safe_negatives(
    candidates: np.ndarray,
    scores: np.ndarray,
    positives: Sequence[AbstractSet[int]],
    positive_scores: np.ndarray,
    documents: Sequence[str],
    relative_margin: float = 0.95,
) -> np.ndarray:
    """Which candidates may serve as negatives: bool, the shape of ``candidates``.

    Not safe are a query's positives, documents that say nearly the same as one of them (nine words in ten
    shared), and candidates that score above ``relative_margin`` times the query's own positive: most of
    those are answers that nobody has marked (positive-aware mining, NV-Retriever, arXiv 2407.15831).

    Parameters
    ----------
    candidates : int ``[queries, candidates]``, places in ``documents``, -1 for none
    scores : float, same shape, of a model whose scores can be compared, e.g. cosines
    positives : for each query, the places of all its right documents
    positive_scores : float ``[queries]``, the same model's score of the query's own document
    """
    # Written so that a negative score of the positive also gives a limit below it.
    limit = positive_scores - (1 - relative_margin) * np.abs(positive_scores)
    safe = (candidates != NONE) & (scores <= limit[:, None])
    words: dict[int, frozenset[str]] = {}

    def vocabulary(place: int) -> frozenset[str]:
        if place not in words:
            # Text in another script has no such tokens; without any, all documents would be alike.
            words[place] = frozenset(tokens(documents[place]) or documents[place].split())
        return words[place]

    for row, right in enumerate(positives):
        for column in np.flatnonzero(safe[row]):
            place = int(candidates[row, column])
            safe[row, column] = place not in right and not any(
                _alike(vocabulary(place), vocabulary(positive)) for positive in right
            )
    return safe


def _alike(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) >= NEAR_DUPLICATE * len(one | other)
