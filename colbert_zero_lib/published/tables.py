"""The paper's and MTEB's figures, typed and checked, as data frames.

What the figures mean is decided by ``claims``; runs of this suite are read by ``recorded``.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .. import committed
from ..errors import DataError, UnknownNameError
from ..home import data_folder
from ..paper_arms import PAPER_ROWS
from ..reading import UnreadableError, is_number, read_lines

BEIR = (
    "FiQA", "NFCorpus", "TREC-COVID", "Touche", "ArguAna", "Quora", "SCIDOCS", "SciFact", "NQ",
    "ClimateFEVER", "HotpotQA", "DBPedia", "CQADupstack", "FEVER", "MSMARCO",
)  # fmt: skip

# The released checkpoints that MTEB's maintainers and others evaluated again.
MTEB_MODELS = {
    "modernbert-embed-supervised": "nomic-ai/modernbert-embed-base",
    "gte-moderncolbert": "lightonai/GTE-ModernColBERT-v1",
    "gte-modernbert": "Alibaba-NLP/gte-modernbert-base",
    "colbert-zero-unsupervised": "lightonai/ColBERT-Zero-unsupervised",
    "colbert-zero-supervised": "lightonai/ColBERT-Zero-supervised",
    "colbert-zero": "lightonai/ColBERT-Zero",
}


_NUMBER = re.compile(r"[-+0-9.eE]+")  # Python reads more: 1_0, and digits of other scripts


@dataclass(frozen=True)
class Layout:
    """A CSV file's columns in order, each with the marks of its kind; ``key`` tells rows apart."""

    file: str
    columns: dict[str, str]
    key: tuple[str, ...]
    highest: float


def layout(file: str, columns: str, key: str, highest: float = 100.0) -> Layout:
    """A layout from its columns' names with a space between: ``name$`` is text, ``name#`` a whole number, ``name%`` a
    score from 0 to ``highest``, any other a number; a ``?`` at the end of all that says that it may be missing.
    """
    marks = {(name := word.rstrip("$#%?")): word.removeprefix(name) for word in columns.split()}
    return Layout(file, marks, tuple(key.split()), highest)


_SCORES = " ".join(f"{name}%" for name in ("average_printed", *BEIR))
_LAYOUTS = {
    1: layout(
        "table1_hyperparameters.csv",
        "phase$ lr_sweep_high lr_sweep_low lr_values_tried# batch_size# temperature? query_length_tokens# "
        "document_length_tokens# gpu_hours_gh200# nodes_of_4_gh200# note$",
        "phase",
    ),
    2: layout("table2_beir_ndcg10.csv", f"section$ model$ {_SCORES}", "model"),
    3: layout(
        "table3_prompt_alignment_ndcg10.csv",
        f"base$ base_prompts$ stage$ finetune_prompts$ {_SCORES}",
        "base base_prompts stage finetune_prompts",
    ),
    4: layout(
        "table4_prompt_length_ndcg10.csv",
        f"section$ base_prompts$ stage$ plus_prompt$ plus_length$ note$ {_SCORES}",
        "section base_prompts stage plus_prompt plus_length",
    ),
    5: layout(
        "table5_deltas.csv",
        "section$ base_prompts$ stage$ baseline% delta_prompt? with_prompt%? delta_length? with_length%? delta_both "
        "with_both%",
        "section base_prompts stage",
    ),
    "figure2": layout(
        "figure2_pipelines.csv",
        "pipeline$ unsupervised$ supervised$ kd$ colbert_gpu_hours_gh200# beir_average_ndcg10% model$",
        "pipeline",
    ),
}
_MTEB = layout(
    "beir_scores.csv",
    "model$ revision$ mteb_version$ task$ beir_name$ split$ dataset_revision$ ndcg_at_1%? ndcg_at_3%? ndcg_at_5%? "
    "ndcg_at_10% ndcg_at_20%? ndcg_at_100%? ndcg_at_1000%? map_at_10%? map_at_100%? recall_at_1%? recall_at_10%? "
    "recall_at_100%? recall_at_1000%? precision_at_1%? precision_at_10%? mrr_at_10%? mrr_at_100%?",
    "model task split",
    highest=1.0,
)


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        reader = csv.reader(read_lines(file, ends=True), strict=True)
        for row in reader:
            yield reader.line_num, row
    except (csv.Error, UnreadableError) as error:
        raise DataError(f"{file} cannot be read as CSV ({error}): restore the file.") from error


def _cell(layout: Layout, column: str, text: str, place: str) -> str | int | float:
    marks = layout.columns[column]
    if "$" in marks:
        return text
    if text == "":
        if "?" in marks:
            return math.nan
        raise DataError(f"{place} has no value for {column}: every one is needed, so restore the file.")
    try:
        if not _NUMBER.fullmatch(text):
            raise ValueError
        value = int(text) if "#" in marks else float(text)
    except ValueError:
        value = math.nan
    if not is_number(value):
        kind = "whole number" if "#" in marks else "number"
        raise DataError(f"{place} has {text!r} for {column}, which is not a {kind}: restore the file.")
    if "%" in marks and not 0 <= value <= layout.highest:
        raise DataError(
            f"{place} has {text} for {column}, outside 0 to {layout.highest:g}: restore the file."
        )
    return value


def read_csv(layout: Layout, folder: Path) -> pd.DataFrame:
    """The CSV file of a known layout in ``folder``, typed; DataError names file, line and column of the first thing
    that is wrong with it."""
    file = folder / layout.file
    committed.check(file)
    lines = _lines(file)
    line, header = next(lines, (1, []))
    for place, column in enumerate(layout.columns):
        if place >= len(header) or header[place] != column:
            found = repr(header[place]) if place < len(header) else "nothing"
            raise DataError(f"{file}:{line} has {found} where column {column!r} belongs: restore the file.")
    if len(header) > len(layout.columns):
        extra = header[len(layout.columns)]
        raise DataError(f"{file}:{line} has a column {extra!r} that is not known: restore the file.")
    rows: list[dict[str, str | int | float]] = []
    seen: dict[tuple[str, ...], int] = {}
    for line, row in lines:
        if len(row) != len(header):
            raise DataError(f"{file}:{line} has {len(row)} fields, not {len(header)}: restore the file.")
        named = dict(zip(header, row, strict=True))
        key = tuple(named[column] for column in layout.key)
        if key in seen:
            raise DataError(
                f"{file}:{line} repeats line {seen[key]} ({', '.join(filter(None, key))}): keep one of them."
            )
        seen[key] = line
        rows.append({name: _cell(layout, name, text, f"{file}:{line}") for name, text in named.items()})
    if not rows:
        raise DataError(f"{file}:{line} is followed by no row: restore the file.")
    return pd.DataFrame(rows, columns=list(layout.columns))


def paper_table(number: int | str, folder: Path | None = None) -> pd.DataFrame:
    """Table 1 to 5 or ``"figure2"`` of the paper, columns as in its CSV file under ``data/paper``.

    Scores are nDCG@10 in percent (float64). Tables 2, 3 and 4 get a last column ``recipe``: the printed form
    of the recipe behind the row, None where others trained the model. UnknownNameError for another table,
    DataError (file, line, column) for a file that is not as published.
    """
    if number not in _LAYOUTS:
        known = ", ".join(map(repr, _LAYOUTS))
        raise UnknownNameError(f"There is no paper table {number!r} here: use one of {known}.")
    table = read_csv(_LAYOUTS[number], folder or data_folder() / "paper")
    recipes = [row.recipe for row in PAPER_ROWS if row.table == number]
    if recipes:
        if len(recipes) != len(table):
            raise DataError(
                f"{_LAYOUTS[number].file} has {len(table)} rows but the paper prints {len(recipes)}: restore the file."
            )
        printed = [None if recipe is None else str(recipe) for recipe in recipes]
        table["recipe"] = pd.Series(printed, dtype=object)  # pandas' own text type would turn None into NaN
    return table


def mteb_scores(folder: Path | None = None) -> pd.DataFrame:
    """Every score of ``data/mteb``: one row a model, task and split; scores from 0 to 1, NaN where not given.

    DataError if a model lacks one of the 15 BEIR data sets, besides whatever a malformed file raises.
    """
    folder = folder or data_folder() / "mteb"
    scores = read_csv(_MTEB, folder)
    for model, own in scores[~_is_forum(scores)].groupby("model", sort=True):
        missing = [name for name in BEIR if name not in set(own["beir_name"])]
        if missing:
            raise DataError(f"{folder / _MTEB.file} has no {missing[0]} of {model}: restore the file.")
    return scores


def mteb_beir(folder: Path | None = None) -> pd.DataFrame:
    """MTEB's nDCG@10 in percent: one row a model, the columns the 15 data sets of BEIR and ``average``."""
    scores = mteb_scores(folder)
    whole = scores[~_is_forum(scores)]
    table = whole.pivot(index="model", columns="beir_name", values="ndcg_at_10")[list(BEIR)] * 100
    table.columns.name = None
    return table.assign(average=table.mean(axis=1))


def _is_forum(scores: pd.DataFrame) -> pd.Series:
    """The 12 forums that CQADupstack is made of, beside the row that stands for all of them."""
    return (scores["beir_name"] == "CQADupstack") & (scores["task"] != "CQADupstackRetrieval")


def paper_scores(folder: Path | None = None) -> pd.DataFrame:
    """Every distinct model that Tables 2 to 4 print: one row an arm, nDCG@10 in percent.

    ``folder`` is the root of a ``data`` folder. Index ``arm``: the printed recipe or, for models that others trained,
    the name in Table 2; columns: the 15 data sets of BEIR and ``average``, their mean. Rows that stand in several
    tables are the same in each; DataError names arm, data set and both tables where they are not.
    """
    root = (folder or data_folder()) / "paper"
    first: dict[str, tuple[str, pd.Series]] = {}
    for number in (2, 3, 4):
        file = _LAYOUTS[number].file
        for line, (_, row) in enumerate(paper_table(number, root).iterrows(), start=2):
            arm = str(row["recipe"] or row["model"])
            scores = row[list(BEIR)].astype(float)
            other, earlier = first.setdefault(arm, (file, scores))
            if not scores.equals(earlier):
                column = next(name for name in BEIR if scores[name] != earlier[name])
                raise DataError(
                    f"{root / file}:{line} has {scores[column]:g} for {column} of {arm!r} where {other} has "
                    f"{earlier[column]:g}: restore the two files."
                )
    found = pd.DataFrame({arm: scores for arm, (_, scores) in first.items()}).T
    found = found.rename_axis(index="arm", columns=None)
    return found.assign(average=found.mean(axis=1))
