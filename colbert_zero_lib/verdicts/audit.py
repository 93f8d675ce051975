"""How much a claim hangs on single data sets, on the benchmark's choice of them, and on the training data.

Paired tests over data sets, leaving some out, ranks; scores and the mix are read by ``published``, only nDCG@10 counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import ParameterError
from ..evaluation.statistics import DRAWS, bootstrap_mean_interval
from ..published.claims import CLAIMS
from ..published.comparison import Claim
from ..published.tables import BEIR
from ..published.training_mix import beir_queries, domains
from .evidence import TableEvidence
from .verdict import clauses_of, holm

_LARGEST_EXACT = 20  # 2 ** 20 sign patterns are a second's work


@dataclass(frozen=True)
class PairedTest:
    """What paired differences say about their mean.

    ``low``, ``high``: percentile bootstrap over the pairs (with 15 pairs it is
    somewhat too narrow); ``p``: two-sided and exact, the share of all assignments of signs whose mean is at least as
    far from zero. It takes the signs of pairs as independent, which data sets that share documents are only roughly.
    """

    mean: float
    low: float
    high: float
    p: float


def _differences(values: Sequence[float] | np.ndarray | pd.Series) -> np.ndarray:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not 2 <= len(numbers) <= _LARGEST_EXACT or not np.isfinite(numbers).all():
        raise ParameterError(
            f"A paired test takes 2 to {_LARGEST_EXACT} finite differences, one a data set, not {values!r}."
        )
    return numbers


def paired_test(differences: Sequence[float] | np.ndarray | pd.Series) -> PairedTest:
    """Test by signs and bootstrap interval of paired differences.

    ParameterError for fewer than 2 or more than 20 differences, or one that is no finite number. Differences
    that are all zero have p = 1.
    """
    numbers = _differences(differences)
    patterns = (np.arange(2 ** len(numbers))[:, None] >> np.arange(len(numbers))) & 1
    sums = np.abs((2 * patterns - 1) @ numbers)
    # Sums of equal terms in another order differ in the last bits: they count as equal.
    reached = abs(float(numbers.sum())) - 1e-9 * max(1.0, float(np.abs(numbers).sum()))
    interval = bootstrap_mean_interval(numbers)
    return PairedTest(*interval, float((sums >= reached).mean()))


def fewest_to_flip(differences: pd.Series) -> int | None:
    """How few data sets must be left out for the mean to lose its sign; None where no choice does it."""
    numbers = np.sort(_differences(differences))
    if numbers.sum() > 0:
        numbers = -numbers[::-1]
    for dropped in range(len(numbers)):  # the most negative first: no other choice of as many moves more
        if numbers[dropped:].sum() >= (-1e-12 if dropped else 0):
            return dropped
    return None


def rank_probabilities(scores: pd.DataFrame, samples: int = DRAWS) -> pd.DataFrame:
    """How probable it is that a model has rank 1, 2, ... when the data sets are drawn again with replacement.

    Rows in the order of the full means, columns 1 .. number of models; rows and columns sum to one (models that
    tie share their ranks by halves). ParameterError without at least two models, or with a score that is none.
    """
    values = scores[list(BEIR)].to_numpy(dtype=float)
    if len(values) < 2 or not np.isfinite(values).all():
        raise ParameterError("Ranks need the scores of at least two models on all 15 data sets.")
    sets = values.shape[1]
    drawn = np.random.default_rng([0, 1]).multinomial(sets, np.full(sets, 1 / sets), size=samples) / sets
    means = np.round(drawn @ values.T, 9)
    above = (means[:, :, None] < means[:, None, :]).sum(axis=2)  # [samples, models]: how many are better
    equal = (means[:, :, None] == means[:, None, :]).sum(axis=2)
    places = np.arange(len(values))
    shared = (places >= above[..., None]) & (places < (above + equal)[..., None])
    table = pd.DataFrame((shared / equal[..., None]).mean(axis=0), index=scores.index, columns=places + 1)
    return table.loc[scores[list(BEIR)].mean(axis=1).sort_values(ascending=False, kind="stable").index]


def query_noise(deviation: float, folder: Path | None = None) -> pd.DataFrame:
    """How far chance in the choice of queries alone moves a difference of two models: an estimate.

    ``deviation``: standard deviation between queries of the difference in nDCG@10, in points, taken as the same for
    every data set (nobody published per-query figures, so it has to come from elsewhere). Index: the 15 data sets
    and ``average``; columns ``queries`` and ``error``, one standard error in points.
    """
    if not (math.isfinite(deviation) and deviation > 0):
        raise ParameterError(f"A deviation between queries is a positive number of points, not {deviation}.")
    queries = beir_queries(folder)
    error = deviation / np.sqrt(queries)
    table = pd.DataFrame({"queries": queries, "error": error})
    table.loc["average"] = (queries.sum(), math.sqrt(float((error**2).sum())) / len(queries))
    return table.astype({"queries": int})


def robustness(evidence: TableEvidence, claims: Iterable[Claim] = CLAIMS) -> pd.DataFrame:
    """Every clause on nDCG@10 whose arms the source has, and what it takes to change the answer; in points.

    Columns: claim, clause (label), asked, value with its interval low, high (bootstrap over data sets), holds;
    ``lowest`` and ``highest`` value with one data set left out, ``breakers`` (data sets without which the answer
    changes), ``fewest`` (how few must be left out together; NaN where none do), ``p`` of the margins (`paired_test`)
    and ``p_holm``, adjusted for all clauses of the table. The last three are NaN for clauses of the kind ``about``,
    which no single data set can be for or against.
    """
    rows: list[tuple[object, ...]] = []
    for claim, clause in clauses_of(claims):
        estimate = evidence.contrast(clause.weights)
        if clause.measure != "nDCG@10" or estimate is None:
            continue
        values = evidence.per_collection(clause.weights).astype(float)
        left = (values.sum() - values) / (len(values) - 1)
        holds = clause.holds(values.mean())
        breakers = ", ".join(name for name in values.index if clause.holds(left[name]) != holds)
        figures = (estimate.value, estimate.low, estimate.high, holds, left.min(), left.max(), breakers)
        row = (claim.id, clause.label, clause.asked(), *figures)
        if clause.relation == "about":
            rows.append((*row, math.nan, math.nan))
            continue
        margins = (values - clause.bound(True)) * (1 if clause.relation == ">" else -1)
        rows.append((*row, fewest_to_flip(margins), paired_test(margins).p))
    columns = [
        "claim", "clause", "asked", "value", "low", "high", "holds", "lowest", "highest", "breakers", "fewest", "p",
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns).astype({"fewest": float})
    return table.assign(p_holm=holm(table["p"].to_numpy(float)))


def domain_gaps(scores: pd.DataFrame, reference: str, folder: Path | None = None) -> pd.DataFrame:
    """How far every model is from ``reference`` on each group of data sets, with bootstrap intervals over its sets.

    ``scores``: a row a model, columns the 15 data sets. Columns: model, group, sets (how many), value, low, high.
    """
    groups = {"all 15": BEIR, **domains(folder)}
    rows = []
    for model in scores.index.drop(reference):
        gap = (scores.loc[model, list(BEIR)] - scores.loc[reference, list(BEIR)]).astype(float)
        for name, sets in groups.items():
            if not sets:
                continue
            found = bootstrap_mean_interval(gap[list(sets)].to_numpy())
            rows.append((model, name, len(sets), *found))
    return pd.DataFrame(rows, columns=["model", "group", "sets", "value", "low", "high"])


def query_deviation(pairs: Iterable[tuple[pd.DataFrame, pd.DataFrame]]) -> float:
    """Standard deviation between queries of a paired difference in nDCG@10, in points, mean over collections.

    ``pairs``: per-query tables (columns collection, query, ndcg@10 from 0 to 1) of two runs each; NaN without any.
    """
    found = []
    for a, b in pairs:
        both = a.merge(b, on=["collection", "query"], suffixes=("_a", "_b"))
        gap = both["ndcg@10_a"] - both["ndcg@10_b"]
        found.append(gap.groupby(both["collection"]).std().mean())
    return 100 * float(np.mean(found)) if found else float("nan")
