"""What a recipe begins from, where that is a checkpoint: prompts, lengths and a first step that follow from its files.

The checkpoint's files are read by ``checkpoint``; the profile's own base encoder is trained in ``execute``.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..checkpoint import Checkpoint, find_checkpoint
from ..corpora import minilm_folder
from ..errors import RecipeError
from ..hub import MODEL_FILES
from ..profiles import Profile
from ..recipes import Interaction, Recipe, Step
from ..starts import MINILM, Start


def start_of(profile: Profile, recipe: Recipe) -> Start | None:
    """The checkpoint that ``recipe`` begins from; None where it is a base encoder that the profile trains itself."""
    return recipe.start or (Start(profile.base) if profile.encoder is None else None)


def open_start(start: Start, home: Path) -> Checkpoint:
    """The checkpoint of a start; CheckpointError, HubError or WheelError in one sentence where there is none."""
    place = str(minilm_folder(home)) if start.name == MINILM else start.name
    found = find_checkpoint(place, start.revision)
    return replace(found, name=start.name, folder=found.folder.resolve())


def check_start(checkpoint: Checkpoint, recipe: Recipe, profile: Profile) -> None:
    """RecipeError where the recipe cannot begin from the checkpoint; warnings where their settings differ."""
    if not recipe.steps:
        as_measured(checkpoint, recipe)
    elif checkpoint.interaction is Interaction.COLBERT:
        first = recipe.steps[0]
        if first.interaction is Interaction.DENSE:
            raise RecipeError(
                f"{first} cannot follow {checkpoint.name}: a ColBERT model is not turned back into a dense "
                "one, so begin with a colbert step."
            )
        if first.head:
            raise RecipeError(f"{checkpoint.name} has a projection already: leave +head out.")
    for sentence in _mismatches(checkpoint, recipe, profile):
        warnings.warn(sentence, stacklevel=4)


def has_prompts(checkpoint: Checkpoint) -> bool:
    """Whether the files name a prompt for queries or documents."""
    return any(checkpoint.prompts or ())


def _mismatches(checkpoint: Checkpoint, recipe: Recipe, profile: Profile) -> Iterator[str]:
    """Sentences on what the checkpoint's files say and the profile or the first step does otherwise."""
    own = checkpoint.prompts
    if own and has_prompts(checkpoint) and own != profile.prompts:
        yield f"{checkpoint.name} has the prompts {own[0]!r} and {own[1]!r}: they are used in place of the profile's."
    if own and not has_prompts(checkpoint) and recipe.steps and recipe.steps[0].prompts:
        yield f"{checkpoint.name} has no prompts and {recipe.steps[0]} adds them: write [-prompts] to train without."
    first = recipe.steps[0] if recipe.steps else recipe.evaluated_step
    asked = profile.query_expansion or first.expansion
    if checkpoint.query_expansion is not None and checkpoint.query_expansion != asked:
        has, does = ("on", "off") if checkpoint.query_expansion else ("off", "on")
        what = f"{first} at profile '{profile.name}'"
        yield f"{checkpoint.name} has query expansion {has}: {what} works with it {does}."


def as_measured(checkpoint: Checkpoint, recipe: Recipe) -> tuple[Step, tuple[int, int] | None]:
    """How a start without steps is opened: its step, and the lengths in its files unless the recipe says otherwise."""
    step = recipe.evaluated_step
    kept = step.prompts if recipe.evaluation_prefix else has_prompts(checkpoint)
    interaction = checkpoint.interaction or Interaction.COLBERT
    lengths = checkpoint.lengths if recipe.evaluation_extra_length is None else None
    return replace(step, interaction=interaction, prompts=kept), lengths


def copy_model(checkpoint: Checkpoint, folder: Path) -> None:
    """Copy what a model needs into ``folder``: weights as safetensors and what describes them, nothing else."""
    for pattern in MODEL_FILES:
        for file in checkpoint.folder.rglob(pattern):
            inside = file.relative_to(checkpoint.folder)
            if not any(part.startswith(".") for part in inside.parts):
                (folder / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, folder / inside)
