"""The released models behind the figures: where they are, what they are, what they were trained on.

Typed from ``data/paper/models.csv``; recipes are joined from the paper's rows, revisions from MTEB's file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import DataError
from ..home import data_folder
from ..paper_arms import PAPER_ROWS
from ..recipes import Recipe
from .tables import layout, mteb_scores, read_csv

_CARDS = layout(
    "models.csv",
    "name$ hub_id$ parameters_millions#? interaction$ vector_dimension#? training_data$ prompts$ licence$ link$",
    "name",
)
_INTERACTIONS = ("dense", "colbert", "lexical")
_BARE = "-noprompts"


@dataclass(frozen=True)
class ModelCard:
    """One released model; "" or None where no source was found.

    ``name``: as Table 2 has it, else the hub's in small letters; ``parameters``: millions; ``vector_dimension``: of
    the one vector (dense) or of each token's (colbert); ``revision``: the commit (or version) that MTEB evaluated, ""
    where it evaluated none itself; ``recipe``: the printed recipe that makes it, None for models that others trained by
    other means.
    """

    name: str
    hub_id: str
    parameters: int | None
    interaction: str
    vector_dimension: int | None
    training_data: str
    prompts: str
    licence: str
    link: str
    revision: str
    recipe: str | None

    @property
    def in_paper(self) -> bool:
        """Whether the paper has figures of this model."""
        return self.recipe is not None or any(self.name == row.model for row in PAPER_ROWS)


def model_cards(folder: Path | None = None) -> tuple[ModelCard, ...]:
    """Every model of ``data/paper/models.csv``, in its order; ``folder`` is the root of a ``data`` folder.

    DataError names file and line of an unknown interaction, besides what any malformed table raises.
    """
    root = folder or data_folder()
    table = read_csv(_CARDS, root / "paper")
    rerun = (
        mteb_scores(root / "mteb").groupby("model", sort=False)["revision"].first().replace("external", "")
    )
    cards = []
    for line, row in enumerate(table.to_dict("records"), start=2):
        if row["interaction"] not in _INTERACTIONS:
            raise DataError(
                f"{root / 'paper' / _CARDS.file}:{line} has {row['interaction']!r} for interaction: use one of "
                f"{', '.join(_INTERACTIONS)}."
            )
        row["parameters"] = row.pop("parameters_millions")
        numbers = {name: _whole(row[name]) for name in ("parameters", "vector_dimension")}
        revision = str(rerun.get(row["hub_id"], ""))
        cards.append(ModelCard(**{**row, **numbers}, revision=revision, recipe=_recipe(row["name"])))
    return tuple(cards)


def _whole(value: float) -> int | None:
    return None if math.isnan(value) else int(value)


def _recipe(name: str) -> str | None:
    """The recipe of a name in Table 2, or of the same with prompts and extra length off in every step."""
    with_prompts = name.removesuffix(_BARE)
    found = next((row.recipe for row in PAPER_ROWS if row.table == 2 and row.model == with_prompts), None)
    if found is None or name == with_prompts:
        return None if found is None else str(found)
    return str(Recipe(tuple(replace(step, prompts=False, extra_length=False) for step in found)))
