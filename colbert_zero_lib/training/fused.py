"""MaxSim on a GPU in one pass over memory, forward and backward: similarities never leave the chip.

Query tokens of all queries are packed end to end, so that no padding is multiplied; every product runs in the matrix
units in bfloat16 and is summed in float32. Written in Triton; when they are used is decided in ``maxsim``.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

TOKENS = 128  # query tokens of a tile
GROUP = 8  # documents that a tile of queries meets before it is let go
SIZES = ["tokens", "count", "length", "width", "first", "queries"]  # a kernel for all, not one for each
SHARES = 4  # of all documents, whose gradients for a tile of queries are summed apart


@triton.jit(do_not_specialize=SIZES)
def _scores(
    queries, documents, owner, scores, best, stride, tokens, count, length, width, first,
    H: tl.constexpr, N: tl.constexpr, T: tl.constexpr, G: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(tokens, N)
    tile, group = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    row = tile * N + tl.arange(0, N)
    column = tl.arange(0, H)
    there = row < tokens
    query = tl.load(queries + row[:, None] * H + column[None, :], mask=there[:, None], other=0.0)
    mine = tl.load(owner + row, mask=there, other=0)
    for document in range(group * G, tl.minimum(group * G + G, count)):
        base = documents + tl.cast(document, tl.int64) * length * H
        value = tl.full([N], float("-inf"), tl.float32)
        place = tl.zeros([N], tl.int32)
        for start in range(0, length, T):
            at = start + tl.arange(0, T)
            block = tl.load(base + at[:, None] * H + column[None, :], mask=(at < length)[:, None], other=0.0)
            similarity = tl.dot(query, tl.trans(block))
            similarity = tl.where((at < length)[None, :], similarity, float("-inf"))
            high, which = tl.max(similarity, axis=1, return_indices=True)
            place = tl.where(high > value, which.to(tl.int32) + start, place)
            value = tl.maximum(value, high)
        tl.atomic_add(scores + mine.to(tl.int64) * width + first + document, value, mask=there)
        tl.store(
            best + tl.cast(document, tl.int64) * stride + row, place.to(best.dtype.element_ty), mask=there
        )


@triton.jit(do_not_specialize=SIZES)
def _to_queries(
    documents, owner, weights, best, out, stride, tokens, count, length, first, queries,
    H: tl.constexpr, N: tl.constexpr, T: tl.constexpr, S: tl.constexpr,
):  # fmt: skip
    tile, share = tl.program_id(0), tl.program_id(1)
    row = tile * N + tl.arange(0, N)
    column = tl.arange(0, H)
    there = row < tokens
    mine = tl.load(owner + row, mask=there, other=0)
    total = tl.zeros([N, H], tl.float32)
    each = tl.cdiv(count, S)
    for document in range(share * each, tl.minimum(share * each + each, count)):
        base = documents + tl.cast(document, tl.int64) * length * H
        place = tl.load(best + tl.cast(document, tl.int64) * stride + row, mask=there, other=-1).to(tl.int32)
        weight = tl.load(
            weights + tl.cast(first + document, tl.int64) * queries + mine, mask=there, other=0.0
        )
        for start in range(0, length, T):
            at = start + tl.arange(0, T)
            block = tl.load(base + at[:, None] * H + column[None, :], mask=(at < length)[:, None], other=0.0)
            chosen = tl.where(place[:, None] == at[None, :], weight[:, None], 0.0)
            total += tl.dot(chosen.to(block.dtype), block)
    own = out + (share * tokens + row)[:, None].to(tl.int64) * H + column[None, :]
    tl.store(own, tl.load(own, mask=there[:, None], other=0.0) + total, mask=there[:, None])


@triton.jit(do_not_specialize=SIZES)
def _to_documents(
    vectors, owner, weights, best, out, stride, tokens, count, length, first, queries,
    H: tl.constexpr, N: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(length, T)
    document, start = tl.program_id(0) // blocks, tl.program_id(0) % blocks * T
    at = start + tl.arange(0, T)
    column = tl.arange(0, H)
    total = tl.zeros([T, H], tl.float32)
    for tile in range(0, tl.cdiv(tokens, N)):
        row = tile * N + tl.arange(0, N)
        there = row < tokens
        place = tl.load(best + tl.cast(document, tl.int64) * stride + row, mask=there, other=-1).to(tl.int32)
        mine = tl.load(owner + row, mask=there, other=0)
        weight = tl.load(
            weights + tl.cast(first + document, tl.int64) * queries + mine, mask=there, other=0.0
        )
        query = tl.load(vectors + row[:, None] * H + column[None, :], mask=there[:, None], other=0.0)
        chosen = tl.where(at[:, None] == place[None, :], weight[None, :], 0.0)
        total += tl.dot(chosen.to(query.dtype), query)
    place = out + (tl.cast(document, tl.int64) * length + at)[:, None] * H + column[None, :]
    tl.store(place, total.to(out.dtype.element_ty), mask=(at < length)[:, None])


class FusedPairs(torch.autograd.Function):
    """Scores ``[queries, documents]`` float32 for documents in pieces, masked vectors zero; see ``maxsim``.

    ``rows`` int32 says whose each of the packed query tokens ``[tokens, dimension]`` is.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, rows: Tensor, count: int, *pieces: Tensor) -> Tensor:  # noqa: D102
        tokens, size = queries.shape
        pieces = tuple(piece.contiguous() for piece in pieces)
        width = sum(map(len, pieces))
        scores = torch.zeros(count, width, dtype=torch.float32, device=queries.device)
        tiles = triton.cdiv(tokens, TOKENS)
        bests, first = [], 0
        for piece in pieces:
            b, t, _ = piece.shape
            kind = torch.uint8 if t <= 1 << 8 else torch.int16
            bests.append(torch.empty(b, tiles * TOKENS, dtype=kind, device=queries.device))
            _scores[(tiles * triton.cdiv(b, GROUP),)](
                queries, piece, rows, scores, bests[-1], tiles * TOKENS, tokens, b, t, width, first,
                H=size, N=TOKENS, T=64, G=GROUP, num_warps=8, num_stages=3,
            )  # fmt: skip
            first += b
        ctx.save_for_backward(queries, rows, *pieces, *bests)
        ctx.count = count
        return scores

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        queries, rows, *rest = ctx.saved_tensors
        pieces, bests = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        tokens, size = queries.shape
        weights = gradient.T.contiguous()
        shares = torch.zeros(SHARES, tokens, size, dtype=torch.float32, device=queries.device)
        to_documents, first = [], 0
        for piece, best in zip(pieces, bests, strict=True):
            b, t, _ = piece.shape
            to_documents.append(torch.empty_like(piece))
            given = (rows, weights, best)
            sizes = (best.shape[1], tokens, b, t, first, ctx.count)
            _to_queries[(triton.cdiv(tokens, TOKENS), SHARES)](
                piece, *given, shares, *sizes, H=size, N=TOKENS, T=64, S=SHARES, num_warps=8, num_stages=3
            )
            _to_documents[(b * triton.cdiv(t, 64),)](
                queries, *given, to_documents[-1], *sizes, H=size, N=TOKENS, T=64, num_warps=4, num_stages=3
            )
            first += b
        return shares.sum(dim=0).to(queries.dtype), None, None, *to_documents
