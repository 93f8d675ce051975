"""What is found: of a segment's best passages the best documents, each by its best passage (MaxP).

How passages are scored is in ``segments``; which segments there are, in ``index``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .documents import Document, Span
from .segments import Segment


class Hit(NamedTuple):
    """A document found: its best passage, ``span`` of the text, the passage's score, and which of how many it is."""

    document: Document
    score: float
    span: Span
    passage: int
    passages: int

    @property
    def text(self) -> str:
        """The text of the passage."""
        return self.document.text[slice(*self.span)]


def best_documents(
    segment: Segment, dead: set[int], queries: Sequence[np.ndarray], k: int, device: str
) -> list[list[Hit]]:
    """The best documents that count of one segment, ``k`` or more where the last ones are equal, for each query.

    More passages are looked at until there are enough.
    """
    depth, whole = 4 * k, len(segment.document)
    while True:
        rows, scores = segment.best(queries, depth, device)
        first = [_first_of_each(segment, found, dead) for found in rows]
        # An index that approximates may look at fewer passages than it is asked for.
        least = [
            values[places[k - 1]] if len(places) >= k else -np.inf
            for places, values in zip(first, scores, strict=True)
        ]
        short = any((rows[n] >= 0).all() and scores[n][-1] >= value for n, value in enumerate(least))
        if depth >= whole or not short:
            break
        depth *= 4
    return [
        [
            _hit(segment, int(rows[n][place]), float(scores[n][place]))
            for place in places
            if scores[n][place] >= least[n]
        ]
        for n, places in enumerate(first)
    ]


def _first_of_each(segment: Segment, rows: np.ndarray, dead: set[int]) -> list[int]:
    """Places in ``rows`` at which a document that counts comes first."""
    seen = set(dead)
    places = []
    for place, row in enumerate(rows):
        if row >= 0 and (number := int(segment.document[row])) not in seen:
            seen.add(number)
            places.append(place)
    return places


def _hit(segment: Segment, row: int, score: float) -> Hit:
    number = int(segment.document[row])
    begins = segment.span[segment.document == number, 0]
    start, end = map(int, segment.span[row])
    passage = int((begins < start).sum()) + 1
    return Hit(segment.document_at(number), score, (start, end), passage, len(begins))
