"""The two baselines beside every figure of the suite: BM25, and a small pretrained dense encoder; a cross-encoder.

Their evaluations are kept on disk, since no run of ours changes them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from filelock import FileLock

from colbert_zero_lib.errors import UnknownNameError
from colbert_zero_lib.home import home
from colbert_zero_lib.keeping import damage, remove, seal
from colbert_zero_lib.steps import CROSS_ENCODER

from .bm25 import BM25
from .results import Evaluation, collection_digest, evaluate

if TYPE_CHECKING:
    from colbert_zero_lib.corpora import Collection

    from .ranking import Retriever

BASELINES = ("BM25", "all-MiniLM-L6-v2")

# Documents of each of the two baselines that the cross-encoder reorders, where it is asked for: most of an hour.
RERANKED = 10

# Documents are cut here, as the model's authors trained it.
MINILM_TOKENS = 256


class _Corpora(Protocol):
    @property
    def collections(self) -> Mapping[str, Collection]: ...

    @property
    def fingerprint(self) -> str: ...


def evaluate_baselines(
    corpora: _Corpora,
    cache: Path | str | None = None,
    *,
    collections: Mapping[str, Collection] | None = None,
    names: Sequence[str] = BASELINES,
    progress: bool = False,
) -> dict[str, Evaluation]:
    """BM25 and all-MiniLM-L6-v2 (dense, cosine, 256 tokens) on the test collections, evaluated once.

    ``collections`` replaces ``corpora.collections`` (a profile's subsets, say). Files go to ``cache``, by
    default ``home()/"cache"/"baselines"``, under the hash of the fingerprint, of the text evaluated and of
    the settings.
    """
    chosen = corpora.collections if collections is None else collections
    folder = Path(cache) if cache is not None else home() / "cache" / "baselines"
    text = {name: collection_digest(collection) for name, collection in chosen.items()}
    found: dict[str, Evaluation] = {}
    for name in names:
        if name not in _BUILDERS:
            raise UnknownNameError(f"no baseline is called {name!r}: choose among {', '.join(_BUILDERS)}.")
        settings, build = _BUILDERS[name]
        key = {"baseline": name, "corpora": corpora.fingerprint, "text": text, **settings()}
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        found[name] = _kept(folder / f"{name.lower()}-{digest[:16]}.parquet", build, chosen, progress)
    return found


def _kept(
    path: Path, build: Callable[[], Retriever], collections: Mapping[str, Collection], progress: bool
) -> Evaluation:
    """Read ``path``, or evaluate and write it; a second process waits for the first and reads its file."""
    sealed = path.with_suffix(".seal").name
    if damage(path.parent, name=sealed) is None:  # without the lock, which may be another user's
        return Evaluation.from_parquet(path)
    with contextlib.ExitStack() as stack:
        with _unkept(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(path.with_suffix(".lock")))
        if path.exists():
            wrong = damage(path.parent, name=sealed)
            if wrong is None:
                return Evaluation.from_parquet(path)
            warnings.warn(f"The cache {path.parent} {wrong}: it is evaluated again.", stacklevel=3)
        evaluation = evaluate(build(), collections, progress=progress)
        with _unkept(path):
            for place in (path, path.parent / sealed):
                remove(place)
            evaluation.to_parquet(path)
            seal(path.parent, files=[path.name], name=sealed)
    return evaluation


@contextlib.contextmanager
def _unkept(path: Path) -> Iterator[None]:
    """An evaluation is worth having where the disk is full or closed."""
    try:
        yield
    except OSError as error:
        warnings.warn(f"The evaluation cannot be kept in {path} ({error.strerror or error}).", stacklevel=4)


def minilm() -> Retriever:
    """all-MiniLM-L6-v2 on this machine's own accelerator, in its fast precision, from the pinned offline wheel."""
    from sentence_transformers import SentenceTransformer

    from colbert_zero_lib.corpora import minilm_folder

    from .dense import DenseRetriever

    model = SentenceTransformer(str(minilm_folder(home())), local_files_only=True)
    model.max_seq_length = MINILM_TOKENS
    return DenseRetriever(model, precision=_minilm_precision())


def cross_encoder() -> Retriever:
    """The cross-encoder of the pinned wheel over the first ten of BM25 and of all-MiniLM-L6-v2 each."""
    from sentence_transformers import SentenceTransformer

    from colbert_zero_lib.corpora import minilm_folder
    from colbert_zero_lib.corpora.cross_encoder import CrossEncoder
    from colbert_zero_lib.training.teachers import Reranker, Teacher, TeacherSettings

    dense = SentenceTransformer(str(minilm_folder(home())), device="cpu", local_files_only=True)
    teacher = Teacher(None, dense, TeacherSettings(), "", CrossEncoder(home()))
    return Reranker(teacher, CROSS_ENCODER, RERANKED)


def bm25_settings() -> dict[str, Any]:
    """What a result of BM25 depends on."""
    return {**vars(BM25()), "bm25s": version("bm25s"), "PyStemmer": version("PyStemmer")}


def _minilm_settings() -> dict[str, Any]:
    return {
        "tokens": MINILM_TOKENS,
        "sentence-transformers": version("sentence-transformers"),
        "precision": _minilm_precision(),
    }


def _cross_encoder_settings() -> dict[str, Any]:
    from colbert_zero_lib.corpora.cross_encoder import CrossEncoder

    return {**_minilm_settings(), "reranked": RERANKED, **CrossEncoder.settings()}


def _minilm_precision() -> str:
    from colbert_zero_lib.training.devices import device_of_choice, native_precision

    return native_precision(device_of_choice())


_BUILDERS: dict[str, tuple[Callable[[], dict[str, Any]], Callable[[], Retriever]]] = {
    "BM25": (bm25_settings, BM25),
    "all-MiniLM-L6-v2": (_minilm_settings, minilm),
    CROSS_ENCODER: (_cross_encoder_settings, cross_encoder),
}
