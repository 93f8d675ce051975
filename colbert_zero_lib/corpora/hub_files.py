"""The Parquet files of one split on the hub: found through ``datasets``, read by column over the network.

Which rows are wanted, and what becomes of them, is decided by the caller.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from colbert_zero_lib.errors import DataError
from colbert_zero_lib.hub import plain_hub_errors

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from colbert_zero_lib.corpora.store import Part

BATCH_ROWS = 2_000
# How a file is read over the network: ahead where all of it is wanted, else what is asked for and no more.
_AHEAD = {"cache_type": "readahead", "block_size": 16 * 2**20}
_EXACT = {"cache_type": "none"}


@dataclass(frozen=True)
class HubFiles:
    """A split of a data set at one commit, its wanted columns, and the function that shapes each table of them."""

    repository: str
    commit: str
    configuration: str
    split: str
    columns: tuple[str, ...]
    shape: Callable[[pa.Table], pa.Table]

    def whole(self) -> dict[str, Part]:
        """All rows, a part a file."""
        return {f"{place:05d}": partial(self._all_of, file) for place, file in enumerate(self._names())}

    def sample(self, rows: int, seed: int) -> dict[str, Part]:
        """``rows`` of them: whole row groups of files and groups in a shuffled order, the last group in part."""
        return {"sample": partial(self._drawn, self._names(), rows, seed)}

    def _names(self) -> list[str]:
        found = _files_by_split(self.repository, self.commit, self.configuration)
        if self.split not in found:
            raise DataError(
                f"{self.repository} has no split {self.split} but {', '.join(found)}; take another revision of the "
                "data set."
            )
        return found[self.split]

    def _all_of(self, name: str) -> Iterator[pa.Table]:
        with self._opened(name, _AHEAD) as file:
            for group in range(file.num_row_groups):
                yield from self._tables(file, group)

    def _drawn(self, names: list[str], rows: int, seed: int) -> Iterator[pa.Table]:
        order = random.Random(f"{seed}:{self.split}")
        left = rows
        for name in order.sample(names, len(names)):
            with self._opened(name, _EXACT) as file:
                groups = list(range(file.num_row_groups))
                for group in order.sample(groups, len(groups)):
                    for table in self._tables(file, group):
                        taken = table
                        if table.num_rows > left:
                            taken = table.take(sorted(order.sample(range(table.num_rows), left)))
                        yield taken
                        left -= taken.num_rows
                        if not left:
                            return

    def _tables(self, file: pq.ParquetFile, group: int) -> Iterator[pa.Table]:
        """A row group at a time: more would be held in memory together."""
        import pyarrow as pa

        batches = file.iter_batches(BATCH_ROWS, row_groups=[group], columns=list(self.columns))
        while True:
            with plain_hub_errors(self.repository, "dataset"):
                batch = next(batches, None)
            if batch is None:
                return
            yield self.shape(pa.Table.from_batches([batch]))

    @contextmanager
    def _opened(self, name: str, reading: Mapping[str, Any]) -> Iterator[pq.ParquetFile]:
        import pyarrow.parquet as pq
        from huggingface_hub import HfFileSystem, constants

        with plain_hub_errors(self.repository, "dataset"):
            system = HfFileSystem(endpoint=constants.ENDPOINT)
            stream = system.open(name, "rb", **reading)
        with stream:
            with plain_hub_errors(self.repository, "dataset"):
                file = pq.ParquetFile(stream, pre_buffer=True)
            there = file.schema_arrow.names
            missing = [column for column in self.columns if column not in there]
            if missing:
                raise DataError(
                    f"Split {self.split} of {self.repository} has no column {missing[0]!r} but {', '.join(there)}; "
                    "take another revision of the data set."
                )
            yield file


@lru_cache(maxsize=16)
def _files_by_split(repository: str, commit: str, configuration: str) -> dict[str, list[str]]:
    """Addresses (``hf://...``), which the data set's card spreads over its splits."""
    from datasets import load_dataset_builder

    with plain_hub_errors(repository, "dataset"):
        builder = load_dataset_builder(repository, configuration, revision=commit)
    found = builder.config.data_files or {}
    return {str(split): [str(file) for file in files] for split, files in found.items()}
