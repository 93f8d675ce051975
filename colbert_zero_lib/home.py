"""Where the suite keeps what it downloads, builds and trains.

Only folders are decided here; nothing is created until somebody writes.
"""

from __future__ import annotations

import os
from pathlib import Path


def repository() -> Path | None:
    """The checkout that this package was imported from, or None when it was installed without one."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "notebooks").is_dir() and (root / "data").is_dir() else None


def home() -> Path:
    """The folder of wheels, corpora, caches and runs.

    ``$COLBERT_ZERO_HOME`` if set, else ``.colbert_zero`` in the checkout, else ``~/.cache/colbert_zero``.
    """
    chosen = os.environ.get("COLBERT_ZERO_HOME")
    if chosen:
        return Path(chosen).expanduser()
    root = repository()
    return root / ".colbert_zero" if root else Path.home() / ".cache" / "colbert_zero"


def data_folder() -> Path:
    """The checkout's ``data`` folder: published figures, recorded runs, teacher scores, pinned wheels."""
    return (repository() or Path(__file__).resolve().parent.parent) / "data"
