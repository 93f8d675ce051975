"""What figures say: a comparison of arms, its evidence in some source, and the verdict on its interval.

Figures that others reported are read by ``published``; nothing in this package imports torch.
"""

from __future__ import annotations

from .evidence import Estimate, RunEvidence, TableEvidence
from .sources import ledger_evidence, mteb_evidence, paper_evidence, recorded_evidence, verdict_sources
from .verdict import (
    CLEARLY,
    claims_table,
    clause_table,
    decide,
    holm,
    judge,
    judge_all,
    leaves_out_zero,
    multiplicity,
    tally,
)

__all__ = [
    "CLEARLY", "Estimate", "RunEvidence", "TableEvidence", "claims_table", "clause_table", "decide", "holm", "judge",
    "judge_all", "leaves_out_zero", "ledger_evidence", "mteb_evidence", "multiplicity", "paper_evidence",
    "recorded_evidence", "tally", "verdict_sources",
]  # fmt: skip
