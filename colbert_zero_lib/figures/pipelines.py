"""Figures of trained pipelines: learning paths, scores by collection, costs, losses, deltas.

Scores are nDCG@10 in points (0 to 100) unless a docstring says otherwise; the paper's own figures are in `paper`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from colbert_zero_lib.evaluation.statistics import Interval
from colbert_zero_lib.verdicts.verdict import CLEAR, CLEARLY, leaves_out_zero

from .marks import headline, key, label_ends, legend, name_rows, spread, with_interval, write, zero_line
from .theme import BASELINE, COLOURS, DASHED, INTERACTION, MARKER, NAME, PIPELINE, SMALL, WIDTH, canvas

PHASES = ("unsupervised", "supervised", "distillation")
Points = Sequence[tuple[float, float]]


def learning_paths(steps: pd.DataFrame, title: str, references: Mapping[str, Interval]) -> Figure:
    """Mean nDCG@10 after each step of each pipeline, with intervals.

    ``steps`` is a `path_table`; ``references`` are baselines by name, drawn as lines with their interval as a band.
    """
    figure, axes = canvas(WIDTH, 3.6)
    labels: dict[str, tuple[float, str]] = {}
    for name, value in references.items():
        colour = BASELINE.get(name, COLOURS["grey"])
        axes.axhspan(value.low, value.high, color=colour, alpha=0.08, linewidth=0)
        axes.axhline(value.mean, color=colour, linestyle=DASHED, linewidth=1.1)
        labels[f"{name} {value.mean:.1f}"] = (value.mean, colour)
    for shift, (letter, path) in zip((-0.07, 0.0, 0.07), steps.groupby("pipeline", sort=True), strict=False):
        colour, marker = PIPELINE[str(letter)], MARKER[str(letter)]
        places = [PHASES.index(phase) + shift for phase in path["phase"]]
        axes.plot(places, path["mean"], color=colour, linewidth=1.6, zorder=2)
        for x, row in zip(places, path.itertuples(), strict=True):
            with_interval(axes, x, (row.mean, row.low, row.high), colour, marker)
            if row.interaction == "dense":
                hollow = {"markerfacecolor": "white", "markeredgecolor": colour, "markersize": 5, "zorder": 4}
                axes.plot(x, row.mean, marker, **hollow)
        last = float(path["mean"].iloc[-1])
        labels[f"({letter}) {last:.1f}"] = (last, colour)
    axes.set_xticks(range(len(PHASES)), [f"after {phase}" for phase in PHASES])
    axes.set(xlim=(-0.25, 2.25), ylabel="nDCG@10, mean of collections (points)")
    axes.grid(axis="x", visible=False)
    low, high = axes.get_ylim()
    label_ends(axes, 2.25, labels, gap=(high - low) / 18)
    note = {"transform": axes.transAxes, "ha": "right", "fontsize": SMALL, "color": COLOURS["grey"]}
    axes.text(0.99, 0.03, "hollow: dense, filled: ColBERT", **note)
    return headline(figure, title)


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
        _name(paper, place, f"({letter}) {place[1]:.2f}", letter)
    paper.set_xscale("log")
    paper.set(xlabel="ColBERT training, GH200 hours (log scale)", ylabel="nDCG@10 (points)")
    paper.set_title("The paper, BEIR (no interval printed)")
    for row in ours.itertuples():
        letter = str(row.pipeline)
        with_interval(here, row.minutes, (row.mean, row.low, row.high), PIPELINE[letter], MARKER[letter])
        beside = ours[(ours["minutes"] - row.minutes).abs() < 0.2 * ours["minutes"].max()]
        height = -12 if row.mean < beside["mean"].max() else 4
        _name(here, (row.minutes, row.mean), f"({letter}) {row.mean:.1f}", letter, height)
    here.set(xlabel="ColBERT training here, minutes", ylabel="nDCG@10 (points)")
    here.set_title("Here, offline collections")
    for axes in (paper, here):
        axes.margins(0.18)
    here.set_xlim(0, 1.3 * ours["minutes"].max())
    return figure


def _name(axes: Axes, place: tuple[float, float], text: str, letter: str, height: float = 4) -> None:
    look: dict[str, Any] = {"color": PIPELINE[letter], "fontsize": SMALL + 0.5, "va": "baseline"}
    write(axes, text, place, (8, height), **look)


def loss_curves(curves: Mapping[tuple[str, str], Points]) -> Figure:
    """Training loss of every step: ``curves`` maps (pipelines, phase) to (step, loss) points.

    Pipelines that share a step share its curve, under ("a, b", "unsupervised"), say. The thin line is the loss as
    logged, the thick one its running mean over nine points.
    """
    figure, panels = canvas(WIDTH, 2.9, columns=len(PHASES))
    falls: dict[str, list[bool]] = {}
    for phase, axes in zip(PHASES, panels, strict=True):
        own = {name: points for (name, of), points in curves.items() if of == phase}
        ends = {name: _loss(axes, points, PIPELINE[name[0]], 1.6) for name, points in own.items()}
        low, high = axes.get_ylim()
        axes.set(title=phase, xlabel="optimiser step")
        right = axes.get_xlim()[1]
        heights = spread([loss for _, loss in ends.values()], (high - low) / 12)
        for name, height in zip(ends, heights, strict=True):
            look = {"color": PIPELINE[name[0]], "va": "center", "fontsize": SMALL, "clip_on": False}
            axes.text(right, height, f"({name})", **look)
        falls[phase] = [
            last < 0.9 * points[0][1] for (_, last), points in zip(ends.values(), own.values(), strict=True)
        ]
    panels[0].set_ylabel("loss")
    falling = [phase for phase, fell in falls.items() if fell and all(fell)]
    where = f"{', '.join(falling)} alone" if falling else "no phase"
    return headline(figure, f"All losses fall by a tenth or more in {where}")


def _loss(axes: Axes, points: Points, colour: str, width: float) -> tuple[float, float]:
    """A loss as logged (thin) and its running mean over nine points (thick), whose last point is returned."""
    losses = pd.Series([loss for _, loss in points], index=[step for step, _ in points], dtype=float)
    smooth = losses.rolling(9, center=True, min_periods=1).mean()
    axes.plot(losses.index, losses, color=colour, alpha=0.3, linewidth=0.7)
    axes.plot(smooth.index, smooth, color=colour, linewidth=width)
    return float(losses.index[-1]), float(smooth.iloc[-1])


def two_losses(curves: Mapping[str, Points], chance: float) -> Figure:
    """Training loss of a dense and a ColBERT model; ``chance`` is the loss of a guess, the log of the batch size."""
    figure, axes = canvas(WIDTH, 2.9)
    last = {name: _loss(axes, points, INTERACTION[name], 1.8) for name, points in curves.items()}
    right = max(step for step, _ in last.values())
    ends = {NAME[name]: (loss, INTERACTION[name]) for name, (_, loss) in last.items()}
    axes.axhline(chance, color=COLOURS["grey"], linestyle=DASHED, linewidth=1.0)
    axes.text(right, chance, "a guess", ha="right", va="bottom", fontsize=SMALL, color=COLOURS["grey"])
    axes.set(xlabel="optimiser step", ylabel="InfoNCE (nats)", xlim=(0, right), ylim=(0, None))
    label_ends(axes, right, ends, gap=0.07 * axes.get_ylim()[1])
    below = [name for name, (value, _) in ends.items() if value < chance]
    told = "Both losses end" if len(below) == len(ends) else f"{(below or ['Neither'])[0]}: the loss ends"
    return headline(figure, f"{told} below that of a guess")


def deltas(table: pd.DataFrame, title: str) -> Figure:
    """Differences with intervals: columns claim, delta, low, high and, where known, paper, recorded, yours (points).

    A row is drawn in colour where its ``verdict`` is clear or, without that column, where the interval leaves out zero;
    a square leaves out zero and is not clear all the same (too few seeds, or one of many questions). The paper's delta
    is a cross, another source's a ring.
    """
    figure, axes = canvas(WIDTH, 0.9 + 0.36 * len(table))
    others = {"paper": ("x", "paper (BEIR)"), "recorded": ("o", "recorded"), "yours": ("o", "yours")}
    ring: dict[str, Any] = {"color": COLOURS["vermilion"], "markerfacecolor": "none"}
    judged = "verdict" in table
    told, between, open_ = (
        (CLEAR, f"leaves out zero, not {CLEAR}", f"not {CLEAR}")
        if judged
        else ("leaves out zero", "", "holds zero")
    )
    looks = {told: ("blue", "o"), between: ("grey", "s"), open_: ("grey", "o")}
    seen = set()
    for place, row in enumerate(table.itertuples()):
        out = bool(leaves_out_zero(row.low, row.high))
        clear = row.verdict in CLEARLY if judged else out
        said = told if clear else between if out else open_
        seen.add(said)
        colour, marker = looks[said]
        with_interval(axes, place, (row.delta, row.low, row.high), COLOURS[colour], marker, horizontal=True)
        for column, (marker, _) in others.items():
            if pd.notna(value := getattr(row, column, None)):
                axes.plot(value, place, marker, markersize=6, zorder=4, **ring)
    zero_line(axes)
    name_rows(axes, list(table["claim"]), "difference in nDCG@10 (points), 95% interval")
    for said in (each for each in looks if each in seen):
        key(axes, said, COLOURS[looks[said][0]], looks[said][1])
    for column, (marker, name) in others.items():
        if column in table and table[column].notna().any():
            axes.plot([], [], marker, label=name, **ring)
    legend(figure, 4)
    return headline(figure, title)
