"""The base encoder that all pipelines of a profile share: tokenizer, random weights, a short masked-LM phase.

It stands for ModernBERT-base, which every model of the paper starts from; hub profiles open that one instead.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import (
    DataCollatorForLanguageModeling,
    ModernBertForMaskedLM,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
)
from transformers.trainer_pt_utils import AcceleratorConfig

from colbert_zero_lib import group
from colbert_zero_lib.models import build_base, quiet, train_tokenizer
from colbert_zero_lib.profiles import EncoderShape, PretrainingBudget
from colbert_zero_lib.training.checkpoints import MarkComplete, last_complete_checkpoint, train_from
from colbert_zero_lib.training.devices import native_precision
from colbert_zero_lib.training.memory import peak_memory
from colbert_zero_lib.training.trainer import OneDevice, TrainingResult, share_batches

_RANDOM = "masks.safetensors"


def _token_rows(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, budget: PretrainingBudget, seed: int
) -> Dataset:
    """``steps x batch_size`` rows of token ids, drawn without replacement as long as there are enough texts."""
    wanted = budget.steps * budget.batch_size
    generator = np.random.default_rng(seed)
    rounds = -(-wanted // len(texts))
    order = np.concatenate([generator.permutation(len(texts)) for _ in range(rounds)])[:wanted]
    ids = tokenizer([texts[i] for i in order], truncation=True, max_length=budget.length)["input_ids"]
    return Dataset.from_dict({"input_ids": ids})


def pretrain(
    texts: Sequence[str],
    shape: EncoderShape,
    budget: PretrainingBudget,
    *,
    seed: int,
    folder: Path,
    checkpoints_folder: Path,
    device: str = "cpu",
    precision: str | None = None,
    progress: bool = False,
) -> TrainingResult:
    """Train tokenizer and encoder on ``texts`` and save both in ``folder`` (safetensors, ``config.json``)."""
    started = time.perf_counter()
    tokenizer = train_tokenizer(texts, shape.vocabulary)
    model = build_base(tokenizer, shape, seed)
    precision = precision or native_precision(device)
    curve: list[tuple[int, float]] = []
    with quiet():
        if budget.steps:
            arguments = OneDevice(
                output_dir=str(checkpoints_folder),
                max_steps=budget.steps,
                per_device_train_batch_size=budget.batch_size,
                learning_rate=budget.learning_rate,
                warmup_steps=max(1, budget.steps // 10),
                lr_scheduler_type="linear",
                weight_decay=0.01,
                bf16=precision == "bfloat16",
                use_cpu=device == "cpu",
                seed=seed,
                data_seed=seed,
                save_strategy="steps",
                save_steps=max(1, -(-budget.steps // 4)),
                save_total_limit=2,
                logging_steps=max(1, budget.steps // 50),
                report_to="none",
                disable_tqdm=not progress,
                train_sampling_strategy="group_by_length",
            )
            share_batches(arguments, "texts")
            if group.size() > 1:
                # The first process hides the tokens of the whole batch, as one process would, and deals it out.
                cast(AcceleratorConfig, arguments.accelerator_config).dispatch_batches = True
            data = _token_rows(texts, tokenizer, budget, seed)
            curve = _train(model, tokenizer, data, arguments, budget.mask_probability)
        if group.is_first():
            model.model.to("cpu").save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    return TrainingResult(
        wall_seconds=time.perf_counter() - started,
        queries=budget.steps * budget.batch_size,
        loss=curve,
        peak_memory_bytes=peak_memory(device),
        precision=precision if budget.steps else "float32",
    )


class _Masks:
    """Hides tokens, after a checkpoint with the random numbers that a training without interruption draws.

    The loader is a batch ahead of the steps, and transformers puts the random state of a checkpoint back when the first
    two batches have been drawn.
    """

    def __init__(self, hide: DataCollatorForLanguageModeling, resume: Path | None) -> None:
        file = resume and resume / _RANDOM
        self.hide, self.drawn = hide, 0
        self.resumed = bool(file and file.is_file())
        self.before = self.after = (
            load_file(file)["state"] if file and self.resumed else torch.get_rng_state()
        )

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        if self.resumed and self.drawn < 3:
            torch.set_rng_state(self.after)
        self.before = torch.get_rng_state()
        batch = self.hide(rows)
        self.after, self.drawn = torch.get_rng_state(), self.drawn + 1
        return batch


class _KeepMasks(MarkComplete):
    """Keeps the random state before the batch that was drawn ahead; at the end of an epoch there is none."""

    def __init__(self, masks: _Masks) -> None:
        self.masks, self.first = masks, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count batches from here."""
        self.first = state.global_step

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the state, then seal."""
        if state.is_world_process_zero and self.masks.drawn > state.global_step - self.first:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            save_file({"state": self.masks.before}, folder / _RANDOM)
        super().on_save(args, state, control, **kwargs)


def _train(
    model: ModernBertForMaskedLM,
    tokenizer: PreTrainedTokenizerFast,
    data: Dataset,
    arguments: OneDevice,
    mask_probability: float,
) -> list[tuple[int, float]]:
    """Train on masked tokens from the newest complete checkpoint, if there is one; the loss curve."""
    with arguments.main_process_first(local=False):
        resume = last_complete_checkpoint(Path(str(arguments.output_dir)))
    masks = _Masks(DataCollatorForLanguageModeling(tokenizer, mlm_probability=mask_probability), resume)
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=masks,
        callbacks=[_KeepMasks(masks)],
    )
    trainer.remove_callback(PrinterCallback)
    train_from(trainer, resume)
    return [(int(e["step"]), float(e["loss"])) for e in trainer.state.log_history if "loss" in e]
