"""The k best of a stream of scores, with ties that do not depend on how the stream was cut.

Scores come from the retrievers; nothing here knows a query or a document.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist

from colbert_zero_lib import group
from colbert_zero_lib.errors import DataError

_NOTHING = torch.iinfo(torch.int64).min


class TopK:
    """Keeps the ``k`` best documents of ``queries`` queries while blocks of scores arrive.

    A score and its document are packed into one integer (ordered bits of the float above, complement of the
    index below), so that one exact `topk` sorts by falling score and then by rising index.
    """

    def __init__(self, queries: int, k: int, device: torch.device | str = "cpu") -> None:
        self._keys = torch.full((queries, k), _NOTHING, dtype=torch.int64, device=device)

    def add(self, scores: torch.Tensor, indices: torch.Tensor) -> None:
        """Offer ``scores`` [queries, n] float32 of the documents ``indices`` [n], each document once."""
        if torch.isnan(scores).any():
            raise DataError(
                "some scores are not numbers (NaN): the model is broken, use an earlier checkpoint."
            )
        # + 0.0 makes -0.0 equal to 0.0; flipping the lower bits of negative floats makes the integers rise
        # with the scores.
        bits = (scores.float() + 0.0).contiguous().view(torch.int32)
        ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(torch.int64)
        keys = (ordered << 32) | (0xFFFFFFFF - indices.to(torch.int64))
        keys = torch.where(torch.isneginf(scores), _NOTHING, keys)
        k = self._keys.shape[1]
        if keys.shape[1] > k:
            keys = keys.topk(k, dim=1, sorted=False).values
        self._keys = torch.cat([self._keys, keys], dim=1).topk(k, dim=1).values

    def merge_processes(self) -> None:
        """Offer each process's best to all others: every one then has the best of all documents."""
        if group.size() == 1:
            return
        everyone = [torch.empty_like(self._keys) for _ in range(group.size())]
        dist.all_gather(everyone, self._keys.contiguous())
        self._keys = torch.cat(everyone, dim=1).topk(self._keys.shape[1], dim=1).values

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices int32 and scores float32, both [queries, k], best first; -1 and -inf where there is nothing."""
        keys = self._keys.cpu().numpy()
        ordered = (keys >> 32).astype(np.int32)
        bits = np.where(ordered < 0, ordered ^ np.int32(0x7FFFFFFF), ordered).astype(np.int32)
        indices = 0xFFFFFFFF - (keys & 0xFFFFFFFF)
        empty = keys == _NOTHING
        scores = np.where(empty, np.float32(-np.inf), bits.view(np.float32))
        return np.where(empty, -1, indices).astype(np.int32), scores
