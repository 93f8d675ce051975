"""ModernBERT over packed rows on a CPU: the numbers of transformers' layers with fewer passes over memory.

Which model is encoded so is decided in `packing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colbert_zero_lib.training.attention import Group, GroupedAttention


def fits(encoder: Any) -> bool:
    """Whether an encoder's layers are what `hidden_states` computes: plain products, nothing recomputed."""
    config = encoder.config
    linear = [m for name, m in encoder.named_modules() if name.rpartition(".")[2] in ("Wqkv", "Wo", "Wi")]
    plain = all(type(m) is nn.Linear for m in linear) and not getattr(
        encoder, "gradient_checkpointing", False
    )
    return plain and config.hidden_size // config.num_attention_heads % 2 == 0


def hidden_states(encoder: Any, ids: Tensor, groups: Sequence[Group], longest: int) -> Tensor:
    """The last hidden states ``[tokens, width]`` of texts end to end; products are in autocast's type if it is on."""
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else encoder.dtype
    heads, size = encoder.config.num_attention_heads, encoder.layers[0].attn.head_dim
    # Rotation pairs number i of a head with number i + size / 2; side by side they are one complex number.
    pairs = torch.arange(3 * heads * size).view(3, heads, 2, size // 2)
    order = torch.cat([pairs[:2].transpose(2, 3).flatten(), pairs[2].flatten()])
    with torch.autocast("cpu", enabled=False):
        x = encoder.embeddings(ids)
        turns: dict[str, Tensor] = {}
        for layer in encoder.layers:
            kind, attn, mlp = layer.attention_type, layer.attn, layer.mlp
            if kind not in turns:
                cos, sin = encoder.rotary_emb(x, torch.arange(longest + 31)[None], kind)
                turns[kind] = torch.complex(cos, sin)[0, :, None, : size // 2]
            packed = _linear(layer.attn_norm(x).to(dtype), attn.Wqkv, order)
            reach = attn.sliding_window - 1 if attn.sliding_window else -1
            drop = attn.attention_dropout if attn.training else 0.0
            given = (packed.view(-1, 3, heads, size), turns[kind], groups, reach, size**-0.5, drop)
            found = GroupedAttention.apply(*given)
            x = x + attn.out_drop(_linear(found.view(len(x), -1), attn.Wo))
            # Two products, since the activation of a slice is slower than that of a whole.
            inside = layer.mlp_norm(x).to(dtype)
            middle = mlp.Wo.in_features
            value = mlp.act(_linear(inside, mlp.Wi, slice(None, middle)))
            gated = value * _linear(inside, mlp.Wi, slice(middle, None))
            x = x + _linear(mlp.drop(gated), mlp.Wo)
        return encoder.final_norm(x)


def _linear(x: Tensor, layer: nn.Linear, rows: Tensor | slice = slice(None)) -> Tensor:
    """The outputs ``rows`` of a layer, in the type of ``x``."""
    bias = None if layer.bias is None else layer.bias[rows].to(x.dtype)
    return F.linear(x, layer.weight.to(x.dtype)[rows], bias)
