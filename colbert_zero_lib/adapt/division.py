"""Which queries are trained on, which decide when to stop, and which are only measured; and what leaks between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from colbert_zero_lib.adapt.folder import DEVELOPMENT, TEST, TRAINING, Holding
from colbert_zero_lib.adapt.survey import key
from colbert_zero_lib.corpora.collections import Collection
from colbert_zero_lib.corpora.text import hash_number
from colbert_zero_lib.errors import DataError

MOST_ROWS = 200_000  # of a larger folder a sample is used, drawn by the documents' hash
LEAST_QUERIES, LEAST_TRAINING, LEAST_HELD_OUT = 100, 48, 8
_MOST = {TEST: (0.2, 400), DEVELOPMENT: (0.1, 150)}  # share and number of the queries
_RUN = 8  # words in a row that a training query must not share with a held-out one
_MOST_ASKED = 3  # queries of one document that are held out: hundreds would decide the figure
_MOST_ANSWERS = 3  # a made query with more is a heading such as "Notes"


@dataclass(frozen=True, eq=False)
class Division:
    """Collections ``training``, ``development`` and ``test`` over one corpus; ``facts`` are (what, how much)."""

    parts: dict[str, Collection]
    facts: tuple[tuple[str, str], ...]


def divide(holding: Holding, rows: int) -> Division:
    """Read the ``rows`` rows again and divide their queries; DataError where they are too few.

    What the folder divides itself stays as it is. Otherwise queries are drawn by the hash of their document, so that
    all queries of one document fall into one part. From training go the queries that repeat a held-out one, or eight
    words in a row of it, and, where the division is ours, those that a held-out query's document answers.
    """
    documents: dict[str, tuple[int, str]] = {}
    queries: dict[str, _Query] = {}
    share = min(1.0, MOST_ROWS / max(rows, 1)) * 2**32
    for row in holding.rows():
        name = key(row.document)
        if not name or (not row.part and hash_number(name) > share):
            continue
        place, _ = documents.setdefault(name, (len(documents), row.document))
        if asked := key(row.query):
            query = queries.setdefault(asked, _Query(row.query, set(), set()))
            query.answers.add(place)
            query.parts.add(row.part)
    before = len(queries)
    if holding.made:
        queries = {k: q for k, q in queries.items() if len(q.answers) <= _MOST_ANSWERS}
    facts = [("queries left out as too general", f"{before - len(queries):,}")] if holding.made else []
    if share < 2**32:
        facts.append((f"documents used, drawn from {rows:,} rows", f"{len(documents):,}"))
    texts = [text for _, text in documents.values()]
    divided, ours = _parts(queries, texts)
    leaking = _leaks(divided, ours)
    trained = [query for query in divided[TRAINING] if query.text not in leaking]
    held = min(len(divided[TEST]), len(divided[DEVELOPMENT]))
    if len(queries) < LEAST_QUERIES or len(trained) < LEAST_TRAINING or held < LEAST_HELD_OUT:
        raise DataError(
            f"{holding.path} has {len(queries)} different queries; {len(trained)} are left to train on and {held} to "
            f"decide or to measure with: give at least {LEAST_QUERIES}, about different documents."
        )
    divided[TRAINING] = trained
    facts += [(f"queries: {part}", f"{len(divided[part]):,}{' (drawn by us)' if part in ours else ''}")
              for part in (TRAINING, DEVELOPMENT, TEST)]  # fmt: skip
    twice = sum(len(query.parts) > 1 and TRAINING in query.parts for query in queries.values())
    facts.append(("training queries left out: they repeat what is held out", f"{len(leaking) + twice:,}"))
    corpus = {f"d{place}": text for place, text in enumerate(texts)}
    return Division({part: _collection(part, corpus, of) for part, of in divided.items()}, tuple(facts))


@dataclass(frozen=True)
class _Query:
    text: str
    answers: set[int]
    parts: set[str]


def _parts(queries: dict[str, _Query], documents: Sequence[str]) -> tuple[dict[str, list[_Query]], set[str]]:
    """Queries by part, and which parts were drawn here; a query in two parts belongs to the one that is held out."""
    divided: dict[str, list[_Query]] = {TRAINING: [], DEVELOPMENT: [], TEST: []}
    for query in queries.values():
        part = next((part for part in (TEST, DEVELOPMENT) if part in query.parts), TRAINING)
        divided[part].append(query)
    if not divided[TRAINING]:  # judgements that nobody divided: all are ours to divide
        divided = {TRAINING: divided[DEVELOPMENT] + divided[TEST], DEVELOPMENT: [], TEST: []}
    ours, total = set(), len(queries)
    pool = sorted(divided[TRAINING], key=lambda q: (hash_number(key(documents[min(q.answers)])), q.text))
    for part, (share, most) in _MOST.items():
        if not divided[part]:
            ours.add(part)
            count, asked = min(most, int(share * total)), Counter[int]()
            taken = set[str]()
            for query in pool:
                document = min(query.answers)
                if len(taken) < count and asked[document] < _MOST_ASKED:
                    asked[document] += 1
                    taken.add(query.text)
            divided[part] = [query for query in pool if query.text in taken]
            pool = [query for query in pool if query.text not in taken]
    divided[TRAINING] = pool
    if {TEST, DEVELOPMENT} <= ours:
        tested = set[int]().union(*(query.answers for query in divided[TEST]))
        divided[DEVELOPMENT] = [query for query in divided[DEVELOPMENT] if not query.answers & tested]
    return divided, ours


def _leaks(divided: dict[str, list[_Query]], ours: set[str]) -> set[str]:
    """Texts of the training queries that show what is held out."""
    runs, answers = set[tuple[str, ...]](), set[int]()
    leaking = set()
    for part in (TEST, DEVELOPMENT):
        for query in divided[part]:
            runs.update(_runs(query.text))
            if part in ours:
                answers |= query.answers
    for query in divided[TRAINING]:
        if not runs.isdisjoint(_runs(query.text)) or query.answers & answers:
            leaking.add(query.text)
    return leaking


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    words = key(text).split()
    return (tuple(words[start : start + _RUN]) for start in range(len(words) - _RUN + 1))


def _collection(part: str, corpus: dict[str, str], queries: Iterable[_Query]) -> Collection:
    of = {f"q{place}": query for place, query in enumerate(queries)}
    return Collection(
        part,
        corpus,
        {name: query.text for name, query in of.items()},
        {name: {f"d{place}": 1 for place in sorted(query.answers)} for name, query in of.items()},
        split=part,
    )
