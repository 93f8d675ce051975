"""What a run says about itself: the fields of ``run.json``, the versions in it, and its recorded copy.

Plain JSON and small tables only; folders, locks and integrity are the ledger's.
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .. import committed
from ..errors import ColbertZeroError, ProfileError, RunError
from ..home import recording_folder, repository
from ..keeping import replacing, write_whole
from ..paper_arms import paper_rows
from ..profiles import get_profile
from ..reading import UnreadableError, is_number, read_json
from ..recipes import PIPELINES, Recipe

if TYPE_CHECKING:
    import pandas as pd

    from .run import Run

# Raised by hand when a change of this library changes what the same key trains or measures.
RESULT_VERSION = 1

RECORDED_PACKAGES = (
    "torch",
    "transformers",
    "sentence-transformers",
    "pylate",
    "tokenizers",
    "accelerate",
    "numpy",
    "datasets",
)
KEY_PACKAGES = ("torch", "transformers", "sentence-transformers", "pylate")

_Point = TypeVar("_Point")


def environment_versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result may depend on; absent packages are left out."""
    found = {package: _version(package) for package in RECORDED_PACKAGES}
    known = {package: version for package, version in found.items() if version is not None}
    return {"python": platform.python_version(), **known}


@cache  # every key asks, and a grid has hundreds
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def key_versions() -> tuple[tuple[str, str], ...]:
    """The versions that go into a run's digest: the training libraries and this library's RESULT_VERSION."""
    installed = environment_versions()
    known = [(package, installed[package]) for package in KEY_PACKAGES if package in installed]
    return tuple(sorted([*known, ("result", str(RESULT_VERSION))]))


def git_commit(folder: Path | None = None) -> str | None:
    """The commit checked out at ``folder`` (default: this package's checkout), or None outside of one.

    ``+changes`` is appended when tracked files differ from the commit.
    """
    where = folder or repository()
    if where is None:
        return None

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(where), *words], capture_output=True, text=True, timeout=30, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    return commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")


def thin(curve: Sequence[_Point]) -> list[_Point]:
    """At most 100 evenly spaced elements of ``curve``, the first and the last always among them."""
    if len(curve) <= 100:
        return list(curve)
    return [curve[round(place * (len(curve) - 1) / 99)] for place in range(100)]


def plain(value: Any, path: str = "") -> Any:
    """``value`` as JSON's own types; RunError names the path of whatever JSON cannot hold (NaN included)."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise RunError(f"Field {path or 'passport'!r} of a run is {value}, not a finite number: look for it.")
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{path}.{key}".lstrip(".")) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item, f"{path}[{place}]") for place, item in enumerate(value)]
    raise RunError(
        f"Field {path or 'passport'!r} of a run is a {type(value).__name__}, which JSON cannot hold: "
        "give numbers, text, lists or mappings."
    )


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no blanks, floats in full."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def write_json(value: Any, file: Path) -> None:
    """Write ``value`` with sorted keys: all of it, or ``file`` stays what it was."""
    text = json.dumps(plain(value), sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    write_whole(file, text)


def read_passport(file: Path) -> dict[str, Any]:
    """The passport in ``file``; RunError names the file if it is missing or not a JSON object."""
    try:
        found = read_json(file)
    except UnreadableError as error:
        raise RunError(
            f"The passport {file} cannot be read ({error}): put it right, or run the recipe again."
        ) from error
    if not isinstance(found, dict):
        raise RunError(f"{file} holds a {type(found).__name__} where a passport is an object: run it again.")
    return found


def arm_of(recipe: Recipe) -> dict[str, int] | None:
    """The printed row that ``recipe`` answers, as ``{"table": n, "row": k}`` (Table 4 first), or None."""
    rows = sorted(paper_rows(recipe), key=lambda row: -row.table)
    return {"table": rows[0].table, "row": rows[0].row} if rows else None


def paper_recipe(passport: Mapping[str, Any]) -> Recipe:
    """The recipe of the paper that a run stands for: published starts in place of dense steps spelled out."""
    recipe = Recipe.parse(passport["recipe"])
    scale = str(passport.get("profile", "")).partition("-")[0]  # whatever its source and its choices
    with contextlib.suppress(ProfileError):  # a profile of a reader's own has no published starts
        return get_profile(scale).whole(recipe)
    return recipe


def validate_passport(passport: Mapping[str, Any], source: str = "passport") -> Recipe:
    """Check the fields that others rely on and return the recipe; RunError names ``source`` and the field.

    Needed: profile, seed, recipe, pipeline, arm, device, versions, git_commit, wall_seconds per phase,
    metrics per collection with ndcg@10, and ``mean_ndcg@10`` equal to their unweighted mean.
    """
    kinds: dict[str, tuple[type, ...]] = {
        "profile": (str,),
        "seed": (int,),
        "recipe": (str,),
        "pipeline": (str, type(None)),
        "arm": (Mapping, type(None)),
        "device": (str,),
        "versions": (Mapping,),
        "git_commit": (str, type(None)),
        "wall_seconds": (Mapping,),
        "metrics": (Mapping,),
        "mean_ndcg@10": (int, float),
    }

    def fail(field: str, wrong: str) -> RunError:
        return RunError(f"Field {field!r} of {source} {wrong}: record the run again with this version.")

    for field, allowed in kinds.items():
        if field not in passport:
            raise fail(field, "is missing")
        if not isinstance(passport[field], allowed) or isinstance(passport[field], bool):
            raise fail(field, f"is a {type(passport[field]).__name__}")
    try:
        recipe = Recipe.parse(passport["recipe"])
    except ColbertZeroError as error:
        raise fail("recipe", f"cannot be read ({str(error).rstrip('.')})") from error
    if passport["pipeline"] is not None and PIPELINES.get(passport["pipeline"]) != paper_recipe(passport):
        raise fail("pipeline", f"says {passport['pipeline']!r} but the recipe is another one")
    if not isinstance(passport.get("key", {}), Mapping):
        raise fail("key", f"is a {type(passport['key']).__name__}")
    for part in ("versions", "settings"):
        if not isinstance(passport.get("key", {}).get(part, {}), Mapping):
            raise fail(f"key.{part}", "is no object")
    if not isinstance(passport.get("digest", ""), str):
        raise fail("digest", "is no text")
    for phase, seconds in passport["wall_seconds"].items():
        if not is_number(seconds) or seconds < 0:
            raise fail(f"wall_seconds.{phase}", f"is {seconds!r}, not seconds")
    if not passport["metrics"]:
        raise fail("metrics", "names no collection")
    for collection, metrics in passport["metrics"].items():
        found = metrics.get("ndcg@10") if isinstance(metrics, Mapping) else None
        if not is_number(found) or not 0 <= found <= 1:
            raise fail(f"metrics.{collection}.ndcg@10", f"is {found!r}, not a number from 0 to 1")
        for name, value in metrics.items():
            if not is_number(value):
                raise fail(f"metrics.{collection}.{name}", f"is {value!r}, not a number")
    mean = math.fsum(m["ndcg@10"] for m in passport["metrics"].values()) / len(passport["metrics"])
    if not is_number(passport["mean_ndcg@10"]) or abs(mean - passport["mean_ndcg@10"]) > 1e-6:
        raise fail("mean_ndcg@10", f"is {passport['mean_ndcg@10']} where its collections give {mean:.6f}")
    return recipe


def write_table(values: pd.DataFrame, file: Path) -> None:
    """Write per-query values as they are recorded: float32, one row a query."""
    numbers = list(values.select_dtypes("number").columns)
    with replacing(file) as neighbour:
        values.astype(dict.fromkeys(numbers, "float32")).to_parquet(
            neighbour, index=False, compression="zstd"
        )


def record(run: Run, folder: Path | None = None) -> Path:
    """Copy a run's passport and per-query values (no checkpoint) to where recorded figures are kept.

    Writes ``<folder>/<profile>/<recipe slug>--seed<k>.json`` and, where the run has per-query values, a
    ``.parquet`` of the same name (float32, one row a query) beside it; ``folder`` defaults to ``data/runs``.
    Returns the JSON file. RunError if the passport lacks a field or the folder cannot be written, ParameterError
    without a folder and a checkout.
    """
    recipe = validate_passport(run.passport, f"run {run.folder.name}")
    target = (folder or recording_folder() / "runs") / run.passport["profile"]
    file = target / f"{recipe.slug}--seed{run.passport['seed']}.json"
    table = file.with_suffix(".parquet")
    try:
        target.mkdir(parents=True, exist_ok=True)
        if run.has_per_query:
            write_table(run.per_query(), table)
        else:
            table.unlink(missing_ok=True)
        write_json(run.passport, file)
        committed.seal_again(file, table)
    except OSError as error:
        raise RunError(
            f"Cannot write recorded runs to {target} ({error.strerror}): free space or name another folder."
        ) from error
    return file
