"""Every figure and table that is made from ``data/`` alone, by name: a function of the data folder each.

The only module of figures that reads files; what is measured is in `published`, what is drawn in its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pandas as pd
from matplotlib.figure import Figure

from colbert_zero_lib.errors import UnknownNameError
from colbert_zero_lib.evaluation.statistics import Interval
from colbert_zero_lib.published import BEIR, MTEB_MODELS, find_claim, model_cards, paper_table
from colbert_zero_lib.published.cost import cost_table
from colbert_zero_lib.published.training_mix import coverage, training_rows
from colbert_zero_lib.verdicts import effects as found
from colbert_zero_lib.verdicts import paper_evidence
from colbert_zero_lib.verdicts.audit import domain_gaps, rank_probabilities, robustness
from colbert_zero_lib.verdicts.changes import dense_findings, dense_headline
from colbert_zero_lib.verdicts.pipelines import order, path_table
from colbert_zero_lib.verdicts.rerun import field_since, rerun_gaps
from colbert_zero_lib.verdicts.sources import recorded_evidence
from colbert_zero_lib.verdicts.verdict import NOT_RUN

from . import audit, paper, pipelines, scores
from .tables import PaperTable, interval_texts, make_table

Folder = Path | None
REFERENCE = "colbert-zero"
_WEAKEST_SHOWN = "modernbert-embed-supervised"
_PERCENT = dict.fromkeys(("mean", *BEIR), "{:.2f}")
_Made = TypeVar("_Made", Figure, PaperTable)


def _table(number: int | str, folder: Folder) -> pd.DataFrame:
    table = paper_table(number, folder / "paper" if folder else None)
    if "base_prompts" in table and "section" in table:
        pairs = zip(table["section"], table["base_prompts"], strict=True)
        table["start"] = [found.start_of(*pair) for pair in pairs]
    return table


def _costs(folder: Folder) -> pd.DataFrame:
    """How far each model of Table 2 is above ColBERT-Zero, its ColBERT hours (NaN where not known) and its recipe."""
    counted = cost_table(folder).set_index("model")["counted"]
    table = found.gaps(_table(2, folder))
    return table.assign(hours=table["model"].map(counted), recipe=_table(2, folder)["recipe"])


def headline_differences(folder: Folder = None) -> dict[str, pd.Series]:
    """The paper's three headline comparisons, data set by data set (points), by a short title."""
    evidence = paper_evidence(folder)
    chosen = {
        "(c) − (b)": ("full-pretraining-beats-supervised-kd", 0),
        "(c) − (a)": ("full-pretraining-beats-kd-only", 0),
        "(c) − gte-modernbert": ("beats-the-gte-models", 1),
    }
    return {
        title: evidence.per_collection(find_claim(name).clauses[place].weights)
        for title, (name, place) in chosen.items()
    }


def clause_names(table: pd.DataFrame) -> list[str]:
    """A name for every row of `robustness`: its claim's id in words, and the clause's label."""
    pairs = zip(table["claim"], table["clause"], strict=True)
    return [find_claim(claim).title + (f" ({label})" if label else "") for claim, label in pairs]


def table2(folder: Folder = None, reference: str = REFERENCE) -> Figure:
    """Table 2 as gaps to one of its models."""
    return scores.gaps_figure(found.gaps(_table(2, folder), reference), reference)


def _recorded_paths(folder: Folder) -> Figure:
    """The three pipelines as this suite recorded them, three seeds each."""
    recorded = recorded_evidence("laptop", folder)
    marks = {name: Interval(*(100 * end for end in one.interval())) for name, one in recorded.marks.items()}
    return pipelines.learning_paths(path_table(recorded), f"Three seeds: {order(recorded)}", marks)


def _dense_start(folder: Folder) -> Figure:
    """What this suite made of all-MiniLM-L6-v2."""
    table = dense_findings(recorded_evidence("minilm", folder))
    table["claim"] = table["change"] + " − " + table["base"]
    shown = table[table["verdict"] != NOT_RUN].rename(columns={"value": "delta"})
    return pipelines.deltas(shown.drop(columns="recipe"), dense_headline(table))


def _leave_one_out(folder: Folder) -> Figure:
    table = robustness(paper_evidence(folder))
    return audit.leave_one_out_ranges(table, clause_names(table))


def _domains(folder: Folder) -> Figure:
    """Of the better models: the weakest would only squeeze the scale."""
    models = _table(2, folder).set_index("model")
    kept = models[models["average_printed"] >= models.loc[_WEAKEST_SHOWN, "average_printed"]]
    return audit.domain_differences(domain_gaps(kept, REFERENCE, folder), REFERENCE)


def _shown(number: int | str, folder: Folder, names: Mapping[str, str]) -> pd.DataFrame:
    """The columns of ``names``, then the scores where the table has them, under the names that they are shown by."""
    table = _table(number, folder).rename(columns={"average_printed": "mean", **names})
    scored = _PERCENT if "mean" in table else ()
    return table[[*names.values(), *scored]]


def _gaps_text(folder: Folder) -> PaperTable:
    """The gaps behind the figure of Table 2, and each model's ColBERT hours."""
    gaps = _costs(folder)
    texts = pd.Series(interval_texts(gaps)).where(gaps["model"] != REFERENCE, "reference")
    more = {f"above {REFERENCE} [95% over data sets]": texts, "ColBERT GH200 hours": gaps["hours"]}
    table = gaps[["section", "model", "mean"]].assign(**more)
    caption = f"Means over 15 data sets and paired gaps to {REFERENCE}, points of nDCG@10"
    formats = {"mean": "{:.2f}", "ColBERT GH200 hours": "{:.0f}"}
    return make_table(table, "paper_table2_gaps", caption, formats, ["mean"], labels=["section"])


def _table1_text(folder: Folder) -> PaperTable:
    names = {
        "phase": "phase", "lr_sweep_low": "rate, low", "lr_sweep_high": "rate, high", "lr_values_tried": "rates tried",
        "batch_size": "batch", "query_length_tokens": "query tokens", "document_length_tokens": "document tokens",
        "gpu_hours_gh200": "GH200 hours", "nodes_of_4_gh200": "nodes of 4 GH200", "temperature": "temperature",
        "note": "note",
    }  # fmt: skip
    table = _shown(1, folder, names)
    for column in ("rate, low", "rate, high"):
        table[column] = [f"{rate:.0e}".replace("e-0", "e-") for rate in table[column]]
    return make_table(table, "paper_table1", "Table 1: settings of the three phases", {"batch": "{:,}"})


def _table4_text(folder: Folder) -> PaperTable:
    names = {"start": "start", "stage": "stage", "plus_prompt": "prompts", "plus_length": "length"}
    table, labels = _shown(4, folder, names), ["start", "stage"]
    table["length"] = table["length"].where(_table(4, folder)["note"] == "", "evaluation only")
    caption = "Table 4: prompts and extra length, each on and off, nDCG@10"
    return make_table(table, "paper_table4", caption, _PERCENT, list(_PERCENT), labels, labels)


def _table5_text(folder: Folder) -> PaperTable:
    names = {
        "start": "start", "stage": "stage", "baseline": "neither", "delta_prompt": "+ prompts",
        "with_prompt": "= prompts", "delta_length": "+ length", "with_length": "= length", "delta_both": "+ both",
        "with_both": "= both",
    }  # fmt: skip
    formats = {name: "{:+.2f}" if name[0] == "+" else "{:.2f}" for name in list(names.values())[2:]}
    caption = "Table 5: what prompts and length add, nDCG@10"
    return make_table(_shown(5, folder, names), "paper_table5", caption, formats, labels=["start"])


def _effects_text(folder: Folder) -> PaperTable:
    effects = found.switch_effects(_table(4, folder))
    table = effects[["start", "stage", "effect"]].assign(points=interval_texts(effects))
    caption = "Effects of prompts and length, points of nDCG@10 with 95% intervals over data sets"
    return make_table(table, "paper_table5_effects", caption, labels=["start", "stage"])


def _models_text(folder: Folder) -> PaperTable:
    names = {
        "name": "model", "hub_id": "on the hub", "interaction": "interaction", "vector_dimension": "dimensions",
        "training_data": "trained on", "prompts": "prompts", "licence": "licence",
        "revision": "revision that MTEB evaluated",
    }  # fmt: skip
    table = pd.DataFrame(map(vars, model_cards(folder)), dtype=object)[list(names)]
    table["vector_dimension"] = ["" if pd.isna(size) else f"{size:,}" for size in table["vector_dimension"]]
    table = table.assign(revision=table["revision"].str[:12]).rename(columns=names)
    return make_table(table, "paper_models", "The models behind the figures; empty where no source was found")


_FIGURE2 = {name: name for name in ("pipeline", "unsupervised", "supervised", "kd")} | {
    "colbert_gpu_hours_gh200": "ColBERT GH200 hours", "beir_average_ndcg10": "nDCG@10", "model": "model",
}  # fmt: skip
_TABLE3 = {
    "base": "base", "base_prompts": "prompts in pre-training", "stage": "stage", "finetune_prompts": "in fine-tuning",
}  # fmt: skip
_CAPTION3 = "Table 3: fine-tuning with and without the prompts of pre-training, nDCG@10"

FIGURES: dict[str, Callable[[Folder], Figure]] = {
    "paper_figure1": lambda folder: paper.phases_diagram(_table(1, folder), training_rows(folder)),
    "paper_figure2": lambda folder: paper.pipelines_diagram(_table("figure2", folder)),
    "paper_cost": lambda folder: paper.cost_figure(_costs(folder), _table("figure2", folder)),
    "paper_table2": table2,
    "paper_table2_heat_map": lambda folder: scores.score_heat_map(_table(2, folder)),
    "paper_table3": lambda folder: scores.alignment_figure(found.alignment(_table(3, folder))),
    "paper_table4_heat_map": lambda folder: scores.gain_heat_map(found.switch_gains(_table(4, folder))),
    "paper_table5": lambda folder: scores.deltas_figure(found.switch_effects(_table(4, folder))),
    "learning_paths_laptop": _recorded_paths,
    "dense_start_minilm": _dense_start,
    "audit_contributions": lambda folder: audit.contributions(
        headline_differences(folder), coverage(folder)["closest"]
    ),
    "audit_leave_one_out": _leave_one_out,
    "audit_ranks": lambda folder: audit.rank_heat_map(
        rank_probabilities(_table(2, folder).set_index("model"))
    ),
    "audit_domains": _domains,
    "audit_rerun": lambda folder: audit.rerun_heat_map(rerun_gaps(folder)),
    "audit_newer_models": lambda folder: audit.newer_models(field_since(folder), MTEB_MODELS[REFERENCE]),
    "audit_full_cost": lambda folder: audit.full_cost(cost_table(folder), found.gaps(_table(2, folder))),
}
TABLES: dict[str, Callable[[Folder], PaperTable]] = {
    "paper_figure2": lambda folder: make_table(
        _shown("figure2", folder, _FIGURE2),
        "paper_figure2", "Figure 2: the three pipelines", {"nDCG@10": "{:.2f}"}, ["nDCG@10"],
    ),
    "paper_table1": _table1_text,
    "paper_table2": lambda folder: make_table(
        _shown(2, folder, {"section": "section", "model": "model"}),
        "paper_table2", "Table 2: nDCG@10 on the 15 data sets of BEIR", _PERCENT, list(_PERCENT), labels=["section"],
    ),
    "paper_table2_gaps": _gaps_text,
    "paper_table3": lambda folder: make_table(
        _shown(3, folder, _TABLE3),
        "paper_table3", _CAPTION3, _PERCENT, list(_PERCENT), list(_TABLE3.values())[:2], list(_TABLE3.values())[:2],
    ),
    "paper_table4": _table4_text,
    "paper_table5": _table5_text,
    "paper_table5_effects": _effects_text,
    "paper_models": _models_text,
}  # fmt: skip


def draw(name: str, folder: Folder = None) -> Figure:
    """The figure of that name from a data folder (the suite's own by default); UnknownNameError for another name."""
    return _find("figure", name, FIGURES)(folder)


def tabulate(name: str, folder: Folder = None) -> PaperTable:
    """The table of that name from a data folder (the suite's own by default); UnknownNameError for another name."""
    return _find("table", name, TABLES)(folder)


def _find(kind: str, name: str, known: Mapping[str, Callable[[Folder], _Made]]) -> Callable[[Folder], _Made]:
    if name not in known:
        raise UnknownNameError(f"There is no {kind} {name!r}: use one of {', '.join(known)}.")
    return known[name]
