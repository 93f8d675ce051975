"""How a model encodes on its device: rows end to end without padding, on a GPU in half precision and compiled.

Which model goes which way is decided here, once, by `go_fast`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, BertModel, ModernBertModel
from transformers.modeling_outputs import BaseModelOutput

from colbert_zero_lib.errors import one_line
from colbert_zero_lib.training.attention import Group, GroupedAttention, grouped
from colbert_zero_lib.training.devices import keep_freed_memory
from colbert_zero_lib.training.modernbert import fits, hidden_states

PACKED = "packed_rows"
# Width of hidden states below which a CPU spends more on the packing than on the padding.
WORTH_PACKING = 128
# Least cosine of a token's packed vector with its padded one, by precision of the encoder.
ALIKE = {"bfloat16": 0.98, "float32": 0.9999}


class Rows(NamedTuple):
    """Where the texts of a packed batch begin and end: ``starts`` int32 ``[texts + 1]``; ``longest`` in tokens.

    ``groups`` are the texts as a CPU attends within them.
    """

    starts: Tensor
    longest: int
    groups: list[Group] | None


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Rows | None,
    scaling: float,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    rows: Rows | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention within each text of a packed batch, as transformers asks for it.

    ``query``, ``key``, ``value`` are ``[1, heads, tokens, size]``; the result is ``[1, tokens, heads, size]``. Local
    layers say how far they look plus one. BERT, which makes a mask of its own, is given ``rows``. FlashAttention on a
    GPU, products of groups on a CPU.
    """
    reach = sliding_window - 1 if sliding_window else -1
    starts, longest, groups = cast(Rows, rows or attention_mask)
    q, k, v = (each[0].transpose(0, 1) for each in (query, key, value))
    if groups is not None:
        packed = torch.stack((q, k, v), dim=1)
        return GroupedAttention.apply(packed, None, groups, reach, scaling, dropout)[None], None
    from torch.nn.attention.varlen import varlen_attn

    window = (reach, reach)
    found = varlen_attn(q, k, v, starts, starts, longest, longest, scale=scaling, window_size=window)
    return cast(Tensor, found)[None], None


AttentionInterface.register(PACKED, packed_attention)


@dataclass(frozen=True)
class Way:
    """How a model encodes on its device: the type of its vectors, and whether rows are packed."""

    vectors: torch.dtype
    packed: bool


def unwrapped(model: nn.Module) -> Any:
    """The model itself when a trainer has wrapped it for several devices."""
    return getattr(model, "module", model)


def way_of(model: nn.Module) -> Way | None:
    """What `go_fast` chose for a model, wrapped or not; None where it was not asked or found nothing to do."""
    return getattr(unwrapped(model), "way", None)


def go_fast(model: nn.Module, precision: str, compiled: bool = False) -> None:
    """Choose by device how a model encodes; ``precision`` is that of the encoder.

    ModernBERT's rows are packed on CUDA in bfloat16, for late interaction, and on a CPU, where BERT's are too, unless
    they are narrow. On CUDA token vectors are bfloat16 as well (MaxSim sums in float32), and ``compiled`` lets
    torch.compile fuse each layer: a minute before the first step, fewer passes over memory after it.
    """
    weight = next(model.parameters())
    device = weight.device.type
    half = device == "cuda" and precision == "bfloat16" and hasattr(model, "skiplist")
    encoder = _encoder(model)
    if not half and device != "cpu":
        return
    way = way_of(model)
    if way is None:  # tried once: encoding asks for each part of a corpus
        if device == "cpu":
            keep_freed_memory()
        known = isinstance(encoder, ModernBertModel if half else (ModernBertModel, BertModel))
        wide = half or (known and encoder.config.hidden_size >= WORTH_PACKING)
        packed = known and wide and packs_alike(model, precision)
        way = cast(Any, model).way = Way(torch.bfloat16 if half else weight.dtype, packed)
    if half and compiled and way.packed:
        torch._dynamo.config.recompile_limit = 64  # layer kinds, with and without gradient, training or not
        for layer in cast(Any, encoder).layers:
            layer.compile(dynamic=True)


def packs_alike(model: nn.Module, precision: str) -> bool:
    """Whether packed rows have the vectors of padded ones on this model's device, for three texts; else a warning."""
    encoder, device = _encoder(model), next(model.parameters()).device
    longest = min(200, encoder.config.max_position_embeddings)
    attended = torch.arange(longest, device=device) < torch.tensor([[longest], [7], [150]], device=device)
    ids = torch.arange(3 * longest, device=device).view(3, -1) * 7919 % encoder.config.vocab_size
    features = {"input_ids": ids, "attention_mask": attended.long()}
    training = model.training
    model.eval()
    half = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
    try:
        found = []
        for context in (nullcontext(), packing(model)):
            with torch.no_grad(), half, context:
                found.append(model(dict(features))["token_embeddings"][attended].float())
        least, right = float(F.cosine_similarity(found[0], found[1], dim=-1).min()), ALIKE[precision]
        wrong = None if least > right else f"they are {least:.3f} alike where {1:.3f} is right"
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
    expanded = is_query and getattr(unwrapped(model), "do_query_expansion", False)
    return way is not None and way.packed and not expanded


def _encoder(model: nn.Module) -> Any:
    return getattr(unwrapped(model)[0], "auto_model", None)


@contextmanager
def packing(model: nn.Module) -> Iterator[None]:
    """Texts are packed inside the encoder, for one pass: a saved model must not ask for it.

    The model is given padded features and gives padded vectors, which mean nothing where nothing was attended to.
    """
    encoder = _encoder(model)
    before = encoder.config._attn_implementation
    encoder.config._attn_implementation = PACKED
    encoder.forward = partial(_packed_forward, encoder)
    try:
        yield
    finally:
        encoder.config._attn_implementation = before
        del encoder.forward


def _packed_forward(encoder: Any, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> BaseModelOutput:
    """The encoder's last hidden states ``[texts, tokens, width]``, 0 at padding, which it does not see."""
    attended = attention_mask.bool()
    place, lengths = attended.nonzero(), attended.sum(dim=1)
    starts = F.pad(lengths.cumsum(dim=0), (1, 0)).to(torch.int32)
    on_cpu = input_ids.device.type == "cpu"
    groups = grouped(lengths.tolist(), encoder.config.num_attention_heads) if on_cpu else None
    rows = Rows(starts, attended.shape[1], groups)
    ids = input_ids[attended]
    if groups is not None and isinstance(encoder, ModernBertModel) and fits(encoder):
        found = hidden_states(encoder, ids, groups, rows.longest)
    else:
        given: dict[str, Any] = {"input_ids": ids[None], "position_ids": place[None, :, 1]}
        if isinstance(encoder, ModernBertModel):
            given["attention_mask"] = {"full_attention": rows, "sliding_attention": rows}
        else:
            given["rows"] = rows
        found = type(encoder).forward(encoder, **given)[0][0]
    flat = place[:, 0] * attended.shape[1] + place[:, 1]
    whole = found.new_zeros(attended.numel(), found.shape[-1]).index_copy(0, flat, found)
    return BaseModelOutput(last_hidden_state=cast(Any, whole.view(*attended.shape, -1)))
