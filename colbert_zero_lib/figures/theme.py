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
from colbert_zero_lib.keeping import replacing

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


def headline(figure: Figure, text: str) -> None:
    """Write the finding above the whole figure, from its left edge, on two lines where one is too short."""
    title = figure.suptitle(text, x=0.01, ha="left", fontsize=10, weight="bold")
    share = title.get_window_extent().width / (0.98 * figure.bbox.width)
    if share > 1:
        title.set_text(textwrap.fill(text, int(len(text) / share)))


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
    with (
        replacing(folder / f"{name}.{suffix}") as partial,
        mpl.rc_context({key: _SETTINGS[key] for key in ("svg.fonttype", "svg.hashsalt", "pdf.fonttype")}),
    ):
        figure.savefig(partial, format=suffix, metadata=_METADATA[suffix])
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
        axes.annotate(
            text,
            (x, height),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=SMALL + 0.5,
            annotation_clip=False,
        )


def with_interval(
    axes: Axes,
    x: float,
    y: tuple[float, float, float],
    colour: str,
    marker: str = "o",
    horizontal: bool = False,
) -> None:
    """A point (mean, low, high) with its interval as a line; ``x`` is the other coordinate."""
    mean, low, high = y
    error = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
    place = (mean, x) if horizontal else (x, mean)
    axes.errorbar(
        *place,
        xerr=error if horizontal else None,
        yerr=None if horizontal else error,
        fmt=marker,
        color=colour,
        markersize=5,
        elinewidth=1.4,
        capsize=0,
        markeredgecolor="white",
        markeredgewidth=0.6,
        zorder=3,
    )
