"""A verdict says what an interval can, and no more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbert_zero_lib.errors import ParameterError
from colbert_zero_lib.verdicts import verdict


@pytest.mark.parametrize(
    ("published", "low", "high", "expected"),
    [
        (1.3, 0.2, 0.9, "agrees"),
        (1.3, -0.2, 0.9, "within noise"),
        (1.3, 0.0, 0.9, "within noise"),
        (1.3, -0.9, -0.2, "differs"),
        (-0.6, -0.9, -0.2, "agrees"),
        (-0.6, 0.2, 0.9, "differs"),
    ],
)
def test_a_delta_is_judged_by_its_sign(published: float, low: float, high: float, expected: str) -> None:
    assert verdict(published, low, high) == expected


@pytest.mark.parametrize(
    ("published", "low", "high", "expected"),
    [
        (55.4, 55.3, 55.5, "agrees"),
        (55.4, 55.1, 55.5, "within noise"),
        (55.4, 50.0, 60.0, "within noise"),
        (55.4, 55.7, 56.0, "differs"),
        (55.4, 50.0, 55.1, "differs"),
        (0.0, -0.1, 0.1, "agrees"),
    ],
)
def test_a_figure_is_judged_by_its_distance(published: float, low: float, high: float, expected: str) -> None:
    assert verdict(published, low, high, tolerance=0.2) == expected


finite = st.floats(-100, 100)


@given(finite.filter(bool), finite, finite)
def test_turning_every_sign_turns_no_verdict(published: float, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert verdict(published, low, high) == verdict(-published, -high, -low)
    assert verdict(published, low, high, 1.0) == verdict(-published, -high, -low, 1.0)


@pytest.mark.parametrize(
    "arguments", [(1, 2, 1), (1, float("nan"), 1), (float("inf"), 0, 1), (0, 0, 1), (1, 0, 1, -1)]
)
def test_what_has_no_verdict_is_refused(arguments: tuple[float, ...]) -> None:
    with pytest.raises(ParameterError):
        verdict(*arguments)
