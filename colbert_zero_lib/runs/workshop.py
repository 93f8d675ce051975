"""A profile at work: its source, its ledger, its device, and what makes a run of it the run it is.

Nothing is trained or measured here; the order of work is in ``execute``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from colbert_zero_lib import group
from colbert_zero_lib.checkpoint import Checkpoint, describe_checkpoint
from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.corpora.sources import Source, open_source, sampling, taught_by
from colbert_zero_lib.home import home as default_home
from colbert_zero_lib.keeping import damage
from colbert_zero_lib.models import open_model, open_tokenizer, step_lengths
from colbert_zero_lib.profiles import PhaseBudget, Profile, get_profile
from colbert_zero_lib.prompts import prefix_tokens
from colbert_zero_lib.recipes import ZERO, Phase, Recipe, Step
from colbert_zero_lib.runs import Ledger, Run, RunKey, canonical_json, origins
from colbert_zero_lib.starts import Start
from colbert_zero_lib.training.devices import device_of_choice, native_precision

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BASE_SEED = 0


@dataclass(frozen=True, eq=False)
class Workshop:
    """A profile with its texts, its ledger and its device: what all runs of one sitting share.

    ``development_only`` is for runs that decide something, such as a learning rate: the test collections are then
    never searched, and the run's key says so.
    """

    profile: Profile
    home: Path
    device: str
    progress: bool = True
    development_only: bool = False

    @cached_property
    def source(self) -> Source:
        """Where rows and collections come from; the first process fetches and builds what is not there."""
        with group.first_goes_first("prepare the text"):
            source = open_source(self.profile, self.home, self.progress)
            source.fingerprint  # noqa: B018
        return source

    @cached_property
    def ledger(self) -> Ledger:
        """Where finished runs are."""
        return Ledger(self.home / "runs")

    @cached_property
    def precision(self) -> str:
        """Precision of training on this device."""
        return native_precision(self.device)

    @property
    def device_name(self) -> str:
        """What a passport calls this device."""
        if self.device.startswith("cuda"):
            return torch.cuda.get_device_name()
        return f"cpu ({torch.get_num_threads()} threads)"

    @cached_property
    def collections(self) -> Mapping[str, Collection]:
        """Test collections at the profile's size."""
        source = self.source
        with group.first_goes_first("fetch the collections"):
            return self._sized(source.collections)

    @cached_property
    def development(self) -> Mapping[str, Collection]:
        """Development collections at the profile's size."""
        source = self.source
        with group.first_goes_first("fetch the development collections"):
            return self._sized(source.development)

    def _sized(self, collections: Mapping[str, Collection]) -> Mapping[str, Collection]:
        size = self.profile.evaluation
        if size.max_queries is None or size.max_documents is None:
            return collections
        return {name: c.subset(size.max_queries, size.max_documents) for name, c in collections.items()}

    @cached_property
    def _checkpoints(self) -> dict[Start, Checkpoint]:
        return {}

    def checkpoint(self, recipe: Recipe) -> Checkpoint | None:
        """What ``recipe`` begins from, as it is for this sitting; None for a base encoder of the profile's own."""
        start = origins.start_of(self.profile, recipe)
        if start is None:
            return None
        if start not in self._checkpoints:
            with group.first_goes_first("fetch what the recipe begins from"):
                self._checkpoints[start] = origins.open_start(start, self.home)
        return self._checkpoints[start]

    def prompts(self, recipe: Recipe) -> tuple[str, str]:
        """The (query, document) prompts of its steps: those its start was saved with, else the profile's."""
        checkpoint = self.checkpoint(recipe)
        own = checkpoint.prompts if checkpoint else None
        return own if own and any(own) else self.profile.prompts

    def key(self, recipe: Recipe, seed: int) -> RunKey:
        """What makes the run of ``recipe`` the run it is: of a start, its commit or digest, whatever it is called."""
        checkpoint = self.checkpoint(recipe)
        settings: dict[str, Any] = self.profile.settings(recipe.steps, checkpoint)
        settings["prompts"] = list(self.prompts(recipe))
        if not recipe.steps and not recipe.trains:
            settings["switches"] = str(recipe).partition(" @ ")[2]
        settings["precision"], settings["device"] = self.precision, self.device.split(":")[0]
        if self.development_only:
            settings["evaluated"] = "development"
        if any(step.phase is not Phase.UNSUPERVISED for step in recipe.steps):
            teacher = taught_by(self.source, recipe.steps[-1].teacher).teacher
            settings |= {"teacher": teacher} if teacher else {}
        if any(step.sampled for step in recipe.steps):
            sampling(self.source, seed)  # says in time that a source cannot
        return RunKey(
            recipe=str(replace(recipe, start=None)),
            profile=self.profile.name,
            settings=canonical_json(settings),
            seed=seed if recipe.steps else BASE_SEED,
            base=self.profile.base if checkpoint is None else checkpoint.identity,
            data=self.source.fingerprint,
        )

    def prompt_lengths(self) -> tuple[int, int] | None:
        """How many tokens the prompts take before a (query, document); None while the base encoder is not there."""
        checkpoint = self.checkpoint(ZERO)
        base = self.ledger.get(self.key(ZERO, BASE_SEED), sizes_alone=True) if checkpoint is None else None
        if base and damage(base.folder, within="model/tokenizer"):  # its weights are not read for this
            return None
        folder = checkpoint.folder if checkpoint else base.model_folder if base else None
        return prefix_tokens(None, open_tokenizer(folder), self.profile.prompts) if folder else None

    def open(self, run: Run, recipe: Recipe | None = None) -> SentenceTransformer:
        """The model of a run, with the lengths at which it is evaluated; its start need not be there any more."""
        run.checked("model/")
        recipe = recipe or Recipe.parse(run.passport["recipe"])
        prompts = run.passport.get("key", {}).get("settings", {}).get("prompts")
        return self.open_folder(run.model_folder, recipe, tuple(prompts or self.profile.prompts))

    def open_folder(self, folder: Path, recipe: Recipe, prompts: tuple[str, str]) -> SentenceTransformer:
        """The model in a folder, as it is evaluated after the last step of ``recipe``."""
        step, lengths = recipe.evaluated_step, None
        if not recipe.steps and origins.start_of(self.profile, recipe):
            step, lengths = origins.as_measured(describe_checkpoint(folder, str(folder), ""), recipe)
        size = self.profile.evaluation
        lengths = lengths or step_lengths(recipe.measured_step, size, open_tokenizer(folder), prompts)
        return self._open(folder, step, lengths, prompts, BASE_SEED)

    def budget(self, recipe: Recipe) -> PhaseBudget:
        """That of the last step of ``recipe``, after what it follows."""
        before = recipe.steps[-2] if len(recipe) > 1 else self.checkpoint(recipe)
        return self.profile.budget(recipe.steps[-1], before)

    def open_for_training(
        self, folder: Path, recipe: Recipe, seed: int
    ) -> tuple[SentenceTransformer, PhaseBudget, tuple[int, int]]:
        """The checkpoint in ``folder`` as the last step of ``recipe`` trains it, that step's budget and its lengths."""
        step, prompts, budget = recipe.steps[-1], self.prompts(recipe), self.budget(recipe)
        lengths = step_lengths(step, budget, open_tokenizer(folder), prompts)
        return self._open(folder, step, lengths, prompts, seed), budget, lengths

    def _open(
        self, folder: Path, step: Step, lengths: tuple[int, int], prompts: tuple[str, str], seed: int
    ) -> SentenceTransformer:
        return open_model(
            folder,
            step,
            lengths=lengths,
            prompts=prompts,
            projection=self.profile.projection,
            query_expansion=self.profile.query_expansion,
            seed=seed,
            device=self.device,
        )


def workshop(profile: str | Profile, home: Path | None = None, progress: bool = True) -> Workshop:
    """Open a profile for work; :class:`ProfileError` when there is none of that name."""
    found = get_profile(profile) if isinstance(profile, str) else profile
    return Workshop(found, home or default_home(), device_of_choice(), progress)
