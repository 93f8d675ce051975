"""nDCG@10, recall@100 and MRR@10 of a ranking, query by query, through trec_eval.

No averaging over collections and no intervals: those are in `results` and `statistics`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from colbert_zero_lib.errors import DataError, ParameterError

from .ranking import Ranking

if TYPE_CHECKING:
    from colbert_zero_lib.corpora import Collection

METRICS = ("ndcg@10", "recall@100", "mrr@10")


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
    judged = {
        query: {document: int(grade) for document, grade in grades.items()}
        for query, grades in collection.qrels.items()
        if query in collection.queries and any(grade > 0 for grade in grades.values())
    }
    if not judged:
        raise DataError(f"collection {collection.name!r} has no relevant document at all: check its qrels.")
    ranked = {query: documents[:100] for query, documents in ranking.document_ids(collection).items()}
    run = {query: _by_rank(documents) for query, documents in ranked.items() if query in judged}
    top10 = {query: _by_rank(documents[:10]) for query, documents in ranked.items() if query in judged}
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


def _by_rank(documents: list[str]) -> dict[str, float]:
    return {document: float(len(documents) - rank) for rank, document in enumerate(documents)}
