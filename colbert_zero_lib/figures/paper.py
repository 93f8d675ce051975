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

from .marks import headline, with_interval
from .theme import COLOURS, INTERACTION, MARKER, PIPELINE, SMALL, WIDTH, canvas

_SHADES = {"unsupervised": COLOURS["blue"], "supervised": COLOURS["green"], "kd": COLOURS["purple"]}
_NAMES = {"dense": "dense", "colbert": "ColBERT"}
_SIGNAL = {
    "unsupervised": ("query–document pairs", "in-batch negatives", "InfoNCE"),
    "supervised": ("queries with positives", "mined hard negatives", "InfoNCE"),
    "kd": ("queries with candidates", "a teacher's scores", "KL divergence"),
}


def _box(
    axes: Axes, x: float, y: float, width: float, height: float, colour: str, alpha: float = 1.0
) -> None:
    style = "round,pad=0,rounding_size=0.08"
    axes.add_patch(
        FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=colour, edgecolor="none", alpha=alpha)
    )


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": COLOURS["grey"], "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)


def phases_diagram(table1: pd.DataFrame, rows: Mapping[str, int] | None = None) -> Figure:
    """The paper's Figure 1: three phases, what each learns from and what it cost.

    ``table1`` is `paper_table(1)`; ``rows``, from `training_rows()`, are each phase's training rows.
    """
    figure, axes = canvas(WIDTH, 2.7)
    axes.set(xlim=(0, 9.6), ylim=(0, 3.4))
    axes.axis("off")
    for place, row in enumerate(table1.itertuples()):
        left = place * 3.3
        _box(axes, left, 0, 3.0, 3.3, _SHADES[str(row.phase)], alpha=0.14)
        text, signal, loss = _SIGNAL[str(row.phase)]
        name = "distillation (KD)" if row.phase == "kd" else str(row.phase)
        axes.text(left + 0.15, 2.95, f"{place + 1}. {name}", weight="bold", fontsize=10, va="center")
        phase = "distillation" if row.phase == "kd" else str(row.phase)
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
            _arrow(axes, (left - 0.28, 1.65), (left - 0.02, 1.65))
    axes.set_title("Each phase has less data and a finer signal than the one before")
    return figure


def pipelines_diagram(figure2: pd.DataFrame) -> Figure:
    """The paper's Figure 2: which phase runs as what, cost and score; ``figure2`` is `paper_table("figure2")`."""
    figure, axes = canvas(WIDTH, 2.6)
    axes.set(xlim=(-0.1, 11.2), ylim=(-0.05, 3.75))
    axes.axis("off")
    heads = ("unsupervised", "supervised", "distillation")
    for place, head in enumerate(heads):
        axes.text(2.65 + 2.05 * place + 0.85, 3.35, head, ha="center", va="center", color=COLOURS["grey"])
    axes.text(
        9.15, 3.35, "ColBERT\nGPU hours", ha="center", va="center", color=COLOURS["grey"], fontsize=SMALL
    )
    axes.text(10.55, 3.35, "BEIR\nnDCG@10", ha="center", va="center", color=COLOURS["grey"], fontsize=SMALL)
    for place, row in enumerate(figure2.itertuples()):
        bottom = 2.2 - 1.05 * place
        letter, _, name = str(row.pipeline).partition(" ")
        axes.text(
            0, bottom + 0.4, f"({letter})", weight="bold", va="center", color=PIPELINE[letter], fontsize=10
        )
        axes.text(0.5, bottom + 0.4, name.replace(" + ", "\n+ "), va="center")
        for column, kind in enumerate((row.unsupervised, row.supervised, row.kd)):
            left = 2.65 + 2.05 * column
            _box(axes, left, bottom, 1.7, 0.8, INTERACTION[str(kind)])
            shown = _NAMES[str(kind)]
            axes.text(
                left + 0.85, bottom + 0.4, shown, ha="center", va="center", color="white", weight="bold"
            )
            if column:
                _arrow(axes, (left - 0.33, bottom + 0.4), (left - 0.02, bottom + 0.4))
        hours, score = f"{row.colbert_gpu_hours_gh200}", f"{row.beir_average_ndcg10:.2f}"
        axes.text(9.15, bottom + 0.4, hours, ha="center", va="center")
        axes.text(10.55, bottom + 0.4, score, ha="center", va="center", weight="bold")
    score = figure2.beir_average_ndcg10.to_numpy()
    cost = figure2.colbert_gpu_hours_gh200.to_numpy()
    gain, price = (score[1] - score[0]) / (score[2] - score[0]), cost[1] / cost[2]
    axes.set_title(f"(b) has {gain:.0%} of what (c) gains over (a), for {price:.0%} of its ColBERT hours")
    return figure


def hyperparameters_figure(table1: pd.DataFrame, released: Mapping[str, float] | None = None) -> Figure:
    """Table 1 as four panels: learning rates swept, batch size, tokens and GH200 hours of each phase.

    ``table1`` is `paper_table(1)`; ``released`` are the learning rates that the authors' scripts default to, by phase.
    """
    figure, (rates, batch, tokens, hours) = canvas(
        WIDTH, 2.5, columns=4, sharey=True, gridspec_kw={"width_ratios": (1.7, 1, 1.15, 1)}
    )
    for place, row in enumerate(table1.itertuples()):
        phase = str(row.phase)
        colour = _SHADES[phase]
        swept = np.geomspace(row.lr_sweep_low, row.lr_sweep_high, row.lr_values_tried)
        rates.plot(
            swept, [place] * len(swept), "|-", color=colour, markersize=9, linewidth=1, markeredgewidth=1.4
        )
        if released and phase in released:
            rates.plot(released[phase], place, "D", color=COLOURS["ink"], markersize=4.5, zorder=4)
            _above(rates, (released[phase], place), f"{released[phase]:.0e}".replace("e-0", "e-"))
        batch.plot(row.batch_size, place, "o", color=colour)  # no bar: a logarithmic axis has no zero
        _value(batch, (row.batch_size, place), f"{row.batch_size:,}", 6)
        for shift, count, hatch in (
            (-0.2, row.query_length_tokens, ""),
            (0.2, row.document_length_tokens, "////"),
        ):
            _bar(tokens, place + shift, count, f"{count:,}", colour, 0.36, hatch)
        _bar(hours, place, row.gpu_hours_gh200, f"{row.gpu_hours_gh200:,}", colour)
    names = ["distillation (KD)" if phase == "kd" else phase for phase in table1["phase"]]
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
    for axes in (rates, batch, tokens, hours):
        axes.grid(axis="y", visible=False)
        axes.xaxis.label.set_size(SMALL)
    share = table1["gpu_hours_gh200"].max() / table1["gpu_hours_gh200"].sum()
    longest = names[int(table1["gpu_hours_gh200"].argmax())]
    return headline(figure, f"The {longest} phase takes {share:.0%} of the ColBERT hours")


def _bar(
    axes: Axes, place: float, value: float, text: str, colour: str, height: float = 0.6, hatch: str = ""
) -> None:
    look: dict[str, Any] = {
        "facecolor": "white" if hatch else colour,
        "edgecolor": colour,
        "hatch": hatch,
        "linewidth": 0.8,
    }
    axes.barh(place, value, height=height, **look)
    _value(axes, (value, place), text, 3)


def _value(axes: Axes, place: tuple[float, float], text: str, distance: float) -> None:
    axes.annotate(text, place, (distance, 0), textcoords="offset points", va="center", fontsize=SMALL)


def _above(axes: Axes, place: tuple[float, float], text: str) -> None:
    axes.annotate(text, place, (0, 6), textcoords="offset points", ha="center", va="bottom", fontsize=SMALL)


def cost_figure(costs: pd.DataFrame, figure2: pd.DataFrame) -> Figure:
    """Score against ColBERT hours, and what each finished pipeline lacks to (c), with its paired interval.

    ``costs`` is `checkpoint_costs(...)`; ``figure2`` is `paper_table("figure2")`, from which the finished pipelines'
    hours and scores are taken as printed. Hollow: checkpoints on the way; lines: models whose hours are not known,
    or that are dense.
    """
    figure, (axes, lacks) = canvas(WIDTH, 3.4, columns=2, gridspec_kw={"width_ratios": (1.9, 1)})
    done = figure2.assign(letter=figure2["pipeline"].str[0]).set_index("letter")
    known = costs.set_index("model")
    for letter, row in done.iterrows():
        colour, marker = PIPELINE[str(letter)], MARKER[str(letter)]
        spent = (row["colbert_gpu_hours_gh200"], row["beir_average_ndcg10"])
        axes.plot(*spent, marker, color=colour, markersize=8, zorder=4)
        _beside(axes, spent, f"({letter}) {spent[1]:.2f}", colour, weight="bold")
        gap = known.loc[row["model"]]
        place = len(lacks.containers)
        with_interval(lacks, place, (gap["value"], gap["low"], gap["high"]), colour, marker, horizontal=True)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    hours = done["colbert_gpu_hours_gh200"]
    axes.set_xlim(0.7 * hours.min(), 4 * hours.max())
    _checkpoints(axes, known.drop(index=list(done["model"])))
    axes.set(xlabel="ColBERT training, GH200 hours (log scale)", ylabel="nDCG@10, mean of 15 data sets")
    axes.yaxis.grid(False)
    lacks.axvline(0, color=COLOURS["ink"], linewidth=0.9)
    names = [f"({letter}) {spent} h" for letter, spent in hours.items()]
    lacks.set_yticks(range(len(done)), names)
    lacks.set(ylim=(len(done) - 0.5, -0.5), xlabel="points above (c), 95% interval\nover data sets (paired)")
    lacks.grid(axis="y", visible=False)
    ratio = done["beir_average_ndcg10"]["b"] / done["beir_average_ndcg10"]["c"]
    price = hours["b"] / hours["c"]
    return headline(figure, f"(b) reaches {ratio:.1%} of (c)'s score for {price:.0%} of its ColBERT hours")


def _checkpoints(axes: Axes, others: pd.DataFrame) -> None:
    """Checkpoints on the way of a pipeline as hollow marks, all other models as lines."""
    lowest = others.loc[others["hours"] > 0, "mean"].min()
    middle = np.sqrt(np.prod(axes.get_xlim()))
    for name, row in others.iterrows():
        if row["hours"] > 0:
            steps = Recipe.parse(row["recipe"])
            letter = next(key for key, whole in PIPELINES.items() if steps in whole.stages())
            colour = PIPELINE[letter]
            hollow: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": colour, "markersize": 5}
            axes.plot(row["hours"], row["mean"], MARKER[letter], **hollow)
            text = f"({letter}) after {steps.steps[-1].phase.value}"
            _beside(axes, (row["hours"], row["mean"]), text, COLOURS["grey"], left=row["hours"] > middle)
        elif row["mean"] > lowest:  # the dense model below all of these would only squeeze the scale
            axes.axhline(row["mean"], color=COLOURS["light"], linestyle=(0, (4, 2)), linewidth=1, zorder=1)
            grey: dict[str, Any] = {
                "fontsize": SMALL,
                "color": COLOURS["grey"],
                "xycoords": ("axes fraction", "data"),
            }
            axes.annotate(
                f"{name} {row['mean']:.2f}", (0.01, row["mean"]), (0, 2), textcoords="offset points", **grey
            )


def _beside(
    axes: Axes, place: tuple[float, float], text: str, colour: str, left: bool = False, weight: str = "normal"
) -> None:
    side: dict[str, Any] = {"ha": "right" if left else "left", "va": "center", "fontsize": SMALL}
    offset = (-7 if left else 8, 0)
    axes.annotate(text, place, offset, textcoords="offset points", color=colour, weight=weight, **side)
