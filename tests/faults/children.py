"""Forked processes that do a piece of work and are stopped in the middle of it, and what a folder holds afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import re
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from colbert_zero_lib import edge

LIMIT = 300.0  # seconds until a piece of work of a second counts as hung
ENDED, REFUSED, FAULT, INTERRUPTED, EXITED = 0, 2, 70, 130, 137
# Of a run: when, where and how fast, not what.
_PASSING = {
    "wall_seconds", "queries_per_second", "peak_memory_bytes", "gpu_hours", "seconds", "evaluation_time", "git_commit",
    "duration", "start_time", "end_time", "iopub.execute_input", "iopub.status.busy", "iopub.status.idle",
    "shell.execute_reply", "input_path", "output_path", "id", "iopub.execute_reply",
}  # fmt: skip
Work = Callable[[Path], None]


class Operation(NamedTuple):
    """A file operation of a piece of work: what it is and on what, and the latter without numbers and random signs."""

    event: str
    path: str
    name: str


class Stop(NamedTuple):
    """How a process is stopped: by ``signal`` (0: ``os._exit``), before an operation or after seconds."""

    signal: int
    before: int | None = None
    after: float | None = None
    group: bool = False

    def __str__(self) -> str:
        name = signal.Signals(self.signal).name if self.signal else "os._exit"
        whom = " to the group" if self.group else "" if self.before else " to the process"
        return f"{name}{whom} {'before a file operation' if self.before else 'at a moment'}"


def _hook(place: Path, seen: Callable[[Operation], None]) -> None:
    """Tell ``seen`` of every file operation below ``place`` before it is done; for this process's whole life."""
    root = str(place)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event.partition(".")[0] in ("open", "os", "shutil") and event != "os.listdir":
            for argument in arguments[:2]:
                with contextlib.suppress(TypeError):
                    name = os.fsdecode(argument)  # type: ignore[arg-type]
                    if name.startswith(root):
                        path = name[len(root) :].lstrip("/")
                        seen(Operation(event, path, re.sub(r"\d+|[0-9a-f]{8,}|-\w{8}\b", "#", path)))
                        return

    sys.addaudithook(hook)


def _stop_before(place: Path, stop: Stop) -> None:
    count = 0

    def seen(_: Operation) -> None:
        nonlocal count
        count += 1
        if count == stop.before:
            if not stop.signal:
                os._exit(EXITED)
            os.kill(os.getpid(), stop.signal)

    _hook(place, seen)


def begin(
    work: Work,
    place: Path,
    stop: Stop | None = None,
    prepare: Callable[[], None] | None = None,
    words: Path | None = None,
) -> int:
    """Fork a process, the head of its own group, that does ``work`` in ``place``; what it says goes to ``words``."""
    words = words or _words(place)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        with contextlib.suppress(OSError):
            os.setpgid(child, child)
        return child
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    code = FAULT
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        said = os.open(words, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout = sys.stderr = open(said, "w", buffering=1, closefd=False)  # noqa: SIM115
        warnings.resetwarnings()
        warnings.simplefilter("ignore", DeprecationWarning)
        if prepare:
            prepare()
        if stop and stop.before:
            _stop_before(place, stop)
        code = _done(work, place)
    finally:
        os._exit(code)


def _done(work: Work, place: Path) -> int:
    try:
        work(place)
        return ENDED
    except BaseException as error:
        code, sentence = edge._meaning(error)
        if code == FAULT:
            traceback.print_exc()
        sys.stderr.write(f"{sentence}\n")
        return code


def trace(work: Work, place: Path) -> tuple[int, list[Operation], float]:
    """Do ``work`` undisturbed: how it ended, its file operations and its seconds."""
    file, modules = (place.with_name(f"{place.name}.{kind}") for kind in ("trace", "modules"))

    def write() -> None:
        stream = file.open("w", buffering=1)
        _hook(place, lambda operation: stream.write(json.dumps(operation) + "\n") and None)

    def noting(where: Path) -> None:
        work(where)
        modules.write_text(" ".join(sys.modules))

    started = time.monotonic()
    code = end(begin(noting, place, prepare=write))
    seconds = time.monotonic() - started
    found = [Operation(*json.loads(line)) for line in file.read_text().splitlines()]
    file.unlink()
    # For the next ones, of which some may not read the library's files.
    for name in modules.read_text().split() if modules.exists() else ():
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    modules.unlink(missing_ok=True)
    return code, found, seconds


def end(child: int, limit: float = LIMIT) -> int | None:
    """How a child ended: its exit code, negative for a signal; None for one that had to be killed after ``limit``."""
    until, pause = time.monotonic() + limit, 0.002
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(0.05, 1.5 * pause)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def stopped(work: Work, place: Path, stop: Stop) -> int | None:
    """Do ``work`` and stop it; how it ended."""
    child = begin(work, place, stop)
    if stop.after is not None:
        until = time.monotonic() + stop.after
        while time.monotonic() < until:
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if stop.group else os.kill)(child, stop.signal)
    return end(child)


def left_running(place: Path, patience: float = 20.0) -> list[str]:
    """Processes, other than this one, that have to do with ``place`` and do not end by themselves."""
    until = time.monotonic() + patience
    while found := [*_about(str(place).encode())]:
        if time.monotonic() > until:
            break
        time.sleep(0.1)
    return found


def _about(place: bytes) -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = (process / "cmdline").read_bytes()
                if place in command or place in (process / "environ").read_bytes():
                    yield command.replace(b"\0", b" ").decode(errors="replace")[:200]


def state(place: Path, passing: frozenset[str] = frozenset()) -> dict[str, str]:
    """What the files of a folder say, by name: a digest of each, without what differs from one time to the next.

    Locks, what was set aside, and files whose name ends with one of ``passing`` are left out.
    """
    found = {}
    for file in sorted(place.rglob("*")):
        name = file.relative_to(place).as_posix()
        if (
            name.endswith((".lock", *passing))
            or ".set-aside/" in f"{name}/"
            or name.startswith("home/errors")
        ):
            continue
        if file.is_symlink():
            found[name] = f"link to {file.readlink()}"
        elif file.is_dir():
            found[name] = "folder"
        else:
            found[name] = _digest(file)
    return found


def _digest(file: Path) -> str:
    content = file.read_bytes()
    if file.suffix in (".json", ".ipynb", ".seal"):
        with contextlib.suppress(ValueError):
            content = json.dumps(_lasting(json.loads(content)), sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


def _lasting(value: Any) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"bytes", "sha256"}:  # the files themselves are compared
            return "kept"
        return {name: _lasting(each) for name, each in value.items() if name not in _PASSING}
    return [_lasting(each) for each in value] if isinstance(value, list) else value


def set_aside(place: Path) -> list[str]:
    """What was set aside below ``place``."""
    return [str(found.relative_to(place)) for found in place.rglob(".set-aside/*")]


def _words(place: Path) -> Path:
    return place.with_name(f"{place.name}.said")


def said(place: Path) -> str:
    """The end of what the children in ``place`` said."""
    return last_words(_words(place))


def last_words(file: Path) -> str:
    """The end of what children said to ``file``."""
    lines = file.read_text(errors="replace").strip().splitlines() if file.exists() else []
    return " | ".join(lines[-3:])[-500:]
