"""What the kit's damages and odd inputs once brought to light, a test a kind."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from colbert_zero_lib import committed, group, keeping
from colbert_zero_lib.checkpoint import find_checkpoint
from colbert_zero_lib.corpora import minilm, readers, store
from colbert_zero_lib.corpora.hub_rows import parsed_lists
from colbert_zero_lib.corpora.qrels import read_qrels
from colbert_zero_lib.errors import LONGEST, CheckpointError, ColbertZeroError, DataError, HubError, RunError
from colbert_zero_lib.evaluation.subjects import find_subject
from colbert_zero_lib.published.tables import paper_table
from colbert_zero_lib.reading import UnreadableError, read_lines
from colbert_zero_lib.runs import Ledger, Run, explain
from colbert_zero_lib.runs.passport import record
from colbert_zero_lib.verdicts import recorded_evidence
from tests.faults import kept

pytestmark = pytest.mark.faults
POSIX = pytest.mark.skipif(os.name == "nt", reason="pipes with names are POSIX")


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    kept._make_run(tmp_path, 0)
    return kept._run_folder(tmp_path)


def test_an_altered_passport_is_not_listed(run_folder: Path) -> None:
    file = run_folder / "run.json"
    file.write_text(file.read_text().replace("3.25", "3.75"))
    with pytest.warns(UserWarning, match=r"other bytes in run\.json"):
        assert Ledger(run_folder.parent).sound_runs() == []


@pytest.mark.parametrize("harm", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-1] + b"x")])
def test_lost_or_altered_figures_of_a_query_are_missed(run_folder: Path, harm: Callable[[Path], Any]) -> None:
    run = Run.read(run_folder)
    harm(run_folder / "per_query.parquet")
    for read in (run.per_query, lambda: record(run, run_folder.parent), lambda: explain(run, run)):
        with pytest.raises(RunError, match=r"per_query\.parquet"):
            read()  # type: ignore[operator]


def test_an_altered_model_of_a_run_is_not_evaluated(run_folder: Path) -> None:
    file = run_folder / "model" / "config_sentence_transformers.json"
    file.write_text(file.read_text().replace("q: ", "d: "))
    with pytest.raises(RunError, match="other bytes in model/config_sentence"):
        find_subject(str(run_folder), run_folder.parent, "cpu").model  # noqa: B018
    with pytest.raises(CheckpointError, match="other bytes in model/config_sentence"):
        find_checkpoint(str(run_folder / "model"))


def test_an_exported_model_may_get_another_card_but_no_other_weights(tmp_path: Path) -> None:
    for each in kept._card_patches(tmp_path):
        with each:
            kept._make_exported(tmp_path, 0)
    folder = tmp_path / "model"
    before = find_checkpoint(str(folder)).identity
    (folder / "README.md").write_text("my own words")
    assert find_checkpoint(str(folder)).identity == before
    shutil.copytree(folder, tmp_path / "bare")
    (tmp_path / "bare" / "manifest.json").unlink()
    assert find_checkpoint(str(tmp_path / "bare")).identity == before
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(CheckpointError, match=r"other bytes in model\.safetensors"):
        find_checkpoint(str(folder))


def test_a_folder_that_is_no_model_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "many.json").write_text("{}")
    monkeypatch.setattr("colbert_zero_lib.checkpoint.digest_of", lambda file: pytest.fail(f"{file} was read"))
    with pytest.raises(CheckpointError, match="holds no model"):
        find_checkpoint(str(tmp_path))


def test_weights_that_are_none_are_one_sentence(tmp_path: Path) -> None:
    shutil.copytree(kept._model(0, kept._scratch()), tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(CheckpointError, match="cannot be opened as a model"):
        find_subject(str(tmp_path / "model"), tmp_path, "cpu").model  # noqa: B018


def test_files_of_the_hubs_cache_are_what_their_names_say(tmp_path: Path) -> None:
    kept._make_hub(tmp_path, 0)
    patches = kept._hub_patches(tmp_path)
    with patches[0], patches[1]:
        assert find_checkpoint("owner/toy").identity == kept._COMMIT
        for length in (40, 64):
            blob = next(f for f in (tmp_path / "hub").rglob("blobs/*") if len(f.name) == length)
            content = blob.read_bytes()
            blob.write_bytes(content[:-1] + b"?")
            with pytest.raises(HubError, match=f"{blob.name} has other bytes"):
                find_checkpoint("owner/toy")
            blob.write_bytes(content)


def test_an_encoder_with_a_forged_manifest_has_not_the_published_weights(tmp_path: Path) -> None:
    one, other = kept._encoder_patches(tmp_path)
    with one, other:
        folder = minilm.minilm_folder(tmp_path)
        right = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(b"other")
        keeping.seal(folder)
        with pytest.warns(UserWarning, match="other weights than were published"):
            assert (minilm.minilm_folder(tmp_path) / "model.safetensors").read_bytes() == right


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    kept._make_data(tmp_path, 0)
    for module in ("committed", "published.recorded", "verdicts.sources", "published.tables"):
        monkeypatch.setattr(f"colbert_zero_lib.{module}.data_folder", lambda: tmp_path / "data")
    committed._read.cache_clear()
    return tmp_path / "data"


def test_a_lost_table_is_no_seed_less(data: Path) -> None:
    assert recorded_evidence("laptop").evaluations
    next((data / "runs" / "laptop").glob("colbert*seed1.parquet")).unlink()
    with pytest.raises(DataError, match=r"seed1\.parquet"):
        recorded_evidence("laptop")


def test_the_data_folder_has_a_manifest(data: Path) -> None:
    (data / "manifest.json").unlink()
    committed._read.cache_clear()
    with pytest.raises(DataError, match=r"manifest\.json"):
        paper_table(2)


def test_an_installed_manifest_is_the_one_that_pip_recorded(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committed, "repository", lambda: None)
    digest = hashlib.sha256((data / "manifest.json").read_bytes()).digest()
    path = metadata.PackagePath("colbert_zero_lib/data/manifest.json")
    value = committed.base64.urlsafe_b64encode(digest).decode().rstrip("=")
    path.hash = metadata.FileHash(f"sha256={value}")
    monkeypatch.setattr(metadata, "files", lambda name: [path])
    assert len(paper_table(2))
    path.hash = metadata.FileHash(f"sha256={value[::-1]}")
    committed._read.cache_clear()
    with pytest.raises(DataError, match="install the package again"):
        paper_table(2)


@POSIX
def test_a_pipe_in_a_manifests_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")
    assert keeping.damage(tmp_path) == "has an unreadable manifest.json"
    with pytest.raises(OSError, match="no ordinary file"):
        keeping.digest_of(tmp_path / "manifest.json")


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_a_manifest_may_list_what_no_file_is_called(tmp_path: Path, name: str) -> None:
    listed = {name: {"bytes": 1, "sha256": ""}, "also": {"bytes": 1e999, "sha256": ""}}
    for entries in (listed, {name: listed[name]}):
        (tmp_path / "manifest.json").write_text(kept.json.dumps({"files": entries}))
        assert keeping.damage(tmp_path)


def test_only_the_first_process_of_a_job_reads_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pa.table({"query": ["a", "b"]})
    store.keep(tmp_path / "rows", lambda: {"one": lambda: [table]})
    monkeypatch.setattr(group, "is_first", lambda: False)
    monkeypatch.setattr(keeping, "digest_of", lambda file: pytest.fail(f"{file} was read"))
    assert store.keep(tmp_path / "rows", dict)["query"][:] == ["a", "b"]


def test_many_bytes_are_read_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcd":
        (tmp_path / name).write_text(name)
    keeping.seal(tmp_path)
    monkeypatch.setattr(keeping, "_MANY_BYTES", 1)
    assert keeping.damage(tmp_path) is None
    (tmp_path / "c").write_text("x")
    assert keeping.damage(tmp_path) == "has other bytes in c than were written"
    assert keeping.damage(tmp_path, within="d") is None


@pytest.mark.parametrize("quoted", ["9" * 5_000, "a\nb", "\u2028\ud800"])
def test_an_error_is_one_line_whatever_it_quotes(quoted: str) -> None:
    text = str(ColbertZeroError(f"{quoted} is wrong: mend it."))
    assert (
        len(text) <= LONGEST and len(text.splitlines()) == 1 and text.endswith("mend it.") and text.encode()
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_quoted_cell_keeps_its_ends_of_lines(tmp_path: Path, end: str) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(f'query,document\r\nq,"one{end}two"\r\n'.encode())
    ((_, row),) = readers.read_rows(file)
    assert row == {"query": "q", "document": f"one{end}two"}


@pytest.mark.parametrize("sign", ["\u2028", "\u0085", "\u00a0", "\x1c"])
def test_an_id_is_parted_at_blanks_alone(tmp_path: Path, sign: str) -> None:
    (tmp_path / "a.trec").write_text(f"q{sign}1 0 d{sign}1 1\nq2\t0  d2 \t2\n", encoding="utf-8")
    assert read_qrels(tmp_path / "a.trec") == {f"q{sign}1": {f"d{sign}1": 1}, "q2": {"d2": 2}}
    (tmp_path / "a.trec").write_text(f"q 0 d {sign}1\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.trec:1 has the grade"):
        read_qrels(tmp_path / "a.trec")


def test_a_part_of_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb")
    with pytest.raises(UnreadableError, match="UTF-8"):
        list(read_lines(tmp_path / "a"))
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfa\n\xef\xbb\xbfb")
    assert list(read_lines(tmp_path / "a")) == ["a", "\ufeffb"]


@pytest.mark.parametrize("cell", ["1_0", "٣", "9" * 400, "9" * 5_000])
def test_a_published_number_is_written_as_one(tmp_path: Path, cell: str) -> None:
    file = kept.DATA / "paper" / "table1_hyperparameters.csv"
    (tmp_path / file.name).write_text(file.read_text().replace(",16384,", f",{cell},"), encoding="utf-8")
    with pytest.raises(DataError, match=r"table1_hyperparameters\.csv:2 has .* for batch_size"):
        paper_table(1, tmp_path)


@pytest.mark.parametrize(
    ("ids", "scores"),
    [
        ("[1]", "[nan]"),
        ("[1]", "1"),
        ('"12"', "[1, 2]"),
        ("[1, 2]", "[true, 1]"),
        ("[1]", "['1_0']"),
        ("[" * 9_000, "[1]"),
        ("[None]", "[1]"),
        ("[1 +", "[1]"),
        ("[1]", f"[{10**400}]"),
    ],
)
def test_a_teachers_list_that_is_none_names_its_query(ids: str, scores: str) -> None:
    table = pa.table({"query_id": [7], "document_ids": [ids], "scores": [scores]})
    with pytest.raises(DataError, match="query 7 has (document_ids|scores) that are no list"):
        parsed_lists(table)


def test_lists_in_both_spellings_are_read() -> None:
    table = pa.table({"query_id": [7], "document_ids": ["['a', 2]"], "scores": ["[0.5, 1]"]})
    assert parsed_lists(table).to_pylist() == [{"query": "7", "documents": ["a", "2"], "scores": [0.5, 1.0]}]
