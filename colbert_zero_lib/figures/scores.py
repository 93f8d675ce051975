"""The paper's Tables 2 to 5 as figures: gaps between models, alignment, prompts and length, data set by data set.

What is drawn is measured in `verdicts.effects`; differences are nDCG@10 in points, paired over the 15 data sets.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from colbert_zero_lib.verdicts.verdict import leaves_out_zero

from .marks import headline, in_row, key, legend, name_rows, write, write_right, zero_line
from .theme import COLOURS, WIDTH, canvas

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
        in_row(axes, place, row, *_SECTION.get(str(row.section), _SECTION["baseline"]))
        write_right(axes, place, f"{row.mean:.2f}")
    write_right(axes, -1, "mean")
    zero_line(axes, zorder=1)
    name_rows(axes, list(gaps["model"]), f"points of nDCG@10 above {reference}, {_OVER_DATA_SETS}")
    open_ends = int((~leaves_out_zero(others["low"], others["high"])).sum())
    best = gaps.loc[gaps["mean"].idxmax(), "model"]
    hold = f"{open_ends} of {len(others)} gaps to {reference} hold zero"
    return headline(figure, f"{best} has the highest mean; {hold}")


def alignment_figure(alignment: pd.DataFrame) -> Figure:
    """Table 3: scores of aligned and misaligned fine-tuning of each base, and their paired difference.

    ``alignment`` is `alignment(paper_table(3))`.
    """
    figure, (axes, gap) = canvas(WIDTH, 2.5, columns=2, gridspec_kw={"width_ratios": (1.5, 1)}, sharey=True)
    marks = {
        "aligned": ("D", COLOURS["blue"], COLOURS["blue"], "fine-tuned as pre-trained"),
        "misaligned": ("D", "white", COLOURS["vermilion"], "fine-tuned otherwise"),
        "start": ("o", COLOURS["grey"], COLOURS["grey"], "unsupervised only"),
    }
    for place, row in enumerate(alignment.itertuples()):
        ends = [row.misaligned, row.aligned]
        axes.plot(ends, [place, place], color=COLOURS["light"], linewidth=3, zorder=1)
        for name, (marker, face, edge, _) in marks.items():
            value, below = getattr(row, name), name == "misaligned"
            axes.plot(value, place, marker, markerfacecolor=face, markeredgecolor=edge, markersize=6)
            side = {"ha": "center", "va": "top" if below else "bottom", "color": edge}
            write(axes, f"{value:.2f}", (value, place), (0, -6 if below else 6), **side)
        in_row(gap, place, row, COLOURS["blue"], "D")
    for name in ("start", "misaligned", "aligned"):
        marker, face, edge, text = marks[name]
        axes.plot([], [], marker, markerfacecolor=face, markeredgecolor=edge, label=text)
    prompts = alignment["base_prompts"].map({"yes": "with", "no": "without"})
    names = [f"{base}\n{word} prompts" for base, word in zip(alignment["base"], prompts, strict=True)]
    name_rows(axes, names, "nDCG@10, mean of 15 data sets")
    axes.margins(x=0.08)
    zero_line(gap, zorder=1)
    gap.set_xlabel("aligned − otherwise, points,\n95% interval over data sets")
    gap.grid(axis="y", visible=False)
    legend(figure, 3)
    up = alignment["value"] > 0
    clear = int((up & leaves_out_zero(alignment["low"], alignment["high"])).sum())
    return headline(
        figure,
        f"Fine-tuning as pre-trained scores higher from {up.sum()} of {len(alignment)} bases, clearly from {clear}",
    )


def deltas_figure(effects: pd.DataFrame) -> Figure:
    """Table 5: gains from prompts, length and both, beside how far both is from the sum of the two.

    ``effects`` is `switch_effects(paper_table(4))`.
    """
    blocks = list(dict.fromkeys(zip(effects["start"], effects["stage"], strict=True)))
    height, widths = 1.2 + 0.5 * len(blocks), {"width_ratios": (1.5, 1)}
    figure, (axes, inter) = canvas(WIDTH, height, columns=2, sharey=True, gridspec_kw=widths)
    for place, block in enumerate(blocks):
        own = effects[(effects["start"] == block[0]) & (effects["stage"] == block[1])].set_index("effect")
        drawn = [effect for effect in _EFFECT if effect in own.index]
        shifts = np.linspace(-0.22, 0.22, len(drawn)) if len(drawn) > 1 else [0.0]
        for shift, effect in zip(shifts, drawn, strict=True):
            in_row(axes, place + shift, own.loc[effect], *_EFFECT[effect])
        if "interaction" in own.index:
            in_row(inter, place, own.loc["interaction"], COLOURS["purple"])
    for panel in (axes, inter):
        zero_line(panel, zorder=1)
    name_rows(axes, [f"{start}\n{stage}" for start, stage in blocks])
    axes.set_xlabel(f"points gained over neither,\n{_OVER_DATA_SETS}")
    inter.set_xlabel("both − prompts − length,\npoints (< 0: sub-additive)")
    inter.grid(axis="y", visible=False)
    for effect, look in _EFFECT.items():
        if effect in set(effects["effect"]):
            key(axes, effect, *look)
    legend(figure, 4)
    joint = effects[effects["effect"] == "interaction"]
    over = int((joint["value"] > 0).sum())
    clear = int(leaves_out_zero(joint["low"], joint["high"]).sum())
    count = f"Super-additive in {over} of {len(joint)} blocks, sub-additive in {len(joint) - over}"
    return headline(figure, f"{count}: {clear or 'none'} of them clearly")


def score_heat_map(table2: pd.DataFrame) -> Figure:
    """Table 2 data set by data set: darker is better within a column, bold is best and underlined second.

    ``table2`` has a column model and a column for each data set (`paper_table(2)`); the mean is computed here.
    """
    others = ("section", "model", "average_printed", "recipe")
    datasets = [name for name in table2.columns if name not in others]
    values = table2.set_index("model")[datasets].astype(float)
    values.insert(0, "mean", values.mean(axis=1))
    spread = values.max() - values.min()
    shade = (values - values.min()) / spread.where(spread > 0, 1.0)
    best = values[datasets].idxmax().value_counts()
    figure = _heat_map(values, shade, _HIGHER, "{:.1f}", marks=True)
    tail = f"{best.index[0]} most often, on {best.iloc[0]} of {len(datasets)} data sets"
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
    widest = (gains.max() - gains.min()).idxmax()
    ends = f"from {gains[widest].min():+.1f} to {gains[widest].max():+.1f} points".replace("-", "−")
    return headline(figure, f"Gains from both switches differ most on {widest}: {ends}")


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
            value = values.iat[row, column]
            shown = form if value > -9.95 else "{:.0f}"  # a cell has room for four signs
            text = shown.format(value).replace("-", "−")
            look = {"ha": "center", "va": "center", "fontsize": _CELL}
            axes.text(left + 0.5, row + 0.5, text, weight="bold" if rank == 1 else "normal", **look)
            if rank == 2:
                axes.plot((left + 0.2, left + 0.8), (row + 0.84,) * 2, color=COLOURS["ink"], linewidth=0.8)
    axes.set(xlim=(0, lefts[-1] + 1), ylim=(len(values), 0))
    axes.set_yticks([row + 0.5 for row in range(len(values))], list(values.index))
    turned = {"rotation": 55, "ha": "left", "rotation_mode": "anchor"}
    axes.set_xticks([left + 0.5 for left in lefts], list(values.columns), **turned)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return figure
