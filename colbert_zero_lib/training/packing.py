"""The way of a GPU: rows end to end without padding, vectors in half precision, layers compiled when asked for.

Which model goes this way is decided here, once, by `go_fast`; a CPU's way is untouched.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, ModernBertModel

from colbert_zero_lib.errors import one_line

PACKED = "packed_rows"


class Rows(NamedTuple):
    """Where the texts of a packed batch begin and end: ``starts`` int32 ``[texts + 1]``; ``longest`` in tokens."""

    starts: Tensor
    longest: int


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Rows,
    scaling: float,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention within each text of a packed batch, as transformers asks for it.

    ``query``, ``key``, ``value`` are ``[1, heads, tokens, size]``; the result is ``[1, tokens, heads, size]``. Local
    layers say how far they look plus one. FlashAttention on a GPU in half precision, text after text elsewhere.
    """
    reach = sliding_window - 1 if sliding_window else -1
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        from torch.nn.attention.varlen import varlen_attn

        starts, longest = attention_mask
        q, k, v = (each[0].transpose(0, 1) for each in (query, key, value))
        window = (reach, reach)
        found = varlen_attn(q, k, v, starts, starts, longest, longest, scale=scaling, window_size=window)
        return cast(Tensor, found)[None], None
    place = torch.arange(attention_mask.longest, device=query.device)
    near = (place[:, None] - place).abs() <= (reach if reach >= 0 else len(place))
    pieces = []
    for start, stop in pairwise(attention_mask.starts.tolist()):
        q, k, v = (each[:, :, start:stop] for each in (query, key, value))
        mask = near[: stop - start, : stop - start]
        pieces.append(F.scaled_dot_product_attention(q, k, v, mask, scale=scaling))
    return torch.cat(pieces, dim=2).transpose(1, 2), None


AttentionInterface.register(PACKED, packed_attention)


@dataclass(frozen=True)
class Way:
    """How a model encodes on its device: the type of its vectors, and whether rows are packed."""

    vectors: torch.dtype
    packed: bool


def way_of(model: nn.Module) -> Way | None:
    """What `go_fast` chose for a model, wrapped or not; None where it was not asked or found nothing to do."""
    return getattr(getattr(model, "module", model), "way", None)


def go_fast(model: nn.Module, precision: str, compiled: bool = False) -> None:
    """Choose by device how a late-interaction model encodes; ``precision`` is that of the encoder.

    On CUDA in bfloat16 token vectors are bfloat16 too (MaxSim sums in float32), and ModernBERT's rows are packed.
    ``compiled`` lets torch.compile fuse each layer: a minute before the first step, fewer passes over memory after it.
    """
    if next(model.parameters()).device.type != "cuda" or precision != "bfloat16":
        return
    if not hasattr(model, "skiplist"):
        return
    encoder = _encoder(model)
    way = way_of(model)
    if way is None:  # tried once: encoding asks for each part of a corpus
        way = Way(torch.bfloat16, isinstance(encoder, ModernBertModel) and packs_alike(model))
        cast(Any, model).way = way
    if compiled and way.packed:
        torch._dynamo.config.recompile_limit = 64  # layer kinds, with and without gradient, training or not
        for layer in cast(Any, encoder).layers:
            layer.compile(dynamic=True)


def packs_alike(model: nn.Module) -> bool:
    """Whether packed rows have the vectors of padded ones on this model's device, for three texts; else a warning."""
    device, words = next(model.parameters()).device, _encoder(model).get_input_embeddings().num_embeddings
    attended = torch.arange(200, device=device) < torch.tensor([[200], [7], [150]], device=device)
    ids = (torch.arange(600, device=device).view(3, 200) * 7919) % words
    features = {"input_ids": ids, "attention_mask": attended.long()}
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            padded = model(dict(features))["token_embeddings"][attended]
            packed = packed_vectors(model, features)[attended]
        least = float(F.cosine_similarity(padded.float(), packed.float(), dim=-1).min())
        wrong = None if least > 0.98 else f"they are {least:.3f} alike where {1:.3f} is right"
    except (RuntimeError, ImportError, TypeError) as error:  # an older GPU or torch
        wrong = one_line(error, 200)
    finally:
        model.train(training)
    if wrong:
        warnings.warn(f"Texts are padded, not packed, on this device: {wrong}.", stacklevel=3)
    return wrong is None


def packs(model: nn.Module, is_query: bool) -> bool:
    """Whether texts of a side are encoded end to end; the padding of an expanded query is part of it."""
    way = way_of(model)
    expanded = is_query and getattr(model, "module", model).do_query_expansion
    return way is not None and way.packed and not expanded


def _encoder(model: nn.Module) -> Any:
    return cast(Any, model)[0].auto_model


@contextmanager
def _attending(model: nn.Module) -> Iterator[None]:
    """Attention within packed rows, for one pass: a saved model must not ask for it."""
    config = cast(Any, _encoder(getattr(model, "module", model))).config
    before = config._attn_implementation
    config._attn_implementation = PACKED
    try:
        yield
    finally:
        config._attn_implementation = before


def packed_vectors(model: nn.Module, features: dict[str, Tensor]) -> Tensor:
    """What ``model(features)["token_embeddings"]`` is at attended tokens, ``[texts, tokens, dimension]``; 0 elsewhere.

    ``features`` are ``input_ids`` and ``attention_mask``, padded; each token keeps its position.
    """
    attended = features["attention_mask"].bool()
    place = attended.nonzero()
    starts = F.pad(attended.sum(dim=1).cumsum(dim=0), (1, 0)).to(torch.int32)
    rows = Rows(starts, attended.shape[1])
    packed = {
        "input_ids": features["input_ids"][attended][None],
        "position_ids": place[None, :, 1],
        "attention_mask": {"full_attention": rows, "sliding_attention": rows},
    }
    with _attending(model):
        found = model(packed)["token_embeddings"][0]
    flat = place[:, 0] * attended.shape[1] + place[:, 1]
    whole = found.new_zeros(attended.numel(), found.shape[-1]).index_copy(0, flat, found)
    return whole.view(*attended.shape, -1)
