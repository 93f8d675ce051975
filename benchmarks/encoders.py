"""Random encoders of the shapes that are measured; their weights do not change how long a step takes.

Opening them as late-interaction models is done by `colbert_zero_lib.models`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from pylate.models import ColBERT

from colbert_zero_lib.errors import UnknownNameError
from colbert_zero_lib.models import build_base, open_model, quiet, step_lengths, train_tokenizer
from colbert_zero_lib.profiles import EncoderShape, EvaluationSize
from colbert_zero_lib.recipes import Interaction, Phase, Step
from colbert_zero_lib.scratch import scratch

SHAPES = {
    "nano": EncoderShape(layers=1, hidden=32, heads=1, intermediate=64, vocabulary=1_000),
    "2x128": EncoderShape(layers=2, hidden=128, heads=2, intermediate=256, vocabulary=16_384),
    "4x256": EncoderShape(layers=4, hidden=256, heads=4, intermediate=512, vocabulary=16_384),
    "MiniLM": EncoderShape(layers=6, hidden=384, heads=12, intermediate=1536, vocabulary=16_384),
    "ModernBERT-base": EncoderShape(layers=22, hidden=768, heads=12, intermediate=1152, vocabulary=16_384),
}
# ModernBERT's own table of embeddings; a tokenizer of so many entries is not needed to fill it.
EMBEDDINGS = {"ModernBERT-base": 50_368}
PROMPTS = ("search_query: ", "search_document: ")
QUERY_LENGTH = 32


def encoder_folder(name: str, texts: Sequence[str], root: Path) -> Path:
    """The saved encoder called ``name``, made on first use with a tokenizer learned from ``texts``."""
    if name not in SHAPES:
        raise UnknownNameError(f"no encoder is called {name!r}: choose one of {', '.join(SHAPES)}.")
    shape = SHAPES[name]
    digest = hashlib.sha256("\0".join([repr(shape), *texts]).encode()).hexdigest()[:12]
    folder = root / f"{name}-{digest}"
    if (folder / "config.json").is_file():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    with scratch(".encoder", root) as temporary, quiet():
        tokenizer = train_tokenizer(texts, shape.vocabulary, min_frequency=1)
        model = build_base(tokenizer, shape, seed=0)
        if name in EMBEDDINGS:
            model.resize_token_embeddings(EMBEDDINGS[name])
        model.model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        temporary.rename(folder)
    return folder


def open_encoder(
    folder: Path,
    document_length: int,
    query_length: int = QUERY_LENGTH,
    expansion: bool = False,
    device: str = "cpu",
) -> ColBERT:
    """A late-interaction model on a saved encoder: the paper's prompts, both limits enlarged by their tokens."""
    step = Step(Interaction.COLBERT, Phase.UNSUPERVISED)
    given = (query_length, document_length)
    model = open_model(folder, step, lengths=given, prompts=PROMPTS, query_expansion=expansion, device=device)
    size = EvaluationSize(query_length=query_length, document_length=document_length)
    late = cast(ColBERT, model)
    late.query_length, late.document_length = step_lengths(step, size, late.tokenizer, PROMPTS)
    return late
