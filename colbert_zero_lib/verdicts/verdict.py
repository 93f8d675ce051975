"""What an estimate says of what is claimed, never from a bare number: `decide` is the only place that does.

Figures come from ``evidence``, what is asked of them from ``published.claims``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..evaluation.statistics import LEVEL, UNKNOWN
from ..published.claims import find_claim
from ..published.comparison import Claim, Clause, Relation
from .evidence import BORROWED, BORROWED_AGAIN, POWER, Estimate, Evidence, TableEvidence

AGREES, WITHIN_NOISE, DIFFERS = "agrees", "within noise", "differs"
NO_FIGURES = "no figures"
NOT_RUN = "not run"
NOT_RESOLVABLE = "not resolvable at this scale"
CLEAR = "clear"
NOTHING = "–"
CLEARLY = (AGREES, DIFFERS, CLEAR)
EFFECT = 0.3  # points: near the paper's distance between pipelines (b) and (c)
SIGN_RULE = (
    f"agrees, differs: the {LEVEL:.0%} interval leaves out zero on the paper's side, or on the other; within noise: it "
    "holds zero, though these collections and seeds would show a delta of the paper's size in "
    f"{POWER:.0%} of all cases; {NOT_RESOLVABLE}: it holds zero and they would not, or nothing is known of seeds"
)
CORRECTED_RULE = (
    f"{CLEAR}: p is below {1 - LEVEL:.2f} after Holm's correction over this table; {WITHIN_NOISE}: it is not, though a "
    f"true difference of {EFFECT:g} points, asked alone, would show in {POWER:.0%} of all cases; {NOT_RESOLVABLE}: it "
    "is not, and such a difference would not show"
)


def decide(
    found: Estimate | None,
    relation: Relation = ">",
    bound: float = 0.0,
    size: float = EFFECT,
    p: float | None = None,
) -> str:
    """The verdict on an estimate of which it is claimed that it is above, below or ``about`` a ``bound``.

    With ``p``, corrected for what else was asked, nothing is claimed but that there is a difference (`CORRECTED_RULE`).
    An interval that leaves both open is ``within noise`` only where a true difference of ``size`` points would have
    shown. Of runs whose spread between seeds is not known nothing is resolvable, whatever their queries say. Published
    figures have no such spread and are judged over data sets.
    """
    if found is None:
        return NOT_RUN
    if found.blind:
        return NOT_RESOLVABLE
    if p is not None:
        said = CLEAR if p < 1 - LEVEL else WITHIN_NOISE
    elif relation == "about":
        inside = -bound <= found.low and found.high <= bound
        said = AGREES if inside else DIFFERS if max(found.low, -found.high) > bound else WITHIN_NOISE
    elif found.low <= bound <= found.high:
        said = WITHIN_NOISE
    else:
        said = AGREES if (found.low > bound) == (relation == ">") else DIFFERS
    return NOT_RESOLVABLE if said == WITHIN_NOISE and found.smallest > size else said


def tally(verdicts: Iterable[str]) -> str:
    """Verdicts counted in plain words, the clear ones first: what a picture of them shows."""
    counted = Counter(verdicts)
    words = {AGREES: "agree", DIFFERS: "differ", NOT_RESOLVABLE: "not resolvable"}
    order = (AGREES, DIFFERS, CLEAR, WITHIN_NOISE, NOT_RESOLVABLE, NOT_RUN)
    return ", ".join(f"{counted[name]} {words.get(name, name)}" for name in order if counted[name])


def leaves_out_zero(low: Any, high: Any) -> Any:
    """Whether an interval, or each of many, is on one side of zero: all that is asked of published differences."""
    return (low > 0) | (high < 0)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment of p-values; NaN stays NaN and counts for nothing."""
    adjusted = np.full(len(p), math.nan)
    order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]  # NaN is sorted last
    steps = (len(order) - np.arange(len(order))) * p[order]
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted


@dataclass(frozen=True, eq=False)
class Finding:
    """One clause held against one source; without an ``estimate`` the verdict is ``no figures``.

    ``p``: two-sided, of the clause being otherwise than the point estimate says; NaN where nothing is drawn or tested.
    """

    clause: Clause
    estimate: Estimate | None
    verdict: str
    holds: bool | None
    p: float

    @property
    def share(self) -> float:
        """How far the clause is satisfied: from 0 (surely not) over .5 to 1."""
        p = 0.0 if math.isnan(self.p) else self.p
        return 1 - p / 2 if self.holds else p / 2

    def to_text(self) -> str:
        """The estimate and its interval, for print; a star where the interval knows queries alone."""
        if self.estimate is None:
            return NOTHING
        value, low, high = self.estimate.value, self.estimate.low, self.estimate.high
        ends = f" [{low:+.2f}, {high:+.2f}]" if self.clause.measure == "nDCG@10" else ""
        return f"{value:+.2f}{ends}{'*' if self.estimate.blind else ''}"


@dataclass(frozen=True, eq=False)
class Judgement:
    """A claim held against one source.

    ``verdict``: ``agrees`` when every clause does, ``differs`` when one does, else ``not resolvable`` where one is,
    else ``within noise``; ``no figures`` when the source lacks an arm. At another scale than the paper's, ``differs``
    says that the claim does not carry over to that scale, not that it is wrong at the paper's.
    ``holds``: whether the point estimates satisfy every clause; ``weakest``: the finding that decides;
    ``p``: two-sided p-value against the claim being otherwise than the point estimates say (the worst
    clause's when the claim holds, the best one's times their number when it does not); NaN without any.
    """

    verdict: str
    findings: tuple[Finding, ...]
    weakest: Finding | None = None
    holds: bool | None = None
    p: float = math.nan


def judge(claim: Claim, evidence: Evidence, paper: TableEvidence | None = None) -> Judgement:
    """Hold one claim against one source; ``paper`` as in `finding`.

    A clause on hours is left out where the source has scores only: what a run of another scale costs was set by its
    profile, not found.
    """
    findings = tuple(finding(clause, evidence, paper) for clause in claim.clauses)
    seen = [one for one in findings if one.estimate is not None]
    if not seen or any(one.estimate is None and one.clause.measure == "nDCG@10" for one in findings):
        return Judgement(NO_FIGURES, findings)
    said = min((one.verdict for one in seen), key=(DIFFERS, NOT_RESOLVABLE, WITHIN_NOISE, AGREES).index)
    weakest = min((one for one in seen if one.verdict == said), key=lambda one: one.share)
    holds = all(one.holds for one in seen)
    tested = [one for one in seen if not math.isnan(one.p)]
    against = [one.p for one in tested if one.holds == holds] or [math.nan]
    p = max(against) if holds else min(1.0, len(tested) * min(against))
    return Judgement(said, findings, weakest, holds, p)


def finding(clause: Clause, evidence: Evidence, paper: TableEvidence | None = None) -> Finding:
    """Hold one clause against one source; a difference worth showing is as large as ``paper`` has it."""
    bound = clause.bound(evidence.full_scale)
    estimate = evidence.contrast(clause.weights, clause.measure)
    if estimate is None:
        return Finding(clause, None, NO_FIGURES, None, math.nan)
    printed = paper.contrast(clause.weights, clause.measure) if paper else None
    size = bound if clause.relation == "about" else abs(printed.value - bound) if printed else EFFECT
    said = decide(estimate, clause.relation, bound, size)
    # Of two bounds the nearer one decides.
    p = max(estimate.p_of(bound), estimate.p_of(-bound) if clause.relation == "about" else 0.0)
    return Finding(clause, estimate, said, clause.holds(estimate.value, evidence.full_scale), p)


def _paper(evidences: Iterable[Evidence]) -> TableEvidence | None:
    return next((one for one in evidences if isinstance(one, TableEvidence)), None)


def judge_all(claims: Iterable[Claim], evidences: Sequence[Evidence]) -> pd.DataFrame:
    """Every claim held against every source, one row each, claims together.

    Columns: claim (its id), source, clause (label of the one that decides), value, low, high (points of nDCG@10, NaN
    where the source has no figures), holds, verdict, p, and ``p_holm``: p after Holm's correction over the claims
    judged with the same source, since so many verdicts at once would look clear by chance (see `multiplicity`).
    """
    rows = []
    for claim in claims:
        for evidence in evidences:
            found = judge(claim, evidence, _paper(evidences))
            label = found.weakest.clause.label if found.weakest else ""
            ends = _ends(found.weakest)
            rows.append((claim.id, evidence.name, label, *ends, found.holds, found.verdict, found.p))
    columns = ["claim", "source", "clause", "value", "low", "high", "holds", "verdict", "p"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(p_holm=table.groupby("source")["p"].transform(lambda p: holm(p.to_numpy())))


def _ends(found: Finding | None) -> tuple[float, float, float]:
    estimate = found.estimate if found else None
    return (estimate.value, estimate.low, estimate.high) if estimate else (math.nan,) * 3


def clauses_of(claims: Iterable[Claim | str]) -> list[tuple[Claim, Clause]]:
    """Every clause of claims (or their ids), beside its claim."""
    known = [find_claim(claim) if isinstance(claim, str) else claim for claim in claims]
    return [(claim, clause) for claim in known for clause in claim.clauses]


def clause_table(claims: Iterable[Claim | str], evidences: Sequence[Evidence]) -> pd.DataFrame:
    """Every clause against every source in figures, for plots: claims (or their ids) may be any subset.

    Columns: claim (id), clause (label), row (both in words), source, value, low, high, verdict.
    """
    rows = []
    for claim, clause in clauses_of(claims):
        row = ": ".join(filter(None, (claim.title, clause.label)))
        for evidence in evidences:
            one = finding(clause, evidence, _paper(evidences))
            rows.append((claim.id, clause.label, row, evidence.name, *_ends(one), one.verdict))
    columns = ["claim", "clause", "row", "source", "value", "low", "high", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def claims_table(claims: Iterable[Claim | str], evidences: Sequence[Evidence]) -> pd.DataFrame:
    """Claims side by side, for reading: a row a clause, a column a source, and the verdict on the last source.

    A column has the source's name without its parenthesis; a cell is the estimate in points and its interval.
    Claims may be given by id. ``(its sign)`` marks a clause of which the last source, being of another scale than
    the paper's, is asked less than the text says. What the intervals know stands in ``attrs["caption"]``.
    """
    rows, estimates = [], []
    for claim, clause in clauses_of(claims):
        found = {one.name.split(" (")[0]: finding(clause, one, _paper(evidences)) for one in evidences}
        estimates += [one.estimate for one in found.values() if one.estimate]
        text = ": ".join(filter(None, (claim.text.rstrip("."), clause.label)))
        if clause.bound(evidences[-1].full_scale) != clause.threshold:
            text += " (its sign)"
        said = [one.verdict for one in found.values()][-1]
        cells = {name: one.to_text() for name, one in found.items()}
        rows.append({"claim": text, **cells, "verdict": NOTHING if said == NO_FIGURES else said})
    table = pd.DataFrame(rows)
    lent = lent_words((one.seeds, one.spread) for one in estimates)
    table.attrs["caption"] = (
        "Points of nDCG@10, 95% intervals: of published figures over data sets (bootstrap), of runs over queries and "
        f"seeds (two-level test; *: queries alone).{lent} Verdicts are on {evidences[-1].name}; "
        f"{SIGN_RULE}."
    )
    return table


def lent_words(spreads: Iterable[tuple[int, str]]) -> str:
    """For a caption: how many intervals, given as (seeds, spread), have a spread that is not their own, and whose."""
    counted = Counter((lender, seeds > 1) for seeds, lender in spreads)
    words = []
    for lender in (BORROWED, BORROWED_AGAIN):
        told = f"the spread between seeds is {lender}."
        if single := counted[lender, False]:
            words.append(f" Where there is one seed ({single} times) {told}")
        if several := counted[lender, True]:
            words.append(f" Where two or three seeds agree too closely ({several} times) {told}")
    if unknown := counted[UNKNOWN, False]:
        words.append(
            f" Where one seed has nobody to borrow from ({unknown} times): over queries alone, and no p."
        )
    return "".join(words)


def multiplicity(table: pd.DataFrame) -> str:
    """One sentence on how many verdicts of :func:`judge_all` are clear, and how many would be by chance."""
    level = 1 - LEVEL
    made = table[table["verdict"] != NO_FIGURES]
    clear = int(made["verdict"].isin(CLEARLY).sum())
    kept = int((made["p_holm"] < level).sum())
    return (
        f"{len(made)} verdicts, {clear} of them clear at the {LEVEL:.0%} level; if nothing were there, some "
        f"{level * len(made):.1f} would be by chance; {kept} have a p-value below {level:.2f} after Holm's "
        "correction within their source."
    )
