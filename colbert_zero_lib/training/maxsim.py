"""Late-interaction scores for training: MaxSim whose backward pass follows the argmax alone.

Only tensors live here; no model, no tokenizer, no loss.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from colbert_zero_lib.training.kernels import kernel_scores

# Similarities held at once: what stays in a CPU's cache, what fills a GPU.
BLOCK_ELEMENTS = {"cpu": 1 << 21, "cuda": 1 << 27}


def _blocks(queries: Tensor, documents: Tensor) -> int:
    """How many documents fit into one similarity block."""
    per_document = queries.shape[0] * queries.shape[1] * documents.shape[1]
    limit = BLOCK_ELEMENTS.get(queries.device.type, BLOCK_ELEMENTS["cpu"])
    return max(1, limit // max(1, per_document))


class _AllPairs(torch.autograd.Function):
    """``scores[a, b] = sum_s max_t <q[a, s], d[b, t]>``; see :func:`maxsim`."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, documents: Tensor, query_mask: Tensor, document_mask: Tensor
    ) -> Tensor:
        a, s, h = queries.shape
        b, t, _ = documents.shape
        flat = queries.reshape(a * s, h)
        scores = torch.empty(a, b, dtype=torch.float32, device=queries.device)
        best = torch.empty(a * s, b, dtype=torch.int32, device=queries.device)
        step = _blocks(queries, documents)
        for start in range(0, b, step):
            block = documents[start : start + step]
            similarity = (flat @ block.reshape(-1, h).T).view(a * s, len(block), t)
            # A masked token scores 0, as in PyLate: what is not there neither helps nor hurts.
            similarity.mul_(document_mask[start : start + step].to(similarity.dtype))
            values, index = similarity.max(dim=-1)
            values = values.float().view(a, s, -1) * query_mask[:, :, None]
            scores[:, start : start + step] = values.sum(dim=1)
            best[:, start : start + step] = index
        ctx.save_for_backward(queries, documents, query_mask, document_mask, best)
        return scores

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        queries, documents, query_mask, document_mask, best = ctx.saved_tensors
        a, s, h = queries.shape
        b, t, _ = documents.shape
        # One similarity per (query token, document) carries gradient: a weighted sum of b document tokens for each
        # query token, and of the query tokens that chose it for each document token. Two bags instead of two matmuls.
        row = best.long() + torch.arange(b, device=best.device) * t
        weight = (gradient[:, None, :] * query_mask[:, :, None]).reshape(a * s, b)
        weight = (weight * document_mask.reshape(-1)[row]).to(queries.dtype)
        flat_documents = documents.reshape(b * t, h)
        to_queries = F.embedding_bag(row, flat_documents, mode="sum", per_sample_weights=weight)
        chosen, order = row.view(-1).sort()
        offsets = torch.searchsorted(chosen, torch.arange(b * t, device=best.device))
        to_documents = F.embedding_bag(
            order // b,
            queries.reshape(a * s, h),
            offsets,
            mode="sum",
            per_sample_weights=weight.view(-1)[order],
        )
        return to_queries.view(a, s, h), to_documents.view(b, t, h), None, None


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
    scores = kernel_scores(queries, documents, query_mask, document_mask)
    if scores is not None:
        return scores
    if query_mask is None:
        query_mask = torch.ones(queries.shape[:2], dtype=torch.bool, device=queries.device)
    if document_mask is None:
        document_mask = torch.ones(documents.shape[:2], dtype=torch.bool, device=queries.device)
    return _AllPairs.apply(queries, documents, query_mask.float(), document_mask.float())


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
    similarity = torch.bmm(queries, documents.reshape(n, ways * t, h).transpose(1, 2)).view(n, -1, ways, t)
    if document_mask is not None:
        similarity = similarity * document_mask[:, None].to(similarity.dtype)
    best = similarity.amax(dim=-1).float()
    if query_mask is not None:
        best = best * query_mask[:, :, None]
    return best.sum(dim=1)
