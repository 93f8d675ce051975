"""Every notebook follows the conventions and is listed in the README; those that train no pipeline run headless.

The notebooks that train most, or train beside one another, run at the smallest profile. `test_chain` runs 03 and 04,
`test_paper_notebooks` 10 and 11.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from colbert_zero_lib.conventions import check_notebook
from colbert_zero_lib.suite import find_notebooks, notebooks_folder

NOTEBOOKS = find_notebooks()
NAMES = [path.stem for path in NOTEBOOKS]
ELSEWHERE = ("03", "04", "10", "11")
SMALLEST = ("05", "06", "07", "08", "09", "13")


def test_the_readme_lists_exactly_the_notebooks_that_are_there() -> None:
    readme = (notebooks_folder().parent / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\|[^|]*\]\(notebooks/(\d\d_\w+)\.ipynb\)", readme, re.MULTILINE)
    assert listed == NAMES


def test_numbers_are_not_given_twice() -> None:
    numbers = [name[:2] for name in NAMES]
    assert numbers == sorted(set(numbers))


def test_no_other_notebook_lies_about() -> None:
    stray = set(notebooks_folder().glob("*.ipynb")) - set(NOTEBOOKS)
    assert not stray, f"not named like 01_words.ipynb: {sorted(path.name for path in stray)}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_follows_the_conventions(path: Path) -> None:
    assert check_notebook(path) == []


@pytest.mark.notebooks
@pytest.mark.parametrize("name", [name for name in NAMES if name[:2] not in ELSEWHERE])
def test_a_notebook_runs_headless(name: str, run_headless: Callable[[str, str], None]) -> None:
    run_headless(name, "smoke" if name[:2] in SMALLEST else "tiny")
