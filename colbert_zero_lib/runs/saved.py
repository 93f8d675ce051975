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


def store_settings(model: Any, folder: Path) -> tuple[int, int]:
    """Write the prompts and lengths of ``model`` into the ``folder`` that it was opened from.

    ``model`` is a SentenceTransformer or a ColBERT. Returns its maximum (query, document) tokens. A bare encoder (no
    ``modules.json``) is left alone. Files are replaced, not changed, since another run may link to them.
    """
    limit = int(model.max_seq_length or 0)
    lengths, settings = (limit, limit), dict[str, Any](prompts=dict(model.prompts))
    if hasattr(model, "skiplist"):
        lengths = int(model.query_length), int(model.document_length)
        limit = lengths[1] - 1  # PyLate adds the marker afterwards
        settings |= {
            "query_length": lengths[0],
            "document_length": lengths[1],
            "do_query_expansion": model.do_query_expansion,
            "skiplist_words": _known_words(model),
        }
    if (folder / "modules.json").is_file():
        stored = read_settings(folder)
        stored.pop(UNSCORED, None)
        if UNSCORED in model._model_config:
            settings[UNSCORED] = model._model_config[UNSCORED]
        write_json({**stored, **settings}, folder / _CONFIGURATION)
        encoder = json.loads((folder / _ENCODER).read_text(encoding="utf-8"))
        write_json({**encoder, "max_seq_length": limit}, folder / _ENCODER)
    return lengths


def read_settings(folder: Path) -> dict[str, Any]:
    """What the configuration of a saved model says."""
    return dict(json.loads((folder / _CONFIGURATION).read_text(encoding="utf-8")))


def _known_words(model: Any) -> list[str]:
    """The skip list in words of the vocabulary.

    PyLate takes a word that the vocabulary lacks for the unknown token, and skips that one too; sentence-transformers 6
    drops such words. Written by its name, the unknown token is skipped by both.
    """
    tokenizer = model.tokenizer
    ids = tokenizer.convert_tokens_to_ids(list(model.skiplist_words))
    return list(dict.fromkeys(tokenizer.convert_ids_to_tokens(ids)))
