"""The wheel alone, in a folder without a checkout: what it must carry, and the verbs that must work from it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from colbert_zero_lib.corpora import Collection, write_collection
from colbert_zero_lib.home import home, repository
from colbert_zero_lib.recipes import PIPELINES
from colbert_zero_lib.runs.workshop import Workshop

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).parents[2]
MEGABYTES = 12
Said = tuple[list[str], dict[str, tuple[int, str, str]]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools leaves its work in the folder that it builds from."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE", "nano_colbert.py"):
        shutil.copy(ROOT / name, source)
    for name in ("colbert_zero_lib", "data"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--target", str(folder), str(wheel))
    return folder


@pytest.fixture(scope="module")
def elsewhere(open_shop: Callable[..., Workshop], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with a home that has the fetched packages, the built text, and the base encoder as only run."""
    folder = tmp_path_factory.mktemp("else where")
    (folder / "home").mkdir()
    for name in ("wheels", "corpora"):
        (folder / "home" / name).symlink_to(home() / name)
    open_shop(folder / "home" / "runs")
    return folder


def pip(verb: str, *words: str) -> None:
    command = [sys.executable, "-m", "pip", verb, "--quiet", "--no-deps", "--no-index", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# All in one process, which imports everything once.
SCRIPT = """
import json, sys
import colbert_zero_lib.home as places
from colbert_zero_lib.cli import app
from typer.testing import CliRunner
done = [CliRunner().invoke(app, words) for words in json.load(sys.stdin)]
said = [(one.exit_code, one.stdout, one.stderr) for one in done]
print(json.dumps([[places.__file__, str(places.repository()), str(places.home())], said]))
"""
RECIPES = tuple(map(str, PIPELINES["c"].stages()))
VERBS = (
    ("data", "fetch", "--quiet"),
    ("run", "c", "--profile", "smoke", "--quiet"),
    ("list",),
    ("explain", RECIPES[0], RECIPES[1]),
    ("evaluate", RECIPES[-1], "bm25", "--on", "toy", "--quiet"),
    ("figures",),
)
REFUSED = (("sweep", "c", "--record"), ("notebooks",))


@pytest.fixture(scope="module")
def said(installed: Path, elsewhere: Path, toy_collection: Collection) -> Said:
    """Where the package thinks that it is, and each verb's exit code, stdout and stderr, without a checkout."""
    write_collection(toy_collection, elsewhere / "toy")
    # Relative, and with a blank in what it is relative to.
    environment = {**os.environ, "PYTHONPATH": str(installed), "COLBERT_ZERO_HOME": "home", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=elsewhere,
        env=environment,
        input=json.dumps([*VERBS, *REFUSED]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    places, found = json.loads(done.stdout.splitlines()[-1])
    return places, {words[0]: tuple(one) for words, one in zip([*VERBS, *REFUSED], found, strict=True)}


def test_the_wheel_is_light_and_has_every_package_and_pin(wheel: Path) -> None:
    assert wheel.stat().st_size < MEGABYTES * 2**20
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in {file.parent for file in (ROOT / "colbert_zero_lib").rglob("*.py")}:
        inside = {file.relative_to(ROOT).as_posix() for file in package.glob("*.py")}
        assert inside <= names, f"name {package.name} under packages in pyproject.toml"
    for file in (ROOT / "data").rglob("*.*"):
        assert f"colbert_zero_lib/{file.relative_to(ROOT).as_posix()}" in names
    assert not [name for name in names if name.startswith(("tests", "notebooks", "benchmarks"))]


def test_without_a_checkout_the_verbs_work_from_the_wheel(
    installed: Path, elsewhere: Path, said: Said
) -> None:
    (file, checkout, place), verbs = said
    assert Path(file).is_relative_to(installed) and checkout == "None" and place == str(elsewhere / "home")
    assert repository() == ROOT
    for words in VERBS:
        code, _, err = verbs[words[0]]
        assert code == 0, err
    outputs = {verb: out for verb, (_, out, _) in verbs.items()}
    assert "text packages in" in outputs["data"]
    assert "mean" in outputs["run"]
    assert len(outputs["list"].splitlines()[3:-1]) == 4
    assert "recipe" in outputs["explain"]
    assert "BM25" in outputs["evaluate"] and "paired by query" in outputs["evaluate"]


def test_without_a_checkout_figures_go_to_the_home_folder(elsewhere: Path, said: Said) -> None:
    assert str(elsewhere / "home" / "figures") in said[1]["figures"][1].replace("\n", "")
    assert len(list((elsewhere / "home" / "figures").glob("*.svg"))) > 9


@pytest.mark.parametrize("verb", [words[0] for words in REFUSED])
def test_what_needs_a_checkout_says_so(said: Said, verb: str) -> None:
    code, out, err = said[1][verb]
    assert code == 2 and out == "" and "checkout" in err and err.count("\n") <= 2
