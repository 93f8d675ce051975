"""A collection (corpus, queries, qrels) in memory and as a folder in BEIR's layout.

How the suite's own collections are made is in ``build``; searching them is the evaluation package's business.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colbert_zero_lib.corpora.material import titled
from colbert_zero_lib.corpora.text import hash_number
from colbert_zero_lib.errors import DataError, ParameterError


@dataclass(frozen=True)
class Collection:
    """Documents, queries and which documents answer which queries.

    ``corpus`` maps document ids to full texts (title and text joined with ``". "``), ``queries`` query ids to
    texts, ``qrels`` query ids to {document id: grade}, a grade above 0 being relevant. DataError if a part is
    empty or a judgement names an id that does not exist.
    """

    name: str
    corpus: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]

    def __post_init__(self) -> None:
        for part in ("corpus", "queries", "qrels"):
            if not getattr(self, part):
                raise DataError(
                    f"Collection {self.name!r} has no {part}: nothing could be searched or judged."
                )
        for query, judged in self.qrels.items():
            if query not in self.queries:
                raise DataError(
                    f"Collection {self.name!r}: the qrels judge query {query!r}, which does not exist."
                )
            for document in judged:
                if document not in self.corpus:
                    raise DataError(
                        f"Collection {self.name!r}: the qrels of query {query!r} name document {document!r}, "
                        "which is not in the corpus."
                    )
        for query in self.queries:
            if not any(grade > 0 for grade in self.qrels.get(query, {}).values()):
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
        kept = {document for query in queries for document in self.qrels[query]}
        others = sorted((document for document in self.corpus if document not in kept), key=drawn)
        kept.update(others[: max(0, max_documents - len(kept))])
        return Collection(
            name=self.name,
            corpus={key: text for key, text in self.corpus.items() if key in kept},
            queries={key: text for key, text in self.queries.items() if key in queries},
            qrels={key: dict(judged) for key, judged in self.qrels.items() if key in queries},
        )


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


def read_collection(folder: str | Path, name: str | None = None) -> Collection:
    """Read a folder in BEIR's layout, ``qrels/test.tsv`` with or without its header line.

    Queries without a relevant document are left out, as BEIR's evaluation does. DataError names file and line
    of what is malformed, double or missing.
    """
    folder = Path(folder)
    corpus: dict[str, str] = {}
    for number, row in json_lines(folder / "corpus.jsonl"):
        place = f"{folder / 'corpus.jsonl'}:{number}"
        key = _new_id(row, corpus, place)
        corpus[key] = titled(_text(row, "title", place, required=False).strip(), _text(row, "text", place))
    queries: dict[str, str] = {}
    for number, row in json_lines(folder / "queries.jsonl"):
        place = f"{folder / 'queries.jsonl'}:{number}"
        queries[_new_id(row, queries, place)] = _text(row, "text", place)
    for part, found in (("corpus.jsonl", corpus), ("queries.jsonl", queries)):
        if not found:
            raise DataError(f"{folder / part} has no lines: a collection needs documents and queries.")
    qrels = _read_qrels(folder / "qrels" / "test.tsv", corpus, queries)
    answered = {q: text for q, text in queries.items() if any(g > 0 for g in qrels.get(q, {}).values())}
    if not answered:
        raise DataError(f"{folder / 'qrels' / 'test.tsv'} marks no document as relevant to any query.")
    return Collection(name or folder.resolve().name, corpus, answered, {q: qrels[q] for q in answered})


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of a JSON-lines file, blank lines skipped; DataError for anything else."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise DataError(f"{path}:{number} is not JSON ({error}).") from None
                if not isinstance(row, dict):
                    raise DataError(f'{path}:{number} is not a JSON object like {{"text": ...}}.')
                yield number, row
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text: convert it first.") from None


def _new_id(row: Mapping[str, Any], seen: Mapping[str, str], place: str) -> str:
    if not isinstance(row.get("_id"), (str, int)) or row["_id"] == "":
        raise DataError(f"{place} has no key '_id'.")
    key = str(row["_id"])
    if key in seen:
        raise DataError(f"{place} repeats the id {key!r}: ids must be unique.")
    return key


def _text(row: Mapping[str, Any], key: str, place: str, required: bool = True) -> str:
    text = row.get(key) if required else row.get(key) or ""
    if not isinstance(text, str):
        raise DataError(f"{place} has no text under the key {key!r}.")
    return text


def _read_qrels(
    path: Path, corpus: Mapping[str, str], queries: Mapping[str, str]
) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text: convert it first.") from None
    for number, line in enumerate(lines, start=1):
        cells = line.split("\t")
        if not line.strip() or (number == 1 and cells[0] in ("query-id", "qid", "query_id")):
            continue
        if len(cells) != 3:
            raise DataError(
                f"{path}:{number} has {len(cells)} columns: query id, document id, grade are expected."
            )
        query, document, grade = cells
        if query not in queries:
            raise DataError(f"{path}:{number} names query {query!r}, which is not in queries.jsonl.")
        if document not in corpus:
            raise DataError(f"{path}:{number} names document {document!r}, which is not in corpus.jsonl.")
        try:
            qrels.setdefault(query, {})[document] = int(grade)
        except ValueError:
            raise DataError(f"{path}:{number} has the grade {grade!r}: a whole number is expected.") from None
    return qrels
