"""How much each claim hangs on single data sets, on the benchmark's choice of them, and on the training data.

Claims are in ``claims``, the tests in ``audit``; only nDCG@10 of published tables is looked at here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from ..evaluation.statistics import bootstrap_mean_interval
from .audit import SAMPLES, contributions, domains, fewest_to_flip, leave_one_out, paired_test
from .claims import CLAIMS
from .clauses import Claim, Clause
from .evidence import TableEvidence
from .tables import BEIR
from .verdict_tables import holm


def _answered(evidence: TableEvidence, claims: Iterable[Claim]) -> Iterator[tuple[Claim, Clause, pd.Series]]:
    """Each clause on nDCG@10 whose arms the source has, with its weighted sum on every data set."""
    for claim in claims:
        for clause in claim.clauses:
            weights = clause.weights
            if clause.measure == "nDCG@10" and not evidence.missing(weights):
                yield claim, clause, evidence.per_collection(weights).astype(float)


def margins(values: pd.Series, clause: Clause) -> pd.Series | None:
    """How far each data set is on the claim's side of its threshold, in points; it holds if the mean is positive.

    None for a clause of the kind ``about``, which no single data set can be for or against.
    """
    if clause.relation == "about":
        return None
    return (values - clause.bound(True)) * (1 if clause.relation == ">" else -1)


def robustness(evidence: TableEvidence, claims: Iterable[Claim] = CLAIMS) -> pd.DataFrame:
    """Every clause that the source can answer, and what it takes to change the answer; points of nDCG@10.

    Columns: claim, clause (label), asked, value with its interval low, high (bootstrap over data sets), holds;
    ``lowest`` and ``highest`` value with one data set left out, ``breakers`` (data sets without which the answer
    changes), ``fewest`` (how few must be left out together), ``for_it`` (data sets on the claim's side), ``driver``
    (the data set that adds most to the margin) and ``driver_part`` (how much); ``sign_p``, ``wilcoxon_p``,
    ``randomisation_p`` of the margins, and ``holm_p``: Wilcoxon's, adjusted for all clauses of the table. From
    ``fewest`` on NaN or "" for clauses of the kind ``about``.
    """
    rows = []
    for claim, clause, values in _answered(evidence, claims):
        left, holds = leave_one_out(values)["mean"], clause.holds(values.mean())
        estimate = evidence.contrast(clause.weights)
        assert estimate is not None  # no arm is missing
        row = {
            "claim": claim.id,
            "clause": clause.label,
            "asked": clause.asked(),
            "value": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "holds": holds,
            "lowest": left.min(),
            "highest": left.max(),
            "breakers": ", ".join(name for name in values.index if clause.holds(left[name]) != holds),
        }
        if (margin := margins(values, clause)) is not None:
            test, parts = paired_test(margin), contributions(margin)
            row |= {
                "fewest": fewest_to_flip(margin),
                "for_it": test.positive,
                "driver": parts.index[0],
                "driver_part": parts["contribution"].iloc[0],
                "sign_p": test.sign_p,
                "wilcoxon_p": test.wilcoxon_p,
                "randomisation_p": test.randomisation_p,
            }
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    table["driver"] = table["driver"].fillna("")
    table["fewest"] = table["fewest"].astype(float)  # NaN also where no choice of data sets turns the mean
    table["holm_p"] = holm(table["wilcoxon_p"].to_numpy(float))
    return table


_SMALLEST_GROUP = 5  # three data sets say too little to contradict fifteen
_COLUMNS = (
    "claim", "clause", "asked", "value", "low", "high", "holds", "lowest", "highest", "breakers", "fewest", "for_it",
    "driver", "driver_part", "sign_p", "wilcoxon_p", "randomisation_p",
)  # fmt: skip


def by_domain(
    evidence: TableEvidence, claims: Iterable[Claim] = CLAIMS, folder: Path | None = None
) -> pd.DataFrame:
    """The value of every clause on all data sets and on each group of `domains`, and whether it holds there.

    Columns claim, clause, asked, then for each group its name (value, points) and ``<name> holds``; ``sides`` is "same"
    where the answer is the same in every group of at least five data sets.
    """
    groups = {"all 15": BEIR, **domains(folder)}
    rows = []
    for claim, clause, values in _answered(evidence, claims):
        row: dict[str, object] = {"claim": claim.id, "clause": clause.label, "asked": clause.asked()}
        found = {name: float(values[list(sets)].mean()) for name, sets in groups.items() if sets}
        held = [clause.holds(value) for name, value in found.items() if len(groups[name]) >= _SMALLEST_GROUP]
        for name, value in found.items():
            row |= {name: value, f"{name} holds": clause.holds(value)}
        rows.append(row | {"sides": "same" if len(set(held)) == 1 else "differs"})
    return pd.DataFrame(rows)


def domain_gaps(scores: pd.DataFrame, reference: str, folder: Path | None = None) -> pd.DataFrame:
    """How far every model is from ``reference`` on each group of data sets, with bootstrap intervals over its sets.

    ``scores``: a row a model, columns the 15 data sets. Columns: model, group, sets (how many), value, low, high.
    """
    groups = {"all 15": BEIR, **domains(folder)}
    rows = []
    for model in scores.index:
        if model == reference:
            continue
        gap = scores.loc[model, list(BEIR)].astype(float) - scores.loc[reference, list(BEIR)].astype(float)
        for name, sets in groups.items():
            own = gap[list(sets)].to_numpy()
            if len(own):
                rows.append((model, name, len(own), *bootstrap_mean_interval({"sets": own}, samples=SAMPLES)))
    return pd.DataFrame(rows, columns=["model", "group", "sets", "value", "low", "high"])


def forum_tests(forums: pd.DataFrame, pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Paired tests of models over CQADupstack's forums: ``forums`` has a row a model and a column a forum (points).

    Columns: a, b, forums, value (a - b) with low, high, ``better_on``, ``sign_p``, ``wilcoxon_p``, ``holm_p``
    (Wilcoxon's, adjusted for the pairs given). Forums of one site are more alike than the data sets of BEIR are.
    """
    rows = []
    for a, b in pairs:
        test = paired_test(forums.loc[a].astype(float) - forums.loc[b].astype(float))
        rows.append(
            (a, b, test.pairs, test.mean, test.low, test.high, test.positive, test.sign_p, test.wilcoxon_p)
        )
    columns = ["a", "b", "forums", "value", "low", "high", "better_on", "sign_p", "wilcoxon_p"]
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
