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


class PlaidFolder:
    """A PLAID index in a folder of its own: built once with `build`, then searched, by any number of processes.

    PyLate's own class keeps names beside it as pickles, which are never loaded here: documents are numbers. Opening
    merges fast-plaid's files within the folder. ``probes`` clusters are visited per query token; ``full_scores``
    candidates are scored in full.
    """

    def __init__(self, folder: Path, device: str = "cpu", probes: int = 8, full_scores: int = 8192) -> None:
        from fast_plaid.search import FastPlaid

        self._probes, self._full_scores = probes, full_scores
        self._index = FastPlaid(index=str(folder), device=device)

    def build(self, vectors: Sequence[np.ndarray], bits: int = 4, seed: int = 42) -> PlaidFolder:
        """Index documents, [tokens, dim] each, with so many bits per dimension of the residuals; returns itself."""
        # fast-plaid draws its sample before it looks at its seed.
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self._index.create(
                [torch.from_numpy(each).half() for each in vectors],
                nbits=bits,
                seed=seed,
                use_triton_kmeans=False,  # its kernels race: two builds would differ
                start_from_scratch=0,  # keeps no pickled vectors for a later update
            )
        return self

    def search(
        self, queries: Sequence[np.ndarray], k: int, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of documents int32, -1 where there is none, and scores float32, both [queries, k], best first.

        ``threads`` are worker threads of a search on a CPU.
        """
        found = self._index.search(
            [torch.from_numpy(query) for query in queries],
            top_k=k,
            n_full_scores=self._full_scores,
            n_ivf_probe=self._probes,
            show_progress=False,
            n_processes=threads,
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
        depth = min(k, len(collection.corpus))
        queries = token_vectors(self.model, list(collection.queries.values()), True, self.precision)
        documents = token_vectors(self.model, list(collection.corpus.values()), False, self.precision)
        with tempfile.TemporaryDirectory(prefix="plaid-") as folder:
            try:
                index = PlaidFolder(Path(folder), str(self.model.device), self.probes, self.full_scores)
                found = index.build(documents, self.bits, self.seed).search(queries, depth, self.threads)
            except (OSError, RuntimeError, ValueError) as error:
                raise DataError(
                    f"fast-plaid could not index collection {collection.name!r} ({error}): "
                    "search it exactly with LateInteractionRetriever."
                ) from error
        return Ranking(tuple(collection.queries), *found)
