"""Every figure of the audit by name: a function of the data folder each, beside those of `catalogue`.

What is drawn is in `audit`, what is measured in ``published``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from colbert_zero_lib.published.audit import coverage, rank_probabilities
from colbert_zero_lib.published.claims import find_claim
from colbert_zero_lib.published.cost import cost_table
from colbert_zero_lib.published.effects import gaps
from colbert_zero_lib.published.evidence import paper_evidence
from colbert_zero_lib.published.rerun import field_since, rerun_gaps
from colbert_zero_lib.published.robustness import domain_gaps, robustness
from colbert_zero_lib.published.tables import MTEB_MODELS, paper_table

from . import audit

REFERENCE = "colbert-zero"
_WEAKEST_SHOWN = "modernbert-embed-supervised"
_SPELT = {"kd": "KD", "colbert": "ColBERT", "gte": "GTE"}


def _table2(folder: Path | None) -> pd.DataFrame:
    return paper_table(2, None if folder is None else folder / "paper")


def headline_differences(folder: Path | None = None) -> dict[str, pd.Series]:
    """The paper's three headline comparisons, data set by data set (points), by a short title."""
    evidence = paper_evidence(folder)
    chosen: Mapping[str, tuple[str, int]] = {
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
    return [
        " ".join(_SPELT.get(word, word) for word in claim.split("-")) + (f" ({label})" if label else "")
        for claim, label in zip(table["claim"], table["clause"], strict=True)
    ]


def contributions(folder: Path | None = None) -> Figure:
    """Which data sets make the headline differences."""
    return audit.contributions(headline_differences(folder), coverage(folder)["closest"])


def leave_one_out(folder: Path | None = None) -> Figure:
    """Every claim of the paper with one data set left out."""
    table = robustness(paper_evidence(folder))
    return audit.leave_one_out_ranges(table, clause_names(table))


def ranks(folder: Path | None = None) -> Figure:
    """How stable the ranks of Table 2 are."""
    return audit.rank_heat_map(rank_probabilities(_table2(folder).set_index("model")))


def domain_differences(folder: Path | None = None) -> Figure:
    """The better models of Table 2 against ColBERT-Zero, in-domain and zero-shot."""
    models = _table2(folder).set_index("model")
    kept = models[models["average_printed"] >= models.loc[_WEAKEST_SHOWN, "average_printed"]]
    return audit.domain_differences(domain_gaps(kept, REFERENCE, folder), REFERENCE)


def rerun(folder: Path | None = None) -> Figure:
    """MTEB's figures beside the paper's."""
    return audit.rerun_heat_map(rerun_gaps(folder))


def newer_models(folder: Path | None = None) -> Figure:
    """ColBERT-Zero among the models of MTEB's file."""
    return audit.newer_models(field_since(REFERENCE, folder), MTEB_MODELS[REFERENCE])


def full_cost(folder: Path | None = None) -> Figure:
    """Score against hours, with and without the dense phases."""
    return audit.full_cost(cost_table(folder), gaps(_table2(folder)))


FIGURES: tuple[tuple[str, Callable[[Path | None], Figure]], ...] = (
    ("audit_contributions", contributions),
    ("audit_leave_one_out", leave_one_out),
    ("audit_ranks", ranks),
    ("audit_domains", domain_differences),
    ("audit_rerun", rerun),
    ("audit_newer_models", newer_models),
    ("audit_full_cost", full_cost),
)
