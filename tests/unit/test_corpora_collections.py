"""Collections in memory and on disk, and subsets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbert_zero_lib.corpora import Collection, read_collection, write_collection
from colbert_zero_lib.errors import DataError, ParameterError


def many(documents: int = 40, queries: int = 10) -> Collection:
    return Collection(
        "many",
        {f"d{n}": f"text {n}" for n in range(documents)},
        {f"q{n}": f"query {n}" for n in range(queries)},
        {f"q{n}": {f"d{n}": 1, f"d{n + 20}": 2} for n in range(queries)},
    )


def test_a_collection_survives_the_disk(tmp_path: Path) -> None:
    original = Collection(
        "birds", {"1": "Ein Häher.\nLaut", "2": 'quote "q"'}, {"a": "häher"}, {"a": {"1": 2, "2": 0}}
    )
    assert read_collection(write_collection(original, tmp_path / "birds")) == original


def test_title_and_text_are_joined_and_the_header_is_optional(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": "1", "title": "Heron", "text": "A bird."}\n\n{"_id": 2, "text": "No title."}\n'
    )
    (tmp_path / "queries.jsonl").write_text(
        '{"_id": "a", "text": "bird"}\n{"_id": "b", "text": "unjudged"}\n'
    )
    (tmp_path / "qrels" / "test.tsv").write_text("a\t1\t1\n")
    found = read_collection(tmp_path)
    assert found == Collection(
        tmp_path.name, {"1": "Heron A bird.", "2": "No title."}, {"a": "bird"}, {"a": {"1": 1}}
    )


@given(st.integers(1, 12), st.integers(1, 50), st.integers(0, 3))
def test_a_subset_keeps_every_judged_document(queries: int, documents: int, seed: int) -> None:
    whole = many()
    part = whole.subset(queries, documents, seed)
    assert len(part.queries) == min(queries, 10)
    assert len(part.corpus) == min(40, max(documents, 2 * len(part.queries)))
    assert all(part.qrels[query] == whole.qrels[query] for query in part.queries)
    assert [key for key in whole.corpus if key in part.corpus] == list(part.corpus)


def test_subsets_are_repeatable_nested_and_differ_by_seed() -> None:
    whole = many()
    assert whole.subset(4, 20) == whole.subset(4, 20)
    assert set(whole.subset(4, 20).queries) <= set(whole.subset(6, 20).queries)
    assert set(whole.subset(4, 20, seed=1).queries) != set(whole.subset(4, 20).queries)


def test_a_subset_of_nothing_is_refused() -> None:
    with pytest.raises(ParameterError, match="at least one query"):
        many().subset(0, 10)


@pytest.mark.parametrize(
    ("corpus", "queries", "qrels", "sentence"),
    [
        ({}, {"q": "x"}, {"q": {"d": 1}}, "has no corpus"),
        ({"d": "x"}, {"q": "x"}, {"q": {"d": 1}, "p": {"d": 1}}, "query 'p', which does not exist"),
        ({"d": "x"}, {"q": "x", "p": "y"}, {"q": {"d": 1}}, "query 'p' has no relevant document"),
        ({"d": "x"}, {"q": "x"}, {"q": {"d": 0}}, "query 'q' has no relevant document"),
    ],
)
def test_inconsistent_collections_are_refused(
    corpus: dict, queries: dict, qrels: dict, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        Collection("bad", corpus, queries, qrels)
