"""Figures of trained pipelines: learning paths, collections, costs, losses, deltas.

Scores are nDCG@10 in points (0 to 100) unless a docstring says otherwise; the paper's own figures are in `paper`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from colbert_zero_lib.evaluation.statistics import Interval

from .theme import (
    BASELINE,
    COLOURS,
    MARKER,
    PIPELINE,
    SMALL,
    WIDTH,
    canvas,
    headline,
    label_ends,
    spread,
    with_interval,
)

PHASES = ("unsupervised", "supervised", "distillation")


def learning_paths(steps: pd.DataFrame, references: Mapping[str, Interval] | None = None) -> Figure:
    """Mean nDCG@10 after each step of each pipeline, with intervals.

    ``steps`` has the columns pipeline (a, b, c), phase, interaction, mean, low, high, one row a step; ``references``
    are baselines by name, drawn as lines with their interval as a band.
    """
    figure, axes = canvas(WIDTH, 3.6)
    labels: dict[str, tuple[float, str]] = {}
    for name, value in (references or {}).items():
        colour = BASELINE.get(name, COLOURS["grey"])
        axes.axhspan(value.low, value.high, color=colour, alpha=0.08, linewidth=0)
        axes.axhline(value.mean, color=colour, linestyle=(0, (4, 3)), linewidth=1.1)
        labels[f"{name} {value.mean:.1f}"] = (value.mean, colour)
    ends = {}
    for shift, (letter, path) in zip((-0.07, 0.0, 0.07), steps.groupby("pipeline", sort=True), strict=False):
        colour = PIPELINE[str(letter)]
        places = [PHASES.index(phase) + shift for phase in path["phase"]]
        axes.plot(places, path["mean"], color=colour, linewidth=1.6, zorder=2)
        for x, row in zip(places, path.itertuples(), strict=True):
            with_interval(axes, x, (row.mean, row.low, row.high), colour, MARKER[str(letter)])
            if row.interaction == "dense":
                hollow = {"markerfacecolor": "white", "markeredgecolor": colour, "markersize": 5, "zorder": 4}
                axes.plot(x, row.mean, MARKER[str(letter)], **hollow)
        last = float(path["mean"].iloc[-1])
        ends[str(letter)] = last
        labels[f"({letter}) {last:.1f}"] = (last, colour)
    axes.set_xticks(range(len(PHASES)), [f"after {phase}" for phase in PHASES])
    axes.set(xlim=(-0.25, 2.25), ylabel="nDCG@10, mean of collections (points)")
    axes.grid(axis="x", visible=False)
    low, high = axes.get_ylim()
    label_ends(axes, 2.25, labels, gap=(high - low) / 18)
    ranked = sorted(ends, key=lambda letter: -ends[letter])
    headline(figure, "At the end: " + " > ".join(f"({letter}) {ends[letter]:.1f}" for letter in ranked))
    note = {"transform": axes.transAxes, "ha": "right", "fontsize": SMALL, "color": COLOURS["grey"]}
    axes.text(0.99, 0.03, "hollow: dense, filled: ColBERT", **note)
    return figure


def collection_scores(scores: pd.DataFrame, title: str) -> Figure:
    """nDCG@10 of several systems on each collection: columns collection, system, mean, low, high (points).

    Systems are drawn in order of appearance; ``a``, ``b``, ``c`` and the baselines have their own colours.
    """
    collections = list(dict.fromkeys(scores["collection"]))
    systems = list(dict.fromkeys(scores["system"]))
    figure, axes = canvas(WIDTH, 0.7 + 0.46 * len(collections))
    step = 0.72 / max(1, len(systems))
    for number, system in enumerate(systems):
        colour = PIPELINE.get(system) or BASELINE.get(system, COLOURS["green"])
        own = scores[scores["system"] == system].set_index("collection")
        for place, collection in enumerate(collections):
            if collection in own.index:
                mean, low, high = own.loc[collection, ["mean", "low", "high"]]
                y = place + (number - (len(systems) - 1) / 2) * step
                with_interval(axes, y, (mean, low, high), colour, MARKER.get(system, "v"), horizontal=True)
        shown = f"({system})" if system in PIPELINE else system
        axes.plot([], [], MARKER.get(system, "v"), color=colour, label=shown)
    for line in range(1, len(collections)):
        axes.axhline(line - 0.5, color="#eeeeee", linewidth=0.8)
    axes.set_yticks(range(len(collections)), collections)
    axes.set(ylim=(len(collections) - 0.5, -0.5), xlabel="nDCG@10 (points), 95% interval over queries")
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower center", ncols=len(systems), frameon=False, handletextpad=0.2)
    headline(figure, title)
    return figure


def cost_and_quality(figure2: pd.DataFrame, ours: pd.DataFrame) -> Figure:
    """Cost against score, the paper's beside ours.

    ``figure2`` is `paper_table("figure2")`; ``ours`` has the columns pipeline, minutes (of ColBERT training), mean,
    low, high.
    """
    figure, (paper, here) = canvas(WIDTH, 2.9, columns=2)
    for row in figure2.itertuples():
        letter = str(row.pipeline)[0]
        place = (row.colbert_gpu_hours_gh200, row.beir_average_ndcg10)
        paper.plot(*place, MARKER[letter], color=PIPELINE[letter], markersize=7)
        _name(paper, place, f"({letter}) {place[1]:.2f}", PIPELINE[letter])
    paper.set_xscale("log")
    paper.set(xlabel="ColBERT training, GH200 hours (log scale)", ylabel="nDCG@10 (points)")
    paper.set_title("The paper, BEIR (no interval printed)")
    for row in ours.itertuples():
        letter = str(row.pipeline)
        with_interval(here, row.minutes, (row.mean, row.low, row.high), PIPELINE[letter], MARKER[letter])
        beside = ours[(ours["minutes"] - row.minutes).abs() < 0.2 * ours["minutes"].max()]
        lower = row.mean < beside["mean"].max()
        _name(
            here, (row.minutes, row.mean), f"({letter}) {row.mean:.1f}", PIPELINE[letter], -12 if lower else 4
        )
    here.set(xlabel="ColBERT training here, minutes", ylabel="nDCG@10 (points)")
    here.set_title("Here, offline collections")
    for axes in (paper, here):
        axes.margins(0.18)
    here.set_xlim(0, 1.3 * ours["minutes"].max())
    return figure


def _name(axes: Axes, place: tuple[float, float], text: str, colour: str, height: float = 4) -> None:
    axes.annotate(
        text, place, xytext=(8, height), textcoords="offset points", color=colour, fontsize=SMALL + 0.5
    )


def loss_curves(curves: Mapping[tuple[str, str], Sequence[tuple[float, float]]]) -> Figure:
    """Training loss of every step: ``curves`` maps (pipelines, phase) to (step, loss) points.

    Pipelines that share a step share its curve, under ("a, b", "unsupervised"), say. The thin line is the loss as
    logged, the thick one its running mean over nine points.
    """
    figure, panels = canvas(WIDTH, 2.7, columns=len(PHASES))
    for phase, axes in zip(PHASES, panels, strict=True):
        own = {name: points for (name, of), points in curves.items() if of == phase}
        ends = {}
        for name, points in own.items():
            colour = PIPELINE[name[0]]
            losses = pd.Series([loss for _, loss in points], index=[step for step, _ in points], dtype=float)
            smooth = losses.rolling(9, center=True, min_periods=1).mean()
            axes.plot(losses.index, losses, color=colour, alpha=0.3, linewidth=0.7)
            axes.plot(smooth.index, smooth, color=colour, linewidth=1.6)
            ends[name] = (float(smooth.iloc[-1]), colour)
        low, high = axes.get_ylim()
        axes.set(title=phase, xlabel="optimiser step")
        right = axes.get_xlim()[1]
        heights = spread([y for y, _ in ends.values()], (high - low) / 12)
        for (name, (_, colour)), height in zip(ends.items(), heights, strict=True):
            axes.text(right, height, f"({name})", color=colour, va="center", fontsize=SMALL, clip_on=False)
    panels[0].set_ylabel("loss")
    return figure


def deltas(table: pd.DataFrame, title: str) -> Figure:
    """Differences with their intervals: columns claim, delta, low, high and, where known, paper and recorded (points).

    A row whose interval leaves out zero is drawn in colour; the paper's delta is a cross, the recorded one a ring.
    """
    figure, axes = canvas(WIDTH, 0.9 + 0.36 * len(table))
    for place, row in enumerate(table.itertuples()):
        clear = row.low > 0 or row.high < 0
        colour = COLOURS["blue"] if clear else COLOURS["grey"]
        with_interval(axes, place, (row.delta, row.low, row.high), colour, "o", horizontal=True)
        for column, marker in (("paper", "x"), ("recorded", "o")):
            value = getattr(row, column, None)
            if value is not None and pd.notna(value):
                look = {
                    "color": COLOURS["vermilion"],
                    "markersize": 6,
                    "markerfacecolor": "none",
                    "zorder": 4,
                }
                axes.plot(value, place, marker, **look)
    axes.axvline(0, color=COLOURS["ink"], linewidth=0.9)
    axes.set_yticks(range(len(table)), list(table["claim"]))
    axes.set(ylim=(len(table) - 0.5, -0.5), xlabel="difference in nDCG@10 (points), 95% interval")
    axes.grid(axis="y", visible=False)
    axes.plot([], [], "o", color=COLOURS["blue"], label="here, clear")
    axes.plot([], [], "o", color=COLOURS["grey"], label="here, holds zero")
    for column, marker, name in (("paper", "x", "paper (BEIR)"), ("recorded", "o", "recorded")):
        if column in table and table[column].notna().any():
            axes.plot([], [], marker, color=COLOURS["vermilion"], markerfacecolor="none", label=name)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, handletextpad=0.2)
    headline(figure, title)
    return figure
