"""The notebooks of published figures run without torch, and a changed file arrives in what they show."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from colbert_zero_lib.figures.catalogue import FIGURES
from colbert_zero_lib.home import repository
from colbert_zero_lib.suite import notebooks_folder, read_notebook, run_notebook
from tests.notebooks.exercises import solve

TORCH_FREE = "import sys\nassert not {'torch', 'transformers', 'pylate', 'datasets'} & set(sys.modules)"


def with_last_cell(name: str, folder: Path, source: str) -> Path:
    """A copy with its exercises solved and one more cell."""
    notebook = read_notebook(notebooks_folder() / f"{name}.ipynb")
    assert len(solve(notebook)) >= 3
    notebook.cells.append(nbformat.v4.new_code_cell(source))
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def outputs(path: Path, cell: str) -> dict[str, str]:
    [found] = [one for one in read_notebook(path).cells if one.get("id") == cell]
    return {kind: str(value) for output in found.outputs for kind, value in output.get("data", {}).items()}


@pytest.mark.notebooks
def test_the_audit_runs_without_torch(tmp_path: Path) -> None:
    run_notebook(with_last_cell("11_claims_and_audit", tmp_path, TORCH_FREE), {}, tmp_path / "executed.ipynb")


@pytest.mark.notebooks
def test_results_need_no_torch_and_a_changed_score_arrives_in_table_text_and_figure(
    published_copy: Path, tmp_path: Path
) -> None:
    file = published_copy / "paper" / "table2_beir_ndcg10.csv"
    text = file.read_text(encoding="utf-8")
    assert text.count("72.68") == 1  # gte-modernbert on ArguAna
    file.write_text(text.replace("72.68", "12.34"), encoding="utf-8")
    path = with_last_cell("10_paper_results", tmp_path, TORCH_FREE)
    ours = run_notebook(path, {}, tmp_path / "ours.ipynb").output
    changed = run_notebook(path, {"data": str(published_copy)}, tmp_path / "changed.ipynb").output

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


ENDING = """
import json, sys
print("\\n" + json.dumps({
    "torch": "torch" in sys.modules,
    "difference": float(differences["(c) − (b)"].mean()),
    "claim": float(paper.set_index("claim").loc["full-pretraining-beats-supervised-kd", "value"]),
    "readings": readings,
}))
"""


def audit_as_script(folder: Path, home: Path) -> dict:
    """The notebook's code cells as one script, on a copy of the data; what it ends with."""
    root = repository()
    assert root is not None
    notebook = json.loads((root / "notebooks" / "11_claims_and_audit.ipynb").read_text("utf-8"))
    lines = ["readings = []"]
    for cell in (cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        source = "".join(cell["source"])
        if "parameters" in cell["metadata"].get("tags", []):
            source += f"\ndata, home = {str(folder)!r}, {str(home)!r}"
        lines.append(re.sub(r"^Markdown\(", "readings.append(", source, flags=re.MULTILINE))
    script = home / "script.py"
    script.write_text("\n".join([*lines, ENDING]), "utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.notebooks
def test_the_audit_needs_no_torch_and_a_changed_figure_arrives_in_it(
    published_copy: Path, tmp_path: Path
) -> None:
    before = audit_as_script(published_copy, tmp_path)
    assert not before["torch"] and before["claim"] == pytest.approx(before["difference"])
    for number in (2, 3, 4):
        file = next((published_copy / "paper").glob(f"table{number}_*.csv"))
        file.write_text(file.read_text("utf-8").replace("90.59", "60.59"), "utf-8")  # ColBERT-Zero's FEVER
    after = audit_as_script(published_copy, tmp_path)
    assert after["difference"] - before["difference"] == pytest.approx(-2.0)
    assert after["claim"] == pytest.approx(after["difference"])
    moved = [one != two for one, two in zip(before["readings"], after["readings"], strict=True)]
    assert len(moved) >= 9 and sum(moved) >= 5
    assert any("**(c) − (b)** is -1.70 points" in text for text in after["readings"])


def test_the_audit_draws_each_of_its_figures_from_the_folder_that_it_is_given() -> None:
    cells = read_notebook(notebooks_folder() / "11_claims_and_audit.ipynb").cells
    drawn = re.findall(r'^draw\("(\w+)", root\)$', "\n".join(cell.source for cell in cells), re.MULTILINE)
    assert sorted(drawn) == sorted(name for name in FIGURES if name.startswith("audit_"))
