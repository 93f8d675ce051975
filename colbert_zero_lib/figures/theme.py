"""The suite's one look: seaborn theme, colours with fixed meanings, canvases, and `save`.

No figure is drawn here; every figure is a function of a neighbouring module.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from colbert_zero_lib.errors import ParameterError
from colbert_zero_lib.home import home, repository

WIDTH = 7.0  # inches; printed at 6.3 inches the smallest text (8 pt) is still above 7 pt
SMALL = 8.0

# seaborn's "colorblind" palette by name, orange and purple darkened so that text in them can be read; a thing keeps
# its colour from figure to figure.
COLOURS = {
    "blue": "#0173b2",
    "orange": "#c77a00",
    "green": "#029e73",
    "vermilion": "#d55e00",
    "purple": "#a2559c",
    "grey": "#6e6e6e",
    "light": "#d9d9d9",
    "ink": "#222222",
}
INTERACTION = {"dense": COLOURS["orange"], "colbert": COLOURS["blue"]}
PIPELINE = {"a": COLOURS["orange"], "b": COLOURS["green"], "c": COLOURS["blue"]}
MARKER = {"a": "o", "b": "s", "c": "D"}
NAME = {"dense": "dense", "colbert": "ColBERT"}
DASHED = (0, (4, 3))
BASELINE = {"BM25": COLOURS["grey"], "all-MiniLM-L6-v2": COLOURS["purple"]}

_SETTINGS = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#ececec",
    "figure.dpi": 110.0,
    "savefig.dpi": 150.0,
    "svg.fonttype": "path",
    "svg.hashsalt": "colbert-zero",
    "pdf.fonttype": 42,
}
# What would change from day to day, or from one version of matplotlib to the next, is left out of the files.
_METADATA: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def use_theme() -> None:
    """Set the theme for every figure made from now on; calling it again changes nothing."""
    sns.set_theme(style="whitegrid", palette="colorblind", rc=_SETTINGS)


def canvas(
    width: float = WIDTH, height: float = 3.2, rows: int = 1, columns: int = 1, **options: Any
) -> tuple:
    """A figure in the suite's theme and its axes, as ``plt.subplots`` returns them; sizes in inches.

    The figure is taken off pyplot's list: a notebook shows it once, as the value of its cell.
    """
    use_theme()
    options.setdefault("layout", "constrained")
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), **options)
    plt.close(figure)  # which leaves it a canvas that cannot draw
    FigureCanvasAgg(figure)
    return figure, axes


def headline(figure: Figure, text: str) -> Figure:
    """Write the finding above the whole figure, on two lines where one is too short; the figure is returned."""
    title = figure.suptitle(text, x=0.01, ha="left", fontsize=10, weight="bold")
    share = title.get_window_extent().width / (0.98 * figure.bbox.width)
    if share > 1:
        title.set_text(textwrap.fill(text, int(len(text) / share)))
    return figure


def save(figure: Figure, name: str, folder: Path | None = None, suffix: str = "svg") -> Figure:
    """Write ``figures/<name>.svg`` of the checkout (or of the home folder) and return the figure, to be shown.

    ``COLBERT_ZERO_FIGURES`` in the environment names another folder.

    ``suffix`` is ``svg``, ``pdf`` (fonts embedded) or ``png``. The same figure gives the same bytes: no date, and ids
    that depend on nothing but the drawing. ParameterError for a name or suffix that is none.
    """
    if suffix not in _METADATA:
        raise ParameterError(f"A figure cannot be saved as {suffix!r}: choose {', '.join(_METADATA)}.")
    if not name or Path(name).name != name or Path(name).suffix:
        raise ParameterError(f"A figure's name is one word without folder or suffix, not {name!r}.")
    elsewhere = os.environ.get("COLBERT_ZERO_FIGURES")
    folder = folder or (Path(elsewhere) if elsewhere else (repository() or home()) / "figures")
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{name}.{os.getpid()}.{suffix}"
    try:
        with mpl.rc_context(
            {key: _SETTINGS[key] for key in ("svg.fonttype", "svg.hashsalt", "pdf.fonttype")}
        ):
            figure.savefig(partial, format=suffix, metadata=_METADATA[suffix])
        partial.replace(folder / f"{name}.{suffix}")
    finally:
        partial.unlink(missing_ok=True)
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
    place, bars = ((mean, x), {"xerr": error}) if horizontal else ((x, mean), {"yerr": error})
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.6}
    look: dict[str, Any] = {"markersize": 5, "elinewidth": 1.4, "capsize": 0, "zorder": 3, **edge}
    axes.errorbar(*place, **bars, fmt=marker, color=colour, **look)


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
