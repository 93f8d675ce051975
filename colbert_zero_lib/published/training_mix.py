"""What the paper's models were trained on, which data sets of BEIR that covers, and how many queries those have.

Typed from ``data/paper``; scores are in `tables`.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..errors import DataError
from ..home import data_folder
from .tables import BEIR, layout, read_csv

_MIX = layout(
    "training_mix.csv", "phase$ data$ split$ rows# data_set$ relation$ note$", "phase split data_set"
)
_SETS = layout("beir_sets.csv", "data_set$ queries#", "data_set")
PHASES = ("unsupervised", "supervised", "distillation")
RELATIONS = ("training data", "same source")
UNTOUCHED = "neither"


def training_mix(folder: Path | None = None) -> pd.DataFrame:
    """Every split that the paper's models were trained on, with the BEIR data sets that it bears on.

    Columns phase, data (hub name), split, rows, data_set, relation ("training data" | "same source"), note; a
    split that bears on several data sets has a row for each, one that bears on none has them empty. ``folder`` is
    a data folder. DataError for an unknown name, or a split with two sizes.
    """
    paper = (folder or data_folder()) / "paper"
    mix = read_csv(_MIX, paper)
    known = {"phase": PHASES, "data_set": (*BEIR, ""), "relation": (*RELATIONS, "")}

    def refuse(wrong: pd.Series, what: str) -> None:
        if wrong.any():
            row = mix.loc[wrong.idxmax()]
            raise DataError(f"{paper / _MIX.file}:{row.name + 2} {what.format(**row)}.")

    for column, names in known.items():
        choices = ", ".join(filter(None, names))
        refuse(~mix[column].isin(names), f"has {{{column}!r}} for {column}: use one of {choices}")
    half = (mix["data_set"] == "") != (mix["relation"] == "")
    refuse(half, "names a data set or a relation but not both")
    sizes = mix.groupby(["phase", "split"])["rows"].transform("first")
    refuse(mix["rows"] != sizes, "has another size than the split's first row")
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
    """The 15 data sets in two groups, by whether the paper's models were trained on a data set's own training data."""
    closest = coverage(folder)["closest"]
    seen = closest == "training data"
    return {"in-domain": tuple(closest.index[seen]), "zero-shot": tuple(closest.index[~seen])}


def beir_queries(folder: Path | None = None) -> pd.Series:
    """How many test queries each of the 15 data sets has; DataError if one is missing."""
    paper = (folder or data_folder()) / "paper"
    queries = read_csv(_SETS, paper).set_index("data_set")["queries"]
    missing = [name for name in BEIR if name not in queries.index or queries[name] < 1]
    if missing:
        raise DataError(f"{paper / _SETS.file} has no number of queries for {missing[0]}: restore the file.")
    return queries[list(BEIR)]
