"""What a source's figures say about a claim: agrees, within noise or differs, never from a bare number.

One claim and one source at a time, figures from ``evidence``; many at once are tabled by ``verdict_tables``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import ParameterError
from .clauses import Claim, Clause
from .evidence import Estimate, Evidence

Verdict = Literal["agrees", "within noise", "differs"]
Outcome = Literal["agrees", "within noise", "differs", "no figures"]
NO_FIGURES: Literal["no figures"] = "no figures"
NOTHING = "–"


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


@dataclass(frozen=True)
class Finding:
    """One clause held against one source: the estimate, what was asked of it, and the verdict on its interval.

    ``share``: of the draws, how many satisfy the clause; 1 or 0 for figures that are not drawn, such as hours.
    """

    clause: Clause
    asked: str
    estimate: Estimate | None
    holds: bool | None
    verdict: Outcome
    share: float

    def to_text(self) -> str:
        """The estimate and its interval, for print."""
        if self.estimate is None:
            return NOTHING
        value, low, high = self.estimate.value, self.estimate.low, self.estimate.high
        return f"{value:+.2f}" + (f" [{low:+.2f}, {high:+.2f}]" if self.estimate.drawn.size else "")


@dataclass(frozen=True)
class Judgement:
    """A claim held against one source.

    ``verdict``: ``agrees`` when every clause does, ``differs`` when one does, else ``within noise``; ``no figures``
    when the source lacks an arm. At another scale than the paper's, ``differs`` says that the claim does not carry
    over to that scale, not that it is wrong at the paper's.
    ``holds``: whether the point estimates satisfy every clause; ``weakest``: the finding that decides;
    ``support``: the share of joint draws in which the whole claim holds; ``p``: two-sided bootstrap p-value against
    the claim being otherwise than the point estimates say (the worst clause's when the claim holds, the best one's
    times their number when it does not); NaN without draws. ``reason``: one sentence.
    """

    claim: Claim
    source: str
    verdict: Outcome
    findings: tuple[Finding, ...]
    weakest: Finding | None
    holds: bool | None
    support: float
    p: float
    reason: str

    @property
    def estimates(self) -> tuple[Estimate | None, ...]:
        """Each clause's estimate, None where the source lacks an arm."""
        return tuple(finding.estimate for finding in self.findings)


def judge(claim: Claim, evidence: Evidence) -> Judgement:
    """Hold one claim against one source.

    A clause on hours is left out, and the reason says so, where the source has scores only: what a run of another
    scale costs was set by its profile, not found.
    """
    full = evidence.full_scale
    findings = tuple(finding(clause, evidence) for clause in claim.clauses)
    seen = [one for one in findings if one.estimate is not None]
    lacking = [one for one in findings if one.estimate is None]
    if not seen or any(one.clause.measure == "nDCG@10" for one in lacking):
        reason = _why_nothing(claim, evidence)
        return Judgement(claim, evidence.name, NO_FIGURES, findings, None, None, math.nan, math.nan, reason)
    said: Outcome = next(
        (word for word in ("differs", "within noise") if any(one.verdict == word for one in seen)), "agrees"
    )
    weakest = min((one for one in seen if one.verdict == said), key=lambda one: one.share)
    holds = all(one.holds for one in seen)
    reason = _because(weakest, evidence) + (
        f"; left out: {lacking[0].clause.label or 'hours'}, of which this source has no figure"
        if lacking
        else ""
    )
    return Judgement(
        claim,
        evidence.name,
        said,
        findings,
        weakest,
        holds,
        _support(seen, full),
        _p(seen, holds, full),
        f"{reason}.",
    )


def finding(clause: Clause, evidence: Evidence) -> Finding:
    """Hold one clause against one source."""
    full = evidence.full_scale
    estimate = evidence.contrast(clause.weights, clause.measure)
    if estimate is None:
        return Finding(clause, clause.asked(full), None, None, NO_FIGURES, math.nan)
    bound, sign = clause.bound(full), -1.0 if clause.relation == "<" else 1.0
    if clause.relation == "about":
        said = verdict(0.0, estimate.low, estimate.high, tolerance=bound)
    else:
        said = verdict(sign, estimate.low - bound, estimate.high - bound)
    holds = clause.holds(estimate.value, full)
    drawn = _margins(clause, estimate, full) > 0
    return Finding(
        clause, clause.asked(full), estimate, holds, said, float(drawn.mean() if drawn.size else holds)
    )


def _margins(clause: Clause, estimate: Estimate, full_scale: bool) -> np.ndarray:
    """How far each draw is on the clause's side of its bound, in points [draws]; below zero on the other side."""
    bound = clause.bound(full_scale)
    if clause.relation == "about":
        return bound - np.abs(estimate.drawn)
    return estimate.drawn - bound if clause.relation == ">" else bound - estimate.drawn


def _drawn(seen: Sequence[Finding], full_scale: bool) -> list[np.ndarray]:
    margins = [_margins(one.clause, one.estimate, full_scale) for one in seen if one.estimate is not None]
    return [margin for margin in margins if margin.size]


def _support(seen: Sequence[Finding], full_scale: bool) -> float:
    if not all(one.holds for one in seen if one.estimate is not None and not one.estimate.drawn.size):
        return 0.0
    drawn = _drawn(seen, full_scale)
    return float(np.logical_and.reduce([margin > 0 for margin in drawn]).mean()) if drawn else 1.0


def _p(seen: Sequence[Finding], holds: bool, full_scale: bool) -> float:
    drawn = _drawn(seen, full_scale)
    if not drawn:
        return math.nan
    # A draw at the bound itself speaks for neither side, so it counts against what the point estimates say.
    against = [
        (1 + int((margin <= 0 if holds else margin >= 0).sum())) / (1 + margin.size) for margin in drawn
    ]
    return min(1.0, 2 * (max(against) if holds else len(against) * min(against)))


def _because(finding: Finding, evidence: Evidence) -> str:
    estimate = finding.estimate
    assert estimate is not None
    label = f"{finding.clause.label}: " if finding.clause.label else ""
    head = f"{label}{finding.to_text()} where {finding.asked} is asked"
    if not estimate.drawn.size:
        return f"{head}, a figure without an interval"
    what = {
        "agrees": "is wholly on the claim's side",
        "within noise": "holds both answers",
        "differs": "is wholly on the other side",
    }[finding.verdict]
    scale = "" if evidence.full_scale else " at this scale"
    return f"{head}, so the interval over {estimate.unit_of_resampling} {what}{scale}"


def _why_nothing(claim: Claim, evidence: Evidence) -> str:
    lacking = evidence.missing(
        dict.fromkeys(
            arm for clause in claim.clauses if clause.measure == "nDCG@10" for arm, _ in clause.arms
        )
    )
    if not lacking:
        return f"The runs of {evidence.name} have no seed in common for this claim."
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    return f"{evidence.name} has no figure of {lacking[0]}{more}."
