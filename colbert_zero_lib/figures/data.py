"""Figures of the texts: token lengths by source, shared words against BM25.

Counting is done by the caller; intervals come in with the scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .marks import headline, with_interval, write
from .theme import BASELINE, COLOURS, DASHED, WIDTH, canvas

_QUERY, _DOCUMENT = COLOURS["orange"], COLOURS["blue"]


def length_histograms(
    lengths: Mapping[str, tuple[Sequence[int], Sequence[int]]], limits: tuple[int, int] | None = None
) -> Figure:
    """Histogram of tokens per query and per document for every source, on one logarithmic axis.

    ``lengths`` maps a source to its (query, document) token counts; ``limits`` are the (query, document) maxima at
    which texts are cut, drawn as dashed lines. Each histogram has the same height.
    """
    figure, axes = canvas(WIDTH, 0.9 + 0.3 * len(lengths))
    # Edges between whole numbers: no bin is empty by rounding.
    edges = np.unique(np.geomspace(2, 1024, 37).round()) - 0.5
    middle = np.sqrt(edges[:-1] * edges[1:])
    for place, counted in enumerate(lengths.values()):
        for counts, colour in zip(counted, (_QUERY, _DOCUMENT), strict=True):
            height, _ = np.histogram(np.clip(counts, 2, 1023), bins=edges)
            curve = place - 0.85 * height / max(1, height.max())
            axes.fill_between(middle, place, curve, step="mid", color=colour, alpha=0.55, linewidth=0)
    rule = ""
    if limits:
        for limit, colour in zip(limits, (_QUERY, _DOCUMENT), strict=True):
            axes.axvline(limit, color=colour, linestyle=DASHED, linewidth=1.2)
        long = np.concatenate([np.asarray(documents) > limits[1] for _, documents in lengths.values()])
        rule = f": {long.mean():.0%} of documents are longer than the limit of {limits[1]}"
    axes.set_xscale("log", base=2)
    ticks = [2**power for power in range(1, 11)]
    axes.set_xticks(ticks, ticks)
    axes.set_yticks([place - 0.3 for place in range(len(lengths))], list(lengths))
    axes.set(xlim=(2, 1024), ylim=(len(lengths) - 0.6, -1.6), xlabel="tokens (log scale)")
    axes.text(7, -1.05, "queries", color=_QUERY, weight="bold", ha="center")
    axes.text(90, -1.05, "documents", color=_DOCUMENT, weight="bold", ha="center")
    axes.grid(axis="y", visible=False)
    axes.minorticks_off()
    return headline(figure, f"Queries are short and documents vary{rule}")


def overlap_and_scores(table: pd.DataFrame) -> Figure:
    """Share of a query's words that its answer holds, against two baselines' nDCG@10.

    ``table`` has one row a collection and baseline: collection, overlap (0 to 1), system, mean, low, high (points).
    """
    figure, axes = canvas(WIDTH, 3.6)
    for system, rows in table.groupby("system", sort=False):
        colour = BASELINE.get(str(system), COLOURS["green"])
        # A little aside, so that neither baseline hides the other.
        marker, aside = ("o", -0.004) if system == "BM25" else ("s", 0.004)
        for row in rows.itertuples():
            with_interval(axes, row.overlap + aside, (row.mean, row.low, row.high), colour, marker)
        axes.plot([], [], marker, color=colour, label=str(system))
    for collection, rows in table.groupby("collection", sort=False):
        top = rows.loc[rows["high"].idxmax()]
        place = (top["overlap"], top["high"])
        write(axes, str(collection), place, (0, 3), ha="center", va="baseline")
    bm25 = table[table["system"] == "BM25"]
    correlation = bm25["overlap"].corr(bm25["mean"], method="spearman")
    axes.set_xlabel("share of a query's words that its answer contains")
    axes.set_ylabel("nDCG@10 (points), 95% interval")
    axes.margins(x=0.06, y=0.1)
    axes.legend(loc="lower right", frameon=True, edgecolor="white")
    told = f"rank correlation {correlation:.2f} over {len(bm25)} collections"
    return headline(figure, f"Shared words and BM25: {told}")
