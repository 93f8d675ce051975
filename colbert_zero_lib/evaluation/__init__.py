"""Search a collection with a model and measure how good the rankings are.

Nothing here knows how a model was trained; names load on first use, so that statistics need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .baselines import evaluate_baselines
    from .bm25 import BM25
    from .choice import choose_search, measured_costs, retriever_for
    from .contributions import contribution_intervals, score_contributions
    from .dense import DenseRetriever
    from .encode import token_vectors
    from .late_interaction import LateInteractionRetriever
    from .metrics import METRICS, score_ranking
    from .plaid import PlaidRetriever
    from .ranking import Ranking, Retriever
    from .results import Difference, Evaluation, by_collection, difference, evaluate
    from .sessions import evaluate_model, find_sets
    from .statistics import Interval
    from .subjects import SearchOptions, find_subject
    from .vectors import VectorStore

_HOMES = {
    "evaluate_baselines": "baselines",
    "BM25": "bm25",
    "score_contributions": "contributions",
    "contribution_intervals": "contributions",
    "choose_search": "choice",
    "measured_costs": "choice",
    "retriever_for": "choice",
    "DenseRetriever": "dense",
    "token_vectors": "encode",
    "LateInteractionRetriever": "late_interaction",
    "METRICS": "metrics",
    "score_ranking": "metrics",
    "PlaidRetriever": "plaid",
    "Ranking": "ranking",
    "Retriever": "ranking",
    "Evaluation": "results",
    "evaluate": "results",
    "evaluate_model": "sessions",
    "find_sets": "sessions",
    "by_collection": "results",
    "Difference": "results",
    "Interval": "statistics",
    "difference": "results",
    "SearchOptions": "subjects",
    "find_subject": "subjects",
    "VectorStore": "vectors",
}

__all__ = [
    "BM25",
    "METRICS",
    "DenseRetriever",
    "Difference",
    "Evaluation",
    "Interval",
    "LateInteractionRetriever",
    "PlaidRetriever",
    "Ranking",
    "Retriever",
    "SearchOptions",
    "VectorStore",
    "by_collection",
    "choose_search",
    "contribution_intervals",
    "difference",
    "evaluate",
    "evaluate_baselines",
    "evaluate_model",
    "find_sets",
    "find_subject",
    "measured_costs",
    "retriever_for",
    "score_contributions",
    "score_ranking",
    "token_vectors",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
