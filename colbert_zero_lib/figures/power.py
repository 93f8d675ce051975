"""What it takes to see a difference: power against seeds, and false alarms against the number of questions.

Power is computed in `evaluation.power`, corrections in `verdicts.verdict`.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from .marks import count_axis, headline, label_ends, write
from .theme import COLOURS, DASHED, SMALL, WIDTH, canvas

_LINES = (COLOURS["blue"], COLOURS["green"], COLOURS["orange"], COLOURS["purple"])
_WANTED = 0.8


def power_figure(curves: pd.DataFrame, of: str) -> Figure:
    """How often so many seeds find a true difference: columns effect (points), seeds, power (0 to 1).

    ``of`` says whose spread between queries and seeds the curves have. Without a row, or where nothing is known of
    the spread, the figure says that it is not known.
    """
    known = curves.dropna(subset=["power"])
    figure, axes = canvas(WIDTH, 3.1)
    axes.axhline(100 * _WANTED, color=COLOURS["grey"], linestyle=DASHED, linewidth=1.0)
    axes.set(ylim=(0, 104), xlabel="seeds of each arm (log scale)", ylabel="found, in 100 cases")
    axes.set_xscale("log")
    if known.empty:
        axes.set_xlim(2, 100)
        look = {"ha": "center", "va": "center", "color": COLOURS["grey"], "transform": axes.transAxes}
        axes.text(0.5, 0.4, "no two arms with two seeds or more are recorded", **look)
        return headline(figure, f"How many seeds a difference needs is not known yet: {of}")
    ends, needed, last = {}, [], int(known["seeds"].max())
    for (effect, own), colour in zip(known.groupby("effect", sort=True), _LINES, strict=False):
        own = own.sort_values("seeds")
        axes.plot(own["seeds"], 100 * own["power"], color=colour, linewidth=1.8)
        name = f"{effect:g} point{'s' if effect != 1 else ''}"
        ends[name] = (100 * float(own["power"].iloc[-1]), colour)
        enough = own.loc[own["power"] >= _WANTED, "seeds"]
        needed.append(f"{enough.iloc[0]} show {name}" if len(enough) else f"{last:,} do not show {name}")
    axes.set_xlim(int(known["seeds"].min()), last)
    ticks = [tick for tick in (2, 3, 5, 10, 20, 50, 100, 200, 500, 1000) if tick <= last]
    count_axis(axes, ticks)
    axes.text(0.01, 100 * _WANTED + 1, "80 of 100", transform=axes.get_yaxis_transform(), fontsize=SMALL)
    label_ends(axes, last, ends, gap=7)
    axes.set_xlabel(f"seeds of each arm (log scale), their spread as in {of}")
    return headline(figure, f"Of seeds, {', '.join(needed)} (in {100 * _WANTED:.0f} of 100 cases)")


def alarms_figure(table: pd.DataFrame) -> Figure:
    """False alarms where nothing is there: columns questions, method, share (0 to 1, of all tables of questions)."""
    figure, axes = canvas(WIDTH, 2.8)
    ends = {}
    for (method, own), colour in zip(table.groupby("method", sort=False), _LINES[::-1], strict=False):
        own = own.sort_values("questions")
        axes.plot(own["questions"], 100 * own["share"], "o-", color=colour, markersize=4, linewidth=1.6)
        ends[str(method)] = (100 * float(own["share"].iloc[-1]), colour)
    last = table.loc[table["questions"].idxmax(), "questions"]
    axes.axhline(5, color=COLOURS["grey"], linestyle=DASHED, linewidth=1.0)
    axes.set(ylim=(0, None), xlabel="questions asked at once", ylabel="tables with a false alarm (%)")
    axes.set_xticks(sorted(set(table["questions"])))
    label_ends(axes, float(last), ends, gap=0.08 * axes.get_ylim()[1])
    write(axes, "5%", (0.0, 5.0), (3, 6), xycoords=("axes fraction", "data"), color=COLOURS["grey"])
    told = ", ".join(f"{value:.0f}% ({name})" for name, (value, _) in ends.items())
    return headline(figure, f"Where nothing is there, tables of {last} questions raise a false alarm: {told}")
