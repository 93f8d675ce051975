"""Every notebook follows the conventions, is listed in the README, and runs headless.

They run at profile tiny, those of the ablations, which train most, at the smallest. The runs share one home folder, so
that a recipe trained by one notebook is reused by the next.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from colbert_zero_lib.conventions import check_notebook
from colbert_zero_lib.home import home
from colbert_zero_lib.recipes import PIPELINES
from colbert_zero_lib.runs.execute import obtain_base, run_recipe, workshop
from colbert_zero_lib.suite import find_notebooks, notebooks_folder, read_notebook, run_notebooks

NOTEBOOKS = find_notebooks()
NAMES = [path.stem for path in NOTEBOOKS]
ABLATIONS = ("07", "08", "09")


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
@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_runs_headless(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLBERT_ZERO_HOME", str(home().resolve()))
    [run] = run_notebooks(
        [path.stem], {}, tmp_path, profile="smoke" if path.stem[:2] in ABLATIONS else "tiny"
    )
    cells = [
        cell for cell in read_notebook(run.output).cells if cell.cell_type == "code" and cell.source.strip()
    ]
    assert all(cell.execution_count is not None for cell in cells)
    assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]


@pytest.mark.notebooks
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_pipeline_is_far_above_the_base_it_began_with_on_every_collection(pipeline: str) -> None:
    shop = workshop("tiny", progress=False)
    base = obtain_base(shop).passport["metrics"]
    final = run_recipe(pipeline, shop=shop).passport["metrics"]
    gains = {name: final[name]["ndcg@10"] - base[name]["ndcg@10"] for name in base}
    assert min(gains.values()) > 0.1, gains
