"""Evaluate models on collections, one result file each: what was measured before is read, what is missing is measured.

Which models and sets there are is known to ``subjects`` and the corpora; statistics are computed elsewhere.
"""

from __future__ import annotations

import hashlib
import re
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pandas as pd
from filelock import FileLock

from colbert_zero_lib.corpora import TEST_COLLECTIONS, Collection, load_offline, read_collection
from colbert_zero_lib.corpora.evaluation_sets import evaluation_set, expand, parts
from colbert_zero_lib.errors import DataError, UnknownNameError
from colbert_zero_lib.home import home as default_home
from colbert_zero_lib.keeping import damage, remove, seal
from colbert_zero_lib.reading import existing, read_json
from colbert_zero_lib.runs import canonical_json, environment_versions
from colbert_zero_lib.runs.passport import write_json

from .metrics import METRICS, MTEB_DEPTHS, mteb_scores, score_ranking
from .mteb import write_results
from .ranking import rank
from .results import Evaluation, collection_digest
from .subjects import SearchOptions, Subject, find_subject

FOLDER = "evaluations"
# Raise it when the same model and collection would give another result.
_VERSION = 1

Loader = Callable[[], Collection]


@dataclass(frozen=True)
class Result:
    """What one model reached on one collection, as a result file has it.

    ``per_query`` has the columns of an `Evaluation` but for the collection's; ``scores`` are means under MTEB's names.
    """

    model: str
    identity: str
    collection: str
    split: str
    revision: str | None
    seconds: float
    scores: dict[str, float]
    per_query: pd.DataFrame


def find_sets(
    words: Iterable[str | Path | Collection],
    home: Path,
    split: str = "test",
    identical_ids_out: bool = False,
    progress: bool = False,
) -> dict[str, Loader]:
    """Collections by name, each read when it is called for.

    Words: ``offline`` (the eight, or the name of one), ``beir``, ``nanobeir``, one of their sets, a folder in BEIR's
    layout (``split`` and ``identical_ids_out`` are for these). UnknownNameError for anything else, DataError when two
    have one name.
    """
    found: dict[str, Loader] = {}
    corpora = cache(lambda: load_offline(home, progress=progress))

    def add(name: str, load: Loader) -> None:
        if name in found:
            raise DataError(f"Two sets are called {name!r}: give each once, and folders different names.")
        found[name] = load

    def itself(collection: Collection) -> Collection:
        return collection

    def offline(name: str) -> Collection:
        return corpora().collections[name]

    for word in words:
        if isinstance(word, Collection):
            add(word.name, partial(itself, word))
            continue
        folder, text = existing(word), str(word)
        if text == "offline" or text in TEST_COLLECTIONS:
            for name in TEST_COLLECTIONS if text == "offline" else (text,):
                add(name, partial(offline, name))
        elif folder and folder.is_dir():
            load = partial(read_collection, folder, split, identical_ids_out)
            add(folder.resolve().name, load)
        else:
            try:
                entries = expand(text)
            except UnknownNameError:
                raise UnknownNameError(
                    f"No set is called {text!r}, and there is no such folder: choose offline, one of it "
                    f"({', '.join(TEST_COLLECTIONS)}), nanobeir, beir, one of them (beir/scifact) or a folder in "
                    "BEIR's layout."
                ) from None
            for name in (part for entry in entries for part in parts(entry)):
                add(name, partial(evaluation_set, name, progress))
    return found


def evaluate_model(
    model: str | Subject,
    sets: Mapping[str, Loader] | Sequence[str | Path | Collection],
    home: Path | None = None,
    options: SearchOptions | None = None,
    *,
    output: Path | None = None,
    progress: bool = False,
    say: Callable[[str], None] | None = None,
) -> Evaluation:
    """How well ``model`` searches ``sets``, collection by collection; goes on where it was stopped.

    ``model`` is named as `find_subject` takes it, ``sets`` are as `find_sets` takes or returns them. Results are kept
    under ``home/evaluations`` (by default the suite's home), found by the model's identity, the collection's text and
    judgements and all settings; ``output``, a folder, gets them in MTEB's layout. ``say`` is told of each collection as
    it is done, and of what was left out of it.
    """
    home = home or default_home()
    say = say or (lambda sentence: None)
    subject = find_subject(model, home) if isinstance(model, str) else model
    loaders = sets if isinstance(sets, Mapping) else find_sets(sets, home, progress=progress)
    results = []
    for name, load in loaders.items():
        collection = load()
        for note in collection.notes:
            say(note)
        result, kept = _obtain(subject, collection, home, options or SearchOptions())
        when = "measured before" if kept else f"{result.seconds:.0f} s"
        say(f"{subject.name} on {name}: nDCG@10 {result.per_query['ndcg@10'].mean():.4f} ({when})")
        results.append(result)
    if output is not None:
        write_results(output, results)
    frames = [result.per_query.assign(collection=result.collection) for result in results]
    return Evaluation(pd.concat(frames, ignore_index=True))


def _obtain(
    subject: Subject, collection: Collection, home: Path, options: SearchOptions
) -> tuple[Result, bool]:
    """The result, and whether it was there; a second process waits for the first and reads its file."""
    retriever, settings = subject.retriever(collection, options)
    key = {
        "version": _VERSION,
        "model": subject.identity,
        "collection": collection_digest(collection),
        "settings": settings,
    }
    digest = hashlib.sha256(canonical_json(key).encode()).hexdigest()
    folder = home / FOLDER / f"{_slug(subject.name)}-{subject.identity[:12]}"
    file = folder / f"{_slug(collection.name)}-{digest[:16]}.json"
    sealed = file.with_suffix(".seal").name
    if damage(folder, name=sealed) is None:  # without the lock, which may be another user's
        return read_result(file), True
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            if file.exists():
                wrong = damage(folder, name=sealed)
                if wrong is None:
                    return read_result(file), True
                warnings.warn(f"{folder} {wrong}: {collection.name} is measured again.", stacklevel=2)
                for place in (file, folder / sealed):
                    if place.is_dir():
                        remove(place)
            started = time.perf_counter()
            ranking = rank(retriever, collection, max(MTEB_DEPTHS))
            scored = score_ranking(ranking, collection)
            content = {
                "model": subject.name,
                "identity": subject.identity,
                "collection": collection.name,
                "split": collection.split,
                "revision": collection.revision,
                "settings": settings,
                "seconds": time.perf_counter() - started,
                "notes": list(collection.notes),
                "scores": mteb_scores(ranking, collection),
                "per_query": scored.to_dict("list"),
                "key": key,
                "versions": environment_versions(),
            }
            write_json(content, file)
            seal(folder, files=[file.name], name=sealed)
            return read_result(file), False
    except OSError as error:
        raise DataError(
            f"The result cannot be written to {folder} ({error.strerror or error}): make room, or choose another home."
        ) from error


def read_result(file: Path) -> Result:
    """The content of a result file; DataError when it is damaged."""
    try:
        content = read_json(file)
        per_query = pd.DataFrame(content["per_query"])[["query", *METRICS]]
        Evaluation(per_query.assign(collection=""))  # refuses what is none
        fields = {name: content[name] for name in Result.__dataclass_fields__}
        return Result(**fields | {"per_query": per_query})
    except (OSError, ValueError, KeyError, TypeError, DataError) as error:
        raise DataError(f"{file} is no readable result ({error}): it is measured again.") from error


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:80] or "model"
