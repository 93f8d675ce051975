"""How well thirteen small data sets rank models that are close: worked out from published averages.

NanoBEIR has 50 queries of each of thirteen of BEIR's data sets. Nobody published per-query scores, so what chance does
to a ranking is simulated with the spread that the suite's own runs show.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import ParameterError
from .tables import BEIR, paper_table

NANO = tuple(name for name in BEIR if name not in ("TREC-COVID", "CQADupstack"))
NANO_QUERIES = 50


def full_and_small(folder: Path | None = None) -> pd.DataFrame:
    """The models of Table 2 with their means over all 15 data sets and over NanoBEIR's 13: all queries, in points.

    Columns ``all``, ``thirteen`` and the two ranks (1 is best); what differs here is the choice of data sets alone.
    """
    table = paper_table(2, folder and folder / "paper").set_index("model")[list(BEIR)].astype(float)
    found = pd.DataFrame({"all": table.mean(axis=1), "thirteen": table[list(NANO)].mean(axis=1)})
    ranks = found.rank(ascending=False, method="min").astype(int)
    return found.assign(rank=ranks["all"], rank_of_thirteen=ranks["thirteen"]).sort_values("rank")


def mean_error(deviation: float, queries: int = NANO_QUERIES, sets: int = len(NANO)) -> float:
    """Standard error, in points, of the difference of two models' means over ``sets`` sets of ``queries`` queries.

    ``deviation``: of a paired difference from query to query, in points (`robustness.query_deviation`).
    """
    if not (deviation > 0 and queries > 0 and sets > 0):
        raise ParameterError(
            f"deviation, queries and sets are {deviation}, {queries} and {sets}: give numbers above 0."
        )
    return deviation / math.sqrt(queries * sets)


def right_order(
    difference: float, deviation: float, queries: int = NANO_QUERIES, sets: int = len(NANO)
) -> float:
    """Probability that the better of two models is ahead, when they really differ by ``difference`` points."""
    return 0.5 * (1 + math.erf(abs(difference) / mean_error(deviation, queries, sets) / math.sqrt(2)))


def ranked_again(
    averages: pd.Series, deviation: float, queries: int = NANO_QUERIES, draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """What rank each model would have on small sets: a row a model with ``rank``, ``low``, ``high`` and ``first``.

    ``averages`` are taken for the truth (points). Each draw adds to every model the noise of its queries; ``low`` and
    ``high`` are the ranks between which 95 % of the draws lie, ``first`` is how often the model comes out best.
    """
    noise = mean_error(deviation, queries) / math.sqrt(2)
    drawn = averages.to_numpy() + np.random.default_rng(seed).normal(0, noise, (draws, len(averages)))
    ranks = 1 + (-drawn).argsort(axis=1).argsort(axis=1)
    low, high = np.percentile(ranks, (2.5, 97.5), axis=0, method="nearest").astype(int)
    return pd.DataFrame(
        {
            "average": averages,
            "rank": averages.rank(ascending=False, method="min").astype(int),
            "low": low,
            "high": high,
            "first": (ranks == 1).mean(axis=0),
        },
        index=averages.index,
    ).sort_values("rank")
