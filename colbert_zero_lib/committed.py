"""Whether files of the suite's own ``data`` folder are as they were committed: ``data/manifest.json`` lists them.

A copy of the folder elsewhere, and files that are not listed, are a reader's own: nothing is checked there.
"""

from __future__ import annotations

import base64
from functools import cache
from importlib import metadata
from pathlib import Path

from . import keeping
from .errors import DataError
from .home import data_folder, home, recording_folder, repository


def check(*files: Path) -> None:
    """DataError if one of ``files`` is listed and is not what was committed; a process reads each file once."""
    root, entries = data_folder(), _entries()
    for file in files:
        kept = entries.get(_name(file, root))
        if kept and (wrong := keeping.difference(file, kept, file.name)):
            raise DataError(
                f"{file.parent} {wrong}: restore the file with git, or list it as it is with `colbert-zero data seal`."
            )


def listed(folder: Path, suffix: str) -> list[Path]:
    """The committed files with ``suffix`` that ``folder`` itself must have."""
    root = data_folder()
    return [root / name for name in _entries() if name.endswith(suffix) and (root / name).parent == folder]


def seal() -> int:
    """List every file of the data folder as it is now; returns how many there are."""
    folder = recording_folder()
    keeping.seal(folder)
    _read.cache_clear()
    return len(_entries())


def seal_again(*files: Path) -> None:
    """List ``files`` of the data folder as they are now: written anew, new or gone; others are none of its business."""
    root = data_folder()
    names = [name for file in files if (name := _name(file, root))]
    if names and (root / keeping.MANIFEST).is_file():
        from filelock import FileLock

        home().mkdir(parents=True, exist_ok=True)
        with FileLock(home() / ".data.lock"):  # two that record at once are both listed
            keeping.seal_again(root, names)
        _read.cache_clear()


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else ""


def _entries() -> dict[str, keeping.Kept]:
    return _read(data_folder() / keeping.MANIFEST)


@cache
def _read(manifest: Path) -> dict[str, keeping.Kept]:
    try:
        entries = keeping.entries_of(manifest)
        if not _is_as_installed(manifest):
            raise ValueError
        return entries
    except (OSError, ValueError):
        raise DataError(
            f"{manifest} is not as it was written: restore it with git, or install the package again."
        ) from None


def _is_as_installed(manifest: Path) -> bool:
    """Whether a manifest that pip installed is the one it recorded; in a checkout git tells what was changed."""
    try:
        files = () if repository() else metadata.files("colbert_zero_lib") or ()
    except metadata.PackageNotFoundError:
        return True
    recorded = [file.hash.value for file in files if file.match(f"data/{keeping.MANIFEST}") and file.hash]
    own = base64.urlsafe_b64encode(bytes.fromhex(keeping.digest_of(manifest))).decode().rstrip("=")
    return not recorded or own in recorded
