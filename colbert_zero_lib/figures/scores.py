"""The paper's Tables 2 to 5 as figures: gaps between models, alignment, prompts and length, data set by data set.

What is drawn is measured in `published.effects`; differences are nDCG@10 in points, paired over the 15 data sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .marks import headline, with_interval
from .theme import COLOURS, SMALL, WIDTH, canvas

_SECTION = {
    "baseline": (COLOURS["grey"], "o"),
    "kd-only": (COLOURS["orange"], "o"),
    "supervised+kd": (COLOURS["green"], "s"),
    "colbert-zero": (COLOURS["blue"], "D"),
}
_EFFECT = {
    "prompts": (COLOURS["orange"], "s"),
    "length": (COLOURS["green"], "^"),
    "length at evaluation": (COLOURS["green"], "v"),
    "both": (COLOURS["blue"], "D"),
}
_CELL = 7.8  # points: the smallest text, 7.02 points at a print width of 6.3 inches
_OVER_DATA_SETS = "95% interval over data sets (paired)"
# One hue, ever darker (or two from white outwards, the sign being printed): both survive grey-scale printing.
_HIGHER = LinearSegmentedColormap.from_list("higher", ["#ffffff", "#cfe3f1", "#8dbfe0", "#4a9bcd"])
_SIGNED = LinearSegmentedColormap.from_list("signed", ["#d98f1f", "#f3dcb3", "#ffffff", "#c3dcee", "#4a95c6"])


def gaps_figure(gaps: pd.DataFrame, reference: str = "colbert-zero") -> Figure:
    """Table 2: how far each model is from ``reference``, with intervals; ``gaps`` is `gaps(paper_table(2))`."""
    others = gaps[gaps["model"] != reference]
    figure, axes = canvas(WIDTH, 0.9 + 0.29 * len(gaps))
    for place, row in enumerate(gaps.itertuples()):
        colour, marker = _SECTION.get(str(row.section), (COLOURS["grey"], "o"))
        with_interval(axes, place, (row.value, row.low, row.high), colour, marker, horizontal=True)
        mark_outside(axes, place, f"{row.mean:.2f}")
    mark_outside(axes, -1, "mean")
    _zero_line(axes, len(gaps), f"points of nDCG@10 above {reference}, {_OVER_DATA_SETS}")
    axes.set_yticks(range(len(gaps)), list(gaps["model"]))
    open_ends = int(((others["low"] <= 0) & (others["high"] >= 0)).sum())
    best = gaps.loc[gaps["mean"].idxmax(), "model"]
    return headline(
        figure, f"{best} has the highest mean; {open_ends} of {len(others)} gaps to {reference} hold zero"
    )


def alignment_figure(alignment: pd.DataFrame) -> Figure:
    """Table 3: scores of aligned and misaligned fine-tuning of each base, and their paired difference.

    ``alignment`` is `alignment(paper_table(3))`.
    """
    figure, (axes, gap) = canvas(WIDTH, 2.5, columns=2, gridspec_kw={"width_ratios": (1.5, 1)}, sharey=True)
    marks = {
        "aligned": ("D", COLOURS["blue"], COLOURS["blue"]),
        "misaligned": ("D", "white", COLOURS["vermilion"]),
        "start": ("o", COLOURS["grey"], COLOURS["grey"]),
    }
    for place, row in enumerate(alignment.itertuples()):
        axes.plot(
            [row.misaligned, row.aligned], [place, place], color=COLOURS["light"], linewidth=3, zorder=1
        )
        for name, (marker, face, edge) in marks.items():
            value = getattr(row, name)
            axes.plot(value, place, marker, markerfacecolor=face, markeredgecolor=edge, markersize=6)
            below = name == "misaligned"
            look = {"ha": "center", "va": "top" if below else "bottom", "fontsize": SMALL, "color": edge}
            axes.annotate(
                f"{value:.2f}", (value, place), (0, -6 if below else 6), textcoords="offset points", **look
            )
        with_interval(gap, place, (row.value, row.low, row.high), COLOURS["blue"], "D", horizontal=True)
    shown = {
        "start": "unsupervised only",
        "misaligned": "fine-tuned otherwise",
        "aligned": "fine-tuned as pre-trained",
    }
    for name, text in shown.items():
        marker, face, edge = marks[name]
        axes.plot([], [], marker, markerfacecolor=face, markeredgecolor=edge, label=text)
    names = [
        f"{row.base}\n{'with' if row.base_prompts == 'yes' else 'without'} prompts"
        for row in alignment.itertuples()
    ]
    axes.set_yticks(range(len(alignment)), names)
    axes.set(xlabel="nDCG@10, mean of 15 data sets")
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.08)
    _zero_line(gap, len(alignment), "aligned − otherwise, points,\n95% interval over data sets")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, handletextpad=0.2)
    up, clear = int((alignment["value"] > 0).sum()), int((alignment["low"] > 0).sum())
    return headline(
        figure,
        f"Fine-tuning as pre-trained scores higher from {up} of {len(alignment)} bases, clearly from {clear}",
    )


def interaction_figure(effects: pd.DataFrame) -> Figure:
    """Table 4: what prompts add without and with extra length, one panel a starting point and stage.

    ``effects`` is `switch_effects(paper_table(4))`. Every point is a gain over the arm with neither switch, whose own
    point is zero by definition; parallel lines would mean that the two switches add up.
    """
    starts = list(dict.fromkeys(effects["start"]))
    stages = [stage for stage in ("supervised", "distilled") if stage in set(effects["stage"])]
    figure, panels = canvas(
        WIDTH,
        2.1 * len(stages) + 0.6,
        rows=len(stages),
        columns=len(starts),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    lines = {
        "without extra length": (COLOURS["orange"], "s", "-"),
        "with extra length": (COLOURS["blue"], "D", "--"),
    }
    for row, stage in zip(panels, stages, strict=True):
        for axes, start in zip(row, starts, strict=True):
            own = effects[(effects["start"] == start) & (effects["stage"] == stage)].set_index("effect")
            if own.empty:
                look = {"ha": "center", "color": COLOURS["grey"], "transform": axes.transAxes}
                axes.text(0.5, 0.65, "not trained", **look)
            else:
                _lines(axes, own[["value", "low", "high"]], list(lines.values()))
            axes.axhline(0, color=COLOURS["grey"], linewidth=0.7, zorder=1)
            axes.set_xticks((0, 1), ("no", "yes"))
            axes.set_xlim(-0.35, 1.35)
            axes.grid(axis="x", visible=False)
        row[0].set_ylabel(f"{stage}: points gained")
    for axes, start in zip(panels[0], starts, strict=True):
        words = start.replace(", no prompts", "\n(no prompts)").replace(" ", "\n", 1)
        axes.set_title(words, fontsize=SMALL + 0.5, va="bottom")
    for axes in panels[-1]:
        axes.set_xlabel("prompts")
    for name, (colour, marker, style) in lines.items():
        axes.plot([], [], marker=marker, color=colour, linestyle=style, label=name)
    if "length at evaluation" in set(effects["effect"]):
        axes.plot(
            [], [], ":", color=lines["with extra length"][0], label="from extra length at evaluation only"
        )
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    both = effects[effects["effect"] == "both"]
    groups = [(stage, both.loc[both["stage"] == stage, "value"]) for stage in stages]
    counts = " and ".join(f"{(own > 0).sum()} of {len(own)} {stage}" for stage, own in groups)
    return headline(figure, f"Prompts with their length raise {counts} means")


def _lines(axes: Axes, own: pd.DataFrame, looks: Sequence[tuple[str, str, str]]) -> None:
    """The two lines of an interaction panel, from the effects at hand; zero is the arm with neither."""
    zero = (0.0, 0.0, 0.0)
    points = {effect: tuple(own.loc[effect]) for effect in own.index}
    plain = (zero, points.get("prompts"))
    longer = (points.get("length", points.get("length at evaluation")), points.get("both"))
    for shift, ends, (colour, marker, style) in zip((-0.05, 0.05), (plain, longer), looks, strict=True):
        known = [(x + shift, end) for x, end in enumerate(ends) if end is not None]
        for x, end in known:
            with_interval(axes, x, end, colour, marker)
        if "length at evaluation" in points and end is points["both"]:
            style = ":"  # its left end was not trained with the extra length
        axes.plot(
            [x for x, _ in known], [end[0] for _, end in known], color=colour, linestyle=style, linewidth=1.4
        )


def deltas_figure(effects: pd.DataFrame) -> Figure:
    """Table 5: gains from prompts, length and both, beside how far both is from the sum of the two.

    ``effects`` is `switch_effects(paper_table(4))`.
    """
    blocks = list(dict.fromkeys(zip(effects["start"], effects["stage"], strict=True)))
    figure, (axes, inter) = canvas(
        WIDTH, 1.2 + 0.5 * len(blocks), columns=2, sharey=True, gridspec_kw={"width_ratios": (1.5, 1)}
    )
    signs = []
    for place, block in enumerate(blocks):
        own = effects[(effects["start"] == block[0]) & (effects["stage"] == block[1])].set_index("effect")
        drawn = [effect for effect in _EFFECT if effect in own.index]
        for shift, effect in zip(
            np.linspace(-0.22, 0.22, len(drawn)) if len(drawn) > 1 else [0.0], drawn, strict=True
        ):
            colour, marker = _EFFECT[effect]
            with_interval(
                axes, place + shift, tuple(own.loc[effect, ["value", "low", "high"]]), colour, marker, True
            )
        if "interaction" in own.index:
            value, low, high = own.loc["interaction", ["value", "low", "high"]]
            with_interval(inter, place, (value, low, high), COLOURS["purple"], "o", horizontal=True)
            signs.append((value, low > 0 or high < 0))
    _zero_line(axes, len(blocks), f"points gained over neither,\n{_OVER_DATA_SETS}")
    _zero_line(inter, len(blocks), "both − prompts − length,\npoints (< 0: sub-additive)")
    axes.set_yticks(range(len(blocks)), [f"{start}\n{stage}" for start, stage in blocks])
    for effect, (colour, marker) in _EFFECT.items():
        if effect in set(effects["effect"]):
            axes.plot([], [], marker, color=colour, label=effect)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, handletextpad=0.2)
    over, clear = sum(value > 0 for value, _ in signs), sum(sure for _, sure in signs)
    count = f"Super-additive in {over} of {len(signs)} blocks, sub-additive in {len(signs) - over}"
    return headline(figure, f"{count}: {clear or 'none'} of them clearly")


def score_heat_map(table2: pd.DataFrame) -> Figure:
    """Table 2 data set by data set: darker is better within a column, bold is best and underlined second.

    ``table2`` has a column model and a column for each data set (`paper_table(2)`); the mean is computed here.
    """
    datasets = [
        name for name in table2.columns if name not in ("section", "model", "average_printed", "recipe")
    ]
    values = table2.set_index("model")[datasets].astype(float)
    values.insert(0, "mean", values.mean(axis=1))
    spread = values.max() - values.min()
    shade = (values - values.min()) / spread.where(spread > 0, 1.0)
    best = values[datasets].idxmax().value_counts()
    figure = _heat_map(values, shade, _HIGHER, "{:.1f}", marks=True)
    leader = best.index[0]
    tail = f"{leader} most often, on {best.iloc[0]} of {len(datasets)} data sets"
    return headline(figure, f"{len(best)} of {len(values)} models are best somewhere; {tail}")


def gain_heat_map(gains: pd.DataFrame) -> Figure:
    """What prompts with their length add on each data set: ``gains`` is `switch_gains(paper_table(4))`, in points.

    Colours end at 5 points either way; the sign is printed.
    """
    values = gains.copy()
    values.index = pd.Index([f"{start}\n{stage}" for start, stage in gains.index])
    values.insert(0, "mean", gains.mean(axis=1).to_numpy())
    shade = (values / 10 + 0.5).clip(0, 1)
    figure = _heat_map(values, shade, _SIGNED, "{:+.1f}", height=0.38)
    spans = gains.max() - gains.min()
    low, high = gains[spans.idxmax()].min(), gains[spans.idxmax()].max()
    ends = f"from {low:+.1f} to {high:+.1f} points".replace("-", "−")
    return headline(figure, f"Gains from both switches differ most on {spans.idxmax()}: {ends}")


def _heat_map(
    values: pd.DataFrame,
    shade: pd.DataFrame,
    colours: LinearSegmentedColormap,
    form: str,
    height: float = 0.27,
    marks: bool = False,
) -> Figure:
    """Values as text on cells shaded by ``shade`` (0 to 1); a gap sets the first column, the mean, apart."""
    figure, axes = canvas(WIDTH, 1.15 + height * len(values))
    lefts = [0.0, *(0.25 + place for place in range(1, values.shape[1]))]
    ranks = values.round(2).rank(method="dense", ascending=False)
    for column, left in enumerate(lefts):
        for row in range(len(values)):
            colour = colours(float(shade.iat[row, column]))
            axes.add_patch(Rectangle((left, row), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.8))
            rank = int(ranks.iat[row, column]) if marks else 0
            text = form.format(values.iat[row, column]).replace("-", "−")
            weight = "bold" if rank == 1 else "normal"
            axes.text(left + 0.5, row + 0.5, text, ha="center", va="center", fontsize=_CELL, weight=weight)
            if rank == 2:
                axes.plot((left + 0.2, left + 0.8), (row + 0.84,) * 2, color=COLOURS["ink"], linewidth=0.8)
    axes.set(xlim=(0, lefts[-1] + 1), ylim=(len(values), 0))
    axes.set_yticks([row + 0.5 for row in range(len(values))], list(values.index))
    axes.set_xticks(
        [left + 0.5 for left in lefts], list(values.columns), rotation=55, ha="left", rotation_mode="anchor"
    )
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return figure


def _zero_line(axes: Axes, count: int, label: str) -> None:
    axes.axvline(0, color=COLOURS["ink"], linewidth=0.9, zorder=1)
    axes.set(ylim=(count - 0.5, -0.5), xlabel=label)
    axes.grid(axis="y", visible=False)


def mark_outside(axes: Axes, place: float, text: str) -> None:
    """A word at the right edge of a row."""
    where: dict[str, Any] = {
        "xycoords": ("axes fraction", "data"),
        "textcoords": "offset points",
        "annotation_clip": False,
    }
    axes.annotate(text, (1.0, place), (4, 0), va="center", fontsize=SMALL, **where)
