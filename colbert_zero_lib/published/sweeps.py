"""Recorded learning-rate sweeps under ``data/runs/sweeps``: written once, read without torch.

What is tried and how a rate is chosen is in `runs.rates`; drawing is in `figures.sweep`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from .. import committed
from ..errors import ColbertZeroError, DataError, RunError
from ..home import data_folder
from ..reading import is_number
from ..recipes import Recipe
from ..runs import read_passport
from ..runs.passport import write_json
from ..runs.rates import LEVEL, METRIC, RateResult, Sweep

_MEND = "record the sweep again with `colbert-zero sweep ... --record`"
_NUMBERS = ("mean", "low", "high", "behind", "behind_low", "behind_high")


def sweep_file(sweep: Sweep, folder: Path | None = None) -> Path:
    """Where a sweep is recorded: ``<data>/runs/sweeps/<profile>/<recipe slug>--seed<k>.json``."""
    name = f"{Recipe.parse(sweep.recipe).slug}--seed{sweep.seed}.json"
    return (folder or data_folder() / "runs") / "sweeps" / sweep.profile / name


def record_sweep(sweep: Sweep, folder: Path) -> Path:
    """Write a sweep, its rows and the rule's outcome to `sweep_file` and return it; RunError if that fails."""
    file = sweep_file(sweep, folder)
    rows = [asdict(row) for row in sweep.rows]
    versions = [row["source"].pop("versions", {}) for row in rows]
    page = {
        "recipe": sweep.recipe,
        "profile": sweep.profile,
        "seed": sweep.seed,
        "present": sweep.present,
        "metric": METRIC,
        "level": LEVEL,
        "rows": rows,
        "versions": {
            name: sorted({str(found[name]) for found in versions if name in found})
            for name in sorted({name for found in versions for name in found})
        },
        "outcome": _outcome(sweep),
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(page, file)
        committed.seal_again(file)
    except OSError as error:
        raise RunError(
            f"Cannot write the sweep {file} ({error.strerror}): free space or name another folder."
        ) from error
    return file


def _outcome(sweep: Sweep) -> dict[str, Any]:
    return {
        "best": sweep.best.rate,
        "level_with_best": list(sweep.level_with_best),
        "recommended": sweep.recommended,
        "best_is_at_the_edge": sweep.best_is_at_the_edge,
    }


def read_sweep(file: Path) -> Sweep:
    """The sweep recorded in ``file``; RunError or DataError names the file and the field that is wrong."""
    page = read_passport(file)

    def fail(field: str, wrong: str) -> DataError:
        return DataError(f"Field {field!r} of {file} {wrong}: {_MEND}.")

    for name, kind in (
        ("recipe", str),
        ("profile", str),
        ("seed", int),
        ("rows", list),
        ("outcome", Mapping),
    ):
        if not isinstance(page.get(name), kind):
            raise fail(name, f"is {page[name]!r}" if name in page else "is missing")
    if not is_number(page.get("present")):
        raise fail("present", f"is {page.get('present')!r}, not a learning rate")
    known = {one.name for one in fields(RateResult)}
    rows = []
    for place, row in enumerate(page["rows"]):
        if not isinstance(row, Mapping) or set(row) != known or not is_number(row["rate"]):
            raise fail(f"rows[{place}]", f"is not a rate with {', '.join(sorted(known - {'rate'}))}")
        if not isinstance(row["collections"], Mapping) or not isinstance(row["source"], Mapping):
            raise fail(f"rows[{place}]", "has collections or a source that are no objects")
        empty = [row[name] is None for name in _NUMBERS]
        if not all(empty) and not all(is_number(row[name]) for name in _NUMBERS):
            raise fail(f"rows[{place}]", "has figures that are no numbers")
        rows.append(RateResult(**row))
    try:
        sweep = Sweep(page["recipe"], page["profile"], page["seed"], page["present"], tuple(rows))
        right = sweep_file(sweep).name
    except ColbertZeroError as error:
        raise DataError(f"{file}: {error}") from error
    if file.name != right or file.parent.name != sweep.profile:
        raise DataError(f"{file} holds {right} of profile {sweep.profile!r}: move it there, or {_MEND}.")
    if page["outcome"] != _outcome(sweep):
        raise fail("outcome", "does not follow from its rows")
    return sweep


def recorded_sweeps(profile: str, folder: Path | None = None) -> list[Sweep]:
    """The recorded sweeps of one profile, phase by phase and then by recipe; an empty list if there are none."""
    where = (folder or data_folder() / "runs") / "sweeps" / profile
    files = {*where.glob("*.json"), *committed.listed(where, ".json")}
    committed.check(*files)
    found = [read_sweep(file) for file in files]
    return sorted(found, key=lambda sweep: (len(Recipe.parse(sweep.recipe)), sweep.recipe, sweep.seed))
