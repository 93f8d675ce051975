"""The hub's columns turned into the suite's: negatives apart, printed lists read, ids replaced by row numbers.

Nothing is downloaded or kept here.
"""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Any

from colbert_zero_lib.corpora.qrels import identifier
from colbert_zero_lib.corpora.rows import negative_columns
from colbert_zero_lib.errors import DataError
from colbert_zero_lib.reading import is_number

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


def as_they_are(table: pa.Table) -> pa.Table:
    """Columns that need nothing."""
    return table


def negatives_apart(table: pa.Table) -> pa.Table:
    """``query``, ``positive`` and a column a negative, from ``query``, ``document`` and the list ``negative``."""
    import pyarrow as pa

    columns = {"query": table.column("query"), "positive": table.column("document")}
    return pa.table(columns | negative_columns(table.column("negative")))


def parsed_lists(table: pa.Table) -> pa.Table:
    """Ids as texts, since the subsets differ in their type, and scores as numbers; both are printed lists."""
    import pyarrow as pa

    queries = [str(key) for key in table.column("query_id").to_pylist()]
    ids, scores = (
        [
            _list(row, query, column)
            for query, row in zip(queries, table.column(column).to_pylist(), strict=True)
        ]
        for column in ("document_ids", "scores")
    )
    for query, one, other in zip(queries, ids, scores, strict=True):
        if len(one) != len(other):
            raise _fault(query, f"has {len(one)} documents and {len(other)} scores")
    types = {"query": pa.string(), "documents": pa.list_(pa.string()), "scores": pa.list_(pa.float64())}
    return pa.table({"query": queries, "documents": ids, "scores": scores}, schema=pa.schema(types))


def _list(value: Any, query: str, column: str) -> list:
    """Ids as texts, or finite numbers."""
    try:
        try:
            found = json.loads(value) if isinstance(value, str) else value
        except ValueError:  # Python's spelling, with single quotes
            found = ast.literal_eval(value)
        kept = [identifier(each) if column == "document_ids" else _number(each) for each in found]
    # All are of literal_eval and of numbers that are too long to be printed.
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, list) or None in kept:
        wanted = "ids" if column == "document_ids" else "finite numbers"
        raise _fault(query, f"has {column} that are no list of {wanted}")
    return kept


def _number(value: Any) -> float | None:
    return float(value) if is_number(value) else None


def _fault(query: str, wrong: str) -> DataError:
    return DataError(
        f"In the lists of the teacher, query {query} {wrong}; take another revision of the data set."
    )


def by_row(lists: Dataset, queries: Dataset, texts: Dataset) -> Dataset:
    """Ids replaced by the row numbers of their texts; DataError names an id that has none."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from datasets import Dataset

    table = lists.with_format("arrow")[:]
    documents = table.column("documents").combine_chunks()
    places = _places(texts, "document_id", documents.flatten())
    offsets = pc.subtract(documents.offsets, documents.offsets[0])
    columns = {
        "query": _places(queries, "query_id", table.column("query").combine_chunks()),
        "documents": pa.ListArray.from_arrays(offsets, places),
        "scores": table.column("scores"),
    }
    return Dataset(pa.table(columns))


def _places(table: Dataset, column: str, wanted: pa.Array) -> pa.Array:
    """Row numbers of the wanted ids. Only ids are made one column, never the texts: those overflow it at 2 GiB."""
    import pyarrow as pa
    import pyarrow.compute as pc

    there = pc.cast(table.data.column(column), pa.string()).combine_chunks()
    found = pc.index_in(pc.cast(wanted, pa.string()), value_set=there)
    if found.null_count:
        missing = wanted[pc.index(pc.is_null(found), True).as_py()].as_py()
        raise DataError(
            f"The {column} {missing} of the subset train has no text in its own subset; take "
            "another revision of the data set."
        )
    return found
