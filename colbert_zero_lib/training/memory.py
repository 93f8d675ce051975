"""How much memory a loss keeps for its backward pass, counted to the byte and the same on every run.

Peak memory of a process or of a GPU is the business of ``trainer``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _Saved:
    """A tensor kept by autograd; tells its counter when it is let go."""

    def __init__(self, counter: SavedActivations, tensor: Tensor) -> None:
        self.counter, self.tensor = counter, tensor
        self.storage = tensor.untyped_storage().data_ptr()
        counter._add(self.storage, tensor.untyped_storage().nbytes())

    def __del__(self) -> None:
        self.counter._remove(self.storage)


class SavedActivations:
    """Counts the bytes that autograd keeps for the backward pass while it is active.

    Parameters of ``model`` do not count, since they are there anyway; a storage that several operations keep counts
    once. ``peak`` is the largest sum so far, in bytes.

    >>> with SavedActivations(model) as saved:
    ...     loss(features).backward()
    >>> saved.peak
    """

    def __init__(self, model: nn.Module) -> None:
        self.peak = 0
        self._total = 0
        self._held: dict[int, tuple[int, int]] = {}
        self._ignored = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)

    def __enter__(self) -> SavedActivations:
        self._hooks.__enter__()
        return self

    def __exit__(self, *problem: Any) -> None:
        self._hooks.__exit__(*problem)

    def _pack(self, tensor: Tensor) -> Tensor | _Saved:
        return tensor if tensor.untyped_storage().data_ptr() in self._ignored else _Saved(self, tensor)

    @staticmethod
    def _unpack(kept: Tensor | _Saved) -> Tensor:
        return kept.tensor if isinstance(kept, _Saved) else kept

    def _add(self, storage: int, size: int) -> None:
        users, _ = self._held.get(storage, (0, 0))
        self._held[storage] = users + 1, size
        if not users:
            self._total += size
            self.peak = max(self.peak, self._total)

    def _remove(self, storage: int) -> None:
        users, size = self._held.pop(storage)
        if users > 1:
            self._held[storage] = users - 1, size
        else:
            self._total -= size
