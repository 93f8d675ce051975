"""A segment: some documents of an index with the vectors of their passages, in a folder that never changes.

Which segments an index has, and which of their documents count, is in ``index``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from colbert_zero_lib.errors import DataError, one_line
from colbert_zero_lib.evaluation.encode import TokenBatch
from colbert_zero_lib.evaluation.maxsim import ExactMaxSim
from colbert_zero_lib.evaluation.plaid import PlaidFolder
from colbert_zero_lib.keeping import damage, seal
from colbert_zero_lib.scratch import scratch

from .documents import Document, Span

EXACT, PLAID = "exact", "plaid"
_TEXTS, _PASSAGES, _VECTORS = "documents.arrow", "passages.safetensors", "vectors.safetensors"
_TOKENS_AT_ONCE = 1 << 14


def write_segment(
    place: Path,
    documents: Sequence[Document],
    spans: Sequence[Sequence[Span]],
    vectors: Sequence[np.ndarray],
    kind: str,
) -> None:
    """Write a segment, which appears at ``place`` when all of it is there.

    ``spans`` are each document's passages, ``vectors`` those of all passages, [tokens, dim] each, kept as float16 where
    ``kind`` is exact and by PLAID's index, four bits a dimension, where it is not.
    """  # fmt: skip
    numbers = np.repeat(np.arange(len(documents)), [len(cut) for cut in spans])
    counts = np.array([len(each) for each in vectors])
    order = np.argsort(-counts, kind="stable")
    columns = {name: [getattr(each, name) for each in documents] for name in Document._fields}
    table = pa.table({name: pa.array(column, pa.large_string()) for name, column in columns.items()})
    passages = {
        "document": torch.from_numpy(numbers[order]),
        "span": torch.tensor([span for cut in spans for span in cut])[torch.from_numpy(order)],
        "count": torch.from_numpy(counts[order]),
    }
    with scratch(".part", place.parent) as part:
        with pa.OSFile(str(part / _TEXTS), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=4096)
        save_file({name: each.contiguous() for name, each in passages.items()}, part / _PASSAGES)
        if kind == PLAID:
            PlaidFolder(part / PLAID).build([vectors[row] for row in order])
            # What fast-plaid makes anew whenever it opens an index is no part of it.
            for own in ("plaid.lock", "merged_*"):
                for file in (part / PLAID).glob(own):
                    file.unlink()
        else:
            half = np.concatenate([vectors[row].astype(np.float16) for row in order])
            save_file({"vectors": torch.from_numpy(half)}, part / _VECTORS)
        seal(part)
        part.replace(place)


def mark_of(folder: Path) -> tuple[int, int]:
    """What tells a segment's folder from another one of that name; FileNotFoundError where there is none."""
    found = folder.stat()
    return found.st_ino, found.st_ctime_ns


class Segment:
    """A segment that `write_segment` wrote, held against its digests when it is opened; files are mapped into memory.

    Passages are in the order of their vectors' number, most first: ``document`` [passages] int64 into the segment's
    documents, ``span`` [passages, 2] int64 into the document's text. FileNotFoundError where there is no such folder,
    DataError where it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.mark = folder, mark_of(folder)
        wrong = damage(folder)
        try:
            if wrong:
                raise ValueError(wrong)
            passages = load_file(folder / _PASSAGES)
            self.document, self.span, self._count = (
                passages[name].numpy() for name in ("document", "span", "count")
            )
            self.kind = EXACT if (folder / _VECTORS).is_file() else PLAID
            # Opened at once: a reader goes on with what another process removes.
            self._table = pa.ipc.open_file(pa.memory_map(str(folder / _TEXTS))).read_all()
            self._vectors = load_file(folder / _VECTORS)["vectors"] if self.kind == EXACT else torch.empty(0)
        except (OSError, ValueError, KeyError, SafetensorError, pa.ArrowException) as error:
            raise DataError(
                f"{folder} cannot be searched ({one_line(error, 200)}): remove the index and build it again."
            ) from None
        self._plaid: PlaidFolder | None = None
        self._ends = np.cumsum(self._count)
        self.tokens = int(self._ends[-1])

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @property
    def ids(self) -> list[str]:
        """The documents' names."""
        return self._table["id"].to_pylist()

    def document_at(self, number: int) -> Document:
        """A document by its number."""
        return Document(*(self._table[name][number].as_py() for name in Document._fields))

    def vectors_of(self, row: int) -> np.ndarray:
        """The vectors of a passage of an exact segment, float16 [tokens, dim]."""
        end = int(self._ends[row])
        return self._vectors[end - int(self._count[row]) : end].numpy()

    def best(self, queries: Sequence[np.ndarray], k: int, device: str) -> tuple[np.ndarray, np.ndarray]:
        """The best passages of each query, [tokens, dim] float32: rows, -1 where there is none, and scores."""
        depth = min(k, len(self.document))
        if self.kind == PLAID:
            if self._plaid is None:
                mark_of(self.folder)  # fast-plaid would make a folder that is gone
                self._plaid = PlaidFolder(self.folder / PLAID, device)
            return self._plaid.search(queries, depth)
        search = ExactMaxSim(map(_alone, range(len(queries)), queries), len(queries), depth, device)
        for batch in self._batches():
            search.add(batch)
        return search.result()

    def _batches(self) -> Iterator[TokenBatch]:
        """Passages of one length at a time, so that nothing is padded."""
        lengths, firsts = np.unique(-self._count, return_index=True)
        for length, first, last in zip(-lengths, firsts, [*firsts[1:], len(self._count)], strict=True):
            width = max(1, _TOKENS_AT_ONCE // int(length))
            for start in range(int(first), int(last), width):
                rows = torch.arange(start, min(start + width, int(last)))
                end = int(self._ends[rows[-1]])
                flat = self._vectors[end - len(rows) * int(length) : end]
                yield TokenBatch(
                    rows, torch.full((len(rows),), int(length)), flat.view(len(rows), int(length), -1).float()
                )


def _alone(row: int, vectors: np.ndarray) -> TokenBatch:
    return TokenBatch(torch.tensor([row]), torch.tensor([len(vectors)]), torch.from_numpy(vectors)[None])
