"""Encoding and searching a corpus: the suite's exact search against those of its peers, and against PLAID.

Trained models are not needed: time does not depend on weights, and nDCG@10 is compared only between exact searches.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pylate import rank
from pylate.indexes import PLAID
from pylate.models import ColBERT

from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.evaluation import (
    LateInteractionRetriever,
    PlaidRetriever,
    Ranking,
    score_ranking,
    token_vectors,
)
from colbert_zero_lib.evaluation.encode import PRECISIONS, TokenBatch, encode_batches
from colbert_zero_lib.evaluation.maxsim import ExactMaxSim
from colbert_zero_lib.scaling_cost import SEARCH, fitted

from .apart import MULTIVECTOR, Apart, save_for_others
from .encoders import encoder_folder, open_encoder
from .statistics import alternate, beside_prediction, ratio_of, seconds, spread
from .texts import Texts

RERANK = "PyLate, encode and rank.rerank"
PLAID_PEER = "PLAID through PyLate"
FLOAT32 = "ours, float32"
DEPTH = 100


def _open(encoder: str, length: int, texts: Texts, root: Path) -> ColBERT:
    return open_encoder(encoder_folder(encoder, texts.vocabulary(), root), length)


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
    documents: int = 10_000,
    queries: int = 300,
    timed: int = 30,
    length: int = 128,
    rounds: int = 2,
    apart: Apart | None = None,
) -> list[dict[str, Any]]:
    """Encoding and exactly searching a corpus, in float32 and in bfloat16: rows against each peer, and of one another.

    PyLate's search is timed on ``timed`` queries, evenly spread, and counted for all of them: it goes through the
    corpus once for each query. It encodes in float32, its own way. nDCG@10 is compared on the same queries.
    """
    model = _open(encoder, length, texts, root)
    collection = texts.collection(documents, queries)
    asked = list(collection.queries)
    chosen = [asked[place] for place in _spread(len(asked), timed)]
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

    def search(precision: str) -> None:
        kept[f"ours, {precision}"] = LateInteractionRetriever(model, precision).search(collection, DEPTH)

    def others(precision: str) -> float:
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
        sides[f"ours, {precision}"] = lambda _, precision=precision: seconds(lambda: search(precision))  # type: ignore[misc]
        if apart:
            sides[f"{MULTIVECTOR}, {precision}"] = lambda _, precision=precision: others(precision)  # type: ignore[misc]
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
            "document_length": length,
            "rounds": rounds,
            **ratio_of(spent[name], spent[other]).fields(),
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


def _spread(count: int, wanted: int) -> np.ndarray:
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


def index_name(encoder: str, documents: int, queries: int) -> str:
    """The case's name."""
    return f"index or exact, {encoder}, {documents:,} documents x {queries} queries"


def index(
    encoder: str, texts: Texts, root: Path, documents: int, queries: int = 300, length: int = 128
) -> dict[str, Any]:
    """PLAID against exact MaxSim on vectors that are already encoded: building, and seconds a query.

    The ratio is the whole work of ``queries`` queries, index building included; the row also says after how many
    queries an index would have paid, null if its queries are slower than exact ones.

    PLAID answers one query after another: it is timed on a part of them, evenly spread, and counted for all.
    """
    model = _open(encoder, length, texts, root)
    collection = texts.collection(documents, queries)
    wanted, corpus = list(collection.queries.values()), list(collection.corpus.values())
    vectors, asked = token_vectors(model, corpus, False), token_vectors(model, wanted, True)
    batches = list(encode_batches(model, corpus, False)), list(encode_batches(model, wanted, True))
    return {
        "case": index_name(encoder, len(corpus), len(wanted)),
        "encoder": encoder,
        **_indexed([*vectors], [*asked], *batches),
    }


def _indexed(
    vectors: list[np.ndarray],
    asked: list[np.ndarray],
    batches: list[TokenBatch],
    questions: list[TokenBatch],
    rounds: int = 2,
    timed: int = 30,
) -> dict[str, Any]:
    """PLAID and exact MaxSim on the same vectors, as arrays and in batches: columns of a row."""
    depth = min(10, len(vectors))
    chosen = _spread(len(asked), timed)
    kept: dict[str, Any] = {}

    def exactly() -> None:
        kept["exact"] = _exactly(batches, questions, len(asked), depth)

    options = PlaidRetriever(cast(Any, None))
    with tempfile.TemporaryDirectory(prefix="plaid-") as folder:
        built = PLAID(
            index_folder=folder,
            index_name="index",
            nbits=options.bits,
            n_ivf_probe=options.probes,
            n_full_scores=options.full_scores,
            seed=options.seed,
            use_triton=False,
            num_threads=options.threads,
            show_progress=False,
            device="cpu",
        )
        names = [str(place) for place in range(len(vectors))]
        build = seconds(lambda: built.add_documents(names, [*vectors]))

        def look_up() -> None:
            kept["index"] = built(cast(Any, [asked[place] for place in chosen]), k=depth)

        sides = {"exact": lambda _: seconds(exactly), "index": lambda _: seconds(look_up)}
        spent = alternate(sides, range(rounds), budget=math.inf, warmup=0)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    found = [{int(result["id"]) for result in results} for results in kept["index"]]
    agreement = [len(a & {*b}) / len(b) for a, b in zip(found, kept["exact"][chosen].tolist(), strict=True)]
    slow, fast = float(np.median(spent["exact"])) / len(asked), float(np.median(spent["index"])) / len(chosen)
    share = len(asked) / len(chosen)
    return {
        "peer": PLAID_PEER,
        "quantity": "time to build an index and search",
        "documents": len(vectors),
        "queries": len(asked),
        **ratio_of(spent["exact"], [build + share * some for some in spent["index"]]).fields(),
        "ours_seconds_per_query": slow,
        "peer_seconds_per_query": fast,
        "peer_queries_timed": len(chosen),
        "peer_build_seconds": build,
        "peer_index_mebibytes": size / (1 << 20),
        "ours_vectors_mebibytes": sum(array.nbytes for array in vectors) / (1 << 20),
        "pays_after_queries": build / (slow - fast) if slow > fast else None,
        "top10_agreement": float(np.mean(agreement)),
        "rounds": rounds,
    }


def _exactly(
    batches: Iterable[TokenBatch], questions: list[TokenBatch], queries: int, depth: int
) -> np.ndarray:
    search = ExactMaxSim(iter(questions), queries, depth)
    for batch in batches:
        search.add(batch)
    return search.result()[0]


# Drawn vectors, where real text does not reach: tokens of a document and of a query, their dimension, queries.
TOKENS, QUERY_TOKENS, DIMENSION, QUERIES = 16, 8, 128, 16
# No more documents are drawn than this: a larger corpus, a multiple, is these over and over, which takes no less time.
DRAWN = 10_000


def _drawn(documents: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors float32 of documents around 1,024 centres, and of queries near tokens of some of them."""
    generator = np.random.default_rng(documents)
    centres = generator.normal(size=(1024, DIMENSION))[generator.integers(0, 1024, (documents, TOKENS))]
    vectors = centres + generator.normal(scale=0.7, size=centres.shape)
    chosen = vectors[generator.integers(0, documents, QUERIES), :QUERY_TOKENS]
    asked = chosen + generator.normal(scale=0.7, size=chosen.shape)
    unit = [each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (vectors, asked)]
    return unit[0].astype(np.float32), unit[1].astype(np.float32)


def _batch(vectors: np.ndarray, first: int = 0) -> TokenBatch:
    counts = torch.full((len(vectors),), vectors.shape[1])
    return TokenBatch(torch.arange(first, first + len(vectors)), counts, torch.from_numpy(vectors))


def exact_case(documents: int) -> str:
    """The case's name along the axis of documents."""
    return f"exact search, {documents:,} documents, drawn"


def by_documents(
    sizes: Sequence[int], indexed: int, fitted_up_to: int = 10_000, rounds: int = 3
) -> list[dict[str, Any]]:
    """Milliseconds of an exact query by corpus size, by turns, beside what small corpora predict; an index beside it.

    Vectors are drawn. Corpora of up to ``indexed`` documents get a row of PLAID too.
    """
    drawn = max(DRAWN, indexed)  # an index needs documents that differ
    corpora = {size: _drawn(min(size, drawn)) for size in sizes}
    spent: dict[int, list[float]] = {size: [] for size in sizes}
    rows = []
    for size, (vectors, asked) in list(corpora.items()) * rounds:
        batches = [_batch(vectors, first) for first in range(0, size, len(vectors))]
        spent[size].append(seconds(partial(_exactly, batches, [_batch(asked)], QUERIES, 10)) / QUERIES)
    words = f"drawn vectors, {TOKENS} tokens a document"
    for size in sizes:
        tokens = float(size * TOKENS)
        rows.append(
            {
                "case": exact_case(size),
                "quantity": SEARCH,
                "axis": "documents",
                "documents": size,
                "queries": QUERIES,
                "texts": words + (f", {drawn:,} of them over and over" if size > drawn else ""),
                "fitted": size <= fitted_up_to,
                "amounts": {"fixed": 1.0, "tokens": tokens},
                "ours_vectors_mebibytes": tokens * DIMENSION * 4 / (1 << 20),
                **spread(spent[size], "seconds"),
            }
        )
    costs = fitted(rows, SEARCH)
    rows = [beside_prediction(row, costs) for row in rows]
    for size in (size for size in sizes if size <= indexed):
        vectors, asked = corpora[size]
        row = _indexed([*vectors], [*asked], [_batch(vectors)], [_batch(asked)], rounds)
        rows.append({"case": f"index, {size:,} documents", "axis": "index", "texts": words, **row})
    return rows
