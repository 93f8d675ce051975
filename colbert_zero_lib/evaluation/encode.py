"""Texts to token vectors with a PyLate model: the vectors of `model.encode`, without its per-document loops.

Only encoding: MaxSim over the vectors is in `maxsim`, single-vector models are in `dense`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from colbert_zero_lib import group
from colbert_zero_lib.errors import ParameterError
from colbert_zero_lib.prompts import unscored_positions
from colbert_zero_lib.training.packing import go_fast, packing, packs

if TYPE_CHECKING:
    from pylate.models import ColBERT

# Texts per tokenizer call: large enough for its threads, small enough that padded ids stay a few megabytes.
_TOKENIZED_AT_ONCE = 1024
# Padded tokens per forward pass: what stays in cache on a CPU, what fills a GPU.
_POSITIONS = {"cpu": 2048, "cuda": 65536}

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class TokenBatch(NamedTuple):
    """The vectors of some texts of similar length.

    ``rows`` [n] int64: places in the list of texts; ``counts`` [n] int64: scored tokens of each; ``vectors``
    [n, max(counts), dim] of length 1, where positions past a text's count repeat its first vector. A repeated
    vector cannot change a maximum, so MaxSim needs no mask over documents.
    """

    rows: torch.Tensor
    counts: torch.Tensor
    vectors: torch.Tensor


class PositionBatch(NamedTuple):
    """Every position of some texts of similar length, scored or not: ``rows`` int64 [n] as in `TokenBatch`.

    ``ids`` int64, ``attended`` and ``scored`` bool are [n, longest], ``vectors`` [n, longest, dim] of length 1. Past
    a text's end nothing is scored.
    """

    rows: torch.Tensor
    ids: torch.Tensor
    attended: torch.Tensor
    scored: torch.Tensor
    vectors: torch.Tensor


class _Tokens(NamedTuple):
    """Token ids of many texts end to end, and whether the encoder attends to each ([MASK] expansion: no)."""

    ids: torch.Tensor
    attended: torch.Tensor
    starts: np.ndarray
    lengths: np.ndarray


def positions_of(device: torch.device) -> int:
    """Padded tokens of one forward pass on a device."""
    return _POSITIONS.get(device.type, _POSITIONS["cpu"])


def precision_type(name: str) -> torch.dtype:
    """The torch type of a precision's name."""
    if name not in PRECISIONS:
        raise ParameterError(f"precision must be one of {', '.join(PRECISIONS)}, not {name!r}.")
    return PRECISIONS[name]


def encode_batches(
    model: ColBERT,
    texts: Sequence[str],
    is_query: bool,
    precision: str = "float32",
    positions: int | None = None,
    together: bool = False,
) -> Iterator[TokenBatch]:
    """Encode ``texts`` with the model's saved prompts, longest first, ``positions`` padded tokens at a time.

    Document vectors of skip-listed tokens (punctuation) are left out; every position of an expanded query is
    kept, [MASK] included, although the encoder does not attend to it. A prefix that is context alone is left out on
    both sides. With ``bfloat16`` the encoder runs under autocast. ``together`` gives each process of the job its share
    of the batches.
    """
    for batch in encode_positions(model, texts, is_query, precision, positions, together):
        yield TokenBatch(batch.rows, *_compact(batch.vectors, batch.scored))


def encode_positions(
    model: ColBERT,
    texts: Sequence[str],
    is_query: bool,
    precision: str = "float32",
    positions: int | None = None,
    together: bool = False,
) -> Iterator[PositionBatch]:
    """What `encode_batches` does, before positions that are not scored are dropped."""
    kind = precision_type(precision)
    prompt = (model.prompts or {}).get("query" if is_query else "document") or ""
    tokens = _tokenize(model, [prompt + text for text in texts], is_query)
    device = model.device
    skipped = torch.tensor(sorted(set(model.skiplist)), dtype=torch.int64, device=device)
    unscored = unscored_positions(model, is_query)
    positions = positions or positions_of(device)
    model.eval()
    go_fast(model, precision)
    # FlashAttention, which packs rows on a GPU, knows no float32.
    packed = packs(model, is_query) and (kind is torch.bfloat16 or device.type == "cpu")
    batches = length_batches(tokens.lengths, positions)
    for rows in islice(batches, group.rank(), None, group.size()) if together else batches:
        ids, attended, present = _padded(tokens, rows, model.tokenizer.pad_token_id, device)
        with torch.inference_mode(), torch.autocast(device.type, kind, enabled=kind is not torch.float32):
            features = {"input_ids": ids, "attention_mask": attended.long()}
            with packing(model) if packed else nullcontext():
                found = model(features)["token_embeddings"]
            vectors = F.normalize(found.float(), dim=-1)
            scored = present if is_query else present & ~torch.isin(ids, skipped)
            if unscored is not None:
                scored[:, unscored] = False
            batch = PositionBatch(torch.from_numpy(rows), ids, attended, scored, vectors)
        yield batch  # outside the contexts above, which would otherwise reach into the caller


def token_vectors(
    model: ColBERT, texts: Sequence[str], is_query: bool, precision: str = "float32"
) -> list[np.ndarray]:
    """The vectors of each text, [tokens, dim] float32: those of ``model.encode`` with the saved prompt."""
    found: list[np.ndarray] = [np.empty(0)] * len(texts)
    for batch in encode_batches(model, texts, is_query, precision):
        vectors = batch.vectors.cpu().numpy()
        for place, row in enumerate(batch.rows.tolist()):
            found[row] = vectors[place, : int(batch.counts[place])].copy()
    return found


def _tokenize(model: ColBERT, texts: Sequence[str], is_query: bool) -> _Tokens:
    """Tokenise with the model's own method ([Q]/[D], truncation, expansion) and drop the padding."""
    # PyLate puts the marker behind the first position, which must be [CLS].
    model.tokenizer.padding_side = "right"
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    expanded = is_query and bool(model.do_query_expansion)
    ids: list[torch.Tensor] = []
    attended: list[torch.Tensor] = []
    lengths = np.zeros(len(texts), dtype=np.int64)
    for start in range(0, len(order), _TOKENIZED_AT_ONCE):
        places = order[start : start + _TOKENIZED_AT_ONCE]
        features = model.tokenize([texts[place] for place in places], is_query=is_query)
        mask = features["attention_mask"].bool()
        present = torch.ones_like(mask) if expanded else mask
        ids.append(features["input_ids"][present].to(torch.int32))
        attended.append(mask[present])
        lengths[places] = present.sum(1).numpy()
    ends = np.cumsum(lengths[order]) if order else np.zeros(0, dtype=np.int64)
    starts = np.zeros(len(texts), dtype=np.int64)
    starts[order] = ends - lengths[order]
    empty = torch.zeros(0, dtype=torch.int32)
    return _Tokens(torch.cat([empty, *ids]), torch.cat([empty.bool(), *attended]), starts, lengths)


def length_batches(lengths: np.ndarray, positions: int) -> Iterator[np.ndarray]:
    """Rows by falling length, cut so that rows x longest stays within ``positions`` (at least one row)."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, positions // max(1, int(lengths[order[start]])))
        yield order[start : start + rows]
        start += rows


def _padded(
    tokens: _Tokens, rows: np.ndarray, padding: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, attention and presence [n, longest] of some texts, padded on the right to the longest of them."""
    lengths = torch.from_numpy(tokens.lengths[rows])[:, None]
    places = torch.arange(int(lengths.max()))[None]
    present = places < lengths
    where = (torch.from_numpy(tokens.starts[rows])[:, None] + places)[present]
    ids = torch.full(present.shape, padding, dtype=torch.int64)
    ids[present] = tokens.ids[where].long()
    attended = torch.zeros_like(present)
    attended[present] = tokens.attended[where]
    return ids.to(device), attended.to(device), present.to(device)


@torch.inference_mode()
def _compact(vectors: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Counts [n], and kept vectors moved to the front [n, max(counts), dim], the first one repeated after."""
    # A text of nothing but skipped tokens keeps its first one: a document without any vector has no score.
    kept[:, 0] |= ~kept.any(dim=1)
    counts = kept.sum(dim=1)
    width = int(counts.max())
    if bool((counts == vectors.shape[1]).all()):
        return counts.cpu(), vectors
    order = torch.argsort(~kept, dim=1, stable=True)[:, :width]
    places = torch.arange(width, device=kept.device)[None]
    order = torch.where(places < counts[:, None], order, order[:, :1])
    return counts.cpu(), vectors.gather(1, order[:, :, None].expand(-1, -1, vectors.shape[2]))
