"""Damaged, missing and foreign data files: one sentence each, naming the culprit, and nothing lost."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from colbert_zero_lib.corpora import fetch_wheels, offline, read_collection, readers, wheels
from colbert_zero_lib.corpora.wheels import open_wheel
from colbert_zero_lib.errors import DataError, WheelError

pytestmark = pytest.mark.faults

CORPUS = '{"_id": "1", "text": "one"}\n{"_id": "2", "text": "two"}\n'
QUERIES = '{"_id": "a", "text": "which"}\n'
QRELS = "query-id\tcorpus-id\tscore\na\t1\t1\n"


def beir(folder: Path, corpus: str = CORPUS, queries: str = QUERIES, qrels: str = QRELS) -> Path:
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(corpus)
    (folder / "queries.jsonl").write_text(queries)
    (folder / "qrels" / "test.tsv").write_text(qrels)
    return folder


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"corpus": CORPUS + "not json\n"}, r"corpus\.jsonl:3 is not JSON"),
        ({"corpus": '"a string"\n'}, r"corpus\.jsonl:1 is not a JSON object"),
        ({"corpus": '{"text": "one"}\n'}, r"corpus\.jsonl:1 has no key '_id'"),
        ({"corpus": '{"_id": "1"}\n'}, r"corpus\.jsonl:1 has no text under the key 'text'"),
        (
            {"corpus": '{"_id": "1", "text": "x", "title": 3}\n'},
            r"corpus\.jsonl:1 has no text under the key 'title'",
        ),
        ({"corpus": CORPUS + CORPUS}, r"corpus\.jsonl:3 repeats the id '1'"),
        ({"corpus": ""}, r"corpus\.jsonl has no lines"),
        ({"queries": ""}, r"queries\.jsonl has no lines"),
        ({"queries": '{"_id": "a", "text": null}\n'}, r"queries\.jsonl:1 has no text"),
        ({"qrels": QRELS + "b\t\t1\n"}, r"test\.tsv:3 lacks a query id or a document id"),
        ({"qrels": QRELS + "a\t1\t2\n"}, r"test\.tsv:3 gives document '1' the grade 2 .* line 2 gives it 1"),
        ({"qrels": "b\t1\t1\n"}, r"test\.tsv marks no document as relevant"),
        ({"qrels": QRELS + "a\t2\t0.5\n"}, r"test\.tsv:3 has the grade '0.5'"),
        ({"qrels": QRELS + "a 2 1\n"}, r"test\.tsv:3 has 1 columns"),
        ({"qrels": QRELS + "a\t2\tyes\n"}, r"test\.tsv:3 has the grade 'yes'"),
        ({"qrels": "a\t1\t0\n"}, r"test\.tsv marks no document as relevant"),
    ],
)
def test_bad_collections_name_file_and_line(tmp_path: Path, files: dict[str, str], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence) as caught:
        read_collection(beir(tmp_path / "c", **files))
    assert "\n" not in str(caught.value)


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"corpus\.jsonl cannot be read: No such file"):
        read_collection(tmp_path)
    folder = beir(tmp_path / "c")
    (folder / "queries.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"queries\.jsonl cannot be read: it is not UTF-8"):
        read_collection(folder)
    (folder / "queries.jsonl").write_text(QUERIES)
    with pytest.raises(DataError, match=r"no judgements for the split 'dev': choose test\."):
        read_collection(folder, split="dev")
    whole = gzip.compress(CORPUS.encode())
    (folder / "corpus.jsonl").unlink()
    for damaged in (whole[:-9], b"plain text", whole[:20] + b"\0\0" + whole[22:]):
        (folder / "corpus.jsonl.gz").write_bytes(damaged)
        with pytest.raises(DataError, match=r"corpus\.jsonl\.gz cannot be read"):
            read_collection(folder)


@pytest.mark.parametrize(
    ("shape", "row", "sentence"),
    [
        (readers.pair, {"query": "a"}, "x.jsonl:1 has no text under the key 'document'"),
        (readers.pair, {"query": " ", "document": "b"}, "x.jsonl:1 has no text under the key 'query'"),
        (readers.triple, {"query": "a", "document": "b"}, "needs a list of texts under the key 'negatives'"),
        (
            readers.triple,
            {"query": "a", "document": "b", "negatives": ["b"]},
            "its document among its negatives",
        ),
        (readers.scored, {"query": "a", "documents": ["b"], "scores": [1, 2]}, "a list of 1 numbers"),
        (readers.scored, {"query": "a", "documents": ["b"], "scores": ["1"]}, "not a finite number"),
        (readers.scored, {"query": "a", "documents": ["b"], "scores": [float("nan")]}, "not a finite number"),
    ],
)
def test_bad_training_rows_are_named(tmp_path: Path, shape, row: dict, sentence: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=sentence):
        list(readers.tables(path, shape))


def test_empty_training_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match=r"x\.jsonl has no lines"):
        list(readers.read_rows(tmp_path / "x.jsonl"))


@pytest.fixture
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with one wheel, toy 1.0, that is the only pinned one; pip finds nothing, since it has no index."""
    wheel = tmp_path / "wheels" / "toy-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("toy/data.txt", "text")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    folder = tmp_path / "data" / "offline"
    folder.mkdir(parents=True)
    (folder / "wheels.txt").write_text(f"# pins\ntoy==1.0 \\\n    --hash=sha256:{digest}\n")
    monkeypatch.setattr(wheels, "data_folder", lambda: tmp_path / "data")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return tmp_path


def test_a_pinned_wheel_is_opened_and_not_fetched_again(pinned: Path) -> None:
    with open_wheel("toy", pinned) as archive:
        assert archive.read("toy/data.txt") == b"text"
    assert fetch_wheels(pinned, quiet=True) == {"toy": pinned / "wheels" / "toy-1.0-py3-none-any.whl"}


def test_an_altered_wheel_is_refused_even_after_it_was_verified(pinned: Path) -> None:
    path = wheels.wheel_file("toy", pinned)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("toy/more.txt", "slipped in")
    with pytest.raises(
        WheelError, match=r"toy-1\.0-py3-none-any\.whl does not have the pinned SHA-256 of toy 1\.0"
    ):
        open_wheel("toy", pinned)
    with pytest.raises(WheelError, match=r"pip could not download toy 1\.0"):
        fetch_wheels(pinned, quiet=True)
    assert path.is_file()


@pytest.mark.parametrize("what", ["rotted", "empty", "a folder"])
def test_a_wheel_that_rotted_with_size_and_time_kept_is_fetched_anew(
    pinned: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    path = wheels.wheel_file("toy", pinned)
    content, state = path.read_bytes(), path.stat()

    def bring(pins: list[wheels.Pin], folder: Path, quiet: bool) -> None:
        (folder / path.name).write_bytes(content)

    monkeypatch.setattr(wheels, "_pip_download", bring)
    if what == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(content[:9] + bytes([content[9] ^ 1]) + content[10:] if what == "rotted" else b"")
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(WheelError, match="data fetch"):
        open_wheel("toy", pinned)
    fetch_wheels(pinned, quiet=True)
    with open_wheel("toy", pinned) as archive:
        assert archive.read("toy/data.txt") == b"text"


def test_a_missing_wheel_is_named_with_the_command_that_brings_it(pinned: Path) -> None:
    wheels.wheel_file("toy", pinned).unlink()
    with pytest.raises(WheelError, match=r"toy 1\.0 is not in .*wheels: run `colbert-zero data fetch`"):
        open_wheel("toy", pinned)
    with pytest.raises(
        WheelError, match=r"pip could not download toy 1\.0 \(ERROR: No matching distribution"
    ):
        fetch_wheels(pinned, quiet=True)


def test_a_wheel_from_a_folder_of_packages_is_taken_only_with_the_right_bytes(
    pinned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = wheels.wheel_file("toy", pinned)
    mirror = pinned / "mirror"
    mirror.mkdir()
    shutil.move(path, mirror / path.name)
    monkeypatch.setenv("PIP_FIND_LINKS", str(mirror))
    with zipfile.ZipFile(mirror / path.name, "a") as archive:
        archive.writestr("toy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        archive.writestr("toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("toy-1.0.dist-info/RECORD", "")
    with pytest.raises(
        WheelError, match=r"pip could not download toy 1\.0 \(ERROR: THESE PACKAGES DO NOT MATCH"
    ):
        fetch_wheels(pinned, quiet=True)
    digest = hashlib.sha256((mirror / path.name).read_bytes()).hexdigest()
    (pinned / "data" / "offline" / "wheels.txt").write_text(f"toy==1.0 --hash=sha256:{digest}\n")
    assert fetch_wheels(pinned, quiet=True) == {"toy": path}
    assert [left.name for left in path.parent.iterdir() if left.name.startswith(".")] == []


def test_a_pin_without_a_hash_is_refused(pinned: Path) -> None:
    (pinned / "data" / "offline" / "wheels.txt").write_text("toy==1.0\n")
    with pytest.raises(
        WheelError, match=r"wheels\.txt, entry 1: expected 'name==version --hash=sha256:\.\.\.'"
    ):
        open_wheel("toy", pinned)


def test_an_unknown_package_is_refused(pinned: Path) -> None:
    with pytest.raises(WheelError, match="'tyo' is not among the text packages"):
        open_wheel("tyo", pinned)


@pytest.mark.skipif(os.name == "nt", reason="file modes are not what protects a folder on Windows")
def test_wheels_open_in_a_home_that_cannot_be_written(pinned: Path) -> None:
    folder = pinned / "wheels"
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        open_wheel("toy", pinned).close()
    finally:
        folder.chmod(stat.S_IRWXU)


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "No such file"), ("{", "at line 1")], ids=["missing", "cut off"]
)
def test_recorded_fingerprints_that_cannot_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, sentence: str
) -> None:
    monkeypatch.setattr(offline, "data_folder", lambda: tmp_path)
    (tmp_path / "offline").mkdir()
    if content is not None:
        (tmp_path / "offline" / "fingerprints.json").write_text(content)
    with pytest.raises(DataError, match=rf"fingerprints\.json cannot be read \(.*{sentence}"):
        offline.recorded_fingerprints()


def test_the_builder_reports_missing_packages_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLBERT_ZERO_HOME", str(tmp_path))
    assert offline.main([]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert "numpy 2.4.6 is not in" in said.err
