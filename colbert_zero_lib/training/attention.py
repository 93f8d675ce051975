"""Attention within the texts of a packed batch by plain matrix products: what a CPU is fastest at.

torch's own attention loses most of its time on a CPU in the backward pass. Texts of about one length are padded to a
common width and multiplied together; nothing else in an encoder sees padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

# Rows of a softmax are read 32 numbers at a time: others are two to four times slower.
WIDTH = 32
# Weights of a group, which ought to stay in the cache.
WEIGHTS = 1 << 21


@dataclass(frozen=True)
class Group:
    """Neighbouring texts of a packed batch, padded to ``width`` tokens.

    ``first`` and ``stop`` are rows of the batch; ``row`` says for each padded place ``[texts * width]`` which of the
    group's rows stands there (any, in padding), ``place`` for each row where it stands.
    """

    first: int
    stop: int
    width: int
    lengths: Tensor
    row: Tensor
    place: Tensor
    _masks: dict[tuple[int, torch.dtype], Tensor] = field(default_factory=dict)

    def mask(self, reach: int, dtype: torch.dtype) -> Tensor:
        """What is added to similarities, ``[texts, 1, 1 or width, width]``: nobody sees padding, or past ``reach``."""
        reach = min(reach, self.width) if reach >= 0 else self.width
        if (reach, dtype) not in self._masks:
            place = torch.arange(self.width)
            seen = (place < self.lengths[:, None])[:, None, None]
            if reach < self.width - 1:
                seen = seen & ((place[:, None] - place).abs() <= reach)
            # Not minus infinity, of which a row that sees nothing would be made NaN.
            self._masks[reach, dtype] = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -1e4)
        return self._masks[reach, dtype]


def grouped(lengths: Sequence[int], heads: int) -> list[Group]:
    """Texts of ``lengths`` tokens, end to end, in groups of one width each."""
    groups: list[Group] = []
    begin, first = 0, 0
    while begin < len(lengths):
        width = -(-max(lengths[begin], 1) // WIDTH) * WIDTH
        most = max(1, WEIGHTS // (heads * width * width))
        end = begin + 1
        while end < min(len(lengths), begin + most) and width - WIDTH < lengths[end] <= width:
            end += 1
        own = torch.tensor(lengths[begin:end])
        starts = own.cumsum(dim=0) - own
        place = torch.arange(width)
        there = place < own[:, None]
        row = torch.where(there, starts[:, None] + place, 0)
        stop = first + int(own.sum())
        groups.append(Group(first, stop, width, own, row.flatten(), there.flatten().nonzero()[:, 0]))
        begin, first = end, stop
    return groups


class GroupedAttention(torch.autograd.Function):
    """Softmax attention within each text: ``[tokens, 3, heads, size]`` in, ``[tokens, heads, size]`` out.

    ``turn`` complex64 ``[longest, 1, size / 2]`` turns queries and keys by their position, neighbouring numbers as one
    complex number; None turns nothing. ``reach`` is how far a token sees on both sides, -1 without limit.
    """

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, packed: Tensor, turn: Tensor | None, groups: Sequence[Group], reach: int, scale: float, drop: float
    ) -> Tensor:  # fmt: skip
        _, _, heads, size = packed.shape
        out = packed.new_empty(len(packed), heads, size)
        saved: list[Tensor | None] = []
        for group in groups:
            n, width = len(group.lengths), group.width
            sides = _heads(packed[group.first : group.stop], group, turn)
            weights = packed.new_empty(n, heads, width, width).copy_(group.mask(reach, packed.dtype))
            weights = weights.view(-1, width, width).baddbmm_(sides[0], sides[1].transpose(1, 2), alpha=scale)
            weights = torch._softmax(weights, -1, False)
            kept = torch.empty_like(weights).bernoulli_(1 - drop).div_(1 - drop) if drop else None
            found = torch.bmm(weights if kept is None else weights * kept, sides[2])
            found = found.view(n, heads, width, size).transpose(1, 2).reshape(n * width, heads, size)
            torch.index_select(found, 0, group.place, out=out[group.first : group.stop])
            saved += [sides, weights, kept]
        ctx.save_for_backward(turn, *saved)
        ctx.groups, ctx.scale = groups, scale
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        turn, *saved = ctx.saved_tensors
        _, heads, size = gradient.shape
        to_packed = gradient.new_empty(len(gradient), 3, heads, size)
        for place, group in enumerate(ctx.groups):
            sides, weights, kept = saved[3 * place : 3 * place + 3]
            n, width = len(group.lengths), group.width
            own = gradient.new_zeros(n * width, heads, size)
            own[group.place] = gradient[group.first : group.stop]
            own = own.view(n, width, heads, size).transpose(1, 2).reshape(-1, width, size)
            found = torch.empty_like(sides)
            used = weights if kept is None else weights * kept
            torch.bmm(used.transpose(1, 2), own, out=found[2])
            to_weights = torch.bmm(own, sides[2].transpose(1, 2))
            if kept is not None:
                to_weights *= kept
            to_weights = torch._softmax_backward_data(to_weights, weights, -1, weights.dtype)
            found[0].baddbmm_(to_weights, sides[1], beta=0, alpha=ctx.scale)
            found[1].baddbmm_(to_weights.transpose(1, 2), sides[0], beta=0, alpha=ctx.scale)
            _rows(found, group, turn, to_packed[group.first : group.stop])
        return to_packed, None, None, None, None, None


def _heads(rows: Tensor, group: Group, turn: Tensor | None) -> Tensor:
    """Queries, keys and values ``[3, texts * heads, width, size]`` of a group's rows, padded and turned."""
    _, _, heads, size = rows.shape
    n, width = len(group.lengths), group.width
    padded = rows.index_select(0, group.row).view(n, width, 3, heads, size)
    sides = rows.new_empty(3, n, heads, width, size)
    if turn is None:
        sides.copy_(padded.permute(2, 0, 3, 1, 4))
    else:
        turned = torch.empty(n, width, 2, heads, size).copy_(padded[:, :, :2])
        torch.view_as_complex(turned.view(n, width, 2 * heads, -1, 2)).mul_(turn[:width])
        sides[:2].copy_(turned.permute(2, 0, 3, 1, 4))
        sides[2].copy_(padded[:, :, 2].transpose(1, 2))
    return sides.view(3, -1, width, size)


def _rows(sides: Tensor, group: Group, turn: Tensor | None, out: Tensor) -> None:
    """The other way round: gradients of `_heads` from ``sides`` into the rows ``out``."""
    n, width = len(group.lengths), group.width
    heads, size = out.shape[2:]
    padded = sides.view(3, n, heads, width, size).permute(1, 3, 0, 2, 4)
    if turn is None:
        found = padded.contiguous()
    else:
        found = sides.new_empty(n, width, 3, heads, size)
        turned = torch.empty(n, width, 2, heads, size).copy_(padded[:, :, :2])
        torch.view_as_complex(turned.view(n, width, 2 * heads, -1, 2)).mul_(turn[:width].conj())
        found[:, :, :2] = turned
        found[:, :, 2] = padded[:, :, 2]
    torch.index_select(found.view(n * width, 3, heads, size), 0, group.place, out=out)
