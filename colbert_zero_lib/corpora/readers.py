"""A reader's training files, row by row: JSON lines, CSV, TSV and Parquet, in the shapes that people keep them in.

Rows come out in the suite's own columns; which files belong to which phase is known by ``folder``.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbert_zero_lib.corpora.qrels import json_lines, text_lines
from colbert_zero_lib.errors import DataError
from colbert_zero_lib.reading import UnreadableError, check_ordinary, is_number, parse_json

if TYPE_CHECKING:
    import pyarrow as pa

PROSE = (".md", ".markdown", ".rst", ".txt")  # files that are a document each
SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
PAIR = '{"query": "...", "document": "..."}, or the same under "anchor" and "positive"'
TRIPLE = (
    'a pair with "negatives": ["...", ...], or "negative", or "negative_0", "negative_1" ..., or Tevatron\'s '
    '"positive_passages" and "negative_passages"'
)
SCORED = '{"query": "...", "documents": ["...", ...], "scores": [1.5, ...]}'
Row = dict[str, Any]
_AT_ONCE = 2_000  # rows that are held in memory together
_QUERY, _DOCUMENT = ("query", "anchor"), ("document", "positive")
_NUMBERED = re.compile(r"negative_([0-9]{1,6})")
_LISTS = ("negatives", "negative", "documents", "scores", "positive_passages", "negative_passages")


def visible_files(folder: Path) -> list[Path]:
    """The files below a folder in the order of their paths; what is hidden, or lies in what is, is left out."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def file_suffix(path: Path) -> str | None:
    """Which of `SUFFIXES` the file's name ends in, or None."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)


def read_rows(path: Path, named: Collection[str] = _QUERY) -> Iterator[tuple[str, Row]]:
    """(place, row) of a file of any of `SUFFIXES`; DataError names the file, and the line where there is one.

    A table's first line must have at least one of the columns ``named``; any will do where none are.
    """
    suffix = file_suffix(path)
    if suffix is None:
        raise DataError(f"{path} is none of {', '.join(SUFFIXES)}: convert it first.")
    table = suffix.startswith((".csv", ".tsv"))
    rows = _cells(path, named) if table else (_parquet if suffix == ".parquet" else json_lines)(path)
    count = 0
    for place, row in rows:
        count += 1
        yield f"{path}:{place}", row
    if not count:
        raise DataError(f"{path} has no lines: nothing could be read from it.")


def pair(place: str, row: Row) -> Iterator[Row]:
    """Columns ``query`` and ``document``; other keys are ignored."""
    yield {"query": _text(place, row, _QUERY, PAIR), "document": _text(place, row, _DOCUMENT, PAIR)}


def triple(place: str, row: Row) -> Iterator[Row]:
    """Columns ``query``, ``positive`` and ``negative``, a list of at least one; a row for each positive passage."""
    query, negatives = _text(place, row, _QUERY, TRIPLE), _negatives(place, row)
    passages = row.get("positive_passages")
    if passages is None:
        positives = [_text(place, row, _DOCUMENT, TRIPLE)]
    else:
        positives = _texts(place, passages, "positive_passages")
    for positive in positives:
        if positive in negatives:
            raise DataError(f"{place} has its document among its negatives: remove it there.")
        yield {"query": query, "positive": positive, "negative": negatives}


def scored(place: str, row: Row) -> Iterator[Row]:
    """Columns ``query``, ``documents`` and ``scores``, finite numbers, one a document."""
    query = _text(place, row, _QUERY, SCORED)
    documents = _texts(place, row.get("documents"), "documents")
    scores = row.get("scores")
    if not isinstance(scores, list) or len(scores) != len(documents):
        raise DataError(f"{place} needs under 'scores' a list of {len(documents)} numbers, one a document.")
    if not all(is_number(score) for score in scores):
        raise DataError(f"{place} has a score that is not a finite number.")
    yield {"query": query, "documents": documents, "scores": [float(score) for score in scores]}


def tables(path: Path, shape: Callable[[str, Row], Iterator[Row]]) -> Iterator[pa.Table]:
    """The file's rows in the columns of ``shape``, a table of some thousands at a time."""
    import pyarrow as pa

    waiting: list[Row] = []
    for place, row in read_rows(path):
        waiting.extend(shape(place, row))
        if len(waiting) >= _AT_ONCE:
            yield pa.Table.from_pylist(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_pylist(waiting)


def _cells(path: Path, named: Collection[str]) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(2**31 - 1)
    lines = (line for _, line in text_lines(path, ends=True))
    reader = (
        csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        if (file_suffix(path) or "").startswith(".tsv")
        else csv.DictReader(lines, strict=True)
    )
    try:
        if not reader.fieldnames or (named and not {*named} & {*reader.fieldnames}):
            wanted = f"{' or '.join(named)} among them" if named else "query and document for example"
            raise DataError(f"{path}:1 must name the columns, {wanted}, but is {reader.fieldnames}.")
        if twice := [name for name, count in Counter(reader.fieldnames).items() if count > 1]:
            raise DataError(f"{path}:1 names the column {twice[0]!r} twice: give each a name of its own.")
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"{path}:{reader.line_num} has not as many cells as the first line has columns: "
                    f"{len(reader.fieldnames)} are expected."
                )
            yield reader.line_num, {key: _cell(key, text) for key, text in row.items()}
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num} is not a table's line ({error}).") from None


def _parquet(path: Path) -> Iterator[tuple[int, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        check_ordinary(path)
        number = 0
        for batch in pq.ParquetFile(path).iter_batches(_AT_ONCE):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except UnreadableError as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise DataError(f"{path} is not a Parquet file ({error}).") from None


def _text(place: str, row: Row, keys: tuple[str, str], shape: str) -> str:
    text = next((row[key] for key in keys if row.get(key) is not None), None)
    if not isinstance(text, str) or not text.strip():
        raise DataError(
            f"{place} has no text under the key {keys[0]!r} but the keys {', '.join(map(str, row))}: a row is {shape}."
        )
    return text


def _negatives(place: str, row: Row) -> list[str]:
    key = next(
        (key for key in ("negatives", "negative", "negative_passages") if row.get(key) is not None), None
    )
    first = _texts(place, row[key], key) if key else []
    numbered = {int(found[1]): row[name] for name in row if (found := _NUMBERED.fullmatch(str(name)))}
    texts = [numbered[number] for number in sorted(numbered) if numbered[number] not in (None, "")]
    return first + (_texts(place, texts, "negatives") if texts or not key else [])


def _texts(place: str, value: Any, key: str) -> list[str]:
    """A list of texts: passages with a title and a text are joined, a single text is a list of one."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        value = [_passage(each) if isinstance(each, Mapping) else each for each in value]
    if not isinstance(value, list) or not value or not all(isinstance(t, str) and t.strip() for t in value):
        raise DataError(f"{place} needs a list of texts under the key {key!r}.")
    return value


def _passage(passage: Mapping[str, Any]) -> str | None:
    """As Tevatron and BEIR join title and text; None where one of them is no text."""
    parts = [passage.get(key) or "" for key in ("title", "text")]
    return " ".join(parts).strip() if all(isinstance(part, str) for part in parts) else None


def _cell(key: str, text: str) -> Any:
    """A list that a cell holds as JSON, where lists belong; else the cell's text."""
    if key in _LISTS and text.lstrip().startswith("["):
        try:
            return parse_json(text)
        except UnreadableError:
            return text
    return text
