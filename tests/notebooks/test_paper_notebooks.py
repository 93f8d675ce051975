"""The notebooks of published figures run without torch, and a changed file arrives in what they show."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import nbformat
import pytest

from colbert_zero_lib.home import data_folder
from colbert_zero_lib.suite import notebooks_folder, read_notebook, run_notebook

TORCH_FREE = "import sys\nassert not {'torch', 'transformers', 'pylate', 'datasets'} & set(sys.modules)"


def with_last_cell(name: str, folder: Path, source: str) -> Path:
    notebook = read_notebook(notebooks_folder() / f"{name}.ipynb")
    notebook.cells.append(nbformat.v4.new_code_cell(source))
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def outputs(path: Path, cell: str) -> dict[str, str]:
    [found] = [one for one in read_notebook(path).cells if one.get("id") == cell]
    return {kind: str(value) for output in found.outputs for kind, value in output.get("data", {}).items()}


@pytest.mark.notebooks
@pytest.mark.parametrize("name", ["10_paper_results", "11_claims_and_audit"])
def test_it_runs_without_torch(name: str, tmp_path: Path) -> None:
    path = with_last_cell(name, tmp_path, TORCH_FREE)
    run_notebook(path, {}, tmp_path / "executed.ipynb")


@pytest.mark.notebooks
def test_a_changed_score_arrives_in_table_text_and_figure(tmp_path: Path) -> None:
    copied = tmp_path / "data"
    for name in ("paper", "mteb"):
        shutil.copytree(data_folder() / name, copied / name, copy_function=shutil.copyfile)
    file = copied / "paper" / "table2_beir_ndcg10.csv"
    text = file.read_text(encoding="utf-8")
    assert text.count("72.68") == 1  # gte-modernbert on ArguAna
    file.write_text(text.replace("72.68", "12.34"), encoding="utf-8")
    path = notebooks_folder() / "10_paper_results.ipynb"
    ours = run_notebook(path, {}, tmp_path / "ours.ipynb").output
    changed = run_notebook(path, {"data": str(copied)}, tmp_path / "changed.ipynb").output

    assert (
        "12.34" in outputs(changed, "table-2")["text/html"]
        and "12.34" not in outputs(ours, "table-2")["text/html"]
    )
    assert outputs(changed, "averages")["text/markdown"] != outputs(ours, "averages")["text/markdown"]
    assert outputs(changed, "outliers")["text/markdown"] != outputs(ours, "outliers")["text/markdown"]
    for cell in ("cost", "table-2-figure", "table-2-heat-map"):
        one, two = (base64.b64decode(outputs(run, cell)["image/png"]) for run in (ours, changed))
        assert one != two
    for cell in ("table-3", "table-5-figure"):
        assert outputs(ours, cell) == outputs(changed, cell)
