"""Notebook 12 with a hub that answers: checkpoints are loaded, measured and laid beside the published figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from colbert_zero_lib.suite import notebooks_folder, read_notebook, run_notebook
from tests.hub.fixtures import hub_environment
from tests.hub.server import Server

MODELS = ["lightonai/ColBERT-Zero", "lightonai/ModernColBERT-embed-base", "nomic-ai/modernbert-embed-base"]


@pytest.mark.notebooks
def test_released_checkpoints_are_measured_and_kept(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name, value in hub_environment(hub.address, tmp_path / "hf").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLBERT_ZERO_FIGURES", str(tmp_path / "figures"))
    path = notebooks_folder() / "12_released_checkpoints.ipynb"
    given = {
        "models": MODELS,
        "sets": ["nanobeir/ClimateFEVER", "nanobeir/SciFact"],
        "home": str(tmp_path / "home"),
    }
    (tmp_path / "home").mkdir()
    done = read_notebook(run_notebook(path, given, tmp_path / "done.ipynb").output)
    shown = {cell.get("id"): str(cell.get("outputs", "")) for cell in done.cells}
    for name in MODELS:
        assert name in shown["find"] and f"{name} on nanobeir/SciFact" in shown["measure"]
    assert "(39, 519)" in shown["find"]
    assert "3 of 3 checkpoints measured" in shown["measure"]
    assert "differs" in shown["card-check"]  # random weights
    asked = len(hub.asked)
    again = read_notebook(run_notebook(path, given, tmp_path / "again.ipynb").output)
    assert str(again.cells).count("measured before") == 6
    assert not any(".safetensors" in request for request in hub.asked[asked:])
