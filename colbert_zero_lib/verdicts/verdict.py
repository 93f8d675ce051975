"""What an interval says: agrees, within noise or differs, never from a bare number. The only place that decides.

Figures come from ``evidence``, what is asked of them from ``published.claims``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..errors import ParameterError
from ..published.claims import find_claim
from ..published.comparison import Claim, Clause
from .evidence import LEVEL, Estimate, Evidence

Verdict = Literal["agrees", "within noise", "differs"]
AGREES, WITHIN_NOISE, DIFFERS = "agrees", "within noise", "differs"
NO_FIGURES = "no figures"
NOT_RUN = "not run"
NOT_RESOLVABLE = "not resolvable at this scale"
CLEAR = "clear"
NOTHING = "–"
POWER = 0.8
EFFECT = 0.3  # points: near the paper's distance between pipelines (b) and (c)
SIGN_RULE = (
    f"agrees, differs: the {LEVEL:.0%} interval leaves out zero on the paper's side, or on the other; within noise: it "
    "holds zero, though these collections and seeds would show a delta of the paper's size in "
    f"{POWER:.0%} of all cases; {NOT_RESOLVABLE}: it holds zero and they would not"
)
CORRECTED_RULE = (
    f"{CLEAR}: p is below {1 - LEVEL:.2f} after Holm's correction over this table; {WITHIN_NOISE}: it is not, though a "
    f"true difference of {EFFECT:g} points would show in {POWER:.0%} of all cases; {NOT_RESOLVABLE}: it is not, and "
    "such a difference would not show"
)


def verdict(published: float, low: float, high: float, tolerance: float | None = None) -> Verdict:
    """Whether an interval of ours, [low, high], bears out a published figure; same units on all sides.

    Without ``tolerance`` the figure is a delta and the claim is its sign: an interval wholly on that side of
    zero ``agrees``, wholly on the other ``differs``, and one that holds zero is ``within noise``. This is the
    only question that a run at a smaller scale than the paper's can answer.

    With ``tolerance`` the claim is the figure itself, give or take: an interval inside published +- tolerance
    ``agrees``, one outside of it ``differs``, and one that straddles its edge is ``within noise``.

    ParameterError for an interval that is none, a negative tolerance, or a delta of 0 without a tolerance.
    """
    if not all(map(math.isfinite, (published, low, high))) or low > high:
        raise ParameterError(f"A verdict needs finite numbers with low <= high, not [{low}, {high}].")
    if tolerance is None:
        if published == 0:
            raise ParameterError("A published delta of 0 has no sign: give verdict() a tolerance.")
        if low <= 0 <= high:
            return "within noise"
        return "agrees" if (low > 0) == (published > 0) else "differs"
    if tolerance < 0:
        raise ParameterError(f"The tolerance of a verdict is {tolerance}: it cannot be negative.")
    if published - tolerance <= low and high <= published + tolerance:
        return "agrees"
    return "differs" if high < published - tolerance or low > published + tolerance else "within noise"


def sign_verdict(row: Any) -> str:
    """What runs of another scale say about a delta that the paper prints (`SIGN_RULE`), from a row of `findings`.

    Nothing is resolvable where the spread between seeds is not known, whatever the interval over queries says, and a
    printed delta of exactly 0 has no sign to agree with.
    """
    if not row.seeds:
        return NOT_RUN
    if math.isnan(row.smallest):
        return NOT_RESOLVABLE
    if row.low <= 0 <= row.high:
        return WITHIN_NOISE if row.smallest <= abs(row.paper) else NOT_RESOLVABLE
    return AGREES if row.paper and (row.low > 0) == (row.paper > 0) else DIFFERS


def corrected_verdict(row: Any) -> str:
    """What a difference of which the paper says nothing is worth once its p is corrected (`CORRECTED_RULE`)."""
    if not row.seeds:
        return NOT_RUN
    if row.p_holm < 1 - LEVEL:
        return CLEAR
    return WITHIN_NOISE if row.smallest <= EFFECT else NOT_RESOLVABLE


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment of p-values; NaN stays NaN and counts for nothing."""
    adjusted = np.full(len(p), math.nan)
    order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]  # NaN is sorted last
    steps = (len(order) - np.arange(len(order))) * p[order]
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted


@dataclass(frozen=True, eq=False)
class Finding:
    """One clause held against one source.

    ``margins``: how far each draw is on the clause's side of its bound, in points [draws]; empty for figures that are
    not drawn, such as hours. Without an ``estimate`` the verdict is ``no figures``.
    """

    clause: Clause
    asked: str
    estimate: Estimate | None
    verdict: str
    holds: bool | None
    margins: np.ndarray

    @property
    def share(self) -> float:
        """Of the draws, how many satisfy the clause."""
        return float((self.margins > 0).mean() if self.margins.size else bool(self.holds))

    def to_text(self) -> str:
        """The estimate and its interval, for print."""
        if self.estimate is None:
            return NOTHING
        value, low, high = self.estimate.value, self.estimate.low, self.estimate.high
        return f"{value:+.2f}" + (f" [{low:+.2f}, {high:+.2f}]" if self.margins.size else "")


@dataclass(frozen=True, eq=False)
class Judgement:
    """A claim held against one source.

    ``verdict``: ``agrees`` when every clause does, ``differs`` when one does, else ``within noise``; ``no figures``
    when the source lacks an arm. At another scale than the paper's, ``differs`` says that the claim does not carry
    over to that scale, not that it is wrong at the paper's.
    ``holds``: whether the point estimates satisfy every clause; ``weakest``: the finding that decides;
    ``p``: two-sided bootstrap p-value against the claim being otherwise than the point estimates say (the worst
    clause's when the claim holds, the best one's times their number when it does not); NaN without draws.
    """

    verdict: str
    findings: tuple[Finding, ...]
    weakest: Finding | None = None
    holds: bool | None = None
    p: float = math.nan


def judge(claim: Claim, evidence: Evidence) -> Judgement:
    """Hold one claim against one source.

    A clause on hours is left out where the source has scores only: what a run of another scale costs was set by its
    profile, not found.
    """
    findings = tuple(finding(clause, evidence) for clause in claim.clauses)
    seen = [one for one in findings if one.estimate is not None]
    if not seen or any(one.estimate is None and one.clause.measure == "nDCG@10" for one in findings):
        return Judgement(NO_FIGURES, findings)
    said = min((one.verdict for one in seen), key=(DIFFERS, WITHIN_NOISE, AGREES).index)
    weakest = min((one for one in seen if one.verdict == said), key=lambda one: one.share)
    holds = all(one.holds for one in seen)
    # A draw at the bound itself speaks for neither side, so it counts against what the point estimates say.
    against = [
        (1 + int((margins <= 0 if holds else margins >= 0).sum())) / (1 + margins.size)
        for margins in (one.margins for one in seen)
        if margins.size
    ]
    p = 2 * (max(against) if holds else len(against) * min(against)) if against else math.nan
    return Judgement(said, findings, weakest, holds, min(1.0, p) if against else p)


def finding(clause: Clause, evidence: Evidence) -> Finding:
    """Hold one clause against one source."""
    full = evidence.full_scale
    asked, bound, estimate = (
        clause.asked(full),
        clause.bound(full),
        evidence.contrast(clause.weights, clause.measure),
    )
    if estimate is None:
        return Finding(clause, asked, None, NO_FIGURES, None, np.empty(0))
    if clause.relation == "about":
        said = verdict(0.0, estimate.low, estimate.high, tolerance=bound)
        margins = bound - np.abs(estimate.drawn)
    else:
        sign = -1.0 if clause.relation == "<" else 1.0
        said = verdict(sign, estimate.low - bound, estimate.high - bound)
        margins = sign * (estimate.drawn - bound)
    return Finding(clause, asked, estimate, said, clause.holds(estimate.value, full), margins)


def judge_all(claims: Iterable[Claim], evidences: Sequence[Evidence]) -> pd.DataFrame:
    """Every claim held against every source, one row each, claims together.

    Columns: claim (its id), source, clause (label of the one that decides), value, low, high (points of nDCG@10, NaN
    where the source has no figures), holds, verdict, p, and ``p_holm``: p after Holm's correction over the claims
    judged with the same source, since so many verdicts at once would look clear by chance (see `multiplicity`).
    """
    rows = []
    for claim in claims:
        for evidence in evidences:
            found = judge(claim, evidence)
            label = found.weakest.clause.label if found.weakest else ""
            ends = _ends(found.weakest)
            rows.append(
                (claim.id, evidence.name, label, *ends, found.holds, found.verdict, found.p, math.nan)
            )
    columns = ["claim", "source", "clause", "value", "low", "high", "holds", "verdict", "p", "p_holm"]
    table = pd.DataFrame(rows, columns=columns)
    for _, own in table.groupby("source"):
        table.loc[own.index, "p_holm"] = holm(own["p"].to_numpy())
    return table


def _ends(found: Finding | None) -> tuple[float, float, float]:
    estimate = found.estimate if found else None
    return (estimate.value, estimate.low, estimate.high) if estimate else (math.nan,) * 3


def _clauses(claims: Iterable[Claim | str]) -> list[tuple[Claim, Clause]]:
    known = [find_claim(claim) if isinstance(claim, str) else claim for claim in claims]
    return [(claim, clause) for claim in known for clause in claim.clauses]


def clause_table(claims: Iterable[Claim | str], evidences: Sequence[Evidence]) -> pd.DataFrame:
    """Every clause against every source in figures, for plots: claims (or their ids) may be any subset.

    Columns: claim (id), clause (label), row (both in words), source, value, low, high, verdict.
    """
    rows = []
    for claim, clause in _clauses(claims):
        row = ": ".join(filter(None, (claim.title, clause.label)))
        for evidence in evidences:
            one = finding(clause, evidence)
            rows.append((claim.id, clause.label, row, evidence.name, *_ends(one), one.verdict))
    columns = ["claim", "clause", "row", "source", "value", "low", "high", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def claims_table(claims: Iterable[Claim | str], evidences: Sequence[Evidence]) -> pd.DataFrame:
    """Claims side by side, for reading: a row a clause, a column a source, and the verdict on the last source.

    A column has the source's name without its parenthesis; a cell is the estimate in points and its interval.
    Claims may be given by id. ``(its sign)`` marks a clause of which the last source, being of another scale than
    the paper's, is asked less than the text says.
    """
    rows = []
    for claim, clause in _clauses(claims):
        found = {evidence.name.split(" (")[0]: finding(clause, evidence) for evidence in evidences}
        text = ": ".join(filter(None, (claim.text.rstrip("."), clause.label)))
        if clause.bound(evidences[-1].full_scale) != clause.threshold:
            text += " (its sign)"
        said = [one.verdict for one in found.values()][-1]
        cells = {name: one.to_text() for name, one in found.items()}
        rows.append({"claim": text, **cells, "verdict": NOTHING if said == NO_FIGURES else said})
    return pd.DataFrame(rows)


def multiplicity(table: pd.DataFrame) -> str:
    """One sentence on how many verdicts of :func:`judge_all` are clear, and how many would be by chance."""
    level = 1 - LEVEL
    made = table[table["verdict"] != NO_FIGURES]
    clear = int((made["verdict"] != WITHIN_NOISE).sum())
    kept = int((made["p_holm"] < level).sum())
    return (
        f"{len(made)} verdicts, {clear} of them clear at the {LEVEL:.0%} level; if nothing were there, some "
        f"{level * len(made):.1f} would be by chance; {kept} have a p-value below {level:.2f} after Holm's "
        "correction within their source."
    )
