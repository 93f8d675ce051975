"""Batches of real text for every phase, the same ones on every machine.

Texts are those of `colbert_zero_lib.corpora`; tokens and models are elsewhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from colbert_zero_lib.recipes import Phase

if TYPE_CHECKING:
    from datasets import Dataset

    from colbert_zero_lib.corpora import Collection, OfflineCorpora
    from colbert_zero_lib.corpora.teacher import TeacherLists

Row = dict[str, Any]


class Texts(Protocol):
    """Where rows to train on and documents to search come from."""

    def vocabulary(self) -> list[str]:
        """Texts to learn a tokenizer from."""
        ...

    def batch(self, phase: Phase, size: int, documents: int, number: int) -> list[Row]:
        """Batch ``number`` of a phase: ``size`` queries with ``documents`` each, in the trainer's columns."""
        ...

    def collection(self, documents: int, queries: int) -> Collection:
        """Documents to search, and queries whose relevant documents are among them."""
        ...


def batches(texts: Texts, phase: Phase, size: int, documents: int) -> Iterator[list[Row]]:
    """Batches 0, 1, 2 ... without end."""
    return (texts.batch(phase, size, documents, number) for number in itertools.count())


def made_row(phase: Phase, query: str, documents: list[str], generator: np.random.Generator) -> Row:
    """A row of a phase, best document first; a teacher's scores are drawn."""
    if phase is Phase.UNSUPERVISED:
        return {"query": query, "document": documents[0]}
    if phase is Phase.SUPERVISED:
        negatives = {f"negative_{place}": text for place, text in enumerate(documents[1:])}
        return {"query": query, "positive": documents[0], **negatives}
    scores = np.sort(generator.normal(size=len(documents)))[::-1].tolist()
    return {"query": query, "documents": documents, "scores": scores}


@dataclass(frozen=True, eq=False)
class OfflineTexts:
    """The suite's own training text: one source a batch, sources drawn in proportion to their size."""

    corpora: OfflineCorpora
    seed: int = 0

    @cached_property
    def _lists(self) -> TeacherLists:
        from colbert_zero_lib.corpora.teacher import load_lists

        return load_lists(self.corpora)

    @cached_property
    def _made(self) -> dict[tuple[Phase, int], dict[str, Dataset]]:
        return {}

    def vocabulary(self) -> list[str]:
        """The first documents of every source."""
        return [text for split in self.corpora.training.values() for text in split[:1500]["document"]]

    def _splits(self, phase: Phase, documents: int) -> dict[str, Dataset]:
        from colbert_zero_lib.corpora import UNSUPERVISED_SOURCES
        from colbert_zero_lib.corpora.teacher import distillation_rows, supervised_rows

        if phase is Phase.UNSUPERVISED:
            sources = {name: self.corpora.training[name] for name in UNSUPERVISED_SOURCES}
            return {name: split.select_columns(["query", "document"]) for name, split in sources.items()}
        if (phase, documents) not in self._made:
            self._made[phase, documents] = (
                dict(supervised_rows(self._lists, documents - 1))
                if phase is Phase.SUPERVISED
                else {"lists": distillation_rows(self._lists, documents, 2.0, 2048, self.seed)}
            )
        return self._made[phase, documents]

    def batch(self, phase: Phase, size: int, documents: int, number: int) -> list[Row]:
        """See :class:`Texts`; a batch larger than every source is drawn from all of them."""
        splits = self._splits(phase, documents)
        generator = np.random.default_rng([self.seed, list(Phase).index(phase), number])
        fitting = {name: split for name, split in splits.items() if len(split) >= size}
        if fitting:
            sizes = np.array([len(split) for split in fitting.values()], dtype=float)
            split = list(fitting.values())[generator.choice(len(sizes), p=sizes / sizes.sum())]
            return split.select(generator.choice(len(split), size, replace=False)).to_list()
        rows = [row for split in splits.values() for row in split.to_list()]
        return [rows[place] for place in generator.choice(len(rows), size, replace=size > len(rows))]

    def collection(self, documents: int, queries: int) -> Collection:
        """Test collections put together until there are enough documents; see :class:`Texts`."""
        from colbert_zero_lib.corpora import Collection

        corpus: dict[str, str] = {}
        asked: dict[str, str] = {}
        qrels: dict[str, dict[str, int]] = {}
        for part in self.corpora.collections.values():
            corpus |= {f"{part.name}/{key}": text for key, text in part.corpus.items()}
            asked |= {f"{part.name}/{key}": text for key, text in part.queries.items()}
            qrels |= {
                f"{part.name}/{query}": {f"{part.name}/{key}": grade for key, grade in judged.items()}
                for query, judged in part.qrels.items()
            }
        whole = Collection("joined", corpus, asked, qrels)
        return whole.subset(queries, documents, seed=self.seed)


@dataclass(frozen=True, eq=False)
class Passages:
    """Batches larger, and lists longer, than ``texts`` has: its own pairs, and passages cut out of its documents.

    Pairs are real ones: those of the suite are about as long as those that the paper trained on. Passages have 56
    words on average, as MS MARCO's do, log-normal; ``full`` makes every document longer than any limit instead.
    """

    texts: Texts
    full: bool = False

    @cached_property
    def _words(self) -> list[str]:
        words = " ".join(self.texts.vocabulary()).split()
        return words * (1 + 1000 // len(words))

    def vocabulary(self) -> list[str]:
        """Those of ``texts``."""
        return self.texts.vocabulary()

    def batch(self, phase: Phase, size: int, documents: int, number: int) -> list[Row]:
        """See :class:`Texts`."""
        pairs = self.texts.batch(Phase.UNSUPERVISED, size, 1, number)
        if phase is Phase.UNSUPERVISED and not self.full:
            return pairs
        generator = np.random.default_rng([list(Phase).index(phase), number, self.full])
        drawn = np.clip(generator.lognormal(np.log(56) - 0.1, 0.45, (size, documents)), 8, 400).astype(int)
        lengths = np.full_like(drawn, 600) if self.full else drawn
        starts = generator.integers(0, len(self._words) - 600, (size, documents))
        rows = []
        for place, pair in enumerate(pairs):
            found = [
                " ".join(self._words[start : start + length])
                for start, length in zip(starts[place].tolist(), lengths[place].tolist(), strict=True)
            ]
            rows.append(made_row(phase, pair["query"], found, generator))
        return rows

    def collection(self, documents: int, queries: int) -> Collection:
        """That of ``texts``."""
        return self.texts.collection(documents, queries)
