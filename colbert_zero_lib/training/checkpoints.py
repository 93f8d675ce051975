"""What lets an interrupted run go on as if nothing had happened: complete checkpoints, and the order of the data.

Weights, optimizer and random states are written by the trainer itself.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback

COMPLETE = "complete"


class MarkComplete(TrainerCallback):
    """Marks a checkpoint as complete once everything is on disk."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the mark, when every process has written its part."""
        if dist.is_available() and dist.is_initialized():
            dist.barrier()
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


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
        """Write the loss's own parameters, then leave the mark."""
        own = {name: value.detach().cpu() for name, value in _own_parameters(self.loss).items()}
        if own and state.is_world_process_zero:
            save_file(own, Path(args.output_dir) / f"checkpoint-{state.global_step}" / "loss.safetensors")
        super().on_save(args, state, control, **kwargs)


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
        sampler: Any = train_dataloader.batch_sampler
        while hasattr(sampler, "batch_sampler"):
            sampler = sampler.batch_sampler
        each: Any
        for each in (sampler, getattr(sampler, "sampler", None)):
            if hasattr(each, "set_epoch"):
                each.set_epoch(state.global_step // len(train_dataloader))


def _own_parameters(loss: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in loss.named_parameters() if not name.startswith("model.")}


def last_complete_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; unfinished ones are deleted."""
    found = []
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / COMPLETE).is_file():
            found.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return max(found, key=lambda path: int(path.name.split("-")[1]), default=None)
