"""Reading files that others wrote: text and JSON, whatever stands in their place.

What a file should hold, and which error names it, is decided by the readers.
"""

from __future__ import annotations

import gzip
import json
import re
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

LONGEST_LINE = 2**28  # characters: more than any text, less than what a machine has not
# Text shrinks to a tenth, tables of judgements to a twentieth: a file that grows more than this is made to fill a disk.
MOST_GROWTH, ALWAYS_READ = 200, 2**26
_HALF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


class UnreadableError(ValueError):
    """A file or text that cannot be read, and why, as a piece of a sentence; readers turn it into their own error."""


def existing(text: str | Path) -> Path | None:
    """The file or folder that ``text`` names; None where there is none, or no path could be called so."""
    try:
        path = Path(text).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long, with a NUL, of an unknown user
        return None


def check_ordinary(file: Path) -> None:
    """UnreadableError unless ``file`` is an ordinary one: a pipe or a device in its place would be waited for."""
    try:
        mode = file.stat().st_mode
    except (OSError, ValueError) as error:
        raise UnreadableError(getattr(error, "strerror", None) or str(error)) from None
    if stat.S_ISDIR(mode):
        raise UnreadableError("a folder is in its place")
    if not stat.S_ISREG(mode):
        raise UnreadableError("it is no ordinary file")


def read_lines(file: Path, ends: bool = False) -> Iterator[str]:
    """The lines of a UTF-8 file, split at line feeds only; ``.gz`` and a byte order mark are read.

    Lines come without their ends unless ``ends``.

    Ids of real sets hold signs at which ``str.splitlines`` splits (U+2028, U+0085). UnreadableError otherwise.
    """
    check_ordinary(file)
    packed = file.name.endswith(".gz")
    most, seen = max(ALWAYS_READ, MOST_GROWTH * file.stat().st_size), 0
    try:
        with (gzip.open if packed else open)(file, "rt", encoding="utf-8", newline="\n") as stream:
            # Not utf-8-sig, which passes over a part of a mark as well.
            line = stream.readline(LONGEST_LINE).removeprefix("\ufeff")
            while line:
                if len(line) == LONGEST_LINE:
                    raise UnreadableError(f"a line has more than {LONGEST_LINE:,} characters")
                seen += len(line)
                if packed and seen > most:
                    raise UnreadableError(f"it unpacks to more than {MOST_GROWTH} times its size")
                yield line if ends else line.rstrip("\r\n")
                line = stream.readline(LONGEST_LINE)
    except UnicodeDecodeError:
        raise UnreadableError("it is not UTF-8 text") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableError(getattr(error, "strerror", None) or str(error)) from None


def parse_json(text: str) -> Any:
    """The value of a JSON text; UnreadableError for what is none, or what Python could not hold or write again."""
    try:
        found = json.loads(text)
        if _HALF_A_PAIR.search(text):
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise UnreadableError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise UnreadableError("it holds half a character, a lone surrogate") from None
    except json.JSONDecodeError as error:
        raise UnreadableError(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError:
        raise UnreadableError("a number in it has too many digits") from None
    return found


def read_json(file: Path) -> Any:
    """The value in a JSON file; UnreadableError as of `read_lines` and `parse_json`."""
    return parse_json("\n".join(read_lines(file)))


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value of JSON is a finite number; a whole one may be too large for any float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
