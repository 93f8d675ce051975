"""The drawing habits that figures share: headlines, intervals, named rows, small texts, legends.

Colours, sizes and canvases are in `theme`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from colbert_zero_lib.verdicts.verdict import NOT_RUN

from .theme import COLOURS, SMALL


def headline(figure: Figure, text: str) -> Figure:
    """Write the finding above the whole figure, on two lines where one is too short; the figure is returned."""
    title = figure.suptitle(text, x=0.01, ha="left", fontsize=10, weight="bold")
    share = title.get_window_extent().width / (0.95 * figure.bbox.width)
    if share > 1:
        title.set_text(textwrap.fill(text, int(len(text) / share)))
    return figure


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Places of direct labels: as near as possible to ``places``, at least ``gap`` apart, order kept."""
    order = np.argsort(places, kind="stable")
    moved = np.asarray(places, dtype=float)[order]
    for _ in range(200):
        close = np.diff(moved) < gap - 1e-9
        if not close.any():
            break
        for place in np.flatnonzero(close):
            push = (gap - (moved[place + 1] - moved[place])) / 2
            moved[place] -= push
            moved[place + 1] += push
    result = np.empty(len(moved))
    result[order] = moved
    return result.tolist()


def label_ends(axes: Axes, x: float, labels: Mapping[str, tuple[float, str]], gap: float) -> None:
    """Write each label (text -> (y, colour)) to the right of ``x``, moved apart where they would touch."""
    heights = spread([y for y, _ in labels.values()], gap)
    for (text, (_, colour)), height in zip(labels.items(), heights, strict=True):
        look: dict[str, Any] = {"color": colour, "fontsize": SMALL + 0.5, "annotation_clip": False}
        write(axes, text, (x, height), (6, 0), **look)


def write(
    axes: Axes, text: str, place: tuple[float, float], offset: tuple[float, float], **look: Any
) -> None:
    """Small text ``offset`` points away from ``place``, centred in height unless ``look`` says otherwise."""
    look = {"va": "center", "fontsize": SMALL, **look}
    axes.annotate(text, place, offset, textcoords="offset points", **look)


def write_right(axes: Axes, place: float, text: str) -> None:
    """A word at the right edge of a row."""
    write(axes, text, (1.0, place), (4, 0), xycoords=("axes fraction", "data"), annotation_clip=False)


def with_interval(
    axes: Axes, x: float, y: Sequence[float], colour: str, marker: str = "o", horizontal: bool = False
) -> None:
    """A point (mean, low, high) with its interval as a line; ``x`` is the other coordinate."""
    mean, low, high = y
    error = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
    look: dict[str, Any] = {"markersize": 5, "markeredgecolor": "white", "markeredgewidth": 0.6}
    look |= {"elinewidth": 1.4, "capsize": 0, "zorder": 3, "xerr" if horizontal else "yerr": error}
    axes.errorbar(*((mean, x) if horizontal else (x, mean)), fmt=marker, color=colour, **look)


def in_row(axes: Axes, place: float, row: Any, colour: str, marker: str = "o") -> None:
    """The ``value`` of a table's row with its interval ``low`` to ``high``, along the row at ``place``."""
    with_interval(axes, place, (row.value, row.low, row.high), colour, marker, horizontal=True)


def name_rows(axes: Axes, names: Sequence[str], label: str = "", top: float = -0.5) -> None:
    """Name the rows of a chart that runs from left to right, the first on top; ``label``: what is measured."""
    axes.set_yticks(range(len(names)), names)
    axes.set(ylim=(len(names) - 0.5, top))
    if label:
        axes.set_xlabel(label)
    axes.grid(axis="y", visible=False)


def cross(axes: Axes, x: Any, y: Any, **look: Any) -> None:
    """The paper's figure beside those of runs."""
    look = {"zorder": 4, **look} if np.ndim(x) == 0 else look
    axes.plot(x, y, "x", color=COLOURS["vermilion"], **{"markersize": 6, "markeredgewidth": 1.6, **look})


def zero_line(axes: Axes, **look: Any) -> None:
    """The line of no difference."""
    axes.axvline(0, color=COLOURS["ink"], linewidth=0.9, **look)


def part_rows(axes: Axes, count: int, colour: str = "#eeeeee", **look: Any) -> None:
    """A pale line between each row and the next."""
    for line in range(1, count):
        axes.axhline(line - 0.5, color=colour, **{"linewidth": 0.8, **look})


def count_axis(axes: Axes, counts: Sequence[int], **options: Any) -> None:
    """A logarithmic horizontal axis with a tick at each of ``counts``."""
    axes.set_xscale("log", **options)
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()


def key(axes: Axes, label: str, colour: str, marker: str = "o", **look: Any) -> None:
    """An entry of the legend: a mark that stands nowhere."""
    axes.plot([], [], marker, color=colour, label=label, **look)


def legend(figure: Figure, columns: int, **options: Any) -> None:
    """The legend below the whole figure."""
    options = {"loc": "outside lower center", "handletextpad": 0.2, **options}
    figure.legend(ncols=columns, frameon=False, **options)


def over(findings: pd.DataFrame, level: str = "95% ") -> str:
    """What the intervals of a table of `findings` speak about, after their ``level``."""
    run = findings[findings["seeds"] > 0]
    if run.empty:
        return NOT_RUN
    return f"{level}over queries{' and seeds' if run['p'].notna().all() else ' alone'}"
