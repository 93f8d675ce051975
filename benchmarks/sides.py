"""One training step in two ways: the suite's, and PyLate 1.6 as the authors' released scripts use it.

Both get the same model, text, precision, optimiser and clipping; what differs is collation and loss. Nothing is timed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from colbert_zero_lib.training.kernels import SWITCH

from .texts import Row

TEMPERATURE = 0.2
OURS, AUTHORS = "ours", "PyLate, the authors' way"
KERNELS = "PyLate, the authors' way, with late-interaction-kernels"


@dataclass(frozen=True)
class Settings:
    """How a side cuts its work.

    ``mini_batch_size`` is in texts (authors), ``mini_batch_tokens`` in padded tokens (ours). ``keep_activations`` makes
    our loss keep them in the unsupervised phase, where both cache gradients otherwise; in the other phases both keep
    them, as the authors' scripts do. ``score_mini_batch_size`` bounds the authors' scores held at once, None for their
    own choice. Where a batch of theirs does not fit otherwise, ``peer_caches`` takes their cached loss in the
    supervised phase too, and ``lists_at_once`` takes fewer lists at a time, whose gradients add up. ``compiled`` lets
    torch.compile fuse our layers on a GPU.
    """

    mini_batch_size: int = 32
    mini_batch_tokens: int = PhaseBudget.mini_batch_tokens
    keep_activations: bool = False
    score_mini_batch_size: int | None = None
    peer_caches: bool = False
    lists_at_once: int | None = None
    compiled: bool = False


class Side:
    """A way of training: rows in, one optimiser step out."""

    def __init__(
        self,
        name: str,
        model: ColBERT,
        collator: Any,
        loss: nn.Module,
        learning_rate: float = 1e-6,
        lists_at_once: int | None = None,
        backend: str | None = None,
    ) -> None:
        self.name, self.model, self.collator, self.loss = name, model, collator, loss
        self.lists_at_once, self.backend = lists_at_once, backend
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
        return self.backward_of(*self.collate(rows))

    def backward_of(self, features: list[dict[str, Tensor]], labels: Tensor | None) -> float:
        """Forward and backward pass of a collated batch."""
        total = 0.0
        with _scored_by(self.backend):
            for share, part, of_part in _parts(features, labels, self.lists_at_once):
                loss = self.loss(part, of_part) * share
                loss.backward()
                total += float(loss.detach())
        return total

    def step(self, rows: Sequence[Row]) -> float:
        """One whole training step, as the trainer does it; returns the loss."""
        return self.step_of(*self.collate(rows))

    def step_of(self, features: list[dict[str, Tensor]], labels: Tensor | None) -> float:
        """The step of a collated batch: what is left of it where workers collate ahead."""
        self.optimizer.zero_grad()
        value = self.backward_of(features, labels)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return value

    def gradient(self, rows: Sequence[Row]) -> tuple[float, Tensor]:
        """The loss and the gradient of all parameters, end to end, in double precision."""
        self.optimizer.zero_grad()
        value = self.backward(rows)
        found = [p.grad for p in self.model.parameters() if p.grad is not None]
        return value, torch.cat([gradient.detach().flatten().double() for gradient in found])


@contextmanager
def _scored_by(backend: str | None) -> Iterator[None]:
    """PyLate's way of scoring, for as long as it lasts; None leaves its choice to it."""
    if backend is None:
        yield
        return
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = backend
    try:
        yield
    finally:
        os.environ.pop(SWITCH)
        if before is not None:
            os.environ[SWITCH] = before


def _parts(
    features: list[dict[str, Tensor]], labels: Tensor | None, at_once: int | None
) -> Iterator[tuple[float, list[dict[str, Tensor]], Tensor | None]]:
    """A batch whole, or its lists ``at_once`` at a time: its share of the queries, its columns and labels."""
    if labels is None or at_once is None:
        yield 1.0, features, labels
        return
    queries = len(labels)
    for rows in torch.arange(queries).split(at_once):
        part = [
            {key: value.unflatten(0, (queries, -1))[rows].flatten(0, 1) for key, value in column.items()}
            for column in features
        ]
        yield len(rows) / queries, part, labels[rows]


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


def authors(model: ColBERT, phase: Phase, settings: Settings, temperature: float = TEMPERATURE) -> Side:
    """PyLate's collator, which pads to the maximum, and the loss that the authors' script of the phase uses."""
    query, document = (model.prompts[side] for side in ("query", "document"))
    columns = ["document", "documents", "positive", *(f"negative_{place}" for place in range(64))]
    prompts = {"query": query, **dict.fromkeys(columns, document)}
    collator = utils.ColBERTCollator(tokenize_fn=model.tokenize, prompts=prompts)
    loss: nn.Module
    if phase is Phase.UNSUPERVISED or (settings.peer_caches and phase is Phase.SUPERVISED):
        loss = losses.CachedContrastive(
            model,
            mini_batch_size=settings.mini_batch_size,
            score_mini_batch_size=settings.score_mini_batch_size,
            temperature=temperature,
        )
    elif phase is Phase.SUPERVISED:
        loss = losses.Contrastive(
            model, temperature=temperature, score_mini_batch_size=settings.score_mini_batch_size
        )
    else:
        loss = losses.Distillation(model)
    return Side(
        AUTHORS,
        model,
        collator,
        loss,
        lists_at_once=settings.lists_at_once if phase is Phase.DISTILLATION else None,
        backend="torch",
    )


def with_kernels(model: ColBERT, phase: Phase, settings: Settings) -> Side:
    """The authors' way with the kernel that PyLate 1.6 uses where it is installed; the authors had none."""
    side = authors(model, phase, settings)
    side.name, side.backend = KERNELS, "lik"
    return side


SIDES = {OURS: ours, AUTHORS: authors}
