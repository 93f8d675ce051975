"""Encoding and searching a corpus: the suite's exact search against PyLate's reranking and against PLAID.

Trained models are not needed: time does not depend on weights, and nDCG@10 is compared only between exact searches.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
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
from colbert_zero_lib.evaluation.encode import TokenBatch, encode_batches
from colbert_zero_lib.evaluation.maxsim import ExactMaxSim

from .encoders import encoder_folder, open_encoder
from .statistics import Ratio, ratio_of, seconds
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
) -> list[dict[str, Any]]:
    """Encoding and exactly searching a corpus; rows for float32 against PyLate and for bfloat16 against float32.

    PyLate's search is timed on ``timed`` queries, evenly spread, and counted for all of them: it goes through the
    corpus once for each query. nDCG@10 is compared on the same queries.
    """
    model = _open(encoder, length, texts, root)
    collection = texts.collection(documents, queries)
    asked = list(collection.queries)
    chosen = [asked[place] for place in np.linspace(0, len(asked) - 1, min(timed, len(asked))).astype(int)]
    fewer = Collection(
        collection.name,
        collection.corpus,
        {query: collection.queries[query] for query in chosen},
        {query: collection.qrels[query] for query in chosen},
    )
    share = len(asked) / len(chosen)
    times: dict[str, list[float]] = {"ours": [], "half": [], "encode": [], "search": []}
    kept: dict[str, Any] = {}

    def encode() -> None:
        kept["documents"] = _encoded(model, list(collection.corpus.values()), False)
        kept["queries"] = _encoded(model, list(collection.queries.values()), True)

    def rerank() -> None:
        picked = [
            vectors for query, vectors in zip(asked, kept["queries"], strict=True) if query in fewer.queries
        ]
        kept["theirs"] = _reranked(collection, list(fewer.queries), picked, kept["documents"])

    def search(precision: str) -> None:
        kept[precision] = LateInteractionRetriever(model, precision).search(collection, DEPTH)

    for _ in range(rounds):
        times["ours"].append(seconds(lambda: search("float32")))
        times["encode"].append(seconds(encode))
        times["search"].append(seconds(rerank))
        times["half"].append(seconds(lambda: search("bfloat16")))
    theirs = [once + share * each for once, each in zip(times["encode"], times["search"], strict=True)]
    of_chosen = [asked.index(query) for query in fewer.queries]
    picked = Ranking(
        tuple(fewer.queries), kept["float32"].indices[of_chosen], kept["float32"].scores[of_chosen]
    )
    common = {
        "encoder": encoder,
        "documents": len(collection.corpus),
        "queries": len(asked),
        "document_length": length,
        "rounds": rounds,
    }
    case = exact_name(encoder, len(collection.corpus), len(asked))
    top = [
        len({*a[:10]} & {*b[:10]}) / min(10, len(a))
        for a, b in zip(kept["float32"].indices.tolist(), kept["bfloat16"].indices.tolist(), strict=True)
    ]
    return [
        {
            "case": case,
            "peer": RERANK,
            "quantity": "time to encode and search",
            **common,
            **ratio_of(times["ours"], theirs).fields(),
            "ours_seconds": float(np.median(times["ours"])),
            "peer_seconds": float(np.median(theirs)),
            "peer_encoding_seconds": float(np.median(times["encode"])),
            "peer_seconds_per_query": float(np.median(times["search"])) / len(fewer.queries),
            "peer_queries_timed": len(fewer.queries),
            "ndcg@10_difference": abs(_quality(picked, fewer) - _quality(kept["theirs"], fewer)),
        },
        {
            "case": f"{case}, bfloat16",
            "peer": FLOAT32,
            "quantity": "time to encode and search",
            **common,
            **ratio_of(times["half"], times["ours"]).fields(),
            "ours_seconds": float(np.median(times["half"])),
            "peer_seconds": float(np.median(times["ours"])),
            "top10_agreement": float(np.mean(top)),
            "ndcg@10_difference": abs(
                _quality(kept["bfloat16"], collection) - _quality(kept["float32"], collection)
            ),
        },
    ]


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
    """
    model = _open(encoder, length, texts, root)
    collection = texts.collection(documents, queries)
    wanted = list(collection.queries.values())
    corpus = list(collection.corpus.values())
    batches: list[TokenBatch] = list(encode_batches(model, corpus, False))
    questions: list[TokenBatch] = list(encode_batches(model, wanted, True))
    vectors, asked = token_vectors(model, corpus, False), token_vectors(model, wanted, True)
    kept: dict[str, Any] = {}

    def exactly() -> None:
        search = ExactMaxSim(iter(questions), len(wanted), min(10, len(corpus)))
        for batch in batches:
            search.add(batch)
        kept["exact"] = search.result()[0]

    options = PlaidRetriever(model)
    exact_seconds = [seconds(exactly) for _ in range(2)]
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
        names = [str(place) for place in range(len(corpus))]
        build = seconds(lambda: built.add_documents(names, [*vectors]))

        def look_up() -> None:
            kept["index"] = built(cast(Any, asked), k=min(10, len(corpus)))

        query_seconds = [seconds(look_up) for _ in range(2)]
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    found = [{int(result["id"]) for result in results} for results in kept["index"]]
    agreement = [len(a & {*b}) / len(b) for a, b in zip(found, kept["exact"].tolist(), strict=True)]
    slow, fast = (float(np.median(times)) / len(wanted) for times in (exact_seconds, query_seconds))
    ratio: Ratio = ratio_of(exact_seconds, [build + query for query in query_seconds])
    return {
        "case": index_name(encoder, len(corpus), len(wanted)),
        "peer": PLAID_PEER,
        "quantity": "time to build an index and search",
        "encoder": encoder,
        "documents": len(corpus),
        "queries": len(wanted),
        **ratio.fields(),
        "ours_seconds_per_query": slow,
        "peer_seconds_per_query": fast,
        "peer_build_seconds": build,
        "peer_index_mebibytes": size / (1 << 20),
        "ours_vectors_mebibytes": sum(array.nbytes for array in vectors) / (1 << 20),
        "pays_after_queries": build / (slow - fast) if slow > fast else None,
        "top10_agreement": float(np.mean(agreement)),
        "rounds": 2,
    }
