"""Muon for the matrices of an encoder, AdamW for the rest, as one optimizer that a trainer schedules and saves.

The algorithm is torch's own (Jordan et al. 2024); which weights it gets is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn


def matrices(model: nn.Module) -> list[nn.Parameter]:
    """The two-dimensional hidden weights of a model: the encoder's linear layers; no embedding, no projection."""
    encoder = model[0]  # type: ignore[index]
    weights = (layer.weight for layer in encoder.modules() if isinstance(layer, nn.Linear))
    return [weight for weight in weights if isinstance(weight, nn.Parameter) and weight.requires_grad]


def with_muon(rest: torch.optim.Optimizer, matrices: Sequence[nn.Parameter], rate: float) -> MuonBeside:
    """``rest`` without ``matrices``, which Muon moves at the learning rate ``rate``.

    An update is scaled to the size of AdamW's ("match_rms_adamw", Liu et al. 2025, arXiv 2502.16982), without weight
    decay, as everywhere here.
    """
    taken = {id(matrix) for matrix in matrices}
    for group in rest.param_groups:
        group["params"] = [weight for weight in group["params"] if id(weight) not in taken]
    muon = torch.optim.Muon(matrices, lr=rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    return MuonBeside(rest, muon)


class MuonBeside(torch.optim.Optimizer):
    """Two optimizers as one: their groups in a row, their states in one mapping, so that both are saved and resumed."""

    def __init__(self, rest: torch.optim.Optimizer, muon: torch.optim.Optimizer) -> None:
        super().__init__([*rest.param_groups, *muon.param_groups], {})
        self.parts = ((rest, slice(None, -1)), (muon, slice(-1, None)))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step of both."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for part, place in self.parts:
            # Again each time: loading a checkpoint puts other objects here.
            part.param_groups, part.state = self.param_groups[place], self.state
            part.step()
        return loss
