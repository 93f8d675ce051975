"""A very small adaptation, for the test that kills it: ``python -m tests.pipeline.adapting FOLDER START HOME``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from colbert_zero_lib.adapt.folder import open_folder
from colbert_zero_lib.adapt.work import Adaptation, Result
from colbert_zero_lib.starts import Start


class SharedWords:
    """A teacher that counts the words which query and document share; logits."""

    def predict(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """See `PairScorer`."""
        shared = [len(set(query.split()) & set(document.split())) for query, document in pairs]
        return np.array(shared, np.float32) * 2 - 13


class Small(Adaptation):
    """With a teacher that is there at once."""

    def _open_teacher(self) -> SharedWords:
        return SharedWords()


def adaptation(folder: Path, start: Path, home: Path) -> Small:
    """The adaptation of a folder from the dense model in ``start``."""
    return Small(open_folder(folder), home, Start(str(start)), progress=False)


def adapt(folder: Path, start: Path, home: Path) -> Result:
    """Run it."""
    return adaptation(folder, start, home).run()


if __name__ == "__main__":
    adapt(*map(Path, sys.argv[1:]))
