"""Where the suite keeps what it downloads, builds and trains.

Only folders are decided here; nothing is created until somebody writes.
"""

from __future__ import annotations

import os
from pathlib import Path

from .errors import ParameterError


def repository() -> Path | None:
    """The checkout that this package was imported from, or None when it was installed without one."""
    root = Path(__file__).resolve().parent.parent
    parts = ("notebooks", "data", "pyproject.toml")
    return root if all((root / part).exists() for part in parts) else None


def home() -> Path:
    """The folder of wheels, corpora, caches and runs, as an absolute path.

    ``$COLBERT_ZERO_HOME`` if set (a relative one is meant from the current folder, ``~`` is the user's), else
    ``.colbert_zero`` in the checkout, else ``~/.cache/colbert_zero``. ParameterError for a user who is not known.
    """
    chosen = os.environ.get("COLBERT_ZERO_HOME")
    if not chosen and (root := repository()):
        return root / ".colbert_zero"
    try:
        return Path(chosen or "~/.cache/colbert_zero").expanduser().absolute()
    except RuntimeError as error:
        raise ParameterError(
            f"The home folder of a user is not known ({error}): set COLBERT_ZERO_HOME."
        ) from None


def data_folder() -> Path:
    """Published figures, recorded runs, teacher's lists, pinned packages: ``data`` of the checkout or the package."""
    return (repository() or Path(__file__).resolve().parent) / "data"


def recording_folder() -> Path:
    """`data_folder` for those who write to it; ParameterError in an installed package, whose files are not ours."""
    if repository() is None:
        raise ParameterError(
            "The folder data/ belongs to the installed package and is not written to: work in a git checkout instead."
        )
    return data_folder()
