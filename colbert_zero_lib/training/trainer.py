"""Run one step of a recipe with the sentence-transformers trainer: seeded, checkpointed, resumable.

Which data a step sees is decided by ``runs``; how a run is found again after an interruption, by ``checkpoints``.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset, DatasetDict
from safetensors.torch import load_file
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.training_args import BatchSamplers, MultiDatasetBatchSamplers
from torch import nn
from transformers import PrinterCallback, TrainerCallback, set_seed
from transformers.trainer_pt_utils import AcceleratorConfig

from colbert_zero_lib.errors import TrainingError
from colbert_zero_lib.models import quiet
from colbert_zero_lib.profiles import PhaseBudget
from colbert_zero_lib.recipes import Phase, Step
from colbert_zero_lib.training.checkpoints import FollowEpochs, KeepLoss, last_complete_checkpoint
from colbert_zero_lib.training.collation import Collator, check_columns
from colbert_zero_lib.training.contrastive import Contrastive
from colbert_zero_lib.training.devices import native_precision
from colbert_zero_lib.training.distillation import Distillation


@dataclass(frozen=True)
class TrainingResult:
    """What one step leaves behind besides the model."""

    wall_seconds: float
    queries: int
    loss: list[tuple[int, float]] = field(repr=False)
    peak_memory_bytes: int = 0
    precision: str = "float32"
    temperature: float | None = None

    @property
    def queries_per_second(self) -> float:
        """Queries (pairs in the unsupervised phase) seen per second."""
        return self.queries / self.wall_seconds if self.wall_seconds else 0.0


class _Arguments(SentenceTransformerTrainingArguments):
    """One device for each process, by the name under which torch restores a checkpoint."""

    @property
    def n_gpu(self) -> int:
        # More would put DataParallel around the model and multiply the batch by their number.
        return min(super().n_gpu, 1)

    @property
    def device(self) -> torch.device:
        # accelerate calls a process's CPU "cpu:0", which torch does not know when it loads an optimizer.
        device = super().device
        return torch.device("cpu") if device.type == "cpu" else device


class _Trainer(SentenceTransformerTrainer):
    """The trainer without its model card, which would ask the hub about data sets and models."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        return None

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        return None

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # Neither a model card nor the pickled arguments: a checkpoint is weights, optimizer and random states.
        self.model.save_pretrained(str(output_dir), create_model_card=False)


def make_loss(
    model: SentenceTransformer, step: Step, budget: PhaseBudget, *, gradient_cache: bool | None = None
) -> nn.Module:
    """The loss of a step: InfoNCE for the contrastive phases, KL divergence for distillation."""
    if step.phase is Phase.DISTILLATION:
        return Distillation(model, temperature=budget.temperature, mini_batch_tokens=budget.mini_batch_tokens)
    return Contrastive(
        model,
        temperature=budget.temperature,
        mini_batch_tokens=budget.mini_batch_tokens,
        gradient_cache=gradient_cache,
        learned_temperature=budget.learned_temperature_steps > 0,
    )


def _share_batches(arguments: _Arguments) -> None:
    """Let several processes share each batch, so that a step sees what one process would see.

    Otherwise every process would draw a batch of its own: as many times the rows, and of different sources, whose
    documents are no plausible negatives of each other. TrainingError when they cannot share a batch evenly.
    """
    processes, rows = arguments.world_size, arguments.per_device_train_batch_size
    if processes == 1:
        return
    if rows % processes:
        raise TrainingError(
            f"a batch of {rows} queries cannot be shared by {processes} processes; start a number of processes that"
            " divides batch_size"
        )
    cast(AcceleratorConfig, arguments.accelerator_config).split_batches = True
    # Nothing in these models changes a buffer, and chunks are not equally many on all processes.
    arguments.ddp_broadcast_buffers = False


def train_step(
    model: SentenceTransformer,
    data: Dataset | DatasetDict,
    step: Step,
    budget: PhaseBudget,
    lengths: tuple[int, int],
    *,
    seed: int,
    folder: Path,
    precision: str | None = None,
    checkpoints: int = 4,
    progress: bool = False,
    callbacks: tuple[TrainerCallback, ...] = (),
    parts: tuple[nn.Module, Any] | None = None,
) -> TrainingResult:
    """Train ``model`` in place.

    Under torchrun the processes share each batch of ``budget.batch_size`` queries, all from one source, in the order
    that one process would see: the result differs from that of one process by rounding alone. Each process ends with
    the same weights; the first writes the checkpoints.

    Parameters
    ----------
    data
        Columns ``query`` and ``document`` (unsupervised; one split per source, one source per batch, drawn in
        proportion to size), ``query``, ``positive``, ``negative_0`` ... (supervised), or ``query``, ``documents``,
        ``scores`` (distillation).
    lengths
        Maximum (query, document) tokens.
    folder
        Where checkpoints live; a run that was interrupted goes on from the newest complete one.
    precision
        ``float32`` or ``bfloat16``; None takes bfloat16 where the device is fast at it.
    checkpoints
        How many checkpoints are written during the step.
    parts
        A loss and a collator to train with instead of the suite's own, such as PyLate's.

    Raises
    ------
    TrainingError
        When a column's name is not known, the data cannot fill a single batch, the processes cannot share a batch
        evenly, or the loss is not finite.
    """
    splits = list(data.values()) if isinstance(data, DatasetDict) else [data]
    for split in splits:
        check_columns(split.column_names)
    sizes = [len(split) for split in splits]
    if sum(size // budget.batch_size for size in sizes) == 0:
        raise TrainingError(
            f"{step.phase.value}: {sum(sizes)} rows cannot fill one batch of {budget.batch_size};"
            " lower batch_size or give more rows"
        )
    precision = precision or native_precision(str(model.device))
    set_seed(seed)
    loss, collator = parts or (make_loss(model, step, budget), Collator(model, lengths))
    arguments = _Arguments(
        output_dir=str(folder),
        max_steps=budget.steps,
        per_device_train_batch_size=budget.batch_size,
        learning_rate=budget.learning_rate,
        warmup_steps=math.ceil(budget.warmup * budget.steps),
        lr_scheduler_type="linear",
        max_grad_norm=1.0,
        weight_decay=0.0,
        bf16=precision == "bfloat16",
        use_cpu=model.device.type == "cpu",
        seed=seed,
        data_seed=seed,
        batch_sampler=BatchSamplers.BATCH_SAMPLER,
        multi_dataset_batch_sampler=MultiDatasetBatchSamplers.PROPORTIONAL,
        dataloader_drop_last=True,
        save_strategy="steps",
        save_steps=max(1, math.ceil(budget.steps / checkpoints)),
        save_total_limit=2,
        logging_steps=max(1, budget.steps // 100),
        # The default writes an average where the loss is NaN, so that nobody sees it.
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=not progress,
    )
    _share_batches(arguments)
    with arguments.main_process_first(local=False):
        resume = last_complete_checkpoint(folder)
    if resume and (resume / "loss.safetensors").is_file():
        loss.load_state_dict(load_file(resume / "loss.safetensors"), strict=False)
    started = time.perf_counter()
    with quiet():
        trainer = _Trainer(
            model=model,
            args=arguments,
            train_dataset=data,
            loss=loss,
            data_collator=collator,
            callbacks=[FollowEpochs(), KeepLoss(loss, budget.learned_temperature_steps), *callbacks],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    curve = [
        (int(entry["step"]), float(entry["loss"])) for entry in trainer.state.log_history if "loss" in entry
    ]
    if not all(math.isfinite(value) for _, value in curve):
        raise TrainingError(
            f"{step.phase.value}: the loss is not finite; lower learning_rate ({budget.learning_rate})"
        )
    model.eval()
    return TrainingResult(
        wall_seconds=time.perf_counter() - started,
        queries=budget.steps * budget.batch_size,
        loss=curve,
        peak_memory_bytes=peak_memory(str(model.device)),
        precision=precision,
        temperature=loss.temperature if isinstance(loss, (Contrastive, Distillation)) else None,
    )


def peak_memory(device: str = "cpu") -> int:
    """Peak memory in bytes: of this process on a CPU, of the allocator on a GPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
