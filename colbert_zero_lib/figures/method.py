"""Drawings of how things are run and judged: shared trainings, devices, nDCG, two kinds of luck, four verdicts.

Nothing here is measured. What follows from the few numbers made up (nDCG, intervals, verdicts) is worked out by the
code that does so elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from colbert_zero_lib.evaluation.statistics import Variances, mean_test
from colbert_zero_lib.recipes import Recipe
from colbert_zero_lib.verdicts.evidence import Estimate
from colbert_zero_lib.verdicts.verdict import EFFECT, decide

from .marks import headline, name_rows, with_interval, write, write_right, zero_line
from .sketches import arrow, bare
from .theme import COLOURS, DASHED, INTERACTION, NAME, PIPELINE, SMALL, WIDTH, canvas

_DEVICES = ("blue", "orange", "green")


def shared_trainings(recipes: Mapping[str, Recipe]) -> Figure:
    """A drawing of recipes (by letter, none the beginning of another) as the tree of trainings that they share."""
    heights: dict[Recipe, list[int]] = {}
    for row, recipe in enumerate(recipes.values()):
        for part in recipe.stages():
            heights.setdefault(part, []).append(row)
    at = {part: (float(len(part)), float(np.mean(rows))) for part, rows in heights.items()}
    root = (0.0, (len(recipes) - 1) / 2)
    figure, axes = canvas(WIDTH, 0.8 + 0.5 * len(recipes))
    look = {"ha": "center", "va": "center", "fontsize": SMALL, "color": "white"}
    box = {"boxstyle": "round,pad=0.4"}
    for part, place in at.items():
        line = zip(at.get(part.first(len(part) - 1), root), place, strict=True)
        axes.plot(*line, color=COLOURS["grey"], linewidth=1.2, zorder=0)
        step = part.steps[-1]
        kind = step.interaction.value
        coloured = {**box, "facecolor": INTERACTION[kind], "edgecolor": "none"}
        axes.text(*place, f"{NAME[kind]}: {step.phase.value}", bbox=coloured, **look)
    axes.text(*root, "encoder", bbox={**box, "facecolor": COLOURS["grey"]}, **look)
    for row, (letter, recipe) in enumerate(recipes.items()):
        place = (len(recipe) + 0.42, float(row))
        write(axes, f"({letter})", place, (0, 0), color=PIPELINE[letter], weight="bold")
    bare(axes)
    deepest = max(map(len, recipes.values()))
    axes.set(xlim=(-0.25, deepest + 0.6), ylim=(len(recipes) - 0.5, -0.5))
    steps = sum(map(len, recipes.values()))
    return headline(
        figure,
        f"{len(recipes)} pipelines have {steps} steps and need {len(at)} trainings: a shared one is run once",
    )


def step_on_devices() -> Figure:
    """A drawing of one step on three devices: what each holds, and what travels."""
    count = len(_DEVICES)
    figure, panels = canvas(WIDTH, 2.5, columns=4)
    titles = ("1. Encode", "2. All-gather", "3. Hand back", "4. All-reduce")
    told = (
        "each device: its own\nqueries and documents",
        "documents go to all;\nown queries × all of them",
        "a document's gradients\ngo to who encoded it",
        "all average the\ngradients of weights",
    )
    for place, (axes, title, below) in enumerate(zip(panels, titles, told, strict=True)):
        for row, name in enumerate(_DEVICES):
            colour = COLOURS[name]
            if place == 3:
                axes.add_patch(Rectangle((0.6, row + 0.2), 2.8, 0.6, facecolor=COLOURS["grey"]))
                write(axes, "Δ weights", (2.0, row + 0.5), (0, 0), ha="center", color="white")
                continue
            axes.add_patch(Rectangle((0, row + 0.25), 0.5, 0.5, facecolor=colour))
            for column, other in enumerate(_DEVICES):
                full = place == 1 or column == row
                face, edge = (COLOURS[other], COLOURS[other]) if full else ("white", COLOURS["light"])
                corner = (1.3 + 0.8 * column, row + 0.25)
                axes.add_patch(Rectangle(corner, 0.6, 0.5, facecolor=face, edgecolor=edge))
                if place == 2 and column != row:
                    x, gap = 1.6 + 0.8 * column, 0.3 if column > row else -0.3
                    arrow(axes, (x, row + 0.5), (x, column + 0.5 - gap), COLOURS[other])
        if place < 3:
            axes.text(0.25, 0.05, "queries", ha="center", fontsize=SMALL)
            axes.text(2.5, 0.05, "documents", ha="center", fontsize=SMALL)
        axes.text(-0.3, count + 0.2, below, va="top", fontsize=SMALL, color=COLOURS["grey"])
        axes.set_title(title)
        axes.set(xlim=(-0.4, 4.4), ylim=(count + 1.1, -0.3))
        axes.axis("off")
    for row, name in enumerate(_DEVICES):
        write(panels[0], f"device {row + 1}", (-0.4, row + 0.5), (-2, 0), ha="right", color=COLOURS[name])
    return headline(
        figure, "Each device encodes its share and scores its queries against everyone's documents"
    )


def discounts(right: Sequence[int]) -> Figure:
    """What a right document earns by its place, for nDCG@10; ``right``: the places of the right ones of a list."""
    places = np.arange(1, 13)
    worth = np.where(places <= 10, 1 / np.log2(places + 1), 0.0)
    hit = np.isin(places, right)
    figure, axes = canvas(WIDTH, 2.3)
    axes.bar(places, worth, color=[COLOURS["blue" if own else "light"] for own in hit], width=0.8)
    for place, value, own in zip(places, worth, hit, strict=True):
        look = {"ha": "center", "color": COLOURS["blue" if own else "grey"]}
        write(axes, f"{value:.2f}" if value else "0", (float(place), value), (0, 6), **look)
    axes.axvline(10.5, color=COLOURS["ink"], linewidth=0.9, linestyle=DASHED)
    write(axes, "cut at 10", (10.5, 1.05), (4, 0))
    axes.set(xlabel="place in the list", ylabel="earned", xticks=places, ylim=(0, 1.15))
    axes.grid(axis="x", visible=False)
    got, best = worth[hit], worth[: len(right)]
    sums = [" + ".join(f"{value:.2f}" for value in values) for values in (got, best)]
    return headline(
        figure,
        f"Right at places {' and '.join(map(str, right))} is nDCG@10 {got.sum() / best.sum():.2f}: "
        f"({sums[0]}) / ({sums[1]})",
    )


def two_kinds_of_luck() -> Figure:
    """Made-up paired differences [seeds, queries]: a seed's luck moves its row, a query's its column."""
    seeds, queries = 3, 24
    rng = np.random.default_rng(3)
    drawn = (1.2 * rng.standard_normal((seeds, 1)), 2.5 * rng.standard_normal((1, queries)))
    found = 0.8 + drawn[0] + drawn[1] + rng.standard_normal((seeds, queries))
    figure, (grid, means) = canvas(WIDTH, 2.1, columns=2, width_ratios=(4, 1.4))
    grid.imshow(found, cmap="RdBu", vmin=-7, vmax=7, aspect="auto")
    name_rows(grid, [f"seed {row + 1}" for row in range(seeds)])
    grid.set(xticks=[], xlabel="the same queries, one a column")
    grid.grid(visible=False)
    grid.set_title("Made up: A − B by query; blue, A is better")
    for row, values in enumerate(found):
        half = 1.96 * values.std(ddof=1) / queries**0.5
        mean = values.mean()
        with_interval(means, row, (mean, mean - half, mean + half), COLOURS["blue"], horizontal=True)
    zero_line(means)
    name_rows(means, [""] * seeds, "mean of a seed")
    means.set_title("95%, over queries")
    return headline(figure, "A query's luck moves its column; a seed's luck moves its whole row")


def four_words() -> Figure:
    """Intervals of a difference that is claimed to be above zero, with the word that each gets."""
    figure, axes = canvas(WIDTH, 2.2)
    axes.axvspan(-EFFECT, EFFECT, color=COLOURS["light"], alpha=0.5, linewidth=0)
    zero_line(axes)
    names = []
    for row, (value, error) in enumerate(((0.55, 0.15), (-0.5, 0.15), (0.05, 0.08), (0.2, 0.3))):
        variances = Variances(value, error**2 / 2, error**2 * 5 / 2, 5, 1000.0, 4.0, "own")
        test = mean_test(variances)
        found = Estimate(value, test.low, test.high, "queries and seeds", 5, variances=variances)
        names.append(decide(found))
        colour = COLOURS["grey" if test.low < 0 < test.high else "blue" if value > 0 else "vermilion"]
        with_interval(axes, row, (value, test.low, test.high), colour, horizontal=True)
        write_right(axes, row, f"would show {found.smallest:.2f} or more")
    name_rows(axes, names, f"difference, points; grey band: the asked size, {EFFECT:g}")
    axes.set_xlim(-1.0, 1.05)
    return headline(
        figure, "Holding zero is a finding only where a difference of the asked size would have shown"
    )
