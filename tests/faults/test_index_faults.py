"""An index is killed before each kind of file operation of a change: it holds what it did before, or after it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colbert_zero_lib.evaluation.subjects import Subject
from colbert_zero_lib.searching.documents import Document
from colbert_zero_lib.searching.index import SearchIndex
from tests.faults import children, material

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]
FIRST = {f"d{n}": f"the tide turns at {n}" for n in range(8)}
SECOND = {"d3": "bread rises", "new": "honey never spoils"}
GONE = ("d5", "d6")


def held(place: Path, subject: Subject) -> dict[str, str]:
    index = SearchIndex(place / "index", subject)
    found = [hit.document for hit in index.search(["tide"], 100)[0]]
    assert len(found) == len(index)
    return {document.id: document.text for document in found}


@pytest.fixture
def subject(tiny_colbert: Any) -> Subject:
    return Subject("tiny", "f" * 64, lambda: tiny_colbert)


def adding(subject: Subject) -> Callable[[Path], None]:
    def work(place: Path) -> None:
        SearchIndex(place / "index", subject).add([Document(*item) for item in SECOND.items()])

    return work


def deleting(subject: Subject) -> Callable[[Path], None]:
    def work(place: Path) -> None:
        SearchIndex(place / "index", subject).delete(set(GONE) & set(held(place, subject)))

    return work


@pytest.mark.parametrize("change", [adding, deleting])
def test_a_kill_loses_nothing_and_the_same_change_ends_it(
    tmp_path: Path, subject: Subject, change: Callable[[Subject], Callable[[Path], None]]
) -> None:
    before = tmp_path / "before"
    index = SearchIndex.create(before / "index", "tiny", subject)
    for item in FIRST.items():  # so many segments that a change puts them together
        index.add([Document(*item)])
    assert len(index.segments()) == 8
    work = change(subject)
    code, operations, _ = children.trace(work, material.copy(before, tmp_path / "traced"))
    assert code == children.ENDED, children.said(tmp_path / "traced")
    after = held(tmp_path / "traced", subject)
    assert after == (
        FIRST | SECOND if change is adding else {k: v for k, v in FIRST.items() if k not in GONE}
    )
    first = {(each.event, each.name): n for n, each in reversed([*enumerate(operations, 1)])}
    stops = sorted(first.values())[:: 2 if change is adding else 4]
    assert len(stops) > 5
    for number in stops:
        place = material.copy(before, tmp_path / f"at-{number}")
        ended = children.stopped(work, place, children.Stop(signal.SIGKILL, before=number))
        # What the tracing itself wrote at the end is no operation of the change.
        assert ended == -signal.SIGKILL or number == stops[-1], children.said(place)
        assert held(place, subject) in (FIRST, after), operations[number - 1]
        assert children.end(children.begin(work, place)) == children.ENDED, children.said(place)
        assert held(place, subject) == after
        segments = {path.name for path in (place / "index" / "segments").iterdir()}
        assert segments == set(SearchIndex(place / "index", subject).segments())
