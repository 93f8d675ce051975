"""What the tests of notebooks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest

from colbert_zero_lib.home import home
from colbert_zero_lib.kernels import forked_kernels
from colbert_zero_lib.suite import find_notebooks, read_notebook, run_notebooks
from tests.notebooks.exercises import solve


@pytest.fixture(scope="module")
def warm_kernels() -> Iterator[None]:
    """The file's notebooks run in kernels that need not import what all of them do."""
    with forked_kernels(2):
        yield


@pytest.fixture
def run_headless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_kernels: None
) -> Callable[[str, str], None]:
    """Run a notebook at a profile, exercises solved, in the home folder that all notebooks share."""

    def run_one(name: str, profile: str) -> None:
        monkeypatch.setenv("COLBERT_ZERO_HOME", str(home().resolve()))
        # Another number of threads rounds differently: what a checkout holds is not a test's to redraw.
        monkeypatch.setenv("COLBERT_ZERO_FIGURES", str(tmp_path / "figures"))
        [path] = find_notebooks([name])
        notebook = read_notebook(path)
        solved = solve(notebook)
        nbformat.write(notebook, tmp_path / path.name)
        [run] = run_notebooks([], {}, tmp_path / "out", profile=profile, folder=tmp_path)
        cells = [
            cell
            for cell in read_notebook(run.output).cells
            if cell.cell_type == "code" and cell.source.strip()
        ]
        assert all(cell.execution_count is not None for cell in cells)
        assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]
        said = {cell.id: "".join(o.get("text", "") for o in cell.outputs) for cell in cells}
        assert len(solved) >= 3 and all(said[cell].startswith("right") for cell in solved)

    return run_one
