"""What stands before texts, as figures and tables: effects by arm and by slots, mismatches, who brings in the score.

Effects are measured in `verdicts.prefixes` (points of nDCG@10), shares in `evaluation.contributions`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from colbert_zero_lib.errors import ParameterError
from colbert_zero_lib.verdicts.prefixes import prefix_caption
from colbert_zero_lib.verdicts.verdict import CLEAR, NOT_RUN

from .grid import beside, counted, findings_table, legend_of_source, short
from .marks import (
    count_axis,
    cross,
    headline,
    in_row,
    key,
    legend,
    name_rows,
    over,
    with_interval,
    write_right,
    zero_line,
)
from .tables import PaperTable
from .theme import COLOURS, SMALL, WIDTH, canvas

_KIND = {
    "random": ("random words", COLOURS["orange"], "o"),
    "learned": ("learned tokens", COLOURS["green"], "s"),
    "mask": ("[MASK] tokens", COLOURS["purple"], "^"),
}
_PROMPTS = ("the prompts", COLOURS["blue"], "D")
_PAPER_TOKENS = 7  # of its prompts, with ModernBERT's tokenizer
_EVALUATED = {
    "nothing": ("white", "o"),
    "the prompts": (COLOURS["blue"], "D"),
    "the prompts as context only": (COLOURS["blue"], "o"),
}
_LENGTHS = {"+length": ("with extra length", "o", -0.1), "−length": ("without extra length", "s", 0.18)}
_WHAT = {
    "relevant": ("of the score, relevant documents", COLOURS["blue"], "D"),
    "others": ("of the score, other documents", COLOURS["grey"], "o"),
    "lead": ("of the lead between them", COLOURS["vermilion"], "s"),
}


def effects_figure(findings: pd.DataFrame) -> Figure:
    """Every arm with as many tokens as the prompts take, less the arm with nothing; a panel a start.

    ``findings`` is `effect_findings(source)`. Crosses are the paper's differences, of which it has two a start; arms
    that were not run have no dot.
    """
    rows = findings[~findings["sized"]]
    figure, panels, arms = _panels(rows, 1.2)
    for axes, (_, own) in zip(panels, rows.groupby("start", sort=False), strict=True):
        for row in own.itertuples():
            place = arms.index(str(row.arm))
            if row.seeds:
                in_row(axes, place, row, COLOURS["blue" if row.verdict == CLEAR else "grey"])
            if not np.isnan(row.paper):
                cross(axes, row.paper, place)
            write_right(axes, place, short(row.verdict))
        axes.set_xlabel("points over the arm with nothing")
    legend_of_source(figure, panels[0], findings)
    return headline(figure, f"{_counted(rows)} ({over(rows)})" if rows["seeds"].any() else _only_paper(rows))


def slots_figure(effects: pd.DataFrame, mismatches: pd.DataFrame) -> Figure:
    """Random words, learned tokens and ``[MASK]`` by their number, beside the prompts: what they add, what they leave.

    Above each arm less the arm with nothing, below the same weights evaluated with nothing less as trained; a column a
    start. ``effects`` is `effect_findings(source, prompts)`, ``mismatches`` `mismatch_findings(source, prompts)`; arms
    whose number of tokens is not known are left out.
    """
    starts = list(dict.fromkeys(effects["start"]))
    figure, panels = canvas(WIDTH, 5.2, rows=2, columns=len(starts), sharey="row", sharex=True, squeeze=False)
    known = [
        findings[findings["tokens"].fillna(0) > 0]
        for findings in (effects, mismatches[mismatches["evaluated"] == "nothing"])
    ]
    run = [findings[findings["seeds"] > 0] for findings in known]
    for row, findings in zip(panels, run, strict=True):
        for axes, start in zip(row, starts, strict=True):
            _by_tokens(axes, findings[findings["start"] == start])
        if len(findings):
            low, high = _limits(findings)
            row[0].set_ylim(low, high)
            for each in findings.itertuples():  # the widest run out, and an arrow says so
                axes = row[starts.index(str(each.start))]
                grey: dict[str, Any] = {"color": COLOURS["grey"], "markersize": 5, "clip_on": False}
                if each.low < low:
                    axes.plot(each.tokens, low, "v", **grey)
                if each.high > high:
                    axes.plot(each.tokens, high, "^", **grey)
    for (upper, lower), start in zip(panels.T, starts, strict=True):
        printed = effects[(effects["start"] == start) & (effects["kind"] == "prompts")]["paper"]
        cross(upper, [_PAPER_TOKENS] * len(printed), printed)
        upper.set_title(f"from {start}")
        lower.set_xlabel("tokens before either side (log scale)")
    panels[0, 0].set_ylabel("points over nothing")
    panels[1, 0].set_ylabel("evaluated with nothing,\npoints over as trained")
    counts = sorted(int(count) for count in known[0]["tokens"].unique())
    count_axis(panels[0, 0], counts, base=2)
    panels[0, 0].set_xlim(0.75, 1.35 * max(counts, default=1))
    for kind, look in (*_KIND.items(), ("prompts", _PROMPTS)):
        if kind in set(run[0]["kind"]):
            key(panels[0, 0], *look)
    cross(panels[0, 0], [], [], label="paper (BEIR), prompts")
    legend(figure, 5)
    above, below = (findings[findings["kind"].isin(list(_KIND))] for findings in known)
    words = _counted(above)
    if below["seeds"].any():
        words = f"{_counted(above, ' above')}. {_counted(below, ' below')}"
    return headline(figure, f"{words} ({over(above)})" if above["seeds"].any() else _only_paper(above))


def _by_tokens(axes: Axes, run: pd.DataFrame) -> None:
    """A line for each kind of prefix over its number of tokens, and the prompts beside them: arms that were run."""
    axes.axhline(0, color=COLOURS["ink"], linewidth=0.9, zorder=1)
    for (kind, (_, colour, marker)), shift in zip(_KIND.items(), (0.94, 1.0, 1.06), strict=True):
        line = run[run["kind"] == kind].sort_values("tokens")
        places = line["tokens"].astype(float).to_numpy() * shift
        axes.plot(places, line["value"], color=colour, linewidth=1.2, zorder=2)
        for x, row in zip(places, line.itertuples(), strict=True):
            with_interval(axes, x, (row.value, row.low, row.high), colour, marker)
    for row in run[run["kind"] == "prompts"].itertuples():
        with_interval(axes, float(row.tokens) * 1.13, (row.value, row.low, row.high), *_PROMPTS[1:])


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
    """Room for every point and every interval but the widest, which would press the others flat and run out."""
    widths = rows["high"] - rows["low"]
    usual = rows[widths <= 3 * widths.median()]
    low = min(0.0, usual["low"].min(), rows["value"].min())
    high = max(0.0, usual["high"].max(), rows["value"].max())
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def mismatch_figure(findings: pd.DataFrame) -> Figure:
    """The same weights with nothing, or with the prompts, before texts at evaluation, less as trained; a panel a start.

    ``findings`` is `mismatch_findings(source)`, of which arms with as many tokens as the prompts are drawn.
    """
    rows = findings[~findings["sized"]]
    figure, panels, arms = _panels(rows, 1.3)
    names = list(_EVALUATED)
    for axes, (_, own) in zip(panels, rows.groupby("start", sort=False), strict=True):
        for row in own.itertuples():
            face, marker = _EVALUATED[str(row.evaluated)]
            place = arms.index(str(row.arm)) + 0.24 * (names.index(str(row.evaluated)) - 1)
            if row.seeds:
                colour = COLOURS["blue" if row.verdict == CLEAR else "grey"]
                in_row(axes, place, row, colour, marker)
                filled = colour if face == COLOURS["blue"] else face
                look: dict[str, Any] = {"markerfacecolor": filled, "markeredgecolor": colour}
                axes.plot(row.value, place, marker, markersize=4.5, zorder=4, **look)
        for arm in arms:
            said = set(own.loc[own["arm"] == arm, "verdict"])
            write_right(axes, arms.index(arm), NOT_RUN if said == {NOT_RUN} else "")
        axes.set_xlabel("points over evaluated as trained")
    for name, (face, marker) in _EVALUATED.items():
        look = {"markerfacecolor": face, "markeredgecolor": COLOURS["grey"], "linestyle": "none"}
        panels[0].plot([], [], marker=marker, label=f"evaluated with {name}", **look)
    key(panels[0], f"{CLEAR}, after Holm's correction", COLOURS["blue"], "|")
    legend(figure, 3)
    none = "No such evaluation is recorded yet, and the paper has none"
    return headline(figure, f"{_counted(rows)} ({over(rows)})" if rows["seeds"].any() else none)


def expansion_figure(findings: pd.DataFrame) -> Figure:
    """What prompts add without and with query expansion, and what expansion adds; a column for each start that was run.

    Above what differs in training, below the same weights evaluated otherwise, on a scale of their own. ``findings``
    is `expansion_findings(source)`; of it only what was run is drawn, by the extra length.
    """
    run = findings[findings["seeds"] > 0]
    rows = run if len(run) else findings
    turned = rows["comparison"].str.startswith("trained")
    starts, halves = list(dict.fromkeys(rows["start"])), (rows[~turned], rows[turned])
    figure, panels = canvas(
        WIDTH,
        4.8,
        rows=2,
        columns=len(starts),
        sharex="row",
        sharey="row",
        squeeze=False,
        height_ratios=(5, 4),
    )
    for line, half in zip(panels, halves, strict=True):
        comparisons = list(dict.fromkeys(half["comparison"]))
        for axes, start in zip(line, starts, strict=True):
            zero_line(axes, zorder=1)
            for row in half[(half["start"] == start) & (half["seeds"] > 0)].itertuples():
                _, marker, shift = _LENGTHS[str(row.length)]
                place = comparisons.index(str(row.comparison)) + shift
                in_row(axes, place, row, COLOURS["blue" if row.verdict == CLEAR else "grey"], marker)
            names = [textwrap.fill(words, 40) for words in comparisons]
            name_rows(axes, names, "points of nDCG@10, 95% intervals" if half is halves[1] else "")
    for axes, start in zip(panels[0], starts, strict=True):
        axes.set_title(f"from {start}")
    for length, (name, marker, _) in _LENGTHS.items():
        if length in set(run["length"]):
            key(panels[0, 0], name, COLOURS["grey"], marker)
    key(panels[0, 0], f"{CLEAR}, after Holm's correction", COLOURS["blue"], "|")
    legend(figure, 3)
    words = f"{counted(run, f'{len(run)} differences')} ({over(run)})"
    return headline(figure, words if len(run) else "No arm with query expansion is recorded yet")


def contributions_figure(shares: pd.DataFrame, title: str = "") -> Figure:
    """Who brings in the score: shares by part of the query and of the document, with intervals over queries.

    ``shares`` is `contribution_intervals(frame)`; parts that no text has are left out. A grey bar is the share of the
    tokens. ``title`` says which model it is.
    """
    present = shares.groupby("part", sort=False)["tokens"].max()
    parts = [str(part) for part, most in present.items() if most > 0]
    figure, panels = canvas(WIDTH, 1.3 + 0.5 * len(parts), columns=2, sharey=True)
    said = {
        "query": "query tokens, by what they are",
        "document": "query tokens, by what they match\nin the document",
    }
    for axes, side in zip(panels, said, strict=True):
        for place, part in enumerate(parts):
            own = shares[(shares["side"] == side) & (shares["part"] == part)].set_index("what")
            tokens = 100 * own.loc["relevant", "tokens"]
            axes.barh(place, tokens, height=0.74, color=COLOURS["light"], zorder=1)
            for shift, (what, look) in zip((-0.22, 0.0, 0.22), _WHAT.items(), strict=True):
                shares_of = (100 * own.loc[what, ["value", "low", "high"]]).astype(float)
                in_row(axes, place + shift, shares_of, *look[1:])
        zero_line(axes, zorder=1)
        name_rows(axes, parts, "share (%), 95% interval over queries")
        axes.set_title(said[side], fontsize=SMALL + 0.5)
    panels[0].barh([0], [0], color=COLOURS["light"], label="of the query's tokens")
    for look in _WHAT.values():
        key(panels[0], *look)
    legend(figure, 2, handletextpad=0.3)
    return headline(figure, contributions_headline(shares, title))


def contributions_headline(shares: pd.DataFrame, title: str = "") -> str:
    """What the prefix of queries has of tokens, score and lead, in one line."""
    own = shares[(shares["side"] == "query") & (shares["part"] == "prefix")].set_index("what")
    score, lead = (round(100 * own.loc[what, "value"]) for what in ("relevant", "lead"))
    tokens = 100 * own.loc["relevant", "tokens"]
    start = f"{title}: prefix" if title else "Prefix"
    if not tokens:
        return f"{start} has no scored token in queries"
    return f"{start} is {tokens:.0f}% of query tokens, {score}% of score, {lead}% of the lead"


def token_bars(
    tokens: Sequence[str], relevant: np.ndarray, others: np.ndarray, prefix: Sequence[bool], title: str
) -> Figure:
    """One query token by token: best cosine in its relevant document and, as mean and 90% range, in other documents.

    ``relevant`` is [tokens], ``others`` [documents, tokens]; ``prefix`` marks the tokens that stand before the text.
    ParameterError when they do not belong together.
    """
    relevant, others = np.asarray(relevant, float), np.atleast_2d(np.asarray(others, float))
    if relevant.shape != (len(tokens),) or others.shape[1:] != (len(tokens),) or len(prefix) != len(tokens):
        raise ParameterError(
            f"{len(tokens)} tokens need as many cosines and marks, not {relevant.shape}, {others.shape} and "
            f"{len(prefix)}."
        )
    figure, axes = canvas(WIDTH, 1.2 + 0.24 * len(tokens))
    colours = [COLOURS["orange"] if marked else COLOURS["blue"] for marked in prefix]
    axes.barh(range(len(tokens)), relevant, color=colours, height=0.66, alpha=0.75, zorder=2)
    low, high = np.quantile(others, [0.05, 0.95], axis=0)
    for place in range(len(tokens)):
        mean = float(others[:, place].mean())
        with_interval(axes, place, (mean, low[place], high[place]), COLOURS["ink"], "o", horizontal=True)
        write_right(axes, place, f"{relevant[place] - mean:+.2f}".replace("-", "−"))
    label = "best cosine in a document; at the right, relevant less mean of others"
    name_rows(axes, tokens, label, -0.7)
    axes.barh([0], [0], color=COLOURS["orange"], alpha=0.75, label="prefix, relevant document")
    axes.barh([0], [0], color=COLOURS["blue"], alpha=0.75, label="markers and text, relevant document")
    key(axes, f"{len(others)} other documents, 90% of them", COLOURS["ink"])
    legend(figure, 3, handletextpad=0.3)
    return headline(figure, title)


def effect_table(*findings: pd.DataFrame) -> PaperTable:
    """Each arm less the arm with nothing, a column a source; tests and verdicts are of the last.

    Each is an `effect_findings(source)`, or rows of one.
    """
    return _table("prefix_effects", "Arms less the arm with nothing", ["start", "arm", "tokens"], findings)


def mismatch_table(*findings: pd.DataFrame) -> PaperTable:
    """The same weights evaluated otherwise than trained, less as trained; each is a `mismatch_findings(source)`."""
    what = "Evaluated otherwise than trained, less as trained"
    return _table("prefix_mismatches", what, ["start", "arm", "evaluated"], findings)


def explanation_table(*findings: pd.DataFrame) -> PaperTable:
    """What would explain prompts: predictions, all of the form "above zero"; each is `explanation_findings(source)`."""
    columns = ["start", "explanation", "comparison"]
    return _table("prefix_explanations", "Predictions, all of them above zero", columns, findings)


def _table(name: str, what: str, columns: list[str], findings: Sequence[pd.DataFrame]) -> PaperTable:
    last = findings[-1]
    table = last[columns].assign(**beside(findings, empty=NOT_RUN))
    return findings_table(name, prefix_caption(last, what), table, last, columns[:1])


def _panels(rows: pd.DataFrame, height: float) -> tuple[Figure, Sequence[Axes], list[str]]:
    """A panel for each start, with a row for each arm and a line at zero."""
    if rows.empty:
        raise ParameterError("There are no arms to draw: pass the table that verdicts.prefixes makes.")
    starts, arms = list(dict.fromkeys(rows["start"])), list(dict.fromkeys(rows["arm"].astype(str)))
    figure, panels = canvas(WIDTH, height + 0.3 * len(arms), columns=len(starts), sharey=True, sharex=True)
    for axes, start in zip(np.atleast_1d(panels), starts, strict=True):
        zero_line(axes, zorder=1)
        axes.set_title(f"from {start}")
        name_rows(axes, arms)
    return figure, list(np.atleast_1d(panels)), arms


def _counted(rows: pd.DataFrame, where: str = "") -> str:
    return counted(rows, f"{len(rows)} differences{where}")


def _only_paper(rows: pd.DataFrame) -> str:
    return f"None of these {len(rows)} arms is recorded yet: the crosses are the paper's, on BEIR"
