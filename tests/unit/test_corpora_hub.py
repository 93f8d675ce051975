"""The hub's schemas mapped to the suite's columns, on local copies laid out as on the hub."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset

from colbert_zero_lib.corpora import hub
from colbert_zero_lib.errors import DataError, ParameterError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def parquet(rows: list[dict], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows).to_parquet(str(path))


@pytest.fixture
def nomic(tmp_path: Path) -> str:
    folder = tmp_path / "nomic"
    for split in ("squad", "altlex"):
        rows = [
            {"query": f"{split} {n}", "document": f"text {n}", "dataset": split, "shard": 0} for n in range(5)
        ]
        parquet(rows, folder / "data" / f"{split}-00000-of-00001.parquet")
    return str(folder)


def test_an_unsupervised_source_keeps_query_and_document(nomic: str) -> None:
    found = hub.unsupervised_pairs("altlex", path=nomic)
    assert found.column_names == ["query", "document"]
    assert found["query"][:] == [f"altlex {n}" for n in range(5)]


def test_the_first_rows_are_streamed(nomic: str) -> None:
    found = hub.unsupervised_pairs("squad", rows=2, path=nomic)
    assert found.to_dict() == {"query": ["squad 0", "squad 1"], "document": ["text 0", "text 1"]}


def test_an_unknown_source_is_named(nomic: str) -> None:
    with pytest.raises(DataError, match="Split 'paq' of .*nomic cannot be loaded"):
        hub.unsupervised_pairs("paq", path=nomic)


def test_supervised_rows_are_cut_to_exactly_the_negatives_asked_for(tmp_path: Path) -> None:
    rows = [
        {"query": f"q{n}", "document": "d", "negative": [f"n{k}" for k in range(n)], "dataset": "x"}
        for n in range(1, 5)
    ]
    parquet(rows, tmp_path / "s" / "data" / "reddit_triples-00000-of-00001.parquet")
    found = hub.supervised_triples("reddit_triples", negatives=3, path=str(tmp_path / "s"))
    assert found.to_dict() == {
        "query": ["q3", "q4"],
        "document": ["d", "d"],
        "negatives": [["n0", "n1", "n2"]] * 2,
    }
    assert len(hub.supervised_triples("reddit_triples", path=str(tmp_path / "s"))) == 4


def scored(folder: Path, train: list[dict]) -> str:
    for name, rows in (
        ("train", train),
        ("queries", [{"query_id": 7, "text": "seven"}, {"query_id": 8, "text": "eight"}]),
        ("documents", [{"document_id": n, "text": f"text {n}"} for n in range(10)]),
    ):
        parquet(rows, folder / name / "train-00000-of-00001.parquet")
    configs = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}/train-*\n"
        for name in ("train", "queries", "documents")
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    return str(folder)


@pytest.mark.parametrize("printed", [False, True], ids=["lists", "printed lists"])
def test_scored_lists_are_joined_with_their_texts(tmp_path: Path, printed: bool) -> None:
    train = [
        {"query_id": 8, "document_ids": [3, 1, 2], "scores": [0.9, 0.5, 0.1]},
        {"query_id": 7, "document_ids": [9, 3, 0], "scores": [0.8, 0.7, 0.6]},
    ]
    if printed:
        train = [{k: v if k == "query_id" else str(v) for k, v in row.items()} for row in train]
    found = hub.scored_lists(documents=2, path=scored(tmp_path / "kd", train))
    assert found[0] == {"query": "eight", "documents": ["text 3", "text 1"], "scores": [0.9, 0.5]}
    assert found[:]["documents"] == [["text 3", "text 1"], ["text 9", "text 3"]]
    assert found[1]["query"] == "seven"
    assert len(hub.scored_lists(rows=1, path=str(tmp_path / "kd"))) == 1


def test_pylates_own_join_gives_the_same_rows(tmp_path: Path) -> None:
    from datasets import load_dataset
    from pylate.utils import KDProcessing

    train = [{"query_id": 8, "document_ids": [3, 1, 2], "scores": [0.9, 0.5, 0.1]}]
    folder = scored(tmp_path / "kd", train)
    parts = {name: load_dataset(folder, name, split="train") for name in ("train", "queries", "documents")}
    theirs = parts["train"].with_transform(
        KDProcessing(queries=parts["queries"], documents=parts["documents"], n_ways=2).transform
    )[0]
    ours = hub.scored_lists(documents=2, path=folder)[0]
    assert {key: theirs[key] for key in ours} == ours


def test_an_id_without_text_is_named(tmp_path: Path) -> None:
    train = [{"query_id": 8, "document_ids": [3, 99], "scores": [0.9, 0.5]}]
    with pytest.raises(DataError, match="document_id 99 of the subset train has no text"):
        hub.scored_lists(path=scored(tmp_path / "kd", train))


def test_lists_of_unequal_length_are_named(tmp_path: Path) -> None:
    train = [{"query_id": 8, "document_ids": [3, 4], "scores": [0.9]}]
    with pytest.raises(DataError, match="row 0 has 2 documents and 1 scores"):
        hub.scored_lists(path=scored(tmp_path / "kd", train))


def test_a_foreign_schema_is_named(tmp_path: Path) -> None:
    parquet([{"question": "a", "answer": "b"}], tmp_path / "o" / "data" / "squad-00000-of-00001.parquet")
    with pytest.raises(DataError, match="has no column 'query' but question, answer"):
        hub.unsupervised_pairs("squad", path=str(tmp_path / "o"))


def test_the_papers_sources_are_all_there() -> None:
    assert (len(set(hub.UNSUPERVISED_SPLITS)), len(set(hub.SUPERVISED_SPLITS))) == (29, 10)


def test_rows_must_be_positive(nomic: str) -> None:
    with pytest.raises(ParameterError, match="rows must be at least 1"):
        hub.unsupervised_pairs("squad", rows=0, path=nomic)
