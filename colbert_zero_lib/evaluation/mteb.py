"""Results as files in the layout of MTEB's results repository, so that its tools read them.

``FOLDER/owner__name/revision/Task.json`` and ``model_meta.json`` beside; what is measured is in ``sessions``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from colbert_zero_lib.corpora.evaluation_sets import FORUMS, SETS
from colbert_zero_lib.errors import DataError
from colbert_zero_lib.runs.passport import write_json

if TYPE_CHECKING:
    from .sessions import Result

_FORUMS = tuple(f"beir/cqadupstack/{forum}" for forum in FORUMS)


def write_results(folder: Path, results: Sequence[Result]) -> list[Path]:
    """Write one file a collection, and CQADupstack's when all of its forums are there; returns the files.

    DataError when the folder cannot be written.
    """
    files: list[Path] = []
    try:
        for result in results:
            task = SETS[result.collection].task if result.collection in SETS else result.collection
            files.append(_write(folder, task, [result]))
        forums = [result for result in results if result.collection in _FORUMS]
        if len(forums) == len(_FORUMS):
            files.append(_write(folder, "CQADupstackRetrieval", forums))
    except OSError as error:
        raise DataError(
            f"Results cannot be written to {folder} ({error.strerror or error}): choose another folder."
        ) from error
    return files


def _write(folder: Path, task: str, results: Sequence[Result]) -> Path:
    """The mean of ``results``, all of one model."""
    first = results[0]
    # A run's name holds signs that not every disk takes.
    place = folder / re.sub(r"[^\w.+-]+", "-", first.model.replace("/", "__")).strip("-") / first.identity
    place.mkdir(parents=True, exist_ok=True)
    meta = place / "model_meta.json"
    if not meta.is_file():
        write_json({"name": first.model, "revision": first.identity}, meta)
    scores: dict[str, Any] = {
        name: round(float(np.mean([result.scores[name] for result in results])), 5) for name in first.scores
    }
    english = first.collection in SETS
    scores |= {
        "main_score": scores["ndcg_at_10"],
        "hf_subset": "default",
        "languages": ["eng-Latn"] if english else [],
    }
    file = place / f"{task.replace('/', '__')}.json"
    write_json(
        {
            "dataset_revision": first.revision if len(results) == 1 else None,
            "task_name": task,
            "mteb_version": None,
            "scores": {first.split: [scores]},
            "evaluation_time": sum(result.seconds for result in results),
            "kg_co2_emissions": None,
        },
        file,
    )
    return file
