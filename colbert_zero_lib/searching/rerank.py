"""Another system's ranking, a TREC run, put in the order of a ColBERT model.

Documents and their passages come from ``documents``; an index of one's own is in ``index``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from colbert_zero_lib.corpora.qrels import text_lines
from colbert_zero_lib.errors import DataError
from colbert_zero_lib.evaluation.encode import token_vectors
from colbert_zero_lib.keeping import write_whole

from .documents import Cutter, Document, in_parts, named_once, passages_of

if TYPE_CHECKING:
    from pylate.models import ColBERT

Run = dict[str, list[str]]
_BLANKS = re.compile("[ \t]+")
_TOKENS = 1 << 18
_QUERIES = 64  # that are scored at a time
TAG = "colbert-zero"


def read_run(file: Path) -> Run:
    """Query ids -> document ids by rank, of lines ``query Q0 document rank score tag``.

    Columns are separated by tabs where a line has any, else by blanks. DataError names file and line.
    """
    found: dict[str, dict[str, int]] = {}
    for number, line in text_lines(file):
        if not line.strip():
            continue
        cells = line.split("\t") if "\t" in line else _BLANKS.split(line.strip(" "))
        if len(cells) != 6 or not re.fullmatch("[0-9]{1,9}", cells[3].strip()):
            raise DataError(
                f"{file}:{number} is no line of a TREC run: query, Q0, document, rank, score, tag are expected."
            )
        ranks = found.setdefault(cells[0], {})
        if cells[2] in ranks:
            raise DataError(f"{file}:{number} ranks document {cells[2]!r} twice for query {cells[0]!r}.")
        ranks[cells[2]] = int(cells[3])
    if not found:
        raise DataError(f"{file} has no lines: a TREC run is expected.")
    return {query: sorted(ranks, key=ranks.__getitem__) for query, ranks in found.items()}


def rerank(
    run: Mapping[str, Sequence[str]],
    queries: Mapping[str, str],
    documents: Iterable[Document],
    model: ColBERT,
    precision: str = "float32",
    overlap: int | None = None,
) -> dict[str, list[tuple[str, float]]]:
    """The same documents of each query with their scores, best first; equal scores stay in the order they had.

    A document's score is that of its best passage. Documents are encoded once each, as they come, and not kept.
    DataError names a query or a document of the run that is not there.
    """
    if missing := next((query for query in run if query not in queries), None):
        raise DataError(
            f"The run has the query {missing!r}, which is not among the queries: name their file."
        )
    vectors = dict(
        zip(run, token_vectors(model, [queries[query] for query in run], True, precision), strict=True)
    )
    wanted: dict[str, list[str]] = {}
    for query, ranked in run.items():
        for name in ranked:
            wanted.setdefault(name, []).append(query)
    scores: dict[str, dict[str, float]] = {query: {} for query in run}
    needed = named_once(document for document in documents if document.id in wanted)
    for part, spans in in_parts(needed, Cutter(model, overlap), _TOKENS):
        passages: Iterator[np.ndarray] = iter(
            token_vectors(model, passages_of(part, spans), False, precision)
        )
        for document, cut in zip(part, spans, strict=True):
            asking = wanted[document.id]
            found = _scores([vectors[query] for query in asking], [next(passages) for _ in cut])
            for query, score in zip(asking, found, strict=True):
                if not math.isfinite(score):
                    raise DataError(
                        f"The model gives query {query!r} and document {document.id!r} no finite score."
                    )
                scores[query][document.id] = score
    for query, ranked in run.items():
        if gone := next((name for name in ranked if name not in scores[query]), None):
            raise DataError(
                f"The run has the document {gone!r}, which is not in the corpus: name the run's own."
            )
    return {
        query: sorted(((name, scores[query][name]) for name in ranked), key=lambda one: -one[1])
        for query, ranked in run.items()
    }


def _scores(queries: Sequence[np.ndarray], passages: Sequence[np.ndarray]) -> list[float]:
    """MaxSim of each query with the best of some passages, so many queries at a time."""
    tokens, starts = np.concatenate(passages).T, _starts(passages)
    found: list[float] = []
    for at in range(0, len(queries), _QUERIES):
        some = queries[at : at + _QUERIES]
        best = np.maximum.reduceat(np.concatenate(some) @ tokens, starts, axis=1)  # [query tokens, passages]
        found += np.add.reduceat(best, _starts(some), axis=0).max(axis=1).tolist()
    return found


def _starts(texts: Sequence[np.ndarray]) -> np.ndarray:
    return np.cumsum([0, *(len(each) for each in texts[:-1])])


def write_run(ranked: Mapping[str, Sequence[tuple[str, float]]], file: Path) -> None:
    """Write a TREC run, separated by tabs where an id holds a blank; DataError for an id that no line could hold."""
    ids = {*ranked, *(name for each in ranked.values() for name, _ in each)}
    if odd := next((name for name in ids if not name or any(sign in name for sign in "\t\n\r")), None):
        raise DataError(f"The id {odd!r} cannot be written to a TREC run: give it another name.")
    between = "\t" if any(_BLANKS.search(name) for name in ids) else " "
    lines = (
        between.join((query, "Q0", name, str(rank), f"{score:.6f}", TAG)) + "\n"
        for query, found in ranked.items()
        for rank, (name, score) in enumerate(found, start=1)
    )
    write_whole(file, "".join(lines))
