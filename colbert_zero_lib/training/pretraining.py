"""The base encoder that all pipelines of a profile share: tokenizer, random weights, a short masked-LM phase.

It stands for ModernBERT-base, which every model of the paper starts from; hub profiles open that one instead.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from datasets import Dataset
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
from colbert_zero_lib.training.trainer import OneDevice, TrainingResult, peak_memory, share_batches


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


def _train(
    model: ModernBertForMaskedLM,
    tokenizer: PreTrainedTokenizerFast,
    data: Dataset,
    arguments: OneDevice,
    mask_probability: float,
) -> list[tuple[int, float]]:
    """Train on masked tokens from the newest complete checkpoint, if there is one; the loss curve."""
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=mask_probability),
        callbacks=[MarkComplete()],
    )
    trainer.remove_callback(PrinterCallback)
    with arguments.main_process_first(local=False):
        resume = last_complete_checkpoint(Path(str(arguments.output_dir)))
    train_from(trainer, resume)
    return [(int(e["step"]), float(e["loss"])) for e in trainer.state.log_history if "loss" in e]
