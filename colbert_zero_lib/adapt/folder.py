"""What a reader's folder holds, as a stream of rows: a BEIR collection, tables of pairs, or documents alone.

Nothing is counted, divided or kept here. Rows of documents alone have queries that are made from their text.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from colbert_zero_lib.corpora.collections import KEPT_IN_IDEAL, joined, read_splits
from colbert_zero_lib.corpora.qrels import JSON_LINES, TABLES
from colbert_zero_lib.corpora.readers import PROSE, SUFFIXES, file_suffix, read_rows, visible_files
from colbert_zero_lib.corpora.text import first_sentence, squeeze
from colbert_zero_lib.errors import DataError
from colbert_zero_lib.reading import UnreadableError, existing, read_lines
from colbert_zero_lib.searching.documents import Document, printed, read_documents

# Names of columns, in small letters or large ones.
QUERY_COLUMNS = ("query", "question", "anchor")
DOCUMENT_COLUMNS = ("document", "positive", "answer", "passage", "context", "text", "body", "content")
TITLE_COLUMNS = ("title", "heading", "name", "subject")
BEIR, PAIRS, DOCUMENTS = "a BEIR collection", "pairs of a query and a document", "documents alone"
TRAINING, DEVELOPMENT, TEST = "training", "development", "test"
_PARTS = {
    "train": TRAINING,
    "dev": DEVELOPMENT,
    "validation": DEVELOPMENT,
    "valid": DEVELOPMENT,
    "test": TEST,
}
_PASSAGE = 200  # words of a passage of a long section: about what a model reads at once
_FENCE = re.compile(r"\s*(```|~~~)")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+(.*?)\s*#*\s*")
_RULE = re.compile(r"([=\-~^\"'#*+])\1{2,}\s*")


class Row(NamedTuple):
    """A query (empty for a document that nobody asks for) and a document that answers it.

    ``place`` is the file and line; ``part`` is training, development or test, empty where the folder does not say.
    """

    place: str
    query: str
    document: str
    part: str = ""


@dataclass(frozen=True, eq=False)
class Holding:
    """A folder's ``form``, its ``files``, and ``rows``, which reads them anew each time.

    ``notes`` are sentences on what dangles, ``columns`` the names that the reader gave.
    """

    path: Path
    form: str
    files: tuple[Path, ...]
    rows: Callable[[], Iterator[Row]]
    notes: tuple[str, ...] = ()
    columns: tuple[str | None, str | None] = (None, None)

    @property
    def made(self) -> bool:
        """Whether the queries are made from titles, headings and first sentences."""
        return self.form == DOCUMENTS


def open_folder(
    place: str | Path, query_column: str | None = None, document_column: str | None = None
) -> Holding:
    """Find out what lies in a folder, or in a single file; DataError when nothing there can be used.

    The columns of tables are called as in `QUERY_COLUMNS` and `DOCUMENT_COLUMNS`, or as the two arguments say.
    """
    path = existing(place)
    if path is None:
        raise DataError(f"{place} is not there: give the folder that holds your documents.")
    path = path.resolve()
    if path.is_dir() and (path / "qrels").is_dir():
        return _beir(path)
    files = [path] if path.is_file() else visible_files(path)
    tables = [file for file in files if file_suffix(file)]
    texts = [file for file in files if file.suffix.lower() in PROSE]
    queries = (query_column,) if query_column else QUERY_COLUMNS
    documents = (document_column,) if document_column else DOCUMENT_COLUMNS
    asked = [file for file in tables if query_column or _cell(next(read_rows(file, named=()))[1], queries)]
    given = (query_column, document_column)
    if asked:
        others = [printed(file.name) for file in (*tables, *texts) if file not in asked]
        notes = (
            f"Left out, since other files have queries: {', '.join(others[:5])}{' ...' * (len(others) > 5)}.",
        )
        pairs = partial(_pairs, asked, queries, documents)
        return Holding(path, PAIRS, tuple(asked), pairs, notes if others else (), given)
    if tables or texts:
        alone = partial(_alone, tables, texts, documents)
        return Holding(path, DOCUMENTS, (*tables, *texts), alone, columns=given)
    raise DataError(
        f"{path} has nothing to read: put there a BEIR collection (corpus.jsonl, queries.jsonl, qrels/), a table "
        f"({', '.join(SUFFIXES)}) with a query and a document column, or documents ({', '.join(PROSE)})."
    )


def _beir(path: Path) -> Holding:
    endings = tuple(ending + packed for ending in (*TABLES, *JSON_LINES) for packed in ("", ".gz"))
    files = [file for file in sorted((path / "qrels").iterdir()) if file.name.endswith(endings)]
    splits = [name for file in files if (name := file.name.partition(".")[0]) in _PARTS]
    if not splits:
        raise DataError(
            f"{path / 'qrels'} has no judgements: train.tsv, dev.tsv or test.tsv is expected there."
        )
    read = read_splits(path, splits)
    used = (*(file for file in sorted(path.glob("*.jsonl*"))), *files)
    notes = [note.partition(": ")[2] for one in read.values() for note in one.notes]
    notes = [note.replace(KEPT_IN_IDEAL, "missing and left out") for note in notes]
    if any(grade > 1 for one in read.values() for grades in one.qrels.values() for grade in grades.values()):
        notes.append("Judgements have grades; here a document is right, at any grade above 0, or it is not.")

    def rows() -> Iterator[Row]:
        judged: set[str] = set()
        corpus: Mapping[str, str] = next(iter(read.values())).corpus
        for split, collection in read.items():
            for query, grades in collection.qrels.items():
                for document, grade in grades.items():
                    if grade > 0 and document in corpus:
                        judged.add(document)
                        text = collection.queries[query]
                        yield Row(f"{split}, query {query!r}", text, corpus[document], _PARTS[split])
        for document, text in corpus.items():
            if document not in judged:
                yield Row(f"document {document!r}", "", text)

    return Holding(path, BEIR, used, rows, tuple(notes))


def _pairs(files: Sequence[Path], queries: Sequence[str], documents: Sequence[str]) -> Iterator[Row]:
    for file in files:
        for place, row in read_rows(file, named=()):
            yield Row(place, _text(place, row, queries), _text(place, row, documents))


def _alone(tables: Sequence[Path], texts: Sequence[Path], documents: Sequence[str]) -> Iterator[Row]:
    for file in tables:
        for place, row in read_rows(file, named=()):
            title = _text(place, row, TITLE_COLUMNS) if _cell(row, TITLE_COLUMNS) else ""
            yield from _asked(place, title, _text(place, row, documents, str.strip))
    for file in texts:
        try:
            lines = list(read_lines(file))
        except UnreadableError as error:
            raise DataError(f"{file} cannot be read: {error}: convert it or move it away.") from None
        title = ""
        for number, heading, text in sections(lines):
            title = title or heading or file.stem.replace("_", " ").replace("-", " ")
            asked = heading and (heading if heading == title else f"{title}: {heading}")
            yield from _asked(f"{file}:{number}", asked, text)


def documents(holding: Holding) -> Iterator[Document]:
    """Every different document once, for an index: a collection's by their ids, others by the file and line.

    A heading that was made a query stands before its text again.
    """
    if holding.form == BEIR:
        yield from read_documents(holding.path)
        return
    root = holding.path if holding.path.is_dir() else holding.path.parent
    seen, names = set[bytes](), Counter[str]()
    for row in holding.rows():
        text = joined(row.query, row.document) if holding.made else row.document
        digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
        if row.document and digest not in seen:
            seen.add(digest)
            name = printed(row.place.removeprefix(f"{root}{os.sep}"))
            names[name] += 1
            yield Document(name if names[name] == 1 else f"{name} ({names[name]})", text)


def sections(lines: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """(line number, heading, text below it) of Markdown or reStructuredText; the heading is empty before the first."""
    start, heading, held, fenced = 1, "", list[str](), False
    for number, line in enumerate(lines, start=1):
        fenced ^= _FENCE.match(line) is not None
        found = None if fenced else _HEADING.fullmatch(line)
        # A line of signs under a line of text is a heading too, as long as the text or longer.
        ruled = not fenced and held and held[-1].strip() and _RULE.fullmatch(line)
        if ruled and len(line.strip()) < len(held[-1].strip()):
            ruled = None
        if not found and not ruled:
            held.append(line)
            continue
        name = found[1] if found else held.pop().strip()
        if text := _body(held):
            yield start, heading, text
        start, heading, held = number, squeeze(name), []
    if text := _body(held):
        yield start, heading, text


def _body(lines: Sequence[str]) -> str:
    """The text of a section; none where it is the line above a heading in reStructuredText."""
    text = "\n".join(lines).strip()
    return "" if _RULE.fullmatch(text) else text


def _asked(place: str, heading: str, text: str) -> Iterator[Row]:
    """A section's passages: the first answers its heading; others, and all without one, their own first sentence.

    What became the query is taken out of the document: a model that finds words where they stand learns nothing.
    """
    for passage in _passages(text):
        query, rest = (heading, squeeze(passage)) if heading else first_sentence(squeeze(passage))
        heading = ""
        enough = len(rest) >= 20
        yield Row(place, query if enough else "", rest if enough else squeeze(passage))


def _passages(text: str) -> Iterator[str]:
    held: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        if held and sum(len(each.split()) for each in held) + len(paragraph.split()) > _PASSAGE:
            yield "\n".join(held)
            held = []
        held.append(paragraph)
    yield "\n".join(held)


def _cell(row: Mapping[str, Any], names: Sequence[str]) -> tuple[str, Any] | None:
    """The first of the columns that the row has, as the row calls it, and what is in it."""
    called = {str(column).strip().lower(): column for column in reversed(list(row))}
    return next(((called[n.lower()], row[called[n.lower()]]) for n in names if n.lower() in called), None)


def _text(
    place: str, row: Mapping[str, Any], names: Sequence[str], tidy: Callable[[str], str] = squeeze
) -> str:
    """The text in the first of the columns that the row has, made tidy; empty where it has nothing in it."""
    found = _cell(row, names)
    if found is None:
        raise DataError(
            f"{place} has no column {' or '.join(names)} but {', '.join(map(str, row))}: name yours with "
            "--query-column and --document-column."
        )
    name, text = found
    if text is not None and not isinstance(text, str):
        raise DataError(
            f"{place} has a {type(text).__name__} in the column {name!r}: text is expected there."
        )
    return tidy(text or "")
