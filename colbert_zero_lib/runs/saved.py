"""What the files of a saved model say about its use, so that it encodes elsewhere as it was evaluated here.

Weights are not touched; opening a model is the business of ``models``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .passport import write_json

UNSCORED = "unscored_positions"  # of this suite: other libraries score every position
_CONFIGURATION = "config_sentence_transformers.json"
_ENCODER = "sentence_bert_config.json"


def maximum_lengths(model: Any) -> tuple[int, int]:
    """Maximum (query, document) tokens of a ColBERT; of a SentenceTransformer, which has one limit, that one twice."""
    if hasattr(model, "skiplist"):
        return int(model.query_length), int(model.document_length)
    return int(model.max_seq_length), int(model.max_seq_length)


def store_settings(model: Any, folder: Path) -> None:
    """Write the prompts and lengths of ``model`` into the ``folder`` that it was opened from.

    ``model`` is a SentenceTransformer or a ColBERT. A bare encoder (no ``modules.json``) is left alone. Files are
    replaced, not changed, since another run may link to them.
    """
    if not (folder / "modules.json").is_file():
        return
    query, document = maximum_lengths(model)
    late = hasattr(model, "skiplist")
    settings: dict[str, Any] = {"prompts": dict(model.prompts)}
    if late:
        settings |= {
            "model_type": "ColBERT",  # PyLate keeps the word of the dense model that it was opened from
            "similarity_fn_name": "MaxSim",
            "query_length": query,
            "document_length": document,
            "do_query_expansion": model.do_query_expansion,
            "skiplist_words": _known_words(model),
        }
    stored = read_settings(folder)
    stored.pop(UNSCORED, None)
    if UNSCORED in model._model_config:
        settings[UNSCORED] = model._model_config[UNSCORED]
    write_json({**stored, **settings}, folder / _CONFIGURATION)
    limit = document - 1 if late else document  # PyLate adds the marker afterwards
    write_json({**_read(folder / _ENCODER), "max_seq_length": limit}, folder / _ENCODER)


def read_settings(folder: Path) -> dict[str, Any]:
    """What the configuration of a saved model says; nothing where it has none."""
    return _read(folder / _CONFIGURATION)


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _known_words(model: Any) -> list[str]:
    """The skip list in words of the vocabulary.

    PyLate takes a word that the vocabulary lacks for the unknown token, and skips that one too; sentence-transformers 6
    drops such words. Written by its name, the unknown token is skipped by both.
    """
    tokenizer = model.tokenizer
    ids = tokenizer.convert_tokens_to_ids(list(model.skiplist_words))
    return list(dict.fromkeys(tokenizer.convert_ids_to_tokens(ids)))
