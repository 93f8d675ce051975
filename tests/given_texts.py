"""Texts for benchmarks where the suite's own are not wanted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.texts import Row, made_row
from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.recipes import Phase


@dataclass(frozen=True, eq=False)
class GivenTexts:
    """A few sentences, repeated as often as needed."""

    sentences: tuple[str, ...]

    def vocabulary(self) -> list[str]:
        """The sentences."""
        return list(self.sentences)

    def _text(self, generator: np.random.Generator, words: int) -> str:
        chosen = " ".join(self.sentences[place] for place in generator.permutation(len(self.sentences)))
        return " ".join(chosen.split()[:words])

    def batch(self, phase: Phase, size: int, documents: int, number: int) -> list[Row]:
        """See :class:`benchmarks.texts.Texts`; documents have 4 to 120 words, drawn from a log-normal distribution."""
        generator = np.random.default_rng([list(Phase).index(phase), number])
        rows: list[Row] = []
        for _ in range(size):
            lengths = np.clip(generator.lognormal(3.6, 0.7, documents), 4, 120).astype(int)
            query = self._text(generator, 8)
            found = [self._text(generator, words) for words in lengths]
            rows.append(made_row(phase, query, found, generator))
        return rows

    def collection(self, documents: int, queries: int) -> Collection:
        """See :class:`benchmarks.texts.Texts`: a query is the beginning of its document."""
        generator = np.random.default_rng(0)
        corpus = {f"d{place}": self._text(generator, 8 + place % 40) for place in range(documents)}
        asked = {f"q{place}": corpus[f"d{place}"][:60] for place in range(min(queries, documents))}
        return Collection(
            "given", corpus, asked, {f"q{place}": {f"d{place}": 1} for place in range(len(asked))}
        )
