"""Mined negatives and teacher scores: kept as row numbers and scores without text, read as rows to train on.

Who mines and scores is in ``training.teaching``; scores of another teacher for the same lists are in ``scores``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict

from colbert_zero_lib import committed
from colbert_zero_lib.errors import DataError, one_line
from colbert_zero_lib.home import data_folder
from colbert_zero_lib.keeping import replacing, write_whole
from colbert_zero_lib.reading import check_ordinary, read_json

if TYPE_CHECKING:
    from colbert_zero_lib.corpora.offline import OfflineCorpora

LISTS = "lists.parquet"
PASSPORT = "passport.json"


@dataclass(frozen=True, eq=False)
class TeacherLists:
    """For every supervised query: candidate documents, the teacher's scores, and which of them are hard negatives.

    A row is a supervised pair, its query and its document in ``queries`` and ``texts``. Rows are numbered through the
    supervised sources in order, and a document is named by the first row that holds it. ``documents`` and ``scores``
    are ``[rows, candidates]`` (-1 and NaN where a list is short), the known positive in column 0; ``hard`` has the same
    shape, True for candidates that are safe to use as negatives.
    """

    queries: list[str]
    texts: list[str]
    source_of_row: np.ndarray
    sources: tuple[str, ...]
    documents: np.ndarray
    scores: np.ndarray
    hard: np.ndarray
    passport: dict

    def __len__(self) -> int:
        return len(self.documents)

    def rows(self, source: str) -> np.ndarray:
        """Row numbers of a source, ascending."""
        return np.flatnonzero(self.source_of_row == self.sources.index(source))

    def negatives(self, row: int) -> np.ndarray:
        """Rows of the hard negatives of a query, hardest (by the teacher) first."""
        return self.documents[row][self.hard[row]]

    def candidates(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the candidates and the teacher's scores: the positive, then the others as the ensemble ranks them."""
        there = self.documents[row] >= 0
        return self.documents[row][there], self.scores[row][there]


def as_column(matrix: np.ndarray) -> pa.Array:
    """A matrix as a column of lists of one length."""
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])


def as_matrix(column: pa.ChunkedArray, dtype: type) -> np.ndarray:
    """The matrix of a column of lists of one length."""
    values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.astype(dtype).reshape(len(column), -1)


def write_lists(
    folder: Path, documents: np.ndarray, scores: np.ndarray, hard: np.ndarray, passport: dict
) -> None:
    """Write ids (int32), scores (float16) and the hard-negative flags as one Parquet file, with their passport."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {
        "documents": as_column(documents.astype(np.int32)),
        "scores": as_column(scores.astype(np.float16)),
        "hard": as_column(hard.astype(np.int8)),
    }
    with replacing(folder / LISTS) as neighbour:
        pq.write_table(
            pa.table(kept), neighbour, compression="zstd", compression_level=19, use_dictionary=False
        )
    write_whole(folder / PASSPORT, json.dumps(passport, indent=1, sort_keys=True) + "\n")
    committed.seal_again(folder / LISTS, folder / PASSPORT)


def lists_digest(documents: np.ndarray, scores: np.ndarray, hard: np.ndarray) -> str:
    """The sha256 of the lists as they are kept: int32, float16, bool."""
    kept = documents.astype(np.int32), scores.astype(np.float16), hard.astype(bool)
    return hashlib.sha256(b"".join(part.tobytes() for part in kept)).hexdigest()


def load_lists(corpora: OfflineCorpora, folder: Path | None = None) -> TeacherLists:
    """The kept lists, joined with the texts they were made for.

    Raises
    ------
    DataError
        When there are none, they are not those of their passport, or they were made for another text than ``corpora``.
    """
    from colbert_zero_lib.corpora import SUPERVISED_SOURCES

    folder = folder or data_folder() / "teacher"
    committed.check(folder / PASSPORT, folder / LISTS)
    try:
        passport = read_json(folder / PASSPORT)
        check_ordinary(folder / LISTS)
        table = pq.read_table(folder / LISTS)
        made_for = str(passport.get("corpora"))
    except (OSError, ValueError, AttributeError, pa.ArrowException) as error:
        raise DataError(
            f"The teacher's lists in {folder} cannot be read ({one_line(error, 100)}); make them with"
            " 'colbert-zero data teach'"
        ) from None
    if made_for != corpora.fingerprint:
        raise DataError(
            f"{folder / LISTS} was made for the text {made_for[:12]}, but the corpora here are"
            f" {corpora.fingerprint[:12]}; run 'colbert-zero data teach'"
        )
    try:
        documents = as_matrix(table["documents"], np.int32)
        scores = as_matrix(table["scores"], np.float32)
        hard = as_matrix(table["hard"], bool)
        digest = lists_digest(documents, scores, hard)
    except (KeyError, ValueError, AttributeError, pa.ArrowException):
        digest = "unreadable"
    if passport.get("digest") != digest:
        raise DataError(
            f"{folder / LISTS} does not hold the lists that {PASSPORT} beside it describes; make them again:"
            " 'colbert-zero data teach'"
        )
    parts = [corpora.training[name] for name in SUPERVISED_SOURCES]
    return TeacherLists(
        queries=[text for part in parts for text in part["query"]],
        texts=[text for part in parts for text in part["document"]],
        source_of_row=np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
        sources=tuple(SUPERVISED_SOURCES),
        documents=documents,
        scores=scores,
        hard=hard,
        passport=passport,
    )


def standardised(scores: np.ndarray) -> np.ndarray:
    """Scores ``[queries, candidates]`` less their list's mean, over the mean spread within a list; NaN stays."""
    spread = float(np.nanmean(np.nanstd(scores, axis=1)))
    return (scores - np.nanmean(scores, axis=1, keepdims=True)) / spread


def positive_first(scores: np.ndarray) -> float:
    """Share of the lists ``[lists, candidates]`` whose known positive, in column 0, has the highest score."""
    return float(np.mean(scores[:, 0] >= np.nanmax(scores, axis=1)))


def supervised_rows(lists: TeacherLists, negatives: int, sampled: int | None = None) -> DatasetDict:
    """Queries that have at least ``negatives`` mined hard negatives, one split per source.

    The hardest negatives come first, or those that are drawn under the seed ``sampled`` among all that lie below the
    threshold of ``mining.safe_negatives``. A query with fewer than asked for is left out, as in the authors' script.
    """
    chance = None if sampled is None else np.random.default_rng(sampled)
    splits = {}
    for source in lists.sources:
        queries: list[str] = []
        positives: list[str] = []
        columns: list[list[str]] = [[] for _ in range(negatives)]
        for row in lists.rows(source):
            hard = lists.negatives(row)
            if len(hard) < negatives:
                continue
            hard = hard[:negatives] if chance is None else chance.choice(hard, negatives, replace=False)
            queries.append(lists.queries[row])
            positives.append(lists.texts[row])
            for column, document in zip(columns, hard, strict=True):
                column.append(lists.texts[document])
        texts = {f"negative_{place}": column for place, column in enumerate(columns)}
        splits[source] = Dataset.from_dict({"query": queries, "positive": positives, **texts})
    return DatasetDict(splits)


def distillation_rows(
    lists: TeacherLists, documents: int, scale: float, wanted: int | None = None, seed: int = 0
) -> Dataset:
    """Queries with ``documents`` of their candidates and the teacher's scores times ``scale``.

    Candidates keep the order in which they are stored: the known positive, then by the teacher's score, spread over the
    list's whole range when fewer are asked for than there are, so that easy documents are seen as well as hard ones.
    At most ``wanted`` queries are drawn under ``seed``: no more text is unfolded than the step will read.
    """
    queries: list[str] = []
    texts: list[list[str]] = []
    scores: list[list[float]] = []
    for row in np.random.default_rng(seed).permutation(len(lists)):
        if len(queries) == wanted:
            break
        candidates, values = lists.candidates(row)
        if len(candidates) < documents:
            continue
        keep = np.unique(np.linspace(0, len(candidates) - 1, documents).round().astype(int))
        queries.append(lists.queries[row])
        texts.append([lists.texts[candidates[place]] for place in keep])
        scores.append([float(values[place]) * scale for place in keep])
    return Dataset.from_dict({"query": queries, "documents": texts, "scores": scores})
