"""The offline teacher: a fine-tuned MiniLM ColBERT, MiniLM itself and BM25 mine negatives and score candidates.

It stands for bge-reranker-v2-gemma, the paper's teacher. What it leaves is ids and scores (``corpora.teacher``).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from pylate.models import ColBERT
from sentence_transformers import SentenceTransformer

from colbert_zero_lib.corpora import (
    SUPERVISED_SOURCES,
    Collection,
    OfflineCorpora,
    load_offline,
    minilm_folder,
)
from colbert_zero_lib.corpora.mining import interleave, safe_negatives, top_bm25, top_dense
from colbert_zero_lib.corpora.teacher import lists_digest, write_lists
from colbert_zero_lib.evaluation import Ranking, evaluate, token_vectors
from colbert_zero_lib.home import home as default_home
from colbert_zero_lib.home import recording_folder
from colbert_zero_lib.keeping import damage, remove, seal
from colbert_zero_lib.models import open_model, save_model
from colbert_zero_lib.profiles import PhaseBudget
from colbert_zero_lib.recipes import Interaction, Phase, Step
from colbert_zero_lib.scratch import scratch
from colbert_zero_lib.training.devices import native_precision
from colbert_zero_lib.training.trainer import train_step

MISSING = -1
TRAINED_ON = "trained_on.txt"


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
class Texts:
    """Queries and the documents to score them against."""

    queries: list[str]
    documents: list[str]


@dataclass(frozen=True, eq=False)
class Teacher:
    """BM25, MiniLM and a MiniLM ColBERT that was fine-tuned on the training pairs."""

    colbert: ColBERT
    dense: SentenceTransformer
    settings: TeacherSettings
    trained_on: str

    def scorers(self, texts: Texts) -> Scorers:
        """Encode both sides for the three scorers."""
        return Scorers(self, texts)


@dataclass(frozen=True, eq=False)
class Scorers:
    """The three scores of any query and document of ``texts``; vectors are made on first use."""

    teacher: Teacher
    texts: Texts

    @cached_property
    def _dense(self) -> tuple[np.ndarray, np.ndarray]:
        return self._encoded(self.texts.queries), self._encoded(self.texts.documents)

    def _encoded(self, texts: list[str]) -> np.ndarray:
        with torch.autocast("cpu", torch.bfloat16, enabled=self._precision == "bfloat16"):
            return self.teacher.dense.encode(
                texts,
                batch_size=64,
                normalize_embeddings=True,
                show_progress_bar=False,
                convert_to_numpy=True,
            )

    @property
    def _precision(self) -> str:
        return native_precision("cpu")

    @cached_property
    def _late(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        model = self.teacher.colbert
        documents = token_vectors(model, self.texts.documents, False, precision=self._precision)
        queries = token_vectors(model, self.texts.queries, True, precision=self._precision)
        return queries, [vectors.astype(np.float16) for vectors in documents]

    @cached_property
    def _bm25(self) -> tuple[np.ndarray, np.ndarray]:
        return top_bm25(self.texts.queries, self.texts.documents, depth=min(200, len(self.texts.documents)))

    def candidates(self, depth: int) -> np.ndarray:
        """The best ``depth`` of MiniLM and of BM25 by turns: places in the documents, -1 padded."""
        return interleave(top_dense(*self._dense, depth)[0], self._bm25[0][:, :depth])

    def score(self, lists: np.ndarray) -> dict[str, np.ndarray]:
        """Scores of ``lists`` (``[queries, candidates]`` places, -1 for none) by each scorer; NaN for none."""
        there = lists != MISSING
        queries, documents = self._dense
        found = {
            name: np.full(lists.shape, np.nan, dtype=np.float32) for name in ("colbert", "dense", "bm25")
        }
        places, scores = self._bm25
        late_queries, late_documents = self._late
        for row, of_query in enumerate(lists):
            kept = of_query[there[row]]
            if not len(kept):
                continue
            found["dense"][row, there[row]] = documents[kept] @ queries[row]
            known = dict(zip(places[row].tolist(), scores[row].tolist(), strict=True))
            # Beyond the depth of the lexical search a document shares little with the query: 0 is its score.
            found["bm25"][row, there[row]] = [known.get(place, 0.0) for place in kept.tolist()]
            vectors = [late_documents[place] for place in kept]
            starts = np.cumsum([0, *(len(v) for v in vectors[:-1])])
            similarity = late_queries[row] @ np.concatenate(vectors).astype(np.float32).T
            found["colbert"][row, there[row]] = np.maximum.reduceat(similarity, starts, axis=1).sum(axis=0)
        return found

    def combined(self, scores: dict[str, np.ndarray]) -> np.ndarray:
        """The weighted sum of the scorers, each divided by its mean spread within a list."""
        weights = dict(self.teacher.settings.weights)
        parts = [
            weights[name] * _standardised(values) for name, values in scores.items() if weights.get(name)
        ]
        return np.sum(parts, axis=0) / sum(weights.values())


def _standardised(scores: np.ndarray) -> np.ndarray:
    spread = float(np.nanmean(np.nanstd(scores, axis=1)))
    return (scores - np.nanmean(scores, axis=1, keepdims=True)) / spread


@dataclass(frozen=True, eq=False)
class Reranker:
    """The teacher as a retriever: it reorders what BM25 and MiniLM propose, at most twice ``depth`` documents.

    ``only`` names a single scorer. Rerankers that share ``scored`` encode a collection once.
    """

    teacher: Teacher
    only: str | None = None
    depth: int = 50
    scored: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]] = field(default_factory=dict)

    def search(self, collection: Collection, k: int = 100) -> Ranking:
        """The candidates of every query by falling score."""
        if collection.name not in self.scored:
            texts = Texts(list(collection.queries.values()), list(collection.corpus.values()))
            scorers = self.teacher.scorers(texts)
            lists = scorers.candidates(self.depth)
            scores = scorers.score(lists)
            self.scored[collection.name] = lists, {**scores, "ensemble": scorers.combined(scores)}
        lists, scores = self.scored[collection.name]
        values = np.nan_to_num(scores[self.only or "ensemble"].astype(np.float32), nan=-np.inf)
        order = np.argsort(-values, axis=1, kind="stable")[:, :k]
        return Ranking(
            tuple(collection.queries),
            np.take_along_axis(lists, order, 1),
            np.take_along_axis(values, order, 1),
        )


def quality(
    teacher: Teacher, collections: Mapping[str, Collection]
) -> dict[str, dict[str, dict[str, float]]]:
    """Metrics per collection of the teacher and of each scorer alone, when they rerank the same candidates."""
    scored: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]] = {}
    names = ("ensemble", "colbert", "dense", "bm25")
    return {name: evaluate(Reranker(teacher, name, scored=scored), collections).metrics() for name in names}


def open_teacher(
    corpora: OfflineCorpora, settings: TeacherSettings, home: Path, progress: bool = True
) -> Teacher:
    """Fine-tune MiniLM as a ColBERT on all training pairs, one source per batch; kept in ``home`` once made."""
    step = Step(Interaction.COLBERT, Phase.UNSUPERVISED, prompts=False, extra_length=False)
    budget = settings.budget
    lengths = (budget.query_length, budget.document_length)
    folder = home / "cache" / "teacher" / f"{settings.digest}-{corpora.fingerprint[:12]}"
    wrong = damage(folder)
    done = wrong is None
    if wrong and folder.exists():
        warnings.warn(f"The teacher in {folder} {wrong}: it is made anew.", stacklevel=2)
        remove(folder)
    source = folder if done else minilm_folder(home)
    model = open_model(source, step, lengths=lengths, prompts=("", ""), seed=settings.seed)
    if not done:
        data = DatasetDict(
            {name: split.select_columns(["query", "document"]) for name, split in corpora.training.items()}
        )
        checkpoints = folder.with_name(f"{folder.name}-checkpoints")
        train_step(
            model, data, step, budget, lengths, seed=settings.seed, folder=checkpoints, progress=progress
        )
        with scratch(".teacher", folder.parent) as temporary:
            save_model(model, temporary)
            (temporary / TRAINED_ON).write_text(corpora.fingerprint + "\n")
            seal(temporary)
            temporary.rename(folder)
    shutil.rmtree(folder.with_name(f"{folder.name}-checkpoints"), ignore_errors=True)
    dense = SentenceTransformer(str(minilm_folder(home)), device="cpu")
    dense.max_seq_length = budget.document_length
    return Teacher(cast(ColBERT, model), dense, settings, (folder / TRAINED_ON).read_text().strip())


def _keep(positive: np.ndarray, scores: np.ndarray, settings: TeacherSettings) -> np.ndarray:
    """Columns of a candidate list that are kept: the positive, the best of the others, then a spread of the rest."""
    others = np.flatnonzero(~positive & ~np.isnan(scores))
    others = others[np.argsort(-scores[others], kind="stable")]
    best, rest = others[: settings.best], others[settings.best :]
    wanted = settings.candidates - 1 - len(best)
    if len(rest) > wanted > 0:
        rest = rest[np.linspace(0, len(rest) - 1, wanted).round().astype(int)]
    return np.concatenate([np.flatnonzero(positive)[:1], best, rest[: max(wanted, 0)]])


def score_source(split: Dataset, teacher: Teacher, offset: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Documents (rows counted from ``offset``), scores and hard-negative flags of one supervised source.

    The documents of a source are the pool of its queries. All documents that belong to a query's text are its
    positives, and none of them is a negative of it.
    """
    settings = teacher.settings
    queries, texts = list(split["query"]), list(split["document"])
    first: dict[str, int] = {}
    own = np.array([first.setdefault(text, len(first)) for text in texts])
    documents = list(first)
    row_of = np.unique(own, return_index=True)[1]  # a document is named by the first row that holds it
    by_query: dict[str, set[int]] = {}
    for query, place in zip(queries, own.tolist(), strict=True):
        by_query.setdefault(query.lower(), set()).add(place)
    positives = [frozenset(by_query[query.lower()]) for query in queries]

    scorers = teacher.scorers(Texts(queries, documents))
    lists = scorers.candidates(settings.depth)
    for row, right in enumerate(positives):
        lists[row][np.isin(lists[row], list(right))] = MISSING
    lists = np.concatenate([own[:, None].astype(np.int32), lists], axis=1)
    scores = scorers.score(lists)
    total = scorers.combined(scores)
    hard = safe_negatives(
        lists, np.nan_to_num(scores["colbert"], nan=np.inf), positives, scores["colbert"][:, 0], documents,
        settings.relative_margin,
    )  # fmt: skip
    shape = (len(queries), settings.candidates)
    out = np.full(shape, MISSING, np.int32), np.full(shape, np.nan, np.float32), np.zeros(shape, bool)
    is_positive = np.zeros(lists.shape[1], bool)
    is_positive[0] = True
    for row in range(len(queries)):
        columns = _keep(is_positive, total[row], settings)
        out[0][row, : len(columns)] = offset + row_of[lists[row, columns]]
        out[1][row, : len(columns)] = total[row, columns]
        out[2][row, : len(columns)] = hard[row, columns]
    return out


def teach(
    home: Path | None = None,
    folder: Path | None = None,
    settings: TeacherSettings | None = None,
    progress: bool = True,
    corpora: OfflineCorpora | None = None,
) -> dict:
    """Make the teacher, mine negatives, score every list, and write ``data/teacher``; returns the passport.

    The passport says how good each scorer is on the development collections (nDCG@10 of reranking the candidates that
    BM25 and MiniLM propose): students must stay below it.
    """
    folder = folder or recording_folder() / "teacher"
    home, settings = home or default_home(), settings or TeacherSettings()
    corpora = corpora or load_offline(home, progress=progress)
    teacher = open_teacher(corpora, settings, home, progress)
    parts, offset = [], 0
    for name in SUPERVISED_SOURCES:
        split = corpora.training[name]
        parts.append(score_source(split, teacher, offset))
        offset += len(split)
    documents, scores, hard = (np.concatenate([part[i] for part in parts]) for i in range(3))
    passport = {
        "corpora": corpora.fingerprint,
        "colbert trained on": teacher.trained_on,
        "digest": lists_digest(documents, scores, hard),
        "settings": asdict(settings),
        "development": quality(teacher, corpora.development),
        "rows": len(documents),
        "positive first": float(np.mean(scores[:, 0] >= np.nanmax(scores, axis=1))),
        "hard negatives per query": float(hard.sum(axis=1).mean()),
    }
    write_lists(folder, documents, scores, hard, passport)
    return passport
