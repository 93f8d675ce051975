"""pytrec_eval (as pytrec-eval-terrier): trec_eval's measures over dictionaries."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytrec_eval

DISTRIBUTION = "pytrec-eval-terrier"
REFUSALS = (Exception,)


def _measured(given: dict[str, Any]) -> Any:
    evaluator = pytrec_eval.RelevanceEvaluator(given["qrels"], {"ndcg_cut.10", "recip_rank"})
    return evaluator.evaluate({query: dict(row) for query, row in given["run"].items()})


def ndcg(given: dict[str, Any]) -> float:
    return float(np.mean([measures["ndcg_cut_10"] for measures in _measured(given).values()]))


def ranks(given: dict[str, Any]) -> float:
    (measures,) = _measured(given).values()
    return 1 / measures["recip_rank"] - (2 ** (1 / measures["ndcg_cut_10"]) - 1)


def run_file(given: dict[str, Any]) -> str:
    """TREC's run file of one ranking."""
    rows = enumerate(given["ranking"], 1)
    return "".join(f"q Q0 {document} {place} {10 - place} run\n" for place, document in rows)


def repeats(given: dict[str, Any]) -> float:
    run = pytrec_eval.parse_run(io.StringIO(run_file(given)))
    evaluator = pytrec_eval.RelevanceEvaluator(given["qrels"], {"ndcg_cut.10"})
    return float(evaluator.evaluate(run)["q"]["ndcg_cut_10"])


TASKS = {"ndcg": ndcg, "ranks": ranks, "repeats": repeats}
