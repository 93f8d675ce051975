"""Comparisons of trained arms as a table: what `evidence` knows of each, corrected over a family, and its verdict.

What is compared is named by `grid` and `prefixes`; torch is not needed, how runs are trained not known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from ..evaluation.statistics import LEVEL
from ..published.comparison import Relation
from .evidence import POWER, RunEvidence
from .verdict import NO_FIGURES, decide, holm, lent_words

# What a row of a table says of itself, and the comparison that it makes: arms (printed recipes) and their weights.
Comparison = tuple[Mapping[str, Any], Mapping[str, float]]


def findings(
    source: RunEvidence, comparisons: Iterable[Comparison], family: str = "source", signs: bool = True
) -> pd.DataFrame:
    """Comparisons held against a source's runs, one a row, in points.

    Columns: what each row says of itself, source, value, low, high, p, smallest, seeds, spread (as in `Estimate`),
    p_holm (p after Holm's correction over the rows alike in ``family``, by default all) and verdict: with ``signs`` on
    the sign of what the paper prints (column ``paper``, `SIGN_RULE`), else on any difference, corrected
    (`CORRECTED_RULE`). NaN and 0 seeds where an arm was not run.
    """
    named = [(about, source.contrast(weights)) for about, weights in comparisons]
    estimates = [found for _, found in named]
    figures = ("value", "low", "high", "p", "smallest")
    rows = [
        {**about, "source": source.name, **{name: getattr(found, name, math.nan) for name in figures}}
        | {"seeds": found.seeds if found else 0, "spread": found.spread if found else "", "p_holm": math.nan}
        for about, found in named
    ]
    table = pd.DataFrame(rows)
    table["p_holm"] = table.groupby(family)["p"].transform(lambda p: holm(p.to_numpy(float)))
    if signs:
        said = [
            decide(found, _relation(paper), size=abs(paper)) if not math.isnan(paper) else NO_FIGURES
            for found, paper in zip(estimates, table["paper"], strict=True)
        ]
    else:
        said = [decide(found, p=p) for found, p in zip(estimates, table["p_holm"], strict=True)]
    return table.assign(verdict=said)


def _relation(paper: float) -> Relation:
    """What the paper's delta asks of a sign; one of exactly 0 has none."""
    return ">" if paper > 0 else "<" if paper < 0 else "about"


def caption(findings: pd.DataFrame, what: str, rule: str) -> str:
    """What stands above a table of `findings`: what was tested and corrected, how it came out, and the rule."""
    run = findings[findings["seeds"] > 0]
    kept, tested = int((run["p_holm"] < 1 - LEVEL).sum()), int(run["p"].notna().sum())
    lent = lent_words(zip(run["seeds"], run["spread"], strict=True))
    return (
        f"{what}, {', '.join(sorted(set(findings['source'])))}, points of nDCG@10: {len(run)} of {len(findings)} run. "
        "Intervals and p count queries and seeds (two-level test); p (Holm) is corrected for what is asked together: "
        f"of {tested} tested {kept} stay below {1 - LEVEL:.2f}.{lent} {rule}."
    )


def smallest_words(findings: pd.DataFrame) -> str:
    """The smallest true difference that the rows of a table of `findings` could have shown, in one sentence."""
    known = findings["smallest"].dropna()
    if known.empty:
        return "Nothing is known of the spread between seeds, so no difference can be shown."
    low, high = (f"{value:.2f}" for value in (known.min(), known.max()))
    return (
        f"A true difference shows in {100 * POWER:.0f} of 100 cases from {low} points on"
        f"{'' if low == high else f' (best row) or {high} (worst)'}, before any correction."
    )
