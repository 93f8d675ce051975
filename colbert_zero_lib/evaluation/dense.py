"""Single-vector search with a sentence-transformers model: cosine of normalised embeddings, exact.

Token-level models are in `late_interaction`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

from colbert_zero_lib import group

from .encode import precision_type
from .ranking import Ranking
from .topk import TopK

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from colbert_zero_lib.corpora import Collection

# Documents encoded before they are scored: their vectors are all that is held.
_BLOCK = 16384


class DenseRetriever:
    """Ranks by the cosine of query and document vectors, with the model's own prompts if it has them.

    ``precision`` ``bfloat16`` runs the encoder under autocast; vectors are compared in float32 either way.
    ``together``: the processes of the job share the batches of documents, and each gets the whole ranking, equal to
    that of one process to the last bit. With one process nothing changes.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        batch_size: int = 32,
        precision: str = "float32",
        together: bool = False,
    ) -> None:
        self.together = together
        self.model, self.batch_size, self.precision = model, batch_size, precision
        self._kind = precision_type(precision)

    def search(self, collection: Collection, k: int = 100) -> Ranking:
        """Encode the queries, then score the corpus block by block."""
        queries = self._encode(list(collection.queries.values()), "query")
        documents = list(collection.corpus.values())
        best = TopK(len(queries), min(k, len(documents)), queries.device)
        for start in range(0, len(documents), _BLOCK):
            texts = documents[start : start + _BLOCK]
            shared = self.together and group.size() > 1
            block = self._encode_together(texts, queries) if shared else self._encode(texts, "document")
            rows = torch.arange(start, start + len(block), device=block.device)
            best.add(queries @ block.T, rows)
        return Ranking(tuple(collection.queries), *best.result())

    def _encode_together(self, texts: Sequence[str], like: torch.Tensor) -> torch.Tensor:
        """The vectors of documents, each batch of them encoded by one process, all of them on every process."""
        vectors = like.new_zeros(len(texts), like.shape[1])
        # As `encode` itself sorts them, so that each batch is the one that one process would encode.
        order = np.argsort([-len(text) for text in texts])
        for start in range(group.rank() * self.batch_size, len(texts), group.size() * self.batch_size):
            places = order[start : start + self.batch_size].tolist()
            vectors[places] = self._encode([texts[place] for place in places], "document")
        dist.all_reduce(vectors)
        return vectors

    def _encode(self, texts: Sequence[str], name: str) -> torch.Tensor:
        prompt_name = name if (self.model.prompts or {}).get(name) else None
        kind = self._kind
        with torch.autocast(self.model.device.type, kind, enabled=kind is not torch.float32):
            vectors = self.model.encode(
                list(texts),
                prompt_name=prompt_name,
                batch_size=self.batch_size,
                convert_to_tensor=True,
                show_progress_bar=False,
            )
        return F.normalize(vectors.float(), dim=-1)
