"""The repository's address and what is stamped with it; how a stamped notebook fares on a bare host."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from colbert_zero_lib import stamps
from colbert_zero_lib.errors import NotebookError, ParameterError
from colbert_zero_lib.parameters import check_loaded

GITHUB = "https://github.com/owner/name"


def notebook(*cells: str, title: str = "# Why?\n\nBecause.") -> nbformat.NotebookNode:
    return new_notebook(cells=[new_markdown_cell(title), *map(new_code_cell, cells)])


@pytest.fixture()
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "pyproject.toml"
    file.write_text('[project]\nname = "x"\n\n[project.optional-dependencies]\ndev = []\n')
    monkeypatch.setattr(stamps, "_project", lambda: file)
    return file


def test_the_address_is_written_once_and_read_back(project: Path) -> None:
    before = project.read_text()
    assert stamps.address() == ""
    for given in ("https://example.org/a.git", GITHUB + "/"):
        stamps.set_address(given)
    assert stamps.address() == GITHUB
    assert project.read_text().replace(f'[project.urls]\nRepository = "{GITHUB}"\n\n', "") == before


@pytest.mark.parametrize(
    "given", ["owner/name", 'https://x/"; import os; "', "https://x y", "{0}", "https://x/{y}"]
)
def test_what_git_cannot_clone_is_refused(project: Path, given: str) -> None:
    with pytest.raises(ParameterError, match="no address of a repository"):
        stamps.set_address(given)


def test_a_stamp_is_the_same_the_second_time_and_goes_with_the_address() -> None:
    page = notebook(
        'import os\nos.environ.setdefault("HF_HUB_OFFLINE", "1")  # why\ncheck_session(globals())'
    )
    assert stamps.stamp(page, "01_x", GITHUB) and not stamps.stamp(page, "01_x", GITHUB)
    assert page.cells[0].source.splitlines()[2] == (
        "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        "(https://colab.research.google.com/github/owner/name/blob/main/notebooks/01_x.ipynb)"
    )
    assert f'address = "{GITHUB}"' in page.cells[1].source
    assert page.cells[1].metadata == {"jupyter": {"source_hidden": True}}
    assert 'os.environ.setdefault("HF_HUB_OFFLINE", "1")  # why\n' in page.cells[1].source
    assert stamps.stamp(page, "01_x", "")
    assert page.cells[0].source == "# Why?\n\nBecause." and 'address = ""' in page.cells[1].source


def test_only_a_repository_on_github_gets_a_badge() -> None:
    page = notebook("check_session(globals())", title="# Why?")
    assert stamps.stamp(page, "01_x", "https://example.org/a")
    assert page.cells[0].source == "# Why?" and "import os\n" not in page.cells[1].source


def test_a_notebook_without_a_set_up_cell_is_named() -> None:
    with pytest.raises(NotebookError, match="01_x has no cell that ends in"):
        stamps.stamp(notebook("1 + 1"), "01_x", "")


def test_a_package_that_was_replaced_after_its_import_asks_for_a_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_loaded()
    old = ModuleType("numpy")
    old.__version__ = "0.1"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "numpy", old)
    with pytest.raises(NotebookError, match=r"imported numpy 0\.1 \(now .*restart it"):
        check_loaded()
