"""The ledger finds runs by what made them, shares them, and never hands out one that it cannot vouch for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbert_zero_lib.errors import RunError, UnknownNameError
from colbert_zero_lib.keeping import digest_of
from colbert_zero_lib.runs import Ledger, RunKey, canonical_json, key_versions

KEY = RunKey(
    recipe="colbert:unsupervised",
    profile="tiny",
    settings=canonical_json({"batch_size": 16, "learning_rates": {"unsupervised": 3e-4}}),
    seed=0,
    base="encoder-2x128",
    data="f" * 64,
    versions=(("torch", "2.11.0"), ("pylate", "1.6.0")),
)


def building(calls: list[Path], **passport: Any) -> Callable[[Path], Mapping[str, Any]]:
    def build(work: Path) -> Mapping[str, Any]:
        calls.append(work)
        (work / "model").mkdir(exist_ok=True)
        (work / "model" / "model.safetensors").write_bytes(bytes(range(256)) * 40)
        (work / "checkpoints").mkdir(exist_ok=True)
        (work / "checkpoints" / "step-1").write_bytes(b"to be removed")
        return {"device": "cpu", **passport}

    return build


def test_a_run_is_built_once_and_then_reused(tmp_path: Path) -> None:
    calls: list[Path] = []
    first = Ledger(tmp_path).obtain(KEY, building(calls, loss=0.1 + 0.2))
    again = Ledger(tmp_path).obtain(KEY, building(calls))
    assert len(calls) == 1
    assert first == again and again.passport["loss"] == 0.1 + 0.2
    assert first.folder == tmp_path / KEY.folder_name
    assert first.passport["key"]["seed"] == 0 and first.passport["digest"] == KEY.digest
    assert (first.model_folder / "model.safetensors").stat().st_size == 256 * 40
    assert not (first.folder / "checkpoints").exists()
    assert list((tmp_path / ".partial").iterdir()) == []


def test_a_run_is_known_to_be_in_work_while_it_is(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert not ledger.is_being_built(KEY) and list(tmp_path.iterdir()) == []
    seen = []

    def build(work: Path) -> Mapping[str, Any]:
        seen.extend(Ledger(tmp_path).is_being_built(key) for key in (KEY, replace(KEY, seed=1)))
        return {"device": "cpu"}

    ledger.obtain(KEY, build)
    assert seen == [True, False] and not ledger.is_being_built(KEY)


def test_a_disk_without_file_locks_is_one_sentence_whoever_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path)
    ledger.obtain(KEY, building([]))

    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr("colbert_zero_lib.runs.locks.FileLock.acquire", refuse)
    with pytest.raises(RunError, match="no file locks"):
        ledger.obtain(other := replace(KEY, seed=1), building([]))
    (tmp_path / ".locks" / f"{other.digest}.lock").touch()
    with pytest.raises(RunError, match="no file locks"):
        ledger.is_being_built(other)
    assert not ledger.is_being_built(KEY)  # finished: no lock is touched, which may be another user's


def test_the_folder_name_is_the_slug_and_the_digest() -> None:
    long = replace(
        KEY, recipe="dense:unsupervised > colbert:supervised[-prompts,-length] > colbert:distillation"
    )
    assert KEY.folder_name == f"colbert-unsupervised-{KEY.digest[:12]}"
    slug, digest = long.folder_name.rsplit("-", 1)
    assert digest == long.digest[:12]
    assert slug == "dense-unsupervised--colbert-supervised-noprompts-nolength--c"


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": "colbert:unsupervised[-prompts]"},
        {"profile": "laptop"},
        {"settings": canonical_json({"batch_size": 17, "learning_rates": {"unsupervised": 3e-4}})},
        {"seed": 1},
        {"base": "encoder-4x256"},
        {"data": "e" * 64},
        {"versions": (("torch", "2.11.1"), ("pylate", "1.6.0"))},
    ],
)
def test_whatever_changes_a_result_changes_the_digest(change: dict[str, Any]) -> None:
    assert replace(KEY, **change).digest != KEY.digest


def test_the_order_of_settings_and_versions_does_not_change_the_digest() -> None:
    same = replace(
        KEY,
        settings='{"learning_rates": {"unsupervised": 0.0003}, "batch_size": 16}',
        versions=KEY.versions[::-1],
    )
    assert same.digest == KEY.digest


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_settings_survive_the_key_whatever_they_hold(settings: dict[str, Any]) -> None:
    key = replace(KEY, settings=canonical_json(settings))
    assert json.loads(key.settings) == settings
    assert key.to_mapping()["settings"] == settings


def test_keys_hold_the_training_libraries_and_the_result_version() -> None:
    assert {"torch", "transformers", "sentence-transformers", "pylate", "result"} == set(dict(key_versions()))


def test_a_build_that_raises_leaves_nothing_under_the_final_name_and_can_go_on(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)

    def interrupted(work: Path) -> Mapping[str, Any]:
        (work / "checkpoints").mkdir()
        (work / "checkpoints" / "step-7").write_text("7")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ledger.obtain(KEY, interrupted)
    assert ledger.runs() == []

    def resumed(work: Path) -> Mapping[str, Any]:
        return {"resumed_from": (work / "checkpoints" / "step-7").read_text()}

    assert ledger.obtain(KEY, resumed).passport["resumed_from"] == "7"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, Path("model")])
def test_a_passport_that_json_cannot_hold_names_the_field(tmp_path: Path, value: object) -> None:
    with pytest.raises(RunError, match=r"loss\.curve\[1\]"):
        Ledger(tmp_path).obtain(KEY, building([], loss={"curve": [0.5, value]}))
    assert Ledger(tmp_path).runs() == []


def remove(folder: Path) -> None:
    (folder / "model" / "model.safetensors").unlink()


def truncate(folder: Path) -> None:
    file = folder / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def flip_a_bit(folder: Path) -> None:
    file = folder / "model" / "model.safetensors"
    damaged = bytearray(file.read_bytes())
    damaged[5000] ^= 1
    file.write_bytes(damaged)


def edit_the_passport(folder: Path) -> None:
    file = folder / "run.json"
    file.write_text(file.read_text().replace("cpu", "gpu"))


def remove_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def cut_the_manifest(folder: Path) -> None:
    file = folder / "manifest.json"
    file.write_text(file.read_text()[:-10])


def empty_the_folder(folder: Path) -> None:
    remove(folder)
    (folder / "model").rmdir()
    (folder / "run.json").unlink()
    remove_the_manifest(folder)


def put_a_file_there(folder: Path) -> None:
    empty_the_folder(folder)
    folder.rmdir()
    folder.write_text("not a folder")


DAMAGES = [
    remove,
    truncate,
    flip_a_bit,
    edit_the_passport,
    remove_the_manifest,
    cut_the_manifest,
    empty_the_folder,
    put_a_file_there,
]


@pytest.mark.parametrize("harm", DAMAGES)
def test_a_damaged_run_is_reported_set_aside_and_built_again(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    ledger = Ledger(tmp_path)
    calls: list[Path] = []
    run = ledger.obtain(KEY, building(calls))
    other = ledger.obtain(replace(KEY, seed=1), building([]))
    for round_number in (1, 2):
        harm(run.folder)
        with pytest.warns(UserWarning, match=f"{KEY.folder_name}.*set-aside") as warned:
            again = ledger.obtain(KEY, building(calls))
        assert len(warned) == 1 and str(warned[0].message).endswith(".")
        assert again.checked()
        assert len(calls) == 1 + round_number
        assert len(list((tmp_path / ".set-aside").iterdir())) == round_number
    assert other.checked()


def test_what_stands_in_the_way_is_one_sentence_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "a" / ".locks" / f"{KEY.digest}.lock").mkdir(parents=True)
    with pytest.raises(RunError, match=r"\.lock .*move it away"):
        Ledger(tmp_path / "a").obtain(KEY, building([]))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".partial").touch()
    with pytest.raises(RunError, match=r"\.partial.*move it"):
        Ledger(tmp_path / "b").obtain(KEY, building([]))


def test_a_link_in_the_way_goes_and_what_it_points_to_stays(tmp_path: Path) -> None:
    ledger, elsewhere = Ledger(tmp_path / "runs"), tmp_path / "elsewhere"
    (elsewhere / "checkpoints").mkdir(parents=True)
    (elsewhere / "checkpoints" / "mine").touch()
    work = ledger.root / ".partial" / KEY.folder_name
    work.parent.mkdir(parents=True)
    work.symlink_to(elsewhere)
    ledger.folder(KEY).symlink_to("nowhere")
    with pytest.warns(UserWarning, match="set-aside"):
        run = ledger.obtain(KEY, building([]))
    assert run.checked() and not run.folder.is_symlink()
    assert (elsewhere / "checkpoints" / "mine").is_file()


def test_a_plan_reads_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path)
    run = ledger.obtain(KEY, building([]))
    read: list[str] = []

    def digest(file: Path) -> str:
        read.append(file.name)
        return digest_of(file)

    monkeypatch.setattr("colbert_zero_lib.keeping.digest_of", digest)
    assert ledger.get(KEY, sizes_alone=True) == run
    assert set(read) == {"run.json"}
    truncate(run.folder)
    assert ledger.get(KEY, sizes_alone=True) is None


def test_a_folder_of_another_run_is_not_taken_for_ours(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    other = ledger.obtain(replace(KEY, seed=1), building([], own="other"))
    other.folder.rename(ledger.folder(KEY))
    with pytest.warns(UserWarning, match="another run"):
        assert ledger.obtain(KEY, building([], own="ours")).passport["own"] == "ours"


def test_files_that_a_reader_adds_do_no_harm(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    run = ledger.obtain(KEY, building([]))
    (run.folder / "notes.txt").write_text("looks good")
    assert run.checked()


def test_runs_are_listed_and_a_folder_without_a_passport_is_warned_about(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.runs() == []
    made = [ledger.obtain(replace(KEY, seed=seed), building([])) for seed in (0, 1)]
    assert ledger.runs() == sorted(made, key=lambda run: run.folder.name)
    (tmp_path / "stray").mkdir()
    with pytest.warns(UserWarning, match="stray"):
        assert len(ledger.runs()) == 2


def test_a_run_is_found_by_name_digest_or_recipe_if_only_one_answers(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with pytest.raises(UnknownNameError, match="none yet"):
        ledger.find("colbert:unsupervised")
    first = ledger.obtain(KEY, building([]))
    pipeline = ledger.obtain(
        replace(KEY, recipe="colbert:unsupervised > colbert:supervised > colbert:distillation"), building([])
    )
    for text in (first.folder.name, KEY.digest, KEY.digest[:6], "colbert : unsupervised"):
        assert ledger.find(text) == first
    assert ledger.find("c") == pipeline
    with pytest.raises(UnknownNameError, match="colbert:supervised"):
        ledger.find("colbert:supervised")
    second = ledger.obtain(replace(KEY, seed=1), building([]))
    with pytest.raises(UnknownNameError) as unclear:
        ledger.find("colbert:unsupervised")
    assert first.folder.name in str(unclear.value) and second.folder.name in str(unclear.value)


def test_per_query_values_come_back_as_written(tmp_path: Path) -> None:
    import pandas as pd

    table = pd.DataFrame({"collection": ["cwe", "hpo"], "query": ["1", "2"], "ndcg@10": [0.5, 1.0]})

    def build(work: Path) -> Mapping[str, Any]:
        table.to_parquet(work / "per_query.parquet")
        return {}

    run = Ledger(tmp_path).obtain(KEY, build)
    pd.testing.assert_frame_equal(run.per_query(), table)
    run.per_query_file.write_text("not Parquet")
    with pytest.raises(RunError, match=r"per_query\.parquet"):
        run.per_query()
    run.per_query_file.unlink()
    with pytest.raises(RunError, match=r"per_query\.parquet"):
        run.per_query()
