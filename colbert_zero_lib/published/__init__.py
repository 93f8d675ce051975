"""Figures that somebody reported: the paper's and MTEB's tables, released models, recorded runs, and the claims.

How any figure was measured is not known here, nor what it says; nothing in this package imports torch.
"""

from __future__ import annotations

from .claims import CLAIMS, find_claim
from .comparison import Claim, Clause
from .models import ModelCard, model_cards
from .recorded import recorded_evaluations, recorded_runs
from .tables import BEIR, MTEB_MODELS, mteb_beir, mteb_scores, paper_scores, paper_table

__all__ = [
    "BEIR", "CLAIMS", "MTEB_MODELS", "Claim", "Clause", "ModelCard", "find_claim", "model_cards", "mteb_beir",
    "mteb_scores", "paper_scores", "paper_table", "recorded_evaluations", "recorded_runs",
]  # fmt: skip
