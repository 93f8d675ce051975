"""What a reader expected, beside what was found: the line that closes a question of a notebook."""

from __future__ import annotations

from types import EllipsisType

Answer = float | str


def compare(
    said: Answer | EllipsisType, found: Answer, unit: str = "", interval: tuple[float, float] | None = None
) -> None:
    """Print ``said``, a prediction (``...`` if none was made), beside ``found``, in ``unit``.

    ``interval`` is the 95% interval of a number that was found: a prediction inside it cannot be told from it.
    """

    def told(value: Answer) -> str:
        text = value if isinstance(value, str) else f"{value:,.4g}"
        return f"{text} {unit}".strip()

    answer = told(found) + (f" [{interval[0]:,.4g}, {interval[1]:,.4g}]" if interval else "")
    if isinstance(said, EllipsisType):
        print(f"you made no guess; it was {answer}")
        return
    near = " (inside the interval)" if interval and interval[0] <= float(said) <= interval[1] else ""
    right = " (right)" if said == found else ""
    print(f"you said {told(said)}; it was {answer}{near or right}")
