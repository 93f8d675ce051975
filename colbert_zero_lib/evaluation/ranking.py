"""What a search returns, and what a retriever must be able to do.

How documents are scored is in the retrievers; how a ranking is judged is in `metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from colbert_zero_lib.errors import DataError

if TYPE_CHECKING:
    from colbert_zero_lib.corpora import Collection


@dataclass(frozen=True, eq=False)
class Ranking:
    """The best documents of each query, best first.

    ``indices`` [queries, k] int32 holds positions in the collection's corpus (in its own order), -1 where a
    query has fewer than k results; ``scores`` [queries, k] float32 falls along each row, -inf where the index
    is -1. Equal scores are ordered by position in the corpus, so that a ranking does not depend on batching.
    DataError for other shapes, and for a document that a row names twice.
    """

    query_ids: tuple[str, ...]
    indices: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        rows = len(self.query_ids)
        if self.indices.shape != self.scores.shape or self.indices.ndim != 2 or len(self.indices) != rows:
            raise DataError(
                f"a ranking of {rows} queries needs indices and scores of shape [{rows}, k], "
                f"not {self.indices.shape} and {self.scores.shape}."
            )
        ordered = np.sort(self.indices, axis=1)
        twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
        if twice.any():
            query = self.query_ids[int(twice.argmax())]
            raise DataError(
                f"the ranking of query {query!r} names a document twice: keep its first place alone."
            )

    def document_ids(self, collection: Collection) -> dict[str, list[str]]:
        """The ranked document ids of each query of ``collection``, best first."""
        names = list(collection.corpus)
        return {
            query: [names[index] for index in row if index >= 0]
            for query, row in zip(self.query_ids, self.indices.tolist(), strict=True)
        }


@runtime_checkable
class Retriever(Protocol):
    """Anything that ranks the documents of a collection for each of its queries."""

    def search(self, collection: Collection, k: int = 100) -> Ranking:
        """The ``k`` best documents of every query in ``collection.queries``, in that order."""
        ...


def rank(retriever: Retriever, collection: Collection, k: int = 100) -> Ranking:
    """The first ``k`` of each query; where the collection says so, without the document that has the query's own id."""
    if not collection.identical_ids_out:
        return retriever.search(collection, k)
    ranking = retriever.search(collection, k + 1)
    place = {document: number for number, document in enumerate(collection.corpus)}
    own = np.array([place.get(query, -2) for query in ranking.query_ids], dtype=np.int32)[:, None]
    identical = ranking.indices == own
    order = np.argsort(identical, axis=1, kind="stable")[:, :k]
    indices = np.where(identical, -1, ranking.indices)
    scores = np.where(identical, np.float32(-np.inf), ranking.scores)
    return Ranking(
        ranking.query_ids, np.take_along_axis(indices, order, 1), np.take_along_axis(scores, order, 1)
    )
