"""A reader's documents, one after the other, and the passages that they are cut into.

Sources are read as a stream; what becomes of passages is in ``index`` and ``rerank``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from colbert_zero_lib.corpora.collections import joined
from colbert_zero_lib.corpora.qrels import identifier, text_lines
from colbert_zero_lib.corpora.readers import PROSE, SUFFIXES, Row, file_suffix, read_rows, visible_files
from colbert_zero_lib.errors import DataError, ParameterError

if TYPE_CHECKING:
    from pylate.models import ColBERT

IDS = ("_id", "id", "docid", "doc_id", "document_id", "pid", "uuid")
TEXTS = ("text", "document", "contents", "content", "body", "passage", "answer")
QUERIES = ("query", "question", "text")
# A passage's first word may be other tokens than it was in the middle of its document.
_SLACK = 2
_TEXTS_AT_ONCE = 256

Span = tuple[int, int]


class Document(NamedTuple):
    """A document's name and its whole text."""

    id: str
    text: str


class Cutter:
    """Cuts texts into passages that ``model`` reads whole: spans of signs, as few as possible, at words' beginnings.

    ``overlap`` tokens of a passage, by default a quarter of it, come again in the next one. ParameterError where that
    leaves too little that is new.
    """

    def __init__(self, model: ColBERT, overlap: int | None = None) -> None:
        prompt = (model.prompts or {}).get("document") or ""
        taken = len(model.tokenizer(prompt)["input_ids"]) + 1 + _SLACK
        self._tokenizer, self.size = model.tokenizer, int(model.document_length or 0) - taken
        self.overlap = self.size // 4 if overlap is None else overlap
        if self.size < 1:
            raise ParameterError(
                f"The model reads {model.document_length} tokens of a text, and no word of it: lengthen it."
            )
        if not 0 <= self.overlap <= self.size // 2:
            raise ParameterError(
                f"overlap must be from 0 to {max(self.size, 0) // 2}, half of what the model reads of a text, not "
                f"{overlap} tokens."
            )

    def __call__(self, texts: Sequence[str]) -> list[list[Span]]:
        """The spans of each text's passages; of an empty text one empty span."""
        found: list[list[Span]] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            some = list(texts[start : start + _TEXTS_AT_ONCE])
            tokens = self._tokenizer(
                some, add_special_tokens=False, return_offsets_mapping=True, padding=False, truncation=False,
                verbose=False,
            )  # fmt: skip
            found += map(self._spans, some, tokens["offset_mapping"])
        return found

    def _spans(self, text: str, offsets: Sequence[Span]) -> list[Span]:
        begins = len(text) - len(text.lstrip())
        first, count, spans = 0, len(offsets), []
        while first + self.size < count:
            last = self._word(text, offsets, first + self.size, first + self.size - self.size // 4)
            spans.append((begins if not first else offsets[first][0], offsets[last - 1][1]))
            first = self._word(text, offsets, last - self.overlap, max(first, last - 2 * self.overlap))
        spans.append((begins if not first else offsets[first][0], max(begins, len(text.rstrip()))))
        return spans

    @staticmethod
    def _word(text: str, offsets: Sequence[Span], token: int, least: int) -> int:
        """The last token up to ``token``, and above ``least``, that begins a word; ``token`` where none does."""
        places = range(token, least, -1)
        return next((n for n in places if text[: offsets[n][0]][-1:].isspace()), token)


def read_documents(
    source: Path,
    text_column: str | None = None,
    id_column: str | None = None,
    columns: Sequence[str] = TEXTS,
) -> Iterator[Document]:
    """The documents of a folder in BEIR's layout, a folder of Markdown and text files, or a file of either kind.

    A row's id and text are in the columns that are named, else in the first of `IDS` and ``columns``; a title goes
    before the text, and a row without an id gets the number of its line. A file's id is its path within ``source``.
    DataError names the file, and the line, of what is no document.
    """
    texts = (text_column,) if text_column else columns
    if source.is_dir():
        corpus = next((f for end in ("jsonl", "jsonl.gz") if (f := source / f"corpus.{end}").is_file()), None)
        return _rows(corpus, texts, id_column) if corpus else _files(source)
    if source.suffix.lower() in PROSE and source.is_file():
        return iter([_prose(source, printed(source.name))])
    if file_suffix(source) and source.is_file():
        return _rows(source, texts, id_column)
    raise DataError(
        f"{source} holds no documents: name a folder in BEIR's layout, a folder of {', '.join(PROSE)} files, or a "
        f"{', '.join(SUFFIXES)} file."
    )


def named_once(documents: Iterable[Document]) -> Iterator[Document]:
    """The documents; DataError at one that is called as another one before it."""
    seen: set[str] = set()
    for document in documents:
        if document.id in seen:
            raise DataError(f"Two documents are called {document.id!r}: ids must be unique.")
        seen.add(document.id)
        yield document


def _files(folder: Path) -> Iterator[Document]:
    files = [file for file in visible_files(folder) if file.suffix.lower() in PROSE]
    if not files:
        raise DataError(
            f"{folder} has neither corpus.jsonl nor any {', '.join(PROSE)} file: name another folder."
        )
    return (_prose(file, printed(file.relative_to(folder).as_posix())) for file in files)


def printed(name: str) -> str:
    """A file's name as text, whatever its bytes are."""
    return os.fsencode(name).decode("utf-8", "replace")


def _prose(file: Path, name: str) -> Document:
    return Document(name, "".join(line for _, line in text_lines(file, ends=True)))


def _rows(file: Path, texts: Sequence[str], id_column: str | None) -> Iterator[Document]:
    ids = (id_column,) if id_column else IDS
    for place, row in read_rows(file, named=texts):
        text = next((row[name] for name in texts if row.get(name) is not None), None)
        title = (row.get("title") or "") if len(texts) > 1 else ""  # a column that was named stands alone
        if not isinstance(text, str) or not isinstance(title, str):
            raise DataError(
                f"{place} has no text in a column called {' or '.join(texts)}: name it with --text-column."
            )
        yield Document(_id(row, ids, place, bool(id_column)), joined(title, text))


def _id(row: Row, names: Sequence[str], place: str, needed: bool) -> str:
    found = next(filter(None, (identifier(row.get(name)) for name in names)), None)
    if found is None and (needed or any(name in row for name in names)):
        raise DataError(f"{place} has no id in the column {' or '.join(names)}: give it one.")
    return found or place.rpartition(":")[2]


def read_queries(file: Path) -> dict[str, str]:
    """Query ids -> texts of a file as of `read_documents`, or of lines of an id, a tab and a text."""
    if file.suffix not in (".tsv", ".txt"):
        return dict(named_once(read_documents(file, columns=QUERIES)))
    found = []
    for number, line in text_lines(file):
        query, tab, text = line.partition("\t")
        if line.strip() and not (query and tab):
            raise DataError(f"{file}:{number} is no query: an id, a tab and its text are expected.")
        found += [Document(query, text)] if line.strip() else []
    return dict(named_once(found))


def in_parts(
    documents: Iterable[Document], cutter: Cutter, tokens: int
) -> Iterator[tuple[list[Document], list[list[Span]]]]:
    """Documents with their passages, so many that their passages have about ``tokens`` tokens at most."""
    waiting: list[Document] = []
    spans: list[list[Span]] = []
    taken, stream = 0, iter(documents)
    while some := list(_some(stream)):
        for document, cut in zip(some, cutter([each.text for each in some]), strict=True):
            # A passage but for the last is full; a token has about four signs.
            more = sum(min(cutter.size, 1 + (end - start) // 3) for start, end in cut)
            if waiting and taken + more > tokens:
                yield waiting, spans
                waiting, spans, taken = [], [], 0
            waiting.append(document)
            spans.append(cut)
            taken += more
    if waiting:
        yield waiting, spans


def _some(stream: Iterator[Document], signs: int = 1 << 22) -> Iterator[Document]:
    """Documents until they have so many signs together."""
    while signs > 0 and (document := next(stream, None)) is not None:
        signs -= len(document.text) + 16
        yield document


def passages_of(documents: Sequence[Document], spans: Sequence[Sequence[Span]]) -> list[str]:
    """The texts of all passages, document by document."""
    cut = zip(documents, spans, strict=True)
    return [document.text[start:end] for document, own in cut for start, end in own]
