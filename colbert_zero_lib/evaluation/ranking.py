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
