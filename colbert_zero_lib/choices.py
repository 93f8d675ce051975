"""Where the paper, its authors' released scripts and this suite choose differently, each with its source.

Data alone: ``profiles`` takes its settings for the hub from here, and what the trainer is given is tested against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from colbert_zero_lib.steps import Phase

PAPER, RELEASED = "paper", "released"

SCRIPTS = "PyLate, examples/train/ColBERT-zero at commit 1f1f47c"
DEFAULTS = "not set in the scripts: the trainer's default"


@dataclass(frozen=True)
class Choice:
    """One setting of training in one phase, or in all of them (``phase`` None).

    ``paper`` is what profiles of the hub do by default: what the paper says, else what the scripts do. ``released`` is
    what the scripts do. ``setting`` is the name of the field in ``PhaseBudget`` where there is one.
    """

    setting: str
    phase: Phase | None
    paper: Any
    released: Any
    source: str
    remark: str = ""


_UNSUPERVISED, _SUPERVISED, _DISTILLATION = Phase

CHOICES: tuple[Choice, ...] = (
    Choice("temperature", _UNSUPERVISED, 0.2, 0.02, f"paper, Table 1; {SCRIPTS}, unsupervised.py"),
    Choice("temperature", _SUPERVISED, 0.2, 0.2, f"paper, Table 1; {SCRIPTS}, supervised.py"),
    Choice("temperature", _DISTILLATION, 1.0, 1.0, f"{SCRIPTS}, distillation.py", "the loss takes none"),
    Choice(
        "documents", _SUPERVISED, 11, 12, f"{SCRIPTS}, supervised.py",
        "of a query: the script means at most ten negatives and keeps eleven, since its counter stops one late",
    ),
    Choice("documents", _DISTILLATION, 32, 32, "lightonai/ms-marco-en-bge-gemma"),
    Choice("accumulation", _UNSUPERVISED, 1, 1, SCRIPTS),
    Choice("accumulation", _SUPERVISED, 1, 1, SCRIPTS),
    Choice("accumulation", _DISTILLATION, 2, 2, f"{SCRIPTS}, distillation.py", "128 queries as 2 x 64"),
    Choice(
        "authors_gradient", _UNSUPERVISED, False, True, "PyLate 1.6, losses.CachedContrastive",
        "its gradient is as many times too large as the batch has queries, so that every step is clipped",
    ),
    Choice(
        "authors_padding", None, False, True, "PyLate 1.6, ColBERTCollator",
        "documents are padded to the limit, and padding scores 0: a best match is then never negative",
    ),
    Choice(
        "query_expansion", None, False, True, "paper, section 3.2, footnote 3; PyLate's default",
        "under FlashAttention, with which the authors trained, masked tokens get no vector: none either way",
    ),
    Choice("warmup", None, 0.0, 0.0, DEFAULTS, "the paper names none"),
    Choice("schedule", None, "linear", "linear", DEFAULTS),
    Choice("optimizer", None, "AdamW", "AdamW", DEFAULTS),
    Choice("betas", None, (0.9, 0.999), (0.9, 0.999), DEFAULTS),
    Choice("weight_decay", None, 0.0, 0.0, DEFAULTS),
    Choice("max_grad_norm", None, 1.0, 1.0, DEFAULTS),
    Choice("drop_last", None, True, True, SCRIPTS),
    Choice("sampler", None, "proportional", "proportional", SCRIPTS, "one data set a batch, by size"),
    Choice("bfloat16", None, True, True, SCRIPTS, "where the device has it; float32 elsewhere"),
    Choice(
        "split_batches", None, True, True, SCRIPTS,
        "processes share a batch; the scripts' losses are then as many times larger as there are, here they are not",
    ),
)  # fmt: skip


def chosen(side: str, phase: Phase) -> Mapping[str, Any]:
    """The settings of ``paper`` or ``released`` for a phase, by name."""
    return {each.setting: getattr(each, side) for each in CHOICES if each.phase in (None, phase)}


def offline_value(choice: Choice) -> Any:
    """The same setting in the profiles of the offline text; those that are in no budget are the same everywhere."""
    from colbert_zero_lib.profiles import PROFILES
    from colbert_zero_lib.steps import Interaction

    profile = PROFILES["laptop"]
    budget = profile.budgets[(choice.phase or _UNSUPERVISED, Interaction.COLBERT)]
    return getattr(budget, choice.setting, getattr(profile, choice.setting, choice.paper))
