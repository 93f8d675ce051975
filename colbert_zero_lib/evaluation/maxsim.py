"""Exact MaxSim of many queries against a stream of documents, in bounded memory.

Vectors come from `encode`; training has its own differentiable MaxSim.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch

from .encode import TokenBatch
from .topk import TopK

# Similarities held at once (query positions x document positions) and query positions among them: on a CPU a
# tile should stay in the second-level cache, on a GPU it should fill the device.
_TILES = {"cpu": (1 << 20, 512), "cuda": (1 << 26, 8192)}
# Scores held before they are merged into the running best.
_PENDING = 1 << 22


class _QueryTile(NamedTuple):
    """Queries of similar length: ``vectors`` [dim, queries x length], zero past a query's end."""

    rows: slice
    length: int
    vectors: torch.Tensor


class ExactMaxSim:
    """The ``k`` best documents of each query by MaxSim: the sum over query tokens of the best document token.

    Queries are given once; documents arrive in batches through `add`, are scored against every query, and are
    not kept: memory does not grow with the corpus. Shorter queries are padded with zero vectors, whose best
    similarity is exactly 0, and shorter documents repeat a vector of their own, so that no score depends on
    padding.
    """

    def __init__(
        self,
        queries: Iterable[TokenBatch],
        count: int,
        k: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._device, self._dtype, self._count = torch.device(device), dtype, count
        self._similarities, self._positions = _TILES.get(self._device.type, _TILES["cpu"])
        self._order: list[int] = []
        self._tiles: list[_QueryTile] = []
        for batch in queries:
            self._add_queries(batch)
        self._best = TopK(count, k, self._device)
        self._pending_scores: list[torch.Tensor] = []
        self._pending_rows: list[torch.Tensor] = []

    def _add_queries(self, batch: TokenBatch) -> None:
        batch_vectors = batch.vectors.to(self._device)
        width = max(1, self._positions // batch_vectors.shape[1])
        for start in range(0, len(batch.rows), width):
            counts = batch.counts[start : start + width].to(self._device)
            length = int(counts.max())
            vectors = batch_vectors[start : start + width, :length]
            beyond = torch.arange(length, device=self._device)[None] >= counts[:, None]
            vectors = vectors.masked_fill(beyond[:, :, None], 0.0).to(self._dtype)
            first = len(self._order)
            self._order.extend(batch.rows[start : start + width].tolist())
            flat = vectors.reshape(-1, vectors.shape[2]).T.contiguous()
            self._tiles.append(_QueryTile(slice(first, len(self._order)), length, flat))

    @torch.inference_mode()
    def add(self, documents: TokenBatch) -> None:
        """Score a batch of documents; ``documents.rows`` are their positions in the corpus."""
        vectors = documents.vectors.to(self._device, self._dtype)
        length = vectors.shape[1]
        positions = max((tile.vectors.shape[1] for tile in self._tiles), default=1)
        width = max(1, self._similarities // (positions * length))
        scores = torch.empty((len(vectors), self._count), dtype=torch.float32, device=self._device)
        for start in range(0, len(vectors), width):
            block = vectors[start : start + width]
            flat = block.reshape(-1, block.shape[2])
            for tile in self._tiles:
                # [documents, document tokens, query tokens]: a maximum over the middle is the fastest.
                best = (flat @ tile.vectors).view(len(block), length, -1).amax(dim=1)
                summed = best.view(len(block), -1, tile.length).sum(dim=-1, dtype=torch.float32)
                scores[start : start + width, tile.rows] = summed
        self._pending_scores.append(scores)
        self._pending_rows.append(documents.rows)
        if sum(map(len, self._pending_rows)) * self._count >= _PENDING:
            self._merge()

    def _merge(self) -> None:
        if self._pending_rows:
            self._best.add(torch.cat(self._pending_scores).T, torch.cat(self._pending_rows).to(self._device))
            self._pending_scores, self._pending_rows = [], []

    def merge_processes(self) -> None:
        """Put together what the processes found that were each given a part of the documents."""
        self._merge()
        self._best.merge_processes()

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions in the corpus int32 and scores float32, both [queries, k], in the order of the queries."""
        self._merge()
        indices, scores = self._best.result()
        back = np.argsort(np.asarray(self._order, dtype=np.int64), kind="stable")
        return indices[back], scores[back]
