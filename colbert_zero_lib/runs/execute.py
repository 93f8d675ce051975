"""Train and evaluate a recipe through the ledger: every prefix once, whoever asks for it.

The order of work lives here; training, evaluation and bookkeeping are called, not done.
"""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pylate.models import ColBERT

from colbert_zero_lib import group
from colbert_zero_lib.checkpoint import Checkpoint
from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.corpora.sources import Source, open_source
from colbert_zero_lib.evaluation import DenseRetriever, Evaluation, LateInteractionRetriever, evaluate
from colbert_zero_lib.home import home as default_home
from colbert_zero_lib.models import open_model, parameters, quiet, step_lengths
from colbert_zero_lib.profiles import PhaseBudget, Profile, get_profile
from colbert_zero_lib.prompts import SIDES, describe_prefix, prefix_tokens
from colbert_zero_lib.recipes import ZERO, Phase, Recipe, find_recipe, pipeline_of
from colbert_zero_lib.runs import (
    Ledger,
    Run,
    RunKey,
    canonical_json,
    environment_versions,
    git_commit,
    origins,
    thin,
)
from colbert_zero_lib.runs.needs import needs
from colbert_zero_lib.runs.passport import arm_of
from colbert_zero_lib.runs.saved import maximum_lengths, store_settings
from colbert_zero_lib.starts import Start
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
        return _device_name(self.device)

    @cached_property
    def collections(self) -> dict[str, Collection]:
        """Test collections at the profile's size."""
        source = self.source
        with group.first_goes_first("fetch the collections"):
            return self._sized(source.collections)

    @cached_property
    def development(self) -> dict[str, Collection]:
        """Development collections at the profile's size."""
        source = self.source
        with group.first_goes_first("fetch the development collections"):
            return self._sized(source.development)

    def _sized(self, collections: Mapping[str, Collection]) -> dict[str, Collection]:
        size = self.profile.evaluation
        if size.max_queries is None or size.max_documents is None:
            return dict(collections)
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
                self._checkpoints[start] = origins.open_start(start)
        return self._checkpoints[start]

    def prompts(self, recipe: Recipe) -> tuple[str, str]:
        """The (query, document) prompts of its steps: those its start was saved with, else the profile's."""
        checkpoint = self.checkpoint(recipe)
        return self.profile.prompts if checkpoint is None else origins.prompts_of(checkpoint, self.profile)

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
            teacher = self.source.teacher
            settings |= {"teacher": teacher} if teacher else {}
        return RunKey(
            recipe=str(replace(recipe, start=None)),
            profile=self.profile.name,
            settings=canonical_json(settings),
            seed=seed if recipe.steps else BASE_SEED,
            base=self.profile.base if checkpoint is None else checkpoint.identity,
            data=self.source.fingerprint,
        )

    def prompt_tokens(self) -> tuple[int, int] | None:
        """How many tokens the prompts take before a (query, document); None while the base encoder is not there."""
        checkpoint = self.checkpoint(ZERO)
        base = self.ledger.get(self.key(ZERO, BASE_SEED)) if checkpoint is None else None
        folder = checkpoint.folder if checkpoint else base.model_folder if base else None
        return prefix_tokens(None, _tokenizer(folder), self.profile.prompts) if folder else None

    def open(self, run: Run, recipe: Recipe | None = None) -> SentenceTransformer:
        """The model of a run, with the lengths at which it is evaluated; its start need not be there any more."""
        recipe = recipe or Recipe.parse(run.passport["recipe"])
        prompts = run.passport.get("key", {}).get("settings", {}).get("prompts")
        return self._open(run.model_folder, recipe, tuple(prompts or self.profile.prompts))

    def _open(self, folder: Path, recipe: Recipe, prompts: tuple[str, str]) -> SentenceTransformer:
        step, lengths = recipe.evaluated_step, None
        if not recipe.steps and origins.start_of(self.profile, recipe):
            step, lengths = origins.as_measured(origins.described(folder), recipe)
        size = self.profile.evaluation
        return open_model(
            folder,
            step,
            lengths=lengths or step_lengths(recipe.measured_step, size, _tokenizer(folder), prompts),
            prompts=prompts,
            projection=self.profile.projection,
            query_expansion=self.profile.query_expansion,
            seed=BASE_SEED,
            device=self.device,
        )

    def open_for_training(
        self, folder: Path, recipe: Recipe, seed: int
    ) -> tuple[SentenceTransformer, PhaseBudget, tuple[int, int]]:
        """The checkpoint in ``folder`` as the last step of ``recipe`` trains it, that step's budget and its lengths."""
        step, prompts = recipe.steps[-1], self.prompts(recipe)
        before = recipe.steps[-2] if len(recipe) > 1 else self.checkpoint(recipe)
        budget = self.profile.budget(step, before)
        lengths = step_lengths(step, budget, _tokenizer(folder), prompts)
        model = open_model(
            folder,
            step,
            lengths=lengths,
            prompts=prompts,
            projection=self.profile.projection,
            query_expansion=self.profile.query_expansion,
            seed=seed,
            device=self.device,
        )
        return model, budget, lengths


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


def workshop(profile: str | Profile, home: Path | None = None, progress: bool = True) -> Workshop:
    """Open a profile for work; :class:`ProfileError` when there is none of that name."""
    found = get_profile(profile) if isinstance(profile, str) else profile
    return Workshop(found, home or default_home(), device_of_choice(), progress)


def run_recipe(
    recipe: Recipe | str,
    profile: str | Profile = "tiny",
    seed: int = 0,
    home: Path | None = None,
    progress: bool = True,
    shop: Workshop | None = None,
    say: Callable[[str], None] | None = None,
) -> Run:
    """Train whatever of ``recipe`` is not in the ledger yet, evaluate it, and return its run.

    ``recipe`` is a pipeline's letter, a recipe or its printed form. Every prefix becomes a run of its own, which other
    recipes share. ``say`` is told what the steps that are still to be trained will need.
    """
    group.start()
    shop = shop or workshop(profile, home, progress)
    recipe = shop.profile.begun(find_recipe(recipe) if isinstance(recipe, str) else recipe)
    if say:
        for need in needs(shop, recipe, seed):
            say(str(need))
    run = obtain_steps(shop, recipe, seed)
    if isinstance(run, Checkpoint):
        run = shop.ledger.obtain(shop.key(recipe.training, seed), partial(_adopt, shop, recipe.training, run))
    if not recipe.trains:
        run = shop.ledger.obtain(shop.key(recipe, seed), partial(_reevaluate, shop, recipe, seed, run))
    return run


def obtain_steps(shop: Workshop, recipe: Recipe, seed: int) -> Run | Checkpoint:
    """The run of the recipe's last step; what it begins from where it has no step.

    A checkpoint that others trained is opened where it lies: evaluating it first would take hours and change nothing.
    """
    start = shop.checkpoint(recipe)
    if start is not None:
        origins.check_first_step(start, recipe)
        for sentence in origins.mismatches(start, recipe, shop.profile):
            warnings.warn(sentence, stacklevel=3)
    before: Run | Checkpoint = start or obtain_base(shop)
    for prefix in recipe.prefixes():
        before = shop.ledger.obtain(shop.key(prefix, seed), partial(_build, shop, prefix, seed, before))
    return before


def obtain_base(shop: Workshop) -> Run:
    """The base encoder of a profile, the same for every recipe and seed."""
    shape = shop.profile.encoder
    if shape is None:
        return run_recipe(ZERO, shop=shop)

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


def _adopt(shop: Workshop, recipe: Recipe, start: Checkpoint, folder: Path) -> dict[str, Any]:
    """A checkpoint as a run that was not trained here."""
    if group.is_first():
        origins.copy_model(start, folder / "model")
    return _passport(shop, recipe, BASE_SEED, folder / "model", folder, [])


def _reevaluate(shop: Workshop, recipe: Recipe, seed: int, trained: Run, folder: Path) -> dict[str, Any]:
    """The same weights at another length or under another prefix: linked, not copied, where the disk allows it."""
    if group.is_first():
        shutil.copytree(trained.model_folder, folder / "model", copy_function=_link, dirs_exist_ok=True)
    return _passport(shop, recipe, seed, folder / "model", folder, [], trained)


def _link(source: str, target: str) -> None:
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _build(
    shop: Workshop, recipe: Recipe, seed: int, before: Run | Checkpoint, folder: Path
) -> dict[str, Any]:
    step = recipe.steps[-1]
    earlier = before.model_folder if isinstance(before, Run) else before.folder
    model, budget, lengths = shop.open_for_training(earlier, recipe, seed)
    with group.first_goes_first("fetch the rows"):
        data = step_data(step, budget, shop.source, seed)
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
    if group.is_first():
        with quiet():
            model.save_pretrained(str(folder / "model"), create_model_card=False)
    run = before if isinstance(before, Run) else None
    return _passport(shop, recipe, seed, folder / "model", folder, [(step.phase.value, result)], run)


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
    group.barrier("save the model")
    model = shop._open(model_folder, recipe, shop.prompts(recipe))
    measured: dict[str, Any] = {}
    if not shop.development_only:
        test = _evaluate(model, shop.collections)
        if group.is_first():
            test.per_query.to_parquet(folder / "per_query.parquet", index=False)
        measured = {"metrics": test.metrics(), "mean_ndcg@10": test.mean("ndcg@10")}
    development = _evaluate(model, shop.development)
    if group.is_first():
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
    spent = float(before.passport["gpu_hours"]) if before and _trains(before) else 0.0
    spent += sum(result.device_seconds or result.wall_seconds for _, result in trained) / 3600
    passport = {
        "profile": shop.profile.name,
        "seed": seed,
        "recipe": str(recipe),
        "pipeline": pipeline_of(shop.profile.whole(recipe)),
        "arm": arm_of(shop.profile.whole(recipe)),
        "device": _device_name(shop.device),
        "threads": torch.get_num_threads(),
        "precision": shop.precision,
        "versions": environment_versions(),
        "git_commit": git_commit(),
        "source": shop.profile.source.partition(":")[0],
        "data": {"fingerprint": shop.source.fingerprint},
        "parameters": parameters(model),
        "lengths": dict(zip(SIDES, maximum_lengths(model), strict=True)),
        "wall_seconds": wall,
        "gpu_hours": spent if shop.device.startswith("cuda") else 0.0,
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
    if group.size() > 1:
        passport["processes"] = group.size()
    if recipe.evaluation_prefix or any(step.prefix for step in recipe.steps):
        passport["prefix"] = describe_prefix(model)
    start, checkpoint = origins.start_of(shop.profile, recipe), shop.checkpoint(recipe)
    if start is not None and checkpoint is not None:
        passport["start"] = origins.start_entry(start, checkpoint)
    return passport


def _trains(run: Run) -> bool:
    """Whether a run's recipe has steps: what a base encoder took is not counted with them."""
    return bool(Recipe.parse(run.passport["recipe"]).steps)


def _evaluate(model: SentenceTransformer, collections: dict[str, Collection]) -> Evaluation:
    if isinstance(model, ColBERT):
        return evaluate(LateInteractionRetriever(model, together=True), collections)
    return evaluate(DenseRetriever(model, together=True), collections)


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"cpu ({torch.get_num_threads()} threads)"
