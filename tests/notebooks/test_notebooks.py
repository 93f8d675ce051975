"""Every notebook follows the conventions, is listed in the README and runs headless.

Those that train or evaluate run at the smallest profile, for the sake of time: `test_learning` trains at tiny, and
`make reproduce` runs all of them there. `test_paper_notebooks` runs 10 and 11.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from colbert_zero_lib import stamps
from colbert_zero_lib.errors import ColbertZeroError, ParameterError
from colbert_zero_lib.suite import find_notebooks, notebooks_folder, read_notebook
from tests.notebooks.form import check_notebook

NOTEBOOKS = find_notebooks()
NAMES = [path.stem for path in NOTEBOOKS]
ELSEWHERE = ("10", "11")
SMALLEST = ("01", "02", "03", "04", "05", "06", "07", "08", "09", "13", "14", "15")


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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_carries_the_stamp_of_the_address(path: Path) -> None:
    assert not stamps.stamp(read_notebook(path), path.stem, stamps.address()), "run `make colab`"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_links_to_files_that_are_there(path: Path) -> None:
    texts = [cell.source for cell in read_notebook(path).cells if cell.cell_type == "markdown"]
    links = re.findall(r"\]\((?!\w+:|#)([^)#]+)", "\n".join(texts))
    assert [link for link in links if not (path.parent / link).exists()] == []


def set_up(path: Path, given: dict[str, Any]) -> None:
    """Run a notebook as far as its set-up cell, the cells as papermill makes them and as IPython remembers them."""
    notebook = load_notebook_node(str(path))
    if given:
        notebook = parameterize_notebook(notebook, given, kernel_name="python3", language="python")
    names: dict[str, Any] = {"In": [""]}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            names["In"].append(cell.source)
            exec(cell.source, names)
            if stamps.CHECK in cell.source:
                return
    raise AssertionError(f"{path.name} has no cell that checks its parameters")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_the_set_up_refuses_a_name_that_papermill_only_warns_about(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    set_up(path, {})
    with pytest.raises(ParameterError, match=r"no parameter 'seed' in this notebook: it knows "):
        set_up(path, {"seed": 3})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seeds": 3}, "'seeds' of this notebook is 3 but must be of type list[int], like [3]"),
        ({"seeds": [2**32]}, "not 4294967296"),
        ({"seeds": [1, -1]}, "not -1"),
        ({"profile": "nope"}, "'nope': choose from smoke, tiny"),
        ({"profile": ["tiny"]}, "must be of type str"),
        ({"home": "no/such/folder"}, "folder: make it first"),
        ({"home": "x" * 5000}, "make it first"),
        ({"batch": float("nan")}, "is not `name: type = literal`"),
    ],
)
def test_the_set_up_refuses_a_value_that_does_not_fit(
    given: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(ColbertZeroError, match=re.escape(said)):
        set_up(NOTEBOOKS[3], given)


def test_papermills_own_command_ends_in_the_sentence(tmp_path: Path) -> None:
    words = ["-m", "papermill", str(NOTEBOOKS[6]), str(tmp_path / "out.ipynb"), "-p", "seeds", "3"]
    root = notebooks_folder().parent
    done = subprocess.run(
        [sys.executable, *words, "--no-progress-bar"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = "ParameterError: Parameter 'seeds' of this notebook is 3 but must be of type list[int], like [3]."
    assert done.returncode != 0 and done.stderr.rstrip().endswith(said)
    assert 'File "' not in done.stderr.partition('Exception encountered at "In [3]":')[2]


@pytest.mark.notebooks
@pytest.mark.parametrize("name", [name for name in NAMES if name[:2] not in ELSEWHERE])
def test_a_notebook_runs_headless(name: str, run_headless: Callable[[str, str], None]) -> None:
    run_headless(name, "smoke" if name[:2] in SMALLEST else "tiny")
