"""What a result is made of: which query token met which token of a passage, and what share of the score that was.

Who found the passages is ``index``'s business; how a look is shown, ``page``'s and ``cli_search``'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from colbert_zero_lib.evaluation.contributions import PARTS, LabelledText, labelled_texts

from .documents import Span
from .hits import Hit
from .index import SearchIndex

if TYPE_CHECKING:
    from pylate.models import ColBERT


class Match(NamedTuple):
    """A query token, and the token of the passage that was nearest to it.

    ``part`` is one of `contributions.PARTS`; ``share`` what the pair brings into the score, all shares summing to 1;
    ``span`` the signs of the passage that were met, empty where that was a marker or the prompt.
    """

    token: str
    part: str
    share: float
    met: str
    span: Span


class Look(NamedTuple):
    """A result taken apart: a match for each scored query token, in the query's order."""

    hit: Hit
    matches: tuple[Match, ...]

    def pieces(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The passage in pieces that join to its text, each with the places of the matches that met it."""
        text = self.hit.text
        edges = sorted({0, len(text), *(edge for match in self.matches for edge in match.span)})
        for start, end in pairwise(edges):
            met = [n for n, each in enumerate(self.matches) if each.span[0] <= start < end <= each.span[1]]
            yield text[start:end], tuple(met)


def look_into(model: ColBERT, query: str, hits: Sequence[Hit]) -> list[Look]:
    """Take results of ``query`` apart; their passages are encoded again, in float32."""
    if not hits:
        return []
    [asked] = labelled_texts(model, [query], True)
    tokens = _words(model, query, True, asked)
    found = []
    passages = labelled_texts(model, [hit.text for hit in hits], False)
    for hit, passage in zip(hits, passages, strict=True):
        words = _words(model, hit.text, False, passage)
        best, where = (asked.vectors @ passage.vectors.T).max(dim=1)
        shares = (best / (best.sum() or 1)).tolist()
        matches = (
            Match(token, PARTS[int(part)], share, *words[place])
            for (token, _), part, share, place in zip(
                tokens, asked.parts, shares, where.tolist(), strict=True
            )
        )
        found.append(Look(hit, tuple(matches)))
    return found


def look_beside(indexes: Mapping[str, SearchIndex], query: str, k: int) -> dict[str, list[Look]]:
    """What each index finds for a query, taken apart; nothing for an empty query."""
    if not query.strip():
        return {name: [] for name in indexes}
    return {name: look_into(each.model, query, each.search([query], k)[0]) for name, each in indexes.items()}


def _words(model: ColBERT, text: str, is_query: bool, labelled: LabelledText) -> list[tuple[str, Span]]:
    """Of each scored token its text and its span in ``text``, empty where it is none of the text's."""
    prompt = (model.prompts or {}).get("query" if is_query else "document") or ""
    length = (model.query_length if is_query else model.document_length) or 0
    marked = (model.query_prefix_id if is_query else model.document_prefix_id) is not None
    whole = prompt + text
    offsets = model.tokenizer(  # as PyLate does it: stripped, and the marker behind the first token
        whole.strip(), truncation=True, max_length=length - marked, return_offsets_mapping=True
    )["offset_mapping"]
    offsets[1:1] = [(0, 0)] * marked
    before = len(prompt) - (len(whole) - len(whole.lstrip()))
    found = []
    for place, number in zip(labelled.places.tolist(), labelled.ids.tolist(), strict=True):
        # Behind the text's own tokens are those of an expanded query.
        start, end = (max(0, edge - before) for edge in offsets[place]) if place < len(offsets) else (0, 0)
        word = text[start:end] or str(model.tokenizer.convert_ids_to_tokens(number))
        found.append((word, (start, max(start, end))))
    return found
