"""What several training processes tell each other in a step, so that they compute what one process would.

Everything goes through ``torch.distributed``; who starts the processes (torchrun, accelerate) is not decided here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as differentiable
import torch.nn.functional as F
from sentence_transformers.losses.CachedMultipleNegativesRankingLoss import RandContext
from torch import Tensor, nn

from colbert_zero_lib import group
from colbert_zero_lib.training.embedding import Chunk, Encoded, assemble, embed_tokens


def agree_on_batch(width: int, cached: bool, device: torch.device) -> tuple[int, bool]:
    """The widest documents of all processes, in tokens, and whether one of them must cache gradients: then all do.

    Asked before anything is encoded: paths that differ would wait for each other's collectives forever.
    """
    found = torch.tensor([width, cached], dtype=torch.int64, device=device)
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return int(found[0]), bool(found[1])


def gather_documents(own: Encoded, width: int) -> Encoded:
    """The documents of all processes, by rank, as a single chunk; gradients flow back to who encoded them.

    The backward pass sums the gradients of all processes for each document and hands them to its owner (a
    reduce-scatter). With the average that DistributedDataParallel takes, the encoder gets the gradient of the *mean*
    of the processes' losses. Documents, as many on each process, are padded to ``width`` tokens, with masked ones, as
    one process with all rows would have padded them.
    """
    vectors, mask = assemble(own)
    right = max(0, width - vectors.shape[1])
    vectors, mask = F.pad(vectors, (0, 0, 0, right)), F.pad(mask, (0, right))
    whole = torch.cat(differentiable.all_gather(vectors))
    # Gloo and NCCL both know bytes; not all backends know bool.
    masks = [torch.empty_like(mask, dtype=torch.uint8) for _ in range(group.size())]
    dist.all_gather(masks, mask.to(torch.uint8))
    index = torch.arange(len(whole), device=whole.device)
    return Encoded([whole], [torch.cat(masks).bool()], [Chunk(index, {}, is_query=False)])


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes; its gradient is averaged the same way."""
    return differentiable.all_reduce(value) / dist.get_world_size()


def one_exchange(model: nn.Module, passes: int) -> Iterator[AbstractContextManager]:
    """A context for each of ``passes`` forward (and backward) passes, of which the last alone exchanges gradients.

    DistributedDataParallel would exchange gradients or buffers in every pass, and wait forever, since length-sorted
    chunks are not equally many on all processes. A model that is not wrapped exchanges nothing anyway.
    """
    quiet = getattr(model, "no_sync", nullcontext)
    for place in range(passes):
        yield nullcontext() if place == passes - 1 else quiet()


def encode(model: nn.Module, parts: Sequence[Chunk]) -> Encoded:
    """Vectors and masks of all chunks, with one exchange between processes in the backward pass."""
    vectors, masks = [], []
    for part, exchange in zip(parts, one_exchange(model, len(parts)), strict=True):
        with exchange:
            vector, mask = embed_tokens(model, part.features, part.is_query)
        vectors.append(vector)
        masks.append(mask)
    return Encoded(vectors, masks, list(parts))


def encode_again(
    model: nn.Module,
    parts: Sequence[Chunk],
    states: Sequence[RandContext | Tensor],
    gradients: Sequence[Tensor],
    scale: Tensor,
) -> None:
    """The backward pass of chunks by what ``encode_apart`` left of them: kept ones first, others are encoded again.

    ``gradients`` are those of the chunks' vectors, times ``scale``. One exchange between processes, after the last,
    whose activations must not have been kept.
    """
    order = sorted(range(len(parts)), key=lambda place: not isinstance(states[place], Tensor))
    left: list[Any] = list(states)
    with torch.enable_grad():
        for place, exchange in zip(order, one_exchange(model, len(parts)), strict=False):
            part, state = parts[place], left[place]
            left[place] = None  # activations are let go with the chunk
            with exchange:
                if isinstance(state, Tensor):
                    vector = state
                else:
                    with state:
                        vector, _ = embed_tokens(model, part.features, part.is_query)
                gradient = gradients[place][:, : vector.shape[1]].to(vector.dtype)
                vector.backward(gradient * scale)
