"""Relevance judgements as people keep them: BEIR's and TREC's tables, JSON lines, plain or gzipped.

Only the file is read here; which of its ids exist is settled in ``collections``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from colbert_zero_lib.errors import DataError
from colbert_zero_lib.reading import UnreadableError, parse_json, read_lines

Qrels = dict[str, dict[str, int]]

TABLES, JSON_LINES = (".tsv", ".txt", ".qrels", ".trec"), (".jsonl",)
# What the columns are called; a first line with a query's and a document's name is a header.
_QUERY = ("query-id", "query_id", "queryid", "qid", "query", "topic")
_DOCUMENT = (
    "corpus-id",
    "corpus_id",
    "doc-id",
    "doc_id",
    "docid",
    "document-id",
    "document_id",
    "document",
    "pid",
)
# No underscores and no digits of other scripts, both of which Python reads.
_GRADES = re.compile(r" *[+-]?[0-9]{1,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,3})? *")
_BLANKS = re.compile("[ \t]+")  # no other signs: ids hold U+00A0 and U+2028
MOST_GRADE = 2**31 - 1  # what trec_eval holds
_GRADE = ("score", "relevance", "rel", "grade", "label")


def find_qrels(folder: Path, split: str) -> Path:
    """The file of a split in BEIR's folder ``qrels``; DataError names the splits that are there."""
    endings = [ending + packed for ending in (*TABLES, *JSON_LINES) for packed in ("", ".gz")]
    for ending in endings:
        if (folder / f"{split}{ending}").is_file():
            return folder / f"{split}{ending}"
    there = sorted(
        {
            file.name[: -len(ending)]
            for ending in endings
            for file in folder.glob(f"*{ending}")
            if file.is_file()
        }
    )
    raise DataError(
        f"{folder} has no judgements for the split {split!r}: "
        + (f"choose {' or '.join(there)}." if there else f"{split}.tsv is expected there.")
    )


def read_qrels(path: Path) -> Qrels:
    """Query ids -> {document id: grade} of one file.

    Tables are separated by tabs, or by spaces where there is no tab: (query, document), (query, document, grade) or
    TREC's (query, 0, document, grade), with or without a header; JSON lines have BEIR's keys. Without a grade a
    document is relevant (1). A grade may be written ``1.0``. Equal lines count once. DataError names file and line of
    what cannot be read, and both lines where one pair is judged twice, differently.
    """
    objects = path.name.removesuffix(".gz").endswith(JSON_LINES)
    rows = _of_objects(path) if objects else _of_table(path)
    return collect_qrels(rows, str(path))


def collect_qrels(rows: Iterable[tuple[int, Any, Any, Any]], source: str) -> Qrels:
    """Qrels of (line number, query id, document id, grade); DataError as in `read_qrels`."""
    qrels: Qrels = {}
    lines: dict[tuple[str, str], int] = {}
    for number, query_id, document_id, grade in rows:
        place = f"{source}:{number}"
        query, document = identifier(query_id), identifier(document_id)
        if query is None or document is None:
            raise DataError(f"{place} lacks a query id or a document id.")
        found = _whole(grade, place)
        first = lines.setdefault((query, document), number)
        known = qrels.setdefault(query, {}).setdefault(document, found)
        if known != found:
            raise DataError(
                f"{place} gives document {document!r} the grade {found} for query {query!r}, and line {first} gives it "
                f"{known}: keep one of the two."
            )
    return qrels


def identifier(value: Any) -> str | None:
    """An id as text, whether it was written as text or as a whole number; None where there is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def text_lines(path: Path, ends: bool = False) -> Iterator[tuple[int, str]]:
    """(number, line) of a UTF-8 file, plain or ``.gz``, as `read_lines` splits it; DataError when unreadable."""
    try:
        yield from enumerate(read_lines(path, ends), start=1)
    except UnreadableError as error:
        raise DataError(f"{path} cannot be read: {error}.") from None


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of a JSON-lines file, blank lines skipped; DataError for anything else."""
    for number, line in text_lines(path):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except UnreadableError as error:
            raise DataError(f"{path}:{number} is not JSON ({error}).") from None
        if not isinstance(row, dict):
            raise DataError(f'{path}:{number} is not a JSON object like {{"text": ...}}.')
        yield number, row


def _of_objects(path: Path) -> Iterator[tuple[int, Any, Any, Any]]:
    for number, row in json_lines(path):
        cells = [_first(row, names) for names in (_QUERY, _DOCUMENT, _GRADE)]
        yield number, cells[0], cells[1], 1 if cells[2] is None else cells[2]


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if name in row), None)


def _of_table(path: Path) -> Iterator[tuple[int, Any, Any, Any]]:
    tabs: bool | None = None
    columns: _Columns | None = None
    for number, line in text_lines(path):
        if not line.strip():
            continue
        tabs = "\t" in line if tabs is None else tabs
        # BEIR reads quoted cells; a line at a time, so that a stray quote cannot swallow the next ones.
        try:
            cells = next(csv.reader([line], delimiter="\t"), []) if tabs else _BLANKS.split(line.strip(" \t"))
        except csv.Error as error:
            raise DataError(f"{path}:{number} is not a table's line ({error}).") from None
        if columns is None:
            columns = _header(cells)
            if columns is not None:
                continue
            columns = _Columns(len(cells), *{2: (0, 1, None), 4: (0, 2, 3)}.get(len(cells), (0, 1, 2)))
        if len(cells) != columns.width or columns.width < 2:
            raise DataError(
                f"{path}:{number} has {len(cells)} columns: query id, document id, grade are expected."
            )
        grade = 1 if columns.grade is None else cells[columns.grade]
        yield number, cells[columns.query], cells[columns.document], grade


class _Columns(NamedTuple):
    width: int
    query: int
    document: int
    grade: int | None


def _header(cells: Sequence[str]) -> _Columns | None:
    """Where the columns are by their names; None when the line is no header but the first judgement."""
    names = {cell.strip().lower(): place for place, cell in enumerate(cells)}
    query, document, grade = (_first(names, known) for known in (_QUERY, _DOCUMENT, _GRADE))
    if query is None or document is None:
        return None
    return _Columns(len(cells), query, document, grade)


def _whole(grade: Any, place: str) -> int:
    """A grade as a whole number; ``1.0`` and ``"1.0"`` are one."""
    value = grade
    if isinstance(value, float) or (isinstance(value, str) and _GRADES.fullmatch(value)):
        number = float(value)
        value = int(number) if number.is_integer() else None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST_GRADE:
        return value
    raise DataError(f"{place} has the grade {grade!r}: a whole number is expected.")
