"""What the rows of the paper's tables say about each other: differences paired over the 15 data sets, with intervals.

The paper prints neither seeds nor per-query scores: every interval here asks what other data sets would have said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from ..errors import DataError, UnknownNameError
from ..evaluation.statistics import Interval, bootstrap_mean_interval
from ..published.tables import BEIR

_NEITHER, _PROMPT, _LENGTH, _BOTH = ("no", "no"), ("yes", "no"), ("no", "yes"), ("yes", "yes")
EFFECTS: dict[str, dict[Any, float]] = {  # weights of a block's rows, see `blocks`
    "prompts": {_PROMPT: 1, _NEITHER: -1},
    "length": {_LENGTH: 1, _NEITHER: -1},
    "both": {_BOTH: 1, _NEITHER: -1},
    "sum": {_PROMPT: 1, _LENGTH: 1, _NEITHER: -2},
    "interaction": {_BOTH: 1, _PROMPT: -1, _LENGTH: -1, _NEITHER: 1},
    "length at evaluation": {"evaluation": 1, _NEITHER: -1},
}


def per_dataset(scores: pd.DataFrame, weights: Mapping[Any, float]) -> pd.Series:
    """The weighted sum of rows of ``scores`` (index: arms) on each of the 15 data sets, in points.

    UnknownNameError for an arm that is no row.
    """
    for arm in weights:
        if arm not in scores.index:
            known = ", ".join(map(str, scores.index))
            raise UnknownNameError(f"There is no row {arm!r} in this table: it has {known}.")
    rows = [weight * scores.loc[[arm], list(BEIR)].iloc[0].astype(float) for arm, weight in weights.items()]
    return sum(rows[1:], rows[0]).rename("points")


def contrast(scores: pd.DataFrame, weights: Mapping[Any, float]) -> Interval:
    """Mean over the 15 data sets of :func:`per_dataset`, and the bootstrap interval over the data sets."""
    values = per_dataset(scores, weights).to_numpy(float)
    return bootstrap_mean_interval(values)


def gaps(table2: pd.DataFrame, reference: str = "colbert-zero") -> pd.DataFrame:
    """How far each model of Table 2 is above ``reference``: columns section, model, mean, value, low, high.

    ``mean`` is nDCG@10 over the 15 data sets; ``value`` with its paired interval the difference, in points.
    """
    scores = table2.set_index("model")
    rows = []
    for model in scores.index:
        found = contrast(scores, {model: 1, reference: -1} if model != reference else {model: 0})
        rows.append((scores.at[model, "section"], model, scores.loc[model, list(BEIR)].mean(), *found))
    return pd.DataFrame(rows, columns=["section", "model", "mean", "value", "low", "high"])


def start_of(section: str, base_prompts: str) -> str:
    """The short name of a starting point of Tables 3 to 5, such as ``ColBERT unsupervised, no prompts``."""
    base = section.rpartition(" from ")[2].replace("colbert", "ColBERT")
    return base if base_prompts == "yes" else f"{base}, no prompts"


def switch_effects(table4: pd.DataFrame) -> pd.DataFrame:
    """What prompts and extra length add in each block of Table 4, over the arm with neither, in points.

    One row a block and effect: columns start, stage, effect, value, low, high. Effects are ``prompts``, ``length``,
    ``both``, ``sum`` (of the single two, what both would be if they added up) and ``interaction`` (both - sum); the
    arm that was lengthened at evaluation only has the effect ``length at evaluation``. Blocks lack the effects whose
    arms the paper did not train.
    """
    rows = [
        (start, stage, effect, *contrast(arms, weights))
        for start, stage, _, arms in blocks(table4)
        for effect, weights in EFFECTS.items()
        if set(weights) <= set(arms.index)
    ]
    return pd.DataFrame(rows, columns=["start", "stage", "effect", "value", "low", "high"])


def blocks(table4: pd.DataFrame) -> Iterator[tuple[str, str, bool, pd.DataFrame]]:
    """The blocks of Table 4: start, stage, whether that start knows prompts, and the block's rows by their switches.

    Switches are (prompts, length), each ``yes`` or ``no``; the row that was lengthened late is ``evaluation``.
    """
    for (section, base_prompts, stage), block in table4.groupby(
        ["section", "base_prompts", "stage"], sort=False
    ):
        rows = block[["plus_prompt", "plus_length", "note"]].itertuples(index=False, name=None)
        switches: list[Any] = ["evaluation" if note else (prompt, length) for prompt, length, note in rows]
        arms = block.set_index(pd.Index(switches, dtype=object, tupleize_cols=False))
        if _NEITHER not in arms.index or _BOTH not in arms.index:
            raise DataError(
                f"Table 4 lacks an arm of {section!r}, {stage}: each block needs one with neither switch and one with "
                "both, so restore its file."
            )
        yield start_of(section, base_prompts), stage, base_prompts == "yes", arms


def switch_gains(table4: pd.DataFrame) -> pd.DataFrame:
    """What both switches add in each block of Table 4 on each of the 15 data sets, in points; index (start, stage)."""
    rows = {(start, stage): per_dataset(arms, EFFECTS["both"]) for start, stage, _, arms in blocks(table4)}
    gains = pd.DataFrame(rows).T[list(BEIR)]
    return gains.rename_axis(["start", "stage"])


def alignment(table3: pd.DataFrame) -> pd.DataFrame:
    """Fine-tuning as pre-trained against otherwise, for each base of Table 3: one row a base.

    Columns: base, base_prompts, start (mean after the unsupervised phase), aligned, misaligned (means after
    supervised and KD), value, low, high (aligned - misaligned, paired), all in points.
    """
    rows = []
    for (base, base_prompts), block in table3.groupby(["base", "base_prompts"], sort=False):
        tuned = block[block["stage"] == "supervised+kd"].set_index("finetune_prompts")
        other = "no" if base_prompts == "yes" else "yes"
        found = contrast(tuned, {base_prompts: 1, other: -1})
        start = block.loc[block["stage"] == "unsupervised", list(BEIR)].mean(axis=1).item()
        means = tuned[list(BEIR)].mean(axis=1)
        rows.append((base, base_prompts, start, means[base_prompts], means[other], *found))
    columns = ["base", "base_prompts", "start", "aligned", "misaligned", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns)
