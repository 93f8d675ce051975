"""Encoding and searching a corpus: the suite's exact search against those of its peers.

Trained models are not needed: time does not depend on weights, and nDCG@10 is compared only between exact searches.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from pylate import rank
from pylate.models import ColBERT

from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.evaluation import (
    LateInteractionRetriever,
    Ranking,
    score_ranking,
)
from colbert_zero_lib.evaluation.encode import PRECISIONS

from .apart import MULTIVECTOR, Apart, save_for_others
from .encoders import encoder_folder, open_encoder
from .statistics import alternate, ratio_of, seconds
from .texts import Texts

RERANK = "PyLate, encode and rank.rerank"
FLOAT32 = "ours, float32"
DEPTH = 100
LENGTH = 128  # tokens at which documents are cut


def open_limited(encoder: str, texts: Texts, root: Path) -> ColBERT:
    """The encoder of that shape, documents cut at `LENGTH`."""
    return open_encoder(encoder_folder(encoder, texts.vocabulary(), root), LENGTH)


def _encoded(model: ColBERT, texts: list[str], is_query: bool) -> list[np.ndarray]:
    """PyLate's own encoding, as its documentation shows it."""
    prompt = model.prompts["query" if is_query else "document"]
    found = model.encode(texts, batch_size=32, is_query=is_query, prompt=prompt, show_progress_bar=False)
    return cast(list[np.ndarray], found)


def _reranked(
    collection: Collection, asked: list[str], queries: list[np.ndarray], documents: list
) -> Ranking:
    """Every document reranked for each query that is asked, by PyLate."""
    names = {key: place for place, key in enumerate(collection.corpus)}
    indices, scores = [], []
    for vectors in queries:
        (found,) = rank.rerank([list(names)], [vectors], [documents])
        indices.append([names[str(result["id"])] for result in found[:DEPTH]])
        scores.append([result["score"] for result in found[:DEPTH]])
    return Ranking(tuple(asked), np.asarray(indices, np.int32), np.asarray(scores, np.float32))


def _quality(ranking: Ranking, collection: Collection) -> float:
    return float(np.mean(score_ranking(ranking, collection)["ndcg@10"]))


def exact(
    encoder: str,
    texts: Texts,
    root: Path,
    documents: int,
    queries: int,
    timed: int,
    rounds: int,
    apart: Apart | None,
) -> list[dict[str, Any]]:
    """Encoding and exactly searching a corpus, in float32 and in bfloat16: rows against each peer, and of one another.

    PyLate's search is timed on ``timed`` queries, evenly spread, and counted for all of them: it goes through the
    corpus once for each query. It encodes in float32, its own way. nDCG@10 is compared on the same queries.
    """
    model = open_limited(encoder, texts, root)
    collection = texts.collection(documents, queries)
    asked = list(collection.queries)
    chosen = [asked[place] for place in evenly(len(asked), timed)]
    fewer = Collection(
        collection.name,
        collection.corpus,
        {query: collection.queries[query] for query in chosen},
        {query: collection.qrels[query] for query in chosen},
    )
    share = len(asked) / len(chosen)
    kept: dict[str, Any] = {}
    encoding, each_query = [], []

    def encode() -> None:
        kept["documents"] = _encoded(model, list(collection.corpus.values()), False)
        kept["queries"] = _encoded(model, list(collection.queries.values()), True)

    def rerank() -> None:
        picked = [
            vectors for query, vectors in zip(asked, kept["queries"], strict=True) if query in fewer.queries
        ]
        kept[RERANK] = _reranked(collection, list(fewer.queries), picked, kept["documents"])

    def theirs(_: Any) -> float:
        encoding.append(seconds(encode))
        spent = seconds(rerank)
        each_query.append(spent / len(chosen))
        return encoding[-1] + share * spent

    def ours(precision: str, _: Any) -> float:
        def search() -> None:
            kept[f"ours, {precision}"] = LateInteractionRetriever(model, precision).search(collection, DEPTH)

        return seconds(search)

    def others(precision: str, _: Any) -> float:
        found = apart.ask(  # type: ignore[union-attr]
            "search",
            folder=str(saved),
            corpus=list(collection.corpus.values()),
            queries=list(collection.queries.values()),
            k=DEPTH,
            precision=precision,
        )
        arrays = np.asarray(found["indices"], np.int32), np.asarray(found["scores"], np.float32)
        kept[f"{MULTIVECTOR}, {precision}"] = Ranking(tuple(asked), *arrays)
        return float(found["seconds"])

    sides: dict[str, Callable[[Any], float]] = {RERANK: theirs}
    for precision in PRECISIONS:
        sides[f"ours, {precision}"] = partial(ours, precision)
        if apart:
            sides[f"{MULTIVECTOR}, {precision}"] = partial(others, precision)
    with tempfile.TemporaryDirectory() as place:
        saved = save_for_others(model, Path(place)) if apart else None
        spent = alternate(sides, range(rounds), budget=math.inf, warmup=0)
    rows = []
    for precision, peer in itertools.product(PRECISIONS, (RERANK, MULTIVECTOR, FLOAT32)):
        name, other = f"ours, {precision}", f"{peer}, {precision}" if peer == MULTIVECTOR else peer
        if other == name or other not in spent:
            continue
        compared = fewer if peer == RERANK else collection
        ranking, theirs_of = _of(kept[name], compared), kept[other]
        case = exact_name(encoder, len(collection.corpus), len(asked))
        row = {
            "case": case if precision == "float32" else f"{case}, {precision}",
            "peer": peer,
            "quantity": "time to encode and search",
            "encoder": encoder,
            "documents": len(collection.corpus),
            "queries": len(asked),
            "document_length": LENGTH,
            "rounds": rounds,
            **ratio_of(spent[name], spent[other]),
            "ours_seconds": float(np.median(spent[name])),
            "peer_seconds": float(np.median(spent[other])),
            "top10_agreement": _agreement(ranking, theirs_of),
            "ndcg@10_difference": abs(_quality(ranking, compared) - _quality(theirs_of, compared)),
        }
        if peer == RERANK:
            row |= {
                "peer_encoding_seconds": float(np.median(encoding)),
                "peer_seconds_per_query": float(np.median(each_query)),
                "peer_queries_timed": len(chosen),
            }
        rows.append(row)
    return rows


def evenly(count: int, wanted: int) -> np.ndarray:
    """At most ``wanted`` places among ``count``, evenly spread."""
    return np.linspace(0, count - 1, min(wanted, count)).astype(int)


def _of(ranking: Ranking, collection: Collection) -> Ranking:
    """The part of a ranking that answers the queries of ``collection``."""
    places = [place for place, query in enumerate(ranking.query_ids) if query in collection.queries]
    return Ranking(tuple(collection.queries), ranking.indices[places], ranking.scores[places])


def _agreement(ranking: Ranking, other: Ranking) -> float:
    """The share of a query's ten best documents that are among the other's, mean over queries."""
    pairs = zip(ranking.indices.tolist(), other.indices.tolist(), strict=True)
    return float(np.mean([len({*a[:10]} & {*b[:10]}) / len(a[:10]) for a, b in pairs]))


def exact_name(encoder: str, documents: int, queries: int) -> str:
    """The case's name."""
    return f"exact search, {encoder}, {documents:,} documents x {queries} queries"
