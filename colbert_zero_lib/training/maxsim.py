"""Late-interaction scores for training: MaxSim whose backward pass follows the argmax alone.

Only tensors live here; no model, no tokenizer, no loss.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from colbert_zero_lib.errors import one_line

# Similarities held at once: what stays in a CPU's cache, what fills a GPU.
BLOCK_ELEMENTS = {"cpu": 1 << 21, "cuda": 1 << 27}
# Best matches (query tokens x documents) that the backward pass sorts at once.
SORTED = {"cpu": 1 << 19, "cuda": 1 << 27}


def _blocks(tokens: int, documents: Tensor) -> int:
    """How many documents fit into one block of similarities with ``tokens`` of queries."""
    limit = BLOCK_ELEMENTS.get(documents.device.type, BLOCK_ELEMENTS["cpu"])
    return max(1, limit // max(1, tokens * documents.shape[1]))


def index_type(tokens: int) -> torch.dtype:
    """The smallest type for a place among ``tokens``: of all that waits for the backward pass, places are the most."""
    return torch.uint8 if tokens <= 1 << 8 else torch.int16 if tokens <= 1 << 15 else torch.int32


class _AllPairs(torch.autograd.Function):
    """``scores[a, b] = sum_s max_t <q[a, s], d[b, t]>`` for documents in pieces; see :func:`maxsim`.

    What waits for the backward pass is made before anything else, in one piece of memory: among the similarities that
    come and go it would leave holes that nothing fills.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, query_mask: Tensor, *pieces: Tensor) -> Tensor:
        flat, counts = queries[query_mask], query_mask.sum(dim=1)
        documents, masks = pieces[::2], pieces[1::2]
        b, longest = sum(map(len, documents)), max(piece.shape[1] for piece in documents)
        scores = torch.empty(len(queries), b, dtype=torch.float32, device=queries.device)
        best = torch.empty(len(flat), b, dtype=index_type(longest), device=queries.device)
        every, starts = torch.arange(len(flat), device=queries.device), counts.cumsum(dim=0) - counts
        first = 0
        for piece, mask in zip(documents, masks, strict=True):
            # A masked token scores 0, as in PyLate: what is not there neither helps nor hurts.
            known = piece * mask[..., None].to(piece.dtype)
            for block in known.split(_blocks(len(flat), piece)):
                similarity = (flat @ block.flatten(0, 1).T).view(len(flat), *block.shape[:2])
                values, index = similarity.max(dim=-1)
                place = slice(first, first := first + len(block))
                scores[:, place] = F.embedding_bag(every, values.float(), starts, mode="sum")
                best[:, place] = index
        ctx.save_for_backward(queries, query_mask, best, *pieces)
        return scores

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        queries, query_mask, best, *pieces = ctx.saved_tensors
        flat = queries[query_mask]
        gradient = gradient.to(queries.dtype).repeat_interleave(query_mask.sum(dim=1), dim=0)
        documents, masks = pieces[::2], pieces[1::2]
        to_flat = torch.zeros_like(flat)
        to_documents: list[Tensor | None] = []
        stop = best.shape[1]
        for piece, mask in zip(reversed(documents), reversed(masks), strict=True):
            stop -= len(piece)
            found = torch.empty_like(piece)
            first, size = stop, max(1, SORTED.get(flat.device.type, SORTED["cpu"]) // max(1, len(flat)))
            parts = (each.split(size) for each in (piece, mask, found))
            for block, known, to_block in zip(*parts, strict=True):
                b, t, _ = block.shape
                place = slice(first, first := first + b)
                # One similarity per (query token, document) carries gradient: a weighted sum of b document tokens for
                # each query token, and of the query tokens that chose it for each document token. Two bags, not two
                # matmuls.
                row = best[:, place].long() + torch.arange(b, device=best.device) * t
                weight = gradient[:, place] * known.flatten()[row]
                to_flat += F.embedding_bag(row, block.flatten(0, 1), mode="sum", per_sample_weights=weight)
                chosen, order = row.view(-1).sort()
                offsets = torch.searchsorted(chosen, torch.arange(b * t, device=best.device))
                weights = weight.view(-1)[order]
                bags = F.embedding_bag(order // b, flat, offsets, mode="sum", per_sample_weights=weights)
                to_block.copy_(bags.view_as(block))
            to_documents += [None, found]
        to_queries = torch.zeros_like(queries)
        to_queries[query_mask] = to_flat
        return to_queries, None, *reversed(to_documents)


def maxsim(
    queries: Tensor, documents: Sequence[Tensor], query_mask: Tensor, document_masks: Sequence[Tensor]
) -> Tensor:
    """Scores of every query against every document (Khattab & Zaharia 2020; the paper, section 2).

    Parameters
    ----------
    queries
        ``[queries, query tokens, dimension]``, L2-normalised per token.
    documents
        In pieces of their own lengths, each ``[documents, document tokens, dimension]``, of the same dtype.
    query_mask, document_masks
        True where a token is scored. A masked document token has similarity 0 (as PyLate).

    Returns
    -------
    ``[queries, documents of all pieces]`` float32; differentiable in both inputs.
    """
    pairs = list(zip(documents, document_masks, strict=True))
    if fuses(queries):
        from colbert_zero_lib.training.fused import FusedPairs

        known = [piece * mask[..., None].to(piece.dtype) for piece, mask in pairs]
        owner = query_mask.nonzero()[:, 0].to(torch.int32)
        return FusedPairs.apply(queries[query_mask], owner, len(queries), *known)
    return _AllPairs.apply(queries, query_mask, *chain.from_iterable(pairs))


def fuses(queries: Tensor) -> bool:
    """Whether the kernels of ``fused`` score: half precision on CUDA, where Triton is installed."""
    if not queries.is_cuda or not find_spec("triton"):
        return False
    fit = queries.dtype in (torch.bfloat16, torch.float16) and queries.shape[-1] in (32, 64, 128)
    return fit and fused_right(queries.device)


@cache
def fused_right(device: torch.device) -> bool:
    """Whether the kernels of ``fused`` give the scores and gradients of plain products on a device; else a warning.

    Asked once a process, of 9 queries and 14 documents, with the tolerance that half precision needs.
    """
    from colbert_zero_lib.training.fused import FusedPairs

    chance = torch.Generator().manual_seed(0)
    queries, documents = (
        F.normalize(torch.randn(*size, 64, generator=chance), dim=-1).to(device, torch.bfloat16)
        for size in ((9, 20), (14, 150))
    )
    owner = torch.arange(9, dtype=torch.int32, device=device).repeat_interleave(20)
    try:
        found = []
        for kind in (torch.bfloat16, torch.float32):
            q, d = (
                queries.to(kind, copy=True).requires_grad_(),
                documents.to(kind, copy=True).requires_grad_(),
            )
            if kind is torch.bfloat16:
                scores = FusedPairs.apply(q.flatten(0, 1), owner, 9, d)
            else:
                scores = torch.einsum("qsh,dth->qdst", q, d).amax(dim=-1).sum(dim=-1)
            gradients = torch.autograd.grad((scores * scores.detach()).sum(), (q, d))
            found.append([scores.detach(), *(gradient.float() for gradient in gradients)])
        off = max(float((ours - plain).norm() / plain.norm()) for ours, plain in zip(*found, strict=True))
        wrong = None if off < 0.02 else f"they are off by {off:.2g}"
    except Exception as error:  # Triton's compiler has errors of its own
        wrong = one_line(error, 200)
    if wrong:
        warnings.warn(f"MaxSim is scored without this library's kernels on {device}: {wrong}.", stacklevel=3)
    return wrong is None


def maxsim_lists(queries: Tensor, documents: Tensor, query_mask: Tensor, document_mask: Tensor) -> Tensor:
    """Scores of each query against its own list of documents (knowledge distillation).

    ``queries`` is ``[queries, query tokens, dimension]``, ``documents`` is ``[queries, list, document tokens,
    dimension]``; returns ``[queries, list]`` float32.
    """
    n, ways, t, h = documents.shape
    if queries.is_cuda:  # products of half precision are exact in float32
        queries, documents = queries.float(), documents.float()
    similarity = torch.bmm(queries, documents.reshape(n, ways * t, h).transpose(1, 2)).view(n, -1, ways, t)
    similarity = similarity * document_mask[:, None].to(similarity.dtype)
    best = similarity.amax(dim=-1).float() * query_mask[:, :, None]
    return best.sum(dim=1)
