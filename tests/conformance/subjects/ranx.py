"""ranx: its own measures, compiled; as its README calls them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ranx

from tests.conformance.subjects.pytrec_eval import run_file

DISTRIBUTION = "ranx"
REFUSALS = (Exception,)


def _measured(given: dict[str, Any], measures: Any) -> Any:
    run = {query: dict(row) for query, row in given["run"].items()}
    return ranx.evaluate(ranx.Qrels(given["qrels"]), ranx.Run(run), measures)


def ndcg(given: dict[str, Any]) -> float:
    return float(_measured(given, "ndcg@10"))


def ranks(given: dict[str, Any]) -> float:
    measures = _measured(given, ["mrr", "ndcg@10"])
    return float(1 / measures["mrr"] - (2 ** (1 / measures["ndcg@10"]) - 1))


def repeats(given: dict[str, Any]) -> float:
    file = Path(given["folder"], "run.trec")
    file.write_text(run_file(given))
    return float(
        ranx.evaluate(ranx.Qrels(given["qrels"]), ranx.Run.from_file(str(file), kind="trec"), "ndcg@10")
    )


TASKS = {"ndcg": ndcg, "ranks": ranks, "repeats": repeats}
