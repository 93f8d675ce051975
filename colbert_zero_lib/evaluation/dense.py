"""Single-vector search with a sentence-transformers model: cosine of normalised embeddings, exact.

Token-level models are in `late_interaction`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

from colbert_zero_lib import group
from colbert_zero_lib.training.packing import go_fast, packing, packs

from .encode import length_batches, positions_of, precision_type
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
    ``positions`` bounds the padded tokens of one forward pass, in which texts of nearly equal length go together.
    ``together``: the processes of the job share the batches of documents, and each gets the whole ranking, equal to
    that of one process to the last bit. With one process nothing changes.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        precision: str = "float32",
        positions: int | None = None,
        together: bool = False,
    ) -> None:
        self.model, self.precision, self.together = model, precision, together
        self.positions = positions or positions_of(model.device)
        self._kind = precision_type(precision)

    def search(self, collection: Collection, k: int = 100) -> Ranking:
        """Encode the queries, then score the corpus block by block."""
        queries = self._encode(list(collection.queries.values()), "query")
        documents = list(collection.corpus.values())
        best = TopK(len(queries), min(k, len(documents)), queries.device)
        for start in range(0, len(documents), _BLOCK):
            texts = documents[start : start + _BLOCK]
            block = self._encode(texts, "document", self.together)
            rows = torch.arange(start, start + len(block), device=block.device)
            best.add(queries @ block.T, rows)
        return Ranking(tuple(collection.queries), *best.result())

    def _encode(self, texts: Sequence[str], name: str, together: bool = False) -> torch.Tensor:
        """Unit vectors [texts, dim]; ``together``: each batch is encoded by one process, and all get all of them."""
        dimension = int(self.model.get_sentence_embedding_dimension() or 0)
        vectors = torch.zeros(len(texts), dimension, dtype=torch.float32, device=self.model.device)
        prompt_name = name if (self.model.prompts or {}).get(name) else None
        batches = length_batches(self._lengths(texts), self.positions)
        shared = together and group.size() > 1
        go_fast(self.model, self.precision)
        half = torch.autocast(self.model.device.type, self._kind, enabled=self._kind is not torch.float32)
        for rows in islice(batches, group.rank(), None, group.size()) if shared else batches:
            with half, packing(self.model) if packs(self.model, False) else nullcontext():
                found = self.model.encode(
                    [texts[row] for row in rows],
                    prompt_name=prompt_name,
                    batch_size=len(rows),
                    convert_to_tensor=True,
                    show_progress_bar=False,
                )
            vectors[rows] = F.normalize(found.float(), dim=-1)
        if shared:
            dist.all_reduce(vectors)
        return vectors

    def _lengths(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens of each text, prompts not counted: they are as many for all."""
        limit = self.model.max_seq_length
        options = {"truncation": limit is not None, "max_length": limit, "return_attention_mask": False}
        found = self.model.tokenizer(list(texts), **options)["input_ids"] if texts else []
        return np.array([len(ids) for ids in found], dtype=np.int64)
