"""Exact search or an index: which is faster for a corpus and a number of queries, by what was measured.

Both searches are elsewhere; the measurement is the benchmark `search`, recorded in `data/benchmarks`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_zero_lib.errors import DataError
from colbert_zero_lib.home import data_folder

if TYPE_CHECKING:
    from pylate.models import ColBERT

    from colbert_zero_lib.corpora import Collection

    from .ranking import Retriever


@dataclass(frozen=True)
class SearchCosts:
    """Seconds on one machine: of one query against one document, of indexing a document, of one look-up."""

    exact_pair: float
    index_document: float
    index_query: float

    def seconds(self, documents: int, queries: int) -> tuple[float, float]:
        """Predicted (exact, index) seconds after encoding; exact grows with both numbers, look-ups with one."""
        return (
            self.exact_pair * documents * queries,
            self.index_document * documents + self.index_query * queries,
        )

    def index_pays(self, documents: int, queries: int) -> bool:
        """Whether building an index and looking up is faster than scoring every document."""
        exact, index = self.seconds(documents, queries)
        return index < exact


def measured_costs(file: Path | None = None) -> SearchCosts:
    """The costs in a results file of the benchmark `search`, at the largest corpus it holds.

    A look-up is taken to cost the same at any size; it grows slowly, so that an index is rather recommended too early
    than too late. DataError when there is no such row.
    """
    file = file or data_folder() / "benchmarks" / "search.json"
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
        largest = max((row for row in rows if "peer_build_seconds" in row), key=lambda row: row["documents"])
        return SearchCosts(
            largest["ours_seconds_per_query"] / largest["documents"],
            largest["peer_build_seconds"] / largest["documents"],
            largest["peer_seconds_per_query"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file} holds no measured search with an index: run 'python -m benchmarks --only search'."
        ) from error


def retriever_for(model: ColBERT, collection: Collection, costs: SearchCosts | None = None) -> Retriever:
    """Exact search, or PLAID where ``costs`` (the recorded ones by default) say that it is faster."""
    from .late_interaction import LateInteractionRetriever
    from .plaid import PlaidRetriever

    costs = costs or measured_costs()
    pays = costs.index_pays(len(collection.corpus), len(collection.queries))
    return PlaidRetriever(model) if pays else LateInteractionRetriever(model)
