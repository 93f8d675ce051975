"""How well thirteen small data sets rank models that are close: worked out from published averages.

NanoBEIR has 50 queries of each of thirteen of BEIR's data sets. Nobody published per-query scores, so what chance does
to a ranking is simulated with the spread that the suite's own runs show.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from ..errors import ParameterError
from ..published.tables import BEIR, paper_table

NANO = tuple(name for name in BEIR if name not in ("TREC-COVID", "CQADupstack"))
NANO_QUERIES = 50
_DRAWS = 2000
# nDCG@10 that a model's own card reports for one of NanoBEIR's sets, by hub id and name of the set.
CARD_FIGURES = {("lightonai/ColBERT-Zero", "nanobeir/ClimateFEVER"): 0.4511316943880545}


def full_and_small() -> pd.DataFrame:
    """The models of Table 2 with their means over all 15 data sets and over NanoBEIR's 13: all queries, in points.

    Columns ``all``, ``thirteen`` and the two ranks (1 is best); what differs here is the choice of data sets alone.
    """
    table = paper_table(2).set_index("model")[list(BEIR)].astype(float)
    found = pd.DataFrame({"all": table.mean(axis=1), "thirteen": table[list(NANO)].mean(axis=1)})
    ranks = found.rank(ascending=False, method="min").astype(int)
    return found.assign(rank=ranks["all"], rank_of_thirteen=ranks["thirteen"]).sort_values("rank")


def mean_error(deviation: float, queries: int = NANO_QUERIES) -> float:
    """Standard error, in points, of the difference of two models' means over NanoBEIR's sets of ``queries`` queries.

    ``deviation``: of a paired difference from query to query, in points (`audit.query_deviation`).
    """
    if not (deviation > 0 and queries > 0):
        raise ParameterError(f"deviation and queries are {deviation} and {queries}: give numbers above 0.")
    return deviation / math.sqrt(queries * len(NANO))


def right_order(difference: float, deviation: float, queries: int = NANO_QUERIES) -> float:
    """Probability that the better of two models is ahead, when they really differ by ``difference`` points."""
    return 0.5 * (1 + math.erf(abs(difference) / mean_error(deviation, queries) / math.sqrt(2)))


def ranked_again(averages: pd.Series, deviation: float) -> pd.DataFrame:
    """How probable each rank is on small sets: a row a model, best first, a column a rank (1 is best), from 0 to 1.

    ``averages`` are taken for the truth (points). Each draw adds to every model the noise of its queries.
    """
    ordered = averages.sort_values(ascending=False)
    noise = mean_error(deviation) / math.sqrt(2)  # of one model: the error is of a difference of two
    drawn = ordered.to_numpy() + np.random.default_rng(0).normal(0, noise, (_DRAWS, len(ordered)))
    ranks = 1 + (-drawn).argsort(axis=1).argsort(axis=1)
    places = range(1, len(ordered) + 1)
    return pd.DataFrame({place: (ranks == place).mean(axis=0) for place in places}, index=ordered.index)
