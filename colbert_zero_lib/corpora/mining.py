"""Hard negatives: documents that look right for a query and, as far as can be told, are not.

Candidates come from BM25 and from a dense encoder that the caller brings; ``teacher`` keeps the result.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from colbert_zero_lib.corpora.text import tokens
from colbert_zero_lib.errors import DataError, ParameterError

Encoder = Callable[[Sequence[str], bool], np.ndarray]
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
            words[place] = frozenset(tokens(documents[place]))
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


def mine_hard_negatives(
    queries: Sequence[str],
    positives: Sequence[Sequence[int]],
    documents: Sequence[str],
    encode: Encoder,
    negatives: int = 7,
    depth: int = 50,
    relative_margin: float = 0.95,
    query_groups: Sequence[Hashable] | None = None,
    document_groups: Sequence[Hashable] | None = None,
) -> np.ndarray:
    """Hard negatives of each query as places in ``documents``: int32 ``[queries, negatives]``, -1 padded.

    ``depth`` candidates each from the dense model and from BM25 are taken by turns, hardest first, and
    filtered by ``safe_negatives``. With groups, a query meets documents of its own group only: those of
    another source are told apart by their style and teach nothing.

    Parameters
    ----------
    positives : for each query, the places of its right documents, the one it is trained with first
    encode : ``encode(texts, is_query)`` -> float ``[texts, dimension]`` unit vectors
    query_groups, document_groups : one label for each query and document, or neither

    Raises DataError when lengths disagree or a positive is not a document of the query's group.
    """
    if len(queries) != len(positives):
        raise DataError(
            f"{len(queries)} queries have {len(positives)} lists of positives: one list each is expected."
        )
    if (query_groups is None) != (document_groups is None):
        raise ParameterError("query_groups and document_groups must be given together.")
    if negatives < 1 or depth < 1:
        raise ParameterError(f"negatives and depth must be at least 1, not {negatives} and {depth}.")
    of_queries = list(query_groups) if query_groups is not None else [None] * len(queries)
    of_documents = list(document_groups) if document_groups is not None else [None] * len(documents)
    if len(of_queries) != len(queries) or len(of_documents) != len(documents):
        raise DataError("query_groups and document_groups need one label for each query and each document.")
    mined = np.full((len(queries), negatives), NONE, dtype=np.int32)
    for group in dict.fromkeys(of_queries):
        rows = [row for row, label in enumerate(of_queries) if label == group]
        places = [place for place, label in enumerate(of_documents) if label == group]
        local = {place: number for number, place in enumerate(places)}
        for row in rows:
            if not positives[row] or any(place not in local for place in positives[row]):
                raise DataError(
                    f"Query {row} has no positive, or one that is not among the documents of its group."
                )
        found = _mine(
            [queries[row] for row in rows],
            [[local[place] for place in positives[row]] for row in rows],
            [documents[place] for place in places],
            encode,
            negatives,
            depth,
            relative_margin,
        )
        mined[rows] = np.where(found == NONE, NONE, np.asarray(places, dtype=np.int32)[found])
    return mined


def _mine(
    queries: list[str],
    positives: list[list[int]],
    documents: list[str],
    encode: Encoder,
    negatives: int,
    depth: int,
    relative_margin: float,
) -> np.ndarray:
    query_vectors, document_vectors = encode(queries, True), encode(documents, False)
    dense, _ = top_dense(query_vectors, document_vectors, depth)
    lexical, _ = top_bm25(queries, documents, depth)
    candidates = interleave(dense, lexical)
    own = np.array([places[0] for places in positives])
    positive_scores = (query_vectors * document_vectors[own]).sum(axis=1)
    scores = np.stack(
        [document_vectors[row] @ vector for row, vector in zip(candidates, query_vectors, strict=True)]
    )
    safe = safe_negatives(
        candidates,
        scores,
        [frozenset(places) for places in positives],
        positive_scores,
        documents,
        relative_margin,
    )
    mined = np.full((len(queries), negatives), NONE, dtype=np.int32)
    for row, (of_query, usable) in enumerate(zip(candidates, safe, strict=True)):
        chosen = of_query[usable][:negatives]
        mined[row, : len(chosen)] = chosen
    return mined
