"""The lock of a run, waiting for whoever holds it, and what a full or closed disk means in one sentence.

What is kept under the lock is the ledger's.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from .. import group
from ..errors import ColbertZeroError, RunError
from ..keeping import is_full
from .run import RunKey

_log = logging.getLogger(__name__)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_IN_THE_WAY = (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENOTEMPTY)
_PATIENCE = 60.0  # seconds between two words to the processes that wait with this one


def _lock_file(root: Path, key: RunKey) -> Path:
    return root / ".locks" / f"{key.digest}.lock"


def is_locked(root: Path, key: RunKey) -> bool:
    """Whether a process, this one or another, holds the lock of a run; never waits."""
    file = _lock_file(root, key)
    if not file.exists():
        return False
    with plain_disk_errors(root):
        lock = FileLock(file)
        free = _take(root, lock)
        lock.release()
    return not free


def _take(root: Path, lock: FileLock) -> bool:
    """Take a lock without waiting; whether it was free."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    except NotImplementedError as error:
        raise RunError(
            f"The disk of {root} has no file locks: name a local folder with COLBERT_ZERO_HOME."
        ) from error
    return True


def _wait_for(lock: FileLock) -> None:
    while True:
        try:
            lock.acquire(timeout=-1 if group.size() == 1 else _PATIENCE)
            return
        except Timeout:
            # Those that wait for this process have a limit; each word of it starts it anew.
            group.broadcast({"do": "wait"}, "wait for another job's run")


@contextlib.contextmanager
def locked(root: Path, key: RunKey) -> Iterator[None]:
    """Hold the lock of a run, which another process may hold first; RunError where there can be none."""
    file = _lock_file(root, key)
    lock = FileLock(file)
    with plain_disk_errors(root):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise RunError(
                f"Runs cannot be kept under {root}, where a file stands in the way: move it or name "
                "another folder with COLBERT_ZERO_HOME."
            ) from error
        if not _take(root, lock):
            _log.info("Waiting for another process that builds %s.", key.folder_name)
            _wait_for(lock)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def plain_disk_errors(root: Path) -> Iterator[None]:
    """Turn a full or closed disk into one sentence, however deep in a dependency it was noticed."""
    try:
        yield
    except ColbertZeroError:
        raise
    except Exception as error:
        if _is_full(root, error):
            raise RunError(
                f"The disk of {root} is full: free some space and run again, finished runs are kept "
                "and this one resumes from its last checkpoint."
            ) from error
        if isinstance(error, OSError) and error.errno in (*_CLOSED, *_IN_THE_WAY):
            place = error.filename or root
            if not _is_ours(root, place):
                raise
            if error.errno in _IN_THE_WAY:
                raise RunError(
                    f"Something else stands at {place} ({error.strerror}): move it away and run again."
                ) from error
            raise RunError(
                f"Cannot write to {place} ({error.strerror}): make {root} a writable folder or name "
                "another one with COLBERT_ZERO_HOME."
            ) from error
        raise


def _is_ours(root: Path, place: object) -> bool:
    name, own = str(place), str(root)
    return name.startswith(own) or own.startswith(name)


def _is_full(root: Path, error: Exception) -> bool:
    if is_full(error):
        return True
    # torch reports a failed write without a reason.
    with contextlib.suppress(OSError):
        return shutil.disk_usage(root).free < 1 << 20
    return False
