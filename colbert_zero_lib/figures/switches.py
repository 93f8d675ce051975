"""Prompts and length beside the paper: each effect with the interval of every source, and the texts that a limit cuts.

What is drawn is measured in `verdicts.grid` and in `lengths`; effects are nDCG@10 in points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from colbert_zero_lib.errors import ParameterError

from ..verdicts.verdict import CLEARLY
from .grid import short
from .marks import (
    headline,
    in_row,
    key,
    legend,
    name_rows,
    over,
    part_rows,
    with_interval,
    write,
    write_right,
    zero_line,
)
from .theme import COLOURS, DASHED, WIDTH, canvas

_SOURCES = ((COLOURS["blue"], "o"), (COLOURS["green"], "s"), (COLOURS["purple"], "D"))
_KEYS = ("start", "stage", "effect")
_PROMPTS = {False: (COLOURS["orange"], "-", "without prompts"), True: (COLOURS["blue"], "--", "with prompts")}


def alignment_figure(*findings: pd.DataFrame) -> Figure:
    """What fine-tuning with the switches of pre-training adds: the paper, then a mark for every source.

    Each is an `alignment_findings(source)`; a row's verdict is that of the last source which ran it.
    """
    title = f"Matched is ahead in {_counted(findings)}"
    return _forest(findings, title, "points of nDCG@10 over fine-tuning with the opposite switches")


def effects_figure(*findings: pd.DataFrame) -> Figure:
    """Effects of the switches: the paper, then a mark for every source; rows may be any of `effect_findings`.

    Each is an `effect_findings(source)`, with the same rows; a row's verdict is that of the last source which ran it.
    """
    title = "What each switch adds over neither"
    joint = [found[found["effect"] == "interaction"] for found in findings]
    if findings and len(joint[0]):
        told = [found[found["seeds"] > 0]["verdict"] for found in joint]
        clear = sum(int(verdicts.isin(CLEARLY).sum()) for verdicts in told) or "none"
        title = f"That both are more than their sum is told by {clear} of {sum(map(len, told))} intervals"
    elif findings and set(findings[0]["effect"]) == {"length at evaluation"}:
        title = "The same weights at a longer limit"
    return _forest(findings, title, "points of nDCG@10")


def _counted(findings: Sequence[pd.DataFrame]) -> str:
    """How many rows are above zero in the paper, and how many can be told from zero in each source that ran any."""
    if not findings or findings[0].empty:
        return ""
    printed = findings[0]["paper"]
    counted = [f"{int((printed > 0).sum())} of the paper's {len(printed)} rows"]
    for found in findings:
        run = found[found["seeds"] > 0]
        clear = int(run["verdict"].isin(CLEARLY).sum()) or "none"
        if len(run):
            counted.append(f"{found['source'].iloc[0]}: {clear} of {len(run)} can be told from zero")
    return "; ".join(counted)


def _forest(findings: tuple[pd.DataFrame, ...], title: str, label: str) -> Figure:
    """A row for each of the tables' rows: the paper's cross, then the sources one below the other."""
    if not findings or findings[0].empty:
        raise ParameterError("There are no effects to draw: pass the table that verdicts.grid makes.")
    first = findings[0]
    names = _names(first)
    if any(_names(other) != names for other in findings):
        raise ParameterError("Sources can only be drawn beside each other with the same rows: pass the same.")
    count = 1 + len(findings)
    figure, axes = canvas(WIDTH, 1.3 + len(first) * (0.14 + 0.15 * count))
    shifts = np.linspace(-0.26, 0.26, count)
    for place, row in enumerate(first.itertuples()):
        ends = (row.paper, row.paper_low, row.paper_high)
        with_interval(axes, place + shifts[0], ends, COLOURS["vermilion"], "X", horizontal=True)
    for shift, found, look in zip(shifts[1:], findings, _SOURCES, strict=False):
        for place, row in enumerate(found.itertuples()):
            if row.seeds:
                in_row(axes, place + shift, row, *look)
    verdicts = findings[0]["verdict"].to_list()
    for found in findings[1:]:
        pairs = zip(found["seeds"], found["verdict"], verdicts, strict=True)
        verdicts = [said if seeds else before for seeds, said, before in pairs]
    for place, said in enumerate(verdicts):
        write_right(axes, place, short(said))
    zero_line(axes, zorder=1)
    name_rows(axes, names, f"{label}, 95% intervals")
    part_rows(axes, len(first), COLOURS["light"], linewidth=0.7, zorder=0)
    key(axes, "paper, over data sets", COLOURS["vermilion"], "X")
    for found, look in zip(findings, _SOURCES, strict=False):
        key(axes, f"{found['source'].iloc[0]}, {over(found, level='')}", *look)
    legend(figure, count)
    return headline(figure, title)


def _names(table: pd.DataFrame) -> list[str]:
    """What tells a table's rows apart, a line each; all keys where nothing does."""
    keys = [key for key in _KEYS if key in table]
    telling = [key for key in keys if table[key].nunique() > 1] or keys
    return ["\n".join(map(str, row)) for row in table[telling].itertuples(index=False)]


def cut_figure(table: pd.DataFrame, marks: Mapping[str, Mapping[str, int]]) -> Figure:
    """Share of texts that a limit cuts, without and with prompts: ``table`` is `lengths.cut_table(...)`.

    ``marks``: for each side, limits to point out, by name.
    """
    sides = list(dict.fromkeys(table["side"]))
    figure, panels = canvas(WIDTH, 3.1, columns=len(sides), squeeze=False)
    for axes, side in zip(panels[0], sides, strict=True):
        own = table[table["side"] == side]
        for on, (colour, style, name) in _PROMPTS.items():
            line = own[own["prompts"] == on].sort_values("limit")
            axes.plot(line["limit"], 100 * line["texts"], style, color=colour, linewidth=1.8, label=name)
        top = 115.0  # room for the names of the limits above 100 %
        for number, (text, limit) in enumerate(marks.get(side, {}).items()):
            axes.axvline(limit, color=COLOURS["grey"], linestyle=DASHED, linewidth=1.0)
            # The first stands to the left of its line, where the next one is not.
            offset, side_of_line = ((3, 0), "left") if number else ((-3, 0), "right")
            write(axes, f"{text}: {limit}", (limit, 0.99 * top), offset, va="top", ha=side_of_line)
        axes.set(
            xlabel=f"limit in tokens, {side}", ylim=(0, top), xlim=(own["limit"].min(), own["limit"].max())
        )
        axes.set_yticks(range(0, 101, 20))
    panels[0][0].set_ylabel("texts that are cut (%)")
    handles, labels = panels[0][0].get_legend_handles_labels()
    legend(figure, 2, handles=handles, labels=labels, handletextpad=None)
    return headline(figure, _cut_headline(table, marks))


def _cut_headline(table: pd.DataFrame, marks: Mapping[str, Mapping[str, int]]) -> str:
    """How much prompts move the share that is cut, at the first marked limit of each side."""
    words = []
    for side, limits in marks.items():
        own = table[(table["side"] == side) & (table["limit"] == next(iter(limits.values())))]
        shares = own.set_index("prompts")["texts"]
        plural = "queries" if side == "query" else f"{side}s"
        words.append(f"{plural} from {shares[False]:.0%} to {shares[True]:.0%}")
    return f"Prompts raise the share of texts that are cut: {', '.join(words)}"
