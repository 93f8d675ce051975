"""Figures: what is drawn is what was given, text is legible in print, files are the same every time."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from colbert_zero_lib.errors import ParameterError
from colbert_zero_lib.evaluation.statistics import Interval
from colbert_zero_lib.figures import data, interaction, method, paper, pipelines, save, sketches
from colbert_zero_lib.figures.marks import spread
from colbert_zero_lib.published import paper_table
from colbert_zero_lib.published.training_mix import training_rows
from colbert_zero_lib.recipes import PIPELINES, Recipe
from colbert_zero_lib.verdicts.verdict import AGREES, DIFFERS, NOT_RESOLVABLE, WITHIN_NOISE

mpl.use("Agg")


def _paths() -> pd.DataFrame:
    kinds = {"a": "dense dense colbert", "b": "dense colbert colbert", "c": "colbert colbert colbert"}
    rows = [
        (letter, phase, kind, 30.0 + 2 * place + shift, 29.0 + 2 * place + shift, 31.5 + 2 * place + shift)
        for shift, (letter, steps) in enumerate(kinds.items())
        for place, (phase, kind) in enumerate(zip(pipelines.PHASES, steps.split(), strict=True))
    ]
    return pd.DataFrame(rows, columns=["pipeline", "phase", "interaction", "mean", "low", "high"])


def _deltas() -> pd.DataFrame:
    rows = [
        ("up", 2.0, 1.0, 3.0, 0.3, 1.5),
        ("open", 0.5, -1.0, 2.0, 1.0, np.nan),
        ("down", -2, -3, -1, -0.5, -2),
    ]
    return pd.DataFrame(rows, columns=["claim", "delta", "low", "high", "paper", "recorded"])


def _gains(sign: int) -> pd.DataFrame:
    overlap = np.linspace(0.1, 0.8, 8)
    rows = {"collection": list("abcdefgh"), "overlap": overlap, "delta": 30 * sign * overlap + 10}
    return pd.DataFrame(rows).assign(low=lambda t: t["delta"] - 4, high=lambda t: t["delta"] + 4)


FIGURES: dict[str, Callable[[], Figure]] = {
    "phases": lambda: paper.phases_diagram(paper_table(1), training_rows()),
    "pipelines": lambda: paper.pipelines_diagram(paper_table("figure2")),
    "paths": lambda: pipelines.learning_paths(_paths(), "order", {"BM25": Interval(38.0, 36.0, 40.0)}),
    "cost": lambda: pipelines.cost_and_quality(
        paper_table("figure2"),
        pd.DataFrame(
            {"pipeline": list("abc"), "minutes": [1, 2, 5], "mean": [32, 34, 36], "low": 31.0, "high": 38.0}
        ),
    ),
    "loss": lambda: pipelines.loss_curves(
        {
            (name, phase): [(1, 2.0), (2, 1.0), (3, 0.5)]
            for name in ("a, b", "c")
            for phase in pipelines.PHASES
        }
    ),
    "deltas": lambda: pipelines.deltas(_deltas(), "title"),
    "heat map": lambda: interaction.maxsim_heatmap(np.eye(2, 3), ["a", "b"], ["x", "y", "z"]),
    "pooled": lambda: interaction.pooled_and_late(
        {"pooled": {"x": 1.0, "y": 2.0}, "late": {"x": 3.0, "y": 2.0}}, "x"
    ),
    "storage": lambda: interaction.storage_bars({"single vector": 1536.0, "tokens": 20_000.0}),
    "lengths": lambda: data.length_histograms(
        {"one": ([3, 4, 5], [50, 60, 900]), "two": ([9], [12])}, (24, 64)
    ),
    "gains": lambda: data.overlap_and_gains(_gains(-1)),
    "negatives": sketches.negatives_on_a_line,
    "pulls": sketches.pulls,
    "prompt tokens": sketches.prompt_tokens,
    "padding": lambda: sketches.padded([["[CLS]", "a"], ["b", "[PAD]"]], np.array([[1, 1], [1, 0]])),
    "trainings": lambda: method.shared_trainings(PIPELINES),
    "devices": method.step_on_devices,
    "discounts": lambda: method.discounts((1, 3)),
    "luck": method.two_kinds_of_luck,
    "words": method.four_words,
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_legible_in_print_and_inside_its_edges(name: str, check_drawing: Any) -> None:
    check_drawing(FIGURES[name])


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    for name, draw in FIGURES.items():
        word = name.replace(" ", "_")
        assert isinstance(save(draw(), word, tmp_path / "one"), Figure)
        save(draw(), word, tmp_path / "two")
        one, two = ((tmp_path / folder / f"{word}.svg").read_bytes() for folder in ("one", "two"))
        assert one == two
        assert b"<dc:date>" not in one and len(one) < 500_000
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("name", ["", "a/b", "../x", "x.svg"])
def test_a_figure_cannot_be_saved_elsewhere(name: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError):
        save(FIGURES["storage"](), name, tmp_path)


def _texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_the_pipelines_figure_prints_the_papers_numbers_and_their_ratio() -> None:
    shown = _texts(FIGURES["pipelines"]())
    for row in paper_table("figure2").itertuples():
        assert f"{row.beir_average_ndcg10:.2f}" in shown and str(row.colbert_gpu_hours_gh200) in shown
    # (55.12 - 54.09) / (55.43 - 54.09) and 40 / 408
    assert "77%" in shown and "10%" in shown


def test_learning_paths_draw_every_interval() -> None:
    figure = FIGURES["paths"]()
    [axes] = figure.axes
    ends = [segment for bars in axes.containers for line in bars[2] for segment in line.get_segments()]
    drawn = sorted((round(segment[0][1], 6), round(segment[1][1], 6)) for segment in ends)
    assert drawn == sorted(zip(_paths()["low"], _paths()["high"], strict=True))


def test_the_heat_map_frames_the_best_token_that_is_not_skipped() -> None:
    similarity = np.array([[0.9, 0.2, 0.5], [0.1, 0.3, 0.2]])

    def frames(figure: Figure) -> list[tuple[float, float]]:
        return [patch.get_xy() for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]

    free = interaction.maxsim_heatmap(similarity, ["a", "b"], ["x", "y", "z"])
    assert frames(free) == [(-0.5, -0.5), (0.5, 0.5)] and "MaxSim = 1.20" in _texts(free)
    skipped = interaction.maxsim_heatmap(similarity, ["a", "b"], ["x", "y", "z"], [True, False, False])
    assert frames(skipped) == [(1.5, -0.5), (0.5, 0.5)] and "MaxSim = 0.80" in _texts(skipped)


def test_the_heat_map_refuses_tokens_of_another_text() -> None:
    with pytest.raises(ParameterError, match="2 query and 3 document"):
        interaction.maxsim_heatmap(np.eye(2), ["a", "b"], ["x", "y", "z"])


def test_deltas_are_coloured_only_when_their_interval_leaves_out_zero() -> None:
    [axes] = FIGURES["deltas"]().axes
    colours = [bars[0].get_color() for bars in axes.containers]
    assert colours[0] == colours[2] != colours[1]


def test_lengths_say_how_many_documents_are_cut() -> None:
    # of 50, 60, 900 and 12 tokens one is longer than 64
    assert "25% of documents" in _texts(FIGURES["lengths"]())


def test_the_title_of_the_gains_follows_the_collections() -> None:
    assert "The fewer words are shared, the more" in _texts(FIGURES["gains"]())
    assert "8 of 8 collections show a difference; rank correlation with shared words +1.00" in _texts(
        data.overlap_and_gains(_gains(1))
    )


def test_an_arrow_of_the_pulls_ends_where_the_label_or_the_teacher_wants_the_probability() -> None:
    ends = [
        [text.xy[0] for text in axes.texts if text.arrow_patch is not None]
        for axes in FIGURES["pulls"]().axes
    ]
    assert ends[0] == [1, 0, 0, 0, 0]
    assert sum(ends[1]) == pytest.approx(1) and ends[1][0] / ends[1][1] == pytest.approx(np.exp(2.4 - 2.2))


def test_a_prompt_adds_vectors_without_expansion_only() -> None:
    counted = [text for text in _texts(FIGURES["prompt tokens"]()).split("\n") if "vectors" in text]
    assert [text for text in counted if text[0].isdigit()] == [f"{n} vectors" for n in (8, 15, 20, 20)]


def test_drawings_say_what_they_count() -> None:
    assert "1 of its 4 places are padding" in _texts(FIGURES["padding"]())
    assert "9 steps and need 8 trainings" in _texts(FIGURES["trainings"]())
    two = {
        letter: Recipe.parse(f"dense:unsupervised > {kind}:supervised")
        for letter, kind in zip("ab", ("dense", "colbert"), strict=True)
    }
    assert "2 pipelines have 4 steps and need 3 trainings" in _texts(method.shared_trainings(two))
    # (1 + 1/2) / (1 + 1/log2 3), and nothing is earned after the tenth place
    assert "nDCG@10 0.92: (1.00 + 0.50) / (1.00 + 0.63)" in _texts(FIGURES["discounts"]())
    assert "nDCG@10 0.00: (0.00) / (1.00)" in _texts(method.discounts((11,)))


def test_each_of_the_four_words_is_drawn_with_an_interval_that_earns_it() -> None:
    [axes] = FIGURES["words"]().axes
    words = [label.get_text() for label in axes.get_yticklabels()]
    assert words == [AGREES, DIFFERS, WITHIN_NOISE, NOT_RESOLVABLE]
    ends = [line.get_segments()[0][:, 0] for bars in axes.containers for line in bars[2]]
    assert [bool(low < 0 < high) for low, high in ends] == [False, False, True, True]


def test_labels_keep_their_order_and_their_distance() -> None:
    places = [5.0, 1.0, 1.1, 1.2, 9.0]
    moved = spread(places, 1.0)
    assert list(np.argsort(moved)) == list(np.argsort(places))
    assert np.diff(np.sort(moved)).min() >= 1.0 - 1e-6
    assert spread([0.0, 10.0], 1.0) == [0.0, 10.0]


def test_a_pooled_panel_says_who_wins() -> None:
    titles = [axes.get_title(loc="left") for axes in FIGURES["pooled"]().axes]
    assert titles == ["pooled: wrong", "late: right"]


def test_saved_svgs_hold_no_path_of_this_machine(tmp_path: Path) -> None:
    save(FIGURES["phases"](), "phases", tmp_path)
    assert not re.search(r"/(home|tmp|work|Users)/", (tmp_path / "phases.svg").read_text())
