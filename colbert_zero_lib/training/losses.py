"""The loss of a step, chosen by its phase, and how it fell.

The losses themselves are in ``contrastive`` and ``distillation``.
"""

from __future__ import annotations

from typing import Any

from sentence_transformers import SentenceTransformer
from torch import nn

from colbert_zero_lib.profiles import PhaseBudget
from colbert_zero_lib.recipes import Phase, Step
from colbert_zero_lib.training.contrastive import Contrastive
from colbert_zero_lib.training.distillation import Distillation


def make_loss(model: SentenceTransformer, step: Step, budget: PhaseBudget) -> nn.Module:
    """The loss of a step: InfoNCE for the contrastive phases, KL divergence for distillation."""
    if step.phase is Phase.DISTILLATION:
        return Distillation(
            model,
            temperature=budget.temperature,
            mini_batch_tokens=budget.mini_batch_tokens,
            score_range=budget.score_range,
            kept_bytes=budget.kept_bytes,
        )
    return Contrastive(
        model,
        temperature=budget.temperature,
        mini_batch_tokens=budget.mini_batch_tokens,
        # The authors' gradient is that of their cached loss.
        gradient_cache=True if budget.authors_gradient else None,
        learned_temperature=budget.learned_temperature_steps > 0,
        authors_gradient=budget.authors_gradient,
        kept_bytes=budget.kept_bytes,
    )


def loss_curve(history: list[dict[str, Any]], every: float) -> list[tuple[int, float]]:
    """Mean loss of each ``every`` steps: what was logged in between, with a checkpoint, is put together again."""
    curve: list[tuple[int, float]] = []
    pieces: list[tuple[float, int]] = []
    last = 0
    for entry in history:
        if "loss" in entry:
            step = int(entry["step"])
            pieces.append((float(entry["loss"]), step - last))
            last = step
            if step % every == 0:
                value = pieces[0][0] if len(pieces) == 1 else sum(v * n for v, n in pieces) / every
                curve.append((step, value))
                pieces = []
    return curve
