"""Figures of the training phases: temperature, cached gradients, losses, hard negatives, teacher's targets.

Arrays and tables come in; no model is opened here. Scores are nDCG@10 in points (0 to 100).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .theme import COLOURS, INTERACTION, SMALL, WIDTH, canvas, headline, label_ends, with_interval

_NAMES = {"dense": "dense", "colbert": "ColBERT"}
_MARKERS = ("o", "s", "D", "v", "^", "P")


def sharpness(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], marks: Mapping[str, float]
) -> Figure:
    """Effective number of documents in the softmax against the temperature, both on a log scale.

    ``curves`` maps ``dense`` and ``colbert`` to (temperatures, effective numbers); ``marks`` names temperatures.
    """
    figure, axes = canvas(WIDTH, 3.1)
    ends, right = {}, 0.0
    for name, (temperatures, effective) in curves.items():
        axes.plot(temperatures, effective, color=INTERACTION[name], linewidth=1.8)
        ends[_NAMES[name]] = (float(np.log(effective[-1])), INTERACTION[name])
        right = max(right, *temperatures)
    axes.set(xscale="log", yscale="log", xlabel="temperature (log scale)")
    axes.set_ylabel("effective documents")
    top = max(max(effective) for _, effective in curves.values())
    ticks = [tick for tick in (1, 2, 4, 8, 16, 32, 64, 128, 256) if tick <= 1.2 * top]
    axes.set_yticks(ticks, ticks)
    axes.minorticks_off()
    axes.set_ylim(0.85, 1.6 * top)
    for text, temperature in marks.items():
        axes.axvline(temperature, color=COLOURS["grey"], linestyle=(0, (4, 3)), linewidth=1.0)
        axes.text(temperature, 1.55 * top, f" {text}", va="top", fontsize=SMALL, color=COLOURS["grey"])
    shown = {text: (float(np.exp(y)), colour) for text, (y, colour) in ends.items()}
    label_ends(axes, right, shown, gap=0.12 * top)
    headline(figure, "The same temperature means something else for a cosine and for a sum of cosines")
    return figure


def memory_by_chunk(table: pd.DataFrame) -> Figure:
    """Peak activation memory of one batch: columns chunk (tokens encoded at once), cached (bool), mebibytes."""
    figure, axes = canvas(WIDTH, 3.0)
    ends = {}
    looks = ((False, COLOURS["orange"], "all activations kept"), (True, COLOURS["blue"], "gradients cached"))
    for cached, colour, name in looks:
        own = table[table["cached"] == cached].sort_values("chunk")
        axes.plot(own["chunk"], own["mebibytes"], "o-", color=colour, markersize=4, linewidth=1.6)
        ends[name] = (float(own["mebibytes"].iloc[-1]), colour)
    axes.set_xscale("log", base=2)
    chunks = sorted(set(table["chunk"]))
    axes.set_xticks(chunks, [f"{chunk:,}" for chunk in chunks])
    axes.minorticks_off()
    highest = float(table["mebibytes"].max())
    axes.set(ylim=(0, 1.12 * highest), xlabel="tokens encoded at once (log scale)")
    axes.set_ylabel("activations kept (MiB)")
    label_ends(axes, chunks[-1], ends, gap=0.09 * highest)
    smallest = table[table["chunk"] == chunks[0]].set_index("cached")["mebibytes"]
    times = float(smallest[False] / smallest[True])
    headline(
        figure, f"With cached gradients memory follows the chunk: up to {times:.0f} times less, same gradient"
    )
    return figure


def two_losses(curves: Mapping[str, Sequence[tuple[float, float]]], chance: float) -> Figure:
    """Training loss of a dense and a ColBERT model; ``chance`` is the loss of a guess, the log of the batch size."""
    figure, axes = canvas(WIDTH, 2.9)
    ends, right = {}, 0.0
    for name, points in curves.items():
        losses = pd.Series([loss for _, loss in points], index=[step for step, _ in points], dtype=float)
        smooth = losses.rolling(9, center=True, min_periods=1).mean()
        axes.plot(losses.index, losses, color=INTERACTION[name], alpha=0.3, linewidth=0.7)
        axes.plot(smooth.index, smooth, color=INTERACTION[name], linewidth=1.8)
        ends[_NAMES[name]] = (float(smooth.iloc[-1]), INTERACTION[name])
        right = max(right, float(losses.index[-1]))
    axes.axhline(chance, color=COLOURS["grey"], linestyle=(0, (4, 3)), linewidth=1.0)
    axes.text(right, chance, "a guess", ha="right", va="bottom", fontsize=SMALL, color=COLOURS["grey"])
    axes.set(xlabel="optimiser step", ylabel="InfoNCE (nats)", xlim=(0, right), ylim=(0, None))
    label_ends(axes, right, ends, gap=0.07 * axes.get_ylim()[1])
    reached = " and ".join(f"{value:.2f} ({name})" for name, (value, _) in ends.items())
    headline(figure, f"From a guess at {chance:.2f} the loss falls to {reached}")
    return figure


def system_scores(scores: pd.DataFrame, colours: Mapping[str, str], title: str) -> Figure:
    """nDCG@10 by collection: columns collection, system, mean, low, high; ``colours`` orders the systems."""
    collections = list(dict.fromkeys(scores["collection"]))
    figure, axes = canvas(WIDTH, 0.8 + 0.44 * len(collections))
    step = 0.7 / len(colours)
    for number, (system, colour) in enumerate(colours.items()):
        own = scores[scores["system"] == system].set_index("collection")
        marker = _MARKERS[number % len(_MARKERS)]
        for place, collection in enumerate(collections):
            mean, low, high = own.loc[collection, ["mean", "low", "high"]]
            y = place + (number - (len(colours) - 1) / 2) * step
            with_interval(axes, y, (mean, low, high), colour, marker, horizontal=True)
        axes.plot([], [], marker, color=colour, label=system)
    for line in range(1, len(collections)):
        axes.axhline(line - 0.5, color="#e4e4e4", linewidth=0.8)
    axes.set_yticks(range(len(collections)), collections)
    axes.set(ylim=(len(collections) - 0.5, -0.5), xlabel="nDCG@10 (points), 95% interval over queries")
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower center", ncols=len(colours), frameon=False, handletextpad=0.2)
    headline(figure, title)
    return figure


def margins(differences: Mapping[str, np.ndarray]) -> Figure:
    """How far the positive is above its negatives, as cumulative shares: ``differences`` maps a kind of negative to
    positive's score minus negative's, one value a pair. What lies left of zero is ranked wrongly."""
    figure, axes = canvas(WIDTH, 2.9)
    palette = (COLOURS["blue"], COLOURS["vermilion"], COLOURS["green"], COLOURS["purple"])
    wrong = {}
    for (name, values), colour in zip(differences.items(), palette, strict=False):
        ordered = np.sort(np.asarray(values, dtype=float))
        share = 100 * np.arange(1, len(ordered) + 1) / len(ordered)
        wrong[name] = 100 * float((ordered < 0).mean())
        label = f"{name}: {wrong[name]:.0f}% wrong"
        axes.step(ordered, share, where="post", color=colour, linewidth=1.8, label=label)
    axes.axvline(0, color=COLOURS["ink"], linewidth=0.9)
    axes.set(
        xlabel="score of the positive minus score of the negative", ylabel="share of pairs (%)", ylim=(0, 101)
    )
    axes.legend(loc="upper left", frameon=True, edgecolor="white")
    worst, best = max(wrong, key=wrong.__getitem__), min(wrong, key=wrong.__getitem__)
    headline(
        figure,
        f"{worst.capitalize()} still beat the positive in {wrong[worst]:.0f}% of pairs, {best} in {wrong[best]:.0f}%",
    )
    return figure


def targets(ranked: Mapping[str, Sequence[float]], reach: pd.DataFrame) -> Figure:
    """What the teacher asks for and what a min-max scaled student can answer.

    ``ranked`` maps ``teacher`` and ``student's best`` to mean probabilities by rank; ``reach`` has the columns scale
    (factor on the teacher's scores), teacher and student (effective numbers of documents), lowest (KL that is left).
    """
    figure, (left, right) = canvas(WIDTH, 3.0, columns=2)
    colours = {"teacher": COLOURS["purple"], "student's best": COLOURS["blue"]}
    for name, probabilities in ranked.items():
        places = np.arange(1, len(probabilities) + 1)
        left.plot(places, probabilities, "o-", color=colours[name], markersize=4, linewidth=1.5)
        first = name == "teacher"  # labels stand where the curves are apart
        left.annotate(
            name,
            (1, probabilities[0]) if first else (len(probabilities), probabilities[-1]),
            xytext=(7, -3) if first else (0, 7),
            textcoords="offset points",
            color=colours[name],
            ha="left" if first else "right",
        )
    left.set(xlabel="rank by the teacher", ylabel="probability", ylim=(0, None))
    left.set_title("One list, as it comes")
    for name, column in (("teacher", "teacher"), ("student's best", "student")):
        right.plot(reach["scale"], reach[column], color=colours[name], linewidth=1.8)
        right.annotate(
            name,
            (reach["scale"].iloc[-1], reach[column].iloc[-1]),
            xytext=(0, 12 if column == "teacher" else -15),
            textcoords="offset points",
            color=colours[name],
            ha="right",
        )
    right.axvline(1, color=COLOURS["grey"], linestyle=(0, (4, 3)), linewidth=1.0)
    right.set_xscale("log", base=2)
    scales = [scale for scale in reach["scale"] if float(np.log2(scale)).is_integer()]
    right.set_xticks(scales, [f"{scale:g}" for scale in scales])
    right.minorticks_off()
    right.set(xlabel="factor on the teacher's scores", ylabel="effective documents")
    right.set_ylim(0, None)
    right.set_title("All lists, sharper and flatter")
    headline(figure, "A min-max scaled student cannot be sure, however sure its teacher is")
    return figure
