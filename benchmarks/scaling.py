"""How training throughput moves with batch size, document length, tokens encoded at once and threads.

Cases only: how one is measured is in `training`.
"""

from __future__ import annotations

import os
from dataclasses import replace

from colbert_zero_lib.recipes import Phase

from .training import Case

BASE = Case(Phase.UNSUPERVISED, "2x128", 64)


def cases(full: bool = False) -> dict[str, list[Case]]:
    """The cases along each axis; the axis goes into the row, for the figure."""
    batches = (32, 128, 512, 2048) if full else (32, 128, 512)
    lengths = (64, 128, 256, 512) if full else (64, 180, 512)
    tokens_at_once = (1024, 2048, 4096, 8192, 16_384) if full else (2048, 8192)
    threads = sorted({1, 2, os.cpu_count() or 1} if full else {1, min(2, os.cpu_count() or 1)})
    return {
        "batch_size": [replace(BASE, batch_size=size) for size in batches],
        "document_length": [replace(BASE, document_length=length) for length in lengths],
        "mini_batch_tokens": [replace(BASE, mini_batch_tokens=tokens) for tokens in tokens_at_once],
        "threads": [replace(BASE, threads=count) for count in threads],
    }
