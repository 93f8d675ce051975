"""Small models for the cases, and the plain implementation that their right values come from.

The latter knows files, the bare encoder and arithmetic; nothing of the suite's or of a peer's way to score.
"""

from __future__ import annotations

import json
import math
import shutil
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

MODELS = ("plain", "expanded", "left")
PROMPTS = {"query": "search_query: ", "document": "search_document: "}
LENGTHS = {"query": 16, "document": 40}


def build_models(folder: Path) -> dict[str, str]:
    """Folders of one late-interaction model of random weights as PyLate saves it, by name.

    ``expanded`` has query expansion; the tokenizer of ``left`` pads on the left.
    """
    import torch
    from pylate.models import ColBERT

    from tests.conftest import SENTENCES, build_encoder

    encoder = build_encoder(folder / "encoder", (*SENTENCES, *string.punctuation))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        options = {f"{side}_length": length for side, length in LENGTHS.items()}
        model = ColBERT(
            str(encoder),
            embedding_size=32,
            do_query_expansion=False,
            prompts=PROMPTS,
            device="cpu",
            **options,
        )
    model.save_pretrained(str(folder / "plain"), create_model_card=False)
    for name, file, change in (
        ("expanded", "config_sentence_transformers.json", {"do_query_expansion": True}),
        ("left", "tokenizer_config.json", {"padding_side": "left"}),
    ):
        shutil.copytree(folder / "plain", folder / name)
        settings = json.loads((folder / name / file).read_text())
        (folder / name / file).write_text(json.dumps(settings | change))
    return {name: str(folder / name) for name in MODELS}


def reference(task: str, given: Mapping[str, Any], models: Mapping[str, str], variant: str = "") -> Any:
    """The value of a case that has a model, by the plain implementation; ``variant`` names a convention."""
    known = _Plain(Path(models["plain"]))
    if task == "scores":
        return _scores(known, given)
    if task in ("lengths", "plain call"):
        side, prompt = ("query" if given["is_query"] else "document"), variant != "without"
        return [len(known.vectors(text, side, prompt)) for text in given["texts"]]
    if task == "distillation":
        scores = np.array(_scores(known, given))
        if given["normalize"] is not False and variant != "plain":
            low, high = scores.min(1, keepdims=True), scores.max(1, keepdims=True)
            scores = (scores - low) / (high - low)
        student, teacher = (_log_softmax(each) for each in (scores, np.array(given["teacher"])))
        return float((np.exp(teacher) * (teacher - student)).sum(1).mean())
    raise KeyError(task)


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    return scores - np.log(np.exp(scores).sum(1, keepdims=True))


def _scores(known: _Plain, given: Mapping[str, Any]) -> list[list[float]]:
    documents = [known.vectors(text, "document") for text in given["documents"]]
    found = []
    for text in given["queries"]:
        query = known.vectors(text, "query")
        found.append([sum(max(math.fsum(a * b) for b in one) for a in query) for one in documents])
    return [[float(score) for score in row] for row in found]


class _Plain:
    """Late interaction written out: one text at a time, no padding, no batch."""

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer
        from transformers import AutoModel

        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.encoder = AutoModel.from_pretrained(str(folder), local_files_only=True).eval()
        self.projection = next(iter(load_file(folder / "1_Dense" / "model.safetensors").values()))
        settings = json.loads((folder / "config_sentence_transformers.json").read_text())
        self.markers = {side: self.tokenizer.token_to_id(settings[f"{side}_prefix"]) for side in LENGTHS}
        self.skipped = {self.tokenizer.token_to_id(word) for word in settings["skiplist_words"]}

    def vectors(self, text: str, side: str, prompt: bool = True) -> np.ndarray:
        """[scored tokens, dimensions], each of length 1."""
        import torch

        inner = self.tokenizer.encode((PROMPTS[side] if prompt else "") + text, add_special_tokens=False).ids
        first, last = (self.tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
        ids = [first, self.markers[side], *inner[: LENGTHS[side] - 3], last]
        with torch.no_grad():
            hidden = self.encoder(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
        vectors = hidden @ self.projection.T
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors[[side == "query" or token not in self.skipped for token in ids]]
