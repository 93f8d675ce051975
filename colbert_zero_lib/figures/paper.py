"""The paper's Figures 1 and 2 and its cost figure: how the models were trained, at what price.

Scores are nDCG@10 in points (0 to 100); what the models reach is drawn in `scores`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter

from colbert_zero_lib.recipes import PIPELINES, Recipe
from colbert_zero_lib.verdicts.verdict import leaves_out_zero

from .marks import headline, in_row, name_rows, write, zero_line
from .theme import COLOURS, INTERACTION, MARKER, NAME, PIPELINE, SMALL, WIDTH, canvas

_SHADES = {"unsupervised": COLOURS["blue"], "supervised": COLOURS["green"], "kd": COLOURS["purple"]}
_SIGNAL = {
    "unsupervised": ("unsupervised", "query–document pairs", "in-batch negatives", "InfoNCE"),
    "supervised": ("supervised", "queries with positives", "mined hard negatives", "InfoNCE"),
    "kd": ("distillation", "queries with candidates", "a teacher's scores", "KL divergence"),
}


def _box(
    axes: Axes, corner: tuple[float, float], size: tuple[float, float], colour: str, alpha: float = 1.0
) -> None:
    look: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=0.08", "edgecolor": "none", "alpha": alpha}
    axes.add_patch(FancyBboxPatch(corner, *size, facecolor=colour, **look))


def _arrow_to(axes: Axes, left: float, height: float, length: float) -> None:
    """From the box on the left to the one that begins at ``left``."""
    style = {"arrowstyle": "-|>", "color": COLOURS["grey"], "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=(left - 0.02, height), xytext=(left - length, height), arrowprops=style)


def phases_diagram(table1: pd.DataFrame, rows: Mapping[str, int]) -> Figure:
    """The paper's Figure 1: three phases, what each learns from and what it cost.

    ``table1`` is `paper_table(1)`; ``rows``, from `training_rows()`, are each phase's training rows.
    """
    figure, axes = canvas(WIDTH, 2.7)
    axes.set(xlim=(0, 9.6), ylim=(0, 3.4))
    axes.axis("off")
    for place, row in enumerate(table1.itertuples()):
        left = place * 3.3
        _box(axes, (left, 0), (3.0, 3.3), _SHADES[str(row.phase)], alpha=0.14)
        phase, text, signal, loss = _SIGNAL[str(row.phase)]
        name = f"{phase} (KD)" if row.phase == "kd" else phase
        axes.text(left + 0.15, 2.95, f"{place + 1}. {name}", weight="bold", fontsize=10, va="center")
        lines = (
            text,
            f"rows: {rows[phase]:,}",
            signal,
            f"loss: {loss}",
            f"batch: {row.batch_size:,} queries",
            f"tokens: {row.query_length_tokens} query, {row.document_length_tokens} document",
            f"cost as ColBERT: {row.gpu_hours_gh200} GH200 hours",
        )
        for number, line in enumerate(lines):
            axes.text(left + 0.15, 2.55 - 0.38 * number, line, fontsize=SMALL, va="center")
        if place:
            _arrow_to(axes, left, 1.65, 0.28)
    axes.set_title("Each phase has less data and a finer signal than the one before")
    return figure


def pipelines_diagram(figure2: pd.DataFrame) -> Figure:
    """The paper's Figure 2: which phase runs as what, cost and score; ``figure2`` is `paper_table("figure2")`."""
    figure, axes = canvas(WIDTH, 2.6)
    axes.set(xlim=(-0.1, 11.2), ylim=(-0.05, 3.75))
    axes.axis("off")
    centred = {"ha": "center", "va": "center"}
    for place, head in enumerate(("unsupervised", "supervised", "distillation")):
        axes.text(2.65 + 2.05 * place + 0.85, 3.35, head, color=COLOURS["grey"], **centred)
    for at, head in ((9.15, "ColBERT\nGPU hours"), (10.55, "BEIR\nnDCG@10")):
        axes.text(at, 3.35, head, color=COLOURS["grey"], fontsize=SMALL, **centred)
    for place, row in enumerate(figure2.itertuples()):
        bottom = 2.2 - 1.05 * place
        middle = bottom + 0.4
        letter, _, name = str(row.pipeline).partition(" ")
        look = {"weight": "bold", "va": "center", "color": PIPELINE[letter], "fontsize": 10}
        axes.text(0, middle, f"({letter})", **look)
        axes.text(0.5, middle, name.replace(" + ", "\n+ "), va="center")
        for column, kind in enumerate((row.unsupervised, row.supervised, row.kd)):
            left = 2.65 + 2.05 * column
            _box(axes, (left, bottom), (1.7, 0.8), INTERACTION[str(kind)])
            axes.text(left + 0.85, middle, NAME[str(kind)], color="white", weight="bold", **centred)
            if column:
                _arrow_to(axes, left, middle, 0.33)
        axes.text(9.15, middle, f"{row.colbert_gpu_hours_gh200}", **centred)
        axes.text(10.55, middle, f"{row.beir_average_ndcg10:.2f}", weight="bold", **centred)
    score = figure2.beir_average_ndcg10.to_numpy()
    cost = figure2.colbert_gpu_hours_gh200.to_numpy()
    gain, price = (score[1] - score[0]) / (score[2] - score[0]), cost[1] / cost[2]
    axes.set_title(f"(b) has {gain:.0%} of what (c) gains over (a), for {price:.0%} of its ColBERT hours")
    return figure


def cost_figure(costs: pd.DataFrame, figure2: pd.DataFrame) -> Figure:
    """Score against ColBERT hours, and what each finished pipeline lacks to (c), with its paired interval.

    ``costs`` has for each model of Table 2 its mean, its gap to (c) and its ColBERT hours; ``figure2`` is
    `paper_table("figure2")`, from which the finished pipelines' hours and scores are taken as printed. Hollow:
    checkpoints on the way; lines: models whose hours are not known, or that are dense.
    """
    figure, (axes, lacks) = canvas(WIDTH, 3.4, columns=2, gridspec_kw={"width_ratios": (1.9, 1)})
    done = figure2.assign(letter=figure2["pipeline"].str[0]).set_index("letter")
    hours, score = done["colbert_gpu_hours_gh200"], done["beir_average_ndcg10"]
    known = costs.set_index("model")
    for place, letter in enumerate(done.index):
        colour, marker = PIPELINE[str(letter)], MARKER[str(letter)]
        spent = (hours[letter], score[letter])
        axes.plot(*spent, marker, color=colour, markersize=8, zorder=4)
        write(axes, f"({letter}) {spent[1]:.2f}", spent, (8, 0), color=colour, weight="bold", ha="left")
        in_row(lacks, place, known.loc[done.at[letter, "model"]], colour, marker)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlim(0.7 * hours.min(), 4 * hours.max())
    _checkpoints(axes, known.drop(index=list(done["model"])))
    axes.set(xlabel="ColBERT training, GH200 hours (log scale)", ylabel="nDCG@10, mean of 15 data sets")
    axes.yaxis.grid(False)
    zero_line(lacks)
    label = "points above (c), 95% interval\nover data sets (paired)"
    name_rows(lacks, [f"({letter}) {spent} h" for letter, spent in hours.items()], label)
    lag, price = known.loc[done.at["b", "model"]], hours["b"] / hours["c"]
    side = f"{abs(lag['value']):.2f} points {'below' if lag['value'] < 0 else 'above'}"
    said = "leaves out" if leaves_out_zero(lag["low"], lag["high"]) else "holds"
    return headline(
        figure, f"For {price:.0%} of (c)'s ColBERT hours (b) is {side} it; the interval {said} zero"
    )


def _checkpoints(axes: Axes, others: pd.DataFrame) -> None:
    """Checkpoints on the way of a pipeline as hollow marks, all other models as lines."""
    lowest = others.loc[others["hours"] > 0, "mean"].min()
    middle = np.sqrt(np.prod(axes.get_xlim()))
    for name, row in others.iterrows():
        place = (row["hours"], row["mean"])
        if row["hours"] > 0:
            steps = Recipe.parse(row["recipe"])
            letter = next(key for key, whole in PIPELINES.items() if steps in whole.stages())
            hollow: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": PIPELINE[letter]}
            axes.plot(*place, MARKER[letter], markersize=5, **hollow)
            text = f"({letter}) after {steps.steps[-1].phase.value}"
            side: dict[str, Any] = {"ha": "right" if row["hours"] > middle else "left"}
            write(axes, text, place, (-7 if row["hours"] > middle else 8, 0), color=COLOURS["grey"], **side)
        elif row["mean"] > lowest:  # the dense model below all of these would only squeeze the scale
            axes.axhline(row["mean"], color=COLOURS["light"], linestyle=(0, (4, 2)), linewidth=1, zorder=1)
            grey: dict[str, Any] = {"color": COLOURS["grey"], "va": "baseline"}
            place, across = (0.01, row["mean"]), ("axes fraction", "data")
            write(axes, f"{name} {row['mean']:.2f}", place, (0, 2), xycoords=across, **grey)
