"""Figures of the texts: token lengths by source, shared words against what an encoder gains.

Counting is done by the caller; intervals come in with the scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from colbert_zero_lib.verdicts.verdict import leaves_out_zero

from .marks import headline, with_interval, write
from .theme import COLOURS, DASHED, WIDTH, canvas

_QUERY, _DOCUMENT = COLOURS["orange"], COLOURS["blue"]


def length_histograms(
    lengths: Mapping[str, tuple[Sequence[int], Sequence[int]]], limits: tuple[int, int]
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
    for limit, colour in zip(limits, (_QUERY, _DOCUMENT), strict=True):
        axes.axvline(limit, color=colour, linestyle=DASHED, linewidth=1.2)
    long = np.concatenate([np.asarray(documents) > limits[1] for _, documents in lengths.values()])
    axes.set_xscale("log", base=2)
    ticks = [2**power for power in range(1, 11)]
    axes.set_xticks(ticks, ticks)
    axes.set_yticks([place - 0.3 for place in range(len(lengths))], list(lengths))
    axes.set(xlim=(2, 1024), ylim=(len(lengths) - 0.6, -1.6), xlabel="tokens (log scale)")
    axes.text(7, -1.05, "queries", color=_QUERY, weight="bold", ha="center")
    axes.text(90, -1.05, "documents", color=_DOCUMENT, weight="bold", ha="center")
    axes.grid(axis="y", visible=False)
    axes.minorticks_off()
    rule = f"{long.mean():.0%} of documents pass {limits[1]} tokens"
    return headline(figure, f"Queries are short and documents vary: {rule}")


def overlap_and_gains(table: pd.DataFrame) -> Figure:
    """Share of a query's words that its answer holds, against what an encoder gains over BM25, paired over queries.

    ``table`` has one row a collection: collection, overlap (0 to 1), delta, low, high (points of nDCG@10).
    """
    figure, axes = canvas(WIDTH, 3.2)
    for row in table.itertuples():
        colour = COLOURS["purple" if leaves_out_zero(row.low, row.high) else "grey"]
        with_interval(axes, row.overlap, (row.delta, row.low, row.high), colour)
        write(axes, str(row.collection), (row.overlap, row.high), (0, 3), ha="center", va="baseline")
    axes.axhline(0, color=COLOURS["ink"], linewidth=0.9)
    axes.set_xlabel("share of a query's words that its answer contains")
    axes.set_ylabel("MiniLM minus BM25,\nnDCG@10 (points), 95% interval")
    axes.margins(x=0.06, y=0.1)
    found = spearmanr(table["overlap"], table["delta"])
    told = f"rank correlation with shared words {found.statistic:+.2f}".replace("-", "−")
    if found.pvalue < 0.05 and found.statistic < 0:
        return headline(figure, f"The fewer words are shared, the more an encoder gains: {told}")
    clear = sum(leaves_out_zero(row.low, row.high) for row in table.itertuples())
    return headline(figure, f"{clear} of {len(table)} collections show a difference; {told}")
