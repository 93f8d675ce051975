"""Teachers that score: BM25, MiniLM and a fine-tuned MiniLM ColBERT, their ensemble, and a cross-encoder beside them.

How they are made, and what they leave, is in ``teaching``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import cast

import numpy as np
import torch
from pylate.models import ColBERT
from sentence_transformers import SentenceTransformer

from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.corpora.cross_encoder import PairScorer
from colbert_zero_lib.corpora.mining import interleave, top_dense
from colbert_zero_lib.corpora.teacher import standardised
from colbert_zero_lib.evaluation import BM25, Ranking, evaluate, token_vectors
from colbert_zero_lib.profiles import PhaseBudget
from colbert_zero_lib.steps import BOTH, CROSS_ENCODER
from colbert_zero_lib.training.devices import native_precision

MISSING = -1
ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class TeacherSettings:
    """How the teacher is trained and what it scores.

    ``candidates`` counts the documents of a list, the positive included; ``best`` of them are the teacher's
    favourites, the others are spread over the rest. ``depth`` is how many each of BM25 and the dense model propose.
    ``weights`` say how the standardised scores are added.
    """

    candidates: int = 16
    best: int = 10
    depth: int = 24
    relative_margin: float = 0.95
    budget: PhaseBudget = field(
        default_factory=lambda: PhaseBudget(
            steps=600, batch_size=40, learning_rate=2e-4, query_length=32, document_length=96, temperature=0.3
        )
    )
    weights: tuple[tuple[str, float], ...] = (("colbert", 1.0), ("dense", 0.5), ("bm25", 0.5))
    seed: int = 0

    @property
    def digest(self) -> str:
        """Sixteen hex digits of everything above."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Teacher:
    """BM25, MiniLM and a MiniLM ColBERT that was fine-tuned on the training pairs; beside them a cross-encoder.

    The cross-encoder scores what it is asked for and is no part of the ensemble that mines.
    """

    colbert: ColBERT | None
    dense: SentenceTransformer
    settings: TeacherSettings
    trained_on: str
    cross_encoder: PairScorer | None = None

    @property
    def scorers(self) -> list[str]:
        """The names of what scores."""
        late, pairs = ["colbert"] if self.colbert else [], [CROSS_ENCODER] if self.cross_encoder else []
        return [*late, "dense", "bm25", *pairs]


@dataclass(frozen=True, eq=False)
class Scorers:
    """The scores of any query and document by each scorer of ``teacher``; vectors are made on first use."""

    teacher: Teacher
    queries: list[str]
    documents: list[str]

    @cached_property
    def _dense(self) -> tuple[np.ndarray, np.ndarray]:
        return self._encoded(self.queries), self._encoded(self.documents)

    def _encoded(self, texts: list[str]) -> np.ndarray:
        with torch.autocast("cpu", torch.bfloat16, enabled=native_precision("cpu") == "bfloat16"):
            return self.teacher.dense.encode(
                texts,
                batch_size=64,
                normalize_embeddings=True,
                show_progress_bar=False,
                convert_to_numpy=True,
            )

    @cached_property
    def _late(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        model, precision = cast(ColBERT, self.teacher.colbert), native_precision("cpu")
        documents = token_vectors(model, self.documents, False, precision=precision)
        queries = token_vectors(model, self.queries, True, precision=precision)
        return queries, [vectors.astype(np.float16) for vectors in documents]

    @cached_property
    def _bm25(self) -> tuple[np.ndarray, np.ndarray]:
        return BM25().best(self.queries, self.documents, min(200, len(self.documents)))

    def candidates(self, depth: int) -> np.ndarray:
        """The best ``depth`` of MiniLM and of BM25 by turns: places in the documents, -1 padded."""
        return interleave(top_dense(*self._dense, depth)[0], self._bm25[0][:, :depth])

    def score(self, lists: np.ndarray) -> dict[str, np.ndarray]:
        """Scores of ``lists`` (``[queries, candidates]`` places, -1 for none) by each scorer; NaN for none."""
        there = lists != MISSING
        queries, documents = self._dense
        places, scores = self._bm25
        found = {name: np.full(lists.shape, np.nan, dtype=np.float32) for name in self.teacher.scorers}
        if self.teacher.cross_encoder:
            pairs = [
                (self.queries[row], self.documents[lists[row, column]]) for row, column in np.argwhere(there)
            ]
            found[CROSS_ENCODER][there] = self.teacher.cross_encoder.predict(pairs)
        for row, of_query in enumerate(lists):
            kept = of_query[there[row]]
            if not len(kept):
                continue
            found["dense"][row, there[row]] = documents[kept] @ queries[row]
            known = dict(zip(places[row].tolist(), scores[row].tolist(), strict=True))
            # Beyond the depth of the lexical search a document shares little with the query: 0 is its score.
            found["bm25"][row, there[row]] = [known.get(place, 0.0) for place in kept.tolist()]
            if self.teacher.colbert is None:
                continue
            vectors = [self._late[1][place] for place in kept]
            starts = np.cumsum([0, *(len(v) for v in vectors[:-1])])
            similarity = self._late[0][row] @ np.concatenate(vectors).astype(np.float32).T
            found["colbert"][row, there[row]] = np.maximum.reduceat(similarity, starts, axis=1).sum(axis=0)
        return found

    def combined(self, scores: dict[str, np.ndarray]) -> np.ndarray:
        """The weighted sum of the scorers, each divided by its mean spread within a list."""
        weights = dict(self.teacher.settings.weights)
        parts = [weights[name] * standardised(values) for name, values in scores.items() if weights.get(name)]
        return np.sum(parts, axis=0) / sum(weights.values())


@dataclass(frozen=True, eq=False)
class Reranker:
    """The teacher as a retriever: it reorders what BM25 and MiniLM propose, at most twice ``depth`` documents.

    ``scorer`` names whose scores count, ``ENSEMBLE`` or one of them. Rerankers that share ``scored`` encode a
    collection once.
    """

    teacher: Teacher
    scorer: str
    depth: int
    scored: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]] = field(default_factory=dict)

    def search(self, collection: Collection, k: int = 100) -> Ranking:
        """The candidates of every query by falling score."""
        if collection.name not in self.scored:
            scorers = Scorers(
                self.teacher, list(collection.queries.values()), list(collection.corpus.values())
            )
            lists = scorers.candidates(self.depth)
            scores = scorers.score(lists)
            scores[ENSEMBLE] = scorers.combined(scores)
            if CROSS_ENCODER in scores:
                scores[BOTH] = (standardised(scores[ENSEMBLE]) + standardised(scores[CROSS_ENCODER])) / 2
            self.scored[collection.name] = lists, scores
        lists, scores = self.scored[collection.name]
        values = np.nan_to_num(scores[self.scorer].astype(np.float32), nan=-np.inf)
        short = ((0, 0), (0, max(0, k - lists.shape[1])))  # a ranking has k places
        lists, values = (
            np.pad(lists, short, constant_values=MISSING),
            np.pad(values, short, constant_values=-np.inf),
        )
        order = np.argsort(-values, axis=1, kind="stable")[:, :k]
        return Ranking(
            tuple(collection.queries),
            np.take_along_axis(lists, order, 1),
            np.take_along_axis(values, order, 1),
        )


def quality(
    teacher: Teacher, collections: Mapping[str, Collection], depth: int = 50
) -> dict[str, dict[str, dict[str, float]]]:
    """Metrics per collection of the teacher and of each scorer alone, when they rerank the same candidates."""
    scored: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]] = {}
    names = [ENSEMBLE, *teacher.scorers, *([BOTH] if teacher.cross_encoder else [])]
    return {name: evaluate(Reranker(teacher, name, depth, scored), collections).metrics() for name in names}
