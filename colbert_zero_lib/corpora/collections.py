"""A collection (corpus, queries, qrels) in memory and as a folder in BEIR's layout.

How the suite's own collections are made is in ``build``; searching them is the evaluation package's business.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from colbert_zero_lib.corpora.qrels import find_qrels, identifier, json_lines, read_qrels
from colbert_zero_lib.corpora.text import hash_number
from colbert_zero_lib.errors import DataError, ParameterError

KEPT_IN_IDEAL = "missing and kept in the ideal ranking"


@dataclass(frozen=True)
class Collection:
    """Documents, queries and which documents answer which queries.

    ``corpus`` maps document ids to full texts, ``queries`` query ids to texts, ``qrels`` query ids to
    {document id: grade}, a grade above 0 being relevant. A judged document that is not in the corpus stays in the
    ideal ranking, as in BEIR's figures. With ``identical_ids_out`` a document whose id is the query's is taken out
    before scoring: the query's own text is in the corpus (ArguAna, Quora). ``notes`` are sentences on what was left
    out on reading; ``split`` is that of the judgements; ``revision`` the commit it came from, where it has one.

    DataError if a part is empty, a judged query does not exist or a query has nothing relevant; `judged_collection`
    leaves such queries out.
    """

    name: str
    corpus: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    identical_ids_out: bool = False
    notes: tuple[str, ...] = field(default=(), compare=False)
    split: str = field(default="test", compare=False)
    revision: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for part in ("corpus", "queries", "qrels"):
            if not getattr(self, part):
                raise DataError(
                    f"Collection {self.name!r} has no {part}: nothing could be searched or judged."
                )
        for query in self.qrels:
            if query not in self.queries:
                raise DataError(
                    f"Collection {self.name!r}: the qrels judge query {query!r}, which does not exist."
                )
        for query in self.queries:
            if not has_relevant(self.qrels.get(query, {})):
                raise DataError(
                    f"Collection {self.name!r}: query {query!r} has no relevant document in the qrels."
                )

    def subset(self, max_queries: int, max_documents: int, seed: int = 0) -> Collection:
        """At most so many queries, all documents judged for them, and others up to ``max_documents``.

        Both are drawn in the order of a hash of id and ``seed``; original order is kept. Judged documents are
        kept even if they alone exceed ``max_documents``.
        """
        if max_queries < 1 or max_documents < 1:
            raise ParameterError(
                f"A subset needs at least one query and one document, not {max_queries} and {max_documents}."
            )

        def drawn(identifier: str) -> tuple[int, str]:
            return hash_number(f"{seed}:{identifier}"), identifier

        queries = set(sorted(self.queries, key=drawn)[:max_queries])
        kept = {document for query in queries for document in self.qrels[query] if document in self.corpus}
        others = sorted((document for document in self.corpus if document not in kept), key=drawn)
        kept.update(others[: max(0, max_documents - len(kept))])
        return replace(
            self,
            corpus={key: text for key, text in self.corpus.items() if key in kept},
            queries={key: text for key, text in self.queries.items() if key in queries},
            qrels={key: dict(judged) for key, judged in self.qrels.items() if key in queries},
        )


def has_relevant(grades: Mapping[str, int]) -> bool:
    """Whether any document has a grade above 0."""
    return any(grade > 0 for grade in grades.values())


def judged_collection(
    name: str,
    corpus: Mapping[str, str],
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    **more: Any,
) -> Collection:
    """A collection by BEIR's rules, whatever dangles: counted in its notes.

    Judgements of a missing query and queries without a relevant document are dropped; a judged document that is
    missing stays. ``more`` are the other fields of `Collection`. DataError when nothing is left.
    """
    kept = {query: dict(qrels[query]) for query in queries if has_relevant(qrels.get(query, {}))}
    if not kept:
        raise DataError(
            f"Collection {name!r}: the qrels mark no document as relevant to any query that is there."
        )
    missing = sorted(query for query in qrels if query not in queries)
    empty = [query for query, grades in qrels.items() if query in queries and not has_relevant(grades)]
    gone = sorted({document for grades in kept.values() for document in grades if document not in corpus})
    notes = []
    if missing:
        notes.append(f"{_count(missing, 'judged query')} missing and left out ({missing[0]!r})")
    if empty:
        notes.append(
            f"{_count(empty, 'judged query')} without a relevant document and left out ({empty[0]!r})"
        )
    if gone:
        notes.append(f"{_count(gone, 'judged document')} {KEPT_IN_IDEAL} ({gone[0]!r})")
    return Collection(
        name,
        corpus,
        {query: queries[query] for query in kept},
        kept,
        notes=tuple(f"{name}: {note}." for note in notes),
        **more,
    )


def joined(title: str, text: str) -> str:
    """A document's full text as ``beir`` joins it; text without a title stays as it is."""
    return f"{title} {text}".strip() if title.strip() else text


def _count(things: Sequence[str], noun: str) -> str:
    plural = noun if len(things) == 1 else noun.replace("query", "queries").replace("document", "documents")
    return f"{len(things)} {plural} {'is' if len(things) == 1 else 'are'}"


def write_collection(collection: Collection, folder: str | Path) -> Path:
    """Write ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/test.tsv`` (BEIR); returns the folder."""
    folder = Path(folder)
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    corpus = ({"_id": key, "title": "", "text": text} for key, text in collection.corpus.items())
    queries = ({"_id": key, "text": text} for key, text in collection.queries.items())
    for name, rows in (("corpus.jsonl", corpus), ("queries.jsonl", queries)):
        with (folder / name).open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with (folder / "qrels" / "test.tsv").open("w", encoding="utf-8", newline="\n") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        for query, judged in collection.qrels.items():
            file.writelines(f"{query}\t{document}\t{grade}\n" for document, grade in judged.items())
    return folder


def read_collection(folder: str | Path, split: str = "test", identical_ids_out: bool = False) -> Collection:
    """Read a folder in BEIR's layout: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/SPLIT.tsv``.

    The collection is called as the folder is. The first two may be gzipped; judgements may have the forms of
    `read_qrels`. What dangles is in the collection's notes (see `judged_collection`). DataError names file and line of
    what is malformed, double or missing, and the splits that are there when ``split`` is not.
    """
    return read_splits(folder, (split,), identical_ids_out)[split]


def read_splits(
    folder: str | Path, splits: Sequence[str], identical_ids_out: bool = False
) -> dict[str, Collection]:
    """As `read_collection`, of several splits, which share their documents."""
    folder = Path(folder)
    corpus, queries = (_texts(_part(folder, part), part) for part in ("corpus", "queries"))
    found = {}
    for split in splits:
        file = find_qrels(folder / "qrels", split)
        qrels = read_qrels(file)
        if not any(has_relevant(qrels.get(query, {})) for query in queries):
            raise DataError(f"{file} marks no document as relevant to a query of queries.jsonl.")
        found[split] = judged_collection(
            folder.resolve().name, corpus, queries, qrels, split=split, identical_ids_out=identical_ids_out
        )
    return found


def _part(folder: Path, part: str) -> Path:
    file = folder / f"{part}.jsonl"
    packed = file.with_name(f"{file.name}.gz")
    return packed if packed.is_file() and not file.is_file() else file


def _texts(file: Path, part: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, row in json_lines(file):
        place = f"{file}:{number}"
        key = identifier(row.get("_id"))
        if key is None:
            raise DataError(f"{place} has no key '_id'.")
        if key in texts:
            raise DataError(f"{place} repeats the id {key!r}: ids must be unique.")
        title = _text(row, "title", place, required=False) if part == "corpus" else ""
        texts[key] = joined(title, _text(row, "text", place, required=not title.strip()))
    if not texts:
        raise DataError(f"{file} has no lines: a collection needs documents and queries.")
    return texts


def _text(row: Mapping[str, Any], key: str, place: str, required: bool = True) -> str:
    text = row.get(key) if required else row.get(key) or ""
    if not isinstance(text, str):
        raise DataError(f"{place} has no text under the key {key!r}.")
    return text
