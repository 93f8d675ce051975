"""Kills: every long operation is stopped at a file operation or a moment of its work, and done again.

The second time it must end with what an undisturbed one leaves, byte for byte but for times, and with nothing else.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from colbert_zero_lib.home import home
from colbert_zero_lib.keeping import remove
from tests.faults import children, material
from tests.faults.children import ENDED, FAULT, LIMIT, REFUSED, Operation, Stop, Work
from tests.faults.kit import Outcome, Trial

_AT_A_MOMENT = [Stop(sign, after=0.0, group=group) for sign in (9, 15, 2) for group in (False, True)]
_AT_A_FILE = [Stop(sign, before=1) for sign in (0, 9, 15, 2)]
# Files are where things go wrong: half of the stops are there.
STOPS = [stop for pair in zip(_AT_A_FILE + _AT_A_FILE[:2], _AT_A_MOMENT, strict=True) for stop in pair]


@dataclass(frozen=True)
class Kind:
    """A long operation: ``full`` stops of it in the full mode, begun in a copy of the place that ``before`` made."""

    name: str
    work: Work
    full: int
    before: str = "text"
    passing: frozenset[str] = frozenset()
    stops: list[Stop] = field(default_factory=lambda: STOPS)


KINDS = (
    Kind("run, base encoder", material.run(material.BASE), 24),
    Kind("run, first phase", material.run(material.FIRST), 32, "base"),
    Kind("run, second phase", material.run(material.SECOND), 20, "first"),
    Kind("run, third phase", material.run(material.THIRD), 28, "second"),
    Kind("run, dense phase", material.run(material.DENSE), 16, "base"),
    Kind("sweep", material.sweep, 12, "base"),
    Kind("grid", material.grid, 12, "base"),
    Kind("evaluate", material.evaluate, 20, "first"),
    Kind("baselines' cache", material.baselines, 16),
    Kind("offline text", material.build, 20),
    Kind("encoder from its wheel", material.encoder, 12, "wheels"),
    Kind("teacher and its lists", material.teacher, 8, "encoder"),
    Kind("export", material.export, 24, "first"),
    Kind("record", material.record, 24, "first"),
    Kind("search index", material.index, 20, "first"),
    Kind("search index, deleted from", material.without, 16, "indexed"),
    Kind("report", material.report, 20),
    Kind("notebook", material.notebook, 14, passing=frozenset({".ipynb"}), stops=_AT_A_MOMENT),
    Kind("figures and tables", material.figures, 20),
    Kind("fetch", material.fetch, 14, stops=_AT_A_MOMENT),
)  # fmt: skip


def trials(share: float, seed: int, scratch: Path) -> Iterator[Trial]:
    """Every operation is stopped ``share`` of its full number of times, once at least."""
    with workplace(scratch) as places:
        turn = 0
        for kind in KINDS:
            count = max(1, round(kind.full * share))
            drawn = random.Random(f"{seed} {kind.name}")
            yield from _stopped(kind, count, turn, drawn, places, scratch)
            turn += count
        if share >= 1:
            yield from _commands(random.Random(seed), scratch, places["text"])


@contextmanager
def workplace(scratch: Path) -> Iterator[dict[str, Path]]:
    """The places of `prepare`, and a package index for those who fetch."""
    with index(scratch / "index") as address:
        os.environ.update(PIP_INDEX_URL=f"{address}/simple/", PIP_NO_CACHE_DIR="1")
        yield prepare(scratch / "places")


def prepare(folder: Path) -> dict[str, Path]:
    """Places by what is finished in them; the work is done by children, so that this process has read nothing."""

    import colbert_zero_lib.cli_grid
    import colbert_zero_lib.evaluation.mteb
    import colbert_zero_lib.export
    import colbert_zero_lib.figures.catalogue
    import colbert_zero_lib.report
    import colbert_zero_lib.runs.sweep
    import colbert_zero_lib.searching.index
    import colbert_zero_lib.training.teaching  # noqa: F401

    def after(name: str, before: Path, *work: Work) -> Path:
        place = material.copy(before, folder / name)
        for each in work:
            if children.end(children.begin(each, place)) != ENDED:
                raise RuntimeError(f"{name} cannot be prepared: {children.said(place)}")
        return place

    found = {"text": folder / "text"}
    material.text(found["text"] / "text")
    material.a_notebook(found["text"])
    material.data_folder(found["text"])
    material.executed(found["text"])
    found["base"] = after("base", found["text"], material.run(material.BASE))
    found["first"] = after("first", found["base"], material.run(material.FIRST))
    found["second"] = after("second", found["first"], material.run(material.SECOND))
    found["indexed"] = after("indexed", found["first"], material.index)
    found["wheels"] = after("wheels", found["text"], material.wheels)
    found["encoder"] = after("encoder", found["wheels"], material.encoder)
    return found


def _stopped(
    kind: Kind, count: int, turn: int, drawn: random.Random, places: dict[str, Path], scratch: Path
) -> Iterator[Trial]:
    whole = material.copy(places[kind.before], scratch / "undisturbed")
    code, operations, seconds = children.trace(kind.work, whole)
    if code != ENDED:
        raise RuntimeError(f"{kind.name} ends with {code} undisturbed: {children.said(whole)}")
    left = children.left_running(whole)
    expected = children.state(whole, kind.passing)
    clear(whole)
    if left:
        yield Trial("kills", kind.name, "nothing", Outcome.LITTER, f"left running: {left}")
    for number in range(count):
        stop = kind.stops[(turn + number) % len(kind.stops)]
        stop = _aimed(stop, operations, seconds, drawn)
        place = material.copy(places[kind.before], scratch / "stopped")
        yield _trial(kind, place, stop, expected, drawn.random() < 0.2)
        clear(place)


def _aimed(stop: Stop, operations: list[Operation], seconds: float, drawn: random.Random) -> Stop:
    if stop.before is None:
        return stop._replace(after=drawn.uniform(0.02, 0.98) * seconds)
    # By name first: a file that is met once counts as much as the hundreds of one folder.
    event, name = drawn.choice(sorted({(each.event, each.name) for each in operations}))
    same = [n for n, each in enumerate(operations) if (each.event, each.name) == (event, name)]
    return stop._replace(before=1 + drawn.choice(same))


def _trial(kind: Kind, place: Path, stop: Stop, expected: dict[str, str], twice: bool) -> Trial:
    def found(outcome: Outcome, detail: str) -> Trial:
        how = f"{stop}, twice" if twice else str(stop)
        where = f"before operation {stop.before}" if stop.before else f"after {stop.after:.3f} s"
        return Trial("kills", kind.name, how, outcome, f"{where}: {detail}")

    for _ in range(1 + twice):
        code = children.stopped(kind.work, place, stop)
        for _ in range(3):
            if code != ENDED or stop.after is None:
                break
            stop = stop._replace(after=stop.after / 2)
            code = children.stopped(kind.work, place, stop)
        if code is None:
            return found(Outcome.HUNG, f"not ended after {LIMIT:.0f} s")
        if code == FAULT:
            return found(Outcome.FOREIGN, children.said(place))
        if left := children.left_running(place):
            return found(Outcome.LITTER, f"left running: {left}")
    code = children.end(children.begin(kind.work, place))
    if code != ENDED:
        ends = {REFUSED: Outcome.REFUSED, None: Outcome.HUNG}
        return found(ends.get(code, Outcome.FOREIGN), children.said(place))
    return found(*compared(expected, children.state(place, kind.passing), children.set_aside(place)))


def compared(expected: dict[str, str], now: dict[str, str], aside: list[str]) -> tuple[Outcome, str]:
    """What the second attempt came to, beside the undisturbed one."""
    lost = sorted(set(expected) - set(now))
    other = sorted(name for name in set(expected) & set(now) if expected[name] != now[name])
    more = sorted(set(now) - set(expected)) + sorted(aside)[1:]
    for outcome, names in ((Outcome.LOST, lost), (Outcome.WRONG, other), (Outcome.LITTER, more)):
        if names:
            return outcome, f"{len(names)} files: {', '.join(names[:4])}"
    return Outcome.SURVIVED, "as undisturbed"


def _commands(drawn: random.Random, scratch: Path, text: Path) -> Iterator[Trial]:
    """The real command in a process of its own, and the real build, which takes a minute."""
    words = ("run", "a", "--profile", "smoke", "--source", "folder:PLACE/text", "--quiet")
    group = [Stop(sign, after=0.0, group=True) for sign in (9, 15, 2)]
    commands = (
        Kind("command run", material.command(*words), 4, "text", stops=_AT_A_MOMENT),
        Kind(
            "command run, two processes", material.command(*words, "--processes", "2"), 3, "text", stops=group
        ),
        Kind(
            "command data build",
            material.command("data", "build", "--quiet"),
            2,
            "wheels",
            stops=_AT_A_MOMENT,
        ),
    )
    wheels = material.copy(text, scratch / "with-wheels")
    material.wheels(wheels)
    for kind in commands:
        yield from _stopped(
            kind, kind.full, drawn.randrange(6), drawn, {"text": text, "wheels": wheels}, scratch
        )


def clear(place: Path) -> None:
    """Take away a place and what was said in it."""
    for each in (place, place.with_name(f"{place.name}.said")):
        remove(each)


@contextmanager
def index(folder: Path) -> Iterator[str]:
    """A package index of the wheels at hand, served on the loopback address by a process of its own."""
    for wheel in (home() / "wheels").glob("*.whl"):
        project = folder / "simple" / wheel.name.split("-")[0].replace("_", "-").lower()
        project.mkdir(parents=True, exist_ok=True)
        (project / wheel.name).symlink_to(wheel)
        (project / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("slow_index.py")), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout
        yield server.stdout.readline().strip()
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
