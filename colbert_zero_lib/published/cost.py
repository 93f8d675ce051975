"""What a recipe costs: the paper's hours, an estimate of those it leaves out, and a calculator for other machines.

Hours of this suite's own runs are in their passports; nothing here measures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from ..errors import DataError, ParameterError
from ..home import data_folder
from ..recipes import PIPELINES, Interaction, Phase, Recipe, Step
from .audit import training_rows
from .tables import BEIR, paper_table

Counted = Literal["colbert", "all"]

# Inputs of the estimate of dense hours; none of them was published together with hours.
ENCODER_PARAMETERS = (
    110e6  # of ModernBERT-base's 149 M: the rest is the table of embeddings, which costs no product
)
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


@dataclass(frozen=True)
class Hours:
    """GH200 hours of a recipe: ``counted`` by the paper (ColBERT steps), and what its dense steps would add.

    ``dense_low``: the dense steps at `dense_share` of the hours that the same phase took as ColBERT; ``dense_high``:
    at all of them. Both are estimates: no hours were published for the dense checkpoints.
    """

    counted: float
    dense_low: float
    dense_high: float

    @property
    def low(self) -> float:
        """All steps, the lower estimate."""
        return self.counted + self.dense_low

    @property
    def high(self) -> float:
        """All steps, the higher estimate."""
        return self.counted + self.dense_high


def recipe_hours(recipe: Recipe, folder: Path | None = None) -> Hours:
    """GH200 hours of a recipe at the paper's scale, as counted there and with its dense steps estimated."""
    hours = phase_hours(folder)
    counted = sum(hours[step.phase] for step in recipe if step.interaction is Interaction.COLBERT)
    dense = [step.phase for step in recipe if step.interaction is Interaction.DENSE]
    low = sum(hours[phase] * dense_share(phase, folder) for phase in dense)
    return Hours(float(counted), float(low), float(sum(hours[phase] for phase in dense)))


def cost_table(folder: Path | None = None) -> pd.DataFrame:
    """Every row of Table 2 with a recipe: score, hours as the paper counts them, and hours with the dense steps.

    Columns model, recipe, pipeline (a, b, c or ""), average (mean of 15, points), counted, low, high (GH200 hours).
    """
    table = paper_table(2, (folder or data_folder()) / "paper").dropna(subset="recipe")
    letters = {str(recipe): letter for letter, recipe in PIPELINES.items()}
    rows = []
    for _, row in table.iterrows():
        hours = recipe_hours(Recipe.parse(row["recipe"]), folder)
        average = float(row[list(BEIR)].astype(float).mean())
        letter = letters.get(row["recipe"], "")
        rows.append((row["model"], row["recipe"], letter, average, hours.counted, hours.low, hours.high))
    return pd.DataFrame(rows, columns=["model", "recipe", "pipeline", "average", "counted", "low", "high"])


@dataclass(frozen=True)
class Hardware:
    """A machine to rent: ``devices`` that work together, the price of one for an hour, in any currency.

    ``efficiency``: how much of ``devices`` times the speed of one is reached together, above 0 up to 1.
    """

    name: str
    devices: int = 1
    price_per_hour: float = 0.0
    currency: str = "USD"
    efficiency: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.devices, bool) or not isinstance(self.devices, int) or self.devices < 1:
            raise ParameterError(f"devices of {self.name!r} is {self.devices!r}: give a whole number from 1.")
        if not (math.isfinite(self.price_per_hour) and self.price_per_hour >= 0):
            raise ParameterError(
                f"price_per_hour of {self.name!r} is {self.price_per_hour!r}: give money a device and hour, from 0."
            )
        if not (math.isfinite(self.efficiency) and 0 < self.efficiency <= 1):
            raise ParameterError(
                f"efficiency of {self.name!r} is {self.efficiency!r}: give a share above 0 and up to 1."
            )


@dataclass(frozen=True)
class Quote:
    """What training a recipe takes, estimated: ``steps`` has columns step, rows, device_hours, wall_hours, money."""

    recipe: str
    hardware: Hardware
    steps: pd.DataFrame

    @property
    def device_hours(self) -> float:
        """Hours times devices, over the steps counted."""
        return float(self.steps["device_hours"].sum())

    @property
    def wall_hours(self) -> float:
        """Hours on the clock."""
        return float(self.steps["wall_hours"].sum())

    @property
    def money(self) -> float:
        """In the hardware's currency."""
        return float(self.steps["money"].sum())


def price(
    recipe: Recipe,
    hardware: Hardware,
    throughput: Mapping[Step | Phase, float] | None = None,
    rows: Mapping[Phase, int] | None = None,
    counted: Counted = "colbert",
    folder: Path | None = None,
) -> Quote:
    """Estimated hours and money of training a recipe once, one epoch a phase.

    ``throughput``: queries a second and device, by step or by phase, a step first; without it, what the paper's hours
    imply for a GH200 (and, for dense steps, the same divided by `dense_share`). ``rows``: training rows a phase, the
    paper's by default. ``counted``: "colbert" leaves dense steps out, as the paper does; "all" has them too.
    ParameterError names a phase without a throughput, or a number that cannot be one.
    """
    if counted not in ("colbert", "all"):
        raise ParameterError(f"counted is {counted!r}: use 'colbert' (as the paper counts) or 'all'.")
    sizes = dict(rows) if rows is not None else {Phase(k): n for k, n in training_rows(folder).items()}
    found = []
    for step in recipe:
        if counted == "colbert" and step.interaction is Interaction.DENSE:
            continue
        size = sizes.get(step.phase)
        if size is None or not (math.isfinite(size) and size > 0):
            raise ParameterError(f"rows of phase {step.phase.value} is {size!r}: give a positive number.")
        speed = _speed(step, throughput, folder)
        wall = size / (3600 * speed * hardware.devices * hardware.efficiency)
        device_hours = wall * hardware.devices
        money = device_hours * hardware.price_per_hour
        found.append((str(step), int(size), device_hours, wall, money))
    columns = ["step", "rows", "device_hours", "wall_hours", "money"]
    return Quote(str(recipe), hardware, pd.DataFrame(found, columns=columns))


def _speed(step: Step, throughput: Mapping[Step | Phase, float] | None, folder: Path | None) -> float:
    if throughput is None:
        speed = paper_throughput(folder)[step.phase]
        return speed / dense_share(step.phase, folder) if step.interaction is Interaction.DENSE else speed
    speed = throughput.get(step, throughput.get(step.phase, math.nan))
    if math.isnan(speed):
        raise ParameterError(f"There is no throughput for {step}: give queries a second for it or its phase.")
    if not (math.isfinite(speed) and speed > 0):
        raise ParameterError(
            f"The throughput of {step} is {speed}: give a positive number of queries a second."
        )
    return speed
