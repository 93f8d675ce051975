"""Run one step of a recipe with the sentence-transformers trainer: seeded, checkpointed, resumable.

Which data a step sees is decided by ``runs``; how a run is found again after an interruption, by ``checkpoints``.
"""

from __future__ import annotations

import math
import os
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
from transformers import PrinterCallback, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_pt_utils import AcceleratorConfig

from colbert_zero_lib.errors import DivergedError, TrainingError
from colbert_zero_lib.models import quiet, save_model
from colbert_zero_lib.profiles import PhaseBudget
from colbert_zero_lib.recipes import Phase, Step
from colbert_zero_lib.training.checkpoints import (
    FollowEpochs,
    KeepLoss,
    KeepSittings,
    SaveByTime,
    check_weights,
    last_complete_checkpoint,
    train_from,
)
from colbert_zero_lib.training.collation import Collator, check_columns
from colbert_zero_lib.training.contrastive import Contrastive
from colbert_zero_lib.training.devices import keep_freed_memory, native_precision, release_freed_memory
from colbert_zero_lib.training.distillation import Distillation
from colbert_zero_lib.training.losses import loss_curve, make_loss
from colbert_zero_lib.training.memory import peak_memory
from colbert_zero_lib.training.muon import matrices, with_muon
from colbert_zero_lib.training.packing import go_fast

CHECKPOINTS = 4  # of a step, evenly; more where it takes long (`SaveByTime`)


@dataclass(frozen=True)
class TrainingResult:
    """What one step leaves behind besides the model: times of all sittings, seconds of all devices."""

    wall_seconds: float
    queries: int
    loss: list[tuple[int, float]] = field(repr=False)
    device_seconds: float = 0.0
    peak_memory_bytes: int = 0
    precision: str = "float32"
    temperature: float | None = None

    @property
    def queries_per_second(self) -> float:
        """Queries (pairs in the unsupervised phase) seen per second."""
        return self.queries / self.wall_seconds if self.wall_seconds else 0.0


class OneDevice(TrainingArguments):
    """One device for each process, by the name under which torch restores a checkpoint."""

    @property
    def n_gpu(self) -> int:
        """0 or 1."""
        # More would put DataParallel around the model and multiply the batch by their number.
        return min(super().n_gpu, 1)

    @property
    def device(self) -> torch.device:
        """Of this process."""
        # accelerate calls a process's CPU "cpu:0", which torch does not know when it loads an optimizer.
        device = super().device
        return torch.device("cpu") if device.type == "cpu" else device


class _Arguments(OneDevice, SentenceTransformerTrainingArguments):
    pass


class _Trainer(SentenceTransformerTrainer):
    """The trainer without its model card, which would ask the hub about data sets and models."""

    muon_learning_rate: float | None = None

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model)
        if self.muon_learning_rate is not None:
            optimizer = self.optimizer = with_muon(optimizer, matrices(self.model), self.muon_learning_rate)
        return optimizer

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        return None

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # Neither a model card nor the pickled arguments: a checkpoint is weights, optimizer and random states.
        save_model(self.model, Path(str(output_dir)))

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        # Before the optimizer moves: the weights stay as the last finite gradient left them.
        norm = super()._clip_grad_norm(model)
        if not (math.isfinite(norm) and math.isfinite(self._tr_loss)):
            step, rate = self.state.global_step + 1, self.args.learning_rate
            if step == 1:
                raise TrainingError(
                    "at step 1, before anything was learned, the loss is not finite; look at the training rows and at"
                    " the model that it begins from"
                )
            raise DivergedError(f"at step {step} the loss is not finite; lower learning_rate ({rate})")
        return norm


def share_batches(arguments: TrainingArguments, what: str = "queries") -> None:
    """Let several processes share each batch, so that a step sees what one process would see.

    Otherwise every process would draw a batch of its own: as many times the rows, and of different sources, whose
    documents are no plausible negatives of each other. TrainingError when they cannot share a batch evenly.
    """
    processes, rows = arguments.world_size, arguments.per_device_train_batch_size
    if processes == 1:
        return
    if rows % processes:
        raise TrainingError(
            f"a batch of {rows} {what} cannot be shared by {processes} processes; start a number of processes that"
            " divides batch_size"
        )
    cast(AcceleratorConfig, arguments.accelerator_config).split_batches = True
    # Nothing in these models changes a buffer, and chunks are not equally many on all processes.
    arguments.ddp_broadcast_buffers = False


def make_trainer(
    model: SentenceTransformer,
    data: Dataset | DatasetDict,
    step: Step,
    budget: PhaseBudget,
    lengths: tuple[int, int],
    *,
    seed: int,
    folder: Path,
    precision: str | None = None,
    progress: bool = False,
    parts: tuple[nn.Module, Any] | None = None,
) -> SentenceTransformerTrainer:
    """The trainer of a step, with all that decides its result; see `train_step` for parameters and errors."""
    splits = list(data.values()) if isinstance(data, DatasetDict) else [data]
    for split in splits:
        check_columns(split.column_names)
    rows = _rows_at_once(step, budget)
    sizes = [len(split) for split in splits]
    if sum(size // budget.batch_size for size in sizes) == 0:
        raise TrainingError(
            f"{step.phase.value}: {sum(sizes)} rows cannot fill one batch of {budget.batch_size};"
            " lower batch_size or give more rows"
        )
    precision = precision or native_precision(str(model.device))
    go_fast(model, precision)
    if model.device.type == "cpu":
        keep_freed_memory(much=budget.kept_bytes is None)
    set_seed(seed)
    loss, collator = parts or (
        make_loss(model, step, budget),
        Collator(model, lengths, authors_padding=budget.authors_padding),
    )
    arguments = _Arguments(
        output_dir=str(folder),
        max_steps=budget.steps,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=budget.accumulation,
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
        # A GPU must not wait for tokens; a CPU has no core to spare for them.
        dataloader_num_workers=min(4, (os.cpu_count() or 1) - 1) if model.device.type == "cuda" else 0,
        save_strategy="steps",
        save_steps=max(1, math.ceil(budget.steps / CHECKPOINTS)),
        save_total_limit=2,
        logging_steps=max(1, budget.steps // 100),
        # The default writes an average where the loss is NaN, so that nobody sees it.
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=not progress,
    )
    share_batches(arguments)
    with quiet():
        trainer = _Trainer(
            model=model,
            args=arguments,
            train_dataset=data,
            loss=loss,
            data_collator=collator,
        )
    trainer.muon_learning_rate = budget.muon_learning_rate
    trainer.remove_callback(PrinterCallback)
    return trainer


def _rows_at_once(step: Step, budget: PhaseBudget) -> int:
    """Queries of one forward pass; TrainingError where a batch cannot be taken in ``budget.accumulation`` parts."""
    if budget.accumulation > 1 and step.phase is not Phase.DISTILLATION:
        raise TrainingError(
            f"{step.phase.value}: a batch in {budget.accumulation} parts has fewer in-batch negatives; leave"
            " accumulation at 1, gradient caching keeps the memory bounded"
        )
    if budget.accumulation < 1 or budget.batch_size % budget.accumulation:
        raise TrainingError(
            f"{step.phase.value}: a batch of {budget.batch_size} queries cannot be taken in {budget.accumulation}"
            " equal parts; change accumulation"
        )
    return budget.batch_size // budget.accumulation


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
    parts
        A loss and a collator to train with instead of the suite's own, such as PyLate's.

    Raises
    ------
    TrainingError
        When a column's name is not known, the data cannot fill a single batch, a batch cannot be shared or parted
        evenly, or the loss is not finite at the first step.
    DivergedError
        At the step at which the loss or its gradient is not finite; the last good checkpoint stays.
    """
    started = time.perf_counter()
    trainer = make_trainer(
        model,
        data,
        step,
        budget,
        lengths,
        seed=seed,
        folder=folder,
        precision=precision,
        progress=progress,
        parts=parts,
    )
    arguments, loss = cast(_Arguments, trainer.args), cast(nn.Module, trainer.loss)
    with arguments.main_process_first(local=False):
        resume = last_complete_checkpoint(folder)
    if resume and (resume / "loss.safetensors").is_file():
        loss.load_state_dict(load_file(resume / "loss.safetensors"), strict=False)
    sittings = KeepSittings(resume, arguments.world_size, started)
    # What is kept with a checkpoint comes before the mark that it is complete.
    kept = (sittings, SaveByTime(), KeepLoss(loss, budget.learned_temperature_steps))
    for callback in (FollowEpochs(), *kept, *callbacks):
        trainer.add_callback(callback)
    try:
        with quiet():
            train_from(trainer, resume)
        steps = trainer.state.global_step  # fewer than the budget's where a callback ended it
        check_weights(model, steps)
    except TrainingError as error:
        raise type(error)(f"{step.phase.value}: {error}") from error
    finally:
        release_freed_memory()
    model.eval()
    every = sittings.all(steps)
    return TrainingResult(
        wall_seconds=sum(each["seconds"] for each in every),
        queries=steps * budget.batch_size,
        loss=loss_curve(trainer.state.log_history, arguments.logging_steps),
        device_seconds=sum(each["seconds"] * each["devices"] for each in every),
        peak_memory_bytes=peak_memory(str(model.device)),
        precision="bfloat16" if arguments.bf16 else "float32",
        temperature=loss.temperature if isinstance(loss, (Contrastive, Distillation)) else None,
    )
