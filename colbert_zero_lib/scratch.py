"""Folders for the time of a piece of work, found again and removed when the process that made them was killed."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_OLD = 86_400.0  # seconds; another machine's process, or one of Windows, cannot be asked whether it lives


@contextmanager
def scratch(name: str, parent: Path | None = None) -> Iterator[Path]:
    """A new folder called after ``name`` in ``parent``, the temporary directory by default; gone at the end.

    Those of the same name that a killed process left there go first.
    """
    place = parent or Path(tempfile.gettempdir())
    node = re.sub(r"\W+", "_", platform.node()) or "node"
    _clear(place, name, node)
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-{node}-{os.getpid()}-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _clear(place: Path, name: str, node: str) -> None:
    made = re.compile(rf"{re.escape(name)}-(\w+)-(\d+)-\w+")
    with suppress(OSError):
        for folder in place.iterdir():
            found = made.fullmatch(folder.name)
            if found and (
                _has_ended(int(found[2])) if found[1] == node and os.name != "nt" else _is_old(folder)
            ):
                shutil.rmtree(folder, ignore_errors=True)


def _has_ended(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


def _is_old(folder: Path) -> bool:
    try:
        return time.time() - folder.stat().st_mtime > _OLD
    except OSError:
        return False
