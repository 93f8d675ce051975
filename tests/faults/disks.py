"""Disks: full at any byte, closed to writing, and with something else in the place of what is to be written.

What cannot be written is one sentence; when there is room again, the same work ends as if nothing had been.
"""

from __future__ import annotations

import random
import re
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from colbert_zero_lib.keeping import remove
from tests.faults import children, kills, material
from tests.faults.children import ENDED, REFUSED
from tests.faults.kills import Kind
from tests.faults.kit import Outcome, Trial

_NAMES = (
    "run, base encoder", "run, first phase", "run, third phase", "sweep", "evaluate", "baselines' cache",
    "offline text", "encoder from its wheel", "export", "record", "report", "notebook", "figures and tables", "fetch",
)  # fmt: skip
KINDS = [kind for kind in kills.KINDS if kind.name in _NAMES]
FULL = {"full": 5, "small files only": 3, "read-only": 1, "read-only, finished": 1, "in the way": 8}
_PASSING_NAME = re.compile(r"-\d+-[0-9a-f]{8}|tmp\w{8}|\.trace")


def trials(share: float, seed: int, scratch: Path) -> Iterator[Trial]:
    """Every kind of writer meets every kind of disk; with a small ``share`` by turns."""
    drawn = random.Random(seed)
    with kills.workplace(scratch) as places:
        for turn, kind in enumerate(KINDS):
            whole = material.copy(places[kind.before], scratch / "undisturbed")
            code, operations, _ = children.trace(kind.work, whole)
            if code != ENDED:
                raise RuntimeError(f"{kind.name} ends with {code} undisturbed: {children.said(whole)}")
            trial = _Trials(
                kind, places[kind.before], whole, scratch, drawn, [each.path for each in operations]
            )
            for place, (fault, full) in enumerate(FULL.items()):
                count = round(full * share) if share >= 0.2 else (turn + place) % len(FULL) < 2
                for _ in range(count):
                    yield from trial.of(fault)
            kills.clear(whole)


def can_mount(folder: Path) -> bool:
    """Whether this process may mount a small disk of memory."""
    with _disk(folder / "try", 1 << 16) as mounted:
        return mounted


@contextmanager
def _disk(place: Path, size: int) -> Iterator[bool]:
    """A disk of ``size`` bytes at ``place``; False, and an ordinary folder, where that is not allowed."""
    place.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    with suppress(OSError):
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=False)
        remove(place)


def _remount(place: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(place)], check=True)


class _Trials:
    """The trials of one kind of work."""

    def __init__(
        self, kind: Kind, before: Path, whole: Path, scratch: Path, drawn: random.Random, paths: list[str]
    ) -> None:
        self.kind, self.before, self.whole, self.scratch, self.drawn = kind, before, whole, scratch, drawn
        self.expected = children.state(whole, kind.passing)
        self.needed = max(_bytes(whole) - _bytes(before), 1 << 12)
        new = {path for path in paths if path and not (before / path).exists()}
        self.paths = sorted(path for path in new if not _PASSING_NAME.search(path))

    def of(self, fault: str) -> Iterator[Trial]:
        """Inject one fault of a kind."""
        with _disk(self.scratch / "disk", 1 << 30) as mounted:
            place = self.scratch / "disk" / "place"
            finished = fault == "read-only, finished"
            material.copy(self.whole if finished else self.before, place)
            if fault.startswith("read-only"):
                if not mounted:
                    return
                _remount(place.parent, "ro")
                yield self._trial(fault, place, lambda: _remount(place.parent, "rw"), "")
            elif fault == "full" and mounted:
                # More than the result takes is needed on the way to it.
                room = int(self.needed * self.drawn.uniform(0.0, 1.6))
                _remount(place.parent, f"size={_bytes(place) + room}")
                yield self._trial(
                    fault, place, lambda: _remount(place.parent, "size=1g"), f"{room} bytes left"
                )
            elif fault == "in the way":
                yield self._in_the_way(place)
            else:
                most = int(2 ** self.drawn.uniform(12, 20))  # what is said is a file too
                yield self._trial(fault, place, lambda: None, f"no file over {most} bytes", most)

    def _trial(self, fault: str, place: Path, mend: Callable[[], None], detail: str, most: int = 0) -> Trial:
        def prepare() -> None:
            if most:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

        said = place.parent.with_name("place.said")

        def found(outcome: Outcome, more: str) -> Trial:
            return Trial("disks", self.kind.name, fault, outcome, f"{detail} {more}".strip())

        code = children.end(children.begin(self.kind.work, place, prepare=prepare, words=said))
        sentence = children.last_words(said)
        remove(said)
        if code is None:
            return found(Outcome.HUNG, sentence)
        if code not in (ENDED, REFUSED):
            return found(Outcome.FOREIGN, f"ends with {code}: {sentence}")
        if left := children.left_running(place):
            return found(Outcome.LITTER, f"left running: {left}")
        mend()
        again = children.end(children.begin(self.kind.work, place, words=said))
        words = children.last_words(said)
        remove(said)
        if again != ENDED:
            return found(Outcome.LOST, f"then ends with {again}: {words}")
        now = children.state(place, self.kind.passing)
        # What was measured without keeping vectors is not measured again.
        now |= {name: kept for name, kept in self.expected.items() if name.startswith("home/vectors")}
        outcome, more = kills.compared(self.expected, now, children.set_aside(place))
        if outcome is not Outcome.SURVIVED:
            return found(outcome, more)
        return found(Outcome.SURVIVED if code == ENDED else Outcome.REFUSED, sentence)

    def _in_the_way(self, place: Path) -> Trial:
        """Something else stands where the work puts a file or a folder; what a link points to must stay as it is."""
        path = self.drawn.choice(self.paths)
        target, elsewhere = place / path, place.parent / "elsewhere"
        what = self.drawn.choice(("folder", "file", "dangling link", "link to a folder", "link to a file"))
        elsewhere.mkdir()
        (elsewhere / "kept").write_text("mine")
        target.parent.mkdir(parents=True, exist_ok=True)
        if what == "folder":
            target.mkdir()
            (target / "kept").write_text("mine")
        elif what == "file":
            target.write_text("mine")
        else:
            names = {"dangling link": "nowhere", "link to a folder": "", "link to a file": "kept"}
            target.symlink_to(elsewhere / names[what])

        own = target.lstat().st_ino

        def mend() -> None:
            with suppress(OSError):
                if target.lstat().st_ino == own:
                    remove(target)

        trial = self._trial("in the way", place, mend, f"{what} at {path}:")
        if (elsewhere / "kept").exists() and (elsewhere / "kept").read_text() == "mine":
            return trial
        return trial._replace(outcome=Outcome.LOST, detail=f"{trial.detail}; what it points to")


def _bytes(place: Path) -> int:
    """Bytes that files take on a disk, in whole pages, and a page a folder."""
    return sum((path.lstat().st_size + 4095) // 4096 * 4096 + 1024 for path in place.rglob("*"))
