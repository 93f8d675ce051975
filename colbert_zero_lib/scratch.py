"""Files and folders for the time of a piece of work, removed later where the process that made them was killed."""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_OLD = 86_400.0  # seconds; another machine's process, or one of Windows, cannot be asked whether it lives


@contextmanager
def beside(name: str, parent: Path) -> Iterator[Path]:
    """A free path in ``parent``, called after ``name``, for what is renamed when it is finished; gone at the end.

    Those of the same name that a killed process left there go first.
    """
    clear(name, parent)
    place = parent / f"{name}-{_node()}-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        yield place
    finally:
        _remove(place)


@contextmanager
def scratch(name: str, parent: Path | None = None) -> Iterator[Path]:
    """As `beside`, a new folder; in the temporary directory, by default, it is private."""
    with beside(name, parent or Path(tempfile.gettempdir())) as folder:
        folder.mkdir(0o777 if parent else 0o700)
        yield folder


def _node() -> str:
    return re.sub(r"\W+", "_", platform.node()) or "node"


def clear(name: str, place: Path) -> None:
    """Remove what is called after ``name`` in ``place`` and was left there by processes that have ended."""
    node = _node()
    made = re.compile(rf"{re.escape(name)}-(\w+)-(\d+)-\w+")
    with suppress(OSError):
        for folder in place.iterdir():
            found = made.fullmatch(folder.name)
            if found and (
                _has_ended(int(found[2])) if found[1] == node and os.name != "nt" else _is_old(folder)
            ):
                _remove(folder)


def _remove(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    with suppress(OSError):
        place.unlink()


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
