"""Checkpoints of the hub and of folders: what they are, what their files say, and what is said without them."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from colbert_zero_lib.checkpoint import find_checkpoint
from colbert_zero_lib.errors import CheckpointError, HubError
from colbert_zero_lib.hub import commit_of
from colbert_zero_lib.recipes import Interaction
from tests.hub.fixtures import use_hub
from tests.hub.server import Server, commit


def test_a_released_model_is_described_by_its_files(hub: Server) -> None:
    found = find_checkpoint("lightonai/ColBERT-Zero")
    assert found.interaction is Interaction.COLBERT
    assert found.prompts == ("search_query: ", "search_document: ")
    assert found.lengths == (39, 519)
    assert found.identity == commit(hub.root / "models/lightonai/ColBERT-Zero")


def test_dense_models_and_bare_encoders_are_told_apart(hub: Server) -> None:
    dense = find_checkpoint("nomic-ai/modernbert-embed-base")
    assert (dense.interaction, dense.prompts) == (Interaction.DENSE, ("search_query: ", "search_document: "))
    assert find_checkpoint("answerdotai/ModernBERT-base").interaction is None


def test_a_folder_is_what_its_files_are(hub_root: Path, tmp_path: Path) -> None:
    source = hub_root / "models/lightonai/ColBERT-Zero-noprompts"
    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    assert find_checkpoint(str(copy)).identity == find_checkpoint(str(source)).identity
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert find_checkpoint(str(copy)).identity != find_checkpoint(str(source)).identity
    (copy / "model.safetensors").unlink()
    shutil.rmtree(copy / "1_Dense")
    with pytest.raises(CheckpointError, match="no weights as safetensors"):
        find_checkpoint(str(copy))


@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "a/b/c"])
def test_a_name_that_is_neither_folder_nor_hub_id_is_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match="owner/name"):
        find_checkpoint(name)


def test_what_the_hub_does_not_have_is_one_sentence(hub: Server) -> None:
    with pytest.raises(HubError, match="The model lightonai/nothing could not be had"):
        find_checkpoint("lightonai/nothing")
    with pytest.raises(HubError, match="lightonai/ColBERT-Zero could not be had"):
        find_checkpoint("lightonai/ColBERT-Zero", "v9")


def test_a_filled_cache_answers_offline_and_an_empty_one_says_so(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = find_checkpoint("lightonai/ColBERT-Zero")
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf", offline=True)
    assert find_checkpoint("lightonai/ColBERT-Zero") == online
    with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
        commit_of("nomic-ai/nomic-embed-supervised-data", "dataset")


def test_a_hub_that_does_not_answer_is_said_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf")
    started = time.perf_counter()
    with pytest.raises(HubError, match="could not be had"):
        commit_of("lightonai/ColBERT-Zero", "model")
    assert time.perf_counter() - started < 10
