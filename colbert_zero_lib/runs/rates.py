"""Learning rates of a sweep: which are tried, what each reached, and which one is to be used.

Figures in, a choice out; training the values is `runs.sweep`'s business, and nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import RunError
from ..recipes import TABLE1, Phase

if TYPE_CHECKING:
    from ..evaluation import Evaluation

METRIC = "ndcg@10"
LEVEL = 0.95


def swept_rates(phase: Phase, present: float) -> tuple[float, ...]:
    """The learning rates to try, from low to high: as many and over as wide a range as Table 1 says for ``phase``.

    They are evenly spaced in the logarithm and rounded to 3 significant digits. ``present`` stands in the middle and
    is kept as it is: of an even number of values there is one more below it than above.
    """
    printed = TABLE1[phase]
    values = printed.learning_rates_tried
    factor = (printed.learning_rate_high / printed.learning_rate_low) ** (1 / (values - 1))
    places = range(-(values // 2), values - values // 2)
    return tuple(float(f"{present * factor**place:.3g}") if place else present for place in places)


@dataclass(frozen=True)
class RateResult:
    """What one learning rate reached on the development collections.

    ``mean`` with ``low`` and ``high`` is nDCG@10 (0 to 1), unweighted over ``collections``, with its 95 % interval over
    queries (of sweeps up to November 2026 a bootstrap's); ``behind`` with ``behind_low`` and ``behind_high`` is how far
    it is below the best rate, paired by query. All are None where training diverged. ``source`` says what made the
    figures (run, device, git_commit, seconds).
    """

    rate: float
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    behind: float | None = None
    behind_low: float | None = None
    behind_high: float | None = None
    collections: Mapping[str, float] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def diverged(self) -> bool:
        """Whether the loss was no longer finite."""
        return self.mean is None

    @property
    def level_with_best(self) -> bool:
        """Whether the interval of the paired difference from the best rate holds zero."""
        return self.behind_low is not None and self.behind_low <= 0


@dataclass(frozen=True)
class Sweep:
    """A recipe whose last step was trained at several learning rates, and the rate that follows from it.

    The rule, fixed before anything was measured: the best rate is the one with the highest mean nDCG@10 over the
    development collections (the lower of equal ones). A rate is level with it when the 95 % interval of their paired
    difference over the development queries holds zero. The profile's ``present`` rate is kept if it is
    level with the best, else the best is recommended.
    """

    recipe: str
    profile: str
    seed: int
    present: float
    rows: tuple[RateResult, ...]

    def __post_init__(self) -> None:
        rates = [row.rate for row in self.rows]
        if self.present not in rates or rates != sorted(set(rates)):
            raise RunError(
                f"A sweep of {self.recipe} needs rates in rising order with the present {self.present:g} among them, "
                f"not {', '.join(f'{rate:g}' for rate in rates) or 'none'}."
            )
        if all(row.diverged for row in self.rows):
            raise RunError(f"Every learning rate of the sweep of {self.recipe} diverged: sweep lower ones.")

    @property
    def best(self) -> RateResult:
        """The row with the highest mean; the lowest rate of equal ones."""
        return max(self.rows, key=lambda row: (-1.0 if row.mean is None else row.mean, -row.rate))

    @property
    def level_with_best(self) -> tuple[float, ...]:
        """The rates that cannot be told from the best, itself among them, from low to high."""
        return tuple(row.rate for row in self.rows if row.level_with_best)

    @property
    def recommended(self) -> float:
        """The learning rate that the rule chooses."""
        return self.present if self.present in self.level_with_best else self.best.rate

    @property
    def best_is_at_the_edge(self) -> bool:
        """Whether the best rate is the lowest or highest tried, so that a better one may lie outside."""
        return self.best.rate in (self.rows[0].rate, self.rows[-1].rate)


def judge(
    measured: Mapping[float, Evaluation | None],
    recipe: str,
    profile: str,
    seed: int,
    present: float,
    sources: Mapping[float, Mapping[str, Any]],
) -> Sweep:
    """The sweep that follows from every rate's evaluation on the development collections; None where it diverged.

    RunError when all diverged or ``present`` was not tried; DataError when the evaluations differ in their queries.
    """
    from ..evaluation import difference

    reached = {rate: found.mean(METRIC) for rate, found in measured.items() if found is not None}
    best = measured[max(reached, key=lambda rate: (reached[rate], -rate))] if reached else None
    rows = []
    for rate, found in sorted(measured.items()):
        if found is None or best is None:
            rows.append(RateResult(rate, source=sources[rate]))
            continue
        interval = found.interval(METRIC)
        behind = difference(best, found, METRIC)
        rows.append(
            RateResult(
                rate,
                *interval,
                behind.delta,
                behind.low,
                behind.high,
                {name: float(scores.mean()) for name, scores in found.scores(METRIC).items()},
                sources[rate],
            )
        )
    return Sweep(recipe, profile, seed, present, tuple(rows))
