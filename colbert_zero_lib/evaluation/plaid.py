"""PLAID, the compressed index for corpora whose token vectors no longer fit in memory.

A thin layer over fast-plaid, PyLate's engine; on thousands of documents `late_interaction` is faster, and exact.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from colbert_zero_lib.errors import DataError

from .encode import token_vectors
from .ranking import Ranking

if TYPE_CHECKING:
    from pylate.models import ColBERT

    from colbert_zero_lib.corpora import Collection


BITS = 4  # per dimension of the residuals
PROBES = 8  # clusters that are visited per query token
FULL_SCORES = 8192  # candidates that are scored in full
SEED = 42


class PlaidFolder:
    """A PLAID index in a folder of its own: built once with `build`, then searched, by any number of processes.

    PyLate's own class keeps names beside it as pickles, which are never loaded here: documents are numbers. Opening
    merges fast-plaid's files within the folder.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        from fast_plaid.search import FastPlaid

        self._index = FastPlaid(index=str(folder), device=device)

    def build(self, vectors: Sequence[np.ndarray], seed: int = SEED) -> PlaidFolder:
        """Index documents, [tokens, dim] each; returns itself."""
        # fast-plaid draws its sample before it looks at its seed.
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self._index.create(
                [torch.from_numpy(each).half() for each in vectors],
                nbits=BITS,
                seed=seed,
                use_triton_kmeans=False,  # its kernels race: two builds would differ
                start_from_scratch=0,  # keeps no pickled vectors for a later update
            )
        return self

    def search(self, queries: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of documents int32, -1 where there is none, and scores float32, both [queries, k], best first."""
        found = self._index.search(
            [torch.from_numpy(query) for query in queries],
            top_k=k,
            n_full_scores=FULL_SCORES,
            n_ivf_probe=PROBES,
            show_progress=False,
            n_processes=1,
        )
        indices = np.full((len(queries), k), -1, dtype=np.int32)
        scores = np.full(indices.shape, -np.inf, dtype=np.float32)
        for row, results in enumerate(found):
            results = sorted(results, key=lambda result: (-result[1], result[0]))
            indices[row, : len(results)] = [number for number, _ in results]
            scores[row, : len(results)] = [score for _, score in results]
        return indices, scores


class PlaidRetriever:
    """Ranks with a `PlaidFolder`, built in a temporary folder for each search.

    The index approximates: a relevant document may be missed, and scores differ in the third decimal.
    """

    def __init__(self, model: ColBERT, precision: str = "float32", seed: int = SEED) -> None:
        self.model, self.precision, self.seed = model, precision, seed

    def search(self, collection: Collection, k: int = 100) -> Ranking:
        """Build the index, search it, and remove it again."""
        depth = min(k, len(collection.corpus))
        queries = token_vectors(self.model, list(collection.queries.values()), True, self.precision)
        documents = token_vectors(self.model, list(collection.corpus.values()), False, self.precision)
        with tempfile.TemporaryDirectory(prefix="plaid-") as folder:
            try:
                index = PlaidFolder(Path(folder), str(self.model.device))
                found = index.build(documents, self.seed).search(queries, depth)
            except (OSError, RuntimeError, ValueError) as error:
                raise DataError(
                    f"fast-plaid could not index collection {collection.name!r} ({error}): "
                    "search it exactly with LateInteractionRetriever."
                ) from error
        return Ranking(tuple(collection.queries), *found)
