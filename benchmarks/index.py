"""An index of short documents through its life: built, asked, added to, deleted from; beside PyLate's PLAID and BM25.

Passages are windows of the texts' words; weights do not matter to time. Quality here is recall against exact search.
"""

from __future__ import annotations

import gc
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from colbert_zero_lib.evaluation import token_vectors
from colbert_zero_lib.evaluation.subjects import Subject
from colbert_zero_lib.searching.documents import Document
from colbert_zero_lib.searching.index import SearchIndex
from colbert_zero_lib.training.devices import release_freed_memory

from .encoders import encoder_folder, open_encoder
from .plaid import PLAID_PEER, open_plaid
from .statistics import alternate, ratio_of, seconds
from .steps import forget_peak, peak, resident
from .texts import Texts

WORDS, DEPTH, CALLS, ROUNDS = 12, 10, 10, 3
BM25_PEER = "BM25 (bm25s)"


class _Ours:
    def __init__(self, model: Any, folder: Path, kind: str) -> None:
        self.index = SearchIndex.create(folder, kind, Subject(kind, kind, lambda: model), kind)

    def add(self, documents: Sequence[Document]) -> None:
        self.index.add(documents)

    def delete(self, ids: Sequence[str]) -> None:
        self.index.delete(ids)

    def find(self, query: str) -> list[str]:
        return [hit.document.id for hit in self.index.search([query], DEPTH)[0]]


class _Plaid:
    """PyLate's own class, as its documentation uses it, with the settings that ours has."""

    def __init__(self, model: Any, folder: Path) -> None:
        self.model = model
        self.index = open_plaid(folder)

    def add(self, documents: Sequence[Document]) -> None:
        vectors: Any = token_vectors(self.model, [each.text for each in documents], False)
        self.index.add_documents([each.id for each in documents], vectors)

    def delete(self, ids: Sequence[str]) -> None:
        self.index.remove_documents([*ids])

    def find(self, query: str) -> list[str]:
        vectors: Any = token_vectors(self.model, [query], True)
        return [str(result["id"]) for result in self.index(vectors, k=DEPTH)[0]]


class _BM25:
    """In memory, and built anew after each change: bm25s has no other way."""

    def __init__(self) -> None:
        import Stemmer

        self.documents: dict[str, str] = {}
        self.stemmer = Stemmer.Stemmer("english")

    def _words(self, texts: list[str]) -> Any:
        import bm25s

        return bm25s.tokenize(
            texts, stopwords="english", stemmer=self.stemmer, return_ids=False, show_progress=False
        )

    def _build(self) -> None:
        import bm25s

        self.ids = list(self.documents)
        self.index = bm25s.BM25(k1=0.9, b=0.4, method="lucene")
        self.index.index(self._words(list(self.documents.values())), show_progress=False)

    def add(self, documents: Sequence[Document]) -> None:
        self.documents |= dict(documents)
        self._build()

    def delete(self, ids: Sequence[str]) -> None:
        for name in ids:
            del self.documents[name]
        self._build()

    def find(self, query: str) -> list[str]:
        known = [word for word in self._words([query])[0] if word in self.index.vocab_dict]
        if not known:
            return []
        scores = self.index.get_scores(known)
        best = np.argpartition(-scores, DEPTH)[:DEPTH]
        return [self.ids[place] for place in best[np.argsort(-scores[best])]]


def case_name(encoder: str, documents: int) -> str:
    """The case's name."""
    return f"index of one's own, {encoder}, {documents:,} documents of {WORDS} words"


def life(
    encoder: str, texts: Texts, root: Path, documents: int, queries: int, changes: int
) -> list[dict[str, Any]]:
    """Rows of ours, exact and PLAID, against PyLate's PLAID and BM25: median seconds of a query, asked by turns.

    Every row also has what each side took to build, to add and to delete ``changes`` documents in ten calls each, on
    disk and at its peak in memory above what was there before; after its changes each is asked again, and
    ``recall@10`` is against ours, exact.
    """
    model = open_encoder(encoder_folder(encoder, texts.vocabulary(), root), 32)
    words = " ".join(texts.vocabulary()).split()
    drawn = np.random.default_rng(0)
    starts = drawn.integers(0, max(1, len(words) - WORDS), documents + changes)
    # The number keeps windows apart that begin at the same word.
    corpus = [Document(f"d{n}", f"{n} " + " ".join(words[at : at + WORDS])) for n, at in enumerate(starts)]
    asked = [" ".join(corpus[n].text.split()[2:8]) for n in drawn.integers(0, documents, queries)]
    with tempfile.TemporaryDirectory() as place:
        folders = {name: Path(place) / str(n) for n, name in enumerate(("exact", "plaid", PLAID_PEER))}
        sides: dict[str, Any] = {
            "exact": lambda: _Ours(model, folders["exact"], "exact"),
            "plaid": lambda: _Ours(model, folders["plaid"], "plaid"),
            PLAID_PEER: lambda: _Plaid(model, folders[PLAID_PEER]),
            BM25_PEER: _BM25,
        }
        model.encode(asked[:1], is_query=True, show_progress_bar=False)  # what is made once is nobody's
        made: dict[str, dict[str, Any]] = {}
        for name, make in sides.items():
            side = sides[name] = make()
            made[name] = _changed(side, corpus, documents, changes)
            size = sum(
                f.stat().st_size for f in folders.get(name, Path(place) / "none").rglob("*") if f.is_file()
            )
            made[name]["mebibytes_on_disk"] = size / (1 << 20) or None
        found = {name: [set(side.find(query)) for query in asked] for name, side in sides.items()}
        timed = {
            name: (lambda query, side=side: seconds(lambda: side.find(query))) for name, side in sides.items()
        }
        spent = alternate(timed, asked * ROUNDS, budget=math.inf, warmup=2)
    for name, row in made.items():
        row["p50_seconds"], row["p95_seconds"] = map(float, np.quantile(spent[name], [0.5, 0.95]))
        pairs = zip(found["exact"], found[name], strict=True)
        row["recall@10"] = float(np.mean([len(a & b) / len(a) for a, b in pairs]))
    return [
        {
            "case": f"{case_name(encoder, documents)}, {ours}",
            "peer": peer,
            "quantity": "time of a query",
            "documents": documents,
            "queries": queries,
            "changes": changes,
            "rounds": ROUNDS,
            **ratio_of(spent[ours], spent[peer]),
            "ours_seconds": made[ours]["p50_seconds"],
            "peer_seconds": made[peer]["p50_seconds"],
            **{f"ours_{key}": value for key, value in made[ours].items()},
            **{f"peer_{key}": value for key, value in made[peer].items()},
        }
        for ours in ("exact", "plaid")
        for peer in (PLAID_PEER, BM25_PEER)
    ]  # fmt: skip


def _changed(side: Any, corpus: Sequence[Document], documents: int, changes: int) -> dict[str, Any]:
    """Build, add and delete: the seconds of each, and the peak of memory in mebibytes."""
    gc.collect()
    release_freed_memory()  # what the side before took, and let go, is not this one's room
    forget_peak()
    before = resident()
    build = seconds(lambda: side.add(corpus[:documents]))
    added = np.array_split(np.arange(documents, documents + changes), min(CALLS, changes))
    gone = [[corpus[n - documents].id for n in some] for some in added]

    def add() -> None:
        for some in added:
            side.add([corpus[n] for n in some])

    def delete() -> None:
        for some in gone:
            side.delete(some)

    adding, deleting = seconds(add), seconds(delete)
    return {
        "build_seconds": build,
        "add_seconds": adding,
        "delete_seconds": deleting,
        "mebibytes_of_memory": (peak() - before) / (1 << 20),
    }
