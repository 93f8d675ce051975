"""Hard negatives: documents that look right for a query and, as far as can be told, are not.

Candidates come from BM25 and from a dense encoder that the caller brings; ``teacher`` keeps the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from colbert_zero_lib.corpora.text import tokens
from colbert_zero_lib.errors import ParameterError

NONE = -1
NEAR_DUPLICATE = 0.9


def top_bm25(
    queries: Sequence[str], documents: Sequence[str], depth: int, k1: float = 0.9, b: float = 0.4
) -> tuple[np.ndarray, np.ndarray]:
    """The ``depth`` best documents of each query by BM25 over stemmed English words.

    Returns places in ``documents`` (int32 ``[queries, depth]``, best first, -1 where no further document
    shares a word) and scores (float32, -inf there). Ties go to the earlier document.
    """
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")

    def words(texts: Sequence[str]) -> list[list[str]]:
        return bm25s.tokenize(
            list(texts), stopwords="english", stemmer=stemmer, return_ids=False, show_progress=False
        )

    places = np.full((len(queries), depth), NONE, dtype=np.int32)
    best = np.full((len(queries), depth), -np.inf, dtype=np.float32)
    corpus = words(documents)
    if not any(corpus):
        return places, best
    index = bm25s.BM25(k1=k1, b=b, method="lucene")
    index.index(corpus, show_progress=False)
    for row, query in enumerate(words(queries)):
        known = [word for word in query if word in index.vocab_dict]
        if known:
            scores = np.asarray(index.get_scores(known), dtype=np.float32)
            places[row], best[row] = _top(np.where(scores > 0, scores, -np.inf), depth)
    return places, best


def top_dense(
    query_vectors: np.ndarray, document_vectors: np.ndarray, depth: int, rows_at_once: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """The ``depth`` best documents of each query by dot product; places and scores as of ``top_bm25``.

    ``query_vectors`` is ``[queries, dimension]``, ``document_vectors`` ``[documents, dimension]``, floats.
    """
    places = np.full((len(query_vectors), depth), NONE, dtype=np.int32)
    best = np.full((len(query_vectors), depth), -np.inf, dtype=np.float32)
    for start in range(0, len(query_vectors), rows_at_once):
        scores = query_vectors[start : start + rows_at_once] @ document_vectors.T
        for row, of_query in enumerate(scores, start=start):
            places[row], best[row] = _top(of_query, depth)
    return places, best


def _top(scores: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    places = np.full(depth, NONE, dtype=np.int32)
    best = np.full(depth, -np.inf, dtype=np.float32)
    found = np.arange(len(scores))
    if len(scores) > depth:
        # Everything that ties with the last place is sorted too, so that ties never depend on the partition.
        found = np.flatnonzero(scores >= np.partition(scores, -depth)[-depth])
    found = found[np.lexsort((found, -scores[found]))][:depth]
    found = found[np.isfinite(scores[found])]
    places[: len(found)], best[: len(found)] = found, scores[found]
    return places, best


def interleave(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Two candidate lists ``[queries, depth]`` merged by turns without repeats, -1 padded at the end."""
    width = first.shape[1] + second.shape[1]
    merged = np.full((len(first), width), NONE, dtype=np.int32)
    for row, (ours, theirs) in enumerate(zip(first, second, strict=True)):
        turns = np.full((max(len(ours), len(theirs)), 2), NONE, dtype=np.int32)
        turns[: len(ours), 0], turns[: len(theirs), 1] = ours, theirs
        kept = [place for place in dict.fromkeys(turns.ravel().tolist()) if place != NONE]
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
    if not 0 < relative_margin <= 1:
        raise ParameterError(f"relative_margin must be above 0 and at most 1, not {relative_margin}.")
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
