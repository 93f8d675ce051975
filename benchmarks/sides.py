"""Ways of training in this process: the suite's, and PyLate 1.6 as the authors' released scripts use it.

All get the same model, text, precision, optimiser and clipping; what differs is collation and loss. A step is in
`steps`; the way of a library that cannot be imported beside PyLate is in `multivector`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from pylate import losses, utils
from pylate.models import ColBERT
from torch import nn

from colbert_zero_lib.profiles import PhaseBudget
from colbert_zero_lib.recipes import Phase
from colbert_zero_lib.training.collation import Collator
from colbert_zero_lib.training.contrastive import Contrastive
from colbert_zero_lib.training.distillation import Distillation

from .steps import TEMPERATURE, Side

SWITCH = "PYLATE_SCORES_BACKEND"
OURS, AUTHORS = "ours", "PyLate, the authors' way"
KERNELS = "PyLate, the authors' way, with late-interaction-kernels"


@dataclass(frozen=True)
class Settings:
    """How a side cuts its work.

    ``mini_batch_size`` is in texts (authors), ``mini_batch_tokens`` in padded tokens (ours), ``peer_mini_batch_tokens``
    in tokens of text (sentence-transformers 6). ``keep_activations`` makes our loss keep them in the unsupervised
    phase, where all cache gradients otherwise; in the other phases all keep them, as the authors' scripts do.
    ``score_mini_batch_size`` bounds the authors' scores held at once, None for their own choice. Where a batch of
    theirs does not fit otherwise, ``peer_caches`` takes their cached loss in the supervised phase too, and
    ``lists_at_once`` takes fewer lists at a time, whose gradients add up. ``compiled`` lets torch.compile fuse our
    layers on a GPU.
    """

    mini_batch_size: int = 32
    mini_batch_tokens: int = PhaseBudget.mini_batch_tokens
    peer_mini_batch_tokens: int = PhaseBudget.mini_batch_tokens
    keep_activations: bool = False
    score_mini_batch_size: int | None = None
    peer_caches: bool = False
    lists_at_once: int | None = None
    compiled: bool = False


@contextmanager
def _scored_by(backend: str) -> Iterator[None]:
    """PyLate's way of scoring, for as long as it lasts."""
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = backend
    try:
        yield
    finally:
        os.environ.pop(SWITCH)
        if before is not None:
            os.environ[SWITCH] = before


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
        scoring=partial(_scored_by, "torch"),
    )


def with_kernels(model: ColBERT, phase: Phase, settings: Settings) -> Side:
    """The authors' way with the kernel that PyLate 1.6 uses where it is installed; the authors had none."""
    side = authors(model, phase, settings)
    side.name, side.scoring = KERNELS, partial(_scored_by, "lik")
    return side


SIDES = {OURS: ours, AUTHORS: authors}
