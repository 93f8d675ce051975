"""Every figure and table that is made from ``data/`` alone, by name: a function of the data folder each.

The only module of figures that reads files; what is measured is in `published`, what is drawn in its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pandas as pd
from matplotlib.figure import Figure

from colbert_zero_lib.errors import UnknownNameError
from colbert_zero_lib.published import BEIR, paper_table
from colbert_zero_lib.published.audit import training_rows
from colbert_zero_lib.published.effects import (
    alignment,
    checkpoint_costs,
    gaps,
    start_of,
    switch_effects,
    switch_gains,
)
from colbert_zero_lib.published.models import model_cards
from colbert_zero_lib.recipes import TABLE1, Phase

from . import audit_catalogue, paper, scores
from .tables import PaperTable, interval_text, make_table

Folder = Path | None
_Made = TypeVar("_Made")


def _table(number: int | str, folder: Folder) -> pd.DataFrame:
    return paper_table(number, folder / "paper" if folder else None)


def figure1(folder: Folder = None) -> Figure:
    """The paper's Figure 1, the three phases."""
    return paper.phases_diagram(_table(1, folder), training_rows(folder))


def figure2(folder: Folder = None) -> Figure:
    """The paper's Figure 2, the three pipelines."""
    return paper.pipelines_diagram(_table("figure2", folder))


def cost(folder: Folder = None) -> Figure:
    """Score against GH200 hours."""
    return paper.cost_figure(
        checkpoint_costs(_table(1, folder), _table(2, folder)), _table("figure2", folder)
    )


def table1(folder: Folder = None) -> Figure:
    """Table 1 as a figure, with the learning rates that the authors' scripts default to."""
    names = {phase: "kd" if phase is Phase.DISTILLATION else phase.value for phase in TABLE1}
    released = {names[phase]: row.released_learning_rate for phase, row in TABLE1.items()}
    return paper.hyperparameters_figure(_table(1, folder), released)


def table2(folder: Folder = None, reference: str = "colbert-zero") -> Figure:
    """Table 2 as gaps to one of its models."""
    return scores.gaps_figure(gaps(_table(2, folder), reference), reference)


def table2_heat_map(folder: Folder = None) -> Figure:
    """Table 2 data set by data set."""
    return scores.score_heat_map(_table(2, folder))


def table3(folder: Folder = None) -> Figure:
    """Table 3 as aligned against misaligned fine-tuning."""
    return scores.alignment_figure(alignment(_table(3, folder)))


def table4(folder: Folder = None) -> Figure:
    """Table 4 as interactions of prompts and length."""
    return scores.interaction_figure(switch_effects(_table(4, folder)))


def table4_heat_map(folder: Folder = None) -> Figure:
    """What both switches of Table 4 add, data set by data set."""
    return scores.gain_heat_map(switch_gains(_table(4, folder)))


def table5(folder: Folder = None) -> Figure:
    """Table 5's deltas with intervals, and whether they add up."""
    return scores.deltas_figure(switch_effects(_table(4, folder)))


_PERCENT = dict.fromkeys(("mean", *BEIR), "{:.2f}")


def table1_text(folder: Folder = None) -> PaperTable:
    """Table 1 as printed."""
    table = _table(1, folder)
    names = {
        "lr_sweep_low": "rate, low", "lr_sweep_high": "rate, high", "lr_values_tried": "rates tried",
        "batch_size": "batch", "query_length_tokens": "query tokens", "document_length_tokens": "document tokens",
        "gpu_hours_gh200": "GH200 hours", "nodes_of_4_gh200": "nodes of 4 GH200",
    }  # fmt: skip
    columns = ["phase", *names, "temperature", "note"]
    for column in ("lr_sweep_low", "lr_sweep_high"):
        table[column] = [f"{rate:.0e}".replace("e-0", "e-") for rate in table[column]]
    caption = "Table 1: settings of the three phases"
    return make_table(table[columns].rename(columns=names), "paper_table1", caption, {"batch": "{:,}"})


def table2_text(folder: Folder = None) -> PaperTable:
    """Table 2 as printed: nDCG@10 in percent; best and second of each column are marked."""
    table = _table(2, folder).rename(columns={"average_printed": "mean"})[["section", "model", "mean", *BEIR]]
    caption = "Table 2: nDCG@10 on the 15 data sets of BEIR"
    return make_table(table, "paper_table2", caption, _PERCENT, list(_PERCENT), labels=["section"])


def gaps_text(folder: Folder = None, reference: str = "colbert-zero") -> PaperTable:
    """The gaps behind the figure of Table 2, and each model's ColBERT hours."""
    spent = checkpoint_costs(_table(1, folder), _table(2, folder)).set_index("model")["hours"]
    found = gaps(_table(2, folder), reference)
    rows = zip(found["value"], found["low"], found["high"], strict=True)
    texts = [interval_text(*row) for row in rows]
    texts[list(found["model"]).index(reference)] = "reference"
    above = f"above {reference} [95% over data sets]"
    table = found[["section", "model", "mean"]].assign(
        **{
            above: texts,
            "ColBERT GH200 hours": found["model"].map(spent).to_numpy(),
        }
    )
    caption = f"Means over 15 data sets and paired gaps to {reference}, points of nDCG@10"
    formats = {"mean": "{:.2f}", "ColBERT GH200 hours": "{:.0f}"}
    return make_table(table, "paper_table2_gaps", caption, formats, ["mean"], labels=["section"])


def table3_text(folder: Folder = None) -> PaperTable:
    """Table 3 as printed; best and second among the models of each base."""
    names = {
        "base_prompts": "prompts in pre-training", "finetune_prompts": "in fine-tuning", "average_printed": "mean"
    }  # fmt: skip
    table = _table(3, folder).rename(columns=names)
    labels = ["base", "prompts in pre-training"]
    columns = [*labels, "stage", "in fine-tuning", "mean", *BEIR]
    caption = "Table 3: fine-tuning with and without the prompts of pre-training, nDCG@10"
    return make_table(table[columns], "paper_table3", caption, _PERCENT, list(_PERCENT), labels, labels)


def table4_text(folder: Folder = None) -> PaperTable:
    """Table 4 as printed; best and second among the arms of each start and stage."""
    table = _table(4, folder)
    starts = [start_of(*pair) for pair in zip(table["section"], table["base_prompts"], strict=True)]
    late = table["note"].where(table["note"] == "", "evaluation only")
    names = {"plus_prompt": "prompts", "plus_length": "length", "average_printed": "mean"}
    table = table.assign(start=starts, plus_length=late.where(late != "", table["plus_length"])).rename(
        columns=names
    )
    labels = ["start", "stage"]
    caption = "Table 4: prompts and extra length, each on and off, nDCG@10"
    columns = [*labels, "prompts", "length", "mean", *BEIR]
    return make_table(table[columns], "paper_table4", caption, _PERCENT, list(_PERCENT), labels, labels)


def table5_text(folder: Folder = None) -> PaperTable:
    """Table 5 as printed: what each switch adds, in points."""
    table = _table(5, folder)
    starts = [start_of(*pair) for pair in zip(table["section"], table["base_prompts"], strict=True)]
    names = {
        "baseline": "neither", "delta_prompt": "+ prompts", "with_prompt": "= prompts", "delta_length": "+ length",
        "with_length": "= length", "delta_both": "+ both", "with_both": "= both",
    }  # fmt: skip
    formats = {name: "{:+.2f}" if name[0] == "+" else "{:.2f}" for name in names.values()}
    table = table.assign(start=starts).rename(columns=names)[["start", "stage", *names.values()]]
    return make_table(
        table, "paper_table5", "Table 5: what prompts and length add, nDCG@10", formats, labels=["start"]
    )


def effects_text(folder: Folder = None) -> PaperTable:
    """Every effect of Table 4 with its interval over the data sets: the sizes behind Table 5 and its figure."""
    effects = switch_effects(_table(4, folder))
    rows = zip(effects["value"], effects["low"], effects["high"], strict=True)
    table = effects[["start", "stage", "effect"]].assign(points=[interval_text(*row) for row in rows])
    caption = "Effects of prompts and length, points of nDCG@10 with 95% intervals over data sets"
    return make_table(table, "paper_table5_effects", caption, labels=["start", "stage"])


def figure2_text(folder: Folder = None) -> PaperTable:
    """The figures in the paper's Figure 2."""
    names = {"colbert_gpu_hours_gh200": "ColBERT GH200 hours", "beir_average_ndcg10": "nDCG@10"}
    table = _table("figure2", folder).rename(columns=names)
    return make_table(
        table, "paper_figure2", "Figure 2: the three pipelines", {"nDCG@10": "{:.2f}"}, ["nDCG@10"]
    )


def models_text(folder: Folder = None) -> PaperTable:
    """Who is who: the models of the paper's tables, and the newer ones of MTEB's file."""
    cards = model_cards(folder)
    rows = [
        {
            "model": card.name,
            "on the hub": card.hub_id,
            "interaction": card.interaction,
            "dimensions": "" if card.vector_dimension is None else f"{card.vector_dimension:,}",
            "trained on": card.training_data,
            "prompts": card.prompts,
            "licence": card.licence,
            "revision that MTEB evaluated": card.revision[:12],
        }
        for card in cards
    ]
    return make_table(
        pd.DataFrame(rows), "paper_models", "The models behind the figures; empty where no source was found"
    )


FIGURES: tuple[tuple[str, Callable[[Folder], Figure]], ...] = (
    ("paper_figure1", figure1),
    ("paper_figure2", figure2),
    ("paper_cost", cost),
    ("paper_table1", table1),
    ("paper_table2", table2),
    ("paper_table2_heat_map", table2_heat_map),
    ("paper_table3", table3),
    ("paper_table4", table4),
    ("paper_table4_heat_map", table4_heat_map),
    ("paper_table5", table5),
    *audit_catalogue.FIGURES,
)
TABLES: tuple[tuple[str, Callable[[Folder], PaperTable]], ...] = (
    ("paper_figure2", figure2_text),
    ("paper_table1", table1_text),
    ("paper_table2", table2_text),
    ("paper_table2_gaps", gaps_text),
    ("paper_table3", table3_text),
    ("paper_table4", table4_text),
    ("paper_table5", table5_text),
    ("paper_table5_effects", effects_text),
    ("paper_models", models_text),
)


def draw(name: str, folder: Folder = None) -> Figure:
    """The figure of that name from a data folder (the suite's own by default); UnknownNameError for another name."""
    return _find("figure", name, FIGURES)(folder)


def tabulate(name: str, folder: Folder = None) -> PaperTable:
    """The table of that name from a data folder (the suite's own by default); UnknownNameError for another name."""
    return _find("table", name, TABLES)(folder)


def _find(kind: str, name: str, known: tuple[tuple[str, _Made], ...]) -> _Made:
    for known_name, make in known:
        if known_name == name:
            return make
    raise UnknownNameError(
        f"There is no {kind} {name!r}: use one of {', '.join(known_name for known_name, _ in known)}."
    )
