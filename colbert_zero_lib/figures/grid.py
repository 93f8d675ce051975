"""The ablation grid as figures and tables: the paper's deltas beside those of runs, and how far seeds move an arm.

What is drawn is measured in `verdicts.grid`; everything is nDCG@10 in points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from colbert_zero_lib.errors import ParameterError
from colbert_zero_lib.verdicts.grid import delta_caption
from colbert_zero_lib.verdicts.verdict import (
    AGREES,
    CLEAR,
    CLEARLY,
    DIFFERS,
    NOT_RESOLVABLE,
    NOT_RUN,
    SIGN_RULE,
    WITHIN_NOISE,
    lent_words,
)

from .marks import cross, headline, in_row, key, legend, over, write, write_right, zero_line
from .tables import PaperTable, interval_texts, make_table
from .theme import COLOURS, WIDTH, canvas

_PLURAL = {AGREES: "agree", DIFFERS: "differ"}
_ORDER = (AGREES, DIFFERS, CLEAR, WITHIN_NOISE, NOT_RESOLVABLE)
_GAP = 0.7  # rows left free between blocks


def deltas_figure(findings: pd.DataFrame) -> Figure:
    """Table 5 delta by delta: the paper's as a cross, that of runs with its interval, and the verdict in words.

    ``findings`` is `delta_findings(source)`. Deltas that were not run have their cross alone.
    """
    if findings.empty:
        raise ParameterError("There are no deltas to draw: pass the table that verdicts.grid makes.")
    figure, axes, places = _rows(findings, [f"+ {effect}" for effect in findings["effect"]])
    for place, row in zip(places, findings.itertuples(), strict=True):
        if row.seeds:
            in_row(axes, place, row, COLOURS["blue" if row.verdict in CLEARLY else "grey"])
        cross(axes, row.paper, place)
        write_right(axes, place, short(row.verdict))
    zero_line(axes, zorder=1)
    axes.set_xlabel(f"points of nDCG@10 over the arm with neither, {over(findings)}")
    low, high = axes.get_xlim()
    axes.set_xlim(low - 0.18 * (high - low), high)  # room for the names of the rows
    legend_of_source(figure, axes, findings)
    return headline(figure, deltas_headline(findings))


def short(verdict: object) -> str:
    """A verdict in as few words as fit beside a row."""
    return str(verdict).removesuffix(" at this scale")


def legend_of_source(figure: Figure, axes: Axes, findings: pd.DataFrame) -> None:
    """The legend of the paper's crosses and of one source's intervals."""
    name = findings["source"].iloc[0]
    cross(axes, [], [], label="paper (BEIR)")
    key(axes, f"{name}, clear", COLOURS["blue"])
    key(axes, f"{name}, not clear", COLOURS["grey"])
    legend(figure, 3)


def _rows(table: pd.DataFrame, names: Sequence[str]) -> tuple[Figure, Axes, list[float]]:
    """A canvas with a row for each of the table's, named inside at the left, in blocks of one start and stage."""
    places: list[float] = []
    ticks: dict[tuple[str, str], list[float]] = {}
    y = 0.0
    keys = [(str(start), str(stage)) for start, stage in zip(table["start"], table["stage"], strict=True)]
    for before, block in zip([None, *keys], keys, strict=False):
        y += _GAP if before not in (None, block) else 0.0
        places.append(y)
        ticks.setdefault(block, []).append(y)
        y += 1
    figure, axes = canvas(WIDTH, 1.2 + 0.22 * y)
    for place, name in zip(places, names, strict=True):
        write(axes, name, (0.0, place), (4, 0), xycoords=("axes fraction", "data"))
    axes.set_yticks([float(np.mean(rows)) for rows in ticks.values()], [_block(*key) for key in ticks])
    axes.set_ylim(y - 0.3, -0.8)
    axes.grid(axis="y", visible=False)
    return figure, axes, places


def _block(start: str, stage: str) -> str:
    if start == "base encoder":
        return stage.replace(" ", "\n", 1)
    base, bare, _ = start.partition(", no prompts")
    return f"{base}\n(no prompts), {stage}" if bare else f"{base}\n{stage}"


def deltas_headline(findings: pd.DataFrame) -> str:
    """The finding of a table of deltas in one line: how many verdicts of each kind."""
    if not findings["seeds"].any():
        return f"None of the paper's {len(findings)} deltas has been run yet"
    return counted(findings, f"the paper's {len(findings)} deltas")


def counted(findings: pd.DataFrame, what: str) -> str:
    """How many verdicts of each kind there are among ``what``: ``Of 16 differences, 5 of them run: 5 clear``."""
    run = findings[findings["seeds"] > 0]
    counts = run["verdict"].value_counts()
    words = [f"{counts[said]} {_PLURAL.get(said) or short(said)}" for said in _ORDER if said in counts]
    return f"Of {what}{'' if len(run) == len(findings) else f', {len(run)} of them run'}: {', '.join(words)}"


def delta_table(*findings: pd.DataFrame) -> PaperTable:
    """Table 5 with the deltas of runs beside: a column a source; tests and verdicts are of the last one.

    Each is a `delta_findings(source)`.
    """
    last = findings[-1]
    table = last[["start", "stage", "effect", "paper"]].assign(**beside(findings))
    return findings_table("grid_deltas", delta_caption(last), table, last, ["start", "stage"])


def findings_table(
    name: str, caption: str, table: pd.DataFrame, last: pd.DataFrame, labels: Sequence[str]
) -> PaperTable:
    """``table`` with the tests and verdicts of ``last``, findings with the same rows."""
    tests = last[["seeds", "smallest", "p", "p_holm", "verdict"]]
    table = table.join(tests.rename(columns={"smallest": "smallest shown", "p_holm": "p (Holm)"}))
    formats = {"smallest shown": "±{:.2f}", "p": "{:.3f}", "p (Holm)": "{:.3f}"}
    formats |= {"paper": "{:+.2f}"} if "paper" in table else {}
    return make_table(table, name, caption, formats, labels=labels)


def beside(findings: Sequence[pd.DataFrame], form: str = "{}", empty: str = "") -> dict[str, list[str]]:
    """A column of differences with their intervals for each source, by its name in ``form``."""
    return {form.format(one["source"].iloc[0]): interval_texts(one, empty) for one in findings}


def row_table(number: int, *findings: pd.DataFrame) -> PaperTable:
    """Table 3 or 4 with the arms of runs beside: means, then the row less the arm with neither switch, and its verdict.

    Each is a `row_findings(number, source)`; tests and verdicts are of the last one.
    """
    last = findings[-1]
    means = {str(one["source"].iloc[0]): _mean_texts(one) for one in findings}
    table = last[["start", "stage", "switches", "paper"]].assign(**means, seeds=last["seeds"])
    table["paper: less neither"] = last["paper_delta"]
    table = table.assign(**beside(findings, "{}: less neither"))
    table["smallest shown"], table["verdict"] = last["smallest"], last["verdict"]
    formats = {"paper": "{:.2f}", "paper: less neither": "{:+.2f}", "smallest shown": "±{:.2f}"}
    lent = lent_words(zip(last["seeds"], last["mean_spread"], strict=True))
    caption = (
        f"Table {number} and runs of another scale, nDCG@10 in points: means with 95% intervals over queries and seeds "
        f"(two-level test).{lent} Runs are asked for the sign of the difference from the arm with neither switch; "
        f"{SIGN_RULE}."
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


def _mean_texts(findings: pd.DataFrame) -> list[str]:
    rows = findings[["mean", "mean_low", "mean_high"]].itertuples(index=False)
    return [NOT_RUN if np.isnan(mean) else f"{mean:.2f} [{low:.2f}, {high:.2f}]" for mean, low, high in rows]
