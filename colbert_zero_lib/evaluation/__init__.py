"""Search a collection with a model and measure how good the rankings are.

Nothing here knows how a model was trained; names load on first use, so that statistics need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .baselines import evaluate_baselines as evaluate_baselines
    from .bm25 import BM25 as BM25
    from .contributions import contribution_intervals as contribution_intervals
    from .contributions import score_contributions as score_contributions
    from .dense import DenseRetriever as DenseRetriever
    from .encode import token_vectors as token_vectors
    from .late_interaction import LateInteractionRetriever as LateInteractionRetriever
    from .metrics import score_ranking as score_ranking
    from .plaid import PlaidRetriever as PlaidRetriever
    from .ranking import Ranking as Ranking
    from .ranking import Retriever as Retriever
    from .results import Difference as Difference
    from .results import Evaluation as Evaluation
    from .results import by_collection as by_collection
    from .results import difference as difference
    from .results import evaluate as evaluate
    from .sessions import evaluate_model as evaluate_model
    from .sessions import find_sets as find_sets
    from .statistics import Interval as Interval
    from .subjects import SearchOptions as SearchOptions
    from .subjects import find_subject as find_subject

_ROOMS = {
    "baselines": ("evaluate_baselines",),
    "bm25": ("BM25",),
    "contributions": ("contribution_intervals", "score_contributions"),
    "dense": ("DenseRetriever",),
    "encode": ("token_vectors",),
    "late_interaction": ("LateInteractionRetriever",),
    "metrics": ("score_ranking",),
    "plaid": ("PlaidRetriever",),
    "ranking": ("Ranking", "Retriever"),
    "results": ("Difference", "Evaluation", "by_collection", "difference", "evaluate"),
    "sessions": ("evaluate_model", "find_sets"),
    "statistics": ("Interval",),
    "subjects": ("SearchOptions", "find_subject"),
}


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
