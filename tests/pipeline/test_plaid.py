"""The index that PyLate offers, built and searched for real."""

from __future__ import annotations

import numpy as np
import pytest
from pylate import models

from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.evaluation import LateInteractionRetriever, PlaidRetriever

pytestmark = pytest.mark.pipeline


def test_plaid_finds_mostly_what_exact_search_finds(tiny_colbert: models.ColBERT, toy_collection: Collection):
    words = sorted({word for text in toy_collection.corpus.values() for word in text.split()})
    rng = np.random.default_rng(0)
    corpus = {f"d{place}": " ".join(rng.choice(words, 12)) for place in range(120)}
    queries = {f"q{place}": " ".join(corpus[f"d{place}"].split()[:6]) for place in range(20)}
    collection = Collection("many", corpus, queries, {f"q{place}": {f"d{place}": 1} for place in range(20)})
    exact = LateInteractionRetriever(tiny_colbert).search(collection, k=10)
    index = PlaidRetriever(tiny_colbert).search(collection, k=10)
    shared = [
        len(set(a) & set(b)) / 10 for a, b in zip(exact.indices.tolist(), index.indices.tolist(), strict=True)
    ]
    assert np.mean(shared) > 0.7
    assert np.mean(exact.indices[:, 0] == index.indices[:, 0]) > 0.8
    assert (np.diff(index.scores, axis=1) <= 0).all()
