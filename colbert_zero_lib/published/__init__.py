"""Figures that somebody reported, and what they say: tables, recorded runs, models, claims and verdicts.

How any figure was measured is not known here; nothing in this package imports torch.
"""

from __future__ import annotations

from .claims import CLAIMS, find_claim
from .clauses import Claim, Clause
from .evidence import (
    Estimate,
    Evidence,
    RunEvidence,
    TableEvidence,
    ledger_evidence,
    mteb_evidence,
    paper_evidence,
    recorded_evidence,
    verdict_sources,
)
from .models import ModelCard, model_cards
from .recorded import recorded_evaluations, recorded_runs
from .tables import BEIR, MTEB_MODELS, mteb_beir, mteb_scores, paper_scores, paper_table
from .verdict_tables import claims_table, clause_table, holm, judge_all, multiplicity
from .verdicts import Judgement, Verdict, judge, verdict

__all__ = [
    "BEIR",
    "CLAIMS",
    "MTEB_MODELS",
    "Claim",
    "Clause",
    "Estimate",
    "Evidence",
    "Judgement",
    "ModelCard",
    "RunEvidence",
    "TableEvidence",
    "Verdict",
    "claims_table",
    "clause_table",
    "find_claim",
    "holm",
    "judge",
    "judge_all",
    "ledger_evidence",
    "model_cards",
    "mteb_beir",
    "mteb_evidence",
    "mteb_scores",
    "multiplicity",
    "paper_evidence",
    "paper_scores",
    "paper_table",
    "recorded_evaluations",
    "recorded_evidence",
    "recorded_runs",
    "verdict",
    "verdict_sources",
]
