"""Late-interaction scores for training: MaxSim whose backward pass follows the argmax alone.

Only tensors live here; no model, no tokenizer, no loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from colbert_zero_lib.training.kernels import fuses, kernel_scores

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
    """``scores[a, b] = sum_s max_t <q[a, s], d[b, t]>`` for documents in pieces; see :func:`maxsim_pieces`.

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
    queries: Tensor, documents: Tensor, query_mask: Tensor | None = None, document_mask: Tensor | None = None
) -> Tensor:
    """Scores of every query against every document (Khattab & Zaharia 2020; the paper, section 2).

    Parameters
    ----------
    queries
        ``[queries, query tokens, dimension]``, L2-normalised per token.
    documents
        ``[documents, document tokens, dimension]``, of the same dtype.
    query_mask, document_mask
        True where a token is scored; None scores all of them. A masked document token has similarity 0 (as PyLate).

    Returns
    -------
    ``[queries, documents]`` float32; differentiable in both inputs. On a GPU, and only if the environment's
    ``PYLATE_SCORES_BACKEND`` asks for it, one of PyLate's kernels computes them, in half precision.
    """
    return maxsim_pieces(queries, [documents], query_mask, [document_mask])


def maxsim_pieces(
    queries: Tensor,
    documents: Sequence[Tensor],
    query_mask: Tensor | None,
    document_masks: Sequence[Tensor | None],
) -> Tensor:
    """:func:`maxsim` against documents in pieces of their own lengths, ``[queries, documents of all pieces]``."""
    pairs = list(zip(documents, document_masks, strict=True))
    scores = [kernel_scores(queries, piece, query_mask, mask) for piece, mask in pairs]
    known = [each for each in scores if each is not None]
    if len(known) == len(pairs):
        return torch.cat(known, dim=1)
    if query_mask is None:
        query_mask = torch.ones(queries.shape[:2], dtype=torch.bool, device=queries.device)
    if fuses(queries):
        return fused_pieces(queries, query_mask, documents, document_masks)
    pieces: list[Tensor] = []
    for piece, mask in pairs:
        mask = torch.ones(piece.shape[:2], dtype=torch.bool, device=piece.device) if mask is None else mask
        pieces += [piece, mask.bool()]
    return _AllPairs.apply(queries, query_mask.bool(), *pieces)


def fused_pieces(
    queries: Tensor, query_mask: Tensor, documents: Sequence[Tensor], document_masks: Sequence[Tensor | None]
) -> Tensor:
    """:func:`maxsim_pieces` by this library's own kernels, which read scored query tokens alone."""
    from colbert_zero_lib.training.fused import FusedPairs

    scored = query_mask.bool()
    pieces = [
        piece if mask is None else piece * mask[..., None].to(piece.dtype)
        for piece, mask in zip(documents, document_masks, strict=True)
    ]
    owner = scored.nonzero()[:, 0].to(torch.int32)
    return FusedPairs.apply(queries[scored], owner, len(queries), *pieces)


def maxsim_lists(
    queries: Tensor, documents: Tensor, query_mask: Tensor | None = None, document_mask: Tensor | None = None
) -> Tensor:
    """Scores of each query against its own list of documents (knowledge distillation).

    ``queries`` is ``[queries, query tokens, dimension]``, ``documents`` is ``[queries, list, document tokens,
    dimension]``; returns ``[queries, list]`` float32. Kernels are used as in :func:`maxsim`.
    """
    scores = kernel_scores(queries, documents, query_mask, document_mask)
    if scores is not None:
        return scores
    n, ways, t, h = documents.shape
    if queries.is_cuda:  # products of half precision are exact in float32
        queries, documents = queries.float(), documents.float()
    similarity = torch.bmm(queries, documents.reshape(n, ways * t, h).transpose(1, 2)).view(n, -1, ways, t)
    if document_mask is not None:
        similarity = similarity * document_mask[:, None].to(similarity.dtype)
    best = similarity.amax(dim=-1).float()
    if query_mask is not None:
        best = best * query_mask[:, :, None]
    return best.sum(dim=1)
