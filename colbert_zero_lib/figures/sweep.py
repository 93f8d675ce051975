"""The figure of learning-rate sweeps: a panel for each swept step.

Sweeps come in as `published.recorded` reads them; what is tried and which rate wins is decided in `runs.rates`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from colbert_zero_lib.errors import ParameterError
from colbert_zero_lib.recipes import Interaction, Phase, Recipe, Step
from colbert_zero_lib.runs.rates import Sweep

from .marks import headline, legend, write
from .tables import PaperTable, interval_text, make_table
from .theme import COLOURS, DASHED, INTERACTION, NAME, WIDTH, canvas

_DEPTH = 15.0  # points below the best that a scale reaches


def sweep_figure(sweeps: Sequence[Sweep]) -> Figure:
    """Development nDCG@10 (points) against the learning rate of the last step; a row of panels for each phase.

    The band is the 95 % interval over queries. Filled points cannot be told from the best, compared query by query;
    hollow ones are worse. The scale, one for a row, ends 15 points below its lowest optimum; what is further down is
    a triangle with its value. ParameterError when there is no sweep to draw.
    """
    if not sweeps:
        raise ParameterError("There is no sweep to draw: record one with `colbert-zero sweep ... --record`.")
    of_phases = [[sweep for sweep in sweeps if _last(sweep).phase is phase] for phase in Phase]
    by_phase = list(filter(None, of_phases))
    rows, columns = len(by_phase), max(map(len, by_phase))
    figure, grid = canvas(WIDTH, 0.9 + 1.9 * rows, rows=rows, columns=columns, squeeze=False, sharey="row")
    for row, (panels, found) in enumerate(zip(grid, by_phase, strict=True)):
        floor = min(max(100 * (sweep.best.mean or 0.0) - _DEPTH, _edge(sweep, "low", min)) for sweep in found)
        top = max(_edge(sweep, "high", max) for sweep in found)
        for axes, sweep in zip(panels, found, strict=False):
            _panel(axes, sweep, floor)
        for column, axes in enumerate(panels):
            if column >= len(found):
                axes.remove()
            elif all(column >= len(below) for below in by_phase[row + 1 :]):
                axes.set_xlabel("learning rate")
        panels[0].set_ylim(floor - 0.12 * (top - floor), top)  # room for what is below or diverged
        panels[0].set_ylabel("nDCG@10 (points)")
    legend(figure, 5, handles=_legend(sweeps), loc="outside lower left", handletextpad=0.3)
    return headline(figure, _finding(sweeps))


def sweep_table(sweeps: Sequence[Sweep]) -> PaperTable:
    """A row for each sweep: the rate in use, the best, how far the first is behind in points, and which are level."""
    columns = ("step", "in use", "best", "in use behind by", "level with the best", "chosen")
    rows = []
    for sweep in sweeps:
        kept = next(row for row in sweep.rows if row.rate == sweep.present)
        behind = "diverged"
        if kept.behind is not None and kept.behind_low is not None and kept.behind_high is not None:
            behind = interval_text(100 * kept.behind, 100 * kept.behind_low, 100 * kept.behind_high)
        name = step_name(Recipe.parse(sweep.recipe)).replace("\n", " ")
        rates = [f"{rate:.3g}" for rate in (sweep.present, sweep.best.rate, sweep.recommended)]
        level = [f"{rate:.3g}" for rate in sweep.level_with_best]
        told = level[0] if len(level) == 1 else f"{len(level)}, {level[0]} to {level[-1]}"
        rows.append((name, *rates[:2], "is the best" if kept == sweep.best else behind, told, rates[2]))
    caption = (
        "Learning rates tried on development collections; nDCG@10 in points with 95% intervals over queries"
    )
    return make_table(pd.DataFrame(rows, columns=pd.Index(columns)), "sweeps", caption)


def _last(sweep: Sweep) -> Step:
    return Recipe.parse(sweep.recipe).steps[-1]


def _edge(sweep: Sweep, field: str, of: Callable[[list[float]], float]) -> float:
    """The lowest or highest end of a sweep's intervals, in points."""
    return of([100 * getattr(row, field) for row in sweep.rows if not row.diverged])


def _panel(axes: Axes, sweep: Sweep, floor: float) -> None:
    colour = INTERACTION[_last(sweep).interaction.value]
    figures = np.array(
        [(row.rate, row.mean, row.low, row.high) for row in sweep.rows if not row.diverged], float
    )
    rates, means, lows, highs = (figures * (1, 100, 100, 100)).T
    axes.set_xscale("log")
    axes.fill_between(rates, lows, highs, color=colour, alpha=0.15, linewidth=0)
    axes.plot(rates, means, color=colour, linewidth=1.3)
    at_the_foot = axes.get_xaxis_transform()
    for row in sweep.rows:
        if row.mean is None:
            lost: dict[str, Any] = {"color": COLOURS["vermilion"], "markeredgewidth": 1.6, "markersize": 6}
            axes.plot(row.rate, 0.04, "x", transform=at_the_foot, **lost)
            continue
        look: dict[str, Any] = {"marker": "o", "markersize": 4.5}
        if row == sweep.best:
            look = {"marker": "D", "markersize": 6.5}
        height = 100 * row.mean
        if height < floor:
            look |= {"marker": "v", "transform": at_the_foot}
            side = {"ha": "center", "va": "bottom", "fontsize": 7, "color": COLOURS["ink"]}
            write(axes, f"{height:.1f}", (row.rate, 0.04), (2, 6), xycoords=at_the_foot, **side)
            height = 0.04
        look["markerfacecolor"] = colour if row.level_with_best else "white"
        axes.plot(row.rate, height, linestyle="none", markeredgecolor=colour, zorder=4, **look)
    axes.axvline(sweep.present, color=COLOURS["ink"], linestyle=DASHED, linewidth=1.0, zorder=1)
    axes.set_xlim(sweep.rows[0].rate / 1.4, sweep.rows[-1].rate * 1.4)
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_title(step_name(Recipe.parse(sweep.recipe)), fontsize=9)


def step_name(recipe: Recipe) -> str:
    """The swept step of ``recipe`` and, where others trained that or it was a dense model, what it starts from."""
    step = recipe.steps[-1]
    name = f"{NAME[step.interaction.value]} {step.phase.value}"
    before = recipe.steps[-2] if len(recipe) > 1 else None
    if before is not None and before.interaction is Interaction.DENSE is not step.interaction:
        name += f"\nfrom dense {before.phase.value}"
    if before is None and recipe.start:
        name += f"\nfrom {recipe.start.name}"
    return name


def _legend(sweeps: Sequence[Sweep]) -> list[Line2D]:
    ink = COLOURS["ink"]
    looks: dict[str, dict[str, Any]] = {
        "best": {"marker": "D", "markerfacecolor": ink, "markersize": 6},
        "level with it": {"marker": "o", "markerfacecolor": ink, "markersize": 4.5},
        "worse": {"marker": "o", "markerfacecolor": "white", "markersize": 4.5},
    }
    handles = [
        Line2D([], [], linestyle="none", markeredgecolor=ink, label=text, **look)
        for text, look in looks.items()
    ]
    handles.append(Line2D([], [], color=ink, linestyle=DASHED, linewidth=1.0, label="in use when swept"))
    if any(row.diverged for sweep in sweeps for row in sweep.rows):
        lost: dict[str, Any] = {"marker": "x", "color": COLOURS["vermilion"], "markeredgewidth": 1.6}
        handles.append(Line2D([], [], linestyle="none", label="diverged", **lost))
    return handles


def _finding(sweeps: Sequence[Sweep]) -> str:
    # In the past tense: a rate that lost may have been replaced since.
    kept = sum(sweep.recommended == sweep.present for sweep in sweeps)
    if len(sweeps) == 1:
        (only,) = sweeps
        if kept:
            return f"The learning rate in use, {only.present:.3g}, could not be told from the best"
        return f"A learning rate of {only.recommended:.3g} was better than the one in use, {only.present:.3g}"
    if kept == len(sweeps):
        return f"In all {kept} sweeps the learning rate in use could not be told from the best"
    level = f"level with the best in {kept} of {len(sweeps)} sweeps"
    return f"The learning rate in use was {level}, and worse in {len(sweeps) - kept}"
