"""The paper's Figures 1 and 2, its cost figure and Table 1 as figures: how the models were trained, at what price.

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

from .marks import headline, in_row, name_rows, write, zero_line
from .theme import COLOURS, INTERACTION, MARKER, NAME, PIPELINE, SMALL, WIDTH, canvas

_SHADES = {"unsupervised": COLOURS["blue"], "supervised": COLOURS["green"], "kd": COLOURS["purple"]}
_SIGNAL = {
    "unsupervised": ("unsupervised", "query–document pairs", "in-batch negatives", "InfoNCE"),
    "supervised": ("supervised", "queries with positives", "mined hard negatives", "InfoNCE"),
    "kd": ("distillation", "queries with candidates", "a teacher's scores", "KL divergence"),
}


def _phase_name(phase: object) -> str:
    return "distillation (KD)" if phase == "kd" else str(phase)


def _box(
    axes: Axes, corner: tuple[float, float], size: tuple[float, float], colour: str, alpha: float = 1.0
) -> None:
    look: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=0.08", "edgecolor": "none", "alpha": alpha}
    axes.add_patch(FancyBboxPatch(corner, *size, facecolor=colour, **look))


def _arrow_to(axes: Axes, left: float, height: float, length: float) -> None:
    """From the box on the left to the one that begins at ``left``."""
    style = {"arrowstyle": "-|>", "color": COLOURS["grey"], "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=(left - 0.02, height), xytext=(left - length, height), arrowprops=style)


def phases_diagram(table1: pd.DataFrame, rows: Mapping[str, int] | None = None) -> Figure:
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
        title = f"{place + 1}. {_phase_name(row.phase)}"
        axes.text(left + 0.15, 2.95, title, weight="bold", fontsize=10, va="center")
        lines = (
            text,
            *([f"rows: {rows[phase]:,}"] if rows else []),
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


def hyperparameters_figure(table1: pd.DataFrame, released: Mapping[str, float] | None = None) -> Figure:
    """Table 1 as four panels: learning rates swept, batch size, tokens and GH200 hours of each phase.

    ``table1`` is `paper_table(1)`; ``released`` are the learning rates that the authors' scripts default to, by phase.
    """
    widths = {"width_ratios": (1.7, 1, 1.15, 1)}
    figure, panels = canvas(WIDTH, 2.5, columns=4, sharey=True, gridspec_kw=widths)
    rates, batch, tokens, hours = panels
    ticks: dict[str, Any] = {"markersize": 9, "linewidth": 1, "markeredgewidth": 1.4}
    for place, row in enumerate(table1.itertuples()):
        phase = str(row.phase)
        colour = _SHADES[phase]
        swept = np.geomspace(row.lr_sweep_low, row.lr_sweep_high, row.lr_values_tried)
        rates.plot(swept, [place] * len(swept), "|-", color=colour, **ticks)
        if released and phase in released:
            rate = released[phase]
            rates.plot(rate, place, "D", color=COLOURS["ink"], markersize=4.5, zorder=4)
            shown = f"{rate:.0e}".replace("e-0", "e-")
            write(rates, shown, (rate, place), (0, 6), ha="center", va="bottom")
        batch.plot(row.batch_size, place, "o", color=colour)  # no bar: a logarithmic axis has no zero
        write(batch, f"{row.batch_size:,}", (row.batch_size, place), (6, 0))
        _bar(tokens, place - 0.2, row.query_length_tokens, colour, 0.36)
        _bar(tokens, place + 0.2, row.document_length_tokens, colour, 0.36, "////")
        _bar(hours, place, row.gpu_hours_gh200, colour)
    names = [_phase_name(phase) for phase in table1["phase"]]
    rates.set_yticks(range(len(table1)), names)
    rates.set_ylim(len(table1) - 0.4, -0.6)
    rates.set_xscale("log")
    batch.set_xscale("log")
    tokens.set_xlim(0, 1.35 * table1["document_length_tokens"].max())
    hours.set_xlim(0, 1.35 * table1["gpu_hours_gh200"].max())
    batch.set_xlim(10, 30 * table1["batch_size"].max())
    rates.set_xlabel("learning rates swept" + ("\n(◆: the released scripts)" if released else ""))
    batch.set_xlabel("batch, queries")
    tokens.set_xlabel("tokens of a query\n(hatched: a document)")
    hours.set_xlabel("GH200 hours\nas ColBERT")
    for axes in panels:
        axes.grid(axis="y", visible=False)
        axes.xaxis.label.set_size(SMALL)
    spent = table1["gpu_hours_gh200"]
    share, longest = spent.max() / spent.sum(), names[int(spent.argmax())]
    return headline(figure, f"The {longest} phase takes {share:.0%} of the ColBERT hours")


def _bar(axes: Axes, place: float, value: float, colour: str, height: float = 0.6, hatch: str = "") -> None:
    face = "white" if hatch else colour
    axes.barh(place, value, height, facecolor=face, edgecolor=colour, hatch=hatch, linewidth=0.8)
    write(axes, f"{value:,}", (value, place), (3, 0))


def cost_figure(costs: pd.DataFrame, figure2: pd.DataFrame) -> Figure:
    """Score against ColBERT hours, and what each finished pipeline lacks to (c), with its paired interval.

    ``costs`` is `checkpoint_costs(...)`; ``figure2`` is `paper_table("figure2")`, from which the finished pipelines'
    hours and scores are taken as printed. Hollow: checkpoints on the way; lines: models whose hours are not known,
    or that are dense.
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
    ratio, price = score["b"] / score["c"], hours["b"] / hours["c"]
    return headline(figure, f"(b) reaches {ratio:.1%} of (c)'s score for {price:.0%} of its ColBERT hours")


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
