"""How much a claim hangs on single data sets, on the benchmark's choice of them, and on the training data.

Paired tests over data sets, leaving some out, ranks; scores and the mix are read by ``published``, only nDCG@10 counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import ParameterError
from ..evaluation.statistics import bootstrap_mean_interval
from ..published.claims import CLAIMS
from ..published.comparison import Claim, Clause
from ..published.tables import BEIR
from ..published.training_mix import beir_queries, domains
from .evidence import DRAWS, TableEvidence
from .verdict import holm

_LARGEST_EXACT = 20  # 2 ** 20 sign patterns are a second's work
_SMALLEST_GROUP = 5  # three data sets say too little to contradict fifteen


@dataclass(frozen=True)
class PairedTest:
    """What paired differences say about their mean and its sign; all p-values are two-sided and exact.

    ``low``, ``high``: percentile bootstrap over the pairs (with 15 pairs it is somewhat too narrow). ``sign_p``: sign
    test; ``wilcoxon_p``: signed-rank test, zeros left out, equal sizes sharing their rank; ``randomisation_p``: the
    mean under every assignment of signs. All three take pairs as exchangeable under no difference, which data
    sets that share documents are only roughly.
    """

    positive: int
    negative: int
    mean: float
    low: float
    high: float
    sign_p: float
    wilcoxon_p: float
    randomisation_p: float


def _differences(values: Sequence[float] | np.ndarray | pd.Series) -> np.ndarray:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not 2 <= len(numbers) <= _LARGEST_EXACT or not np.isfinite(numbers).all():
        raise ParameterError(
            f"A paired test takes 2 to {_LARGEST_EXACT} finite differences, one a data set, not {values!r}."
        )
    return numbers


def _exact_p(sizes: np.ndarray, observed: float) -> float:
    """Share of sign patterns of ``sizes`` whose sum is at least as far from zero as ``observed``."""
    patterns = (np.arange(2 ** len(sizes))[:, None] >> np.arange(len(sizes))) & 1
    sums = np.abs((2 * patterns - 1) @ sizes)
    # Sums of equal terms in another order differ in the last bits: they count as equal.
    return float((sums >= abs(observed) - 1e-9 * max(1.0, float(sizes.sum()))).mean())


def paired_test(differences: Sequence[float] | np.ndarray | pd.Series) -> PairedTest:
    """Sign test, Wilcoxon's signed-rank test, randomisation test and bootstrap interval of paired differences.

    ParameterError for fewer than 2 or more than 20 differences, or one that is no finite number. Differences
    that are all zero have p = 1.
    """
    from scipy.stats import binomtest

    numbers = _differences(differences)
    moved = np.round(numbers[numbers != 0], 10)  # 0.3 and 0.1 + 0.2 share a rank
    positive, count = int((moved > 0).sum()), len(moved)
    ranks = pd.Series(np.abs(moved)).rank().to_numpy()
    interval = bootstrap_mean_interval(numbers)
    return PairedTest(
        positive=positive,
        negative=count - positive,
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        sign_p=float(binomtest(positive, count).pvalue) if count else 1.0,
        wilcoxon_p=_exact_p(ranks, float((np.sign(moved) * ranks).sum())),
        randomisation_p=_exact_p(np.abs(numbers), float(numbers.sum())),
    )


def leave_one_out(differences: pd.Series) -> pd.Series:
    """The mean without each data set in turn."""
    return (differences.sum() - differences) / (len(_differences(differences)) - 1)


def fewest_to_flip(differences: pd.Series) -> int | None:
    """How few data sets must be left out for the mean to lose its sign; None where no choice does it."""
    numbers = np.sort(_differences(differences))
    if numbers.sum() > 0:
        numbers = -numbers[::-1]
    for dropped in range(len(numbers)):  # the most negative first: no other choice of as many moves more
        if numbers[dropped:].sum() >= (-1e-12 if dropped else 0):
            return dropped
    return None


def contributions(differences: pd.Series) -> pd.DataFrame:
    """What each data set adds to the mean, largest first: ``difference``, ``contribution``, ``share`` of the mean.

    Shares sum to one and may be negative or above one; they are NaN where the mean is zero.
    """
    count, mean = len(_differences(differences)), float(differences.mean())
    order = differences.sort_values(ascending=mean < 0, kind="stable")
    part = order / count
    return pd.DataFrame({"difference": order, "contribution": part, "share": part / (mean or math.nan)})


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


def _groups(folder: Path | None) -> dict[str, tuple[str, ...]]:
    groups = {"all 15": BEIR, **domains(folder)}
    return {name: sets for name, sets in groups.items() if sets}


def domain_averages(scores: pd.DataFrame, folder: Path | None = None) -> pd.DataFrame:
    """Mean score over all 15 data sets and over each group of `domains`, one row a model, in the same order."""
    groups = _groups(folder).items()
    return pd.DataFrame({name: scores[list(sets)].mean(axis=1) for name, sets in groups})


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


def _answered(evidence: TableEvidence, claims: Iterable[Claim]) -> Iterator[tuple[Claim, Clause, pd.Series]]:
    """Each clause on nDCG@10 whose arms the source has, with its weighted sum on every data set."""
    for claim in claims:
        for clause in claim.clauses:
            weights = clause.weights
            if clause.measure == "nDCG@10" and not evidence.missing(weights):
                yield claim, clause, evidence.per_collection(weights).astype(float)


def robustness(evidence: TableEvidence, claims: Iterable[Claim] = CLAIMS) -> pd.DataFrame:
    """Every clause that the source can answer, and what it takes to change the answer; points of nDCG@10.

    Columns: claim, clause (label), asked, value with its interval low, high (bootstrap over data sets), holds;
    ``lowest`` and ``highest`` value with one data set left out, ``breakers`` (data sets without which the answer
    changes), ``fewest`` (how few must be left out together), ``for_it`` (data sets on the claim's side), ``driver``
    (the data set that adds most to the margin) and ``driver_part`` (how much); ``sign_p``, ``wilcoxon_p``,
    ``randomisation_p`` of the margins, and ``holm_p``: Wilcoxon's, adjusted for all clauses of the table. From
    ``fewest`` on NaN or "" for clauses of the kind ``about``, which no single data set can be for or against.
    """
    rows = []
    for claim, clause, values in _answered(evidence, claims):
        left, holds = leave_one_out(values), clause.holds(values.mean())
        estimate = evidence.contrast(clause.weights)
        assert estimate is not None  # no arm is missing
        breakers = ", ".join(name for name in values.index if clause.holds(left[name]) != holds)
        figures = (estimate.value, estimate.low, estimate.high, holds, left.min(), left.max(), breakers)
        row = (claim.id, clause.label, clause.asked(), *figures)
        if clause.relation == "about":
            rows.append((*row, math.nan, math.nan, "", *[math.nan] * 4))
            continue
        margins = (values - clause.bound(True)) * (1 if clause.relation == ">" else -1)
        test, parts = paired_test(margins), contributions(margins)["contribution"]
        p = (test.sign_p, test.wilcoxon_p, test.randomisation_p)
        rows.append((*row, fewest_to_flip(margins), test.positive, parts.index[0], parts.iloc[0], *p))
    columns = [
        "claim", "clause", "asked", "value", "low", "high", "holds", "lowest", "highest", "breakers", "fewest",
        "for_it", "driver", "driver_part", "sign_p", "wilcoxon_p", "randomisation_p",
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns).astype({"fewest": float})
    return table.assign(holm_p=holm(table["wilcoxon_p"].to_numpy(float)))


def by_domain(
    evidence: TableEvidence, claims: Iterable[Claim] = CLAIMS, folder: Path | None = None
) -> pd.DataFrame:
    """The value of every clause on all data sets and on each group of `domains`, and whether it holds there.

    Columns claim, clause, asked, then for each group its name (value, points) and ``<name> holds``; ``sides`` is "same"
    where the answer is the same in every group of at least five data sets.
    """
    groups = _groups(folder)
    rows = []
    for claim, clause, values in _answered(evidence, claims):
        row: dict[str, object] = {"claim": claim.id, "clause": clause.label, "asked": clause.asked()}
        found = {name: float(values[list(sets)].mean()) for name, sets in groups.items()}
        held = [clause.holds(value) for name, value in found.items() if len(groups[name]) >= _SMALLEST_GROUP]
        for name, value in found.items():
            row |= {name: value, f"{name} holds": clause.holds(value)}
        rows.append(row | {"sides": "same" if len(set(held)) == 1 else "differs"})
    return pd.DataFrame(rows)


def domain_gaps(scores: pd.DataFrame, reference: str, folder: Path | None = None) -> pd.DataFrame:
    """How far every model is from ``reference`` on each group of data sets, with bootstrap intervals over its sets.

    ``scores``: a row a model, columns the 15 data sets. Columns: model, group, sets (how many), value, low, high.
    """
    groups = _groups(folder)
    rows = []
    for model in scores.index.drop(reference):
        gap = (scores.loc[model, list(BEIR)] - scores.loc[reference, list(BEIR)]).astype(float)
        for name, sets in groups.items():
            found = bootstrap_mean_interval(gap[list(sets)].to_numpy())
            rows.append((model, name, len(sets), *found))
    return pd.DataFrame(rows, columns=["model", "group", "sets", "value", "low", "high"])


def forum_tests(forums: pd.DataFrame, pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Paired tests of models over CQADupstack's forums: ``forums`` has a row a model and a column a forum (points).

    Columns: a, b, value (a - b) with low, high, ``better_on``, ``sign_p``, ``wilcoxon_p``, ``holm_p`` (Wilcoxon's,
    adjusted for the pairs given). Forums of one site are more alike than the data sets of BEIR are.
    """
    rows = []
    for a, b in pairs:
        test = paired_test(forums.loc[a].astype(float) - forums.loc[b].astype(float))
        rows.append((a, b, test.mean, test.low, test.high, test.positive, test.sign_p, test.wilcoxon_p))
    columns = ["a", "b", "value", "low", "high", "better_on", "sign_p", "wilcoxon_p"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(holm_p=holm(table["wilcoxon_p"].to_numpy(float)))


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
