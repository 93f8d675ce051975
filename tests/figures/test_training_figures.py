"""Figures of the training phases: what is drawn is what was given, and titles say what the data say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from colbert_zero_lib.figures import interaction, pipelines, sketches, training

mpl.use("Agg")


def _memory() -> pd.DataFrame:
    rows = [
        (2**k, cached, 4.0 * 2 ** (k - 7) if cached else 64.0)
        for k in range(7, 11)
        for cached in (False, True)
    ]
    return pd.DataFrame(rows, columns=["chunk", "cached", "mebibytes"])


def _reach() -> pd.DataFrame:
    scales = 2.0 ** np.arange(-3, 3.5, 0.5)
    return pd.DataFrame(
        {"scale": scales, "teacher": 8 / (1 + scales), "student": 6 - 0.1 * scales, "lowest": 0.1 * scales}
    )


TEMPERATURES = np.geomspace(0.01, 5, 20)
DIFFERENCES = {"random one": np.array([-1.0, 1, 2, 3]), "first found": np.array([-2.0, -1, -0.5, 1])}
SHARES = {"dense": np.full(8, 0.125), "colbert": np.array([0.3, *[0.1] * 7])}
CANDIDATES = pd.DataFrame(  # of pair 0 two are kept, of pair 1 one; a limit is left out
    [(0, 0.5, False), (0, 0.8, True), (1, 0.7, False), (1, 0.9, True), (1, 1.2, False)],
    columns=["pair", "share", "copy"],
)
FIGURES: dict[str, Callable[[], Figure]] = {
    "sharpness": lambda: training.sharpness(
        {"dense": (TEMPERATURES, 1 + 10 * TEMPERATURES), "colbert": (TEMPERATURES, 1 + TEMPERATURES)},
        {"released script": 0.02, "Table 1": 0.2},
    ),
    "memory": lambda: training.memory_by_chunk(_memory()),
    "memory of a step": lambda: training.memory_of_a_step([0, 4 * 2**20, 0], [0, 2**20, 0], 16, 8),
    "softmax row": lambda: interaction.softmax_row(SHARES, ["a right document", *"bcdefgh"], 0.5),
    "threshold": lambda: training.threshold(CANDIDATES, 0.9, pairs=4, wanted=2),
    "losses": lambda: pipelines.two_losses(
        {
            "dense": [(k, 5 - 0.02 * k) for k in range(1, 101)],
            "colbert": [(k, 4.6 - 0.03 * k) for k in range(1, 101)],
        },
        chance=4.85,
    ),
    "score matrix": sketches.score_matrix,
    "gradient cache": sketches.gradient_cache,
    "dense and late": sketches.dense_and_late,
    "margins": lambda: training.margins(DIFFERENCES),
    "targets": lambda: training.targets(
        {"teacher": [0.6, 0.2, 0.1, 0.05, 0.05], "student's best": [0.35, 0.25, 0.15, 0.13, 0.12]}, _reach()
    ),
}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_fits_its_canvas_and_names_its_axes(name: str, check_drawing: Any) -> None:
    check_drawing(FIGURES[name])
    assert all(axes.get_xlabel() for axes in FIGURES[name]().axes if axes.axison)


def test_the_memory_title_says_how_many_times_less_at_the_smallest_chunk() -> None:
    assert any("up to 16 times less" in text for text in texts(FIGURES["memory"]()))


def test_titles_of_pictures_that_move_say_what_the_values_are() -> None:
    assert "Chunks of 16 texts: 1 MiB instead of 4, and 8 chunks are encoded twice" in texts(
        FIGURES["memory of a step"]()
    )
    kept = "Margin 0.9 keeps 3 candidates, 1 of them near-copies; 1 of 4 pairs get a row"
    assert kept in texts(FIGURES["threshold"]())
    softmax = texts(FIGURES["softmax row"]())
    assert "Temperature 0.5: the right document's probability is 12% (dense), 30% (ColBERT)" in softmax
    assert {"2 others together", " 25.0%", " 20.0%"} <= set(softmax)


def test_margins_left_of_zero_are_counted_as_wrong() -> None:
    found = texts(FIGURES["margins"]())
    assert "random one: 25% wrong" in found
    assert "first found: 75% wrong" in found
    assert "In 75% of pairs the first found beats the right document, the random one in 25%" in found


@pytest.mark.parametrize(
    ("last", "said"),
    [(1.0, "Both losses end below that of a guess"), (5.0, "dense: the loss ends below that of a guess")],
)
def test_the_title_of_the_losses_follows_them(last: float, said: str) -> None:
    curves = {"dense": [(k, 3.0) for k in range(1, 51)], "colbert": [(k, last) for k in range(1, 51)]}
    assert said in texts(pipelines.two_losses(curves, chance=4.85))
