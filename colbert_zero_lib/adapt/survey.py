"""The report on a folder's data: counts, duplicates, empties, languages, lengths, examples; read as a stream.

Memory holds eight bytes a text and a sample of a thousand rows, however many rows there are.
"""

from __future__ import annotations

import hashlib
import random
import unicodedata
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from transformers import PreTrainedTokenizerBase

from colbert_zero_lib.adapt.folder import Holding, Row
from colbert_zero_lib.corpora.text import FUNCTION_WORDS, tokens
from colbert_zero_lib.errors import DataError

SAMPLE = 1_000
QUERY_TOKENS = 32
DOCUMENT_TOKENS = (64, 96, 128, 180, 256)  # lengths to choose from
_COVERED = 0.95


@dataclass(frozen=True, eq=False)
class Survey:
    """What a folder holds: ``facts`` are (what, how much) to be printed, ``notes`` sentences, ``sample`` rows drawn.

    ``document_length`` (tokens, markers included) is the smallest of `DOCUMENT_TOKENS` that leaves 95 documents in 100
    whole, else the largest; ``tokens`` are the mean (query, document) tokens at these limits, ``whole``
    those of a document without one. ``documents`` is the number of different ones.
    """

    rows: int
    documents: int
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    sample: tuple[Row, ...] = field(repr=False)
    document_length: int
    tokens: tuple[float, float]
    whole: float


def key(text: str) -> str:
    """What two texts must share to count as equal: their words, whatever the script, in order."""
    return " ".join(text.casefold().split())


def survey(holding: Holding, tokenizer: PreTrainedTokenizerBase) -> Survey:
    """Read all rows once; DataError when there is no document among them."""
    drawn, sample = random.Random(0), list[Row]()
    counts: Counter[str] = Counter()
    hashes = {name: array("Q") for name in ("pair", "query", "document")}
    for row in holding.rows():
        counts["rows"] += 1
        counts["document"] += bool(row.document)
        counts["query"] += bool(row.query)
        texts = {"query": key(row.query), "document": key(row.document)}
        if row.query and row.document:
            texts["pair"] = "\0".join(texts.values())
        for name, text in texts.items():
            if text:
                digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
                hashes[name].append(int.from_bytes(digest, "little"))
        place = counts["rows"] - 1 if counts["rows"] <= SAMPLE else drawn.randrange(counts["rows"])
        if place < SAMPLE:
            sample[place : place + 1] = [row]
    if not counts["document"]:
        raise DataError(f"{holding.path} has no document with text in {counts['rows']:,} rows.")
    different = {name: len(np.unique(np.frombuffer(of, np.uint64))) for name, of in hashes.items()}
    documents = [row.document for row in sample if row.document]
    queries = [row.query for row in sample if row.query]
    of_documents, of_queries = (_lengths(tokenizer, texts) for texts in (documents, queries))
    fitting = [n for n in DOCUMENT_TOKENS if np.mean(of_documents <= n) >= _COVERED]
    limit = fitting[0] if fitting else DOCUMENT_TOKENS[-1]
    facts = [
        ("form", holding.form + (" (the queries are made, nobody wrote them)" if holding.made else "")),
        ("files", f"{len(holding.files):,}"),
        ("rows", f"{counts['rows']:,}"),
        ("different documents", f"{different['document']:,}"),
        ("different queries", f"{different['query']:,}"),
        ("pairs that stand there twice", f"{len(hashes['pair']) - different['pair']:,}"),
        ("rows without a query", f"{counts['rows'] - counts['query']:,}"),
        ("rows without a document", f"{counts['rows'] - counts['document']:,}"),
        ("language", _languages(documents)),
        ("tokens of a document", _quantiles(of_documents, limit)),
        ("tokens of a query", _quantiles(of_queries, QUERY_TOKENS)),
    ]
    query, cut, whole = (
        float(np.minimum(of, most).mean()) if len(of) else 0.0
        for of, most in ((of_queries, QUERY_TOKENS), (of_documents, limit), (of_documents, np.inf))
    )
    counted = counts["rows"], different["document"]
    return Survey(*counted, tuple(facts), holding.notes, tuple(sample), limit, (query, cut), whole)


def _lengths(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> np.ndarray:
    """Tokens of each text, the marker of its side counted."""
    # A text of megabytes would take its time: what is beyond the cut is taken to have as many tokens a sign.
    cut = [text[:20_000] for text in texts]
    found = tokenizer(cut, truncation=False, verbose=False)["input_ids"] if cut else []
    longer = [max(1.0, len(text) / max(1, len(part))) for text, part in zip(texts, cut, strict=True)]
    return np.array(
        [int((len(ids) + 1) * times) for ids, times in zip(found, longer, strict=True)], dtype=np.int64
    )


def _quantiles(lengths: np.ndarray, limit: int) -> str:
    if not len(lengths):
        return "none"
    middle, high, most = (int(np.quantile(lengths, q)) for q in (0.5, 0.95, 1))
    return (
        f"half up to {middle:,}, 95 % up to {high:,}, the longest {most:,}; "
        f"{np.mean(lengths > limit):.1%} are cut at {limit}"
    )


def _languages(texts: Sequence[str]) -> str:
    """Which script the documents are written in and, of the Latin ones, how many read like English."""
    scripts: Counter[str] = Counter()
    for text in texts:
        letters = (sign for sign in text[:500] if sign.isalpha())
        names = Counter(unicodedata.name(sign, "other").split()[0].title() for sign in letters)
        script = names.most_common(1)[0][0] if names else "no letters"
        words = tokens(text[:2_000])
        english = script == "Latin" and sum(word in FUNCTION_WORDS for word in words) >= 0.1 * len(words)
        scripts["Latin, like English" if english else script] += 1
    return ", ".join(f"{name} {count / len(texts):.0%}" for name, count in scripts.most_common(4))
