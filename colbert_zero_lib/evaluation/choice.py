"""Exact search or an index: which is faster for a corpus and a number of queries, by what was measured.

Both searches are elsewhere; the measurement is the benchmark `search`, recorded in `data/benchmarks`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_zero_lib import committed
from colbert_zero_lib.errors import DataError
from colbert_zero_lib.home import data_folder
from colbert_zero_lib.reading import read_json

if TYPE_CHECKING:
    from pylate.models import ColBERT

    from colbert_zero_lib.corpora import Collection


@dataclass(frozen=True)
class SearchCosts:
    """Seconds on one machine: of one query against one document, of indexing a document, of one look-up."""

    exact_pair: float
    index_document: float
    index_query: float

    def index_pays(self, documents: int, queries: int) -> bool:
        """Whether building an index and looking up is faster than scoring every document; encoding is the same."""
        indexed = self.index_document * documents + self.index_query * queries
        return indexed < self.exact_pair * documents * queries


def measured_costs(file: Path | None = None) -> SearchCosts:
    """The costs in a results file of the benchmark `search`, at the largest corpus it holds.

    A look-up is taken to cost the same at any size; it grows slowly, so that an index is rather recommended too early
    than too late. DataError when there is no such row.
    """
    file = file or data_folder() / "benchmarks" / "search.json"
    try:
        committed.check(file)
        rows = read_json(file)["rows"]
        largest = max((row for row in rows if "peer_build_seconds" in row), key=lambda row: row["documents"])
        costs = (
            largest["ours_seconds_per_query"] / largest["documents"],
            largest["peer_build_seconds"] / largest["documents"],
            largest["peer_seconds_per_query"] / 1,
        )
        if not all(0 <= cost < math.inf for cost in costs):
            raise ValueError
        return SearchCosts(*costs)
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise DataError(
            f"{file} holds no measured search with an index: run 'python -m benchmarks --only search'."
        ) from error


def choose_search(model: ColBERT, collection: Collection) -> str:
    """``exact`` or ``index``: the one that the recorded costs say is faster.

    They were measured on a CPU: a GPU searches exactly, and so does a machine whose memory could not hold the vectors
    that an index is built of.
    """
    if model.device.type != "cpu":
        return "exact"
    try:
        costs = measured_costs()
    except DataError:
        return "exact"
    documents = len(collection.corpus)
    pays = costs.index_pays(documents, len(collection.queries))
    return "index" if pays and _fits(model, documents) else "exact"


def _fits(model: ColBERT, documents: int) -> bool:
    """Whether every document at its greatest length, as float32, takes less than half of the memory."""
    from colbert_zero_lib.training.memory import device_memory

    memory = device_memory(model.device)
    dimensions = model.get_sentence_embedding_dimension() or 128
    vectors = 4 * documents * int(model.document_length or 0) * dimensions
    return memory is None or vectors < memory / 2
