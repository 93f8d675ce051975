"""PLAID, the compressed index for corpora whose token vectors no longer fit in memory.

A thin layer over PyLate's fast-plaid; on thousands of documents `late_interaction` is faster, and exact.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from colbert_zero_lib.errors import DataError

from .encode import token_vectors
from .ranking import Ranking

if TYPE_CHECKING:
    from pylate.models import ColBERT

    from colbert_zero_lib.corpora import Collection


class PlaidRetriever:
    """Ranks with PyLate's PLAID index, built in a temporary folder for each search.

    ``bits`` per dimension of the residuals; ``probes`` clusters visited per query token; ``full_scores``
    candidates that are scored in full; ``threads`` worker processes of a search on a CPU. The index
    approximates: a relevant document may be missed, and scores differ in the third decimal.
    """

    def __init__(
        self,
        model: ColBERT,
        bits: int = 4,
        probes: int = 8,
        full_scores: int = 8192,
        seed: int = 42,
        precision: str = "float32",
        threads: int = 1,
    ) -> None:
        self.model, self.bits, self.probes = model, bits, probes
        self.full_scores, self.seed, self.precision, self.threads = full_scores, seed, precision, threads

    def search(self, collection: Collection, k: int = 100) -> Ranking:
        """Build the index, search it, and remove it again."""
        import torch
        from pylate.indexes import PLAID

        depth = min(k, len(collection.corpus))
        indices = np.full((len(collection.queries), depth), -1, dtype=np.int32)
        scores = np.full(indices.shape, -np.inf, dtype=np.float32)
        places = {str(place): place for place in range(len(collection.corpus))}
        # PyLate's index takes lists of arrays of different lengths, which its annotations do not say.
        queries: Any = token_vectors(self.model, list(collection.queries.values()), True, self.precision)
        documents = token_vectors(self.model, list(collection.corpus.values()), False, self.precision)
        with tempfile.TemporaryDirectory(prefix="plaid-") as folder:
            try:
                index = PLAID(
                    index_folder=folder,
                    index_name="index",
                    nbits=self.bits,
                    n_ivf_probe=self.probes,
                    n_full_scores=self.full_scores,
                    seed=self.seed,
                    use_triton=False,  # its kernels race: two builds would differ
                    num_threads=self.threads,
                    show_progress=False,
                    device=str(self.model.device),
                )
                # fast-plaid draws its sample before it looks at its seed.
                with torch.random.fork_rng():
                    torch.manual_seed(self.seed)
                    index.add_documents(list(places), [*documents])
                found: Any = index(queries, k=depth)
            except (OSError, RuntimeError, ValueError) as error:
                raise DataError(
                    f"fast-plaid could not index collection {collection.name!r} ({error}): "
                    "search it exactly with LateInteractionRetriever."
                ) from error
        for row, results in enumerate(found):
            results = sorted(results, key=lambda result: (-result["score"], places[result["id"]]))
            indices[row, : len(results)] = [places[result["id"]] for result in results]
            scores[row, : len(results)] = [result["score"] for result in results]
        return Ranking(tuple(collection.queries), indices, scores)
