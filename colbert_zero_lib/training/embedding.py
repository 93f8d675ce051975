"""From token ids to the vectors that are compared, in length-sorted chunks of bounded size.

Dense models are the special case of one vector a text, so that every loss is written once.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from sentence_transformers.losses.CachedMultipleNegativesRankingLoss import RandContext
from torch import Tensor, nn

from colbert_zero_lib.prompts import unscored_positions
from colbert_zero_lib.training.packing import packing, packs, unwrapped, way_of

Features = dict[str, Tensor]

# Of packed texts: the most padding of a chunk, as padded tokens of a token, and tokens below which none is cut off.
PADDING, WORTH_A_PASS = 1.25, 2048


def is_late_interaction(model: nn.Module) -> bool:
    """True for a PyLate ColBERT, False for a dense SentenceTransformer."""
    return hasattr(unwrapped(model), "skiplist")


@dataclass(frozen=True)
class Chunk:
    """Rows of a batch of similar length: ``index`` says which, ``features`` are cut to their longest.

    ``cut`` is True when padding was cut off that MaxSim must still see: a masked token scores 0, so a document with
    padding never scores less for any query token.
    """

    index: Tensor
    features: Features
    is_query: bool
    cut: bool = False


class Encoded(NamedTuple):
    """Chunks and what the encoder made of them: unit vectors and masks, chunk by chunk."""

    vectors: list[Tensor]
    masks: list[Tensor]
    parts: list[Chunk]

    def parted(self, first: int) -> tuple[Encoded, Encoded]:
        """The first chunks, which are the queries', and the others."""
        before, after = slice(first), slice(first, None)
        return (
            Encoded(self.vectors[before], self.masks[before], self.parts[before]),
            Encoded(self.vectors[after], self.masks[after], self.parts[after]),
        )


def scored_mask(model: nn.Module, features: Features, is_query: bool) -> Tensor:
    """Which tokens take part in MaxSim: ``[texts, tokens]`` bool.

    Documents leave out padding and the skip list (punctuation). Queries leave out padding, unless they are expanded:
    then every ``[MASK]`` position is scored although its attention is 0 (PyLate; ColBERT, section 3.2). A prefix that
    is context alone is left out on both sides.
    """
    inner = unwrapped(model)
    attention = features["attention_mask"].bool()
    if is_query:
        scored = torch.ones_like(attention) if inner.do_query_expansion else attention
    else:
        skip = torch.tensor(inner.skiplist, device=attention.device)
        scored = attention & ~torch.isin(features["input_ids"], skip)
    unscored = unscored_positions(inner, is_query)
    if unscored is not None:
        scored = scored.clone()  # it may be the attention mask itself
        scored[:, unscored] = False
    return scored


def embed_tokens(model: nn.Module, features: Features, is_query: bool) -> tuple[Tensor, Tensor]:
    """Unit vectors ``[texts, tokens, dimension]`` and their mask; a dense model gives one token per text."""
    with packing(model) if packs(model, is_query) else nullcontext():
        found = model(dict(features))
    if is_late_interaction(model):
        way = way_of(model)
        vectors = F.normalize(found["token_embeddings"], dim=-1)
        return vectors.to(way.vectors) if way else vectors, scored_mask(model, features, is_query)
    vectors = F.normalize(found["sentence_embedding"], dim=-1)[:, None]
    return vectors, torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device)


def chunks(model: nn.Module, features: Features, is_query: bool, tokens: int) -> list[Chunk]:
    """Cut a batch into chunks of at most ``tokens`` tokens, longest texts first; padding counts unless it is packed.

    The loss does not depend on the order of rows, so nothing but speed and memory changes. Expanded queries stay as
    they are: their padding is part of the query.
    """
    ids, attention = features["input_ids"], features["attention_mask"]
    late = is_late_interaction(model)
    expanded = is_query and late and unwrapped(model).do_query_expansion
    lengths = torch.full((len(ids),), ids.shape[1]) if expanded else attention.sum(dim=1).cpu()
    order = lengths.argsort(descending=True, stable=True)
    ends = lengths[order].cumsum(dim=0) if packs(model, is_query) else None
    result, start = [], 0
    while start < len(order):
        longest = max(int(lengths[order[start]]), 1)
        stop = start + max(1, tokens // longest)
        if ends is not None:
            inside = ends[start:] - ends[start] + longest
            # Nothing but projection and MaxSim sees padding, yet a few long texts ought not to set the width of many.
            wide = longest * torch.arange(1, len(inside) + 1) > PADDING * inside.clamp(min=WORTH_A_PASS)
            stop = start + max(1, int(((inside > tokens) | wide).cummax(dim=0).values.logical_not().sum()))
        index = order[start:stop].to(ids.device)
        parts = {"input_ids": ids[index, :longest], "attention_mask": attention[index, :longest]}
        result.append(Chunk(index, parts, is_query, cut=late and longest < ids.shape[1]))
        start = stop
    return result


def inverse(parts: Sequence[Chunk]) -> Tensor:
    """The permutation that puts concatenated chunks back into batch order."""
    return torch.cat([part.index for part in parts]).argsort()


def assemble(encoded: Encoded) -> tuple[Tensor, Tensor]:
    """Vectors and masks as one batch in its own order, padded to a common length."""
    length = max(v.shape[1] + part.cut for v, part in zip(encoded.vectors, encoded.parts, strict=True))
    back = inverse(encoded.parts)
    vectors = [F.pad(v, (0, 0, 0, length - v.shape[1])) for v in encoded.vectors]
    masks = [F.pad(m, (0, length - m.shape[1])) for m in encoded.masks]
    return torch.cat(vectors)[back], torch.cat(masks)[back]


def padded(encoded: Encoded) -> Encoded:
    """One masked token for padding that was cut off, so that scores do not depend on the chunks."""
    vectors = [
        F.pad(v, (0, 0, 0, 1)) if part.cut else v
        for v, part in zip(encoded.vectors, encoded.parts, strict=True)
    ]
    masks = [
        F.pad(m, (0, 1)) if part.cut else m for m, part in zip(encoded.masks, encoded.parts, strict=True)
    ]
    return Encoded(vectors, masks, [replace(part, cut=False) for part in encoded.parts])


def side_by_side(shapes: Sequence[tuple[int, ...]], like: Tensor) -> list[Tensor]:
    """Zeros of these shapes in one piece of memory.

    Made one by one, among all that the encoder takes and gives back, they leave holes which a CPU's allocator does not
    fill: a large batch would take several times the memory of what is in it.
    """
    sizes = [math.prod(shape) for shape in shapes]
    pieces = torch.zeros(sum(sizes), dtype=like.dtype, device=like.device).split(sizes)
    return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def encode_apart(
    model: nn.Module, parts: Sequence[Chunk], kept: Container[int] = ()
) -> tuple[Encoded, list[RandContext | Tensor]]:
    """Vectors and masks of all chunks, :func:`padded` and without a graph, and what makes each chunk's graph again.

    That is the vectors themselves, with their graph, for the places ``kept``, and a chunk's randomness otherwise.
    """
    late = is_late_interaction(model)
    vectors: list[Tensor] = []
    found: list[tuple[Tensor, RandContext | Tensor]] = [None] * len(parts)  # type: ignore[list-item]
    # Kept ones first: the first pass with a graph is that in which all processes may exchange something.
    for place in sorted(range(len(parts)), key=lambda place: place not in kept):
        part, keeps = parts[place], place in kept
        random = RandContext(*part.features.values())
        with torch.set_grad_enabled(keeps), getattr(model, "no_sync", nullcontext)():
            vector, mask = embed_tokens(model, part.features, part.is_query)
        if not vectors:
            sizes = [(*p.features["input_ids"].shape, p.cut) for p in parts]
            shapes = [(rows, length + cut if late else 1, vector.shape[-1]) for rows, length, cut in sizes]
            vectors = side_by_side(shapes, vector.detach())
        vectors[place][:, : vector.shape[1]] = vector.detach()
        found[place] = F.pad(mask, (0, int(part.cut))), vector if keeps else random
    masks, states = (list(side) for side in zip(*found, strict=True))
    return Encoded(vectors, masks, [replace(part, cut=False) for part in parts]), states


def interleave(columns: Sequence[Features]) -> Features:
    """Several document columns as one batch, query-major: row ``i * columns + c`` is column ``c`` of query ``i``.

    All columns must be padded to one length (the collator does).
    """
    return {
        key: torch.stack([column[key] for column in columns], dim=1).flatten(0, 1)
        for key in ("input_ids", "attention_mask")
    }
