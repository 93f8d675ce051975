"""nDCG@10, recall@100 and MRR@10 of a ranking, query by query, through trec_eval.

No averaging over collections and no intervals: those are in `results` and `statistics`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from colbert_zero_lib.errors import DataError, ParameterError

from .ranking import Ranking

if TYPE_CHECKING:
    from colbert_zero_lib.corpora import Collection

METRICS = ("ndcg@10", "recall@100", "mrr@10")
MTEB_DEPTHS = (1, 3, 5, 10, 20, 100, 1000)
_MTEB_MEASURES = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P"}
_QUERIES_AT_ONCE = 512


def score_ranking(ranking: Ranking, collection: Collection) -> pd.DataFrame:
    """Judge ``ranking`` by the collection's qrels: one row per query that has a relevant document.

    Returns the columns ``query``, ``ndcg@10`` (linear gain), ``recall@100``, ``mrr@10``, each in [0, 1].
    trec_eval breaks ties by document id; here it is given the ranks themselves, so what it judges is the
    order of the ranking and nothing else. A query whose ranking is empty scores 0 rather than being left out
    of the mean.
    """
    import pytrec_eval

    unknown = sorted(set(ranking.query_ids) ^ set(collection.queries))
    if unknown:
        raise DataError(
            f"the ranking and collection {collection.name!r} differ in query {unknown[0]!r}: "
            "rank exactly the collection's queries."
        )
    depth = ranking.indices.shape[1]
    if depth < min(100, len(collection.corpus)):
        raise ParameterError(
            f"recall@100 needs rankings of 100 documents, but those of collection {collection.name!r} "
            f"hold {depth}: search with k=100 or more."
        )
    judged, ranked = _judged(collection), ranking.document_ids(collection)
    run = {query: _by_rank(ranked[query][:100]) for query in judged}
    top10 = {query: _by_rank(ranked[query][:10]) for query in judged}
    deep = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10", "recall.100"}).evaluate(run)
    # trec_eval's reciprocal rank has no cut-off: it is given the first ten documents only.
    shallow = pytrec_eval.RelevanceEvaluator(judged, {"recip_rank"}).evaluate(top10)
    rows = [
        (
            query,
            deep.get(query, {}).get("ndcg_cut_10", 0.0),
            deep.get(query, {}).get("recall_100", 0.0),
            shallow.get(query, {}).get("recip_rank", 0.0),
        )
        for query in ranking.query_ids
        if query in judged
    ]
    return pd.DataFrame(rows, columns=["query", *METRICS])


def mteb_scores(ranking: Ranking, collection: Collection) -> dict[str, float]:
    """Means over queries under the names of MTEB's result files: ``ndcg_at_10``, ``map_at_100``, ``mrr_at_1`` ...

    Rounded to five digits as there. Values at a depth beyond the ranking's are those at its end.
    """
    import pytrec_eval

    judged, ranked = _judged(collection), ranking.document_ids(collection)
    depths = ",".join(map(str, MTEB_DEPTHS))
    measures = {f"{measure}.{depths}" for measure in _MTEB_MEASURES.values()}
    found: dict[str, dict[str, float]] = {}
    queries = list(judged)
    for start in range(0, len(queries), _QUERIES_AT_ONCE):  # a thousand documents each, as a mapping
        some = {query: judged[query] for query in queries[start : start + _QUERIES_AT_ONCE]}
        run = {query: _by_rank(ranked[query]) for query in some}
        found |= pytrec_eval.RelevanceEvaluator(some, measures).evaluate(run)
    first = np.array(
        [
            next(
                (place for place, name in enumerate(ranked[query], 1) if judged[query].get(name, 0) > 0),
                np.inf,
            )
            for query in judged
        ]
    )
    scores: dict[str, float] = {}
    for name, measure in _MTEB_MEASURES.items():
        for depth in MTEB_DEPTHS:
            values = [found.get(query, {}).get(f"{measure}_{depth}", 0.0) for query in judged]
            scores[f"{name}_at_{depth}"] = float(np.mean(values))
    for depth in MTEB_DEPTHS:
        scores[f"mrr_at_{depth}"] = float(np.where(first <= depth, 1 / first, 0.0).mean())
        scores[f"hit_rate_at_{depth}"] = float((first <= depth).mean())
    return {name: round(value, 5) for name, value in scores.items()}


def _judged(collection: Collection) -> dict[str, dict[str, int]]:
    """The grades of every query that has a relevant document."""
    judged = {
        query: {document: int(grade) for document, grade in grades.items()}
        for query, grades in collection.qrels.items()
        if query in collection.queries and any(grade > 0 for grade in grades.values())
    }
    if not judged:
        raise DataError(f"collection {collection.name!r} has no relevant document at all: check its qrels.")
    return judged


def _by_rank(documents: list[str]) -> dict[str, float]:
    return {document: float(len(documents) - rank) for rank, document in enumerate(documents)}
