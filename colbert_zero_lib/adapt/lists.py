"""Hard negatives and a teacher's scores for a reader's queries, left as a folder that `FolderSource` reads.

Candidates come from BM25 and from what the training begins from; the teacher's scores take out false negatives.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from colbert_zero_lib.corpora.collections import Collection, write_collection
from colbert_zero_lib.corpora.cross_encoder import PairScorer
from colbert_zero_lib.corpora.mining import NONE, interleave, safe_negatives
from colbert_zero_lib.corpora.store import keep
from colbert_zero_lib.errors import DataError
from colbert_zero_lib.evaluation import BM25, Retriever
from colbert_zero_lib.keeping import damage, remove, replacing, seal
from colbert_zero_lib.scratch import scratch

DOCUMENTS = 8  # of a list: the positive and seven others
NEGATIVES = 2
MARGIN = 0.95  # NV-Retriever, arXiv 2407.15831
_DEPTH = 30
_BLOCK = 50  # lists that an interruption may cost


def candidates(training: Collection, start: Retriever) -> np.ndarray:
    """For every query its first positive and up to `DOCUMENTS` - 1 others: places in the corpus, int32, -1 for none.

    The others are what BM25 and ``start`` rank highest by turns, densely at the top and thinly below, so that a list
    has hard and easier ones. Positives and documents that say nearly the same are left out.
    """
    ranked = interleave(*(each.search(training, _DEPTH).indices for each in (BM25(), start)))
    positives = _positives(training)
    nothing = np.zeros(ranked.shape, np.float32)
    usable = safe_negatives(
        ranked, nothing, positives, np.ones(len(ranked)), list(training.corpus.values()), MARGIN
    )
    found = np.full((len(ranked), DOCUMENTS), NONE, np.int32)
    for row, right in enumerate(positives):
        others = ranked[row][usable[row]]
        spread = np.linspace(0, 1, DOCUMENTS - 1) ** 2 * (len(others) - 1)
        chosen = np.unique(spread.round().astype(int))
        others = others[chosen] if len(chosen) == DOCUMENTS - 1 else others[: DOCUMENTS - 1]
        found[row, 0] = min(right)
        found[row, 1 : 1 + len(others)] = others
    return found


def _positives(collection: Collection) -> list[frozenset[int]]:
    place = {name: number for number, name in enumerate(collection.corpus)}
    return [frozenset(place[name] for name in collection.qrels[query]) for query in collection.queries]


def prepare(
    folder: Path,
    parts: Mapping[str, Collection],
    start: Callable[[], Retriever],
    teacher: Callable[[], PairScorer],
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Mine, score and write ``folder``/rows once: triples, scored lists, ``collections`` and ``development``.

    ``parts`` has training, development and test. What was mined and scored before an interruption is not done again.
    DataError when too few lists have negatives left to train on.
    """
    rows = folder / "rows"
    if damage(rows, sizes_alone=True) is None:
        return rows
    training = parts["training"]
    folder.mkdir(parents=True, exist_ok=True)
    mined = _kept(folder / "candidates.safetensors", lambda: candidates(training, start()), say)
    queries, documents = list(training.queries.values()), list(training.corpus.values())
    scorer = cache(teacher)  # opened where something is left to score

    def score(block: int) -> Iterator[pa.Table]:
        lists = mined[block : block + _BLOCK]
        pairs = [
            (query, documents[place])
            for query, of in zip(queries[block : block + _BLOCK], lists, strict=True)
            for place in of[of != NONE]
        ]
        scores = np.full(lists.shape, np.nan, np.float32)
        scores[lists != NONE] = scorer().predict(pairs)
        if not np.isfinite(scores[lists != NONE]).all():
            raise DataError("The teacher gives some lists no finite score: name another with --teacher.")
        say(f"the teacher has scored {min(block + _BLOCK, len(mined)):,} of {len(mined):,} lists")
        yield pa.table({"scores": list(scores)})

    blocks = {f"{block:08d}": partial(score, block) for block in range(0, len(mined), _BLOCK)}
    # Scores belong to these candidates: others, mined anew, are scored anew.
    own = folder / f"scores-{hashlib.sha256(mined.tobytes()).hexdigest()[:12]}"
    scores = np.array(keep(own, lambda: blocks).with_format("numpy")["scores"][:])
    with scratch(".rows", folder) as temporary:
        triples, scored = _rows(queries, documents, mined, scores, _positives(training))
        if len(triples) < 24:
            raise DataError(
                f"Only {len(triples)} of {len(mined)} queries have {NEGATIVES} documents that are surely wrong: give "
                "more documents, or say with --teacher who tells right from wrong better."
            )
        for name, of in (("triples", triples), ("scored", scored)):
            with (temporary / f"{name}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in of)
        write_collection(parts["test"], temporary / "collections" / "test")
        write_collection(parts["development"], temporary / "development" / "development")
        seal(temporary)
        remove(rows)
        temporary.rename(rows)
    return rows


def _rows(
    queries: list[str],
    documents: list[str],
    mined: np.ndarray,
    scores: np.ndarray,
    positives: list[frozenset[int]],
) -> tuple[list[dict], list[dict]]:
    """Triples with the hardest safe negatives, then scored lists; the teacher's scores are logits."""
    likely = 1 / (1 + np.exp(-np.nan_to_num(scores, nan=np.inf)))
    safe = safe_negatives(mined, likely, positives, likely[:, 0], documents, MARGIN)
    triples, scored = [], []
    for row, query in enumerate(queries):
        order = np.argsort(-np.where(safe[row], scores[row], -np.inf), kind="stable")
        negatives = mined[row][order[: min(NEGATIVES, int(safe[row].sum()))]]
        if len(negatives) == NEGATIVES:
            wrong = [documents[place] for place in negatives]
            triples.append({"query": query, "positive": documents[mined[row, 0]], "negatives": wrong})
        there = mined[row] != NONE
        if there.all():
            texts = [documents[place] for place in mined[row]]
            scored.append({"query": query, "documents": texts, "scores": scores[row].tolist()})
    return triples, scored


def _kept(file: Path, make: Callable[[], np.ndarray], say: Callable[[str], None]) -> np.ndarray:
    with contextlib.suppress(OSError, SafetensorError):  # not there, or damaged
        return load_file(file)["found"]
    say("BM25 and the start look for documents that look right")
    found = make()
    with replacing(file) as neighbour:
        neighbour.write_bytes(save({"found": found}))
    return found
