"""Train and evaluate a recipe through the ledger: every prefix once, whoever asks for it.

The order of work lives here; training, evaluation and bookkeeping are called, not done.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pylate.models import ColBERT

from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.corpora.sources import Source, open_source
from colbert_zero_lib.errors import DivergedError, ProfileError, TrainingError
from colbert_zero_lib.evaluation import DenseRetriever, Evaluation, LateInteractionRetriever, evaluate
from colbert_zero_lib.home import home as default_home
from colbert_zero_lib.models import open_model, parameters, quiet, step_lengths
from colbert_zero_lib.profiles import PhaseBudget, Profile, get_profile
from colbert_zero_lib.prompts import SIDES, describe_prefix, prefix_tokens
from colbert_zero_lib.recipes import PIPELINES, ZERO, Phase, Recipe
from colbert_zero_lib.runs import Ledger, Run, RunKey, canonical_json, environment_versions, git_commit, thin
from colbert_zero_lib.runs.passport import arm_of
from colbert_zero_lib.runs.saved import maximum_lengths, store_settings
from colbert_zero_lib.training.data import step_data
from colbert_zero_lib.training.devices import device_of_choice, native_precision
from colbert_zero_lib.training.pretraining import pretrain
from colbert_zero_lib.training.trainer import TrainingResult, train_step

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedTokenizerBase

BASE_SEED = 0
DEVELOPMENT = "development.parquet"  # per-query figures on the development collections


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
        """Where rows and collections come from."""
        return open_source(self.profile, self.home, self.progress)

    @cached_property
    def ledger(self) -> Ledger:
        """Where finished runs are."""
        return Ledger(self.home / "runs")

    @cached_property
    def precision(self) -> str:
        """Precision of training on this device."""
        return native_precision(self.device)

    @cached_property
    def collections(self) -> dict[str, Collection]:
        """Test collections at the profile's size."""
        return self._sized(self.source.collections)

    @cached_property
    def development(self) -> dict[str, Collection]:
        """Development collections at the profile's size."""
        return self._sized(self.source.development)

    def _sized(self, collections: Mapping[str, Collection]) -> dict[str, Collection]:
        size = self.profile.evaluation
        if size.max_queries is None or size.max_documents is None:
            return dict(collections)
        return {name: c.subset(size.max_queries, size.max_documents) for name, c in collections.items()}

    def key(self, recipe: Recipe, seed: int) -> RunKey:
        """What makes the run of ``recipe`` the run it is."""
        settings: dict[str, Any] = self.profile.settings(recipe.steps)
        settings["precision"], settings["device"] = self.precision, self.device.split(":")[0]
        if self.development_only:
            settings["evaluated"] = "development"
        if any(step.phase is not Phase.UNSUPERVISED for step in recipe.steps):
            teacher = self.source.teacher
            settings |= {"teacher": teacher} if teacher else {}
        return RunKey(
            recipe=str(recipe),
            profile=self.profile.name,
            settings=canonical_json(settings),
            seed=seed if recipe.steps else BASE_SEED,
            base=self.profile.base,
            data=self.source.fingerprint,
        )

    def prompt_tokens(self) -> tuple[int, int] | None:
        """How many tokens the prompts take before a (query, document); None while the base encoder is not there."""
        base = self.ledger.get(self.key(ZERO, BASE_SEED))
        if base is None:
            return None
        return prefix_tokens(None, _tokenizer(base.model_folder), self.profile.prompts)

    def open(self, run: Run, recipe: Recipe | None = None) -> SentenceTransformer:
        """The model of a run, with the lengths at which it is evaluated."""
        recipe = recipe or Recipe.parse(run.passport["recipe"])
        return self._open(run.model_folder, recipe)

    def _open(self, folder: Path, recipe: Recipe) -> SentenceTransformer:
        return open_model(
            folder,
            recipe.evaluated_step,
            lengths=self._evaluation_lengths(folder, recipe),
            prompts=self.profile.prompts,
            projection=self.profile.projection,
            query_expansion=self.profile.query_expansion,
            seed=BASE_SEED,
            device=self.device,
        )

    def open_for_training(
        self, folder: Path, recipe: Recipe, seed: int
    ) -> tuple[SentenceTransformer, PhaseBudget, tuple[int, int]]:
        """The checkpoint in ``folder`` as the last step of ``recipe`` trains it, that step's budget and its lengths."""
        step = recipe.steps[-1]
        budget = self.profile.budget(step, recipe.steps[-2] if len(recipe) > 1 else None)
        lengths = step_lengths(step, budget, _tokenizer(folder), self.profile.prompts)
        model = open_model(
            folder,
            step,
            lengths=lengths,
            prompts=self.profile.prompts,
            projection=self.profile.projection,
            query_expansion=self.profile.query_expansion,
            seed=seed,
            device=self.device,
        )
        return model, budget, lengths

    def _evaluation_lengths(self, folder: Path, recipe: Recipe) -> tuple[int, int]:
        size = self.profile.evaluation
        return step_lengths(recipe.measured_step, size, _tokenizer(folder), self.profile.prompts)


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


def workshop(profile: str | Profile, home: Path | None = None, progress: bool = True) -> Workshop:
    """Open a profile for work; :class:`ProfileError` when it needs what this machine cannot give."""
    found = get_profile(profile) if isinstance(profile, str) else profile
    if found.missing:
        raise ProfileError(f"profile '{found.name}' cannot run here: {found.missing}")
    return Workshop(found, home or default_home(), device_of_choice(), progress)


def run_recipe(
    recipe: Recipe | str,
    profile: str | Profile = "tiny",
    seed: int = 0,
    home: Path | None = None,
    progress: bool = True,
    shop: Workshop | None = None,
) -> Run:
    """Train whatever of ``recipe`` is not in the ledger yet, evaluate it, and return its run.

    ``recipe`` is a pipeline's letter, a recipe or its printed form. Every prefix becomes a run of its own, which other
    recipes share.
    """
    shop = shop or workshop(profile, home, progress)
    if isinstance(recipe, str):
        recipe = PIPELINES[recipe] if recipe in PIPELINES else Recipe.parse(recipe)
    run = obtain_base(shop)
    for prefix in recipe.prefixes():
        run = shop.ledger.obtain(shop.key(prefix, seed), partial(_build, shop, prefix, seed, run))
    if not recipe.trains:
        run = shop.ledger.obtain(shop.key(recipe, seed), partial(_reevaluate, shop, recipe, seed, run))
    return run


def obtain_base(shop: Workshop) -> Run:
    """The base encoder of a profile, the same for every recipe and seed."""

    shape = shop.profile.encoder
    if shape is None:
        raise ProfileError(
            f"profile '{shop.profile.name}' has no encoder of its own; it opens {shop.profile.base}"
        )

    def build(folder: Path) -> dict[str, Any]:
        result = pretrain(
            shop.source.texts(),
            shape,
            shop.profile.pretraining,
            seed=BASE_SEED,
            folder=folder / "model",
            checkpoints_folder=folder / "checkpoints",
            device=shop.device,
            precision=shop.precision,
            progress=shop.progress,
        )
        return _passport(shop, ZERO, BASE_SEED, folder / "model", folder, [("pretraining", result)])

    return shop.ledger.obtain(shop.key(ZERO, BASE_SEED), build)


def _reevaluate(shop: Workshop, recipe: Recipe, seed: int, trained: Run, folder: Path) -> dict[str, Any]:
    """The same weights at another length or under another prefix: linked, not copied, where the disk allows it."""
    shutil.copytree(trained.model_folder, folder / "model", copy_function=_link, dirs_exist_ok=True)
    return _passport(shop, recipe, seed, folder / "model", folder, [], trained)


def _link(source: str, target: str) -> None:
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _build(shop: Workshop, recipe: Recipe, seed: int, before: Run, folder: Path) -> dict[str, Any]:
    step = recipe.steps[-1]
    model, budget, lengths = shop.open_for_training(before.model_folder, recipe, seed)
    data = step_data(step, budget, shop.source, seed)
    try:
        result = train_step(
            model,
            data,
            step,
            budget,
            lengths,
            seed=seed,
            folder=folder / "checkpoints",
            precision=shop.precision,
            progress=shop.progress,
        )
    except TrainingError as error:
        if all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
            raise
        raise DivergedError(str(error)) from error
    with quiet():
        model.save_pretrained(str(folder / "model"), create_model_card=False)
    return _passport(shop, recipe, seed, folder / "model", folder, [(step.phase.value, result)], before)


def _passport(
    shop: Workshop,
    recipe: Recipe,
    seed: int,
    model_folder: Path,
    folder: Path,
    trained: list[tuple[str, TrainingResult]],
    before: Run | None = None,
) -> dict[str, Any]:
    """Evaluate the model and write down all that is known of the run."""
    started = time.perf_counter()
    model = shop._open(model_folder, recipe)
    measured: dict[str, Any] = {}
    if not shop.development_only:
        test = _evaluate(model, shop.collections)
        test.per_query.to_parquet(folder / "per_query.parquet", index=False)
        measured = {"metrics": test.metrics(), "mean_ndcg@10": test.mean("ndcg@10")}
    development = _evaluate(model, shop.development)
    development.per_query.to_parquet(folder / DEVELOPMENT, index=False)
    store_settings(model, model_folder)
    evaluation_seconds = time.perf_counter() - started
    earlier = dict(before.passport["wall_seconds"]) if before else {}
    for other in ("pretraining", "evaluation"):
        earlier.pop(other, None)
    wall = {
        **earlier,
        **{name: result.wall_seconds for name, result in trained},
        "evaluation": evaluation_seconds,
    }
    training_seconds = sum(seconds for name, seconds in wall.items() if name != "evaluation")
    passport = {
        "profile": shop.profile.name,
        "seed": seed,
        "recipe": str(recipe),
        "pipeline": next((letter for letter, known in PIPELINES.items() if known == recipe), None),
        "arm": arm_of(recipe),
        "device": _device_name(shop.device),
        "threads": torch.get_num_threads(),
        "precision": shop.precision,
        "versions": environment_versions(),
        "git_commit": git_commit(),
        "data": {"fingerprint": shop.source.fingerprint},
        "parameters": parameters(model),
        "lengths": dict(zip(SIDES, maximum_lengths(model), strict=True)),
        "wall_seconds": wall,
        "gpu_hours": training_seconds / 3600 if shop.device.startswith("cuda") else 0.0,
        "queries_per_second": {name: result.queries_per_second for name, result in trained},
        "peak_memory_bytes": max((result.peak_memory_bytes for _, result in trained), default=0),
        "loss": {name: thin(result.loss) for name, result in trained},
        "temperature": {
            name: result.temperature for name, result in trained if result.temperature is not None
        },
        **measured,
        "development": development.metrics(),
        "development_mean_ndcg@10": development.mean("ndcg@10"),
    }
    if recipe.evaluation_prefix or any(step.prefix for step in recipe.steps):
        passport["prefix"] = describe_prefix(model)
    return passport


def _evaluate(model: SentenceTransformer, collections: dict[str, Collection]) -> Evaluation:
    retriever = LateInteractionRetriever(model) if isinstance(model, ColBERT) else DenseRetriever(model)
    return evaluate(retriever, collections)


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"cpu ({torch.get_num_threads()} threads)"
