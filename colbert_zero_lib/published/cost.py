"""What a recipe costs: the paper's hours, an estimate of those it leaves out, and a calculator for other machines.

Hours of this suite's own runs are in their passports; nothing here measures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ..errors import DataError, ParameterError
from ..home import data_folder
from ..recipes import PIPELINES, Interaction, Phase, Recipe
from ..scaling import ENCODER_PARAMETERS
from .tables import BEIR, paper_table
from .training_mix import training_rows

# Inputs of the estimate of dense hours; none of them was published together with hours.
TOKEN_DIMENSION = 128
NEGATIVES = 10  # hard negatives a query in the supervised phase, by the released script
_NAMES = {Phase.UNSUPERVISED: "unsupervised", Phase.SUPERVISED: "supervised", Phase.DISTILLATION: "kd"}


def _phases(folder: Path | None) -> pd.DataFrame:
    """Table 1 by phase; DataError if a phase is missing."""
    table = paper_table(1, (folder or data_folder()) / "paper").set_index("phase")
    for name in _NAMES.values():
        if name not in table.index:
            raise DataError(f"table1_hyperparameters.csv has no phase {name!r}: restore the file.")
    return table


def phase_hours(folder: Path | None = None) -> dict[Phase, float]:
    """GH200 hours of each phase as ColBERT (paper, Table 1)."""
    table = _phases(folder)
    return {phase: float(table.loc[name, "gpu_hours_gh200"]) for phase, name in _NAMES.items()}


def paper_throughput(folder: Path | None = None) -> dict[Phase, float]:
    """Queries a second and GH200 that the paper's hours and rows imply, as ColBERT, one epoch."""
    rows, hours = training_rows(folder), phase_hours(folder)
    return {phase: rows[phase.value] / (3600 * hours[phase]) for phase in Phase}


def dense_share(phase: Phase, folder: Path | None = None) -> float:
    """Work of a dense step as a share of the same step with late interaction, from 0 to 1: an estimate.

    Counts products alone: 2 operations a weight of the encoder and token, and 2 x 128 for every pair of a query token
    and a document token that is compared, at Table 1's full lengths; backward passes cost both in proportion.
    Everything else (attention, memory, waiting) is taken to be shared alike.
    """
    row = _phases(folder).loc[_NAMES[phase]]
    batch, query, document = (
        int(row[name]) for name in ("batch_size", "query_length_tokens", "document_length_tokens")
    )
    documents = 1 if phase is Phase.UNSUPERVISED else 1 + NEGATIVES
    encoder = 2 * ENCODER_PARAMETERS * (query + documents * document)
    maxsim = 2 * TOKEN_DIMENSION * query * document * batch * documents
    return encoder / (encoder + maxsim)


def cost_table(folder: Path | None = None) -> pd.DataFrame:
    """Every row of Table 2 with a recipe: score, hours as the paper counts them, and hours with the dense steps.

    Columns model, recipe, pipeline (a, b, c or ""), average (mean of 15, points), counted (GH200 hours of the ColBERT
    steps), low and high: with the dense steps at `dense_share` of the hours that the same phase took as ColBERT, or at
    all of them. Both are estimates: no hours were published for the dense checkpoints.
    """
    table = paper_table(2, (folder or data_folder()) / "paper").dropna(subset="recipe")
    letters = {str(recipe): letter for letter, recipe in PIPELINES.items()}
    hours, rows = phase_hours(folder), []
    for _, row in table.iterrows():
        steps = Recipe.parse(row["recipe"])
        counted = sum(hours[step.phase] for step in steps if step.interaction is Interaction.COLBERT)
        dense = {step.phase: hours[step.phase] for step in steps if step.interaction is Interaction.DENSE}
        low = counted + sum(spent * dense_share(phase, folder) for phase, spent in dense.items())
        average = float(row[list(BEIR)].astype(float).mean())
        spent = (float(counted), float(low), float(counted + sum(dense.values())))
        rows.append((row["model"], row["recipe"], letters.get(row["recipe"], ""), average, *spent))
    return pd.DataFrame(rows, columns=["model", "recipe", "pipeline", "average", "counted", "low", "high"])


@dataclass(frozen=True)
class Hardware:
    """A machine to rent: ``devices`` that work together, the price of one for an hour, in your currency.

    ``efficiency``: how much of ``devices`` times the speed of one is reached together, above 0 up to 1.
    """

    name: str
    devices: int = 1
    price_per_hour: float = 0.0
    efficiency: float = 1.0

    def __post_init__(self) -> None:
        whole = isinstance(self.devices, int) and not isinstance(self.devices, bool)
        for field, fine, mend in (
            ("devices", whole and self.devices >= 1, "a whole number from 1"),
            ("price_per_hour", 0 <= self.price_per_hour < math.inf, "money a device and hour, from 0"),
            ("efficiency", 0 < self.efficiency <= 1, "a share above 0 and up to 1"),
        ):
            if not fine:
                raise ParameterError(f"{field} of {self.name!r} is {getattr(self, field)!r}: give {mend}.")


class Quote(NamedTuple):
    """What training a recipe takes, estimated: ``device_hours`` are ``wall_hours`` times devices."""

    hardware: Hardware
    device_hours: float
    wall_hours: float
    money: float


def price(
    recipe: Recipe,
    hardware: Hardware,
    throughput: Mapping[Phase, float] | None = None,
    folder: Path | None = None,
) -> Quote:
    """Estimated hours and money of a recipe's ColBERT steps, once, one epoch a phase on the paper's rows.

    Dense steps are not counted, as in the paper. ``throughput``: queries a second and device, by phase; without it,
    what the paper's hours imply for a GH200. ParameterError names a phase without a throughput, or a number that
    cannot be one.
    """
    rows, speeds = training_rows(folder), throughput or paper_throughput(folder)
    wall = 0.0
    for step in recipe:
        if step.interaction is Interaction.DENSE:
            continue
        speed = speeds.get(step.phase, math.nan)
        if not (math.isfinite(speed) and speed > 0):
            raise ParameterError(
                f"The throughput of {step} is {speed}: give a positive number of queries a second for its phase."
            )
        wall += rows[step.phase.value] / (3600 * speed * hardware.devices * hardware.efficiency)
    hours = wall * hardware.devices
    return Quote(hardware, hours, wall, hours * hardware.price_per_hour)
