"""Training curves: the last pipeline trained with PyLate's own collator and losses, beside the suite's recorded runs.

Both start from the same base encoder and see the same batches in the same order; speed is measured in `training`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from pylate.models import ColBERT

from colbert_zero_lib.errors import DataError
from colbert_zero_lib.evaluation import LateInteractionRetriever, evaluate
from colbert_zero_lib.models import quiet
from colbert_zero_lib.published import recorded_runs
from colbert_zero_lib.recipes import PIPELINES, Recipe
from colbert_zero_lib.runs import read_passport, thin
from colbert_zero_lib.runs.execute import obtain_base
from colbert_zero_lib.runs.passport import write_json
from colbert_zero_lib.runs.workshop import Workshop
from colbert_zero_lib.training.data import step_data
from colbert_zero_lib.training.trainer import train_step

from .sides import AUTHORS, Settings, authors
from .statistics import ratio_of

RECIPE = PIPELINES["c"]
# What the authors' loss encodes at once; it changes no gradient, and this is the fastest here.
MINI_BATCH = 8
SEEDS = (0, 1)
Curve = Sequence[Sequence[float]]


def authors_run(shop: Workshop, recipe: Recipe, seed: int, root: Path) -> dict[str, Any]:
    """Train every phase of ``recipe`` the authors' way; what was trained before is kept, phase by phase.

    PyLate's cached loss keeps its too large gradient, as the authors had it. Returns the loss of the last phase and
    nDCG@10 on the test and development collections.
    """
    before = obtain_base(shop).folder
    for prefix in recipe.stages():
        folder = root / f"{shop.profile.name}-{shop.key(prefix, seed).folder_name}"
        if not (folder / "result.json").is_file():
            _train(shop, prefix, seed, before, folder)
        before = folder
    return read_passport(before / "result.json")


def _train(shop: Workshop, recipe: Recipe, seed: int, before: Path, folder: Path) -> None:
    step = recipe.steps[-1]
    opened, budget, lengths = shop.open_for_training(before / "model", recipe, seed)
    model = cast(ColBERT, opened)
    model.query_length, model.document_length = lengths
    side = authors(model, step.phase, Settings(mini_batch_size=MINI_BATCH), budget.temperature)
    result = train_step(
        model,
        step_data(step, budget, shop.source, seed),
        step,
        budget,
        lengths,
        seed=seed,
        folder=folder / "checkpoints",
        precision=shop.precision,
        progress=shop.progress,
        parts=(side.loss, side.collator),
    )
    with quiet():
        model.save_pretrained(str(folder / "model"), create_model_card=False)
    retriever = LateInteractionRetriever(
        cast(ColBERT, shop.open_folder(folder / "model", recipe, shop.profile.prompts))
    )
    content = {
        "loss": thin(result.loss),
        "mean_ndcg@10": evaluate(retriever, shop.collections).mean(),
        "development_mean_ndcg@10": evaluate(retriever, shop.development).mean(),
        "wall_seconds": result.wall_seconds,
    }
    write_json(content, folder / "result.json")


def curve(shop: Workshop, prefix: Recipe, seed: int, root: Path) -> list[dict[str, Any]]:
    """The row of a prefix's last phase: the authors' loss against ours at the same steps, and the seeds' distance.

    The ratio is of the mean losses over the last fifth of the phase. ``difference`` is the mean distance between the
    two ways under the same seed, ``seed_difference`` that between two of our seeds, both over all steps of the phase
    and in nats.
    """
    recorded = {
        passport["seed"]: passport
        for passport in recorded_runs(shop.profile.name)
        if passport["recipe"] == str(prefix)
    }
    if seed not in recorded or len(recorded) < 2:
        raise DataError(
            f"data/runs/{shop.profile.name} lacks {prefix} under seed {seed} or any other seed: record them first."
        )
    phase = prefix.steps[-1].phase.value
    ours = {number: passport["loss"][phase] for number, passport in sorted(recorded.items())}
    theirs = authors_run(shop, prefix, seed, root)
    late = max(1, len(ours[seed]) // 5)
    apart = [_distance(one, other) for one, other in itertools.combinations(ours.values(), 2)]
    return [
        {
            "case": name_of(shop.profile.name, phase, seed),
            "peer": AUTHORS,
            "quantity": "training loss at the end",
            "phase": phase,
            "seed": seed,
            **ratio_of(_values(ours[seed])[-late:], _values(theirs["loss"])[-late:]),
            "rounds": late,
            "difference": _distance(ours[seed], theirs["loss"]),
            "seed_difference": float(np.mean(apart)),
            "ours_loss": ours[seed],
            "peer_loss": theirs["loss"],
            "seeds_loss": [found for number, found in ours.items() if number != seed],
            "ours_ndcg@10": recorded[seed]["mean_ndcg@10"],
            "peer_ndcg@10": theirs["mean_ndcg@10"],
            "seeds_ndcg@10": [passport["mean_ndcg@10"] for _, passport in sorted(recorded.items())],
            "ours_development_ndcg@10": recorded[seed]["development_mean_ndcg@10"],
            "peer_development_ndcg@10": theirs["development_mean_ndcg@10"],
        }
    ]


def name_of(profile: str, phase: str, seed: int) -> str:
    """The case's name."""
    return f"training curve, {profile}, {phase}, seed {seed}"


def _values(curve: Curve) -> list[float]:
    return [value for _, value in curve]


def _distance(one: Curve, other: Curve) -> float:
    if [step for step, _ in one] != [step for step, _ in other]:
        raise DataError("Two training curves were not noted at the same steps: record the runs again.")
    return float(np.mean(np.abs(np.subtract(_values(one), _values(other)))))
