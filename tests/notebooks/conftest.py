"""What the tests of notebooks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from colbert_zero_lib.home import home
from colbert_zero_lib.kernels import forked_kernels
from colbert_zero_lib.suite import read_notebook, run_notebooks


@pytest.fixture(scope="module")
def warm_kernels() -> Iterator[None]:
    """The file's notebooks run in kernels that need not import what all of them do."""
    with forked_kernels(2):
        yield


@pytest.fixture
def run_headless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_kernels: None
) -> Callable[[str, str], None]:
    """Run a notebook at a profile, every cell of it, in the home folder that all notebooks share."""

    def run_one(name: str, profile: str) -> None:
        monkeypatch.setenv("COLBERT_ZERO_HOME", str(home().resolve()))
        # Another number of threads rounds differently: what a checkout holds is not a test's to redraw.
        monkeypatch.setenv("COLBERT_ZERO_FIGURES", str(tmp_path / "figures"))
        [run] = run_notebooks([name], {}, tmp_path, profile=profile)
        cells = [
            cell
            for cell in read_notebook(run.output).cells
            if cell.cell_type == "code" and cell.source.strip()
        ]
        assert all(cell.execution_count is not None for cell in cells)
        assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]

    return run_one
