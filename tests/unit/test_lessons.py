"""A prediction is shown beside what was found."""

from __future__ import annotations

from colbert_zero_lib.lessons import compare


def test_a_prediction_is_compared_with_what_was_found(capsys):
    compare(..., 1.25, "points", (0.5, 2.0))
    compare(1.0, 1.25, "points", (0.5, 2.0))
    compare(3.0, 1.25, "points", (0.5, 2.0))
    compare(..., 2048, "rows")
    compare("c", "b")
    compare("b", "b")
    assert capsys.readouterr().out.splitlines() == [
        "found: +1.25 points [+0.50, +2.00]",
        "you said +1.00 points; it was +1.25 points [+0.50, +2.00] (inside the interval)",
        "you said +3.00 points; it was +1.25 points [+0.50, +2.00]",
        "found: 2,048 rows",
        "you said c; it was b",
        "you said b; it was b (right)",
    ]
