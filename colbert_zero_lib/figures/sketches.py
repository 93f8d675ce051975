"""Drawings of ideas: dense and late, scores of a batch, GradCache, negatives, a teacher's pull, padding, prompts.

Nothing here is measured; the few numbers are made up, and what follows from them (softmax, gradient) is worked out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike
from scipy.special import softmax

from .marks import headline, write
from .theme import COLOURS, DASHED, SMALL, WIDTH, canvas

_ARROW = {"arrowstyle": "-|>", "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    """An arrow between two places of the data."""
    axes.annotate("", end, start, arrowprops={**_ARROW, "color": colour})


def bare(axes: Axes) -> None:
    """Leave nothing of the axes but what is drawn in them and the label below."""
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set(xticks=[], yticks=[])


def dense_and_late() -> Figure:
    """A drawing of the two ways to compare a query with a document: averaged first, or token by token."""
    figure, panels = canvas(WIDTH, 2.5, columns=2)
    asked, told = ("dark", "circles", "eyes"), ("pigment", "skin", "around", "eye")
    best = {0: 0, 1: 2, 2: 3}
    places = [np.linspace(1, 9, len(asked)), np.linspace(0.6, 9.4, len(told))]
    for axes, colour in zip(panels, (COLOURS["orange"], COLOURS["blue"]), strict=True):
        for row, (words, at) in enumerate(zip((asked, told), places, strict=True)):
            for word, x in zip(words, at, strict=True):
                box = {"boxstyle": "round,pad=0.35", "facecolor": colour, "edgecolor": "none"}
                axes.text(x, 3 * row, word, bbox=box, color="white", ha="center", va="center", fontsize=SMALL)
        axes.text(-1.2, 0, "query", ha="right", va="center", fontsize=SMALL)
        axes.text(-1.2, 3, "document", ha="right", va="center", fontsize=SMALL)
        axes.set(xlim=(-5, 11.5), ylim=(-0.6, 3.6))
        axes.axis("off")
    dense, late = panels
    for row, at in enumerate(places):
        for x in at:
            dense.plot((x, 5), (0.3 + 2.4 * row, 1 + row), color=COLOURS["grey"], linewidth=0.8, zorder=0)
        dense.plot(5, 1 + row, "o", color=COLOURS["orange"], markersize=11)
    dense.plot((5, 5), (1.2, 1.8), color=COLOURS["orange"], linewidth=2.5)
    dense.text(5.7, 1.5, "one cosine of two averages", va="center", fontsize=SMALL)
    for i, x in enumerate(places[0]):
        for j, y in enumerate(places[1]):
            look = (COLOURS["blue"], 2.5) if best[i] == j else (COLOURS["light"], 0.8)
            late.plot((x, y), (0.3, 2.7), color=look[0], linewidth=look[1], zorder=int(best[i] == j))
    late.text(10.2, 1.5, "sum of the\nbest cosines", va="center", fontsize=SMALL)
    dense.set_title("Dense")
    late.set_title("Late interaction")
    return headline(
        figure, "A dense model compares two averages; late interaction compares every pair of tokens"
    )


def score_matrix() -> Figure:
    """A drawing of a batch's scores [queries, documents]: own documents, others' documents."""
    batch = 6
    figure, axes = canvas(WIDTH, 0.9 + 0.3 * batch)
    for row in range(batch):
        for column in range(batch):
            colour = COLOURS["blue" if row == column else "light"]
            axes.add_patch(Rectangle((column, row), 0.88, 0.88, facecolor=colour, edgecolor=colour))
            if row == column:
                axes.text(column + 0.46, row + 0.48, "✓", color="white", ha="center", va="center")
        axes.text(-0.3, row + 0.46, f"query {row + 1}", ha="right", va="center", fontsize=SMALL)
    axes.text(0, -0.35, "documents 1, 2, 3 … of the batch", fontsize=SMALL)
    frame = Rectangle((-0.05, 1.95), batch + 0.02, 1.02, fill=False, edgecolor=COLOURS["ink"], linewidth=1.6)
    axes.add_patch(frame)
    look = {"va": "center", "fontsize": SMALL}
    axes.text(batch + 0.3, 2.46, f"one softmax: pick 1 of {batch}", **look)
    axes.text(batch + 0.3, 3.5, "✓ its own document", color=COLOURS["blue"], **look)
    others = "□ others' documents,\n   its in-batch negatives"
    axes.text(batch + 0.3, 4.3, others, color=COLOURS["grey"], **look)
    axes.set(xlim=(-2.2, batch + 7), ylim=(batch, -0.7), aspect="equal")
    axes.axis("off")
    return headline(figure, f"A batch of {batch} asks {batch} questions, each with {batch - 1} wrong answers")


def gradient_cache(chunks: int = 4) -> Figure:
    """A drawing of GradCache's three steps: what is kept (filled), what is dropped (empty), what is repeated."""
    figure, panels = canvas(WIDTH, 2.7, columns=3)
    titles = ("1. Encode all, keep vectors", "2. One loss, gradients", "3. Encode again, in turn")
    forward, backward = COLOURS["grey"], COLOURS["vermilion"]
    for step, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        for row in range(chunks):
            full = step == 2 and row == 1
            face = COLOURS["blue"] if full else "white"
            edge = COLOURS["blue"] if full or step != 1 else COLOURS["light"]
            axes.add_patch(Rectangle((0, row + 0.12), 2, 0.76, facecolor=face, edgecolor=edge, linewidth=1.2))
            axes.add_patch(
                Rectangle((3.2, row + 0.12), 0.35, 0.76, facecolor=COLOURS["green"], edgecolor="none")
            )
            if step == 0 or full:
                arrow(axes, (2.1, row + 0.4), (3.1, row + 0.4), forward)
            if full:
                arrow(axes, (3.1, row + 0.7), (2.1, row + 0.7), backward)
            if step == 1:
                arrow(axes, (3.6, row + 0.4), (5.1, chunks / 2 - 0.1), forward)
                arrow(axes, (5.1, chunks / 2 + 0.1), (3.6, row + 0.65), backward)
        axes.text(1, -0.15, "encoder", ha="center", fontsize=SMALL)
        axes.text(3.4, -0.15, "vectors", ha="center", fontsize=SMALL, color=COLOURS["green"])
        axes.set_title(title)
        axes.set(xlim=(-0.2, 6.6), ylim=(chunks + 0.9, -0.6))
        axes.axis("off")
    panels[1].text(5.2, chunks / 2, "loss of\nthe whole\nbatch", va="center", fontsize=SMALL)
    panels[0].text(0, chunks + 0.5, "no activations kept", fontsize=SMALL, color=forward)
    panels[1].text(0, chunks + 0.5, "the encoder rests", fontsize=SMALL, color=forward)
    panels[2].text(0, chunks + 0.5, "activations of one chunk", fontsize=SMALL, color=COLOURS["blue"])
    return headline(figure, "GradCache keeps every vector and the activations of one chunk; it encodes twice")


def negatives_on_a_line() -> Figure:
    """Documents by their score for one query; each negative's arrow is as long as InfoNCE pushes it."""
    margin, temperature = 0.95, 0.05
    right, unsure = 0.80, [0.775, 0.825]
    negatives = [0.08, 0.12, 0.15, 0.19, 0.22, 0.26, 0.31, 0.60, 0.66, 0.72]
    pushed = softmax(np.array([right, *negatives]) / temperature)[1:]
    figure, axes = canvas(WIDTH, 2.0)
    axes.axhline(0, color=COLOURS["ink"], linewidth=0.9, zorder=1)
    axes.axvspan(margin * right, 0.95, color=COLOURS["light"], alpha=0.5, linewidth=0)
    axes.axvline(margin * right, color=COLOURS["grey"], linestyle=DASHED, linewidth=1.0)
    for height, (place, share) in enumerate(zip(negatives, pushed, strict=True)):
        near = place > 0.5
        axes.plot(place, 0, "o", color=COLOURS["vermilion" if near else "grey"], markersize=7, zorder=3)
        if near:
            high = 0.2 + 0.16 * (height - 7)
            arrow(axes, (place, high), (place - 1.2 * share, high), COLOURS["vermilion"])
    axes.plot(unsure, [0, 0], "o", color=COLOURS["ink"], markerfacecolor="white", markersize=7, zorder=3)
    axes.plot(right, 0, "D", color=COLOURS["blue"], markersize=8, zorder=3)
    texts = (
        ("random documents:\nfar away, hardly pushed", 0.195, -0.22, "grey", "center"),
        ("hard negatives:\nnear, and pushed away", 0.64, -0.22, "vermilion", "center"),
        ("too close:\nmay be right as well", 0.77, -0.22, "ink", "left"),
        ("the marked answer", 0.79, 0.32, "blue", "left"),
        (f"{margin:.0%} of its score", 0.77, 0.66, "grey", "left"),
    )
    for text, x, y, colour, side in texts:
        write(axes, text, (x, y), (0, 0), color=COLOURS[colour], ha=side, va="top" if y < 0 else "center")
    bare(axes)
    axes.set(xlim=(0.02, 0.95), ylim=(-0.75, 0.75))
    axes.set_xlabel("score for the query →", loc="right")
    return headline(
        figure, "Only the negatives near the answer teach, and the nearest may be answers themselves"
    )


def pulls() -> Figure:
    """Where a list of five documents is pulled by a label (the first document) and by a teacher.

    An arrow runs from the student's probability to the wanted one: it is the gradient step on that document's score.
    """
    figure, panels = canvas(WIDTH, 2.5, columns=2, sharey=True, sharex=True)
    own = softmax((0.9, 0.7, 0.2, 1.2, 0.5))
    wants = (
        ("A label: one up, all others down", np.eye(len(own))[0]),
        ("A teacher: to its own spacing", softmax((2.4, 2.2, 1.4, -0.5, -1.0))),
    )
    for axes, (title, wanted) in zip(panels, wants, strict=True):
        for place, (now, then) in enumerate(zip(own, wanted, strict=True)):
            colour = COLOURS["blue" if then > now else "vermilion"]
            arrow(axes, (now, place), (then, place), colour)
            axes.plot(now, place, "o", color=COLOURS["ink"], markersize=5, zorder=3)
            axes.plot(then, place, "|", color=COLOURS["purple"], markersize=14, markeredgewidth=2.2, zorder=2)
        axes.set_title(title)
        axes.set(xlabel="probability", xlim=(-0.03, 1.06), ylim=(len(own) - 0.5, -0.6))
        axes.grid(axis="y", visible=False)
    names = ["marked as right", "as good, not marked", "partly right", "off the subject", "off the subject"]
    panels[0].set_yticks(range(len(own)), names)
    for text, below, colour in (("● student", 2.0, "ink"), ("❘ wanted", 2.7, "purple")):
        write(panels[0], text, (0.62, below), (0, 0), color=COLOURS[colour])
    return headline(figure, "A label pushes a good second document down; a teacher's scores lift it")


def padded(tokens: Sequence[Sequence[str]], mask: ArrayLike) -> Figure:
    """The places of a batch of texts [texts, places]; ``mask``, alike in shape, is 0 where a place is padding."""
    mask = np.asarray(mask, dtype=bool)
    figure, axes = canvas(WIDTH, 0.55 + 0.5 * len(tokens))
    for row, (names, real) in enumerate(zip(tokens, mask, strict=True)):
        for place, (name, own) in enumerate(zip(names, real, strict=True)):
            colour = COLOURS["grey" if name.startswith("[") else "blue"] if own else "white"
            edge = "white" if own else "#bbbbbb"
            axes.add_patch(
                Rectangle((place + 0.03, row - 0.36), 0.94, 0.72, facecolor=colour, edgecolor=edge)
            )
            ink = "white" if own else COLOURS["grey"]
            write(axes, name.strip(), (place + 0.5, row), (0, 0), ha="center", color=ink)
        write(axes, f"mask: {real.sum()} ones", (len(names), row), (6, 0))
    bare(axes)
    axes.set(xlim=(0, len(tokens[0]) + 1.3), ylim=(len(tokens) - 0.5, -0.5))
    return headline(figure, f"A batch is a rectangle: {(~mask).sum()} of its {mask.size} places are padding")


def prompt_tokens() -> Figure:
    """The places of a query of five words under a limit of 20, with and without a prompt and query expansion.

    A filled place has a vector that is scored; an empty one is padding.
    """
    words, prompt, limit = 5, 7, 20
    looks = {"P prompt": "orange", "W words": "blue", "M [MASK]": "green", "· [CLS], [Q], [SEP]": "grey"}
    asked, text, mask, special = looks
    figure, axes = canvas(WIDTH, 2.35)
    cases = [(on, with_prompt) for on in (False, True) for with_prompt in (False, True)]
    for row, (expanded, with_prompt) in enumerate(cases):
        kinds = [special] * 2 + [asked] * prompt * with_prompt + [text] * words + [special]
        scored = limit if expanded else len(kinds)
        kinds += [mask] * (limit - len(kinds))
        height = row + 0.5 * expanded
        for place, kind in enumerate(kinds):
            filled = place < scored
            face, edge = (COLOURS[looks[kind]], "white") if filled else ("white", "#bbbbbb")
            corner = (place + 0.08, height - 0.36)
            axes.add_patch(Rectangle(corner, 0.84, 0.72, linewidth=0.8, facecolor=face, edgecolor=edge))
            if filled:
                write(
                    axes, kind[0], (place + 0.5, height), (0, -0.5), ha="center", color="white", weight="bold"
                )
        name = f"{'expansion' if expanded else 'no expansion'}, {'prompt' if with_prompt else 'no prompt'}"
        write(axes, name, (0, height), (-6, 0), ha="right")
        write(axes, f"{scored} vectors", (limit, height), (6, 0))
    for left, (name, colour) in zip((-6, -1.6, 2.4, 6.8), looks.items(), strict=True):
        write(axes, name, (left, 4.55), (0, 0), color=COLOURS[colour], weight="bold")
    write(axes, "□ padding, no vector", (14.6, 4.55), (0, 0), color=COLOURS["grey"])
    bare(axes)
    axes.set(xlim=(-6.6, limit + 3.2), ylim=(4.95, -0.5))
    told = f"adds {prompt} vectors; with it, none"
    return headline(figure, f"Without expansion a prompt of {prompt} tokens {told}")
