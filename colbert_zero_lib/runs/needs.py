"""What a recipe will need before it starts: steps, rows and, where this kind of device was timed, hours.

Reads passports; what the data take on disk is the business of ``corpora``, and nothing is trained here.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..recipes import Recipe, Step
from .grid import duration, recorded_passports

if TYPE_CHECKING:
    from .execute import Workshop


@dataclass(frozen=True)
class Need:
    """One step to be trained: optimiser steps, rows (queries) and predicted seconds, None where never timed."""

    step: Step
    steps: int
    rows: int
    seconds: float | None

    def __str__(self) -> str:
        time = "unknown time: never timed on this device" if self.seconds is None else duration(self.seconds)
        return f"{self.step}: {self.steps:,} steps, {self.rows:,} rows, {time}"


def needs(shop: Workshop, recipe: Recipe, seed: int) -> list[Need]:
    """The steps of ``recipe`` that the ledger lacks, in order.

    Seconds follow from queries per second of runs on a device of the same name, in the ledger or recorded, that
    trained the same step with the same budget.
    """
    runs = [run.passport for run in shop.ledger.runs()]
    passports = [*runs, *recorded_passports(shop.profile.name)]
    found = []
    for prefix in shop.profile.begun(recipe).stages():
        key = shop.key(prefix, seed)
        if shop.ledger.get(key, sizes_alone=True) is None:
            step = prefix.steps[-1]
            budget = shop.profile.budget(step)
            rows = budget.steps * budget.batch_size
            speed = _speed(passports, shop.device_name, step, key.to_mapping()["settings"]["budgets"])
            found.append(Need(step, budget.steps, rows, rows / speed if speed else None))
    return found


def _speed(
    passports: Iterable[Mapping[str, Any]], device: str, step: Step, budgets: Mapping[str, Any]
) -> float | None:
    name = f"{step.interaction.value}:{step.phase.value}"
    # Neither the number of steps nor the learning rate changes how long a step takes.
    told = {"steps": None, "learning_rate": None}
    known = []
    for passport in passports:
        other = passport.get("key", {}).get("settings", {}).get("budgets", {}).get(name)
        speed = passport.get("queries_per_second", {}).get(step.phase.value)
        if other and speed and passport.get("device") == device and other | told == budgets[name] | told:
            known.append(float(speed))
    return statistics.median(known) if known else None
