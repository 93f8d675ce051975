"""Figures of the audit: what drives a claim, how stable ranks are, where MTEB's rerun parts from the paper, full cost.

Points of nDCG@10 throughout. Tables come from ``published``, and are read and drawn in `audit_catalogue`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from colbert_zero_lib.published.audit import fewest_to_flip
from colbert_zero_lib.published.rerun import NOTICEABLE
from colbert_zero_lib.published.tables import BEIR

from .theme import COLOURS, MARKER, PIPELINE, SMALL, WIDTH, canvas, headline, spread, with_interval

_RELATION = {
    "training data": (COLOURS["vermilion"], "s"),
    "same source": (COLOURS["blue"], "o"),
    "neither": (COLOURS["green"], "^"),
}
_KIND = {
    "colbert": (COLOURS["blue"], "o", "ColBERT"),
    "dense": (COLOURS["orange"], "s", "dense"),
    "lexical": (COLOURS["grey"], "^", "BM25"),
}


def _legend(figure: Figure, looks: Mapping[str, tuple[str, str]]) -> None:
    marks = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=5, label=name)
        for name, (colour, marker) in looks.items()
    ]
    figure.legend(
        handles=marks, loc="outside lower center", ncols=len(marks), frameon=False, handletextpad=0.2
    )


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
        axes.axvline(0, color=COLOURS["ink"], linewidth=0.9)
        axes.axvline(mean, color=COLOURS["grey"], linewidth=1.1, linestyle=(0, (4, 3)))
        for place, (name, value) in enumerate(ordered.items()):
            colour, marker = _RELATION[relation[str(name)]]
            axes.plot([0, value], [place, place], color=colour, linewidth=1.6)
            axes.plot(value, place, marker, color=colour, markersize=5)
        axes.set_yticks(range(len(ordered)), list(ordered.index))
        axes.set_ylim(-0.7, len(ordered) - 0.3)
        axes.grid(axis="y", visible=False)
        axes.set_title(f"{title}\nmean {mean:+.2f}", fontsize=9, loc="right")
        turned = "never turned" if fewest is None else f"turned by leaving out {fewest}"
        axes.set_xlabel(f"points\n{turned}", fontsize=SMALL)
        if fewest is not None:
            needed[title] = fewest
    _legend(figure, {f"training mix: {name}": look for name, look in _RELATION.items()})
    if needed:
        weakest = min(needed, key=lambda title: needed[title])
        sets = "one data set" if needed[weakest] == 1 else f"{needed[weakest]} data sets"
        headline(figure, f"Leaving out {sets} of {len(values)} is enough to turn {weakest}")
    else:
        headline(figure, "Leaving out data sets turns none of these comparisons")
    return figure


def leave_one_out_ranges(table: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Each clause's value with its interval over data sets (thin) and its range with one data set left out (thick).

    ``table``: rows of `robustness`; ``names``: a label for each row. Clauses that one data set can turn are vermilion.
    """
    figure, axes = canvas(WIDTH, 1.2 + 0.31 * len(table))
    for place, row in enumerate(table.itertuples()):
        turned = bool(row.breakers)
        colour = COLOURS["vermilion"] if turned else COLOURS["blue"]
        axes.plot([row.low, row.high], [place, place], color=COLOURS["grey"], linewidth=0.9, zorder=1)
        edges = {"color": colour, "linewidth": 6, "solid_capstyle": "butt", "zorder": 2}
        axes.plot([row.lowest, row.highest], [place, place], **edges)
        marker = "D" if turned else "o"
        look = {"color": "white", "markeredgecolor": COLOURS["ink"], "markersize": 3.5, "zorder": 3}
        axes.plot(row.value, place, marker, **look)
        axes.text(1.01, place, row.asked, transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL)
    axes.text(
        1.01, -0.95, "asked", transform=axes.get_yaxis_transform(), fontsize=SMALL, color=COLOURS["grey"]
    )
    axes.axvline(0, color=COLOURS["ink"], linewidth=0.9)
    axes.set_yticks(range(len(table)), [textwrap.fill(name, 42) for name in names])
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlabel("points; thin: 95% interval over data sets,\nthick: range with one set left out")
    axes.grid(axis="y", visible=False)
    stable = int((table["breakers"] == "").sum())
    looks = {
        "no single data set changes the answer": (COLOURS["blue"], "o"),
        "one does": (COLOURS["vermilion"], "D"),
    }
    _legend(figure, looks)
    headline(
        figure, f"{stable} of {len(table)} comparisons give the same answer whichever data set is left out"
    )
    return figure


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
    first = probabilities[1].sort_values(ascending=False)
    headline(
        figure,
        f"First in {probabilities[1].iloc[0]:.0%} of draws: {probabilities.index[0]}, best as printed; "
        f"most often first: {first.index[0]}",
    )
    return figure


def domain_differences(table: pd.DataFrame, reference: str) -> Figure:
    """How far models are from ``reference`` on all, in-domain and zero-shot data sets; ``table`` as `domain_gaps`."""
    groups = {
        "all 15": (COLOURS["ink"], "D"),
        "in-domain": (COLOURS["vermilion"], "s"),
        "zero-shot": (COLOURS["blue"], "o"),
    }
    models = list(dict.fromkeys(table["model"]))
    figure, axes = canvas(WIDTH, 1.2 + 0.5 * len(models))
    counts = table.drop_duplicates("group").set_index("group")["sets"]
    for place, model in enumerate(models):
        own = table[table["model"] == model].set_index("group")
        for shift, (group, (colour, marker)) in zip((-0.24, 0.0, 0.24), groups.items(), strict=True):
            row = own.loc[group]
            with_interval(
                axes, place + shift, (row.value, row.low, row.high), colour, marker, horizontal=True
            )
    for line in range(1, len(models)):
        axes.axhline(line - 0.5, color="#eeeeee", linewidth=0.8)
    axes.axvline(0, color=COLOURS["ink"], linewidth=0.9)
    axes.set_yticks(range(len(models)), models)
    axes.set_ylim(len(models) - 0.5, -0.5)
    axes.set_xlabel(f"difference to {reference} (points)\n95% interval over the data sets of the group")
    axes.grid(axis="y", visible=False)
    _legend(
        figure,
        {f"{name} ({counts[name]})" if name != "all 15" else name: look for name, look in groups.items()},
    )
    wide = table.pivot(index="model", columns="group", values="value")
    swap = int(((wide["in-domain"] > 0) != (wide["zero-shot"] > 0)).sum())
    headline(
        figure,
        f"{swap} of {len(wide)} models are on another side of {reference} in-domain than zero-shot",
    )
    return figure


def rerun_heat_map(gaps: pd.DataFrame) -> Figure:
    """MTEB's figures minus the paper's, as `rerun_gaps`: models by data sets. Beyond 3 points colours stay the same."""
    figure, axes = canvas(WIDTH, 1.6 + 0.36 * len(gaps))
    values = gaps.to_numpy(dtype=float)
    image = axes.imshow(values, cmap="PuOr", vmin=-3, vmax=3, aspect="auto")
    shades = image.to_rgba(values)[..., :3] @ (0.299, 0.587, 0.114)
    for y, x in np.ndindex(values.shape):
        ink = "white" if shades[y, x] < 0.5 else COLOURS["ink"]
        shown = "0" if abs(values[y, x]) < 0.05 else f"{values[y, x]:+.1f}"
        axes.text(x, y, shown, ha="center", va="center", fontsize=SMALL, color=ink)
    axes.axvline(len(BEIR) - 0.5, color="white", linewidth=4)
    axes.set_xticks(
        range(len(gaps.columns)), list(gaps.columns), rotation=40, ha="right", rotation_mode="anchor"
    )
    axes.set_yticks(range(len(gaps)), list(gaps.index))
    axes.grid(visible=False)
    sets = gaps[list(BEIR)].abs()
    second = sets[
        (sets >= 0.0051).any(axis=1)
    ]  # rows that only repeat the paper's digits are no second witness
    model = second.median(axis=1).idxmax()
    near = (second.drop(index=model).to_numpy() < NOTICEABLE).mean()
    axes.set_title("MTEB minus paper (points)", fontsize=9, weight="normal")
    headline(figure, f"Apart from {model}, {near:.0%} of MTEB's own figures are within half a point")
    return figure


def newer_models(table: pd.DataFrame, reference: str) -> Figure:
    """Every model of MTEB's file against ``reference``, with intervals over data sets; ``table`` as `field_since`."""
    shown = table.drop(index=reference)
    figure, axes = canvas(WIDTH, 1.2 + 0.3 * len(shown))
    for place, (_, row) in enumerate(shown.iterrows()):
        colour, marker, _ = _KIND[row["kind"]]
        with_interval(
            axes, place, (row["difference"], row["low"], row["high"]), colour, marker, horizontal=True
        )
        text = f"{row['average']:.2f}"
        axes.text(1.01, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL)
    axes.text(
        1.01, -0.75, "mean", transform=axes.get_yaxis_transform(), fontsize=SMALL, color=COLOURS["grey"]
    )
    axes.axvline(0, color=COLOURS["ink"], linewidth=0.9)
    names = [str(name).split("/")[-1] + ("" if row["in_paper"] else " *") for name, row in shown.iterrows()]
    axes.set_yticks(range(len(shown)), names)
    axes.set(
        ylim=(len(shown) - 0.5, -0.6),
        xlabel=f"difference to {reference.split('/')[-1]} in MTEB (points), 95% interval over data sets\n"
        "* not in the paper",
    )
    axes.grid(axis="y", visible=False)
    _legend(figure, {label: (colour, marker) for colour, marker, label in _KIND.values()})
    above = shown[(shown["difference"] > 0) & ~shown["in_paper"].astype(bool)]
    clear = int((above["low"] > 0).sum())
    said = (
        f"{len(above)} newer models average higher" if len(above) != 1 else "One newer model averages higher"
    )
    headline(figure, f"{said}; {clear or 'none'} clearly, over the choice of data sets")
    return figure


def full_cost(table: pd.DataFrame, gaps: pd.DataFrame) -> Figure:
    """Score against GH200 hours, as the paper counts them and with the dense phases estimated.

    ``table``: `cost_table`; ``gaps``: `effects.gaps`, whose intervals of the distance to (c) the pipelines get.
    """
    figure, axes = canvas(WIDTH, 3.9)
    named = table[table["pipeline"] != ""].set_index("pipeline")
    top, distance = float(named.loc["c", "average"]), gaps.set_index("model")
    heights = spread(table["average"].tolist(), 0.45)
    for row, height in zip(table.itertuples(), heights, strict=True):
        colour, y = PIPELINE.get(row.pipeline, COLOURS["grey"]), row.average
        if row.high > row.counted:
            bar = {"color": colour, "linewidth": 4, "alpha": 0.55, "solid_capstyle": "butt"}
            axes.plot([row.low, row.high], [y, y], **bar)
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
    marks = [
        Line2D(
            [],
            [],
            color=COLOURS["grey"],
            marker="o",
            linestyle="none",
            label="ColBERT steps alone, as the paper counts",
        ),
        Line2D(
            [], [], color=COLOURS["grey"], linewidth=4, alpha=0.55, label="with the dense steps (estimate)"
        ),
        Line2D([], [], color=COLOURS["ink"], linewidth=1.4, label="distance to (c), 95% over data sets"),
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=2, frameon=False, columnspacing=1)
    share, low, high = (
        named.loc["b", column] / named.loc["c", "counted"] for column in ("counted", "low", "high")
    )
    headline(
        figure,
        f"(b) costs {share:.0%} of (c) on a ready dense checkpoint, an estimated {low:.0%} to {high:.0%} without",
    )
    return figure
