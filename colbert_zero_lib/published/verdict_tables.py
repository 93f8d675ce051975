"""Many claims against many sources: the long table, the readable one, and what so many verdicts are worth.

How one verdict is reached is in ``verdicts``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from .claims import find_claim
from .clauses import Claim
from .evidence import LEVEL, Evidence
from .verdicts import NO_FIGURES, NOTHING, finding, judge


def judge_all(claims: Iterable[Claim], evidences: Sequence[Evidence]) -> pd.DataFrame:
    """Every claim held against every source, one row each, claims together.

    Columns: claim (its id), text, section, source, clause (label of the one that decides), asked, value, low, high,
    resampled, seeds, holds, verdict, p, p_holm, support, reason; points of nDCG@10, NaN or None where the source has
    no figures. ``p_holm`` is p after Holm's correction over the claims judged with the same source: so many verdicts
    are made at once that some would look clear by chance (see :func:`multiplicity`).
    """
    rows = []
    for claim in claims:
        for evidence in evidences:
            found = judge(claim, evidence)
            one = found.weakest
            estimate = one.estimate if one else None
            rows.append(
                {
                    "claim": claim.id,
                    "text": claim.text,
                    "section": claim.section,
                    "source": found.source,
                    "clause": one.clause.label if one else "",
                    "asked": one.asked if one else "",
                    "value": estimate.value if estimate else math.nan,
                    "low": estimate.low if estimate else math.nan,
                    "high": estimate.high if estimate else math.nan,
                    "resampled": estimate.unit_of_resampling if estimate else "",
                    "seeds": estimate.seeds if estimate else 0,
                    "holds": found.holds,
                    "verdict": found.verdict,
                    "p": found.p,
                    "p_holm": math.nan,
                    "support": found.support,
                    "reason": found.reason,
                }
            )
    table = pd.DataFrame(rows)
    for _, own in table.groupby("source"):
        table.loc[own.index, "p_holm"] = holm(own["p"].to_numpy())
    return table


def clause_table(claims: Iterable[Claim | str], evidences: Sequence[Evidence]) -> pd.DataFrame:
    """Every clause against every source in figures, for plots: claims (or their ids) may be any subset.

    Columns: claim (id), clause (label), row (both in words), source, asked, value, low, high, verdict.
    """
    rows = []
    for each in claims:
        claim = find_claim(each) if isinstance(each, str) else each
        for clause in claim.clauses:
            row = ": ".join(filter(None, (claim.title, clause.label)))
            for evidence in evidences:
                one = finding(clause, evidence)
                figures = (
                    (one.estimate.value, one.estimate.low, one.estimate.high)
                    if one.estimate
                    else [math.nan] * 3
                )
                rows.append((claim.id, clause.label, row, evidence.name, one.asked, *figures, one.verdict))
    columns = ["claim", "clause", "row", "source", "asked", "value", "low", "high", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def claims_table(claims: Iterable[Claim | str], evidences: Sequence[Evidence]) -> pd.DataFrame:
    """Claims side by side, for reading: a row a clause, a column a source, and the verdict on the last source.

    A column has the source's name without its parenthesis; a cell is the estimate in points and its interval.
    Claims may be given by id. ``(its sign)`` marks a clause of which the last source, being of another scale than
    the paper's, is asked less than the text says.
    """
    rows = []
    for each in claims:
        claim = find_claim(each) if isinstance(each, str) else each
        for clause in claim.clauses:
            found = [finding(clause, evidence) for evidence in evidences]
            text = ": ".join(filter(None, (claim.text.rstrip("."), clause.label)))
            if clause.bound(evidences[-1].full_scale) != clause.threshold:
                text += " (its sign)"
            cells = {e.name.split(" (")[0]: one.to_text() for e, one in zip(evidences, found, strict=True)}
            said = found[-1].verdict
            rows.append({"claim": text, **cells, "verdict": NOTHING if said == NO_FIGURES else said})
    return pd.DataFrame(rows)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment of p-values; NaN stays NaN and counts for nothing."""
    adjusted = np.full(len(p), math.nan)
    order = [place for place in np.argsort(p, kind="stable") if not math.isnan(p[place])]
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * float(p[place])))
        adjusted[place] = highest
    return adjusted


def multiplicity(table: pd.DataFrame) -> str:
    """One sentence on how many verdicts of :func:`judge_all` are clear, and how many would be by chance."""
    level = 1 - LEVEL
    made = table[table["verdict"] != NO_FIGURES]
    clear = int((made["verdict"] != "within noise").sum())
    kept = int((made["p_holm"] < level).sum())
    return (
        f"{len(made)} verdicts, {clear} of them clear at the {LEVEL:.0%} level; if nothing were there, some "
        f"{level * len(made):.1f} would be by chance; {kept} have a p-value below {level:.2f} after Holm's "
        "correction within their source."
    )
