"""Token vectors of documents on disk: a checkpoint encodes a corpus once, however often it is searched.

What is encoded, and how, is in `encode`; which documents are searched is the retriever's business.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from colbert_zero_lib.keeping import damage, remove, seal
from colbert_zero_lib.prompts import unscored_positions
from colbert_zero_lib.scratch import scratch

from .encode import TokenBatch, encode_batches, precision_type

if TYPE_CHECKING:
    from pylate.models import ColBERT


class VectorStore:
    """Document vectors under ``folder``, one sub-folder a checkpoint, corpus and precision.

    What is kept is found by a hash of everything that changes a vector: weights, tokenizer, prompt, length, skip list,
    precision and the texts in their order. bfloat16 vectors take half the space of float32 ones (256 bytes a token at
    128 dimensions). A corpus appears under its name only when all of it is written; deleting the folder is safe.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def batches(
        self, model: ColBERT, texts: Sequence[str], precision: str = "float32", positions: int | None = None
    ) -> Iterator[TokenBatch]:
        """The batches of `encode_batches` for documents: read if they are there, else encoded and kept.

        What is damaged is encoded again, and what cannot be written is not kept; a warning says so.
        """
        place = self.folder / _key(model, texts, precision)
        wrong = damage(place)
        if wrong is None:
            yield from _read(place, model.device)
            return
        if place.exists() or place.is_symlink():
            warnings.warn(f"The vectors in {place} {wrong}: documents are encoded again.", stacklevel=2)
            with contextlib.suppress(OSError):
                remove(place)
        encoded = encode_batches(model, texts, False, precision, positions)
        yield from _keep(encoded, place, precision_type(precision))


def _key(model: ColBERT, texts: Sequence[str], precision: str) -> str:
    digest = hashlib.sha256()
    settings = (
        precision,
        model.document_length,
        model.document_prefix,
        (model.prompts or {}).get("document"),
        sorted(model.skiplist),
        unscored_positions(model, False),
    )
    digest.update(repr(settings).encode())
    tokenizer = json.loads(model.tokenizer.backend_tokenizer.to_str())
    # Set anew by every call: what they are now says what was tokenised last.
    tokenizer.update(truncation=None, padding=None)
    digest.update(json.dumps(tokenizer, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()[:32]


def _keep(encoded: Iterable[TokenBatch], place: Path, kind: torch.dtype) -> Iterator[TokenBatch]:
    """Hand batches on and write them; what is not read to its end leaves nothing behind."""
    part: Path | None = None
    failure: Exception | None = None
    with contextlib.ExitStack() as stack:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            part = stack.enter_context(scratch(".part", place.parent))
        except OSError as error:
            failure = error
        for number, batch in enumerate(encoded):
            if part is not None and failure is None:
                kept = batch._replace(vectors=batch.vectors.to(kind))._asdict()
                tensors = {name: value.cpu().contiguous() for name, value in kept.items()}
                try:
                    save_file(tensors, part / f"{number:06}.safetensors")
                except (OSError, SafetensorError) as error:
                    failure = error
            yield batch
        if part is not None and failure is None:
            try:
                seal(part)
                part.replace(place)
            except OSError as error:
                failure = None if place.is_dir() else error  # unless another process was quicker
        if failure is not None:
            warnings.warn(f"Vectors cannot be kept in {place.parent} ({failure}).", stacklevel=3)


def _read(place: Path, device: torch.device) -> Iterator[TokenBatch]:
    for file in sorted(place.glob("*.safetensors")):
        found = load_file(file)
        yield TokenBatch(found["rows"], found["counts"], found["vectors"].float().to(device))
