"""One training step in two ways: the suite's, and PyLate 1.6 as the authors' released scripts use it.

Both get the same model, text, precision, optimiser and clipping; what differs is collation and loss. Nothing is timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from accelerate.utils import convert_outputs_to_fp32
from pylate import losses, utils
from pylate.models import ColBERT
from torch import Tensor, nn

from colbert_zero_lib.profiles import PhaseBudget
from colbert_zero_lib.recipes import Phase
from colbert_zero_lib.training.collation import Collator
from colbert_zero_lib.training.contrastive import Contrastive
from colbert_zero_lib.training.distillation import Distillation

from .texts import Row

TEMPERATURE = 0.2
OURS, AUTHORS = "ours", "PyLate, the authors' way"


@dataclass(frozen=True)
class Settings:
    """How a side cuts its work.

    ``mini_batch_size`` is in texts (authors), ``mini_batch_tokens`` in padded tokens (ours). ``keep_activations`` makes
    our loss keep them in the unsupervised phase, where both cache gradients otherwise; in the other phases both keep
    them, as the authors' scripts do. ``score_mini_batch_size`` bounds the authors' scores held at once, None for their
    own choice.
    """

    mini_batch_size: int = 32
    mini_batch_tokens: int = PhaseBudget.mini_batch_tokens
    keep_activations: bool = False
    score_mini_batch_size: int | None = None


class Side:
    """A way of training: rows in, one optimiser step out."""

    def __init__(
        self, name: str, model: ColBERT, collator: Any, loss: nn.Module, learning_rate: float = 1e-6
    ) -> None:
        self.name, self.model, self.collator, self.loss = name, model, collator, loss
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, fused=True)
        model.train()

    def collate(self, rows: Sequence[Row]) -> tuple[list[dict[str, Tensor]], Tensor | None]:
        """Padded columns on the model's device, queries first, and the teacher's scores if there are any."""
        batch = self.collator(list(rows))
        device = self.model.device
        names = [key.removesuffix("_input_ids") for key in batch if key.endswith("_input_ids")]
        features = [
            {key: batch[f"{name}_{key}"].to(device) for key in ("input_ids", "attention_mask")}
            for name in names
        ]
        labels = batch.get("label")
        return features, labels.to(device) if labels is not None else None

    def backward(self, rows: Sequence[Row]) -> float:
        """Collation, forward and backward pass; gradients are left in the model."""
        features, labels = self.collate(rows)
        loss = self.loss(features, labels)
        loss.backward()
        return float(loss.detach())

    def step(self, rows: Sequence[Row]) -> float:
        """One whole training step, as the trainer does it; returns the loss."""
        self.optimizer.zero_grad()
        value = self.backward(rows)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return value

    def gradient(self, rows: Sequence[Row]) -> tuple[float, Tensor]:
        """The loss and the gradient of all parameters, end to end, in double precision."""
        self.optimizer.zero_grad()
        value = self.backward(rows)
        found = [p.grad for p in self.model.parameters() if p.grad is not None]
        return value, torch.cat([gradient.detach().flatten().double() for gradient in found])


def half_precision(model: ColBERT) -> ColBERT:
    """Autocast the forward pass to bfloat16 with float32 outputs: what accelerate does for both sides' trainers."""
    inner = torch.autocast(model.device.type, torch.bfloat16)(type(model).forward)
    vars(model)["forward"] = MethodType(convert_outputs_to_fp32(inner), model)
    return model


def ours(model: ColBERT, phase: Phase, settings: Settings) -> Side:
    """The suite's collator and losses."""
    assert model.query_length and model.document_length  # open_encoder sets both
    lengths = (model.query_length, model.document_length)
    loss: nn.Module
    if phase is Phase.DISTILLATION:
        loss = Distillation(model, mini_batch_tokens=settings.mini_batch_tokens)
    else:
        loss = Contrastive(
            model,
            temperature=TEMPERATURE,
            mini_batch_tokens=settings.mini_batch_tokens,
            gradient_cache=phase is Phase.UNSUPERVISED and not settings.keep_activations,
        )
    return Side(OURS, model, Collator(model, lengths), loss)


def authors(model: ColBERT, phase: Phase, settings: Settings) -> Side:
    """PyLate's collator, which pads to the maximum, and the loss that the authors' script of the phase uses."""
    query, document = (model.prompts[side] for side in ("query", "document"))
    columns = ["document", "documents", "positive", *(f"negative_{place}" for place in range(64))]
    prompts = {"query": query, **dict.fromkeys(columns, document)}
    collator = utils.ColBERTCollator(tokenize_fn=model.tokenize, prompts=prompts)
    loss: nn.Module
    if phase is Phase.UNSUPERVISED:
        loss = losses.CachedContrastive(
            model,
            mini_batch_size=settings.mini_batch_size,
            score_mini_batch_size=settings.score_mini_batch_size,
            temperature=TEMPERATURE,
        )
    elif phase is Phase.SUPERVISED:
        loss = losses.Contrastive(
            model, temperature=TEMPERATURE, score_mini_batch_size=settings.score_mini_batch_size
        )
    else:
        loss = losses.Distillation(model)
    return Side(AUTHORS, model, collator, loss)


SIDES = {OURS: ours, AUTHORS: authors}
