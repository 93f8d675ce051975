"""Early stopping: the development figure during a step, the best weights so far, and the end where it rises no more.

What is measured is the caller's; one process only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback

from colbert_zero_lib.keeping import replacing, write_whole

PATIENCE = 2  # measurements without a rise that end a step


class KeepBest(TrainerCallback):
    """Measures before the first step, every ``every`` steps and at the last, and keeps the best weights in ``folder``.

    What was measured survives an interruption: steps that are done again are not measured again.
    """

    def __init__(self, folder: Path, measure: Callable[[Any], float], every: int) -> None:
        self.weights, self.file = folder / "best.safetensors", folder / "measured.json"
        self.measure, self.every = measure, max(1, every)
        self.curve: list[tuple[int, float]] = []
        if self.file.is_file() and self.weights.is_file():
            self.curve = [(int(step), float(value)) for step, value in json.loads(self.file.read_text())]

    @property
    def best(self) -> tuple[int, float]:
        """The step with the highest figure, the first of equal ones, and the figure."""
        return max(self.curve, key=lambda point: point[1])

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Measure what the step begins from."""
        if not self.curve:
            self._measure(0, model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Measure where it is time, and end the training where the best lies too far back."""
        step = state.global_step
        if (step % self.every == 0 or step == state.max_steps) and step > self.curve[-1][0]:
            self._measure(step, model)
        since = sum(place > self.best[0] for place, _ in self.curve)
        control.should_training_stop |= since >= PATIENCE

    def restore(self, model: nn.Module) -> None:
        """Give ``model`` the best weights."""
        model.load_state_dict(load_file(self.weights))

    def _measure(self, step: int, model: nn.Module) -> None:
        training = model.training
        model.eval()
        with torch.no_grad():
            value = self.measure(model)
        model.train(training)
        self.weights.parent.mkdir(parents=True, exist_ok=True)
        if not self.curve or value > self.best[1]:
            state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
            with replacing(self.weights) as neighbour:
                save_file(state, neighbour)
        self.curve.append((step, value))
        write_whole(self.file, json.dumps(self.curve))
