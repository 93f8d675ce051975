"""The columns that trainers are given, made from kept rows: negatives as columns, lists cut and scaled, what is said.

Negatives are kept as ``negative_0`` ... with nulls where a row has fewer; nothing is read from files or the hub here.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from colbert_zero_lib.errors import DataError, ParameterError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

# The paper takes ten; the authors' script stops after the eleventh.
MOST_NEGATIVES = 11
_NEGATIVE_COLUMNS = [f"negative_{place}" for place in range(MOST_NEGATIVES)]


def negative_columns(lists: pa.ChunkedArray) -> dict[str, pa.Array]:
    """A column of lists of texts as `MOST_NEGATIVES` columns, null where a list is shorter."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = lists.combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # an empty one, in some versions
        column = column.chunk(0)
    lengths, starts = pc.list_value_length(column), pc.cast(column.offsets[:-1], pa.int64())
    places = {name: pc.add(starts, place) for place, name in enumerate(_NEGATIVE_COLUMNS)}
    nowhere = pa.scalar(None, pa.int64())
    return {
        name: column.values.take(pc.if_else(pc.greater(lengths, place), places[name], nowhere))
        for place, name in enumerate(_NEGATIVE_COLUMNS)
    }


def with_negatives(kept: Dataset, negatives: int) -> Dataset:
    """Columns ``query``, ``positive`` and as many negatives as the shortest row has, at most ``negatives``."""
    if not 1 <= negatives <= MOST_NEGATIVES:
        raise ParameterError(f"negatives must be between 1 and {MOST_NEGATIVES}, not {negatives}.")
    full = [name for name in _NEGATIVE_COLUMNS if kept.data.column(name).null_count == 0]
    return kept.select_columns(["query", "positive", *full[:negatives]])


def say_ragged(name: str, kept: Dataset, negatives: int) -> None:
    """One warning where rows have different numbers of negatives and the shortest decides."""
    nulls = [kept.data.column(column).null_count for column in _NEGATIVE_COLUMNS[:negatives]]
    used = nulls.count(0)
    steps = {lost: place + 1 for place, lost in enumerate(nulls) if 0 < lost < len(kept)}
    if not steps:
        return
    costs = ", ".join(f"{count} would lose {lost:,}" for lost, count in list(steps.items())[:3])
    warnings.warn(
        f"{name}: rows have different numbers of negatives, so {used} are used, as many as the shortest row has, and "
        f"none of its {len(kept):,} rows is lost; {costs}. Remove the short rows from the file to train with more.",
        stacklevel=3,
    )


def say_small(phase: str, sizes: Mapping[str, int], batch_size: int) -> None:
    """One warning for the data sets that cannot fill a batch, which holds rows of one data set only."""
    small = {name: rows for name, rows in sizes.items() if rows < batch_size}
    if small:
        listed = ", ".join(f"{name} ({rows:,})" for name, rows in small.items())
        warnings.warn(
            f"{len(small)} of {len(sizes)} data sets of the {phase} phase have fewer rows than a batch of "
            f"{batch_size:,} and are never drawn: {listed}; lower the batch size or give them more rows.",
            stacklevel=3,
        )


@dataclass(frozen=True)
class Cut:
    """A transform: the first ``documents`` of each list, scores times ``scale``, ids replaced by their texts.

    ``queries`` and ``texts`` are None where the columns hold texts already, else tables with a column ``text`` that
    is read by row number when a batch is asked for: millions of passages stay on disk, in as many pieces as they
    were written in.
    """

    documents: int
    scale: float
    queries: Dataset | None = None
    texts: Dataset | None = None

    def __call__(self, batch: dict[str, list]) -> dict[str, list]:
        """A batch of rows with those of its columns that were asked for."""
        cut: dict[str, Any] = dict(batch)
        for name in ("documents", "scores"):
            if name in batch:
                cut[name] = [row[: self.documents] for row in batch[name]]
        if "scores" in batch:
            cut["scores"] = [[value * self.scale for value in row] for row in cut["scores"]]
        if self.queries is not None and "query" in batch:
            cut["query"] = _texts(self.queries, batch["query"])
        if self.texts is not None and "documents" in batch:
            flat = iter(_texts(self.texts, [place for row in cut["documents"] for place in row]))
            cut["documents"] = [[next(flat) for _ in row] for row in cut["documents"]]
        return cut


def _texts(table: Dataset, places: Sequence[int]) -> list[str]:
    return list(table[list(places)]["text"]) if places else []


def draw_lists(kept: Dataset, name: str, documents: int, wanted: int, seed: int) -> Dataset:
    """At most ``wanted`` rows whose lists have ``documents`` entries; what is shorter is counted and said.

    Rows keep their order unless there are more than wanted: then they are drawn under ``seed``. DataError when no list
    is long enough.
    """
    import pyarrow.compute as pc

    lengths = pc.list_value_length(kept.data.column("documents")).to_numpy()
    enough = np.flatnonzero(lengths >= documents)
    if not len(enough):
        raise DataError(
            f"{name}: no list has {documents} documents, the longest has {int(lengths.max())}: give longer lists, or "
            "lower the number of documents of the distillation phase."
        )
    if short := len(lengths) - len(enough):
        warnings.warn(
            f"{name}: {short:,} of {len(lengths):,} lists have fewer than {documents} documents and are left out.",
            stacklevel=3,
        )
    if wanted < len(enough):
        enough = np.random.default_rng(seed).permutation(enough)[:wanted]
    return kept if len(enough) == len(kept) else kept.select(enough)
