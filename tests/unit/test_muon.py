"""Muon beside AdamW: the published update, which weights it moves, and that loading brings both back."""

from __future__ import annotations

import copy

import torch
from pylate.models import ColBERT
from torch import nn

from colbert_zero_lib.training.muon import MuonBeside, matrices, with_muon


def published(gradients: list[torch.Tensor], rate: float) -> torch.Tensor:
    """Jordan et al. (2024): Nesterov momentum .95, five Newton-Schulz steps; the size of Liu et al. (2025)."""
    buffer, moved = torch.zeros_like(gradients[0]), torch.zeros_like(gradients[0])
    for gradient in gradients:
        buffer = 0.95 * buffer + 0.05 * gradient
        x = 0.05 * gradient + 0.95 * buffer
        x = x.T if x.shape[0] > x.shape[1] else x
        x = x / x.norm()
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        x = x.T if gradient.shape[0] > gradient.shape[1] else x
        moved -= rate * 0.2 * max(gradient.shape) ** 0.5 * x
    return moved


def stepped(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for weight in weights:
        weight.grad = torch.randn(weight.shape, generator=generator)
    optimizer.step()
    return [weight.grad.clone() for weight in weights]


def two() -> tuple[list[nn.Parameter], MuonBeside]:
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(24, 8)), nn.Parameter(torch.randn(5))]
    return weights, with_muon(torch.optim.AdamW(weights, lr=0.01, weight_decay=0.0), weights[:1], 0.02)


def test_a_matrix_moves_as_published_and_the_rest_as_under_adamw_alone() -> None:
    weights, optimizer = two()
    before = [weight.detach().clone() for weight in weights]
    alone = nn.Parameter(before[1].clone())
    adamw = torch.optim.AdamW([alone], lr=0.01, weight_decay=0.0)
    gradients = []
    for seed in range(3):
        gradients.append(stepped(optimizer, weights, seed))
        alone.grad = gradients[-1][1]
        adamw.step()
    moved = weights[0].detach() - before[0]
    expected = published([matrix for matrix, _ in gradients], 0.02)
    # torch multiplies in bfloat16, which has three digits.
    assert (moved - expected).norm() < 0.02 * expected.norm()
    assert weights[1].equal(alone)


def test_a_saved_state_goes_on_as_if_nothing_had_happened() -> None:
    weights, optimizer = two()
    stepped(optimizer, weights, 0)
    kept, state = [weight.detach().clone() for weight in weights], copy.deepcopy(optimizer.state_dict())
    stepped(optimizer, weights, 1)
    again, other = two()
    for weight, value in zip(again, kept, strict=True):
        weight.data.copy_(value)
    other.load_state_dict(state)
    stepped(other, again, 1)
    assert all(one.equal(two) for one, two in zip(weights, again, strict=True))


def test_muon_gets_the_encoders_matrices_and_neither_embeddings_nor_the_projection(
    tiny_colbert: ColBERT,
) -> None:
    found = {id(weight) for weight in matrices(tiny_colbert)}
    names = {name for name, weight in tiny_colbert.named_parameters() if id(weight) in found}
    inner = {"attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo"}
    assert names == {f"0.auto_model.layers.{layer}.{name}.weight" for layer in (0, 1) for name in inner}
