"""InfoNCE over in-batch and mined negatives, with gradient caching, for dense and late-interaction models.

The unsupervised and the supervised phase share this loss; batches and trainers are elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from sentence_transformers.losses.CachedMultipleNegativesRankingLoss import RandContext
from torch import Tensor, nn

from colbert_zero_lib.training.embedding import (
    Chunk,
    Encoded,
    Features,
    assemble,
    chunks,
    interleave,
    inverse,
    is_late_interaction,
    token_vectors,
    unwrapped,
    with_padding,
)
from colbert_zero_lib.training.maxsim import maxsim
from colbert_zero_lib.training.memory import activation_bytes_per_token, device_memory
from colbert_zero_lib.training.processes import (
    Shares,
    encode,
    exchange_shares,
    gather_documents,
    gathers,
    mean_over_processes,
    one_exchange,
    world_size,
)

# Where the device does not say how much memory it has: padded tokens of a batch whose activations are still kept.
DIRECT_TOKENS = 65_536


class Contrastive(nn.Module):
    """Cross-entropy of each query's own document against all documents of the batch (paper, section 3.1).

    ``loss = -1/B sum_i log exp(s(q_i, d_i+)/T) / sum_j exp(s(q_i, d_j)/T)``, where ``j`` runs over the positives and
    mined negatives of *all* queries of the batch. ``s`` is MaxSim, or the cosine for a dense model.

    With several processes the batch is that of all of them: each gathers everyone's documents, scores its own queries
    and returns its own loss. The mean of these losses, and the gradient as DistributedDataParallel averages it, are
    those of one process with the whole batch. (PyLate 1.6's ``gather_across_devices`` makes both as many times larger
    as there are processes.)

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
        activations. None keeps them as long as they fit into ``memory_share`` of the device's memory, by what the
        encoder was measured to keep per token. The two ways differ in rounding alone, but they do differ.
    direct_tokens
        Padded tokens of a batch up to which activations are kept; a number replaces the measurement.
    memory_share
        See ``gradient_cache``; the rest is for weights, optimizer and the peak within a chunk.
    gather
        Whether documents are negatives across processes; None where there is more than one process.
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
        direct_tokens: int | None = None,
        learned_temperature: bool = False,
        authors_gradient: bool = False,
        memory_share: float = 0.5,
        gather: bool | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.log_temperature = nn.Parameter(
            torch.tensor(math.log(temperature)), requires_grad=learned_temperature
        )
        self.mini_batch_tokens = mini_batch_tokens
        self.gradient_cache = gradient_cache
        self.direct_tokens = direct_tokens
        self.memory_share = memory_share
        self.gather = gather
        self.authors_gradient = authors_gradient
        self._bytes_per_token: float | None = None

    @property
    def temperature(self) -> float:
        """Its present value."""
        return float(self.log_temperature.detach().exp())

    def forward(self, sentence_features: Iterable[Features], labels: Tensor | None = None) -> Tensor:
        """Loss of one batch: the first features are the queries, the others document columns (positive first)."""
        queries, *columns = sentence_features
        query_parts = chunks(self.model, queries, True, self.mini_batch_tokens)
        document_parts = chunks(self.model, interleave(columns), False, self.mini_batch_tokens)
        cached = self._cached(query_parts, document_parts)
        shares = None
        if gathers(self.gather):
            ids = columns[0]["input_ids"]
            rows, width = len(ids) * len(columns), ids.shape[1] if is_late_interaction(self.model) else 1
            shares = exchange_shares(len(queries["input_ids"]), rows, width, cached, ids.device)
            cached = shares.cached
        if cached:
            return self._cached_loss(query_parts, document_parts, len(columns), shares)
        log_temperature: Tensor = self.log_temperature
        if self._shares_temperature():
            log_temperature = mean_over_processes(log_temperature)
        n = len(query_parts)
        vectors, masks, parts = encode(self.model, query_parts + document_parts)
        documents = Encoded(vectors[n:], masks[n:], parts[n:])
        if shares is not None:
            documents = gather_documents(documents, shares)
        asked = Encoded(vectors[:n], masks[:n], parts[:n])
        return self._loss(asked, documents, len(columns), log_temperature, shares)

    def _shares_temperature(self) -> bool:
        # A wrapper around the model averages the model's gradients only.
        return self.log_temperature.requires_grad and torch.is_grad_enabled() and world_size() > 1

    def _cached(self, query_parts: list[Chunk], document_parts: list[Chunk]) -> bool:
        """Whether this batch's activations are too many to keep; the same on every run of one machine."""
        if self.gradient_cache is not None or not torch.is_grad_enabled():
            return bool(self.gradient_cache) and torch.is_grad_enabled()
        ids = [part.features["input_ids"] for part in query_parts + document_parts]
        tokens = sum(each.numel() for each in ids)
        if self.direct_tokens is not None:
            return tokens > self.direct_tokens
        memory = device_memory(ids[0].device)
        if memory is None:
            return tokens > DIRECT_TOKENS
        if self._bytes_per_token is None:
            inner = unwrapped(self.model)
            longest = getattr(inner, "document_length", None) or getattr(inner, "max_seq_length", None)
            longest = longest or max(each.shape[1] for each in ids)
            self._bytes_per_token = activation_bytes_per_token(self.model, int(longest))
        kept = tokens * self._bytes_per_token
        if is_late_interaction(self.model):
            # MaxSim remembers, in four bytes, which token of a document was each query token's best.
            documents = sum(len(part.index) for part in document_parts)
            kept += 4 * documents * sum(part.features["input_ids"].numel() for part in query_parts)
        return kept > self.memory_share * memory

    def _loss(
        self,
        asked: Encoded,
        documents: Encoded,
        columns: int,
        log_temperature: Tensor,
        shares: Shares | None,
        rows: slice = slice(None),
    ) -> Tensor:
        """Mean loss over the queries in ``rows``, times their share of the batch."""
        queries, query_mask = assemble(*asked)
        targets = torch.arange(len(queries), device=queries.device)[rows] * columns
        batch: float = len(queries)
        if shares is not None:
            targets, batch = targets + shares.first_document, shares.mean_queries
        pieces = map(with_padding, *documents)
        scores = torch.cat([maxsim(queries[rows], d, query_mask[rows], m) for d, m in pieces], dim=1)
        scores = scores[:, inverse(documents.parts)] / log_temperature.exp()
        return F.cross_entropy(scores, targets, reduction="sum") / batch

    def _cached_loss(
        self, query_parts: list[Chunk], document_parts: list[Chunk], columns: int, shares: Shares | None
    ) -> Tensor:
        parts = query_parts + document_parts
        states, vectors, masks = [], [], []
        with torch.no_grad():
            for part in parts:
                states.append(RandContext(*part.features.values()))
                vector, mask = token_vectors(self.model, part.features, part.is_query)
                vectors.append(vector.detach().requires_grad_())
                masks.append(mask)
        n = len(query_parts)
        asked = Encoded(vectors[:n], masks[:n], query_parts)
        documents = own = Encoded(vectors[n:], masks[n:], document_parts)
        if shares is not None:
            with torch.enable_grad():
                gathered = gather_documents(own, shares)
            documents = gathered._replace(vectors=[gathered.vectors[0].detach().requires_grad_()])
        leaves = [*asked.vectors, *documents.vectors]
        if self.log_temperature.requires_grad:
            leaves.append(self.log_temperature)
        gradients = [torch.zeros_like(leaf) for leaf in leaves]
        total = torch.zeros((), device=vectors[0].device)
        batch = sum(len(part.index) for part in query_parts)
        with torch.enable_grad():
            # One block of queries against all documents at a time bounds the memory of the scores.
            step = max(1, self.mini_batch_tokens // vectors[0].shape[1])
            for start in range(0, batch, step):
                rows = slice(start, start + step)
                loss = self._loss(asked, documents, columns, self.log_temperature, shares, rows)
                for gradient, more in zip(gradients, torch.autograd.grad(loss, leaves), strict=True):
                    gradient += more
                total += loss.detach()
        if shares is not None:
            gradients[n : n + 1] = torch.autograd.grad(gathered.vectors[0], own.vectors, gradients[n])
        if self._shares_temperature():
            dist.all_reduce(gradients[-1])
            gradients[-1] /= world_size()
        scale = float(batch if shares is None else sum(shares.queries)) if self.authors_gradient else 1.0
        total.requires_grad_()

        def backward(upstream: Tensor) -> None:
            with torch.enable_grad():
                exchanges = one_exchange(self.model, len(parts))
                for part, state, gradient, exchange in zip(parts, states, gradients, exchanges, strict=False):
                    with exchange:
                        with state:
                            vector, _ = token_vectors(self.model, part.features, part.is_query)
                        vector.backward(gradient.to(vector.dtype) * upstream * scale)
            if self.log_temperature.requires_grad:
                earlier = self.log_temperature.grad
                more = gradients[-1] * upstream
                self.log_temperature.grad = more if earlier is None else earlier + more

        total.register_hook(backward)
        return total
