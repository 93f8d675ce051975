"""A reader's own training data as JSON lines: pairs, pairs with hard negatives, lists with teacher scores.

Collections to search are read by ``collections``; the public data sets by ``hub``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbert_zero_lib.corpora.collections import json_lines
from colbert_zero_lib.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


def read_pairs(path: str | Path) -> Dataset:
    """Rows like ``{"query": "...", "document": "..."}``; returns the columns ``query`` and ``document``.

    Other keys are ignored. DataError names the line that is not JSON, lacks a key or has an empty text.
    """
    rows = [
        {"query": _text(row, "query", place), "document": _text(row, "document", place)}
        for place, row in _rows(path)
    ]
    return _dataset(rows)


def read_triples(path: str | Path) -> Dataset:
    """Rows like ``{"query": ..., "document": ..., "negatives": ["...", ...]}``; returns those three columns.

    DataError as ``read_pairs``, and for a row without negatives or with the document among them.
    """
    rows = []
    for place, row in _rows(path):
        query, document = _text(row, "query", place), _text(row, "document", place)
        negatives = _texts(row, "negatives", place)
        if document in negatives:
            raise DataError(f"{place} has its document among its negatives: remove it there.")
        rows.append({"query": query, "document": document, "negatives": negatives})
    return _dataset(rows)


def read_scored(path: str | Path) -> Dataset:
    """Rows like ``{"query": ..., "documents": [...], "scores": [...]}``; returns those three columns.

    DataError as ``read_pairs``, and for scores that are not finite numbers, one for each document.
    """
    rows = []
    for place, row in _rows(path):
        query, documents = _text(row, "query", place), _texts(row, "documents", place)
        scores = row.get("scores")
        if not isinstance(scores, list) or len(scores) != len(documents):
            raise DataError(
                f"{place} needs under 'scores' a list of {len(documents)} numbers, one a document."
            )
        if not all(_is_number(score) for score in scores):
            raise DataError(f"{place} has a score that is not a finite number.")
        rows.append({"query": query, "documents": documents, "scores": [float(score) for score in scores]})
    return _dataset(rows)


def _rows(path: str | Path) -> list[tuple[str, dict[str, Any]]]:
    rows = [(f"{path}:{number}", row) for number, row in json_lines(Path(path))]
    if not rows:
        raise DataError(f"{path} has no lines: nothing could be trained on.")
    return rows


def _dataset(rows: list[dict[str, Any]]) -> Dataset:
    from datasets import Dataset

    return Dataset.from_list(rows)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _text(row: dict[str, Any], key: str, place: str) -> str:
    text = row.get(key)
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{place} has no text under the key {key!r}.")
    return text


def _texts(row: dict[str, Any], key: str, place: str) -> list[str]:
    texts = row.get(key)
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
        raise DataError(f"{place} needs a list of texts under the key {key!r}.")
    return texts
