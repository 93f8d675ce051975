"""How files are kept: written beside and renamed, sealed with size and sha256, checked before they are used.

Knows files only; what they mean, and how they are made anew, is the caller's business. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from .errors import ClosedError
from .scratch import beside

MANIFEST = "manifest.json"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# A file that changed less than this ago may change once more without looking different, so that it is read again.
_SETTLED = 1.0
_MANY_BYTES = 1 << 28  # from here on several files are read at once

_digests: dict[tuple[str, int, int, int, int], str] = {}


class Kept(NamedTuple):
    """What a manifest says of a file."""

    size: int
    sha256: str


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A file to write in place of ``file``: flushed and renamed to it at the end, removed if there is an error."""
    with beside(".writing", file.parent) as neighbour:
        yield neighbour
        _flush(neighbour)
        neighbour.replace(file)


def write_whole(file: Path, content: str | bytes) -> None:
    """Write ``content`` (text as UTF-8 with plain line feeds): ``file`` has all of it, or what it had before."""
    with replacing(file) as neighbour:
        neighbour.write_bytes(content.encode() if isinstance(content, str) else content)


def digest_of(file: Path) -> str:
    """The sha256 of a file, which a process reads once for as long as the file looks the same; OSError without one.

    ClosedError where its owner keeps it closed, here and in `damage` and `difference`: that is no damage.
    """
    with _said_as_closed(file):
        state = _ordinary(file)
    look = (str(file), state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    if look not in _digests:
        digest = hashlib.sha256()
        # hashlib.file_digest begins with Python 3.11
        with _said_as_closed(file), file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        if time.time() - max(state.st_mtime, state.st_ctime) < _SETTLED:
            return digest.hexdigest()
        _digests[look] = digest.hexdigest()
    return _digests[look]


def seal(
    folder: Path, without: Collection[str] = (), *, name: str = MANIFEST, files: Iterable[str] | None = None
) -> None:
    """Flush the files of ``folder`` to disk and write their sizes and sha256 to ``name`` in it.

    ``files`` are names relative to the folder, by default all in it but those under ``without``; what libraries
    made private is then as open to others as the umask lets new files be.
    """
    with replacing(folder / name) as neighbour:
        if files is None:
            found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
            files = [
                file.as_posix() for file in found if file.parts[0] not in (name, neighbour.name, *without)
            ]
            neighbour.touch()
            _share(folder, {folder / file for file in files}, stat.S_IMODE(neighbour.stat().st_mode))
        neighbour.write_bytes(_listing({file: _entry(folder / file) for file in files}))
    for inner in sorted(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()):
        flush_folder(inner)
    flush_folder(folder)


def seal_again(folder: Path, files: Iterable[str]) -> None:
    """Bring some entries of a manifest up to date: files that changed, that are new, or that are gone."""
    entries = entries_of(folder / MANIFEST)
    for file in files:
        entries.pop(file, None)
        if (folder / file).is_file():
            entries[file] = _entry(folder / file)
    write_whole(folder / MANIFEST, _listing(entries))


def entries_of(manifest: Path) -> dict[str, Kept]:
    """The entries of a manifest by name; OSError or ValueError where it cannot be read."""
    _ordinary(manifest)
    try:
        listed = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        return {name: Kept(int(entry["bytes"]), str(entry["sha256"])) for name, entry in listed.items()}
    except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"no manifest: {error}") from error


def damage(folder: Path, sizes_alone: bool = False, *, name: str = MANIFEST, within: str = "") -> str | None:
    """What is wrong with a sealed folder, as the end of a sentence; None if every file is as it was written.

    ``sizes_alone`` reads no file but the manifest; ``within`` looks only at files whose names begin so.
    """
    try:
        with _said_as_closed(folder / name):
            entries = entries_of(folder / name)
    except FileNotFoundError:
        return f"has no {name}"
    except (OSError, ValueError):
        return f"has an unreadable {name}"
    chosen = [(file, kept) for file, kept in sorted(entries.items()) if file.startswith(within)]
    # Sizes first: they tell most damages before the rest of hundreds of gigabytes is read.
    wrong = _first(difference(folder / file, kept, file, True) for file, kept in chosen)
    if wrong or sizes_alone:
        return wrong
    if sum(kept.size for _, kept in chosen) < _MANY_BYTES:
        return _first(difference(folder / file, kept, file) for file, kept in chosen)
    with ThreadPoolExecutor() as pool:
        return _first(pool.map(lambda one: difference(folder / one[0], one[1], one[0]), chosen))


def difference(file: Path, kept: Kept, name: str, sizes_alone: bool = False) -> str | None:
    """What is wrong with one file, called ``name``, that was kept: the end of a sentence about its folder, or None."""
    try:
        with _said_as_closed(file):
            found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            return f"has something else than a file at {name}"
        if found.st_size != kept.size:
            return f"has {found.st_size} bytes in {name} where {kept.size} were written"
        if not sizes_alone and digest_of(file) != kept.sha256:
            return f"has other bytes in {name} than were written"
    except (FileNotFoundError, NotADirectoryError):
        return f"lacks {name}"
    except OSError as error:
        return f"has an unreadable {name} ({error.strerror})"
    except ValueError:
        return "has a manifest with a name that no file can have"
    return None


def _first(wrong: Iterable[str | None]) -> str | None:
    return next(filter(None, wrong), None)


def _ordinary(file: Path) -> os.stat_result:
    """The file's state; OSError unless it is an ordinary one: a pipe in its place would be waited for."""
    state = file.stat()
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, "no ordinary file", str(file))
    return state


def remove(path: Path) -> None:
    """Remove whatever stands at ``path``, if anything; of a link, the link alone. OSError where that fails."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Move what stands at ``path`` to ``.set-aside`` beside it, under a number; returns where it is now."""
    shelf = path.parent / ".set-aside"
    shelf.mkdir(exist_ok=True)
    taken = {other.name for other in shelf.iterdir()}
    place = next(n for n in range(1, len(taken) + 2) if f"{path.name}-{n}" not in taken)
    return path.rename(shelf / f"{path.name}-{place}")


def is_full(error: BaseException) -> bool:
    """Whether an error means that a disk has no room, in whose words ever.

    safetensors, torch and Arrow turn the system's error into one of their own; torch's names a position in the file.
    """
    said = str(error).lower()
    if "unexpected pos" in said:
        return True
    return getattr(error, "errno", None) in FULL or any(
        os.strerror(number).lower() in said for number in FULL
    )


def flush_folder(folder: Path) -> None:
    """Flush a folder's own entries, so that a rename survives a power cut (Windows has no such call)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _entry(file: Path) -> Kept:
    _flush(file)
    return Kept(file.stat().st_size, digest_of(file))


def _listing(entries: dict[str, Kept]) -> bytes:
    listed = {name: {"bytes": kept.size, "sha256": kept.sha256} for name, kept in entries.items()}
    text = json.dumps({"files": listed}, sort_keys=True, indent=1)
    return f"{text}\n".encode()


def _share(folder: Path, files: set[Path], rights: int) -> None:
    """Give ``folder``, its files and the folders between at least ``rights``; who may read a folder may open it."""
    between = {place for file in files for place in file.parents if place.is_relative_to(folder)}
    for path in (folder, *between, *files):
        wanted = rights if path in files else rights | (rights & 0o444) >> 2
        with contextlib.suppress(OSError):  # another user's, and linked
            if wanted & ~(has := stat.S_IMODE(path.stat().st_mode)):
                path.chmod(has | wanted)


@contextlib.contextmanager
def _said_as_closed(place: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise ClosedError(
            f"{error.filename or place} cannot be read ({error.strerror}): ask its owner to open it to you, or name "
            "another home with COLBERT_ZERO_HOME."
        ) from error


def _flush(file: Path) -> None:
    with file.open("rb+" if os.name == "nt" else "rb") as stream:  # Windows flushes writable handles only
        os.fsync(stream.fileno())
