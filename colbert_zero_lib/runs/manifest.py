"""Whether a finished run folder is still what was written: sizes and sha256 of its files, and flushing.

Knows files only; what they mean is the ledger's business.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from .passport import write_json

MANIFEST = "manifest.json"


def sha256_of(file: Path) -> str:
    """The sha256 of a file's bytes, read in blocks (hashlib.file_digest begins with Python 3.11)."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _files(folder: Path, without: str) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if path.relative_to(folder).parts[0] not in (MANIFEST, without))


def write_manifest(folder: Path, without: str) -> None:
    """Flush every file under ``folder`` to disk and write their sizes and sha256; ``without`` is left out."""
    entries = {}
    for file in _files(folder, without):
        _flush(file)
        name = file.relative_to(folder).as_posix()
        entries[name] = {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
    write_json({"files": entries}, folder / MANIFEST)
    for inner in sorted(path for path in folder.rglob("*") if path.is_dir()):
        flush_folder(inner)
    flush_folder(folder)


def damage(folder: Path) -> str | None:
    """What is wrong with a finished folder, as the end of a sentence; None if every byte is as written."""
    try:
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        entries = {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in listed.items()}
    except FileNotFoundError:
        return f"has no {MANIFEST}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"has an unreadable {MANIFEST}"
    for name, (size, digest) in sorted(entries.items()):
        file = folder / name
        try:
            found = file.stat().st_size
            if found != size:
                return f"has {found} bytes in {name} where {size} were written"
            if sha256_of(file) != digest:
                return f"has other bytes in {name} than were written"
        except FileNotFoundError:
            return f"lacks {name}"
        except OSError as error:
            return f"has an unreadable {name} ({error.strerror})"
    return None


def _flush(file: Path) -> None:
    with file.open("rb+" if os.name == "nt" else "rb") as stream:  # Windows flushes writable handles only
        os.fsync(stream.fileno())


def flush_folder(folder: Path) -> None:
    """Flush a folder's own entries, so that a rename survives a power cut (Windows has no such call)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
