"""Recorded runs of this suite: passports and per-query figures under ``data/runs``.

How they are trained and measured is the business of ``runs`` and ``evaluation``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import committed
from ..errors import DataError
from ..home import data_folder
from ..recipes import Recipe
from ..runs import read_passport, validate_passport

if TYPE_CHECKING:
    from ..evaluation import Evaluation


def recorded_runs(profile: str, folder: Path | None = None) -> list[dict[str, Any]]:
    """The recorded passports of one profile, sorted by file name; an empty list if there are none.

    Each is checked and must stand under the name that its recipe and seed give it; RunError or DataError
    names the file that does not.
    """
    found = []
    runs = (folder or data_folder() / "runs") / profile
    for file in sorted({*runs.glob("*.json"), *committed.listed(runs, ".json")}):
        committed.check(file)
        passport = read_passport(file)
        recipe = validate_passport(passport, str(file))
        name = f"{recipe.slug}--seed{passport['seed']}.json"
        if passport["profile"] != profile or file.name != name:
            raise DataError(
                f"{file} holds {name} of profile {passport['profile']!r}: move it there or record it again."
            )
        found.append(passport)
    return found


def recorded_tables(profile: str, folder: Path | None = None) -> Iterator[tuple[dict[str, Any], Evaluation]]:
    """The passports of `recorded_runs` with their per-query figures; those without a table are left out."""
    from ..evaluation import Evaluation

    runs = (folder or data_folder() / "runs") / profile
    tables = {*runs.glob("*.parquet"), *committed.listed(runs, ".parquet")}
    for passport in recorded_runs(profile, folder):
        file = runs / f"{Recipe.parse(passport['recipe']).slug}--seed{passport['seed']}.parquet"
        if file in tables:
            committed.check(file)
            yield passport, Evaluation.from_parquet(file)


def recorded_evaluations(profile: str, recipe: Recipe, folder: Path | None = None) -> dict[int, Evaluation]:
    """Per-query figures of the recorded runs of one recipe, by seed; seeds without a table are left out."""
    tables = recorded_tables(profile, folder)
    found = {int(run["seed"]): table for run, table in tables if run["recipe"] == str(recipe)}
    return dict(sorted(found.items()))
