"""Runs: where a trained stage of a recipe is kept, what it says about itself, and how two of them differ.

Nothing here trains, evaluates or imports torch; ``runs.execute`` does and is imported on its own.
"""

from __future__ import annotations

from .explain import explain
from .ledger import Ledger
from .passport import (
    canonical_json,
    environment_versions,
    git_commit,
    key_versions,
    read_passport,
    record,
    thin,
    validate_passport,
)
from .run import Run, RunKey

__all__ = [
    "Ledger",
    "Run",
    "RunKey",
    "canonical_json",
    "environment_versions",
    "explain",
    "git_commit",
    "key_versions",
    "read_passport",
    "record",
    "thin",
    "validate_passport",
]
