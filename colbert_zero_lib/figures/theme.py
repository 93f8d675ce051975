"""The suite's one look: seaborn theme, colours with fixed meanings, canvases, and `save`.

No figure is drawn here; every figure is a function of a neighbouring module.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import seaborn as sns
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


def canvas(
    width: float = WIDTH, height: float = 3.2, rows: int = 1, columns: int = 1, **options: Any
) -> tuple:
    """A figure in the suite's theme and its axes, as ``plt.subplots`` returns them; sizes in inches.

    The figure is taken off pyplot's list: a notebook shows it once, as the value of its cell.
    """
    sns.set_theme(style="whitegrid", palette="colorblind", rc=_SETTINGS)
    options.setdefault("layout", "constrained")
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), **options)
    plt.close(figure)  # which leaves it a canvas that cannot draw
    FigureCanvasAgg(figure)
    return figure, axes


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
    settings: Any = {key: _SETTINGS[key] for key in ("svg.fonttype", "svg.hashsalt", "pdf.fonttype")}
    with replacing(folder / f"{name}.{suffix}") as neighbour, mpl.rc_context(settings):
        figure.savefig(neighbour, format=suffix, metadata=_METADATA[suffix])
    return figure
