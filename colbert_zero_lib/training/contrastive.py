"""InfoNCE over in-batch and mined negatives, with gradient caching, for dense and late-interaction models.

The unsupervised and the supervised phase share this loss; batches and trainers are elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from sentence_transformers.losses.CachedMultipleNegativesRankingLoss import RandContext
from torch import Tensor, nn

from colbert_zero_lib.training.embedding import (
    Chunk,
    Features,
    assemble,
    chunks,
    interleave,
    inverse,
    token_vectors,
    with_padding,
)
from colbert_zero_lib.training.maxsim import maxsim


class Contrastive(nn.Module):
    """Cross-entropy of each query's own document against all documents of the batch (paper, section 3.1).

    ``loss = -1/B sum_i log exp(s(q_i, d_i+)/T) / sum_j exp(s(q_i, d_j)/T)``, where ``j`` runs over the positives and
    mined negatives of *all* queries of the batch. ``s`` is MaxSim, or the cosine for a dense model.

    Parameters
    ----------
    model
        PyLate ``ColBERT`` or dense ``SentenceTransformer``.
    temperature
        ``T`` above; it divides the sum over query tokens (ColBERT) or the cosine (dense).
    mini_batch_tokens
        Padded tokens encoded at once. Memory of the encoder grows with this, not with the batch.
    gradient_cache
        True re-encodes each chunk for its backward pass (GradCache, Gao et al. 2021, arXiv 2101.06983), False keeps all
        activations, None decides by whether the batch holds more than ``direct_tokens`` padded tokens.
    learned_temperature
        Train ``log T`` with the encoder (the paper learned it first, then fixed it).
    authors_gradient
        PyLate 1.6's cached loss hands the encoder a gradient ``batch_size`` times too large (it divides the returned
        loss only). True reproduces that; with gradient clipping every step is then clipped.
    """

    def __init__(
        self,
        model: nn.Module,
        temperature: float,
        mini_batch_tokens: int = 8192,
        gradient_cache: bool | None = None,
        direct_tokens: int = 65_536,
        learned_temperature: bool = False,
        authors_gradient: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.log_temperature = nn.Parameter(
            torch.tensor(math.log(temperature)), requires_grad=learned_temperature
        )
        self.mini_batch_tokens = mini_batch_tokens
        self.gradient_cache = gradient_cache
        self.direct_tokens = direct_tokens
        self.authors_gradient = authors_gradient

    @property
    def temperature(self) -> float:
        """Its present value."""
        return float(self.log_temperature.detach().exp())

    def forward(self, sentence_features: Iterable[Features], labels: Tensor | None = None) -> Tensor:
        """Loss of one batch: the first features are the queries, the others document columns (positive first)."""
        queries, *columns = sentence_features
        query_parts = chunks(self.model, queries, True, self.mini_batch_tokens)
        document_parts = chunks(self.model, interleave(columns), False, self.mini_batch_tokens)
        if self._cached(query_parts + document_parts):
            return self._cached_loss(query_parts, document_parts, len(columns))
        encoded = [
            token_vectors(self.model, part.features, part.is_query) for part in query_parts + document_parts
        ]
        vectors, masks = [v for v, _ in encoded], [m for _, m in encoded]
        return self._loss(vectors, masks, query_parts, document_parts, len(columns))

    def _cached(self, parts: list[Chunk]) -> bool:
        if self.gradient_cache is not None or not torch.is_grad_enabled():
            return bool(self.gradient_cache) and torch.is_grad_enabled()
        return sum(part.features["input_ids"].numel() for part in parts) > self.direct_tokens

    def _loss(
        self,
        vectors: list[Tensor],
        masks: list[Tensor],
        query_parts: list[Chunk],
        document_parts: list[Chunk],
        columns: int,
        rows: slice = slice(None),
    ) -> Tensor:
        """Mean loss over the queries in ``rows``, times their share of the batch."""
        n = len(query_parts)
        queries, query_mask = assemble(vectors[:n], masks[:n], query_parts)
        batch = len(queries)
        targets = torch.arange(batch, device=queries.device)[rows] * columns
        documents = map(with_padding, vectors[n:], masks[n:], document_parts)
        scores = torch.cat([maxsim(queries[rows], d, query_mask[rows], m) for d, m in documents], dim=1)
        scores = scores[:, inverse(document_parts)] / self.log_temperature.exp()
        return F.cross_entropy(scores, targets, reduction="sum") / batch

    def _cached_loss(self, query_parts: list[Chunk], document_parts: list[Chunk], columns: int) -> Tensor:
        parts = query_parts + document_parts
        states, vectors, masks = [], [], []
        with torch.no_grad():
            for part in parts:
                states.append(RandContext(*part.features.values()))
                vector, mask = token_vectors(self.model, part.features, part.is_query)
                vectors.append(vector.detach().requires_grad_())
                masks.append(mask)
        batch = sum(len(part.index) for part in query_parts)
        leaves = [*vectors, self.log_temperature] if self.log_temperature.requires_grad else vectors
        gradients = [torch.zeros_like(leaf) for leaf in leaves]
        total = torch.zeros((), device=vectors[0].device)
        with torch.enable_grad():
            # One block of queries against all documents at a time bounds the memory of the scores.
            step = max(1, self.mini_batch_tokens // vectors[0].shape[1])
            for start in range(0, batch, step):
                rows = slice(start, start + step)
                loss = self._loss(vectors, masks, query_parts, document_parts, columns, rows)
                for gradient, more in zip(gradients, torch.autograd.grad(loss, leaves), strict=True):
                    gradient += more
                total += loss.detach()
        scale = float(batch) if self.authors_gradient else 1.0
        total.requires_grad_()

        def backward(upstream: Tensor) -> None:
            with torch.enable_grad():
                for part, state, gradient in zip(parts, states, gradients, strict=False):
                    with state:
                        vector, _ = token_vectors(self.model, part.features, part.is_query)
                    vector.backward(gradient.to(vector.dtype) * upstream * scale)
            if self.log_temperature.requires_grad:
                earlier = self.log_temperature.grad
                own = gradients[-1] * upstream
                self.log_temperature.grad = own if earlier is None else earlier + own

        total.register_hook(backward)
        return total
