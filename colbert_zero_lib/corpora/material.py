"""What a reader of one package hands to the builder: training pairs, and drafts of collections.

Only the plain containers live here; the readers fill them, ``leakage`` cleans them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple
from zipfile import ZipFile

from colbert_zero_lib.corpora.text import cut, hash_number, squeeze

WheelOpener = Callable[[str], ZipFile]


class Pair(NamedTuple):
    """A training pair; ``id`` is unique within its source and names the object the text was read from."""

    id: str
    query: str
    document: str


@dataclass
class Draft:
    """A collection under construction.

    ``withheld`` is the text of a document that training must not repeat, where that is not all of it
    (the titles of an ICD code's parents are shared by design).
    """

    corpus: dict[str, str] = field(default_factory=dict)
    queries: dict[str, str] = field(default_factory=dict)
    qrels: dict[str, set[str]] = field(default_factory=dict)
    withheld: dict[str, str] = field(default_factory=dict)

    def ask(self, query_id: str, text: str, *relevant: str) -> None:
        """Add a query with its relevant documents."""
        self.queries[query_id] = text
        self.qrels[query_id] = set(relevant)

    def keep_queries(self, ids: list[str]) -> None:
        """Forget all queries but ``ids``."""
        self.queries = {key: self.queries[key] for key in ids}
        self.qrels = {key: self.qrels[key] for key in ids}

    def sample(self, queries: int, documents: int | None = None) -> None:
        """Keep at most so many queries and documents, drawn by their hash; relevant documents always stay."""
        self.keep_queries(sorted(self.queries, key=lambda key: (hash_number(key), key))[:queries])
        if documents is not None and len(self.corpus) > documents:
            relevant = {key for keys in self.qrels.values() for key in keys}
            others = sorted(self.corpus.keys() - relevant, key=lambda key: (hash_number(key), key))
            kept = relevant.union(others[: max(0, documents - len(relevant))])
            self.corpus = {key: text for key, text in self.corpus.items() if key in kept}


@dataclass
class Material:
    """Everything one reader found: pairs by source, drafts by collection name."""

    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    drafts: dict[str, Draft] = field(default_factory=dict)

    def pair(self, source: str, identifier: str, query: str, document: str, keep_lines: bool = False) -> None:
        """Add a training pair; the document is cut at 1,500 characters."""
        text = document if keep_lines else squeeze(document)
        self.pairs.setdefault(source, []).append(Pair(identifier, squeeze(query), cut(text)))

    def draft(self, name: str) -> Draft:
        """The draft of that name, made on first use."""
        return self.drafts.setdefault(name, Draft())

    def merge(self, other: Material) -> None:
        """Take over what another reader found."""
        for source, pairs in other.pairs.items():
            self.pairs.setdefault(source, []).extend(pairs)
        self.drafts.update(other.drafts)


def titled(title: str, text: str) -> str:
    """A document's full text: title and text joined with ``". "``."""
    return f"{title}. {text}" if title and text else title or text
