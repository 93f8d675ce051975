"""Who brings in the score: the shares of MaxSim that markers, prefix, text and expansion take on either side.

Vectors come from `encode`; what a prefix is and where it stands, from `prompts`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch

from colbert_zero_lib.errors import DataError, ParameterError
from colbert_zero_lib.prompts import prefix_positions

from .encode import encode_positions
from .statistics import percentiles

if TYPE_CHECKING:
    from pylate.models import ColBERT

    from colbert_zero_lib.corpora import Collection

# marker: [CLS], [SEP], [Q] or [D]; prefix: the prompt or what stands in its place; expansion: [MASK] after a query.
PARTS = ("marker", "prefix", "text", "expansion")
COLUMNS = ("query", "relevant", "documents", "side", "part", "tokens", "score", "sum")
_DOCUMENTS_AT_ONCE = 64


class LabelledText(NamedTuple):
    """The scored tokens of a text: ``vectors`` [tokens, dim] float32 of length 1, ``parts`` [tokens] into `PARTS`.

    ``ids`` [tokens] are the tokens themselves, ``places`` [tokens] int64 where they stand among all of the text's.
    """

    vectors: torch.Tensor
    parts: torch.Tensor
    ids: torch.Tensor
    places: torch.Tensor


def score_contributions(model: ColBERT, collection: Collection, others: int = 50) -> pd.DataFrame:
    """Shares of the MaxSim score by part of query and of document, per query.

    With s_i = max_j <q_i, d_j> over the scored tokens of query q and document d, and their sum S:

    - side ``query``, part p: ``tokens`` = share of the tokens i that are of part p; ``score`` = sum of s_i over
      these, divided by S.
    - side ``document``, part p: ``tokens`` = share of the query tokens i whose best match j is of part p; ``score`` =
      sum of s_i over these, divided by S.

    ``sum`` is the sum of s_i before it is divided: what the part puts into the score. Shares are numbers without a unit
    which sum to 1 over the parts of a side; a token with s_i < 0 has a share below 0. Tokens that are not scored
    (punctuation of documents, a prefix that is context alone) have no share. Each row is the mean over ``documents``
    documents: those relevant to the query, or ``others`` documents that are not, drawn once for all queries in the
    order of their names' hashes (fewer where the corpus is small). ParameterError when ``others`` is not positive.
    """
    if others < 1:
        raise ParameterError(f"others must be at least 1, not {others}.")
    relevant = {
        query: [
            name
            for name, grade in collection.qrels.get(query, {}).items()
            if grade > 0 and name in collection.corpus
        ]
        for query in collection.queries
    }
    by_hash = sorted(collection.corpus, key=lambda name: hashlib.sha1(name.encode()).hexdigest())
    drawn = by_hash[: others + max(map(len, relevant.values()), default=0)]
    needed = list(dict.fromkeys([*drawn, *(name for names in relevant.values() for name in names)]))
    queries = labelled_texts(model, list(collection.queries.values()), True)
    encoded = labelled_texts(model, [collection.corpus[name] for name in needed], False)
    documents = dict(zip(needed, encoded, strict=True))
    rows: list[tuple[object, ...]] = []
    for name, query in zip(collection.queries, queries, strict=True):
        own = set(relevant[name])
        negative = [other for other in drawn if other not in own][:others]
        for is_relevant, names in ((True, relevant[name]), (False, negative)):
            if names:
                rows += [
                    (name, is_relevant, len(names), *of_part) for of_part in _shares(query, names, documents)
                ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def contribution_intervals(frame: pd.DataFrame, samples: int = 2000) -> pd.DataFrame:
    """What each part brings in, with percentile bootstrap intervals over queries: ``frame`` of `score_contributions`.

    Columns: side, part, what, tokens, value, low, high. ``what`` is ``relevant`` or ``others``, whose value is the
    share of the score, or ``lead``: how much more the part puts into the score of relevant documents than into that
    of others (mean over queries), divided by how much more all parts do. A part that gives every document the same has
    a share of the score and none of the lead. ``tokens`` is the share of the tokens (for ``lead``, against relevant
    documents). Queries count that have figures of both kinds of document. DataError when there is none.
    """
    both = frame.pivot_table(
        index="query", columns=["side", "part", "relevant"], values=["tokens", "score", "sum"]
    ).dropna()
    if both.empty or both.columns.get_level_values("relevant").nunique() < 2:
        raise DataError(
            "No query has both a relevant and another document: take a collection with more of them."
        )
    draws = np.random.default_rng(0).integers(len(both), size=(samples, len(both)))
    rows = []
    for side in ("query", "document"):
        lead = {
            part: (both["sum", side, part, True] - both["sum", side, part, False]).to_numpy()
            for part in PARTS
        }
        whole = sum(lead.values())
        for part in PARTS:
            for what in ("relevant", "others", "lead"):
                if what == "lead":
                    values = lead[part]
                    point, drawn = values.mean() / whole.mean(), values[draws].mean(1) / whole[draws].mean(1)
                else:
                    values = both["score", side, part, what == "relevant"].to_numpy()
                    point, drawn = values.mean(), values[draws].mean(1)
                tokens = both["tokens", side, part, what != "others"].mean()
                rows.append((side, part, what, tokens, point, *percentiles(drawn)))
    return pd.DataFrame(rows, columns=["side", "part", "what", "tokens", "value", "low", "high"])


def labelled_texts(model: ColBERT, texts: Sequence[str], is_query: bool) -> list[LabelledText]:
    """The scored tokens of each text, and what they are a part of."""
    prefix = prefix_positions(model, is_query)
    tokenizer = model.tokenizer
    names = ("cls_token_id", "sep_token_id", "bos_token_id", "eos_token_id")
    marking = {getattr(tokenizer, name) for name in names} | {model.query_prefix_id, model.document_prefix_id}
    markers = torch.tensor(sorted(marking - {None}), device=model.device)
    found: dict[int, LabelledText] = {}
    for batch in encode_positions(model, texts, is_query):
        parts = torch.full_like(batch.ids, PARTS.index("text"))
        parts[torch.isin(batch.ids, markers)] = PARTS.index("marker")
        parts[:, prefix] = PARTS.index("prefix")
        parts[~batch.attended] = PARTS.index("expansion")
        for place, row in enumerate(batch.rows.tolist()):
            scored = batch.scored[place]
            vectors, part, ids = (of[place][scored] for of in (batch.vectors, parts, batch.ids))
            found[row] = LabelledText(vectors, part, ids, scored.nonzero()[:, 0])
    return [found[row] for row in range(len(texts))]


def _shares(
    query: LabelledText, names: Sequence[str], documents: Mapping[str, LabelledText]
) -> Iterator[tuple[str, str, float, float, float]]:
    """(side, part, tokens, score, sum) for every part, mean over the documents called ``names``."""
    best, parts = [], []
    for start in range(0, len(names), _DOCUMENTS_AT_ONCE):
        block = [documents[name] for name in names[start : start + _DOCUMENTS_AT_ONCE]]
        longest = max(len(text.parts) for text in block)
        vectors = torch.stack([_longer(text.vectors, longest) for text in block])
        labels = torch.stack([_longer(text.parts, longest) for text in block])
        values, where = (vectors @ query.vectors.T).max(dim=1)  # [documents, query tokens]
        best.append(values)
        parts.append(labels.gather(1, where))
    similarity = torch.cat(best)
    share = similarity / similarity.sum(dim=1, keepdim=True)
    of_query = query.parts[None].expand(len(names), -1)
    for side, part_of in (("query", of_query), ("document", torch.cat(parts))):
        for place, part in enumerate(PARTS):
            chosen = part_of == place
            score, summed = ((values * chosen).sum(dim=1).mean().item() for values in (share, similarity))
            yield side, part, chosen.float().mean().item(), score, summed


def _longer(tokens: torch.Tensor, length: int) -> torch.Tensor:
    """Repeats the first token at the end, which changes neither a maximum nor the part it is of."""
    return torch.cat([tokens, tokens[:1].expand(length - len(tokens), *tokens.shape[1:])])
