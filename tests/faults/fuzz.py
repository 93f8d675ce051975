"""Random inputs for every reader of what others write, a million of them in the full mode.

Each input is drawn from a reader's own grammar and then, mostly, made odd. What a reader accepts must mean what a small
reader of the kit's own finds in the same bytes; what it refuses ends in one sentence that names the place.
"""

from __future__ import annotations

import json
import math
import random
import signal
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from colbert_zero_lib.errors import ColbertZeroError
from tests.faults.fuzzed import (
    READERS,
    ROW_KEYS,
    UNKNOWN,
    Reader,
    chance_value,
    in_file,
    json_right,
    one_sentence,
    passport,
    qrels_of_objects,
    read_qrels_file,
    read_run,
    rows_of_objects,
    tables_of,
)
from tests.faults.kit import Outcome, Trial

FULL = 1_000_000
SECONDS = 20  # of the processor, until a reader counts as hung
GOOD = (Outcome.SURVIVED, Outcome.REFUSED)


class _Hung(BaseException):
    """Nothing that a reader catches."""


def _same(found: Any, right: Any) -> bool:
    if isinstance(right, dict) and isinstance(found, dict):
        return all(key in found and _same(found[key], right[key]) for key in right)
    if isinstance(right, float) and isinstance(found, (int, float)):
        return found == right or (math.isnan(found) and math.isnan(right))
    if isinstance(right, (list, tuple)) and isinstance(found, (list, tuple)):
        return len(found) == len(right) and all(map(_same, found, right))
    return bool(found == right)


def attempt(reader: Reader, given: Any, folder: Path) -> tuple[Outcome, str]:
    """What the reader makes of one input."""
    try:
        found = reader.read(given, folder)
    except ColbertZeroError as error:
        try:
            one_sentence(error, reader.names)
        except (AssertionError, UnicodeEncodeError) as fault:
            return Outcome.FOREIGN, str(fault)
        return Outcome.REFUSED, ""
    except _Hung:
        return Outcome.HUNG, ""
    except AssertionError as error:
        return Outcome.WRONG, str(error)
    except Exception as error:
        return Outcome.FOREIGN, f"{type(error).__name__}: {str(error)[:200]}"
    try:
        right = reader.right(given)
    except Exception as error:
        return (
            Outcome.WRONG,
            f"read as {str(found)[:150]!r} where nothing can be read: {type(error).__name__} {str(error)[:80]}",
        )
    same = right is UNKNOWN or _same(found, right)
    return (
        (Outcome.SURVIVED, "")
        if same
        else (Outcome.WRONG, f"{str(found)[:200]!r} is not {str(right)[:200]!r}")
    )


def _shown(given: Any) -> str:
    text = repr(given)
    return text if len(text) < 300 else f"{text[:200]}...{text[-80:]}"


def _ring(*_: Any) -> None:
    raise _Hung


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _found_by_hypothesis(share: float, folder: Path) -> Iterator[Trial]:
    """Values of JSON that hypothesis thinks of, under every key of every kind of row."""
    for kind, read, right in (
        ("pairs", in_file("a.jsonl", lambda f: tables_of(f, "pair")), lambda g: rows_of_objects(g, "pair")),
        ("judgements", in_file("a.jsonl", read_qrels_file), qrels_of_objects),
        ("passport", read_run, json_right),
    ):
        yield from _examples(
            Reader(f"{kind}, by hypothesis", chance_value, read, right), max(40, int(2_000 * share)), folder
        )


_BASE = {"query": "q", "document": "d", "query-id": "q", "corpus-id": "d", "score": 1}


def _examples(reader: Reader, wanted: int, folder: Path) -> Iterator[Trial]:
    found: Counter[Outcome] = Counter()
    bad: list[Trial] = []

    @settings(
        max_examples=wanted,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.dictionaries(
            st.sampled_from([*ROW_KEYS[:11], "query-id", "corpus-id", "score", *passport()]), JSON, max_size=5
        )
    )
    def run(row: dict[str, Any]) -> None:
        base = passport() if "passport" in reader.kind else _BASE
        content = json.dumps(base | row).encode()
        outcome, detail = attempt(reader, content, folder)
        found[outcome] += 1
        if outcome not in GOOD:
            bad.append(Trial("fuzz", reader.kind, "value", outcome, f"{_shown(content)}: {detail}"))

    run()
    yield from [*bad, *_good(reader, "value", found, f"{wanted} examples")]


def _good(reader: Reader, what: str, found: Counter[Outcome], detail: str) -> Iterator[Trial]:
    for outcome in GOOD:
        if found[outcome]:
            yield Trial("fuzz", reader.kind, what, outcome, detail, found[outcome])


def trials(share: float, seed: int, scratch: Path) -> Iterator[Trial]:
    """See the kit: `FULL` inputs at share 1; what is good is counted, what is bad is told one by one."""
    total, before = sum(reader.weight for reader in READERS), signal.signal(signal.SIGPROF, _ring)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for number, reader in enumerate(READERS):
                folder = scratch / str(number)
                folder.mkdir(parents=True)
                counts: Counter[Outcome] = Counter()
                inputs = max(20, round(FULL * share * reader.weight / total))
                for place in range(inputs):
                    given_seed = f"{seed}:{reader.kind}:{place}"
                    given_input = reader.draw(random.Random(given_seed))
                    signal.setitimer(signal.ITIMER_PROF, SECONDS)
                    outcome, detail = attempt(reader, given_input, folder)
                    signal.setitimer(signal.ITIMER_PROF, 0)
                    counts[outcome] += 1
                    if outcome not in GOOD:
                        how = f"{given_seed}: {_shown(given_input)}: {detail}"
                        yield Trial("fuzz", reader.kind, "random", outcome, how)
                yield from _good(reader, "random", counts, f"seeds {seed}:{reader.kind}:0 to {inputs - 1}")
            (scratch / "hypothesis").mkdir()
            yield from _found_by_hypothesis(share, scratch / "hypothesis")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
