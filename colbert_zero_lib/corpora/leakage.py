"""Keeps training and held-out text apart, and both free of duplicates.

The rule: no text of a training pair equals a held-out query or document, shares twelve words in a row with a
held-out document, or eight in a row with a held-out query. What is held out is decided by the readers, not here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from colbert_zero_lib.corpora.material import Draft, Pair
from colbert_zero_lib.corpora.text import normalise, tokens

DOCUMENT_RUN = 12
QUERY_RUN = 8
# One text may rightly answer several queries, and differ from the next in little but a name.
MANY_TO_ONE = frozenset({"py_seealso", "icd", "hpo_syn"})
# Queries that are sentences: one that is quoted by its document teaches only to match strings.
SENTENCE_QUERIES = frozenset({"py_doc", "py_code", "py_seealso", "aws_doc", "wiki_body", "wiki_fact"})


@dataclass
class HeldOut:
    """Held-out texts and their word runs; words are numbered so that a run is a small tuple of integers."""

    vocabulary: dict[str, int] = field(default_factory=dict)
    document_runs: set[int] = field(default_factory=set)
    query_runs: set[int] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)

    def add(self, draft: Draft) -> None:
        """Hold out a collection."""
        for key, text in draft.corpus.items():
            self.texts.add(normalise(text))
            self.document_runs.update(self._runs(self._number(draft.withheld.get(key, text)), DOCUMENT_RUN))
        for text in draft.queries.values():
            self.query_runs.update(self._runs(self._number(text), QUERY_RUN))
            self.texts.add(normalise(text))

    def overlaps(self, pair: Pair) -> bool:
        """Whether training on the pair would show a held-out text."""
        for text in (pair.query, pair.document):
            words = tokens(text)
            if " ".join(words) in self.texts:
                return True
            numbers = tuple(self.vocabulary.get(word, -1) for word in words)
            if not self.document_runs.isdisjoint(self._runs(numbers, DOCUMENT_RUN)):
                return True
            if not self.query_runs.isdisjoint(self._runs(numbers, QUERY_RUN)):
                return True
        return False

    def _number(self, text: str) -> tuple[int, ...]:
        vocabulary = self.vocabulary
        return tuple(vocabulary.setdefault(word, len(vocabulary)) for word in tokens(text))

    @staticmethod
    def _runs(numbers: tuple[int, ...], length: int) -> Iterable[int]:
        # The hash of a tuple of integers needs no seed: the same in every process.
        return [hash(numbers[i : i + length]) for i in range(len(numbers) - length + 1)]


def clean_pairs(source: str, pairs: list[Pair], held_out: HeldOut) -> tuple[list[Pair], dict[str, int]]:
    """(pairs kept, {reason: pairs dropped}): short, quoted, templated, repeated or leaking pairs go."""
    asked = Counter(normalise(pair.query) for pair in pairs)
    documents: Counter[str] = Counter()
    queries: set[str] = set()
    vocabularies: set[str] = set()
    kept: list[Pair] = []
    dropped: Counter[str] = Counter()
    several = source in MANY_TO_ONE
    for pair in pairs:
        query, document = normalise(pair.query), normalise(pair.document)
        own = set(query.split())
        # What is left of a document without the words of its query, short words and numbers.
        rest = {w for w in document.split() if len(w) > 3 and w not in own and not w.isdigit()}
        vocabulary = " ".join(sorted(rest))
        if not query or len(document.split()) < 5:
            reason = "short"
        elif source in SENTENCE_QUERIES and query in document:
            reason = "query quoted in document"
        elif source != "py_seealso" and asked[query] > 5:
            reason = "query repeated more than five times"
        elif source != "py_seealso" and query in queries:
            reason = "repeated query"
        elif documents[document] >= (4 if several else 1):
            reason = "repeated document"
        elif not several and vocabulary in vocabularies:
            reason = "document differs in a name only"
        elif held_out.overlaps(pair):
            reason = "overlaps held-out text"
        else:
            queries.add(query)
            documents[document] += 1
            vocabularies.add(vocabulary)
            kept.append(pair)
            continue
        dropped[reason] += 1
    return kept, dict(sorted(dropped.items()))


def clean_draft(draft: Draft, near_duplicates: bool) -> None:
    """Merge equal documents; drop queries that a document quotes or that ask for something deprecated.

    ``near_duplicates`` also merges documents that open alike and share nine words in ten: the same method
    documented again in a sibling class.
    """
    same = _merged(draft.corpus, near_duplicates)
    everything = " \n ".join(normalise(text) for text in draft.corpus.values())
    usable = [
        key
        for key, text in draft.queries.items()
        if normalise(text) not in everything and "deprecated" not in text.lower()
    ]
    draft.keep_queries(usable)
    draft.qrels = {key: {same[document] for document in found} for key, found in draft.qrels.items()}
    draft.corpus = {key: text for key, text in draft.corpus.items() if same[key] == key}
    draft.withheld = {key: text for key, text in draft.withheld.items() if key in draft.corpus}


def _merged(corpus: dict[str, str], near_duplicates: bool) -> dict[str, str]:
    first: dict[str, str] = {}
    openings: dict[str, list[tuple[str, set[str]]]] = {}
    same: dict[str, str] = {}
    for key, text in corpus.items():
        normal = normalise(text)
        same[key] = first.setdefault(normal, key)
        if not near_duplicates or same[key] != key:
            continue
        words = set(normal.split())
        alike = openings.setdefault(" ".join(normal.split()[:6]), [])
        for other, other_words in alike:
            if len(words & other_words) >= 0.9 * len(words | other_words):
                same[key] = first[normal] = other
                break
        else:
            alike.append((key, words))
    return same
