"""What this suite recorded under ``data/runs``: passports, per-query figures and learning-rate sweeps.

How runs are trained and measured is the business of ``runs`` and ``evaluation``, what a sweep tries of `runs.rates`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import committed
from ..errors import ColbertZeroError, DataError, RunError
from ..home import data_folder
from ..reading import is_number
from ..recipes import Recipe
from ..runs import read_passport, validate_passport
from ..runs.passport import write_json, write_table
from ..runs.rates import LEVEL, METRIC, RateResult, Sweep

if TYPE_CHECKING:
    from ..evaluation import Evaluation

_MEND = "record the sweep again with `colbert-zero sweep ... --record`"
_NUMBERS = ("mean", "low", "high", "behind", "behind_low", "behind_high")


def recorded_runs(profile: str, folder: Path | None = None) -> list[dict[str, Any]]:
    """The recorded passports of one profile, sorted by file name; an empty list if there are none.

    Each is checked and must stand under the name that its recipe and seed give it; RunError or DataError
    names the file that does not.
    """
    found = []
    runs = (folder or data_folder() / "runs") / profile
    for file in _files(runs, ".json"):
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
    runs = (folder or data_folder() / "runs") / profile
    tables = _files(runs, ".parquet")
    for passport in recorded_runs(profile, folder):
        file = runs / f"{Recipe.parse(passport['recipe']).slug}--seed{passport['seed']}.parquet"
        if file in tables:
            committed.check(file)
            yield passport, _table(file, file.stat().st_mtime_ns)


def _files(folder: Path, suffix: str) -> list[Path]:
    """The files there, and those that must be there, sorted."""
    return sorted({*folder.glob(f"*{suffix}"), *committed.listed(folder, suffix)})


def _marks(profile: str, folder: Path | None) -> Path:
    return (folder or data_folder() / "runs") / profile / "marks"


def record_mark(profile: str, name: str, found: Evaluation, folder: Path) -> Path:
    """Write a baseline's per-query figures to ``<folder>/<profile>/marks``, returned; RunError if that fails."""
    return _record(write_table, found.per_query, _marks(profile, folder) / f"{name}.parquet")


def _record(write: Callable[[Any, Path], None], content: Any, file: Path) -> Path:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write(content, file)
        committed.seal_again(file)
    except OSError as error:
        raise RunError(
            f"Cannot write {file} ({error.strerror}): free space or name another folder."
        ) from error
    return file


def recorded_marks(profile: str, folder: Path | None = None) -> dict[str, Evaluation]:
    """The recorded per-query figures of baselines on a profile's collections, by their names."""
    files = _files(_marks(profile, folder), ".parquet")
    committed.check(*files)
    return {file.stem: _table(file, file.stat().st_mtime_ns) for file in files}


@lru_cache(maxsize=1024)  # tables and figures of one notebook ask for them again and again
def _table(file: Path, written: int) -> Evaluation:
    from ..evaluation import Evaluation

    return Evaluation.from_parquet(file)


def recorded_evaluations(profile: str, recipe: Recipe, folder: Path | None = None) -> dict[int, Evaluation]:
    """Per-query figures of the recorded runs of one recipe, by seed; seeds without a table are left out."""
    tables = recorded_tables(profile, folder)
    found = {int(run["seed"]): table for run, table in tables if run["recipe"] == str(recipe)}
    return dict(sorted(found.items()))


def sweep_file(sweep: Sweep, folder: Path | None = None) -> Path:
    """Where a sweep is recorded: ``<data>/runs/sweeps/<profile>/<recipe slug>--seed<k>.json``."""
    name = f"{Recipe.parse(sweep.recipe).slug}--seed{sweep.seed}.json"
    return (folder or data_folder() / "runs") / "sweeps" / sweep.profile / name


def record_sweep(sweep: Sweep, folder: Path) -> Path:
    """Write a sweep, its rows and the rule's outcome to `sweep_file` and return it; RunError if that fails."""
    rows = [asdict(row) for row in sweep.rows]
    versions = [row["source"].pop("versions", {}) for row in rows]
    names = sorted({name for found in versions for name in found})
    page = {
        **{name: getattr(sweep, name) for name in ("recipe", "profile", "seed", "present")},
        "metric": METRIC,
        "level": LEVEL,
        "rows": rows,
        "versions": {name: sorted({str(own[name]) for own in versions if name in own}) for name in names},
        "outcome": _outcome(sweep),
    }
    return _record(write_json, page, sweep_file(sweep, folder))


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

    kinds = {"recipe": str, "profile": str, "seed": int, "rows": list, "outcome": Mapping}
    for name, kind in kinds.items():
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
    files = _files(where, ".json")
    committed.check(*files)
    found = [read_sweep(file) for file in files]
    return sorted(found, key=lambda sweep: (len(Recipe.parse(sweep.recipe)), sweep.recipe, sweep.seed))
