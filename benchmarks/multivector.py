"""`MultiVectorEncoder` of sentence-transformers 6, trained and searched as its documentation shows.

`python -m benchmarks.multivector` is the process that answers what `apart` asks: it reads a task a line from standard
input and writes an answer a line. It runs where that version is found first, and imports nothing of PyLate.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from colbert_zero_lib.recipes import Phase

from .statistics import seconds
from .steps import TEMPERATURE, Row, Side, half_precision, step_memory

CORPUS_CHUNK = 5000  # documents encoded before they are scored: what the library's own evaluator takes
BATCH_SIZE = 32  # the library's default


def opened(folder: str, precision: str) -> Any:
    """The model saved in ``folder``; in bfloat16 as accelerate arranges it."""
    from sentence_transformers import MultiVectorEncoder  # type: ignore[attr-defined]

    model = MultiVectorEncoder(folder, device="cpu", local_files_only=True)
    return half_precision(model) if precision == "bfloat16" else model


def scaled_scores(*embeddings: Tensor, **masks: Tensor) -> Tensor:
    """The library's scores for distillation, min-max scaled by query as the paper's authors have them."""
    from sentence_transformers.multi_vector_encoder.scoring import colbert_kd_scores

    scores = colbert_kd_scores(*embeddings, **masks)
    low, high = scores.amin(dim=1, keepdim=True), scores.amax(dim=1, keepdim=True)
    return (scores - low) / (high - low + 1e-8)


def loss_of(model: Any, phase: Phase, cached: bool, mini_batch_tokens: int) -> nn.Module:
    """The library's loss of a phase; ``cached``: with a gradient cache cut by a budget of tokens."""
    from sentence_transformers.multi_vector_encoder import losses

    if phase is Phase.DISTILLATION:
        return losses.MultiVectorDistillKLDivLoss(model, similarity_fct=scaled_scores)
    if cached:
        return losses.CachedMultiVectorMultipleNegativesRankingLoss(
            model, scale=1 / TEMPERATURE, mini_batch_num_tokens=mini_batch_tokens
        )
    return losses.MultiVectorMultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)


class Collator:
    """The library's own collator, after lists of documents have become columns, as its losses want them."""

    def __init__(self, model: Any) -> None:
        from sentence_transformers.multi_vector_encoder.data_collator import MultiVectorEncoderDataCollator

        self.model = model
        self.collate = MultiVectorEncoderDataCollator(model.preprocess)

    def __call__(self, rows: list[Row]) -> dict[str, Any]:
        """A padded batch of columns, each with its side's prompt."""
        rows = [_columns(row) for row in rows]
        prompts = self.model.prompts
        self.collate.prompts = {
            name: prompts["query" if name == "query" else "document"] for name in rows[0] if name != "label"
        }
        return self.collate(rows)


def _columns(row: Row) -> Row:
    if "documents" not in row:
        return row
    listed = {f"document_{place}": text for place, text in enumerate(row["documents"])}
    return {"query": row["query"], **listed, "label": row["scores"]}


class Worker:
    """What can be asked; `open` comes first."""

    side: Side

    def open(
        self, folder: str, phase: str, cached: bool, mini_batch_tokens: int, precision: str
    ) -> dict[str, Any]:
        """Take a fresh copy of the saved model, in place of what was open before."""
        model = opened(folder, precision)
        loss = loss_of(model, Phase(phase), cached, mini_batch_tokens)
        self.side = Side("apart", model, Collator(model), loss)
        return {}

    def step(self, rows: list[Row]) -> dict[str, Any]:
        """Seconds of a whole training step."""
        return {"seconds": self.side.timed(rows)}

    def gradient(self, rows: list[Row], file: str) -> dict[str, Any]:
        """The loss of a batch; its gradient goes into ``file``."""
        loss, gradient = self.side.gradient(rows)
        save_file({"gradient": gradient}, file)
        return {"loss": loss}

    def memory(self, rows: list[Row], activations: bool) -> dict[str, Any]:
        """What a step takes."""
        return step_memory(self.side, rows, activations)

    def search(
        self, folder: str, corpus: list[str], queries: list[str], k: int, precision: str
    ) -> dict[str, Any]:
        """Seconds to encode and search, and the ``k`` best documents of each query with their scores."""
        self.__dict__.pop("side", None)  # what was trained before needs its memory no more
        model = opened(folder, precision)
        model.encode_document(corpus[:BATCH_SIZE])
        found: list[Tensor] = []
        took = seconds(lambda: found.extend(best(model, corpus, queries, k)))
        return {"seconds": took, "scores": found[0].tolist(), "indices": found[1].tolist()}


def best(model: Any, corpus: list[str], queries: list[str], k: int) -> tuple[Tensor, Tensor]:
    """Scores and places of the ``k`` best documents of each query, chunk by chunk as the library's evaluator goes."""
    asked = nn.utils.rnn.pad_sequence(model.encode_query(queries, batch_size=BATCH_SIZE), batch_first=True)
    scores, places = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
    for start in range(0, len(corpus), CORPUS_CHUNK):
        documents = model.encode_document(corpus[start : start + CORPUS_CHUNK], batch_size=BATCH_SIZE)
        top = model.similarity(asked, documents).topk(min(k, len(documents)), dim=1)
        scores, places = torch.cat([scores, top.values], 1), torch.cat([places, top.indices + start], 1)
    top = scores.topk(min(k, scores.shape[1]), dim=1)
    return top.values, places.gather(1, top.indices)


def main() -> None:
    """Answer until nobody asks any more; what others print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        asked = json.loads(line)
        torch.set_num_threads(asked["threads"])
        answer = getattr(worker, asked["task"])(**asked["given"])
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
