"""A reader's own folder: the formats and shapes that people have, what is said about odd rows, and what is refused."""

from __future__ import annotations

import gzip
import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colbert_zero_lib.corpora import write_collection
from colbert_zero_lib.corpora.collections import Collection
from colbert_zero_lib.corpora.folder import FolderSource
from colbert_zero_lib.corpora.forecast import forecast
from colbert_zero_lib.corpora.sources import open_source, sampling
from colbert_zero_lib.errors import DataError, ParameterError, ProfileError
from colbert_zero_lib.profiles import get_profile

PAIRS = [{"query": f"question {n}", "document": f"passage {n}"} for n in range(4)]
TEXTS = {"query": ["question 0", "question 1"], "positive": ["passage 0", "passage 1"]}


def negatives(row: int, count: int) -> list[str]:
    return [f"negative {n} of {row}" for n in range(count)]


def passages(*texts: str) -> list[dict]:
    return [{"docid": str(n), "title": "", "text": text} for n, text in enumerate(texts)]


def lines(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def source(folder: Path, home: Path | None = None) -> FolderSource:
    smoke = get_profile("smoke")
    few = replace(smoke, budgets={key: replace(each, batch_size=2) for key, each in smoke.budgets.items()})
    found = open_source(few.on(f"folder:{folder}"), home or folder.parent / "home")
    assert isinstance(found, FolderSource)
    return found


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


@pytest.fixture
def quiet() -> Iterator[None]:
    """No warning is given."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def written(folder: Path, form: str) -> None:
    header, *rest = ("query", "document"), *((row["query"], row["document"]) for row in PAIRS)
    comma = "\n".join(f'"{query}",{document}' for query, document in [header, *rest]) + "\n"
    tab = "\r\n".join("\t".join(row) for row in [header, *rest])
    objects = "\n\n".join(json.dumps(row | {"id": 3}) for row in PAIRS)
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(PAIRS), folder / "pairs.parquet")
        return
    text = {"jsonl": objects, "csv": comma, "tsv": tab}[form.split(".")[0]]
    data = text.encode("utf-8-sig" if form.endswith("bom") else "utf-8")
    name = f"pairs.{form.removesuffix('.bom')}"
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


@pytest.mark.parametrize(
    "form",
    ["jsonl", "jsonl.gz", "jsonl.bom", "csv", "csv.gz", "csv.bom", "tsv", "tsv.gz", "parquet"],
)
def test_pairs_are_read_from_every_format(own: Path, quiet: None, form: str) -> None:
    written(own, form)
    (split,) = source(own).pairs().values()
    assert split.to_list() == PAIRS


@pytest.mark.parametrize("keys", [("query", "document"), ("anchor", "positive"), ("query", "positive")])
def test_pairs_go_by_the_names_that_people_give_them(own: Path, keys: tuple[str, str]) -> None:
    lines(own / "pairs.jsonl", [dict(zip(keys, row.values(), strict=True)) for row in PAIRS])
    assert source(own).pairs()["pairs"].to_list() == PAIRS


def test_a_file_a_data_set(own: Path) -> None:
    lines(own / "pairs" / "faq.jsonl", PAIRS)
    lines(own / "pairs_mail.jsonl", PAIRS[:2])
    lines(own / "pairs_small.jsonl", PAIRS[:1])
    with pytest.warns(
        UserWarning, match=r"1 of 3 data sets .* a batch of 2 .* never drawn: pairs_small \(1\)"
    ):
        found = source(own).pairs()
    assert {name: len(split) for name, split in found.items()} == {
        "faq": 4,
        "pairs_mail": 2,
        "pairs_small": 1,
    }
    lines(own / "pairs" / "pairs_mail.jsonl", PAIRS)
    with pytest.raises(DataError, match="are both the data set pairs_mail: rename one"):
        source(own).pairs()


SHAPES = {
    "Nomic": [
        {"query": f"question {n}", "document": f"passage {n}", "negative": negatives(n, 2), "dataset": "x"}
        for n in range(2)
    ],
    "lists": [
        {"query": f"question {n}", "positive": f"passage {n}", "negatives": negatives(n, 2)} for n in range(2)
    ],
    "columns": [
        {
            "query": f"question {n}",
            "positive": f"passage {n}",
            "negative_1": f"negative 0 of {n}",
            "negative_10": f"negative 1 of {n}",
        }
        for n in range(2)
    ],
    "Tevatron": [
        {
            "query_id": str(n),
            "query": f"question {n}",
            "positive_passages": passages(f"passage {n}"),
            "negative_passages": passages(*negatives(n, 2)),
        }
        for n in range(2)
    ],
}


def test_a_folder_has_no_more_negatives_to_draw_from(own: Path) -> None:
    with pytest.raises(DataError, match=r"leave the switch \+sampled out"):
        sampling(source(own), 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_triples_are_read_in_every_shape(own: Path, quiet: None, shape: str) -> None:
    lines(own / "triples.jsonl", SHAPES[shape])
    found = source(own).triples(10)["triples"]
    wanted = {f"negative_{n}": [f"negative {n} of {row}" for row in range(2)] for n in range(2)}
    assert found.to_dict() == TEXTS | wanted


@pytest.mark.parametrize("form", ["jsonl", "csv", "tsv"])
def test_a_single_negative_may_be_a_text(own: Path, form: str) -> None:
    rows = [
        ("anchor", "positive", "negative"),
        *((f"question {n}", f"passage {n}", "other") for n in range(2)),
    ]
    if form == "jsonl":
        lines(own / "triples.jsonl", [dict(zip(rows[0], row, strict=True)) for row in rows[1:]])
    else:
        separator = {"csv": ",", "tsv": "\t"}[form]
        (own / f"triples.{form}").write_text("\n".join(separator.join(row) for row in rows))
    assert source(own).triples(3)["triples"].to_dict() == TEXTS | {"negative_0": ["other"] * 2}


def test_several_positive_passages_are_rows_and_titles_are_kept(own: Path) -> None:
    row = {"query": "q", "positive_passages": passages("a", "b"), "negative_passages": passages("c")}
    row["negative_passages"][0]["title"] = "Title"
    lines(own / "triples.jsonl", [row])
    found = source(own).triples(10)["triples"]
    assert found.to_dict() == {"query": ["q", "q"], "positive": ["a", "b"], "negative_0": ["Title c"] * 2}


def test_the_shortest_row_decides_and_what_more_would_cost_is_said(own: Path) -> None:
    rows = [
        {"query": f"q{n}", "document": f"d{n}", "negatives": negatives(n, count)}
        for n, count in enumerate([2, 7, 7, 2, 7, 9, 12])
    ]
    lines(own / "triples.jsonl", rows)
    with pytest.warns(
        UserWarning,
        match=r"so 2 are used, .* none of its 7 rows is lost; 7 would lose 2, 9 would lose 5, 10 would",
    ):
        found = source(own).triples(10)["triples"]
    assert found.column_names == ["query", "positive", "negative_0", "negative_1"] and len(found) == 7
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert source(own).triples(2)["triples"].column_names == found.column_names
    with pytest.raises(ParameterError, match="between 1 and 11, not 12"):
        source(own).triples(12)


def test_scored_lists_are_cut_and_short_ones_counted(own: Path) -> None:
    rows = [
        {
            "query": f"q{n}",
            "documents": [f"d{m}" for m in range(count)],
            "scores": [3 - m for m in range(count)],
        }
        for n, count in enumerate([2, 4, 2, 4, 3])
    ]
    lines(own / "scored.jsonl", rows)
    with pytest.warns(UserWarning, match="2 of 5 lists have fewer than 3 documents and are left out"):
        found = source(own).scored(3, 2.0, 10, seed=0)
    assert found[:] == {
        "query": ["q1", "q3", "q4"],
        "documents": [["d0", "d1", "d2"]] * 3,
        "scores": [[6.0, 4.0, 2.0]] * 3,
    }
    assert len(source(own).scored(2, 1.0, 4, seed=0)) == 4
    with pytest.raises(DataError, match="no list has 5 documents, the longest has 4"):
        source(own).scored(5, 1.0, 4, seed=0)


def test_a_table_may_hold_lists_as_json(own: Path) -> None:
    (own / "scored.tsv").write_text(
        'query\tdocuments\tscores\nq\t["a ""b""", "c"]\t[1, 2]\n'.replace('""', '\\"')
    )
    assert source(own).scored(2, 1.0, 1, 0)[0] == {
        "query": "q",
        "documents": ['a "b"', "c"],
        "scores": [1, 2],
    }


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        (
            "pairs.jsonl",
            '{"question": "a", "answer": "b"}',
            "pairs.jsonl:1 .* the keys question, answer: a row is",
        ),
        ("pairs.jsonl", "[1]", "pairs.jsonl:1 is not a JSON object"),
        ("pairs.jsonl", "{", "pairs.jsonl:1 is not JSON"),
        ("pairs.csv", "a,b\nc,d\n", "pairs.csv:1 must name the columns"),
        ("pairs.csv", "query,document\na\n", "pairs.csv:2 has not as many cells"),
        ("pairs.tsv", "query\tdocument\na\tb\tc\n", "pairs.tsv:2 has not as many cells"),
        ("pairs.parquet", "no", "pairs.parquet is not a Parquet file"),
        ("pairs.jsonl.gz", "no", "pairs.jsonl.gz cannot be read: Not a gzipped file"),
        ("pairs.xlsx", "no", "pairs.xlsx is none of .jsonl"),
        ("triples.jsonl", "", "The unsupervised phase needs .*pairs.jsonl"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(own: Path, name: str, text: str, sentence: str) -> None:
    (own / name).write_text(text)
    with pytest.raises(DataError, match=sentence) as caught:
        source(own).pairs()
    assert "\n" not in str(caught.value)


def test_a_bad_row_leaves_nothing_behind_that_would_be_used(own: Path) -> None:
    lines(own / "pairs.jsonl", [*PAIRS, {"query": "q"}])
    for _ in range(2):
        with pytest.raises(DataError, match="pairs.jsonl:5 has no text under the key 'document'"):
            source(own).pairs()
    lines(own / "pairs.jsonl", PAIRS)
    assert len(source(own).pairs()["pairs"]) == 4


def collection(folder: Path, name: str) -> None:
    write_collection(
        Collection(name, {"d": "text", "e": "more"}, {"q": "what"}, {"q": {"d": 1}}), folder / name
    )


def test_collections_are_folders_and_development_falls_back_to_them(own: Path) -> None:
    with pytest.raises(DataError, match="own/collections has no collections"):
        _ = source(own).collections
    collection(own / "collections", "faq")
    with pytest.warns(UserWarning, match="no folder development"):
        assert list(source(own).development) == ["faq"]
    collection(own / "development", "mail")
    assert (list(source(own).collections), list(source(own).development)) == (["faq"], ["mail"])


def test_the_fingerprint_is_the_bytes_and_names_of_what_is_read(own: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no files for a run"):
        _ = source(own).fingerprint
    lines(own / "pairs.jsonl", PAIRS)
    collection(own / "collections", "faq")
    once = source(own).fingerprint
    (own / "notes.txt").write_text("not read")
    copy = Path(shutil.copytree(own, tmp_path / "elsewhere" / "copy"))
    assert source(own).fingerprint == source(copy).fingerprint == once
    (copy / "collections" / "faq" / "corpus.jsonl").write_text('{"_id": "d", "text": "x"}\n')
    assert source(copy).fingerprint != once


def test_every_document_is_a_text_for_the_small_encoder(own: Path) -> None:
    lines(own / "pairs.jsonl", PAIRS[:2])
    lines(own / "triples.jsonl", [{"query": "q", "document": "passage 0", "negatives": ["n"]}])
    lines(own / "scored.jsonl", [{"query": "q", "documents": ["s", "n"], "scores": [1, 0]}])
    assert source(own).texts() == ["n", "passage 0", "passage 1", "s"]


def test_a_folder_is_forecast_and_wrong_sources_are_named(own: Path, tmp_path: Path) -> None:
    lines(own / "pairs.jsonl", PAIRS * 5)
    found = forecast(get_profile("smoke").on(f"folder:{own}"), tmp_path / "home")
    assert [(phase.total, phase.batches, phase.download) for phase in found] == [
        (20, 2, 0),
        (0, 0, 0),
        (0, 0, 0),
    ]
    with pytest.raises(DataError, match="nowhere is not a folder"):
        source(tmp_path / "nowhere")
    for wrong in ("folder", "folder:", "web"):
        with pytest.raises(ProfileError, match="it is offline, hub or folder:PATH"):
            open_source(get_profile("smoke").on(wrong), tmp_path)
