"""A host such as Colab: Python with torch and Jupyter, no checkout and no library; one notebook, opened alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from colbert_zero_lib.stamps import CHECK, stamp
from colbert_zero_lib.suite import notebooks_folder, read_notebook

pytestmark = pytest.mark.notebooks

ROOT = notebooks_folder().parent
NAME = "00_start_here"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that sees whatever is installed here, without the library."""
    place = tmp_path_factory.mktemp("host")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "venv"], check=True)
    import torch

    packages = Path(torch.__file__).parents[1]
    (place / "packages").mkdir()
    for one in packages.iterdir():
        if "colbert_zero" not in one.name:
            (place / "packages" / one.name).symlink_to(one)
    own = next((place / "venv").glob("[lL]ib/**/site-packages"))
    (own / "host.pth").write_text(f"{place / 'packages'}\n")
    return place / "venv" / "bin" / "python"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A git repository of what the wheel is made of, as it is now."""
    place = tmp_path_factory.mktemp("repository")
    for name in ("pyproject.toml", "README.md", "LICENSE", "nano_colbert.py"):
        shutil.copy(ROOT / name, place)
    for name in ("colbert_zero_lib", "data"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-C", str(place), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "All"]):
        subprocess.run([*git, *words], check=True)
    return place.as_uri()


def run(place: Path, python: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of the host in a folder of its own; what pip wants is here already, and nothing is asked for."""
    pip = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_COMPILE": "1"}
    kept = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "COLBERT_ZERO_HOME")
    }
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "HOME": str(place), "JUPYTER_PATH": str(place)}
    return subprocess.run(
        [python, *words], cwd=place, env={**kept, **pip, **quiet}, capture_output=True, text=True, check=False
    )


def test_without_an_address_the_first_cell_says_what_is_missing(host: Path, tmp_path: Path) -> None:
    page = read_notebook(notebooks_folder() / f"{NAME}.ipynb")
    stamp(page, NAME, "")
    cell = next(cell.source for cell in page.cells if CHECK in cell.source)
    done = run(tmp_path, host, "-c", cell)
    assert done.stderr.endswith(
        "colbert_zero_lib has no address yet: open this notebook inside a checkout.\n"
    )


def test_the_first_cell_installs_the_library_and_the_notebook_runs(
    host: Path, address: str, tmp_path: Path
) -> None:
    page = read_notebook(notebooks_folder() / f"{NAME}.ipynb")
    assert stamp(page, NAME, address)
    nbformat.write(page, tmp_path / "in.ipynb")
    done = run(
        tmp_path, host, "-m", "papermill", "in.ipynb", "out.ipynb", "--no-progress-bar", "-k", "python3"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    names = "colbert_zero_lib, nano_colbert, torch"
    asked = f"import {names}\nfor one in ({names}): print(one.__file__)"
    *ours, torch = run(tmp_path, host, "-c", asked).stdout.splitlines()
    # From the address, not from this checkout.
    assert len(ours) == 2 and all(Path(file).is_relative_to(host.parents[1]) for file in ours)
    assert not Path(torch).resolve().is_relative_to(host.parents[1])  # the host's own is kept
