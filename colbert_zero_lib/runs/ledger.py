"""The ledger: a folder a run, found by the hash of what made it, complete or not there at all.

Resumption and integrity live here; locks and the errors of full or read-only disks in ``locks``; training elsewhere.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import re
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import group
from ..errors import ClosedError, ColbertZeroError, RunError, UnknownNameError
from ..keeping import damage, flush_folder, remove, seal, set_aside
from ..recipes import find_recipe
from .locks import is_locked, locked, plain_disk_errors
from .passport import canonical_json, read_passport, write_json
from .run import PASSPORT, Run, RunKey

CHECKPOINTS = "checkpoints"

_NAMED = 5  # runs that a sentence names
_VISIBLE = 30.0  # seconds until a file that one node wrote is seen by all
_NOT_SHARED = (
    "does not see what process 0 writes to {}; checkpoints need a folder that all nodes share, so name one with"
    " COLBERT_ZERO_HOME"
)
_OTHER_KEY = "would make another run than process 0; give every node the same packages, text and settings"


class Ledger:
    """The runs under one root folder; nothing is written before a run is built."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def folder(self, key: RunKey) -> Path:
        """Where the run of ``key`` is, or would be."""
        return self.root / key.folder_name

    def obtain(self, key: RunKey, build: Callable[[Path], Mapping[str, Any]]) -> Run:
        """The run of ``key``: reused if complete and intact, else built here or awaited from another process.

        ``build`` gets a work folder that survives interruptions (it may hold ``checkpoints/`` to resume from,
        removed at the end), leaves ``model/`` and what else belongs to the run in it, and returns the
        passport. A damaged folder is set aside with a warning and built anew. RunError when the disk is full
        or closed to writing; any other exception of ``build`` passes through, and its work folder stays.

        The processes of one job call this together and each runs ``build``; the first alone touches locks and what is
        here, and tells the others what to do. GroupError when they see different keys or folders.
        """
        what = "agree on the run"
        same = group.broadcast(key.digest, what) == key.digest
        group.agree(None if same else _OTHER_KEY, what)
        return self._own(key, build) if group.is_first() else self._follow(key, build)

    def _own(self, key: RunKey, build: Callable[[Path], Mapping[str, Any]]) -> Run:
        run, wrong = self._look_up(key)
        if run is not None:
            return self._tell(run)
        with locked(self.root, key):
            run, wrong = self._look_up(key)
            if run is not None:
                return self._tell(run)
            work, folder = self._work(key), self.folder(key)
            with plain_disk_errors(self.root):
                if wrong is not None:
                    target = set_aside(folder)
                    warnings.warn(
                        f"Run folder {folder} {wrong}: it was moved to {target} and the run is built again.",
                        stacklevel=3,
                    )
                if work.is_symlink() or work.is_file():
                    remove(work)
                work.mkdir(parents=True, exist_ok=True)
                for link in filter(Path.is_symlink, work.iterdir()):  # nothing is written elsewhere
                    if link.name != CHECKPOINTS:  # which training refuses itself
                        remove(link)
                # Killed between the manifest and the rename: everything is there but the name.
                if self._problem(work, key) is not None:
                    for left in work.iterdir():  # training goes on from checkpoints alone
                        if left.name != CHECKPOINTS:
                            remove(left)
                    self._share_folder(work)
                    passport = {**build(work), "key": key.to_mapping(), "digest": key.digest}
                    write_json(passport, work / PASSPORT)
                    seal(work, without=[CHECKPOINTS])
                with contextlib.suppress(OSError):
                    remove(work / CHECKPOINTS)
                work.rename(folder)
                flush_folder(self.root)
            return self._tell(Run.read(folder))

    def _follow(self, key: RunKey, build: Callable[[Path], Mapping[str, Any]]) -> Run:
        """What a process that is not the first does of `obtain`."""
        while True:
            order = group.broadcast(None, f"finish {key.folder_name}")
            if order["do"] == "reuse":
                return Run.read(self.folder(key))
            if order["do"] == "build":
                work = self._work(key)
                seen = _seen(work / CHECKPOINTS / order["token"])
                group.agree(None if seen else _NOT_SHARED.format(work), "see the work folder")
                build(work)

    def _tell(self, run: Run) -> Run:
        group.broadcast({"do": "reuse"}, "read a finished run")
        return run

    def _share_folder(self, work: Path) -> None:
        """Tell the other processes to build in ``work``, and make sure that they see it."""
        if group.size() == 1:
            return
        token = f"shared-{uuid.uuid4().hex}"
        (work / CHECKPOINTS).mkdir(exist_ok=True)
        for old in (work / CHECKPOINTS).glob("shared-*"):
            old.unlink()
        (work / CHECKPOINTS / token).touch()
        group.broadcast({"do": "build", "token": token}, "see the work folder")
        group.agree(None, "see the work folder")

    def _work(self, key: RunKey) -> Path:
        return self.root / ".partial" / key.folder_name

    def get(self, key: RunKey, sizes_alone: bool = False) -> Run | None:
        """The run of ``key`` if it is finished and intact; nothing is built, awaited or set aside.

        ``sizes_alone`` is for those who only count runs: no weights are read.
        """
        return self._look_up(key, sizes_alone)[0]

    def is_being_built(self, key: RunKey) -> bool:
        """Whether a process, this one or another, is building the run of ``key`` now; never waits."""
        return not self.folder(key).exists() and is_locked(self.root, key)

    def runs(self) -> list[Run]:
        """Every finished run, by folder name; a folder whose passport cannot be read is warned about."""
        found = []
        if self.root.is_dir():
            for folder in sorted(self.root.iterdir()):
                if folder.is_dir() and not folder.name.startswith("."):
                    try:
                        found.append(Run.read(folder))
                    except (RunError, ClosedError) as error:
                        warnings.warn(str(error), stacklevel=2)
        return found

    def sound_runs(self) -> list[Run]:
        """`runs` without those whose passports lack what others rely on, of which one is warned."""
        found = []
        for run in self.runs():
            try:
                found.append(run.sound())
            except RunError as error:
                warnings.warn(str(error), stacklevel=2)
        return found

    def find(self, text: str) -> Run:
        """The one run meant by a folder name, the start of a digest (4 digits or more), or a recipe.

        UnknownNameError if there is none, or more than one (it names them).
        """
        runs = self.runs()
        found = [run for run in runs if run.folder.name == text]
        if not found and re.fullmatch(r"[0-9a-f]{4,64}", text):
            found = [run for run in runs if run.digest.startswith(text)]
        if not found:
            with contextlib.suppress(ColbertZeroError):
                recipe = str(find_recipe(text))
                found = [run for run in runs if _recipe(run) == recipe]
        if len(found) == 1:
            return found[0]
        if found:
            names = [
                f"{run.folder.name} ({_of_key(run, 'profile')}, seed {_of_key(run, 'seed')})" for run in found
            ]
            raise UnknownNameError(
                f"{text!r} means {len(names)} runs under {self.root}: choose among {_some(names)}."
            )
        if not runs:
            absent = "" if self.root.is_dir() else ", a folder that is not there"
            raise UnknownNameError(
                f"No run answers to {text!r}: there is none yet under {self.root}{absent}."
            )
        near = difflib.get_close_matches(text, [run.folder.name for run in runs], n=_NAMED, cutoff=0.5)
        like = f" (near it: {', '.join(near)})" if near else ""
        raise UnknownNameError(
            f"No run under {self.root} answers to {text!r}{like}: give a folder name, the start of a digest or a "
            f"recipe; `colbert-zero list` shows the {len(runs)} that there are."
        )

    def _look_up(self, key: RunKey, sizes_alone: bool = False) -> tuple[Run | None, str | None]:
        """The intact run of ``key``, or what is wrong with its folder; (None, None) if there is no folder."""
        folder = self.folder(key)
        if not folder.exists() and not folder.is_symlink():
            return None, None
        wrong = self._problem(folder, key, sizes_alone)
        return (None, wrong) if wrong else (Run.read(folder), None)

    def _problem(self, folder: Path, key: RunKey, sizes_alone: bool = False) -> str | None:
        wrong = damage(folder, sizes_alone)
        if wrong is not None:
            return wrong
        try:
            described = canonical_json(read_passport(folder / PASSPORT).get("key"))
        except RunError:
            return f"has no readable {PASSPORT}"
        if hashlib.sha256(described.encode()).hexdigest() != key.digest:
            return f"has a {PASSPORT} that describes another run"
        return None


def _of_key(run: Run, field: str) -> Any:
    key = run.passport.get("key")
    return key.get(field) if isinstance(key, Mapping) else None


def _recipe(run: Run) -> Any:
    """As it was asked for: the key knows a start by what it is, the passport by what it was called."""
    return run.passport.get("recipe") if "start" in run.passport else _of_key(run, "recipe")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _seen(file: Path) -> bool:
    """Whether a file that another process wrote is there, or soon is: network disks need a moment."""
    end = time.monotonic() + _VISIBLE
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.05)
        with contextlib.suppress(OSError):
            list(file.parent.iterdir())  # makes NFS look again
    return file.exists()
