"""The crosswalk: every table and figure of the paper has a cell, a file and a drawing, and the page says so."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from colbert_zero_lib.cli import app
from colbert_zero_lib.errors import DataError
from colbert_zero_lib.figures.catalogue import FIGURES, TABLES
from colbert_zero_lib.home import data_folder
from colbert_zero_lib.published import crosswalk as module
from colbert_zero_lib.published.crosswalk import (
    PAPER_ITEMS,
    check_crosswalk,
    crosswalk,
    crosswalk_page,
    write_crosswalk,
)
from colbert_zero_lib.suite import notebooks_folder, read_notebook
from tests.notebooks.form import check_notebook

IN_THE_PAPER = {"figure-1", "figure-2", "cost", "table-1", "table-2", "table-3", "table-4", "table-5"}
NUMBER = re.compile(r"\d+\.\d+")


@pytest.fixture
def notebooks(tmp_path: Path) -> Path:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(notebooks_folder() / "10_paper_results.ipynb", folder)
    return folder


def retag(folder: Path, change: Callable[[list[str]], list[str]]) -> None:
    file = folder / "10_paper_results.ipynb"
    notebook = nbformat.read(file, as_version=4)
    for cell in notebook.cells:
        if cell.metadata.get("tags"):
            cell.metadata["tags"] = change(cell.metadata["tags"])
    nbformat.write(notebook, file)


def test_every_table_and_figure_of_the_paper_is_answered_by_a_cell() -> None:
    assert {item.id for item in PAPER_ITEMS} == IN_THE_PAPER
    for answers in crosswalk().values():
        for answer in answers:
            cells = read_notebook(notebooks_folder() / f"{answer.notebook}.ipynb").cells
            [cell] = [cell for cell in cells if cell.get("id") == answer.cell]
            assert cell.cell_type == "code" and answer.heading
            assert cell.outputs, f"{answer.notebook}, cell {answer.cell} was never run"


def test_one_notebook_draws_every_item_that_can_be_drawn_and_shows_every_table(notebooks: Path) -> None:
    shown: dict[str, set[str]] = {}
    for cell in read_notebook(notebooks / "10_paper_results.ipynb").cells:
        for tag in cell.metadata.get("tags", []):
            kinds = {kind for output in cell.get("outputs", []) for kind in output.get("data", {})}
            shown.setdefault(tag.removeprefix("paper:"), set()).update(kinds)
    for item in PAPER_ITEMS:
        assert "image/png" in shown[item.id] or not item.figures
        assert "text/html" in shown[item.id] or not item.id.startswith("table")


def test_every_published_file_belongs_to_an_item_and_every_drawing_is_in_the_catalogue() -> None:
    named = {name for item in PAPER_ITEMS for name in item.data}
    there = {
        f"paper/{file.name}"
        for file in (data_folder() / "paper").glob("*.csv")
        if re.match("table|figure", file.name)
    }
    assert there <= named
    assert {name for item in PAPER_ITEMS for name in item.figures} <= set(FIGURES)
    assert {name for item in PAPER_ITEMS for name in item.tables} <= set(TABLES)


def test_the_committed_page_is_current_and_its_links_lead_somewhere() -> None:
    check_crosswalk()
    folder = notebooks_folder()
    links = re.findall(r"\]\(([^)]+)\)", (folder / "README.md").read_text(encoding="utf-8"))
    assert len(links) > 30
    assert [link for link in links if not (folder / link).exists()] == []


@pytest.mark.parametrize("item", sorted(IN_THE_PAPER))
def test_an_item_without_a_cell_is_named(item: str, notebooks: Path) -> None:
    retag(notebooks, lambda tags: [tag for tag in tags if tag != f"paper:{item}"])
    title = next(known.title for known in PAPER_ITEMS if known.id == item)
    with pytest.raises(DataError, match=rf"paper:{item}, so {title} has no counterpart"):
        crosswalk(notebooks)


def test_a_misspelt_tag_is_named_by_crosswalk_and_conventions(notebooks: Path) -> None:
    retag(notebooks, lambda tags: [tag.replace("table-3", "tabel-3") for tag in tags])
    with pytest.raises(DataError, match="paper:tabel-3"):
        crosswalk(notebooks)
    problems = check_notebook(notebooks / "10_paper_results.ipynb")
    assert any("unknown tag 'paper:tabel-3'" in problem for problem in problems)


def test_a_missing_data_file_is_named(notebooks: Path, published_copy: Path) -> None:
    assert len(crosswalk(notebooks, published_copy))
    (published_copy / "paper" / "table5_deltas.csv").unlink()
    with pytest.raises(DataError, match=r"table5_deltas\.csv, the data of Table 5"):
        crosswalk(notebooks, published_copy)


def test_the_page_is_written_once_and_a_change_makes_it_stale(
    notebooks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, changed = write_crosswalk(notebooks)
    assert changed and not write_crosswalk(notebooks)[1]
    assert file.read_text(encoding="utf-8") == crosswalk_page(notebooks)
    check_crosswalk(notebooks)
    monkeypatch.setattr(module, "notebooks_folder", lambda: notebooks)
    assert CliRunner().invoke(app, ["crosswalk", "--check"]).exit_code == 0
    retag(notebooks, lambda tags: [*tags, "paper:table-1"] if "paper:table-5" in tags else tags)
    stale = CliRunner().invoke(app, ["crosswalk", "--check"])
    assert stale.exit_code == 2 and "colbert-zero crosswalk" in stale.stderr
    assert CliRunner().invoke(app, ["crosswalk"]).exit_code == 0
    check_crosswalk(notebooks)


@pytest.mark.parametrize("name", ["10_paper_results", "11_claims_and_audit"])
def test_no_score_is_typed_into_the_notebooks_of_published_figures(name: str) -> None:
    scores = {
        number
        for file in [*(data_folder() / "paper").glob("*.csv"), *(data_folder() / "mteb").glob("*.csv")]
        for number in NUMBER.findall(file.read_text(encoding="utf-8"))
        if len(number) > 4
    }
    assert "55.43" in scores
    for cell in read_notebook(notebooks_folder() / f"{name}.ipynb").cells:
        text = re.sub(r"\]\([^)]*\)|arXiv:\S+", "", cell.source)
        prose = re.sub(r"`[^`]*`", "", text)
        if cell.cell_type == "markdown":
            assert NUMBER.findall(prose) == [], cell.id
        assert [number for number in NUMBER.findall(text) if number in scores] == [], cell.id
