"""Teacher lists: kept as numbers, joined with the text they were made for, unfolded into training rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from colbert_zero_lib.corpora import SUPERVISED_SOURCES, Collection
from colbert_zero_lib.corpora.scores import SCORES, score_lists, taught_by
from colbert_zero_lib.corpora.sources import OfflineSource
from colbert_zero_lib.corpora.sources import taught_by as source_taught_by
from colbert_zero_lib.corpora.teacher import (
    LISTS,
    distillation_rows,
    lists_digest,
    load_lists,
    positive_first,
    standardised,
    supervised_rows,
    write_lists,
)
from colbert_zero_lib.errors import DataError
from colbert_zero_lib.profiles import PhaseBudget
from colbert_zero_lib.steps import Step
from colbert_zero_lib.training import teaching
from colbert_zero_lib.training.data import step_data
from colbert_zero_lib.training.teachers import Reranker, Teacher, TeacherSettings, quality
from colbert_zero_lib.training.teaching import _keep, compare_teachers

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
    folder = tmp_path / "teacher"
    write_lists(folder, documents, scores, hard, {"corpora": "f" * 64, "digest": digest})
    return folder


def test_lists_are_read_back_with_their_texts(kept: Path) -> None:
    lists = load_lists(corpora(), kept)
    assert len(lists) == ROWS * len(SUPERVISED_SOURCES)
    second = SUPERVISED_SOURCES[1]
    row = int(lists.rows(second)[2])
    assert lists.queries[row] == f"{second} query 2"
    documents, scores = lists.candidates(row)
    assert [lists.texts[place] for place in documents] == [f"{second} document {n}" for n in (2, 0, 1)]
    assert scores.tolist() == [2.0, 1.0, -1.0]
    assert [lists.texts[place] for place in lists.negatives(row)] == [f"{second} document 1"]
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


def test_sampled_negatives_are_of_the_safe_ones_and_of_the_seed(kept: Path) -> None:
    lists = load_lists(corpora(), kept)
    lists = replace(lists, hard=lists.documents >= 0)
    first = SUPERVISED_SOURCES[0]
    hardest, *drawn = (supervised_rows(lists, 1, seed)[first]["negative_0"] for seed in (None, 0, 0, 1))
    safe = [{lists.texts[place] for place in lists.negatives(row)} for row in lists.rows(first)]
    assert all(text in texts for text, texts in zip(drawn[0], safe, strict=True))
    assert drawn[0] == drawn[1] != drawn[2] and drawn[0] != hardest


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
    scores = np.array([0.5, 9, 8, 7, 6, 5, 4, 3, np.nan], np.float32)
    settings = TeacherSettings(candidates=5, best=2)
    assert _keep(scores, settings).tolist() == [0, 1, 2, 3, 7]
    assert _keep(scores * np.nan, settings).tolist() == [0]


class Counting:
    """A scorer that says how long a document's number is, and counts what it is asked."""

    def __init__(self, most: int = 10**9) -> None:
        self.asked: list[tuple[str, str]] = []
        self.most = most

    def predict(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        if len(self.asked) + len(pairs) > self.most:
            raise KeyboardInterrupt
        self.asked += pairs
        return np.array([float(document[-1]) + len(query) for query, document in pairs], np.float32)


def test_a_cross_encoders_scores_are_joined_to_the_lists_they_are_of(kept: Path) -> None:
    lists = load_lists(corpora(), kept)
    score_lists(lists, Counting(), {"model": "counting"}, len(lists), kept)
    theirs = taught_by(lists, "cross-encoder", kept)
    assert np.array_equal(theirs.documents, lists.documents) and np.array_equal(theirs.hard, lists.hard)
    # Three documents that end in 0, 1, 2: whatever the query adds, their spread is that of 0, 1, 2.
    row = ROWS + 2
    number = [float(lists.texts[each][-1]) for each in lists.documents[row]]
    assert (theirs.scores[row].argsort() == np.argsort(number)).all()
    assert theirs.scores[row].mean() == pytest.approx(0, abs=1e-3)
    both = taught_by(lists, "both", kept)
    spread = np.nanstd(lists.scores, axis=1).mean()
    ours = (lists.scores[row] - lists.scores[row].mean()) / spread
    assert both.scores[row] == pytest.approx((theirs.scores[row] + ours) / 2, abs=1e-3)
    assert np.isnan(both.scores[1, 2]) and both.documents[1, 2] == -1
    digests = [each.passport["digest"] for each in (lists, theirs)]
    assert digests[1].startswith(f"{digests[0]}+")
    assert taught_by(lists, None, kept) is lists


def test_scoring_that_was_broken_off_goes_on_and_lists_without_scores_are_not_learned_from(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = load_lists(corpora(), kept)
    monkeypatch.setattr("colbert_zero_lib.corpora.scores._BLOCK", 4)
    with pytest.raises(KeyboardInterrupt):
        score_lists(lists, Counting(most=26), {"model": "counting"}, 10, kept)
    part = taught_by(lists, "cross-encoder", kept)
    assert (part.documents[:, 0] >= 0).sum() == 8
    assert len(distillation_rows(part, 2, scale=1.0)) == 8
    rest, whole = Counting(), kept / "whole"
    score_lists(lists, rest, {"model": "counting"}, 10, kept)
    assert 5 <= len(rest.asked) <= 6  # two lists
    score_lists(lists, Counting(), {"model": "counting"}, 10, whole)
    assert (kept / SCORES).read_bytes() == (whole / SCORES).read_bytes()
    anew = Counting()
    score_lists(lists, anew, {"model": "another"}, 10, kept)
    assert len(anew.asked) >= 29


def test_scores_of_other_lists_or_none_are_one_sentence(kept: Path) -> None:
    lists = load_lists(corpora(), kept)
    with pytest.raises(DataError, match="cannot be read.*colbert-zero data score"):
        taught_by(lists, "both", kept)
    score_lists(lists, Counting(), {}, 3, kept)
    lists.passport["digest"] = "0" * 64
    with pytest.raises(DataError, match="was scored for other lists"):
        taught_by(lists, "both", kept)
    (kept / SCORES).write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read"):
        taught_by(lists, "both", kept)


def test_the_share_of_lists_whose_positive_is_first() -> None:
    nan = float("nan")
    assert positive_first(np.array([[2.0, 1, 0], [0, 1, nan], [1, 1, nan], [0, 1, 2]])) == 0.5


def test_a_step_with_a_teacher_learns_from_its_scores_and_has_a_digest_of_its_own(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in ("teacher", "scores"):
        monkeypatch.setattr(f"colbert_zero_lib.corpora.{room}.data_folder", lambda: kept.parent)
    source = OfflineSource(kept)
    source.__dict__["corpora"] = corpora()
    score_lists(source.lists, Counting(), {}, 6, kept)
    plain, taught = (Step("colbert", "distillation", teacher=name) for name in (None, "cross-encoder"))
    budget = PhaseBudget(2, 2, 1e-3, 8, 8, documents=2)
    ours, theirs = (step_data(step, budget, source) for step in (plain, taught))
    assert len(ours) == 4 and len(theirs) == 4
    assert {tuple(row) for row in ours["scores"]} == {(2.0, -1.0)}  # the first and the last of three
    assert {tuple(row) for row in theirs["scores"]} != {(2.0, -1.0)}
    scored = taught_by(source.lists, "cross-encoder", kept)
    known = {scored.queries[row] for row in np.flatnonzero(scored.documents[:, 0] >= 0)}
    assert set(theirs["query"]) <= known
    digests = {source_taught_by(source, name).teacher for name in (None, "cross-encoder")}
    assert len(digests) == 2 and source.teacher in digests


class Letters:
    """A dense model in which each of six letters is a direction."""

    def encode(self, texts: list[str], **_: object) -> np.ndarray:
        return np.array([[text.count(sign) for sign in "abcdef"] for text in texts], np.float32)


DOCUMENTS = {f"d{place}": f"{sign * 3} word {place}" for place, sign in enumerate("abcdef")}
TOY = Collection("toy", DOCUMENTS, {"q": "aaa b"}, {"q": {"d0": 1}})


def test_a_cross_encoder_reranks_what_bm25_and_the_dense_model_propose() -> None:
    collection, scorer = TOY, Counting()
    teacher = Teacher(None, Letters(), TeacherSettings(), "", scorer)  # type: ignore[arg-type]
    scored: dict = {}
    ranking = {
        name: Reranker(teacher, name, 2, scored).search(collection, k=5) for name in ("cross-encoder", "both")
    }
    # a is the query's own letter and b its second: no other document is proposed, and none is asked for twice.
    assert sorted(document for _, document in scorer.asked) == ["aaa word 0", "bbb word 1"]
    assert ranking["cross-encoder"].indices.tolist() == [[1, 0, -1, -1, -1]]
    _, scores = scored["toy"]
    middle = (standardised(scores["ensemble"]) + standardised(scores["cross-encoder"])) / 2
    assert np.array_equal(scores["both"], middle, equal_nan=True)
    assert quality(teacher, {"toy": collection}, depth=2).keys() == {
        "ensemble", "dense", "bm25", "cross-encoder", "both",
    }  # fmt: skip


def test_teachers_are_compared_on_what_was_scored(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("teacher", "scores"):
        monkeypatch.setattr(f"colbert_zero_lib.corpora.{room}.data_folder", lambda: kept.parent)
    text = corpora()
    text.development = {"toy": TOY}
    lists = load_lists(text)
    score_lists(lists, Counting(), {}, 6, kept)
    monkeypatch.setattr(
        teaching,
        "open_teacher",
        lambda *_: Teacher(None, Letters(), TeacherSettings(), ""),  # type: ignore[arg-type]
    )
    found = compare_teachers(text, Counting(), kept, queries=1, depth=2)  # type: ignore[arg-type]
    assert found["dense"] == {"toy": 1.0} and found["cross-encoder"]["toy"] == pytest.approx(1 / np.log2(3))
    # The ensemble scores every positive highest; the other one does where it ends in 2, the largest number.
    scored = taught_by(lists, "cross-encoder")
    rows = np.flatnonzero(scored.documents[:, 0] >= 0)
    ends = [lists.texts[lists.documents[row][0]][-1] == "2" for row in rows]
    assert found["ensemble"]["positive first"] == 1.0
    assert found["cross-encoder"]["positive first"] == pytest.approx(np.mean(ends))
