"""Teacher lists: kept as numbers, joined with the text they were made for, unfolded into training rows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from colbert_zero_lib.corpora import SUPERVISED_SOURCES
from colbert_zero_lib.corpora.teacher import (
    LISTS,
    distillation_rows,
    lists_digest,
    load_lists,
    supervised_rows,
    write_lists,
)
from colbert_zero_lib.errors import DataError
from colbert_zero_lib.training.teaching import TeacherSettings, _keep

ROWS = 4


def corpora(fingerprint: str = "f" * 64) -> SimpleNamespace:
    """Four rows a source; row 3 has the document of row 0."""
    splits = {
        name: Dataset.from_dict(
            {
                "id": [f"{name}:{row}" for row in range(ROWS)],
                "query": [f"{name} query {row}" for row in range(ROWS)],
                "document": [f"{name} document {row % 3}" for row in range(ROWS)],
            }
        )
        for name in SUPERVISED_SOURCES
    }
    return SimpleNamespace(training=DatasetDict(splits), fingerprint=fingerprint)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Lists of three: the positive, the other two documents; the last candidate of row 1 is missing."""
    rows = ROWS * len(SUPERVISED_SOURCES)
    offsets = np.arange(rows) // ROWS * ROWS
    place = np.arange(rows) % ROWS % 3
    documents = np.stack([offsets + (place + step) % 3 for step in range(3)], axis=1).astype(np.int32)
    scores = np.tile(np.array([2.0, 1.0, -1.0], np.float32), (rows, 1))
    hard = np.tile(np.array([False, False, True]), (rows, 1))
    documents[1, 2], scores[1, 2], hard[1, 2] = -1, np.nan, False
    digest = lists_digest(documents, scores, hard)
    write_lists(tmp_path, documents, scores, hard, {"corpora": "f" * 64, "digest": digest})
    return tmp_path


def test_lists_are_read_back_with_their_texts(kept: Path) -> None:
    lists = load_lists(corpora(), kept)
    assert len(lists) == ROWS * len(SUPERVISED_SOURCES)
    second = SUPERVISED_SOURCES[1]
    row = int(lists.rows(second)[2])
    assert lists.query(row) == f"{second} query 2"
    documents, scores = lists.candidates(row)
    assert [lists.document(place) for place in documents] == [f"{second} document {n}" for n in (2, 0, 1)]
    assert scores.tolist() == [2.0, 1.0, -1.0]
    assert [lists.document(place) for place in lists.negatives(row)] == [f"{second} document 1"]
    assert len(lists.candidates(1)[0]) == 2 and len(lists.negatives(1)) == 0


def test_a_query_without_enough_negatives_or_candidates_is_left_out(kept: Path) -> None:
    lists = load_lists(corpora(), kept)
    first = SUPERVISED_SOURCES[0]
    rows = supervised_rows(lists, 1)[first]
    assert rows["query"] == [f"{first} query {row}" for row in (0, 2, 3)]
    assert rows["positive"] == [f"{first} document {row}" for row in (0, 2, 0)]
    assert rows["negative_0"] == [f"{first} document {row}" for row in (2, 1, 2)]
    full = distillation_rows(lists, 3, scale=2.0)
    assert len(full) == len(lists) - 1 and f"{first} query 1" not in full["query"]
    assert all(scores == [4.0, 2.0, -2.0] for scores in full["scores"])


def test_fewer_documents_than_candidates_are_spread_over_the_list(kept: Path) -> None:
    row = distillation_rows(load_lists(corpora(), kept), 2, scale=1.0)[0]
    # The ends of the list: the positive and the lowest score that is there.
    assert row["scores"] in ([2.0, -1.0], [2.0, 1.0])


def test_rows_wanted_are_drawn_under_the_seed(kept: Path) -> None:
    lists = load_lists(corpora(), kept)
    drawn = [distillation_rows(lists, 3, 1.0, wanted=5, seed=seed)["query"] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) == 5


def test_lists_of_another_text_are_refused(kept: Path) -> None:
    with pytest.raises(DataError, match=r"lists\.parquet was made for the text ffffffffffff.*data teach"):
        load_lists(corpora("e" * 64), kept)


def test_missing_or_broken_lists_name_the_file_and_the_command(kept: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere cannot be read \(No such file.*'colbert-zero data teach'"):
        load_lists(corpora(), tmp_path / "nowhere")
    (kept / LISTS).write_bytes(b"not Parquet")
    with pytest.raises(DataError, match=r"cannot be read \(.*'colbert-zero data teach'"):
        load_lists(corpora(), kept)


def test_lists_that_are_not_those_of_their_passport_are_refused(kept: Path) -> None:
    documents = load_lists(corpora(), kept)
    passport = dict(documents.passport)
    swapped = documents.documents[:, ::-1]
    write_lists(kept, swapped, documents.scores, documents.hard, passport)
    with pytest.raises(DataError, match=r"lists\.parquet does not hold the lists that passport\.json"):
        load_lists(corpora(), kept)


def test_a_list_keeps_the_positive_the_favourites_and_a_spread_of_the_rest() -> None:
    positive = np.zeros(9, bool)
    positive[0] = True
    scores = np.array([0.5, 9, 8, 7, 6, 5, 4, 3, np.nan], np.float32)
    settings = TeacherSettings(candidates=5, best=2)
    assert _keep(positive, scores, settings).tolist() == [0, 1, 2, 3, 7]
    assert _keep(positive, scores[:9] * np.nan, settings).tolist() == [0]
