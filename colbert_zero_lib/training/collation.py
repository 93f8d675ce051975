"""From rows of text to padded token ids, with the right prompt, marker and length on each side.

Unlike PyLate's collator, documents are padded to the longest of the batch instead of the maximum length.
"""

from __future__ import annotations

from itertools import chain

import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from torch import Tensor

from colbert_zero_lib.errors import TrainingError
from colbert_zero_lib.training.embedding import is_late_interaction


class Collator:
    """Tokenises the columns of a training batch.

    The first column holds the queries and must be called ``query``: PyLate tells queries by the column's name, and a
    ``question`` would silently be encoded as a document. Every other column but ``scores`` holds documents, or lists
    of documents, which are flattened; all of them are padded to one common length.

    Parameters
    ----------
    model
        Where tokenizer, markers and lengths come from.
    lengths
        Maximum (query, document) tokens, markers and prompts included; a longer text is cut.
    """

    def __init__(self, model: SentenceTransformer, lengths: tuple[int, int]) -> None:
        self.model = model
        self.lengths = lengths
        self.prompts = dict(model.prompts)
        # Names that the trainer of sentence-transformers asks a collator for.
        self.valid_label_columns = ["scores"]
        self.include_prompt_lengths = False

    def tokenize(self, texts: list[str], is_query: bool) -> dict[str, Tensor]:
        """Ids and attention of one side, prompt included: ``[texts, tokens]`` int64."""
        prompt = self.prompts["query" if is_query else "document"]
        texts = [prompt + text for text in texts]
        if is_late_interaction(self.model):
            tokens = self.model.tokenize(texts, is_query=is_query)
        else:
            self.model[0].max_seq_length = self.lengths[0 if is_query else 1]
            tokens = self.model.tokenize(texts)
            self.model[0].max_seq_length = max(self.lengths)
        return {key: tokens[key] for key in ("input_ids", "attention_mask")}

    def __call__(self, features: list[dict]) -> dict[str, object]:
        """A batch as the trainer expects it: ``<column>_input_ids``, ``<column>_attention_mask``, ``label``."""
        columns = [name for name in features[0] if name not in (*self.valid_label_columns, "dataset_name")]
        if columns[0] != "query":
            raise TrainingError(f"the first training column is '{columns[0]}'; rename it to 'query'")
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
        padding = {"input_ids": self.model.tokenizer.pad_token_id, "attention_mask": 0}
        for name, side in sides.items():
            for key, value in side.items():
                width = value.shape[1] if name == "query" else longest
                batch[f"{name}_{key}"] = F.pad(value, (0, width - value.shape[1]), value=padding[key])
        return batch
