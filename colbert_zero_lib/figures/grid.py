"""The ablation grid as figures and tables: the paper's deltas beside those of runs, and how far seeds move an arm.

What is drawn is measured in `published.grid`; everything is nDCG@10 in points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from colbert_zero_lib.errors import ParameterError
from colbert_zero_lib.published.grid import (
    AGREES,
    DIFFERS,
    NOT_RESOLVABLE,
    NOT_RUN,
    RULE,
    WITHIN_NOISE,
    delta_caption,
)

from .marks import headline, with_interval, write_right
from .tables import PaperTable, interval_text, make_table
from .theme import COLOURS, SMALL, WIDTH, canvas

_EFFECT = {"prompts": "+ prompts", "length": "+ length", "both": "+ both"}
_SWITCHES = {
    "−prompts −length": "neither",
    "+prompts −length": "+ prompts",
    "−prompts +length": "+ length",
    "+prompts +length": "+ both",
    "−prompts −length, +length at evaluation": "+ length late",
}
_SHORT = {NOT_RESOLVABLE: "not resolvable"}
_GAP = 0.7  # rows left free between blocks


def deltas_figure(findings: pd.DataFrame) -> Figure:
    """Table 5 delta by delta: the paper's as a cross, that of runs with its interval, and the verdict in words.

    ``findings`` is `delta_findings(source)`. Deltas that were not run have their cross alone.
    """
    _need(findings, "deltas")
    figure, axes, places = _rows(findings, [_EFFECT[str(effect)] for effect in findings["effect"]])
    for place, row in zip(places, findings.itertuples(), strict=True):
        if row.seeds:
            colour = COLOURS["blue"] if row.verdict in (AGREES, DIFFERS) else COLOURS["grey"]
            with_interval(axes, place, (row.value, row.low, row.high), colour, "o", horizontal=True)
        axes.plot(
            row.paper, place, "x", color=COLOURS["vermilion"], markersize=6, markeredgewidth=1.6, zorder=4
        )
        write_right(axes, place, _SHORT.get(str(row.verdict), str(row.verdict)))
    axes.axvline(0, color=COLOURS["ink"], linewidth=0.9, zorder=1)
    over = "queries and seeds" if findings["seeds"].max() > 1 else "queries"
    axes.set_xlabel(f"points of nDCG@10 over the arm with neither, 95% interval over {over}")
    _room_at_left(axes)
    name = findings["source"].iloc[0]
    axes.plot([], [], "x", color=COLOURS["vermilion"], markeredgewidth=1.6, label="paper (BEIR)")
    axes.plot([], [], "o", color=COLOURS["blue"], label=f"{name}, clear")
    axes.plot([], [], "o", color=COLOURS["grey"], label=f"{name}, not clear")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, handletextpad=0.2)
    return headline(figure, deltas_headline(findings))


def _rows(table: pd.DataFrame, names: Sequence[str]) -> tuple[Figure, Axes, list[float]]:
    """A canvas with a row for each of the table's, named inside at the left, in blocks of one start and stage."""
    places: list[float] = []
    ticks: dict[tuple[str, str], list[float]] = {}
    y = 0.0
    keys = [(str(start), str(stage)) for start, stage in zip(table["start"], table["stage"], strict=True)]
    for before, key in zip([None, *keys], keys, strict=False):
        y += _GAP if before not in (None, key) else 0.0
        places.append(y)
        ticks.setdefault(key, []).append(y)
        y += 1
    figure, axes = canvas(WIDTH, 1.2 + 0.22 * y)
    for place, name in zip(places, names, strict=True):
        look: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        axes.annotate(name, (0.0, place), (4, 0), va="center", fontsize=SMALL, **look)
    axes.set_yticks([float(np.mean(rows)) for rows in ticks.values()], [_block(*key) for key in ticks])
    axes.set_ylim(y - 0.3, -0.8)
    axes.grid(axis="y", visible=False)
    return figure, axes, places


def _block(start: str, stage: str) -> str:
    if start == "base encoder":
        return stage.replace(" ", "\n", 1)
    base, bare, _ = start.partition(", no prompts")
    return f"{base}\n(no prompts), {stage}" if bare else f"{base}\n{stage}"


def _room_at_left(axes: Axes) -> None:
    """Widen the horizontal axis for the names of the rows."""
    low, high = axes.get_xlim()
    axes.set_xlim(low - 0.18 * (high - low), high)


def deltas_headline(findings: pd.DataFrame) -> str:
    """The finding of a table of deltas in one line: how many verdicts of each kind."""
    run = findings[findings["verdict"] != NOT_RUN]
    if run.empty:
        return f"None of the paper's {len(findings)} deltas has been run yet"
    counts = run["verdict"].value_counts()
    words = [
        f"{counts[said]} {'agree' if said == AGREES else 'differ' if said == DIFFERS else _SHORT.get(said, said)}"
        for said in (AGREES, DIFFERS, WITHIN_NOISE, NOT_RESOLVABLE)
        if said in counts
    ]
    of = "" if len(run) == len(findings) else f", {len(run)} of them run"
    return f"Of the paper's {len(findings)} deltas{of}: {', '.join(words)}"


def delta_table(*findings: pd.DataFrame) -> PaperTable:
    """Table 5 with the deltas of runs beside: a column a source; tests and verdicts are of the last one.

    Each is a `delta_findings(source)`.
    """
    last = findings[-1]
    columns: dict[str, Any] = {"paper": last["paper"], **_beside(findings)}
    table = last[["start", "stage", "effect"]].assign(
        **columns,
        **{
            "seeds": last["seeds"],
            "smallest shown": last["smallest"],
            "p": last["p"],
            "p (Holm)": last["p_holm"],
            "verdict": last["verdict"],
        },
    )
    formats = {"paper": "{:+.2f}", "smallest shown": "±{:.2f}", "p": "{:.3f}", "p (Holm)": "{:.3f}"}
    return make_table(table, "grid_deltas", delta_caption(last), formats, labels=["start", "stage"])


def row_table(number: int, *findings: pd.DataFrame) -> PaperTable:
    """Table 3 or 4 with the arms of runs beside: means, then the row less the arm with neither switch, and its verdict.

    Each is a `row_findings(number, source)`; tests and verdicts are of the last one.
    """
    last = findings[-1]
    means = {
        name: [_mean_text(*row) for row in one[["mean", "mean_low", "mean_high"]].itertuples(index=False)]
        for name, one in _names(findings).items()
    }
    table = last[["start", "stage", "switches"]].assign(paper=last["paper"], **means, seeds=last["seeds"])
    table["paper: less neither"] = last["paper_delta"]
    for name, texts in _beside(findings).items():
        table[f"{name}: less neither"] = texts
    table["smallest shown"], table["verdict"] = last["smallest"], last["verdict"]
    formats = {"paper": "{:.2f}", "paper: less neither": "{:+.2f}", "smallest shown": "±{:.2f}"}
    caption = (
        f"Table {number} and runs of another scale, nDCG@10 in points: means with 95% intervals over queries and "
        f"seeds. Runs are asked for the sign of the difference from the arm with neither switch; {RULE}."
    )
    return make_table(table, f"grid_table{number}", caption, formats, labels=["start", "stage"])


def power_table(findings: pd.DataFrame, effect: float) -> PaperTable:
    """How many seeds each delta needs: ``findings`` is `power_findings(source, effect)`."""
    names = {
        "of_queries": "SD by queries",
        "of_seeds": "SD of a seed",
        "smallest": "shown now",
        "floor": "shown at best",
        "needed": f"seeds for {effect:g}",
        "needed_for_paper": "seeds for the paper's",
    }
    table = findings.drop(columns="reason").rename(columns=names)
    for column in (names["needed"], names["needed_for_paper"]):
        known = zip(table[column], findings["floor"], strict=True)
        table[column] = [
            f"{count:,}" if not pd.isna(count) else "" if np.isnan(floor) else "no number"
            for count, floor in known
        ]
    formats = {"paper": "{:+.2f}"} | dict.fromkeys(list(names.values())[:4], "{:.2f}")
    caption = (
        "Seeds that a delta needs to be found in 80 of 100 cases at the 5% level, points of nDCG@10; shown at best: by "
        "any number of seeds on these queries"
    )
    return make_table(table, "grid_power", caption, formats, labels=["start", "stage"])


def _names(findings: Sequence[pd.DataFrame]) -> Mapping[str, pd.DataFrame]:
    return {str(one["source"].iloc[0]): one for one in findings}


def _beside(findings: Sequence[pd.DataFrame]) -> dict[str, list[str]]:
    return {
        name: [
            interval_text(*row) if not np.isnan(row[0]) else ""
            for row in one[["value", "low", "high"]].itertuples(index=False)
        ]
        for name, one in _names(findings).items()
    }


def _mean_text(mean: float, low: float, high: float) -> str:
    return NOT_RUN if np.isnan(mean) else f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def _need(table: pd.DataFrame, what: str) -> None:
    if table.empty:
        raise ParameterError(f"There are no {what} to draw: pass the table that published.grid makes.")
