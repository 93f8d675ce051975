"""The list of an index: model and settings, its segments, and which of their documents count no more.

The file ``index.json`` is replaced as a whole and carries its own digest: a list that was damaged opens nothing.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from colbert_zero_lib.errors import DataError
from colbert_zero_lib.keeping import write_whole
from colbert_zero_lib.reading import UnreadableError, read_json

STATE = "index.json"
_FORMAT = 2
_SETTINGS = ("model", "identity", "kind", "overlap", "precision")


def seen(folder: Path) -> tuple[int, int]:
    """What changes with every new list; OSError where there is none."""
    found = (folder / STATE).stat()
    return found.st_mtime_ns, found.st_ino


def read_state(folder: Path) -> tuple[dict[str, Any], dict[str, set[int]], tuple[int, int]]:
    """The settings, of each segment the documents that no longer count, and what `seen` said; DataError without."""
    file = folder / STATE
    try:
        before = seen(folder)
        found = read_json(file)
        if found["format"] != _FORMAT:
            raise ValueError(f"its format is {found['format']}")
        if found != _sealed(found):
            raise ValueError("it was changed")
        # A name is a number: a list that somebody else wrote opens nothing outside the folder.
        dead = {f"{int(name):06}": {*map(int, numbers)} for name, numbers in found["segments"].items()}
        return {name: found[name] for name in _SETTINGS}, dead, before
    except FileNotFoundError:
        raise DataError(f"{folder} holds no index: build one with `colbert-zero index`.") from None
    except (OSError, UnreadableError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} is not the list of an index ({error}): build the index again.") from None


def write_state(folder: Path, settings: dict[str, Any], dead: dict[str, set[int]]) -> None:
    """Replace the list by another."""
    segments = {name: sorted(numbers) for name, numbers in dead.items()}
    state = _sealed({"format": _FORMAT, **settings, "segments": segments})
    write_whole(folder / STATE, json.dumps(state, ensure_ascii=False) + "\n")


def _sealed(state: dict[str, Any]) -> dict[str, Any]:
    """A list with the sha256 of all else in it."""
    rest = {name: value for name, value in state.items() if name != "sha256"}
    text = json.dumps(rest, ensure_ascii=False, sort_keys=True)
    return {**rest, "sha256": hashlib.sha256(text.encode()).hexdigest()}
