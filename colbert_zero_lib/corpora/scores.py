"""Scores of a cross-encoder for the mined lists: made once, kept as row numbers and numbers, joined to the lists again.

The lists are ``teacher``'s, the model is in ``cross_encoder``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from colbert_zero_lib import committed
from colbert_zero_lib.corpora.teacher import TeacherLists, as_column, as_matrix, standardised
from colbert_zero_lib.errors import DataError, one_line
from colbert_zero_lib.home import data_folder, recording_folder
from colbert_zero_lib.keeping import replacing
from colbert_zero_lib.reading import check_ordinary
from colbert_zero_lib.steps import BOTH

if TYPE_CHECKING:
    from colbert_zero_lib.corpora.cross_encoder import PairScorer

SCORES = "cross-encoder.parquet"
_ABOUT = b"about"
_BLOCK = 100  # lists that an interruption may cost


def score_lists(
    lists: TeacherLists,
    scorer: PairScorer,
    settings: dict,
    wanted: int,
    folder: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Score ``wanted`` of the lists with a cross-encoder, and keep row numbers and scores in one Parquet file.

    Which lists are scored first is the same for everybody, so that a later call with more goes on from there, as one
    that was broken off does. ``settings`` stand for the scorer: scores of another one are made anew.
    """
    folder = folder or recording_folder() / "teacher"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / SCORES
    about = {"lists": lists.passport["digest"], **settings}
    try:
        rows, scores, kept = _read_scores(file)
    except DataError:
        kept = {}
    if kept != about:
        rows, scores = np.empty(0, np.int32), np.empty((0, lists.documents.shape[1]), np.float32)
    order = np.random.default_rng(0).permutation(len(lists))[:wanted]
    for start in range(len(rows), len(order), _BLOCK):
        block = order[start : min(start + _BLOCK, len(order))]
        there = lists.documents[block] >= 0
        pairs = [
            (lists.queries[row], lists.texts[document])
            for row, of_row in zip(block, there, strict=True)
            for document in lists.documents[row][of_row]
        ]
        found = np.full(there.shape, np.nan, np.float32)
        found[there] = scorer.predict(pairs)
        rows, scores = np.concatenate([rows, block]), np.concatenate([scores, found])
        _write_scores(file, rows, scores, about)
        say(f"{len(rows):,} of {len(order):,} lists are scored")
    committed.seal_again(file)
    return file


def _write_scores(file: Path, rows: np.ndarray, scores: np.ndarray, about: dict) -> None:
    table = pa.table({"row": rows.astype(np.int32), "scores": as_column(scores.astype(np.float16))})
    table = table.replace_schema_metadata({_ABOUT: json.dumps(about, sort_keys=True)})
    with replacing(file) as neighbour:
        pq.write_table(table, neighbour, compression="zstd")


def _read_scores(file: Path) -> tuple[np.ndarray, np.ndarray, dict]:
    """Row numbers int32 ``[scored]``, scores float32 ``[scored, candidates]``, and what they are of."""
    try:
        check_ordinary(file)
        table = pq.read_table(file)
        rows, scores = table["row"].to_numpy().astype(np.int32), as_matrix(table["scores"], np.float32)
        return rows, scores, json.loads(table.schema.metadata[_ABOUT])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise DataError(
            f"The cross-encoder's scores in {file} cannot be read ({one_line(error, 100)}); make them with"
            " 'colbert-zero data score'."
        ) from None


def taught_by(lists: TeacherLists, teacher: str | None, folder: Path | None = None) -> TeacherLists:
    """The same lists with the scores of ``teacher``, standardised; lists that it has not scored are empty.

    None is the ensemble, whose scores are the lists' own, ``cross-encoder`` the kept scores of `score_lists`, ``both``
    the mean of the two. The passport's digest stands for all of it. DataError where there are no scores of these lists.
    """
    if teacher is None:
        return lists
    file = (folder or data_folder() / "teacher") / SCORES
    committed.check(file)
    rows, found, about = _read_scores(file)
    if about.get("lists") != lists.passport["digest"]:
        raise DataError(f"{file} was scored for other lists than those here; run 'colbert-zero data score'.")
    scores = np.full(lists.scores.shape, np.nan, np.float32)
    scores[rows] = standardised(found)
    if teacher == BOTH:
        scores[rows] = (scores[rows] + standardised(lists.scores[rows])) / 2
    documents = np.where(np.isnan(scores), -1, lists.documents)
    digest = hashlib.sha256(found.tobytes() + rows.tobytes()).hexdigest()
    passport = {**lists.passport, "digest": f"{lists.passport['digest']}+{digest}"}
    return replace(lists, documents=documents, scores=scores, passport=passport)
