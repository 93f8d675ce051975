"""Train and evaluate a recipe through the ledger: every stage once, whoever asks for it.

The order of work lives here; training, evaluation and bookkeeping are called, not done.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pylate.models import ColBERT

from colbert_zero_lib import group
from colbert_zero_lib.checkpoint import Checkpoint
from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.evaluation import (
    DenseRetriever,
    Evaluation,
    LateInteractionRetriever,
    Retriever,
    evaluate,
)
from colbert_zero_lib.models import parameters, save_model
from colbert_zero_lib.profiles import PhaseBudget, Profile
from colbert_zero_lib.prompts import SIDES, describe_prefix
from colbert_zero_lib.recipes import ZERO, Recipe, find_recipe, pipeline_of
from colbert_zero_lib.runs import Run, environment_versions, git_commit, origins, thin
from colbert_zero_lib.runs.grid import needs
from colbert_zero_lib.runs.passport import arm_of
from colbert_zero_lib.runs.saved import maximum_lengths, store_settings
from colbert_zero_lib.runs.workshop import BASE_SEED, Workshop, workshop
from colbert_zero_lib.steps import check_seed
from colbert_zero_lib.training.data import step_data
from colbert_zero_lib.training.pretraining import pretrain
from colbert_zero_lib.training.stopping import KeepBest
from colbert_zero_lib.training.trainer import TrainingResult, train_step

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEVELOPMENT = "development.parquet"  # per-query figures on the development collections


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

    ``recipe`` is a pipeline's letter, a recipe or its printed form. Every stage becomes a run of its own, which other
    recipes share. ``say`` is told what the steps that are still to be trained will need.
    """
    check_seed(seed)
    group.start()
    shop = shop or workshop(profile, home, progress)
    recipe = shop.profile.begun(find_recipe(recipe) if isinstance(recipe, str) else recipe)
    if say:
        for need in needs(shop, recipe, seed):
            say(need)
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
        origins.check_start(start, recipe, shop.profile)
    before: Run | Checkpoint = start or obtain_base(shop)
    for stage in recipe.stages():
        before = shop.ledger.obtain(shop.key(stage, seed), partial(_build, shop, stage, seed, before))
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
        return _passport(shop, ZERO, BASE_SEED, folder, {"pretraining": result})

    return shop.ledger.obtain(shop.key(ZERO, BASE_SEED), build)


def _adopt(shop: Workshop, recipe: Recipe, start: Checkpoint, folder: Path) -> dict[str, Any]:
    """A checkpoint as a run that was not trained here."""
    if group.is_first():
        origins.copy_model(start, folder / "model")
    return _passport(shop, recipe, BASE_SEED, folder, {})


def _reevaluate(shop: Workshop, recipe: Recipe, seed: int, trained: Run, folder: Path) -> dict[str, Any]:
    """The same weights at another length or under another prefix: linked, not copied, where the disk allows it."""
    if group.is_first():
        shutil.copytree(trained.model_folder, folder / "model", copy_function=_link, dirs_exist_ok=True)
    return _passport(shop, recipe, seed, folder, {}, trained)


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
    best = _best(shop, budget, folder / "checkpoints")
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
        callbacks=(best,) if best else (),
    )
    if best:
        best.restore(model)
    if group.is_first():
        save_model(model, folder / "model")
    run = before if isinstance(before, Run) else None
    passport = _passport(shop, recipe, seed, folder, {step.phase.value: result}, run)
    if best:
        passport["measured"] = best.curve
    return passport


def _best(shop: Workshop, budget: PhaseBudget, folder: Path) -> KeepBest | None:
    """What ends a step early by the development collections, where its budget says so."""
    if budget.measured is None:
        return None

    def measure(model: SentenceTransformer) -> float:
        return evaluate(retriever_of(model, shop.precision), shop.development).mean()

    return KeepBest(folder, measure, -(-budget.steps // budget.measured))


def _passport(
    shop: Workshop,
    recipe: Recipe,
    seed: int,
    folder: Path,
    trained: Mapping[str, TrainingResult],
    before: Run | None = None,
) -> dict[str, Any]:
    """Evaluate the model of ``folder`` and write down all that is known of the run."""
    started = time.perf_counter()
    group.barrier("save the model")
    model = shop.open_folder(folder / "model", recipe, shop.prompts(recipe))
    measured: dict[str, Any] = {}
    if not shop.development_only:
        test = _evaluate(model, shop.collections)
        if group.is_first():
            test.per_query.to_parquet(folder / "per_query.parquet", index=False)
        measured = {"metrics": test.metrics(), "mean_ndcg@10": test.mean("ndcg@10")}
    development = _evaluate(model, shop.development)
    if group.is_first():
        development.per_query.to_parquet(folder / DEVELOPMENT, index=False)
        store_settings(model, folder / "model")
    evaluation_seconds = time.perf_counter() - started
    wall: dict[str, float] = {}
    spent = 0.0  # hours; what a base encoder took is not counted with the steps
    if before and Recipe.parse(before.passport["recipe"]).steps:
        wall = {**before.passport["wall_seconds"]}
        spent = float(before.passport["gpu_hours"])
    wall |= {name: result.wall_seconds for name, result in trained.items()}
    wall["evaluation"] = evaluation_seconds
    spent += sum(result.device_seconds or result.wall_seconds for result in trained.values()) / 3600
    whole = shop.profile.whole(recipe)
    passport = {
        **shared_fields(shop, recipe, seed),
        "pipeline": pipeline_of(whole),
        "arm": arm_of(whole),
        "threads": torch.get_num_threads(),
        "precision": shop.precision,
        "source": shop.profile.source.partition(":")[0],
        "data": {"fingerprint": shop.source.fingerprint},
        "parameters": parameters(model),
        "lengths": dict(zip(SIDES, maximum_lengths(model), strict=True)),
        "wall_seconds": wall,
        "gpu_hours": spent if shop.device.startswith("cuda") else 0.0,
        "queries_per_second": {name: result.queries_per_second for name, result in trained.items()},
        "peak_memory_bytes": max((result.peak_memory_bytes for result in trained.values()), default=0),
        "loss": {name: thin(result.loss) for name, result in trained.items()},
        "temperature": {
            name: result.temperature for name, result in trained.items() if result.temperature is not None
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
        passport["start"] = {
            "name": start.name,
            "revision": start.revision,
            "identity": checkpoint.identity,
            "interaction": checkpoint.interaction,
        }
    return passport


def shared_fields(shop: Workshop, recipe: Recipe, seed: int) -> dict[str, Any]:
    """What a passport says of every run, even one that diverged."""
    return {
        "profile": shop.profile.name,
        "seed": seed,
        "recipe": str(recipe),
        "device": shop.device_name,
        "versions": environment_versions(),
        "git_commit": git_commit(),
    }


def retriever_of(model: SentenceTransformer, precision: str = "float32") -> Retriever:
    """How a model searches: as a ColBERT or as a dense one; all processes of the job together."""
    if isinstance(model, ColBERT):
        return LateInteractionRetriever(model, precision, together=True)
    return DenseRetriever(model, precision, together=True)


def _evaluate(model: SentenceTransformer, collections: Mapping[str, Collection]) -> Evaluation:
    return evaluate(retriever_of(model), collections)
