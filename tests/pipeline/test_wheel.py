"""The wheel alone, in a folder without a checkout: what it must carry, and the verbs that must work from it."""

from __future__ import annotations

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
from colbert_zero_lib.runs.workshop import Workshop

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).parents[2]
MEGABYTES = 4


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools leaves its work in the folder that it builds from."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
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


def python(installed: Path, elsewhere: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # Relative, and with a blank in what it is relative to.
    environment = {**os.environ, "PYTHONPATH": str(installed), "COLBERT_ZERO_HOME": "home", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *words], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
    )


def command(installed: Path, elsewhere: Path, *words: str) -> str:
    done = python(installed, elsewhere, "-c", "from colbert_zero_lib.cli import app; app()", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_is_light_and_has_every_package_and_pin(wheel: Path) -> None:
    assert wheel.stat().st_size < MEGABYTES * 2**20
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in {file.parent for file in (ROOT / "colbert_zero_lib").rglob("*.py")}:
        inside = {file.relative_to(ROOT).as_posix() for file in package.glob("*.py")}
        assert inside <= names, f"name {package.name} under packages in pyproject.toml"
    for folder in ("paper", "mteb", "offline", "teacher"):
        for file in (ROOT / "data" / folder).iterdir():
            assert f"colbert_zero_lib/data/{folder}/{file.name}" in names
    assert not [name for name in names if name.startswith(("tests", "notebooks", "benchmarks"))]


def test_without_a_checkout_the_verbs_work_from_the_wheel(
    installed: Path, elsewhere: Path, toy_collection: Collection
) -> None:
    code = "import colbert_zero_lib.home as h; print(h.__file__); print(h.repository()); print(h.home())"
    file, checkout, place = python(installed, elsewhere, "-c", code).stdout.splitlines()
    assert Path(file).is_relative_to(installed) and checkout == "None" and place == str(elsewhere / "home")
    assert repository() == ROOT
    assert "text packages in" in command(installed, elsewhere, "data", "fetch", "--quiet")
    assert "mean" in command(installed, elsewhere, "run", "c", "--profile", "smoke", "--quiet")
    runs = {line.split("│")[-2].strip() for line in command(installed, elsewhere, "list").splitlines()[3:-1]}
    assert len(runs) == 4
    assert "recipe" in command(installed, elsewhere, "explain", *sorted(runs)[:2])
    write_collection(toy_collection, elsewhere / "toy")
    said = command(installed, elsewhere, "evaluate", max(runs), "bm25", "--on", "toy", "--quiet")
    assert "BM25" in said and "paired by query" in said


def test_without_a_checkout_figures_go_to_the_home_folder(installed: Path, elsewhere: Path) -> None:
    assert str(elsewhere / "home" / "figures") in command(installed, elsewhere, "figures").replace("\n", "")
    assert len(list((elsewhere / "home" / "figures").glob("*.svg"))) > 9


@pytest.mark.parametrize("words", [("sweep", "c", "--record"), ("notebooks",)])
def test_what_needs_a_checkout_says_so(installed: Path, elsewhere: Path, words: tuple[str, ...]) -> None:
    done = python(installed, elsewhere, "-c", "from colbert_zero_lib.cli import app; app()", *words)
    assert done.returncode == 2 and "checkout" in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 2
