"""Figures of the audit: what drives a claim, how stable ranks are, where MTEB's rerun parts from the paper, full cost.

Points of nDCG@10 throughout. Tables come from ``published``, and are read and drawn in `catalogue`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from colbert_zero_lib.published.tables import BEIR
from colbert_zero_lib.verdicts.audit import fewest_to_flip
from colbert_zero_lib.verdicts.rerun import NOTICEABLE
from colbert_zero_lib.verdicts.verdict import leaves_out_zero

from .marks import headline, in_row, legend, name_rows, part_rows, spread, with_interval, zero_line
from .theme import COLOURS, DASHED, MARKER, PIPELINE, SMALL, WIDTH, canvas

Looks = Mapping[str, tuple[str, str]]
_RELATION: Looks = {
    "training data": (COLOURS["vermilion"], "s"),
    "same source": (COLOURS["blue"], "o"),
    "neither": (COLOURS["green"], "^"),
}
_KIND = {
    "colbert": (COLOURS["blue"], "o", "ColBERT"),
    "dense": (COLOURS["orange"], "s", "dense"),
    "lexical": (COLOURS["grey"], "^", "BM25"),
}


def _legend(figure: Figure, looks: Looks) -> None:
    dot: dict[str, Any] = {"linestyle": "none", "markersize": 5}
    marks = [Line2D([], [], color=look[0], marker=look[1], label=name, **dot) for name, look in looks.items()]
    legend(figure, len(marks), handles=marks)


def _beside(axes: Axes, place: float, text: str, **look: Any) -> None:
    axes.text(1.01, place, text, transform=axes.get_yaxis_transform(), fontsize=SMALL, **look)


def contributions(differences: Mapping[str, pd.Series], relation: Mapping[str, str]) -> Figure:
    """Which data sets make a difference: one panel a comparison, data sets in order, the mean as a dashed line.

    ``differences``: title -> points by data set; ``relation``: data set -> what the training data has of it. The line
    below each panel says how few data sets must be left out for the mean to change sides.
    """
    figure, panels = canvas(WIDTH, 4.0, columns=len(differences), squeeze=False)
    needed: dict[str, int] = {}
    for axes, (title, values) in zip(panels[0], differences.items(), strict=True):
        ordered = values.sort_values(kind="stable")
        mean, fewest = float(values.mean()), fewest_to_flip(values)
        zero_line(axes)
        axes.axvline(mean, color=COLOURS["grey"], linewidth=1.1, linestyle=DASHED)
        for place, (name, value) in enumerate(ordered.items()):
            colour, marker = _RELATION[relation[str(name)]]
            axes.plot([0, value], [place, place], color=colour, linewidth=1.6)
            axes.plot(value, place, marker, color=colour, markersize=5)
        axes.set_yticks(range(len(ordered)), list(ordered.index))
        axes.set_ylim(-0.7, len(ordered) - 0.3)
        axes.grid(axis="y", visible=False)
        axes.set_title(f"{title}\nmean {mean:+.2f}".replace(" -", " −"), fontsize=9, loc="right")
        turned = "never turned" if fewest is None else f"turned by leaving out {fewest}"
        axes.set_xlabel(f"points\n{turned}", fontsize=SMALL)
        if fewest is not None:
            needed[title] = fewest
    _legend(figure, {f"training mix: {name}": look for name, look in _RELATION.items()})
    if not needed:
        return headline(figure, "Leaving out data sets turns none of these comparisons")
    weakest = min(needed, key=lambda title: needed[title])
    sets = "one data set" if needed[weakest] == 1 else f"{needed[weakest]} data sets"
    return headline(figure, f"Leaving out {sets} of {len(values)} is enough to turn {weakest}")


def leave_one_out_ranges(table: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Each clause's value with its interval over data sets (thin) and its range with one data set left out (thick).

    ``table``: rows of `robustness`; ``names``: a label for each row. Clauses that one data set can turn are vermilion.
    """
    figure, axes = canvas(WIDTH, 1.2 + 0.31 * len(table))
    stable, turned = (COLOURS["blue"], "o"), (COLOURS["vermilion"], "D")
    dot = {"color": "white", "markeredgecolor": COLOURS["ink"], "markersize": 3.5, "zorder": 3}
    for place, row in enumerate(table.itertuples()):
        colour, marker = turned if row.breakers else stable
        axes.plot([row.low, row.high], [place, place], color=COLOURS["grey"], linewidth=0.9, zorder=1)
        edges = {"color": colour, "linewidth": 6, "solid_capstyle": "butt", "zorder": 2}
        axes.plot([row.lowest, row.highest], [place, place], **edges)
        axes.plot(row.value, place, marker, **dot)
        _beside(axes, place, row.asked, va="center")
    _beside(axes, -0.95, "asked", color=COLOURS["grey"])
    zero_line(axes)
    label = "points; thin: 95% interval over data sets,\nthick: range with one set left out"
    name_rows(axes, [textwrap.fill(name, 42) for name in names], label, -0.6)
    axes.set_ylim(len(table) - 0.4, -0.6)
    _legend(figure, {"no single data set changes the answer": stable, "one does": turned})
    told = f"{(table['breakers'] == '').sum()} of {len(table)} comparisons"
    return headline(figure, f"{told} give the same answer whichever data set is left out")


def rank_heat_map(
    probabilities: pd.DataFrame, draws: str = "10,000 draws of 15 data sets with replacement"
) -> Figure:
    """How probable each rank of each model is when the data sets are drawn again, as `rank_probabilities` says.

    ``draws``: what was drawn, where it was something else.
    """
    figure, axes = canvas(WIDTH, 0.9 + 0.3 * len(probabilities))
    values = probabilities.to_numpy(dtype=float)
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for y, x in np.argwhere(values >= 0.005):
        ink = "white" if values[y, x] > 0.6 else COLOURS["ink"]
        axes.text(x, y, f"{values[y, x]:.0%}", ha="center", va="center", color=ink, fontsize=SMALL)
    axes.set_xticks(range(values.shape[1]), [str(rank) for rank in probabilities.columns])
    axes.set_yticks(range(len(probabilities)), list(probabilities.index))
    axes.set_xlabel(f"rank by mean nDCG@10, {draws}")
    axes.grid(visible=False)
    first = probabilities[1]
    best, leader = first.index[0], first.idxmax()
    rest = "more than any other" if leader == best else f"{leader} in {first[leader]:.0%}"
    said = f"{best}, best as printed, is first in {first[best]:.0%} of the draws"
    return headline(figure, f"{said}, {rest}")


def domain_differences(table: pd.DataFrame, reference: str) -> Figure:
    """How far models are from ``reference`` on all, in-domain and zero-shot data sets; ``table`` as `domain_gaps`."""
    groups = {
        "all 15": (COLOURS["ink"], "D"),
        "in-domain": (COLOURS["vermilion"], "s"),
        "zero-shot": (COLOURS["blue"], "o"),
    }
    models = list(dict.fromkeys(table["model"]))
    figure, axes = canvas(WIDTH, 1.2 + 0.5 * len(models))
    for place, model in enumerate(models):
        own = table[table["model"] == model].set_index("group")
        for shift, (group, look) in zip((-0.24, 0.0, 0.24), groups.items(), strict=True):
            in_row(axes, place + shift, own.loc[group], *look)
    part_rows(axes, len(models))
    zero_line(axes)
    label = f"difference to {reference} (points)\n95% interval over the data sets of the group"
    name_rows(axes, models, label)
    parts = table[table["group"] != "all 15"]
    sizes = {"all 15": "", **{row.group: f" ({row.sets})" for row in parts.itertuples()}}
    _legend(figure, {name + sizes[name]: look for name, look in groups.items()})
    other = np.sign(parts["value"]).groupby(parts["model"]).nunique() > 1
    sure = leaves_out_zero(parts["low"], parts["high"]).groupby(parts["model"]).all()
    count = f"{other.sum()} of {len(other)} models change sides between in-domain and zero-shot"
    return headline(figure, f"{count}, {int((other & sure).sum()) or 'none'} of them clearly")


def rerun_heat_map(gaps: pd.DataFrame) -> Figure:
    """MTEB's figures minus the paper's, as `rerun_gaps`: models by data sets. Beyond 3 points colours stay the same."""
    figure, axes = canvas(WIDTH, 1.6 + 0.36 * len(gaps))
    values = gaps.to_numpy(dtype=float)
    image = axes.imshow(values, cmap="PuOr", vmin=-3, vmax=3, aspect="auto")
    shades = image.to_rgba(values)[..., :3] @ (0.299, 0.587, 0.114)
    for y, x in np.ndindex(values.shape):
        ink = "white" if shades[y, x] < 0.5 else COLOURS["ink"]
        shown = "0" if abs(values[y, x]) < 0.05 else f"{values[y, x]:+.1f}".replace("-", "−")
        axes.text(x, y, shown, ha="center", va="center", fontsize=SMALL, color=ink)
    axes.axvline(len(BEIR) - 0.5, color="white", linewidth=4)
    turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(gaps.columns)), list(gaps.columns), **turned)
    axes.set_yticks(range(len(gaps)), list(gaps.index))
    axes.grid(visible=False)
    sets = gaps[list(BEIR)].abs()
    second = sets[(sets >= 0.0051).any(axis=1)]  # rows that only repeat the paper's digits witness nothing
    model = second.median(axis=1).idxmax()
    near = (second.drop(index=model).to_numpy() < NOTICEABLE).mean()
    axes.set_title("MTEB minus paper (points)", fontsize=9, weight="normal")
    return headline(figure, f"Apart from {model}, {near:.0%} of MTEB's own scores are within half a point")


def newer_models(table: pd.DataFrame, reference: str) -> Figure:
    """Every model of MTEB's file against ``reference``, with intervals over data sets; ``table`` as `field_since`."""
    shown = table.drop(index=reference)
    figure, axes = canvas(WIDTH, 1.2 + 0.3 * len(shown))
    for place, (_, row) in enumerate(shown.iterrows()):
        in_row(axes, place, row.rename({"difference": "value"}), *_KIND[row["kind"]][:2])
        _beside(axes, place, f"{row['average']:.2f}", va="center")
    _beside(axes, -0.75, "mean", color=COLOURS["grey"])
    zero_line(axes)
    names = [str(name).split("/")[-1] + ("" if row["in_paper"] else " *") for name, row in shown.iterrows()]
    against = f"difference to {reference.split('/')[-1]} in MTEB (points)"
    name_rows(axes, names, f"{against}, 95% interval over data sets\n* not in the paper", -0.6)
    _legend(figure, {label: (colour, marker) for colour, marker, label in _KIND.values()})
    above = shown[(shown["difference"] > 0) & ~shown["in_paper"].astype(bool)]
    clear = int(leaves_out_zero(above["low"], above["high"]).sum())
    one = len(above) == 1
    said = "One newer model averages higher" if one else f"{len(above)} newer models average higher"
    return headline(figure, f"{said}; {clear or 'none'} clearly, over the choice of data sets")


def full_cost(table: pd.DataFrame, gaps: pd.DataFrame) -> Figure:
    """Score against GH200 hours, as the paper counts them and with the dense phases estimated.

    ``table``: `cost_table`; ``gaps``: `effects.gaps`, whose intervals of the distance to (c) the pipelines get.
    """
    figure, axes = canvas(WIDTH, 3.9)
    named = table[table["pipeline"] != ""].set_index("pipeline")
    top, distance = float(named.loc["c", "average"]), gaps.set_index("model")
    heights = spread(table["average"].tolist(), 0.45)
    estimate = {"linewidth": 4, "alpha": 0.55}
    for row, height in zip(table.itertuples(), heights, strict=True):
        colour, y = PIPELINE.get(row.pipeline, COLOURS["grey"]), row.average
        if row.high > row.counted:
            axes.plot([row.low, row.high], [y, y], color=colour, solid_capstyle="butt", **estimate)
        if row.high > row.counted > 0:
            axes.plot([row.counted, row.low], [y, y], color=colour, linewidth=0.9, linestyle=(0, (2, 3)))
        left = row.counted or row.low
        if row.pipeline:
            low, high = (top + float(distance.loc[row.model, end]) for end in ("low", "high"))
            with_interval(axes, left, (y, low, high), colour, MARKER[row.pipeline])
        elif row.counted:
            axes.plot(left, y, "o", color=colour, markersize=5)
        shown = f"({row.pipeline}) {y:.2f}" if row.pipeline else row.model
        axes.text(0.95 * left, height + 0.06, shown, ha="right", va="center", color=colour, fontsize=SMALL)
    axes.set_xscale("log")
    axes.set_xlim(4, 600)
    axes.set_xticks([5, 10, 20, 50, 100, 200, 500], ["5", "10", "20", "50", "100", "200", "500"])
    axes.minorticks_off()
    axes.set(xlabel="GH200 hours (log scale)", ylabel="BEIR nDCG@10 (points)")
    looks: dict[str, dict[str, Any]] = {
        "ColBERT steps alone, as the paper counts": {"marker": "o", "linestyle": "none"},
        "with the dense steps (estimate)": estimate,
        "distance to (c), 95% over data sets": {"color": COLOURS["ink"], "linewidth": 1.4},
    }
    marks = [Line2D([], [], label=name, **{"color": COLOURS["grey"], **look}) for name, look in looks.items()]
    legend(figure, 2, handles=marks, columnspacing=1, handletextpad=None)
    counted = named.loc["c", "counted"]
    share, low, high = (named.loc["b", column] / counted for column in ("counted", "low", "high"))
    ready = f"(b) costs {share:.0%} of (c) on a ready dense checkpoint"
    return headline(figure, f"{ready}, an estimated {low:.0%} to {high:.0%} without")
