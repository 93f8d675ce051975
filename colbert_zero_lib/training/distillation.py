"""Knowledge distillation: the student's scores over a list of documents are drawn to the teacher's.

The teacher's scores come with the batch; how they were made is the business of ``corpora``.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from colbert_zero_lib.training.embedding import Features, assemble, chunks, token_vectors
from colbert_zero_lib.training.maxsim import maxsim_lists


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
        Padded tokens encoded at once.
    """

    def __init__(
        self,
        model: nn.Module,
        temperature: float = 1.0,
        normalize_scores: bool = True,
        mini_batch_tokens: int = 2048,
    ) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.normalize_scores = normalize_scores
        self.mini_batch_tokens = mini_batch_tokens

    def scores(self, queries: Features, documents: Features) -> Tensor:
        """Student scores ``[queries, documents per query]``; documents come flattened, query by query."""
        vectors = []
        for features, is_query in ((queries, True), (documents, False)):
            parts = chunks(self.model, features, is_query, self.mini_batch_tokens)
            encoded = [token_vectors(self.model, part.features, is_query) for part in parts]
            vectors.append(assemble([v for v, _ in encoded], [m for _, m in encoded], parts))
        (q, q_mask), (d, d_mask) = vectors
        return maxsim_lists(q, d.view(len(q), -1, *d.shape[1:]), q_mask, d_mask.view(len(q), -1, d.shape[1]))

    def forward(self, sentence_features: Iterable[Features], labels: Tensor) -> Tensor:
        """Loss of one batch; ``labels`` are the teacher's scores ``[queries, documents per query]``."""
        queries, documents = sentence_features
        scores = self.scores(queries, documents)
        if self.normalize_scores:
            scores = minmax(scores)
        return F.kl_div(
            F.log_softmax(scores / self.temperature, dim=-1),
            F.log_softmax(labels.to(scores.dtype), dim=-1),
            reduction="batchmean",
            log_target=True,
        )
