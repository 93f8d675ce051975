"""BM25, the lexical baseline that every table of the suite carries.

A thin layer over bm25s; dense and late-interaction search are elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from colbert_zero_lib.errors import ParameterError

from .ranking import Ranking

if TYPE_CHECKING:
    from colbert_zero_lib.corpora import Collection


class BM25:
    """BM25 (Lucene's variant) over stemmed words, English stop words left out.

    ``k1`` 0.9 and ``b`` 0.4 are Anserini's values, those of BEIR's published BM25 rows. A document that
    shares no word with the query is not ranked.
    """

    def __init__(self, k1: float = 0.9, b: float = 0.4, language: str = "english") -> None:
        if k1 < 0 or not 0 <= b <= 1:
            raise ParameterError(f"BM25 needs k1 >= 0 and 0 <= b <= 1, not k1={k1} and b={b}.")
        self.k1, self.b, self.language = k1, b, language

    def search(self, collection: Collection, k: int = 100) -> Ranking:
        """Index the corpus and rank it for every query; the index is not kept."""
        documents = list(collection.corpus.values())
        found = self.best(list(collection.queries.values()), documents, min(k, len(documents)))
        return Ranking(tuple(collection.queries), *found)

    def best(self, queries: Sequence[str], documents: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` best documents of each query: places and scores as in a `Ranking`."""
        import bm25s
        import Stemmer
        import torch

        from .topk import TopK

        def words(texts: Sequence[str]) -> list[list[str]]:
            return bm25s.tokenize(
                list(texts), stopwords=self.language, stemmer=stemmer, return_ids=False, show_progress=False
            )

        stemmer = Stemmer.Stemmer(self.language)
        indices = np.full((len(queries), k), -1, np.int32)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        corpus = words(documents)
        if not any(corpus):  # what holds stop words alone cannot be indexed
            return indices, scores
        index = bm25s.BM25(k1=self.k1, b=self.b, method="lucene")
        index.index(corpus, show_progress=False)
        places = torch.arange(len(documents))
        for row, query in enumerate(words(queries)):
            if known := [word for word in query if word in index.vocab_dict]:
                found = index.get_scores(known)
                best = TopK(1, k)
                best.add(torch.from_numpy(np.where(found > 0, found, -np.inf))[None], places)
                indices[row], scores[row] = best.result()
        return indices, scores
