"""From rows of text to padded token ids, with the right prompt, marker and length on each side.

Unlike PyLate's collator, documents are padded to the longest of the batch instead of the maximum length; losses are
elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from pylate.models import ColBERT
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from colbert_zero_lib.errors import TrainingError

LABELS = ("scores",)
# Tokens of texts that are kept, some tens of megabytes with the texts; what comes later is tokenised every time.
TOKENS_KEPT = 4_000_000
_DOCUMENTS = re.compile(r"documents?|positive|negative(_\d+)?")


def check_columns(names: Sequence[str]) -> None:
    """TrainingError unless ``names`` are ``query``, then columns of documents, and perhaps ``scores``.

    PyLate tells queries by the column's name, so a ``question`` would silently be encoded as a document; it drops
    columns with ``_id`` in their name and takes any other for text. Here a name that is not known is refused.
    """
    texts = [name for name in names if name not in (*LABELS, "dataset_name")]
    if not texts or texts[0] != "query":
        raise TrainingError(
            f"the first training column is '{(texts or ['missing'])[0]}'; rename it to 'query'"
        )
    if len(texts) < 2:
        raise TrainingError("the training data have no column but 'query'; add 'document' or 'positive'")
    for name in texts[1:]:
        if not _DOCUMENTS.fullmatch(name):
            raise TrainingError(
                f"the training column '{name}' is neither 'document', 'documents', 'positive', 'negative_0' ... nor"
                " 'scores'; rename or remove it"
            )


class Collator:
    """Tokenises the columns of a training batch.

    The first column holds the queries and must be called ``query`` (see :func:`check_columns`). Every other column but
    ``scores`` holds documents, or lists of documents, which are flattened; all of them are padded to one common length.

    Parameters
    ----------
    model
        Where tokenizer, markers and prompts come from.
    lengths
        Maximum (query, document) tokens, markers and prompts included; a longer text is cut. A late-interaction model
        is set to them.
    authors_padding
        PyLate pads every document to the limit, and a masked token scores 0: a document shorter than the limit never
        scores less than 0 for any query token. Here the longest documents of a batch have no padding and may. True
        adds one masked token to a batch that stays below the limit, and with it PyLate's scores. It matters only as
        long as a query token's best match can be negative.
    """

    def __init__(
        self, model: SentenceTransformer, lengths: tuple[int, int], authors_padding: bool = False
    ) -> None:
        self.model = model
        self.lengths = lengths
        self.authors_padding = authors_padding and isinstance(model, ColBERT)
        if isinstance(model, ColBERT):
            model.query_length, model.document_length = lengths
            model.tokenizer.padding_side = "right"  # PyLate puts the marker behind the first position
        self.prompts = dict(model.prompts)
        self._expands = isinstance(model, ColBERT) and bool(model.do_query_expansion)
        self._kept: dict[bool, dict[str, list[Tensor]]] = {True: {}, False: {}}
        self._room = TOKENS_KEPT
        # Names that the trainer of sentence-transformers asks a collator for.
        self.valid_label_columns = list(LABELS)
        self.include_prompt_lengths = False

    def tokenize(self, texts: list[str], is_query: bool) -> dict[str, Tensor]:
        """Ids and attention of one side, prompt included: ``[texts, tokens]`` int64, padded to the longest.

        A text's tokens are kept for the epochs and lists in which it comes again.
        """
        kept = self._kept[is_query]
        found = {text: kept[text] for text in texts if text in kept}
        if new := [text for text in dict.fromkeys(texts) if text not in found]:
            tokens = self._tokenize(new, is_query)
            for text, *row in zip(new, tokens["input_ids"], tokens["attention_mask"], strict=True):
                # The padding of an expanded query is part of it.
                width = len(row[0]) if is_query and self._expands else int(row[1].sum())
                found[text] = [side[:width].to(torch.int32) for side in row]
                if self._room > 0:
                    kept[text] = found[text]
                    self._room -= width
        ids, attention = ([found[text][side] for text in texts] for side in (0, 1))
        padding = self.model.tokenizer.pad_token_id
        return {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=padding).long(),
            "attention_mask": pad_sequence(attention, batch_first=True).long(),
        }

    def _tokenize(self, texts: list[str], is_query: bool) -> dict[str, Tensor]:
        prompt = self.prompts["query" if is_query else "document"]
        texts = [prompt + text for text in texts]
        if isinstance(self.model, ColBERT):
            return self.model.tokenize(texts, is_query=is_query)
        self.model.max_seq_length = self.lengths[0 if is_query else 1]
        tokens = self.model.tokenize(texts)
        self.model.max_seq_length = max(self.lengths)
        return tokens

    def __call__(self, features: list[dict]) -> dict[str, object]:
        """A batch as the trainer expects it: ``<column>_input_ids``, ``<column>_attention_mask``, ``label``."""
        check_columns(list(features[0]))
        columns = [name for name in features[0] if name not in (*LABELS, "dataset_name")]
        batch: dict[str, object] = {"return_loss": True}
        if "scores" in features[0]:
            batch["label"] = torch.tensor([row["scores"] for row in features], dtype=torch.float32)
        sides = {}
        for name in columns:
            texts = [row[name] for row in features]
            if isinstance(texts[0], list):
                texts = list(chain.from_iterable(texts))
            sides[name] = self.tokenize(texts, is_query=name == "query")
        longest = max(side["input_ids"].shape[1] for name, side in sides.items() if name != "query")
        if self.authors_padding:
            longest = min(longest + 1, self.lengths[1])
        padding = {"input_ids": self.model.tokenizer.pad_token_id, "attention_mask": 0}
        for name, side in sides.items():
            for key, value in side.items():
                width = value.shape[1] if name == "query" else longest
                batch[f"{name}_{key}"] = F.pad(value, (0, width - value.shape[1]), value=padding[key])
        return batch
