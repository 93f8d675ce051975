"""Crowds: several processes, or two users, want the same thing at once; and clocks that jump while they work."""

from __future__ import annotations

import datetime
import os
import random
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

from colbert_zero_lib import keeping
from tests.faults import children, kills, material
from tests.faults.children import ENDED, REFUSED, Stop, Work
from tests.faults.kills import Kind
from tests.faults.kit import Outcome, Trial

CROWD = 4
_SHARED = (
    "run, first phase", "sweep", "grid", "evaluate", "baselines' cache", "offline text", "encoder from its wheel",
    "record", "report", "figures and tables", "fetch",
)  # fmt: skip
KINDS = [kind for kind in kills.KINDS if kind.name in _SHARED]
FULL = {
    "at once": 3,
    "at once, one killed": 4,
    "clocks": 2,
    "two users": 1,
    "two users, one may only read": 1,
}
_GROUP, _USERS = 54_000, (54_001, 54_002)


def trials(share: float, seed: int, scratch: Path) -> Iterator[Trial]:
    """Every kind of work and every crowd; with a small ``share`` by turns."""
    drawn = random.Random(seed)
    with kills.workplace(scratch) as places:
        for turn, kind in enumerate(KINDS):
            crowd = _Crowd(kind, places[kind.before], scratch, drawn)
            for place, (name, full) in enumerate(FULL.items()):
                for _ in range(
                    max(1, round(full * share)) if share >= 0.2 else (turn + place) % len(FULL) < 1
                ):
                    yield from crowd.of(name)
        yield from _records(places["second"], scratch)


def counted(work: Work) -> Work:
    """The work, leaving a line in ``trained`` for every step that was trained."""

    def counting(place: Path) -> None:
        from colbert_zero_lib.runs import execute

        train = execute.train_step

        def step(*given: object, **named: object) -> object:
            with (place.parent / "trained").open("a") as file:
                file.write(f"{os.getpid()}\n")
            return train(*given, **named)  # type: ignore[arg-type]

        with mock.patch.object(execute, "train_step", step):
            work(place)

    return counting


def jumping(drawn: random.Random) -> None:
    """From here on this process's clock is wrong by up to a year, and goes backwards as often as forwards."""
    true = time.time

    def wrong() -> float:
        return true() + drawn.uniform(-1, 1) * 365 * 86_400

    class Wrong(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
            return datetime.datetime.fromtimestamp(wrong(), tz)

    time.time = wrong
    datetime.datetime = Wrong  # type: ignore[misc]


class _Crowd:
    """The crowds of one kind of work."""

    def __init__(self, kind: Kind, before: Path, scratch: Path, drawn: random.Random) -> None:
        self.kind, self.before, self.scratch, self.drawn = kind, before, scratch, drawn
        self.work = counted(kind.work)
        whole = self.place()
        code, _, self.seconds = children.trace(self.work, whole)
        if code != ENDED:
            raise RuntimeError(f"{kind.name} ends with {code} undisturbed: {children.said(whole)}")
        self.expected, self.steps = children.state(whole, kind.passing), self.trained()
        kills.clear(whole.parent)

    def place(self) -> Path:
        """A place of its own for one trial, in a folder with its notes."""
        folder = self.scratch / "crowd"
        folder.mkdir()
        return material.copy(self.before, folder / "place")

    def trained(self) -> int:
        """How many steps were trained."""
        file = self.scratch / "crowd" / "trained"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def of(self, name: str) -> Iterator[Trial]:
        """One crowd."""
        place = self.place()
        try:
            if name.startswith("two users"):
                # pip needs an interpreter that the other user may start.
                if os.geteuid() == 0 and self.kind.name != "fetch":
                    yield self.users(place, name, 0o022 if "read" in name else 0o002)
            elif name == "clocks":
                yield self.clocks(place, name)
            else:
                yield self.crowd(place, name)
        finally:
            kills.clear(place.parent)

    def crowd(self, place: Path, name: str) -> Trial:
        """All begin at once; one may be killed somewhere."""
        ids = [children.begin(self.work, place) for _ in range(CROWD)]
        killed = 0
        if "killed" in name:
            time.sleep(self.drawn.uniform(0.05, 1.2) * self.seconds)
            killed = self.drawn.choice(ids)
            try:
                os.killpg(killed, signal.SIGKILL)
            except ProcessLookupError:
                killed = 0
        codes = [children.end(each) for each in ids]
        bad = [code for each, code in zip(ids, codes, strict=True) if code != ENDED and each != killed]
        if killed:  # what it left goes with the next one
            bad.append(children.end(children.begin(self.work, place)))
        # Who is killed has trained for nothing.
        return self.judged(place, name, bad, self.steps + bool(killed))

    def clocks(self, place: Path, name: str) -> Trial:
        """What is there is from the future or from 1970, and time goes to and fro."""
        for path in (place, *place.rglob("*")):
            if not path.is_symlink():
                os.utime(path, (when := self.drawn.choice((0, 4e9)), when))

        def prepare() -> None:
            jumping(self.drawn)

        stop = children.begin(self.work, place, Stop(9, before=self.drawn.randrange(1, 200)), prepare)
        children.end(stop)
        return self.judged(
            place, name, [children.end(children.begin(self.work, place, prepare=prepare))], self.steps + 1
        )

    def users(self, place: Path, name: str, umask: int) -> Trial:
        """One user works, then another of the same group, who may also write where the umask says so."""
        for path in (place, *place.rglob("*")):
            os.chown(path, _USERS[0], _GROUP, follow_symlinks=False)
            if not path.is_symlink():
                path.chmod(stat.S_IMODE(path.stat().st_mode) | (0o2070 if path.is_dir() else 0o060))
        for folder in (place.parent, *place.parent.parents):
            if folder.stat().st_uid == 0 and folder != Path("/"):
                folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o011)
        place.parent.chmod(0o777)

        def as_user(user: int) -> Callable[[], None]:
            def prepare() -> None:
                os.umask(umask)
                os.environ["HOME"] = str(place.parent)
                os.setgroups([])
                os.setgid(_GROUP)
                os.setuid(user)

            return prepare

        words = place.with_name(f"{place.name}.said")
        words.touch()
        words.chmod(0o666)
        codes = [children.end(children.begin(self.work, place, prepare=as_user(user))) for user in _USERS]
        return self.judged(place, name, [code for code in codes if code != ENDED], self.steps)

    def judged(self, place: Path, name: str, bad: list[int | None], most: int) -> Trial:
        """Compare with one process that works alone."""

        def found(outcome: Outcome, detail: str) -> Trial:
            return Trial("crowds", self.kind.name, name, outcome, detail)

        bad = [code for code in bad if code != ENDED]
        if "read" in name and set(bad) == {REFUSED}:
            return found(Outcome.REFUSED, children.said(place))
        if bad:
            worst = Outcome.HUNG if None in bad else Outcome.FOREIGN
            return found(worst, f"ends with {bad}: {children.said(place)}")
        if self.trained() > most:
            return found(Outcome.LOST, f"{self.trained()} steps were trained where {self.steps} are")
        now = children.state(place, self.kind.passing)
        return found(*kills.compared(self.expected, now, children.set_aside(place)))


def _records(before: Path, scratch: Path) -> Iterator[Trial]:
    """Two processes that record different runs at once: the manifest has to list both."""

    def recording(recipe: str) -> Work:
        def work(place: Path) -> None:
            from colbert_zero_lib import committed, runs

            entries = keeping.entries_of

            def slowly(manifest: Path) -> dict[str, keeping.Kept]:
                found = entries(manifest)
                time.sleep(0.3)  # between reading the manifest and writing it
                return found

            os.environ["COLBERT_ZERO_HOME"] = str(place / "home")
            with (
                mock.patch.object(committed, "data_folder", lambda: place / "data"),
                mock.patch.object(keeping, "entries_of", slowly),
            ):
                runs.record(material.a_run(place, recipe), place / "data" / "runs")

        return work

    place = material.copy(before, scratch / "records")
    for _ in range(5):
        ids = [children.begin(recording(recipe), place) for recipe in (material.FIRST, material.SECOND)]
        codes = [children.end(each) for each in ids]
        listed = {
            name for name in keeping.entries_of(place / "data" / "manifest.json") if name.startswith("runs/")
        }
        wrong = keeping.damage(place / "data")
        outcome = Outcome.SURVIVED if len(listed) == 4 and not wrong else Outcome.LOST
        if codes != [ENDED, ENDED]:
            outcome = Outcome.FOREIGN
        yield Trial(
            "crowds", "data's manifest", "at once", outcome, f"{sorted(listed)} are listed, {wrong}, {codes}"
        )
        kills.remove(place / "data" / "runs")
        material.data_folder(place)
    kills.clear(place)
