"""The offline teacher at work: fine-tuned, it mines negatives, scores candidates, and is held against a cross-encoder.

It stands for bge-reranker-v2-gemma, the paper's teacher. What it leaves is ids and scores (``corpora.teacher``).
"""

from __future__ import annotations

import shutil
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import numpy as np
from datasets import Dataset, DatasetDict
from pylate.models import ColBERT
from sentence_transformers import SentenceTransformer

from colbert_zero_lib.corpora import (
    SUPERVISED_SOURCES,
    OfflineCorpora,
    load_offline,
    minilm_folder,
)
from colbert_zero_lib.corpora.cross_encoder import PairScorer
from colbert_zero_lib.corpora.mining import safe_negatives
from colbert_zero_lib.corpora.scores import taught_by
from colbert_zero_lib.corpora.teacher import (
    lists_digest,
    load_lists,
    positive_first,
    write_lists,
)
from colbert_zero_lib.home import home as default_home
from colbert_zero_lib.home import recording_folder
from colbert_zero_lib.keeping import damage, remove, seal
from colbert_zero_lib.models import open_model, save_model
from colbert_zero_lib.recipes import Interaction, Phase, Step
from colbert_zero_lib.scratch import scratch
from colbert_zero_lib.steps import BOTH, CROSS_ENCODER
from colbert_zero_lib.training.teachers import (
    ENSEMBLE,
    MISSING,
    Scorers,
    Teacher,
    TeacherSettings,
    quality,
)
from colbert_zero_lib.training.trainer import train_step

TRAINED_ON = "trained_on.txt"


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


def _keep(scores: np.ndarray, settings: TeacherSettings) -> np.ndarray:
    """Columns of a candidate list that are kept: the first (positive), the best others, a spread of the rest."""
    others = 1 + np.flatnonzero(~np.isnan(scores[1:]))
    others = others[np.argsort(-scores[others], kind="stable")]
    best, rest = others[: settings.best], others[settings.best :]
    wanted = settings.candidates - 1 - len(best)
    if len(rest) > wanted > 0:
        rest = rest[np.linspace(0, len(rest) - 1, wanted).round().astype(int)]
    return np.concatenate([[0], best, rest[: max(wanted, 0)]])


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

    scorers = Scorers(teacher, queries, documents)
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
    for row in range(len(queries)):
        columns = _keep(total[row], settings)
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
        "positive first": positive_first(scores),
        "hard negatives per query": float(hard.sum(axis=1).mean()),
    }
    write_lists(folder, documents, scores, hard, passport)
    return passport


def compare_teachers(
    corpora: OfflineCorpora, scorer: PairScorer, home: Path, queries: int = 60, depth: int = 20
) -> dict[str, dict[str, float]]:
    """nDCG@10 of every teacher and scorer on ``queries`` of each development collection, and ``positive first``.

    All rerank what BM25 and MiniLM propose, ``depth`` documents each. ``positive first`` is the share of those training
    lists that have kept scores of the cross-encoder in which a teacher puts the known positive first.
    """
    teacher = replace(open_teacher(corpora, TeacherSettings(), home), cross_encoder=scorer)
    few = {name: one.subset(queries, len(one.corpus)) for name, one in corpora.development.items()}
    measured = quality(teacher, few, depth)
    found = {
        name: {collection: metrics["ndcg@10"] for collection, metrics in of.items()}
        for name, of in measured.items()
    }
    lists = load_lists(corpora)
    theirs = {name: taught_by(lists, name) for name in (CROSS_ENCODER, BOTH)}
    scored = np.flatnonzero(theirs[BOTH].documents[:, 0] >= 0)
    for name, these in {ENSEMBLE: lists, **theirs}.items():
        found[name]["positive first"] = positive_first(these.scores[scored])
    return found
