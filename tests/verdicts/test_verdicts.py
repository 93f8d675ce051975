"""A verdict says what an estimate can, and no more; there is one place that decides."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbert_zero_lib.evaluation.statistics import Variances
from colbert_zero_lib.published.comparison import Relation
from colbert_zero_lib.verdicts import Estimate, decide
from colbert_zero_lib.verdicts.verdict import NOT_RESOLVABLE, NOT_RUN

ROOT = Path(__file__).resolve().parents[2]


def published(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, "15 data sets", 1)


def runs(low: float, high: float, seeds: float = 0.01) -> Estimate:
    """Of three seeds with a spread that shows differences from about half a point upwards; or not known."""
    return Estimate(0.0, low, high, "", 3, variances=Variances(0.0, 0.01, seeds, 3, 99.0, 2.0, "three seeds"))


@pytest.mark.parametrize(
    ("relation", "low", "high", "expected"),
    [
        (">", 0.2, 0.9, "agrees"),
        (">", -0.2, 0.9, "within noise"),
        (">", 0.0, 0.9, "within noise"),
        (">", -0.9, -0.2, "differs"),
        ("<", -0.9, -0.2, "agrees"),
        ("<", 0.2, 0.9, "differs"),
        ("about", -0.2, 0.1, "agrees"),
        ("about", -0.3, 0.1, "within noise"),
        ("about", -5.0, 5.0, "within noise"),
        ("about", 0.3, 0.6, "differs"),
        ("about", -5.0, -0.3, "differs"),
    ],
)
def test_an_interval_is_judged_by_what_is_claimed(
    relation: Relation, low: float, high: float, expected: str
) -> None:
    bound = 0.2 if relation == "about" else 0.0
    assert decide(published(low, high), relation, bound) == expected


def test_runs_are_asked_whether_they_could_have_shown_it() -> None:
    found = runs(-0.2, 0.4)
    assert 0.3 < found.smallest < 0.9
    assert decide(found, size=0.9) == "within noise" and decide(found, size=0.3) == NOT_RESOLVABLE
    assert decide(runs(0.1, 0.4), size=0.01) == "agrees"
    assert decide(runs(5, 6, seeds=math.nan)) == NOT_RESOLVABLE and decide(None) == NOT_RUN
    assert decide(found, p=0.04) == "clear" and decide(found, p=0.06, size=0.9) == "within noise"


@given(st.floats(-100, 100), st.floats(-100, 100), st.floats(0, 100))
def test_turning_every_sign_turns_no_verdict(one: float, other: float, bound: float) -> None:
    low, high = sorted((one, other))
    assert decide(published(low, high), ">") == decide(published(-high, -low), "<")
    assert decide(published(low, high), "about", bound) == decide(published(-high, -low), "about", bound)


def test_the_words_of_verdicts_are_written_in_one_place() -> None:
    """Nothing in the library but `verdict` spells a verdict, so nothing else can decide one."""
    words = re.compile(r'"(within noise|not resolvable at this scale|clear|not run|no figures)"')
    places = [
        file.relative_to(ROOT).as_posix()
        for room in ("verdicts", "figures", "published", "evaluation")
        for file in (ROOT / "colbert_zero_lib" / room).glob("*.py")
        if words.search(file.read_text(encoding="utf-8"))
    ]
    assert places == ["colbert_zero_lib/verdicts/verdict.py"]
