"""What lets an interrupted run go on as if nothing had happened: complete checkpoints, their times, the order of data.

Weights, optimizer and random states are written by the trainer itself.
"""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from colbert_zero_lib import group
from colbert_zero_lib.errors import DivergedError, TrainingError
from colbert_zero_lib.keeping import damage, remove, seal

COMPLETE = "complete"
_UNFINISHED = "was not written to its end"
SITTINGS = "sittings.json"
# The most work that an interruption may cost.
SAVE_SECONDS = 600.0


class MarkComplete(TrainerCallback):
    """Seals a checkpoint once everything is on disk, unless nobody could go on from its weights."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write sizes and sha256 of its files, when every process has written its part."""
        check_weights(kwargs["model"], state.global_step)
        group.barrier("write a checkpoint")
        if state.is_world_process_zero:
            seal(Path(args.output_dir) / f"checkpoint-{state.global_step}", name=COMPLETE)


class KeepLoss(MarkComplete):
    """Keeps the loss's own parameters with a checkpoint, and ends the learning of the temperature."""

    def __init__(self, loss: nn.Module, learned_steps: int) -> None:
        self.loss = loss
        self.learned_steps = learned_steps

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End the learning after its steps."""
        # Before the step, so that a run which resumes later than that learns the temperature no further either.
        if self.learned_steps and state.global_step >= self.learned_steps:
            self.loss.log_temperature.requires_grad_(False)
            self.loss.log_temperature.grad = None

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the loss's own parameters, then seal."""
        named = self.loss.named_parameters()
        own = {name: value.detach().cpu() for name, value in named if not name.startswith("model.")}
        if own and state.is_world_process_zero:
            save_file(own, Path(args.output_dir) / f"checkpoint-{state.global_step}" / "loss.safetensors")
        super().on_save(args, state, control, **kwargs)


def check_weights(model: nn.Module, step: int) -> None:
    """DivergedError unless all weights are finite after ``step``."""
    if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
        raise DivergedError(f"the weights are not finite after step {step}; lower learning_rate")


class SaveByTime(TrainerCallback):
    """Writes a checkpoint wherever `SAVE_SECONDS` would go by without one, whatever the number of steps.

    The first process's clock decides for all of them.
    """

    def __init__(self) -> None:
        self.saved = self.ended = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to count."""
        self.saved = self.ended = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a checkpoint if one more step like this one would come too late."""
        now = time.monotonic()
        due = now + (now - self.ended) - self.saved > SAVE_SECONDS
        self.ended = now
        if group.size() > 1:
            decision = torch.tensor([due], dtype=torch.uint8, device=args.device)
            dist.broadcast(decision, src=0)
            due = bool(decision.item())
        control.should_save |= due
        # What is not logged yet would be lost to a run that resumes here.
        control.should_log |= control.should_save

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count from here."""
        self.saved = time.monotonic()


class KeepSittings(TrainerCallback):
    """Writes with each checkpoint how long it took to get there, earlier sittings included.

    A sitting is what one process group did: up to which ``steps``, in how many ``seconds`` (from ``started`` on), on
    how many ``devices``. Work after the checkpoint that a run resumes from is done again and counts once.
    """

    def __init__(self, resume: Path | None, devices: int, started: float) -> None:
        file = resume and resume / SITTINGS
        self.earlier = json.loads(file.read_text()) if file and file.is_file() else []
        self.devices, self.started = devices, started

    def all(self, step: int) -> list[dict[str, float]]:
        """The earlier sittings, and this one up to ``step``."""
        seconds = time.perf_counter() - self.started
        return [*self.earlier, {"steps": step, "seconds": seconds, "devices": self.devices}]

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write them beside the weights."""
        if state.is_world_process_zero:
            file = Path(args.output_dir) / f"checkpoint-{state.global_step}" / SITTINGS
            file.write_text(json.dumps(self.all(state.global_step)))


class FollowEpochs(TrainerCallback):
    """Tells the sampler which epoch it is in, through all that is wrapped around it.

    accelerate tells a sampler no more where it shares batches among processes or skips those before a checkpoint; the
    sampler would then repeat the order of the first epoch.
    """

    def on_epoch_begin(
        self, args: Any, state: Any, control: Any, train_dataloader: DataLoader | None = None, **kwargs: Any
    ) -> None:
        """Unwrap the sampler and set its epoch."""
        if train_dataloader is None:
            return
        steps = -(-len(train_dataloader) // args.gradient_accumulation_steps)
        sampler: Any = train_dataloader.batch_sampler
        while hasattr(sampler, "batch_sampler"):
            sampler = sampler.batch_sampler
        each: Any
        for each in (sampler, getattr(sampler, "sampler", None)):
            if hasattr(each, "set_epoch"):
                each.set_epoch(state.global_step // steps)


def last_complete_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint whose files are as they were written; newer ones that are not are deleted.

    A warning says which were damaged. Of a link only the link goes; TrainingError where ``folder`` itself is one.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise TrainingError(
            f"{folder} is a link or a file where checkpoints need a folder of their own; move it away and run again"
        )
    newest = None
    steps = [found for found in folder.glob("checkpoint-*") if _step(found) >= 0]
    for checkpoint in sorted(steps, key=_step, reverse=True):
        wrong = _problem(checkpoint)
        if wrong is None:
            newest = checkpoint
            break
        if wrong != _UNFINISHED:
            warnings.warn(
                f"Checkpoint {checkpoint} {wrong}: it was removed and training goes on from the one before.",
                stacklevel=3,
            )
        try:
            remove(checkpoint)
        except OSError as error:
            raise TrainingError(
                f"{checkpoint} {wrong} and cannot be removed ({error.strerror}); remove it and run again"
            ) from error
    return newest


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.partition("-")[2]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 19 else -1


def _problem(checkpoint: Path) -> str | None:
    if checkpoint.is_symlink() or not checkpoint.is_dir():
        return "is no folder"
    if not (checkpoint / COMPLETE).exists():
        return _UNFINISHED
    return damage(checkpoint, name=COMPLETE)


def train_from(trainer: Trainer, checkpoint: Path | None) -> None:
    """Train to the last step, from ``checkpoint`` if there is one; a step that was the last is not followed by one."""
    if checkpoint is None or _step(checkpoint) < trainer.args.max_steps:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        return
    # transformers takes one step before it looks whether there are any left.
    trainer._load_from_checkpoint(str(checkpoint))
    trainer.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
