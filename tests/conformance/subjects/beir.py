"""beir: its loader for folders and its evaluation of results, with their defaults."""

from __future__ import annotations

from typing import Any

from beir.datasets.data_loader import GenericDataLoader
from beir.retrieval.evaluation import EvaluateRetrieval

DISTRIBUTION = "beir"
REFUSALS = (Exception,)


def ndcg(given: dict[str, Any]) -> float:
    results = {query: dict(row) for query, row in given["run"].items()}
    return float(EvaluateRetrieval.evaluate(given["qrels"], results, [10])[0]["NDCG@10"])


def ranks(given: dict[str, Any]) -> float:
    results = {query: dict(row) for query, row in given["run"].items()}
    reciprocal = EvaluateRetrieval.evaluate_custom(given["qrels"], results, [10], metric="mrr")["MRR@10"]
    return float(1 / reciprocal - (2 ** (1 / ndcg(given)) - 1))


def qrels(given: dict[str, Any]) -> Any:
    return GenericDataLoader(given["folder"]).load(split="test")[2]


def texts(given: dict[str, Any]) -> Any:
    """Title and text joined as beir's dense models join them."""
    corpus = GenericDataLoader(given["folder"]).load(split="test")[0]
    return {
        name: (parts["title"] + " " + parts["text"]).strip() if "title" in parts else parts["text"].strip()
        for name, parts in corpus.items()
    }


TASKS = {"ndcg": ndcg, "own text": ndcg, "ranks": ranks, "qrels": qrels, "texts": texts}
