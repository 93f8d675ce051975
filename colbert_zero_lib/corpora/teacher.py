"""Mined negatives and teacher scores as they are kept: row numbers and scores, no text.

Reading and writing only; who mines and scores is in ``training.teacher``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from colbert_zero_lib.errors import DataError
from colbert_zero_lib.home import data_folder

if TYPE_CHECKING:
    from colbert_zero_lib.corpora.offline import OfflineCorpora

LISTS = "lists.parquet"
PASSPORT = "passport.json"


@dataclass(frozen=True, eq=False)
class TeacherLists:
    """For every supervised query: candidate documents, the teacher's scores, and which of them are hard negatives.

    A row is a supervised pair; rows are numbered through the supervised sources in order, and a document is named
    by the first row that holds it. ``documents`` and ``scores`` are ``[rows, candidates]`` (-1 and NaN where a list
    is short), the known positive in column 0; ``hard`` has the same shape, True for candidates that are safe to use
    as negatives.
    """

    queries: Sequence[str]
    texts: Sequence[str]
    source_of_row: np.ndarray
    sources: tuple[str, ...]
    documents: np.ndarray
    scores: np.ndarray
    hard: np.ndarray
    passport: dict = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.documents)

    @cached_property
    def _query_list(self) -> list[str]:
        return list(self.queries)

    @cached_property
    def _text_list(self) -> list[str]:
        return list(self.texts)

    def rows(self, source: str) -> np.ndarray:
        """Row numbers of a source, ascending."""
        return np.flatnonzero(self.source_of_row == self.sources.index(source))

    def query(self, row: int) -> str:
        """Text of the row's query."""
        return self._query_list[row]

    def document(self, row: int) -> str:
        """Text of the row's document."""
        return self._text_list[row]

    def negatives(self, row: int) -> np.ndarray:
        """Rows of the hard negatives of a query, hardest (by the teacher) first."""
        return self.documents[row][self.hard[row]]

    def candidates(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the candidates and the teacher's scores: the positive, then the others by falling score."""
        there = self.documents[row] >= 0
        return self.documents[row][there], self.scores[row][there]


def write_lists(
    folder: Path, documents: np.ndarray, scores: np.ndarray, hard: np.ndarray, passport: dict
) -> None:
    """Write ids (int32), scores (float16) and the hard-negative flags as one Parquet file, with their passport."""
    folder.mkdir(parents=True, exist_ok=True)
    width = documents.shape[1]
    table = pa.table(
        {
            "documents": pa.FixedSizeListArray.from_arrays(
                pa.array(documents.astype(np.int32).ravel()), width
            ),
            "scores": pa.FixedSizeListArray.from_arrays(pa.array(scores.astype(np.float16).ravel()), width),
            "hard": pa.FixedSizeListArray.from_arrays(pa.array(hard.astype(np.int8).ravel()), width),
        }
    )
    temporary = folder / f".{LISTS}.writing"
    pq.write_table(table, temporary, compression="zstd", compression_level=19, use_dictionary=False)
    temporary.replace(folder / LISTS)
    (folder / PASSPORT).write_text(json.dumps(passport, indent=1, sort_keys=True) + "\n")


def load_lists(corpora: OfflineCorpora, folder: Path | None = None) -> TeacherLists:
    """The kept lists, joined with the texts they were made for.

    Raises
    ------
    DataError
        When there are none, or they were made for another text than ``corpora``.
    """
    from colbert_zero_lib.corpora import SUPERVISED_SOURCES

    folder = folder or data_folder() / "teacher"
    try:
        passport = json.loads((folder / PASSPORT).read_text())
        table = pq.read_table(folder / LISTS)
    except FileNotFoundError as error:
        raise DataError(
            f"{error.filename or folder} is missing; make the teacher's scores with 'colbert-zero data teach'"
        ) from None
    except (ValueError, pa.ArrowException):
        raise DataError(
            f"{folder} cannot be read; make the teacher's scores again: 'colbert-zero data teach'"
        ) from None
    if passport.get("corpora") != corpora.fingerprint:
        raise DataError(
            f"{folder / LISTS} was made for the text {str(passport.get('corpora'))[:12]}, but the corpora here are"
            f" {corpora.fingerprint[:12]}; run 'colbert-zero data teach'"
        )

    def matrix(name: str, dtype: type) -> np.ndarray:
        column = table[name].combine_chunks()
        return column.flatten().to_numpy(zero_copy_only=False).astype(dtype).reshape(len(column), -1)

    parts = [corpora.training[name] for name in SUPERVISED_SOURCES]
    return TeacherLists(
        queries=[text for part in parts for text in part["query"]],
        texts=[text for part in parts for text in part["document"]],
        source_of_row=np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
        sources=tuple(SUPERVISED_SOURCES),
        documents=matrix("documents", np.int32),
        scores=matrix("scores", np.float32),
        hard=matrix("hard", bool),
        passport=passport,
    )
