"""The index that PyLate offers, built and searched for real."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pylate import models

from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.evaluation import LateInteractionRetriever, PlaidRetriever
from colbert_zero_lib.evaluation.subjects import Subject
from colbert_zero_lib.searching.documents import Document
from colbert_zero_lib.searching.index import SearchIndex

pytestmark = pytest.mark.pipeline


@pytest.fixture
def collection(toy_collection: Collection) -> Collection:
    words = sorted({word for text in toy_collection.corpus.values() for word in text.split()})
    rng = np.random.default_rng(0)
    corpus = {f"d{place}": " ".join(rng.choice(words, 12)) for place in range(160)}
    queries = {f"q{place}": " ".join(corpus[f"d{place}"].split()[:6]) for place in range(20)}
    return Collection("many", corpus, queries, {f"q{place}": {f"d{place}": 1} for place in range(20)})


def test_plaid_finds_mostly_what_exact_search_finds(tiny_colbert: models.ColBERT, collection: Collection):
    exact = LateInteractionRetriever(tiny_colbert).search(collection, k=10)
    index = PlaidRetriever(tiny_colbert).search(collection, k=10)
    shared = [
        len(set(a) & set(b)) / 10 for a, b in zip(exact.indices.tolist(), index.indices.tolist(), strict=True)
    ]
    assert np.mean(shared) > 0.7
    assert np.mean(exact.indices[:, 0] == index.indices[:, 0]) > 0.8
    assert (np.diff(index.scores, axis=1) <= 0).all()


def test_an_index_of_both_kinds_finds_what_was_added_and_not_what_was_deleted(
    tiny_colbert: models.ColBERT, collection: Collection, tmp_path: Path
) -> None:
    subject = Subject("tiny", "f" * 64, lambda: tiny_colbert)
    exact, plaid = (SearchIndex.create(tmp_path / kind, "t", subject, kind) for kind in ("exact", "plaid"))
    documents = [Document(*item) for item in collection.corpus.items()]
    for index in (exact, plaid):
        index.add(documents)
        index.add([Document("new", collection.queries["q0"]), Document("d1", "Honey.")])
        index.delete(["d0", "d2"])
    plaid = SearchIndex(plaid.folder, subject)  # its files were merged when they were opened first
    assert sorted(segment.kind for segment, _ in plaid.segments().values()) == ["exact", "plaid"]
    assert not list(plaid.folder.rglob("vectors.safetensors"))[1:] and not list(plaid.folder.rglob("*.pkl"))
    queries = list(collection.queries.values())
    shared = []
    for a, b in zip(exact.search(queries, 10), plaid.search(queries, 10), strict=True):
        names = {hit.document.id for hit in b}
        assert not names & {"d0", "d2"} and len(names) == len(b)
        shared.append(len({hit.document.id for hit in a} & names) / 10)
    assert np.mean(shared) > 0.7
    assert plaid.search([collection.queries["q0"]], 1)[0][0].document.id == "new"
    shutil.copytree(plaid.folder, tmp_path / "copy", copy_function=shutil.copyfile)  # with other times
    for _ in range(3):
        copy = SearchIndex(tmp_path / "copy", subject)
        assert copy.search(queries[:1], 1)[0][0].document.id == "new"
    plaid.delete([f"d{n}" for n in range(10, 110)])  # most of it: what is left is built anew
    assert len(plaid) == 59 and [segment.kind for segment, _ in plaid.segments().values()] == ["exact"] * 2
    assert SearchIndex(plaid.folder, subject).search(queries[:1], 100)[0][58].document.id in collection.corpus
