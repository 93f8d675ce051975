"""A checkpoint made to harm: nothing of it is run or unpickled, and it ends in one sentence."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from colbert_zero_lib.checkpoint import find_checkpoint
from colbert_zero_lib.cli import app
from colbert_zero_lib.errors import CheckpointError, HubError
from colbert_zero_lib.evaluation.subjects import find_subject
from colbert_zero_lib.hub import MODEL_FILES, commit_of
from colbert_zero_lib.models import open_model, open_tokenizer


class Payload:
    """What unpickling runs: it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def name_module(folder: Path, **changes: Any) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules[0] |= changes
    (folder / "modules.json").write_text(json.dumps(modules))


def pickled(folder: Path, inside: str) -> None:
    import pickle

    (folder / inside / "model.safetensors").unlink()
    (folder / inside / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Payload(folder / "ran")}))


def header(folder: Path, size: int, text: bytes = b"{}") -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", size) + text)


def outside_shards(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001.safetensors")
    index = {"metadata": {}, "weight_map": {"a": "../../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


# How a folder is made hostile, and a word of what is said.
HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "pickled weights": (lambda f: pickled(f, ""), "pickled"),
    "pickled projection": (lambda f: pickled(f, "1_Dense"), "pickled"),
    "code of the folder as a module": (
        lambda f: name_module(f, type="evil.Transformer"),
        "'evil.Transformer'",
    ),
    "code of another package as a module": (lambda f: name_module(f, type="os.system"), "'os.system'"),
    "a module that is none of a model's": (
        lambda f: name_module(f, type="sentence_transformers.models.Router"),
        "Router",
    ),
    "a module outside": (lambda f: name_module(f, path="../other"), "'../other'"),
    "a module at the root": (lambda f: name_module(f, path="/etc"), "'/etc'"),
    "a module of another drive": (lambda f: name_module(f, path="C:\\x"), "x"),
    "a function as activation": (
        lambda f: edit(f / "1_Dense" / "config.json", activation_function="evil.run"),
        "'evil.run'",
    ),
    "a function of torch as activation": (
        lambda f: edit(f / "1_Dense" / "config.json", activation_function="torch.nn.init.os.abort"),
        "activation_function",
    ),
    "remote code for the model": (
        lambda f: edit(f / "config.json", auto_map={"AutoModel": "evil.Model"}, model_type="evil"),
        "auto_map",
    ),
    "remote code for the tokenizer": (
        lambda f: edit(f / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tokenizer", None]}),
        "auto_map",
    ),
    "shards outside": (outside_shards, "outside"),
    "nested settings": (lambda f: (f / "config.json").write_text("[" * 100_000) and None, "nested"),
    "settings that are a list": (
        lambda f: (f / "modules.json").write_text('{"a": 1}') and None,
        "modules.json",
    ),
}
# What is seen only when the files are opened.
BROKEN: dict[str, Callable[[Path], None]] = {
    "a header of exabytes": lambda f: header(f, 2**60),
    "a header that is none": lambda f: header(f, 8, b"x" * 8),
    "a nested header": lambda f: header(f, 100_000, b"[" * 100_000),
    "weights of other shapes": lambda f: edit(f / "config.json", hidden_size=96),
    "an encoder of no known kind": lambda f: edit(f / "config.json", model_type="evil"),
    "a tokenizer of nonsense": lambda f: (f / "tokenizer.json").write_text('{"model": 7}') and None,
}


@pytest.fixture(scope="module")
def sound(tiny_colbert: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "model"
    tiny_colbert.save_pretrained(str(folder), create_model_card=False)
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a sound model, with a module beside it that leaves ``ran`` behind when it is imported."""
    copy = Path(shutil.copytree(sound, tmp_path / "model"))
    code = f"import pathlib\npathlib.Path({str(copy / 'ran')!r}).touch()\nrun = Transformer = Model = None\n"
    (copy / "evil.py").write_text(code)
    (tmp_path / "evil.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    return copy


def opened(folder: Path) -> Any:
    from colbert_zero_lib.recipes import Recipe

    step = Recipe.parse("colbert:supervised").steps[0]
    return open_model(folder, step, lengths=(16, 40), prompts=("", ""), projection=32)


def test_a_sound_folder_opens(folder: Path) -> None:
    assert find_subject(str(folder), folder, "cpu").model is not None and opened(folder) is not None


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_checkpoint_is_refused_before_anything_is_opened(folder: Path, name: str) -> None:
    make, word = HOSTILE[name]
    make(folder)
    ways = (lambda: find_checkpoint(str(folder)), lambda: opened(folder), lambda: open_tokenizer(folder))
    for attempt in ways:
        with pytest.raises(CheckpointError, match=".") as caught:
            attempt()
        assert word in str(caught.value) and "\n" not in str(caught.value)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_checkpoint_is_one_sentence(folder: Path, name: str) -> None:
    BROKEN[name](folder)
    with pytest.raises(CheckpointError, match="cannot be opened as a model"):
        _ = find_subject(str(folder), folder, "cpu").model
    with pytest.raises(CheckpointError, match="cannot be opened as a model"):
        opened(folder)
    assert not (folder / "ran").exists()


def test_the_command_says_it_in_one_line(folder: Path, tmp_path: Path, toy_collection: Any) -> None:
    from colbert_zero_lib.corpora import write_collection

    HOSTILE["code of the folder as a module"][0](folder)
    write_collection(toy_collection, tmp_path / "toy")
    done = CliRunner().invoke(
        app,
        ["evaluate", str(folder), "--on", str(tmp_path / "toy")],
        env={"COLBERT_ZERO_HOME": str(tmp_path)},
    )
    assert done.exit_code == 2 and "evil.Transformer" in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "ran").exists()


def test_of_a_repository_on_the_hub_no_code_and_no_pickles_are_fetched() -> None:
    endings = {pattern.rpartition(".")[2] for pattern in MODEL_FILES}
    assert endings == {"json", "safetensors", "txt", "model", "metadata"}


@pytest.mark.parametrize("revision", ["../../../x", "a/../../x", "/etc/x", "a\\b", "", "a/"])
def test_a_revision_is_no_path(revision: str, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="is no revision"):
        commit_of("owner/name", "model", revision)


def test_a_commit_that_is_none_names_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.hub.fixtures import use_hub

    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path)
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", lambda *_, **__: SimpleNamespace(sha="../../x"))
    with pytest.raises(HubError, match="its commit is '../../x'"):
        commit_of("owner/name", "model")
    assert not list(tmp_path.iterdir())


def test_a_saved_model_holds_no_pickle(sound: Path) -> None:
    kinds = {path.suffix for path in sound.rglob("*") if path.is_file()}
    assert {".safetensors"} < kinds <= {".json", ".safetensors", ".txt", ".jinja"}
