"""Every kind of file that the suite keeps, damaged in every way that disks and people damage files.

A trial copies a small home whose reading gives a known result, damages one file of it and reads again. The result is
what counts: it equals the undamaged one (the file did not matter, or was made anew), or there is one sentence.

Out of reach, since nobody declared elsewhere what the bytes were: a file that was altered *together with* the manifest
beside it, in run folders, checkpoints, built text, kept rows, vectors and caches. Where there is such a declaration
(the pins of wheels, the digest of the encoder's weights, the teacher's passport, the names of the hub's blobs), it is
held against the file, and the way "forge" shows it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from colbert_zero_lib import committed, keeping
from colbert_zero_lib.errors import LONGEST, ColbertZeroError
from tests.faults.kept import TARGETS, Target
from tests.faults.kit import Outcome, Trial

FULL, FEWEST = 2_600, 3  # trials at share 1.0, and of any kind at any share
SECONDS = 120.0  # on a busy machine, until a reader counts as hung
NOBODY = 65_534


# --- ways ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hit:
    """What a way may need to know: the file, one beside it, the same file of an older version, and chance."""

    file: Path
    sibling: Path
    older: Path
    chance: random.Random


def _rewrite(file: Path, content: bytes) -> None:
    """Into the same file, as a disk or an editor would: a link to it sees the change too."""
    file.write_bytes(content)


def _flip(hit: Hit, mask: int | None = None) -> str:
    content = bytearray(hit.file.read_bytes() or b"\0")
    place, mask = hit.chance.randrange(len(content)), mask or 1 << hit.chance.randrange(8)
    content[place] ^= mask
    _rewrite(hit.file, bytes(content))
    return f"byte {place} ^ {mask}"


def _flip_byte(hit: Hit) -> str:
    return _flip(hit, hit.chance.randrange(1, 256))


def _flip_unseen(hit: Hit) -> str:
    state = hit.file.stat()
    done = _flip(hit)
    os.utime(hit.file, ns=(state.st_atime_ns, state.st_mtime_ns))
    return done


def _truncate(hit: Hit) -> str:
    content = hit.file.read_bytes()
    place = hit.chance.randrange(max(1, len(content)))
    _rewrite(hit.file, content[:place])
    return f"at {place}"


def _empty(hit: Hit) -> str:
    _rewrite(hit.file, b"")
    return ""


def _blank(hit: Hit) -> str:
    content = bytearray(hit.file.read_bytes())
    place = hit.chance.randrange(max(1, len(content)))
    content[place : place + 512] = bytes(len(content[place : place + 512]))
    _rewrite(hit.file, bytes(content))
    return f"512 from {place}"


def _append(hit: Hit) -> str:
    content = hit.file.read_bytes()
    tail = content[-hit.chance.randrange(1, 200) :]
    _rewrite(hit.file, content + (tail or b"x"))
    return f"its last {len(tail)}"


def _delete(hit: Hit) -> str:
    hit.file.unlink()
    return ""


def _folder(hit: Hit) -> str:
    hit.file.unlink()
    hit.file.mkdir()
    (hit.file / "inside").write_text("x")
    return ""


def _dangle(hit: Hit) -> str:
    hit.file.unlink()
    hit.file.symlink_to("nowhere")
    return ""


def _loop(hit: Hit) -> str:
    hit.file.unlink()
    hit.file.symlink_to(hit.file.name)
    return ""


def _pipe(hit: Hit) -> str:
    hit.file.unlink()
    os.mkfifo(hit.file)
    return ""


def _close(hit: Hit) -> str:
    hit.file.chmod(0)
    return ""


def _swap(hit: Hit) -> str:
    one, other = hit.file.read_bytes(), hit.sibling.read_bytes()
    _rewrite(hit.file, other)
    _rewrite(hit.sibling, one)
    return f"with {hit.sibling.name}"


def _copy_sibling(hit: Hit) -> str:
    _rewrite(hit.file, hit.sibling.read_bytes())
    return f"{hit.sibling.name}"


def _older(hit: Hit) -> str:
    content = hit.older.read_bytes() if hit.older.is_file() else hit.file.read_bytes()[::-1]
    _rewrite(hit.file, content)
    return ""


def _older_unseen(hit: Hit) -> str:
    state = hit.file.stat()
    _older(hit)
    os.utime(hit.file, ns=(state.st_atime_ns, state.st_mtime_ns))
    return ""


def _forge(hit: Hit) -> str:
    """Alter the file and, as far as there is one, its entry in the nearest manifest."""
    done = _flip(hit)
    for folder in (hit.file.parent, *hit.file.parent.parents[:3]):
        manifest, name = folder / keeping.MANIFEST, hit.file.relative_to(folder).as_posix()
        if manifest.is_file() and name in (entries := json.loads(manifest.read_text()))["files"]:
            digest = hashlib.sha256(hit.file.read_bytes()).hexdigest()
            entries["files"][name] = {"bytes": hit.file.stat().st_size, "sha256": digest}
            manifest.write_text(json.dumps(entries))
            break
    return done


WAYS: dict[str, Callable[[Hit], str]] = {
    "flip a bit": _flip,
    "flip a byte": _flip_byte,
    "flip, size and time kept": _flip_unseen,
    "truncate": _truncate,
    "empty": _empty,
    "blank a block": _blank,
    "append": _append,
    "delete": _delete,
    "a folder in its place": _folder,
    "a dangling link": _dangle,
    "a link to itself": _loop,
    "a pipe in its place": _pipe,
    "unreadable": _close,
    "swap with a sibling": _swap,
    "a copy of a sibling": _copy_sibling,
    "an older version": _older,
    "an older version, time kept": _older_unseen,
}


# --- one trial ----------------------------------------------------------------------------------------------------


def _forget() -> None:
    """What this process remembers of files, as another process would not."""
    keeping._digests.clear()
    committed._read.cache_clear()


@contextmanager
def _as_nobody(root: Path) -> Iterator[None]:
    """Read as a user whom permissions bind: root reads everything."""
    if os.geteuid() != 0:
        yield
        return
    for path in (root, *root.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def _not_for_ever(pipe: Path | None) -> Iterator[list[str]]:
    """Wake a reader that waits at a pipe, or for ever, and remember that."""
    hung: list[str] = []

    def wake() -> None:
        with suppress(OSError):  # nobody waits there
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))  # type: ignore[arg-type]
            hung.append("waited at the pipe")

    def ring(*_: Any) -> None:
        hung.append("took too long")
        raise _Hung

    timer = threading.Timer(3.0, wake) if pipe else None
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    if timer:
        timer.start()
    try:
        yield hung
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if timer:
            timer.cancel()


class _Hung(BaseException):
    """Nothing that a reader catches."""


def _sentence_fault(error: ColbertZeroError) -> str | None:
    text = str(error)
    if "\n" in text or len(text) > LONGEST:
        return f"a sentence of {len(text)} characters and {len(text.splitlines())} lines: {text[:200]!r}"
    return None


def attempt(read: Callable[[], Any], right: Any, pipe: Path | None = None) -> tuple[Outcome, str]:
    """What ``read`` ends in, beside the result that it should have."""
    with _not_for_ever(pipe) as hung, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = read()
        except ColbertZeroError as error:
            wrong = _sentence_fault(error)
            outcome, detail = (Outcome.FOREIGN, wrong) if wrong else (Outcome.REFUSED, str(error))
        except _Hung:
            outcome, detail = Outcome.HUNG, ""
        except Exception as error:
            outcome, detail = Outcome.FOREIGN, f"{type(error).__name__}: {str(error)[:300]}"
        else:
            outcome = Outcome.SURVIVED if found == right else Outcome.WRONG
            detail = "" if found == right else f"other: {_difference(found, right)}"
    return (Outcome.HUNG, hung[0]) if hung else (outcome, detail)


def _difference(found: Any, right: Any) -> str:
    if isinstance(found, Mapping) and isinstance(right, Mapping):
        keys = [key for key in {*found, *right} if found.get(key) != right.get(key)]
        return ", ".join(f"{key}: {str(found.get(key))[:80]}" for key in keys[:2])
    return str(found)[:200]


def _files(root: Path, patterns: Iterable[str]) -> list[Path]:
    found = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    return sorted(path.relative_to(root) for path in found if not path.name.endswith(".lock"))


@dataclass
class Bench:
    """A target with its two versions on disk and the result that is right."""

    target: Target
    root: Path

    def __post_init__(self) -> None:
        for version, name in enumerate(("intact", "older")):
            (self.root / name).mkdir(parents=True)
            with self._patched(self.root / name):
                self.target.make(self.root / name, version)
        _forget()
        with self._patched(self.root / "intact"):
            # Twice: the first reading may write what the second finds.
            self.right = [self.target.read(self.root / "intact") for _ in range(2)][1]
        self.files = _files(self.root / "intact", self.target.of)
        assert self.files, self.target.kind

    @contextmanager
    def _patched(self, root: Path) -> Iterator[None]:
        with ExitStack() as stack, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for each in self.target.patches(root):
                stack.enter_context(each)
            yield

    def trial(self, way: str, seed: str) -> Trial:
        """Damage one file of a copy and read it; ``seed`` decides which one, where, and what was read before."""
        chance, copy = random.Random(seed), self.root / "trial"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.root / "intact", copy, symlinks=True)
        name = chance.choice(self.files)
        others = [file for file in self.files if file != name and file.suffix == name.suffix] or [name]
        hit = Hit(copy / name, copy / chance.choice(others), self.root / "older" / name, chance)
        _forget()
        with self._patched(copy):
            warm = chance.random() < 0.3
            if warm:
                self.target.read(copy)
            done = _forge(hit) if way == "forge" else WAYS[way](hit)
            if not warm:
                _forget()
            committed._read.cache_clear()
            pipe = hit.file if way == "a pipe in its place" else None
            with _as_nobody(copy) if way == "unreadable" else nullcontext():
                outcome, detail = attempt(partial(self.target.read, copy), self.right, pipe)
                if outcome is Outcome.SURVIVED:  # what was mended on the way is as good
                    _forget()
                    outcome, detail = attempt(partial(self.target.read, copy), self.right, pipe)
        where = f"{seed}: {name} {done}{' after a first reading' if warm else ''}"
        return Trial("damages", self.target.kind, way, outcome, f"{where}. {detail}".strip())


def plan(share: float, seed: int) -> Iterator[tuple[Target, list[tuple[str, str]]]]:
    """Each target with the (way, seed) of its trials: the ways go round, so that even few trials meet each of them."""
    total = sum(target.weight for target in TARGETS)
    ways = random.Random(seed).sample([*WAYS], len(WAYS))
    begin = 0
    for target in TARGETS:
        count = max(FEWEST, round(FULL * share * target.weight / total))
        own = [*(["forge"] * target.declared), *ways[begin:], *ways[:begin]]
        yield target, [(own[n % len(own)], f"{seed}:{target.kind}:{n}") for n in range(count)]
        begin = (begin + FEWEST) % len(ways)


def trials(share: float, seed: int, scratch: Path) -> Iterator[Trial]:
    """See the kit: about `FULL` damages at share 1, each kind of kept file at every share."""
    scratch.chmod(0o711)  # another user reads here
    for number, (target, chosen) in enumerate(plan(share, seed)):
        root = scratch / f"{number:02d}"
        bench = Bench(target, root)
        for way, one in chosen:
            yield bench.trial(way, one)
        shutil.rmtree(root, ignore_errors=True)
