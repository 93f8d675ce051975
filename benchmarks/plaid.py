"""PLAID, as PyLate builds it, against exact search: by corpus size, on real vectors and on drawn ones.

Trained models are not needed: time does not depend on weights.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pylate.indexes import PLAID

from colbert_zero_lib.evaluation import token_vectors
from colbert_zero_lib.evaluation.encode import TokenBatch, encode_batches
from colbert_zero_lib.evaluation.maxsim import ExactMaxSim
from colbert_zero_lib.evaluation.plaid import BITS, FULL_SCORES, PROBES, SEED
from colbert_zero_lib.scaling_cost import SEARCH, fitted

from .search import evenly, open_limited
from .statistics import alternate, beside_prediction, ratio_of, seconds, spread
from .texts import Texts

PLAID_PEER = "PLAID through PyLate"
TIMED = 30  # queries that an index is asked at most
# Corpora of up to so many documents are fitted on; what larger ones take is predicted.
FITTED = 10_000


def open_plaid(folder: Path) -> PLAID:
    """PyLate's own index in a folder, with the settings that the suite's has, one worker a search."""
    return PLAID(
        index_folder=str(folder),
        index_name="index",
        nbits=BITS,
        n_ivf_probe=PROBES,
        n_full_scores=FULL_SCORES,
        seed=SEED,
        use_triton=False,
        num_threads=1,
        show_progress=False,
        device="cpu",
    )


def index_name(encoder: str, documents: int, queries: int) -> str:
    """The case's name."""
    return f"index or exact, {encoder}, {documents:,} documents x {queries} queries"


def index(encoder: str, texts: Texts, root: Path, documents: int, queries: int) -> list[dict[str, Any]]:
    """PLAID against exact MaxSim on vectors that are already encoded: building, and seconds a query.

    The ratio is the whole work of ``queries`` queries, index building included; the row also says after how many
    queries an index would have paid, null if its queries are slower than exact ones.

    PLAID answers one query after another: it is timed on a part of them, evenly spread, and counted for all.
    """
    model = open_limited(encoder, texts, root)
    collection = texts.collection(documents, queries)
    wanted, corpus = list(collection.queries.values()), list(collection.corpus.values())
    vectors, asked = token_vectors(model, corpus, False), token_vectors(model, wanted, True)
    batches = list(encode_batches(model, corpus, False)), list(encode_batches(model, wanted, True))
    named = {"case": index_name(encoder, len(corpus), len(wanted)), "encoder": encoder}
    return [named | _indexed([*vectors], [*asked], *batches)]


def _indexed(
    vectors: list[np.ndarray],
    asked: list[np.ndarray],
    batches: list[TokenBatch],
    questions: list[TokenBatch],
    rounds: int = 2,
) -> dict[str, Any]:
    """PLAID and exact MaxSim on the same vectors, as arrays and in batches: columns of a row."""
    depth = min(10, len(vectors))
    chosen = evenly(len(asked), TIMED)
    kept: dict[str, Any] = {}

    def exactly() -> None:
        kept["exact"] = _exactly(batches, questions, len(asked), depth)

    with tempfile.TemporaryDirectory(prefix="plaid-") as folder:
        built = open_plaid(Path(folder))
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
        **ratio_of(spent["exact"], [build + share * some for some in spent["index"]]),
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


def by_documents(sizes: Sequence[int], indexed: int, rounds: int) -> list[dict[str, Any]]:
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
                "fitted": size <= FITTED,
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
