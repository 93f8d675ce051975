"""What 15 printed averages can carry: paired tests, leaving one out, ranks, and what the training data covers.

Scores come from ``tables``; the paper's claims are put to these tests in ``robustness``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import DataError, ParameterError
from ..evaluation.statistics import bootstrap_mean_interval
from ..home import data_folder
from .tables import BEIR, Layout, read_csv

SAMPLES = 10_000
_LARGEST_EXACT = 20  # 2 ** 20 sign patterns are a second's work

_MIX = Layout(
    "training_mix.csv",
    ("phase", "data", "split", "rows", "data_set", "relation", "note"),
    text=("phase", "data", "split", "data_set", "relation", "note"),
    key=("phase", "split", "data_set"),
    integers=("rows",),
)
_SETS = Layout(
    "beir_sets.csv", ("data_set", "queries"), text=("data_set",), key=("data_set",), integers=("queries",)
)
PHASES = ("unsupervised", "supervised", "distillation")
RELATIONS = ("training data", "same source")
UNTOUCHED = "neither"


@dataclass(frozen=True)
class PairedTest:
    """What paired differences say about their mean and its sign; all p-values are two-sided and exact.

    ``low``, ``high``: percentile bootstrap over the pairs (with 15 pairs it is somewhat too narrow). ``sign_p``: sign
    test; ``wilcoxon_p``: signed-rank test, zeros left out, equal sizes sharing their rank; ``randomisation_p``: the
    mean under every assignment of signs. All three take pairs as exchangeable under no difference, which data
    sets that share documents are only roughly.
    """

    pairs: int
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


def paired_test(
    differences: Sequence[float] | np.ndarray | pd.Series,
    level: float = 0.95,
    samples: int = SAMPLES,
    seed: int = 0,
) -> PairedTest:
    """Sign test, Wilcoxon's signed-rank test, randomisation test and bootstrap interval of paired differences.

    ParameterError for fewer than 2 or more than 20 differences, or one that is no finite number. Differences
    that are all zero have p = 1.
    """
    numbers = _differences(differences)
    moved = np.round(numbers[numbers != 0], 10)  # 0.3 and 0.1 + 0.2 share a rank
    positive, count = int((moved > 0).sum()), len(moved)
    tail = sum(math.comb(count, k) for k in range(min(positive, count - positive) + 1))
    ranks = pd.Series(np.abs(moved)).rank().to_numpy()
    interval = bootstrap_mean_interval({"pairs": numbers}, level, samples, seed)
    return PairedTest(
        pairs=len(numbers),
        positive=positive,
        negative=count - positive,
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        sign_p=min(1.0, 2 * tail / 2**count),
        wilcoxon_p=_exact_p(ranks, float((np.sign(moved) * ranks).sum())),
        randomisation_p=_exact_p(np.abs(numbers), float(numbers.sum())),
    )


def leave_one_out(differences: pd.Series) -> pd.DataFrame:
    """The mean without each data set in turn: columns ``mean``, ``moved`` (by how much), ``same_sign``."""
    count, mean = len(_differences(differences)), float(differences.mean())
    without = (differences.sum() - differences) / (count - 1)
    same = (without > 0) if mean > 0 else (without < 0) if mean < 0 else without == 0
    return pd.DataFrame({"mean": without, "moved": without - mean, "same_sign": same})


def fewest_to_flip(differences: pd.Series) -> int | None:
    """How few data sets must be left out for the mean to lose its sign; None where no choice does it."""
    numbers = np.sort(_differences(differences))
    total = float(numbers.sum())
    if total == 0:
        return 0
    if total > 0:
        numbers = -numbers[::-1]
        total = -total
    for dropped in range(1, len(numbers)):  # the most negative first: no other choice of as many moves more
        if numbers[dropped:].sum() >= -1e-12:
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


def rank_probabilities(scores: pd.DataFrame, samples: int = SAMPLES, seed: int = 0) -> pd.DataFrame:
    """How probable it is that a model has rank 1, 2, ... when the data sets are drawn again with replacement.

    Rows in the order of the full means, columns 1 .. number of models; rows and columns sum to one (models that
    tie share their ranks by halves). ParameterError without at least two models, or with a score that is none.
    """
    values = scores[list(BEIR)].to_numpy(dtype=float)
    if len(values) < 2 or not np.isfinite(values).all():
        raise ParameterError("Ranks need the scores of at least two models on all 15 data sets.")
    sets = values.shape[1]
    drawn = np.random.default_rng([seed, 1]).multinomial(sets, np.full(sets, 1 / sets), size=samples) / sets
    means = np.round(drawn @ values.T, 9)
    above = (means[:, :, None] < means[:, None, :]).sum(axis=2)  # [samples, models]: how many are better
    equal = (means[:, :, None] == means[:, None, :]).sum(axis=2)
    places = np.arange(len(values))
    shared = (places >= above[..., None]) & (places < (above + equal)[..., None])
    table = pd.DataFrame((shared / equal[..., None]).mean(axis=0), index=scores.index, columns=places + 1)
    return table.loc[scores[list(BEIR)].mean(axis=1).sort_values(ascending=False, kind="stable").index]


def training_mix(folder: Path | None = None) -> pd.DataFrame:
    """Every split that the paper's models were trained on, with the BEIR data sets that it bears on.

    Columns phase, data (hub name), split, rows, data_set, relation ("training data" | "same source"), note; a
    split that bears on several data sets has a row for each, one that bears on none has them empty. ``folder`` is
    a data folder. DataError for an unknown name, or a split with two sizes.
    """
    paper = (folder or data_folder()) / "paper"
    mix = read_csv(_MIX, paper)
    known = {"phase": PHASES, "data_set": (*BEIR, ""), "relation": (*RELATIONS, "")}
    for column, names in known.items():
        strange = mix[~mix[column].isin(names)]
        if len(strange):
            raise DataError(
                f"{paper / _MIX.file}:{strange.index[0] + 2} has {strange[column].iloc[0]!r} for {column}: "
                f"use one of {', '.join(filter(None, names))}."
            )
    half = mix[(mix["data_set"] == "") != (mix["relation"] == "")]
    if len(half):
        raise DataError(
            f"{paper / _MIX.file}:{half.index[0] + 2} names a data set or a relation but not both."
        )
    sizes = mix.groupby(["phase", "split"])["rows"].transform("first")
    if (other := mix[mix["rows"] != sizes]).size:
        raise DataError(
            f"{paper / _MIX.file}:{other.index[0] + 2} has another size than the split's first row."
        )
    return mix


def training_rows(folder: Path | None = None) -> dict[str, int]:
    """How many rows each phase was trained on, in the order of the phases."""
    mix = training_mix(folder).drop_duplicates(["phase", "split"])
    rows = mix.groupby("phase")["rows"].sum()
    return {phase: int(rows[phase]) for phase in PHASES if phase in rows}


def coverage(folder: Path | None = None) -> pd.DataFrame:
    """For each data set of BEIR and each phase the closest relation to the phase's data, and ``closest`` over all.

    Index: the 15 data sets; values "training data", "same source" or "neither".
    """
    mix = training_mix(folder)
    table = pd.DataFrame(UNTOUCHED, index=list(BEIR), columns=list(PHASES))
    for relation in reversed(RELATIONS):
        for row in mix[mix["relation"] == relation].itertuples():
            table.loc[row.data_set, row.phase] = relation
    order = (*RELATIONS, UNTOUCHED)
    return table.assign(closest=[min(row, key=order.index) for row in table.to_numpy()])


def domains(folder: Path | None = None) -> dict[str, tuple[str, ...]]:
    """Groups of data sets by what the paper's models were trained on; the first two part the 15 between them."""
    closest = coverage(folder)["closest"]
    seen = tuple(closest.index[closest == "training data"])
    return {
        "in-domain": seen,
        "zero-shot": tuple(name for name in BEIR if name not in seen),
        "all but MSMARCO": tuple(name for name in BEIR if name != "MSMARCO"),
        "no source shared": tuple(closest.index[closest == UNTOUCHED]),
    }


def domain_averages(scores: pd.DataFrame, folder: Path | None = None) -> pd.DataFrame:
    """Mean score over all 15 data sets and over each group of `domains`, one row a model, in the same order."""
    groups = {"all 15": BEIR, **domains(folder)}
    return pd.DataFrame({name: scores[list(sets)].mean(axis=1) for name, sets in groups.items() if sets})


def beir_queries(folder: Path | None = None) -> pd.Series:
    """How many test queries each of the 15 data sets has; DataError if one is missing."""
    paper = (folder or data_folder()) / "paper"
    queries = read_csv(_SETS, paper).set_index("data_set")["queries"]
    missing = [name for name in BEIR if name not in queries.index or queries[name] < 1]
    if missing:
        raise DataError(f"{paper / _SETS.file} has no number of queries for {missing[0]}: restore the file.")
    return queries[list(BEIR)]


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
