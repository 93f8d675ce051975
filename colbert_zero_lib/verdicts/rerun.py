"""The paper's figures beside MTEB's of the same checkpoints: where they part, why that is likely, and what came since.

Differences are measured; a cause is only ever called likely. Tests on differences are in ``audit``.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..evaluation.statistics import bootstrap_mean_interval
from ..published.models import model_cards
from ..published.tables import BEIR, MTEB_MODELS, mteb_beir, mteb_scores, paper_table
from ..published.training_mix import beir_queries

COMBINED = "CQADupstackRetrieval"  # MTEB's row for the 12 forums together
NOTICEABLE = 0.5  # points of nDCG@10
_FEW_QUERIES = 100


def rerun_gaps(folder: Path | None = None) -> pd.DataFrame:
    """MTEB's nDCG@10 minus the paper's, in points: a row a model, columns the 15 data sets and ``average``."""
    printed = paper_table(2, folder and folder / "paper").set_index("model")[list(BEIR)].astype(float)
    again = mteb_beir(folder and folder / "mteb")[list(BEIR)]
    rows = {
        model: again.loc[name] - printed.loc[model]
        for model, name in MTEB_MODELS.items()
        if name in again.index and model in printed.index
    }
    gaps = pd.DataFrame(rows).T
    return gaps.assign(average=gaps.mean(axis=1))


def rerun_summary(folder: Path | None = None) -> pd.DataFrame:
    """How far MTEB's figures lie from the paper's, one row a model.

    Columns: ``mean`` gap with its bootstrap interval over data sets ``low`` .. ``high``, ``typical`` and ``largest``
    size of a gap (median, maximum), and ``copied``: MTEB repeats the model's own card (revision "external").
    """
    gaps = rerun_gaps(folder)
    facts = mteb_scores(folder and folder / "mteb").drop_duplicates("model").set_index("model")
    rows = {}
    for model, gap in gaps[list(BEIR)].iterrows():
        rows[model] = bootstrap_mean_interval(gap.to_numpy(float))._asdict() | {
            "typical": gap.abs().median(),
            "largest": gap.abs().max(),
            "copied": facts.at[MTEB_MODELS[str(model)], "revision"] == "external",
        }
    return pd.DataFrame(rows).T.infer_objects()


def likely_causes(folder: Path | None = None) -> pd.DataFrame:
    """Every gap of at least `NOTICEABLE` points, largest first, with a likely cause.

    Columns model, data_set, paper, rerun, gap (points), queries, likely_cause. The gap is measured; the cause follows
    from facts in the files (revisions, number of queries, how much of the model's row moves) and is not proven.
    """
    gaps, queries = rerun_gaps(folder)[list(BEIR)], beir_queries(folder)
    printed = paper_table(2, folder and folder / "paper").set_index("model")
    scores = mteb_scores(folder and folder / "mteb")
    revisions = scores.drop_duplicates(["model", "beir_name"]).set_index(["model", "beir_name"])
    usual = revisions["dataset_revision"].groupby("beir_name").agg(lambda found: found.mode().iloc[0])
    rows = []
    for model, gap in gaps.iterrows():
        name = MTEB_MODELS[str(model)]
        whole = gap.abs().median() >= NOTICEABLE
        for data_set in gap.index[gap.abs() >= NOTICEABLE]:
            causes = []
            if whole:
                causes.append("other settings for the whole model (most of its data sets moved)")
            if revisions.loc[(name, data_set), "dataset_revision"] != usual[data_set]:
                causes.append("another revision of the data set than most models' in MTEB")
            if queries[data_set] < _FEW_QUERIES:
                causes.append(f"few queries (one can move the score by {100 / queries[data_set]:.1f} points)")
            before = float(printed.loc[model, data_set])
            cause = "; ".join(causes) or "not to be told from the files (code, precision, lengths)"
            figures = (before, before + gap[data_set], gap[data_set])
            rows.append((model, data_set, *figures, int(queries[data_set]), cause))
    columns = ["model", "data_set", "paper", "rerun", "gap", "queries", "likely_cause"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("gap", key=lambda gap: -gap.abs(), kind="stable", ignore_index=True)


def forum_scores(folder: Path | None = None) -> pd.DataFrame:
    """MTEB's nDCG@10 in percent on each of CQADupstack's 12 forums: one row a model, columns the forums."""
    scores = mteb_scores(folder and folder / "mteb")
    forums = scores[(scores["beir_name"] == "CQADupstack") & (scores["task"] != COMBINED)]
    named = forums.assign(
        forum=forums["task"].str.removeprefix("CQADupstack").str.removesuffix("Retrieval").str.lower()
    )
    table = 100 * named.pivot(index="model", columns="forum", values="ndcg_at_10")
    table.columns.name = None
    return table


def forum_check(folder: Path | None = None) -> pd.DataFrame:
    """Whether MTEB's combined CQADupstack figure is the mean of its 12 forums, one row a model.

    Columns: ``combined`` and ``forums`` (their mean) in points, ``agrees`` (to half a unit of the fraction's fourth
    decimal).
    """
    scores = mteb_scores(folder and folder / "mteb")
    combined = 100 * scores[scores["task"] == COMBINED].set_index("model")["ndcg_at_10"]
    forums = forum_scores(folder).mean(axis=1)
    agrees = (forums - combined).abs() < 0.0051
    return pd.DataFrame({"combined": combined, "forums": forums, "agrees": agrees})


def field_since(folder: Path | None = None) -> pd.DataFrame:
    """Every model of MTEB's file with its distance to ColBERT-Zero, best average first.

    Columns ``kind`` (colbert, dense, lexical; "" where models.csv lacks it), ``in_paper``, ``average``,
    ``difference`` to it with its bootstrap interval over data sets ``low`` .. ``high``; NaN for the model itself.
    """
    scores = mteb_beir(folder and folder / "mteb")
    cards = {card.hub_id: card for card in model_cards(folder)}
    base = scores.loc[MTEB_MODELS["colbert-zero"], list(BEIR)]
    rows = {}
    for name, row in scores.iterrows():
        card = cards.get(str(name))
        kind, known = (card.interaction, card.in_paper) if card else ("", False)
        rows[name] = {"kind": kind, "in_paper": known, "average": row["average"]}
        if name != MTEB_MODELS["colbert-zero"]:
            found = bootstrap_mean_interval((row[list(BEIR)] - base).to_numpy(float))
            rows[name] |= {"difference": found.mean, "low": found.low, "high": found.high}
    return pd.DataFrame(rows).T.infer_objects().sort_values("average", ascending=False, kind="stable")
