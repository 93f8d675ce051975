"""How much memory a loss keeps for its backward pass, counted to the byte, how much the device has, and the peak.

What is counted is the same on every run; a peak is not.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from colbert_zero_lib.training.embedding import Chunk, embed_tokens
from colbert_zero_lib.training.packing import packs, unwrapped, way_of

# Of a device's memory, what activations may take.
SHARE = 0.5

# Tokens encoded at once at most, and the part of the share of memory that they may take: more gain nothing.
MOST_TOKENS = {"cuda": (131_072, 1.0), "cpu": (8192, 0.25)}

# Where the device does not say how much memory it has: padded tokens of a batch whose activations are still kept.
DIRECT_TOKENS = 65_536

_CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class _Saved:
    """A tensor kept by autograd; tells its counter when it is let go."""

    def __init__(self, counter: SavedActivations, tensor: Tensor) -> None:
        # Detached: an operation's own output would keep the graph that keeps it.
        self.counter, self.tensor = counter, tensor.detach()
        self.storage = tensor.untyped_storage().data_ptr()
        counter._add(self.storage, tensor.untyped_storage().nbytes())

    def __del__(self) -> None:
        self.counter._remove(self.storage)


class SavedActivations:
    """Counts the bytes that autograd keeps for the backward pass while it is active.

    Parameters of ``model`` do not count, since they are there anyway; a storage that several operations keep counts
    once. ``sums`` has the bytes after each change, ``peak`` the largest of them.

    >>> with SavedActivations(model) as saved:
    ...     loss(features).backward()
    >>> saved.peak
    """

    def __init__(self, model: nn.Module) -> None:
        self.sums = [0]
        self._held: dict[int, tuple[int, int]] = {}
        self._ignored = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)

    @property
    def peak(self) -> int:
        """The most bytes at once so far."""
        return max(self.sums)

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
            self.sums.append(self.sums[-1] + size)

    def _remove(self, storage: int) -> None:
        users, size = self._held.pop(storage)
        if users > 1:
            self._held[storage] = users - 1, size
        else:
            self.sums.append(self.sums[-1] - size)


def activation_bytes_per_token(model: nn.Module, tokens: int) -> float:
    """Bytes that the encoder keeps for its backward pass per padded token of texts of ``tokens`` tokens.

    Encodes one text and then three, both of token 0 alone, and takes the difference: what does not grow with the batch
    drops out, and neither the data nor the moment of the measurement matters. Random states are left as they were. A
    GPU is asked what it has handed out, which counts compiled layers too.
    """
    inner = unwrapped(model)
    device = next(inner.parameters()).device
    peaks = []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.enable_grad():
        for texts in (3, 1, 3):  # the first of them makes what a device makes once
            ids = torch.zeros(texts, tokens, dtype=torch.int64, device=device)
            features = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            if device.type == "cuda":
                before = torch.cuda.memory_allocated(device)
                kept = embed_tokens(inner, features, is_query=False)
                peaks.append(torch.cuda.memory_allocated(device) - before)
            else:
                with SavedActivations(inner) as saved:
                    kept = embed_tokens(inner, features, is_query=False)
                peaks.append(saved.peak)
            del kept
    return (peaks[2] - peaks[1]) / (2 * tokens)


def peak_memory(device: str = "cpu") -> int:
    """Peak memory in bytes: of this process on a CPU, of the allocator on a GPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _tokens(model: nn.Module, part: Chunk) -> int:
    """Tokens of a chunk that are encoded."""
    if packs(model, part.is_query):
        return int(part.features["attention_mask"].sum())
    return part.features["input_ids"].numel()


def device_memory(device: torch.device) -> int | None:
    """Bytes of memory that a process may count on, in use or not; None where the device does not say.

    The processes of one machine share its memory, and a container's limit counts like the machine's end.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    if device.type != "cpu" or not hasattr(os, "sysconf"):
        return None
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in map(Path, _CONTAINER_LIMITS):
        if file.is_file() and (limit := file.read_text().strip()).isdigit():
            sizes.append(int(limit))
    return min(sizes) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@dataclass
class Activations:
    """Of which chunks of a batch the activations are kept; the others are encoded again for the backward pass.

    With ``gradient_cache`` True no more than one chunk's, which is what a pass needs anyway, with False all of them.
    With None as many as fit into `SHARE` of the device's memory, by what the encoder was measured to keep per token:
    the same on every run of one machine. ``most`` is a limit in bytes besides.
    """

    gradient_cache: bool | None = None
    most: int | None = None
    _bytes_per_token: float | None = field(default=None, init=False)

    def kept(self, model: nn.Module, parts: Sequence[Chunk], more: int = 0) -> set[int]:
        """Places of the chunks that are kept, largest first; ``more``: bytes that are kept besides the encoder's."""
        sizes = [_tokens(model, part) for part in parts]
        if not torch.is_grad_enabled() or self.gradient_cache is False:
            return set(range(len(parts)))
        room = float(max(sizes))
        if self.gradient_cache is None:
            most = self._room(model, parts, more)
            if sum(sizes) <= most:
                return set(range(len(parts)))
            room = max(room, most - room)  # a chunk is encoded again beside those that are kept
        found = set()
        # Never the last, whose pass exchanges gradients between processes.
        for place in sorted(range(len(parts) - 1), key=lambda place: -sizes[place]):
            if sizes[place] <= room:
                found.add(place)
                room -= sizes[place]
        return found

    def _room(self, model: nn.Module, parts: Sequence[Chunk], more: int) -> float:
        """Tokens whose activations fit."""
        budget = self._bytes(parts[0].features["input_ids"].device)
        if budget is None:
            return DIRECT_TOKENS
        longest = max(part.features["input_ids"].shape[1] for part in parts)
        return (budget - more) / self._measured(model, longest)

    def _bytes(self, device: torch.device) -> float | None:
        """What activations may take; None where neither the device nor a limit says it."""
        memory = device_memory(device)
        limits = [limit for limit in (memory and SHARE * memory, self.most) if limit is not None]
        return min(limits, default=None)

    def _measured(self, model: nn.Module, longest: int) -> float:
        if self._bytes_per_token is None:
            inner = unwrapped(model)
            limit = getattr(inner, "document_length", None) or getattr(inner, "max_seq_length", None)
            self._bytes_per_token = activation_bytes_per_token(model, int(limit or longest))
        return self._bytes_per_token

    def tokens_at_once(self, model: nn.Module, given: int) -> int:
        """Tokens of a chunk: ``given``, and where `go_fast` found a way as many as a part of `SHARE` can keep."""
        if way_of(model) is None:
            return given
        device = next(model.parameters()).device
        most, part = MOST_TOKENS.get(device.type, (given, 1.0))
        room = part * (self._bytes(device) or 0) / self._measured(model, 512)
        return max(given, min(most, int(room) // 4096 * 4096))
