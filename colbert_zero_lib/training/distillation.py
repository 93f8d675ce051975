"""Knowledge distillation: the student's scores over a list of documents are drawn to the teacher's.

The teacher's scores come with the batch; how they were made is the business of ``corpora``.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colbert_zero_lib.training.embedding import (
    Chunk,
    Encoded,
    Features,
    assemble,
    chunks,
    encode_apart,
)
from colbert_zero_lib.training.maxsim import maxsim_lists
from colbert_zero_lib.training.memory import Activations
from colbert_zero_lib.training.processes import encode, encode_again


def minmax(scores: Tensor) -> Tensor:
    """Each row mapped to [0, 1], as PyLate does before the softmax."""
    low, high = scores.amin(dim=1, keepdim=True), scores.amax(dim=1, keepdim=True)
    return (scores - low) / (high - low + 1e-8)


class Distillation(nn.Module):
    """``KL(softmax(teacher) || softmax(student))`` over each query's documents (paper, section 3.3).

    Parameters
    ----------
    model
        PyLate ``ColBERT``.
    temperature
        Divides the student's scores, after min-max scaling if that is on. 1 with min-max is what the authors used.
    normalize_scores
        Min-max scale the student's scores per query (the authors' setting).
    mini_batch_tokens
        Tokens encoded at once, padding included where rows are not packed. With gradient caching the memory of the
        encoder grows with this, not with the batch.
    gradient_cache
        As in ``Contrastive``: None keeps as many activations as fit into half of the device's memory.
    score_range
        Min-max scale the teacher's scores of each list to [0, this]; None takes them as they are. The authors' scores
        come scaled to [0, 1]: a min-max scaled student cannot be surer than that.
    kept_bytes
        As in ``Contrastive``.
    """

    def __init__(
        self,
        model: nn.Module,
        temperature: float = 1.0,
        normalize_scores: bool = True,
        mini_batch_tokens: int = 2048,
        gradient_cache: bool | None = None,
        score_range: float | None = None,
        kept_bytes: int | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.normalize_scores = normalize_scores
        self.mini_batch_tokens = mini_batch_tokens
        self.activations = Activations(gradient_cache, most=kept_bytes)
        self.score_range = score_range

    def scores(self, queries: Features, documents: Features) -> Tensor:
        """Student scores ``[queries, documents per query]``; documents come flattened, query by query."""
        parts, asked = self._parts(queries, documents)
        return _scores(encode(self.model, parts), asked)

    def forward(self, sentence_features: Iterable[Features], labels: Tensor) -> Tensor:
        """Loss of one batch; ``labels`` are the teacher's scores ``[queries, documents per query]``."""
        parts, asked = self._parts(*sentence_features)
        kept = self.activations.kept(self.model, parts)
        if len(kept) < len(parts):
            return self._cached_loss(parts, asked, labels, kept)
        return self._loss(_scores(encode(self.model, parts), asked), labels)

    def _parts(self, queries: Features, documents: Features) -> tuple[list[Chunk], int]:
        """Chunks of both sides, and how many of them are the queries'."""
        tokens = self.activations.tokens_at_once(self.model, self.mini_batch_tokens)
        asked = chunks(self.model, queries, True, tokens)
        return asked + chunks(self.model, documents, False, tokens), len(asked)

    def _loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        if self.normalize_scores:
            scores = minmax(scores)
        if self.score_range is not None:
            labels = self.score_range * minmax(labels)
        return F.kl_div(
            F.log_softmax(scores / self.temperature, dim=-1),
            F.log_softmax(labels.to(scores.dtype), dim=-1),
            reduction="batchmean",
            log_target=True,
        )

    def _cached_loss(self, parts: list[Chunk], asked: int, labels: Tensor, kept: set[int]) -> Tensor:
        encoded, states = encode_apart(self.model, parts, kept)
        vectors = [vector.requires_grad_() for vector in encoded.vectors]
        with torch.enable_grad():
            loss = self._loss(_scores(encoded, asked), labels)
            gradients = torch.autograd.grad(loss, vectors)
        total = loss.detach().requires_grad_()
        total.register_hook(lambda upstream: encode_again(self.model, parts, states, gradients, upstream))
        return total


def _scores(encoded: Encoded, asked: int) -> Tensor:
    (q, q_mask), (d, d_mask) = (assemble(side) for side in encoded.parted(asked))
    return maxsim_lists(q, d.view(len(q), -1, *d.shape[1:]), q_mask, d_mask.view(len(q), -1, d.shape[1]))
