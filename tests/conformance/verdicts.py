"""Compare answers with the table's right values, and write both down for readers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.conformance.cases import CASES, REFUSED, Case
from tests.conformance.inputs import reference

RIGHT, CONVENTION, OTHER = "right", "convention", "other"


class Verdict(NamedTuple):
    """``kind``: right, convention, other or refused; ``words``: the convention, the value or the error's own words."""

    kind: str
    words: str = ""


def judge(subject: str, case: Case, answer: Mapping[str, Any], models: Mapping[str, str]) -> Verdict:
    """What the answer of ``subject`` is, by the table."""
    if REFUSED in answer:
        return Verdict(RIGHT) if case.right == REFUSED else Verdict(REFUSED, answer[REFUSED])
    value = answer["value"]
    if case.right != REFUSED and same(value, right_value(case, models), case.tolerance):
        return Verdict(RIGHT)
    for convention in case.conventions:
        meant = convention.value
        if isinstance(meant, str):
            meant = reference(case.task, case.given, models, meant)
        if subject in (convention.peers or (subject,)) and same(value, meant, case.tolerance):
            return Verdict(CONVENTION, convention.words)
    return Verdict(OTHER, written(value))


def right_value(case: Case, models: Mapping[str, str]) -> Any:
    """The right value of a case, worked out where it is not written in the table."""
    return reference(case.task, case.given, models) if case.right == "reference" else case.right


def same(value: Any, right: Any, tolerance: float) -> bool:
    """Equal, numbers up to ``tolerance``."""
    if isinstance(right, dict):
        return isinstance(value, dict) and value.keys() == right.keys() and all(
            same(value[name], right[name], tolerance) for name in right
        )  # fmt: skip
    if isinstance(right, (list, tuple)):
        return isinstance(value, (list, tuple)) and len(value) == len(right) and all(
            same(one, other, tolerance) for one, other in zip(value, right, strict=True)
        )  # fmt: skip
    if isinstance(right, (int, float)) and isinstance(value, (int, float)):
        return math.isclose(value, right, rel_tol=0, abs_tol=tolerance)
    return bool(value == right)


def written(value: Any) -> str:
    """A value in few signs."""
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {written(each)}" for name, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(written, value)) + "]"
    return str(value)


HEAD = """\
# Conformance: public reports as small cases

People reported these things of evaluating and training late-interaction models. Each became a small input with a right
value, worked out by hand or by a plain implementation (`inputs.py`), and was put to this suite and to the libraries
around it, each called as its own documentation calls it, with its defaults.

`python -m tests.conformance` asks them all again and writes this page and `data/conformance/peers.json`; one of them
needs an environment of its own, which is made under the home folder. A test asks this suite, and what is installed
beside it, each time.

- **right**: the right value.
- **other rule**: another value that is no mistake: a rule that the library documents; the note says which.
- **refuses**: an error instead of a value. Where the right thing is to refuse, that is *right*.
- **gives ...**: another value.
- an empty cell: the case does not concern the library.

A library is listed at the version that was asked. Nothing here says which one is better: rules differ for reasons, some
reports are years old, and a report names the place where a thing came up, not always whose it is. PyLate reads folders
with beir's loader and measures with ranx, so that their rows agree. A case without a source is of a kind that users
meet, for which no report was found.

"""


def page(found: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """The page: ``found`` as in the file of answers, ``names`` the subjects' names for readers."""
    columns = [f"{names[subject]} {found[subject]['version']}".strip() for subject in names]
    lines = [HEAD + _row(["case", "source", "right value", *columns]), _row(["---"] * (3 + len(columns)))]
    notes: dict[tuple[str, str], list[str]] = {}  # who is meant, by case and words
    for case in CASES:
        cells = []
        for subject in names:
            kind, words = found[subject]["verdicts"].get(case.name, ("", ""))
            if kind in (CONVENTION, REFUSED):
                notes.setdefault((case.name, words), []).append(names[subject])
                number = list(notes).index((case.name, words)) + 1
                cells.append(f"{'other rule' if kind == CONVENTION else 'refuses'} ({number})")
            else:
                cells.append(f"gives {_plain(words)[:60]}" if kind == OTHER else kind)
        right = (
            "refused"
            if case.right == REFUSED
            else "as the plain implementation"
            if case.right == "reference"
            else ""
        )
        value = right or _plain(written(case.right))
        lines.append(_row([case.name, _sources(case), f"{value}: {case.why}", *cells]))
    lines += ["", "## Notes", ""]
    for number, ((name, words), who) in enumerate(notes.items(), 1):
        lines.append(f"{number}. {name} ({', '.join(who)}): {_plain(words)}.")
    return "\n".join(lines) + "\n"


def _sources(case: Case) -> str:
    links = []
    for source in filter(None, case.source.split(", ")):
        repository, number = source.split("#")
        links.append(
            f"[{repository.split('/')[1]} {number}](https://github.com/{repository}/issues/{number})"
        )
    return ", ".join(links)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plain(text: str) -> str:
    shown = "".join(sign if sign.isprintable() else f"\\u{ord(sign):04x}" for sign in text)
    return shown.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
