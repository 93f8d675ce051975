"""Figures of the training phases: temperature, cached gradients, hard negatives, teacher's targets.

Arrays and tables come in; no model is opened here. Losses and scores are drawn in `pipelines`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .marks import count_axis, headline, label_ends, write, zero_line
from .theme import COLOURS, DASHED, INTERACTION, NAME, SMALL, WIDTH, canvas


def sharpness(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], marks: Mapping[str, float]
) -> Figure:
    """Effective number of documents in the softmax against the temperature, both on a log scale.

    ``curves`` maps ``dense`` and ``colbert`` to (temperatures, effective numbers); ``marks`` names temperatures.
    """
    figure, axes = canvas(WIDTH, 3.1)
    for name, (temperatures, effective) in curves.items():
        axes.plot(temperatures, effective, color=INTERACTION[name], linewidth=1.8)
    axes.set(xscale="log", yscale="log", xlabel="temperature (log scale)")
    axes.set_ylabel("effective documents")
    top = max(max(effective) for _, effective in curves.values())
    ticks = [tick for tick in (1, 2, 4, 8, 16, 32, 64, 128, 256) if tick <= 1.2 * top]
    axes.set_yticks(ticks, ticks)
    axes.minorticks_off()
    axes.set_ylim(0.85, 1.6 * top)
    for text, temperature in marks.items():
        axes.axvline(temperature, color=COLOURS["grey"], linestyle=DASHED, linewidth=1.0)
        axes.text(temperature, 1.55 * top, f" {text}", va="top", fontsize=SMALL, color=COLOURS["grey"])
    for name, (temperatures, effective) in curves.items():
        at = int(np.abs(np.asarray(effective) - top**0.5).argmin())
        look = {"va": "top", "fontsize": SMALL + 0.5, "color": INTERACTION[name]}
        axes.text(temperatures[at] * 1.15, effective[at], NAME[name], **look)
    return headline(figure, "The same temperature means something else for a cosine and for a sum of cosines")


def memory_by_chunk(table: pd.DataFrame) -> Figure:
    """Peak activation memory of one batch: columns chunk (texts encoded at once), cached (bool), mebibytes."""
    figure, axes = canvas(WIDTH, 3.0)
    ends = {}
    looks = ((False, COLOURS["orange"], "all activations kept"), (True, COLOURS["blue"], "gradients cached"))
    for cached, colour, name in looks:
        own = table[table["cached"] == cached].sort_values("chunk")
        axes.plot(own["chunk"], own["mebibytes"], "o-", color=colour, markersize=4, linewidth=1.6)
        ends[name] = (float(own["mebibytes"].iloc[-1]), colour)
    chunks = sorted(set(table["chunk"]))
    count_axis(axes, chunks, base=2)
    highest = float(table["mebibytes"].max())
    axes.set(ylim=(0, 1.12 * highest), xlabel="texts encoded at once (log scale)")
    axes.set_ylabel("activations kept (MiB)")
    label_ends(axes, chunks[-1], ends, gap=0.09 * highest)
    smallest = table[table["chunk"] == chunks[0]].set_index("cached")["mebibytes"]
    times = f"up to {smallest[False] / smallest[True]:.0f} times less, same gradient"
    return headline(figure, f"With cached gradients memory follows the chunk: {times}")


def memory_of_a_step(whole: Sequence[int], cached: Sequence[int], chunk: int, chunks: int) -> Figure:
    """Bytes that autograd keeps in the course of one step (`SavedActivations.sums`), at once and chunk by chunk.

    ``chunks`` of ``chunk`` texts are encoded, each twice.
    """
    figure, axes = canvas(WIDTH, 2.8)
    peaks = []
    for sums, colour in ((whole, COLOURS["orange"]), (cached, COLOURS["blue"])):
        kept = np.asarray(sums) / 2**20
        peaks.append(kept.max())
        axes.fill_between(np.linspace(0, 100, len(kept)), kept, color=colour, alpha=0.35, linewidth=0)
        axes.plot(np.linspace(0, 100, len(kept)), kept, color=colour, linewidth=1.0)
    look = {"color": COLOURS["orange"], "weight": "bold"}
    write(axes, "the whole batch at once", (50, peaks[0]), (0, 7), ha="center", **look)
    axes.set(xlabel="course of one step (%)", ylabel="activations kept (MiB)")
    axes.set(xlim=(0, 100), ylim=(0, 1.15 * peaks[0]))
    told = f"{peaks[1]:.0f} MiB instead of {peaks[0]:.0f}, and {chunks} chunks are encoded twice"
    return headline(figure, f"Chunks of {chunk} texts: {told}")


def threshold(table: pd.DataFrame, margin: float, pairs: int, wanted: int = 3) -> Figure:
    """Candidates by their score as a share of the right document's; those above ``margin`` are left out.

    ``table`` has a line for each candidate: pair, share, copy (whether it is nearly the right document itself). Of
    ``pairs`` those with ``wanted`` candidates or more below the margin get a row.
    """
    figure, axes = canvas(WIDTH, 2.9)
    bins = np.linspace(0.5, 1.25, 61)
    kept, copies = table[table["share"] < margin], table[table["copy"]]
    count, _, _ = axes.hist(table["share"].clip(*bins[[0, -1]]), bins, color=COLOURS["light"])
    axes.hist(kept["share"].clip(*bins[[0, -1]]), bins, color=COLOURS["blue"], alpha=0.7)
    top = 1.28 * max(count)
    heights = top * (
        0.84 + 0.1 * np.random.default_rng(0).random(len(copies))
    )  # apart, where they would lie on one
    axes.plot(copies["share"].clip(*bins[[0, -1]]), heights, "|", color=COLOURS["vermilion"], markersize=7)
    axes.axvline(margin, color=COLOURS["ink"], linestyle=DASHED, linewidth=1.0)
    axes.set(xlabel="score of a candidate / score of the right document", ylabel="candidates", ylim=(0, top))
    look = {"color": COLOURS["vermilion"], "ha": "left", "weight": "bold"}
    write(axes, "near-copies", (bins[0], 0.89 * top), (6, 0), **look)
    rows = int((kept.groupby("pair").size() >= wanted).sum())
    told = f"{int(kept['copy'].sum())} of them near-copies; {rows} of {pairs} pairs get a row"
    return headline(figure, f"Margin {margin:g} keeps {len(kept):,} candidates, {told}")


def margins(differences: Mapping[str, np.ndarray]) -> Figure:
    """How far the positive is above its negatives, as cumulative shares: ``differences`` maps two kinds of negative to
    positive's score minus negative's, one value a pair. What lies left of zero is ranked wrongly."""
    figure, axes = canvas(WIDTH, 2.9)
    wrong = {}
    ranked = sorted(differences.items(), key=lambda item: float(np.median(item[1])))
    for (name, values), colour, side in zip(
        ranked, (COLOURS["vermilion"], COLOURS["blue"]), ("right", "left"), strict=True
    ):
        ordered = np.sort(np.asarray(values, dtype=float))
        share = 100 * np.arange(1, len(ordered) + 1) / len(ordered)
        wrong[name] = 100 * float((ordered < 0).mean())
        axes.step(ordered, share, where="post", color=colour, linewidth=1.8)
        # The upper curve is named on its left, beside the line of zero, the lower on its right: no name meets a curve.
        height = min(max(12.0, wrong[name]), 88.0) if side == "right" else 25.0
        label, place = f"{name}: {wrong[name]:.0f}% wrong", (float(np.percentile(ordered, height)), height)
        write(axes, label, place, (-8 if side == "right" else 8, 0), ha=side, color=colour, weight="bold")
    zero_line(axes)
    axes.set(xlabel="score of the right document minus score of the other", ylabel="share of pairs (%)")
    axes.set_ylim(0, 101)
    worst, best = max(wrong, key=wrong.__getitem__), min(wrong, key=wrong.__getitem__)
    told = f"beats the right document, the {best} in {wrong[best]:.0f}%"
    return headline(figure, f"In {wrong[worst]:.0f}% of pairs the {worst} {told}")


def targets(ranked: Mapping[str, Sequence[float]], reach: pd.DataFrame) -> Figure:
    """What the teacher asks for and what a min-max scaled student can answer.

    ``ranked`` maps ``teacher`` and ``student's best`` to mean probabilities by rank; ``reach`` has the columns scale
    (factor on the teacher's scores), teacher and student (effective numbers of documents).
    """
    figure, (left, right) = canvas(WIDTH, 3.0, columns=2)
    for name, column, colour in (
        ("teacher", "teacher", COLOURS["purple"]),
        ("student's best", "student", COLOURS["blue"]),
    ):
        probabilities, first = ranked[name], name == "teacher"  # labels stand where the curves are apart
        places = np.arange(1, len(probabilities) + 1)
        left.plot(places, probabilities, "o-", color=colour, markersize=4, linewidth=1.5)
        end = (1, probabilities[0]) if first else (len(probabilities), probabilities[-1])
        look = {"textcoords": "offset points", "color": colour}
        left.annotate(name, end, (7, -3) if first else (0, 7), ha="left" if first else "right", **look)
        right.plot(reach["scale"], reach[column], color=colour, linewidth=1.8)
        end = (reach["scale"].iloc[-1], reach[column].iloc[-1])
        right.annotate(name, end, (0, 12 if first else -15), ha="right", **look)
    left.set(xlabel="rank by the teacher", ylabel="probability", ylim=(0, None))
    left.set_title("One list, as it comes")
    right.axvline(1, color=COLOURS["grey"], linestyle=DASHED, linewidth=1.0)
    right.set_xscale("log", base=2)
    scales = [scale for scale in reach["scale"] if float(np.log2(scale)).is_integer()]
    right.set_xticks(scales, [f"{scale:g}" for scale in scales])
    right.minorticks_off()
    right.set(xlabel="factor on the teacher's scores", ylabel="effective documents")
    right.set_ylim(0, None)
    right.set_title("All lists, sharper and flatter")
    return headline(figure, "A min-max scaled student cannot be sure, however sure its teacher is")
