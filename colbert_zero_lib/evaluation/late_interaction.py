"""Late interaction: encode, then exact MaxSim over the whole corpus, batch by batch.

The approximate index for corpora of millions is in `plaid`; this one is exact and needs no index.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from colbert_zero_lib import group
from colbert_zero_lib.errors import ParameterError

from .encode import encode_batches, precision_type
from .maxsim import ExactMaxSim
from .ranking import Ranking

if TYPE_CHECKING:
    from pylate.models import ColBERT

    from colbert_zero_lib.corpora import Collection

    from .vectors import VectorStore


# Documents tokenised together: they bound the memory that a corpus of millions takes, and do not change its ranking.
_BLOCK = 1 << 18


class LateInteractionRetriever:
    """Ranks with a PyLate ColBERT model, using the prompts, lengths and query expansion saved in it.

    ``precision`` is ``float32`` (the reference) or ``bfloat16`` (encoder and MaxSim; several times faster
    where the processor has bfloat16 instructions, and a few neighbours in the top ten change places).
    ``positions`` bounds the padded tokens of one forward pass. With a ``store``, documents are encoded once for each
    checkpoint and read from disk afterwards.

    ``together``: all processes of the job search, each encodes and scores its share of the batches that one process
    would form, and each gets the whole ranking, equal to the last bit. With one process nothing changes.
    """

    def __init__(
        self,
        model: ColBERT,
        precision: str = "float32",
        positions: int | None = None,
        store: VectorStore | None = None,
        together: bool = False,
    ) -> None:
        precision_type(precision)
        if together and store is not None and group.size() > 1:
            raise ParameterError("several processes cannot share a store of vectors: search without one.")
        self.model, self.precision, self.positions = model, precision, positions
        self.store, self.together = store, together

    def search(self, collection: Collection, k: int = 100) -> Ranking:
        """Documents are encoded (or read) and scored in one pass: their vectors are never all in memory."""
        queries = encode_batches(
            self.model, list(collection.queries.values()), True, self.precision, self.positions
        )
        search = ExactMaxSim(
            queries,
            len(collection.queries),
            min(k, len(collection.corpus)),
            self.model.device,
            precision_type(self.precision),
        )
        texts = iter(collection.corpus.values())
        start = 0
        while documents := list(islice(texts, _BLOCK)):
            batches = (
                self.store.batches(self.model, documents, self.precision, self.positions)
                if self.store
                else encode_batches(
                    self.model, documents, False, self.precision, self.positions, together=self.together
                )
            )
            for batch in batches:
                search.add(batch._replace(rows=batch.rows + start))
            start += len(documents)
        if self.together:
            search.merge_processes()
        return Ranking(tuple(collection.queries), *search.result())
