"""A run's model as a folder for others: what PyLate and sentence-transformers load, with a card for readers.

Settings in the files are the business of ``runs.saved``, the card's words of ``model_card``; nothing is measured here.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from .errors import ParameterError, RunError
from .keeping import seal
from .model_card import CARD, model_card
from .runs import Run
from .runs.saved import UNSCORED, read_settings
from .scratch import beside


def export_run(run: Run, folder: Path, licence: str = "other") -> Path:
    """Copy the model of ``run`` to ``folder`` with a model card; the folder appears whole or not at all.

    ``licence`` is the identifier that the card's front matter gives. ParameterError when the folder holds something;
    RunError when the run is damaged, the disk refuses, or no other library could use the model: an encoder without
    a trained step, or a prefix that is context alone.
    """
    folder = folder.expanduser().absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ParameterError(f"{folder} is not empty: name a folder that is, or is not there yet.")
    run.checked()
    if not (run.model_folder / "modules.json").is_file():
        raise RunError(
            f"Run {run.folder.name} is an encoder that no step has trained: export a run with a step."
        )
    if "metrics" not in run.passport:
        raise RunError(f"Run {run.folder.name} was never measured on the test collections: run its recipe.")
    with written_whole(folder) as partial:
        shutil.copytree(run.model_folder, partial, copy_function=shutil.copyfile)
        settings = read_settings(partial)
        if UNSCORED in settings:
            raise RunError(
                f"Run {run.folder.name} leaves its prefix out of MaxSim, which only this suite can: export a run"
                " without the prefix 'context'."
            )
        (partial / CARD).write_text(model_card(run, settings, licence), encoding="utf-8", newline="\n")
        seal(partial, without=[CARD])  # a card is there to be edited
    return folder


@contextlib.contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A path beside ``folder`` to write a folder to, which takes its name at the end; RunError where that fails."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with beside(".exporting", folder.parent) as partial:
            yield partial
            if folder.exists():
                folder.rmdir()
            partial.rename(folder)
    except OSError as error:
        raise RunError(
            f"Cannot write the model to {folder} ({error.strerror or error}): free space or name another folder."
        ) from error
