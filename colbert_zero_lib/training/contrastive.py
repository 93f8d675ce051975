"""InfoNCE over in-batch and mined negatives, with gradient caching, for dense and late-interaction models.

The unsupervised and the supervised phase share this loss; batches and trainers are elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from colbert_zero_lib import group
from colbert_zero_lib.training.embedding import (
    Chunk,
    Encoded,
    Features,
    assemble,
    chunks,
    encode_apart,
    interleave,
    inverse,
    is_late_interaction,
    padded,
    side_by_side,
)
from colbert_zero_lib.training.maxsim import fuses, index_type, maxsim
from colbert_zero_lib.training.memory import Activations, device_memory
from colbert_zero_lib.training.processes import (
    agree_on_batch,
    encode,
    encode_again,
    gather_documents,
    mean_over_processes,
)

# Of a GPU's memory, what scores may take.
SCORES_SHARE = 0.25


class Contrastive(nn.Module):
    """Cross-entropy of each query's own document against all documents of the batch (paper, section 3.1).

    ``loss = -1/B sum_i log exp(s(q_i, d_i+)/T) / sum_j exp(s(q_i, d_j)/T)``, where ``j`` runs over the positives and
    mined negatives of *all* queries of the batch. ``s`` is MaxSim, or the cosine for a dense model. A copy of a query's
    own document elsewhere in the batch counts as a wrong one, as it does in PyLate.

    With several processes, which bring equally many rows, the batch is that of all of them: each gathers everyone's
    documents, scores its own queries and returns its own loss. The mean of these losses, and the gradient as
    DistributedDataParallel averages it, are those of one process with the whole batch. (PyLate 1.6's
    ``gather_across_devices`` makes both as many times larger as there are processes.)

    Parameters
    ----------
    model
        PyLate ``ColBERT`` or dense ``SentenceTransformer``.
    temperature
        ``T`` above; it divides the sum over query tokens (ColBERT) or the cosine (dense).
    mini_batch_tokens
        Tokens encoded at once, padding included where rows are not packed. Memory of the encoder grows with this, not
        with the batch.
    gradient_cache
        True encodes chunks again for their backward pass (GradCache, Gao et al. 2021, arXiv 2101.06983), all but the
        largest, False keeps all activations. None keeps as many as fit into half of the device's memory, by what
        the encoder was measured to keep per token; the rest is for weights, optimizer and the peak within a chunk. The
        ways differ in rounding alone, but they do differ.
    kept_bytes
        The most that kept activations may take besides, in bytes; None sets no limit.
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
        mini_batch_tokens: int = 2048,
        gradient_cache: bool | None = None,
        learned_temperature: bool = False,
        authors_gradient: bool = False,
        kept_bytes: int | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.log_temperature = nn.Parameter(
            torch.tensor(math.log(temperature)), requires_grad=learned_temperature
        )
        self.mini_batch_tokens = mini_batch_tokens
        self.activations = Activations(gradient_cache, kept_bytes)
        self.authors_gradient = authors_gradient

    @property
    def temperature(self) -> float:
        """Its present value."""
        return float(self.log_temperature.detach().exp())

    def forward(self, sentence_features: Iterable[Features], labels: Tensor | None = None) -> Tensor:
        """Loss of one batch: the first features are the queries, the others document columns (positive first)."""
        queries, *columns = sentence_features
        tokens = self.activations.tokens_at_once(self.model, self.mini_batch_tokens)
        query_parts = chunks(self.model, queries, True, tokens)
        document_parts = chunks(self.model, interleave(columns), False, tokens)
        parts = query_parts + document_parts
        kept = self.activations.kept(self.model, parts, self._remembered(query_parts, document_parts))
        cached = len(kept) < len(parts)
        width = None  # of the documents of all processes
        if group.size() > 1:
            ids = columns[0]["input_ids"]
            own = ids.shape[1] if is_late_interaction(self.model) else 1
            width, cached = agree_on_batch(own, cached, ids.device)
        if cached:
            return self._cached_loss(query_parts, document_parts, len(columns), width, kept)
        log_temperature: Tensor = self.log_temperature
        if self._shares_temperature():
            log_temperature = mean_over_processes(log_temperature)
        asked, documents = encode(self.model, parts).parted(len(query_parts))
        documents = padded(documents) if width is None else gather_documents(documents, width)
        vectors, mask = assemble(asked)
        targets = _targets(vectors, len(columns))
        return self._loss(vectors, mask, documents, log_temperature, targets) / len(vectors)

    def _shares_temperature(self) -> bool:
        # A wrapper around the model averages the model's gradients only.
        return self.log_temperature.requires_grad and torch.is_grad_enabled() and group.size() > 1

    def _remembered(self, query_parts: list[Chunk], document_parts: list[Chunk]) -> int:
        """Bytes in which MaxSim remembers which token of a document was each query token's best."""
        if not is_late_interaction(self.model):
            return 0
        places = sum(len(part.index) for part in document_parts)
        places *= sum(part.features["input_ids"].numel() for part in query_parts)
        longest = max(part.features["input_ids"].shape[1] for part in query_parts + document_parts)
        return index_type(longest).itemsize * places

    def _loss(
        self,
        queries: Tensor,
        query_mask: Tensor,
        documents: Encoded,
        log_temperature: Tensor,
        targets: Tensor,
    ) -> Tensor:
        """Summed loss of some queries against all documents."""
        scores = maxsim(queries, documents.vectors, query_mask, documents.masks)
        scores = scores[:, inverse(documents.parts)] / log_temperature.exp()
        return F.cross_entropy(scores, targets, reduction="sum")

    def _cached_loss(
        self,
        query_parts: list[Chunk],
        document_parts: list[Chunk],
        columns: int,
        gathered_width: int | None,
        kept: set[int],
    ) -> Tensor:
        parts = query_parts + document_parts
        encoded, states = encode_apart(self.model, parts, kept - {len(parts) - 1})
        asked, own = encoded.parted(len(query_parts))
        queries, query_mask = assemble(asked)
        width = query_parts[0].features["input_ids"].shape[1] if is_late_interaction(self.model) else 1
        document_gradients = side_by_side([vector.shape for vector in own.vectors], own.vectors[0])
        for vector, gradient in zip(own.vectors, document_gradients, strict=True):
            vector.requires_grad_().grad = gradient
        documents = own
        if gathered_width is not None:
            with torch.enable_grad():
                gathered = gather_documents(own, gathered_width)
            documents = gathered._replace(vectors=[gathered.vectors[0].detach().requires_grad_()])
        log_temperature = self.log_temperature.detach().requires_grad_(self.log_temperature.requires_grad)
        targets = _targets(queries, columns)
        query_gradients = torch.empty_like(queries)
        total = torch.zeros((), device=queries.device)
        with torch.enable_grad():
            # One block of queries against all documents at a time bounds the memory of the scores.
            step = max(1, self.mini_batch_tokens // width)
            if fuses(queries):
                # Nothing is held but the best places, a byte or two each, and the scores in a few copies.
                each = (2 * width + 24) * sum(map(len, documents.vectors))
                step = max(step, int(SCORES_SHARE * (device_memory(queries.device) or 0)) // each)
            for rows in torch.arange(len(queries), device=queries.device).split(step):
                block = queries[rows].requires_grad_()
                loss = self._loss(block, query_mask[rows], documents, log_temperature, targets[rows])
                loss = loss / len(queries)
                loss.backward()
                query_gradients[rows] = cast(Tensor, block.grad)
                total += loss.detach()
        if gathered_width is not None:
            torch.autograd.backward(gathered.vectors[0], documents.vectors[0].grad)
        temperature_gradient = log_temperature.grad
        if temperature_gradient is not None and self._shares_temperature():
            dist.all_reduce(temperature_gradient)
            temperature_gradient /= group.size()
        gradients = [query_gradients[part.index] for part in query_parts] + document_gradients
        scale = float(len(queries) * group.size()) if self.authors_gradient else 1.0
        total.requires_grad_()

        def backward(upstream: Tensor) -> None:
            encode_again(self.model, parts, states, gradients, upstream * scale)
            if temperature_gradient is not None:
                earlier = self.log_temperature.grad
                more = temperature_gradient * upstream
                self.log_temperature.grad = more if earlier is None else earlier + more

        total.register_hook(backward)
        return total


def _targets(queries: Tensor, columns: int) -> Tensor:
    """Where each query's own document stands among those of all processes."""
    first = group.rank() * len(queries)
    return torch.arange(first, first + len(queries), device=queries.device) * columns
