"""What the trainer is really given, held against the table of choices: three phases, as paper and as released."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from datasets import Dataset, DatasetDict
from sentence_transformers.sampler import ProportionalBatchSampler
from torch.optim import AdamW
from torch.utils.data import BatchSampler

from colbert_zero_lib.choices import CHOICES, PAPER, RELEASED, chosen
from colbert_zero_lib.models import open_model
from colbert_zero_lib.profiles import PhaseBudget, get_profile
from colbert_zero_lib.recipes import PIPELINES, TABLE1, Phase, Step
from colbert_zero_lib.training import trainer as training
from colbert_zero_lib.training.contrastive import Contrastive
from colbert_zero_lib.training.data import step_data
from colbert_zero_lib.training.devices import native_precision
from colbert_zero_lib.training.distillation import Distillation

LENGTHS, STEPS, BATCH = (16, 24), 10, 8
STEP_OF = {step.phase: step for step in PIPELINES["c"]}


@dataclass
class Rows:
    """A source that remembers what it was asked for."""

    asked: int = 0

    def pairs(self) -> DatasetDict:
        self.asked = 1
        rows = Dataset.from_dict({"query": ["tide"] * 20, "document": ["ship"] * 20})
        return DatasetDict({"one": rows, "two": rows.select(range(19))})

    def triples(self, negatives: int) -> DatasetDict:
        self.asked = 1 + negatives
        columns = {"positive": ["ship"] * 20, "negative_0": ["bread"] * 20}
        return DatasetDict({"one": Dataset.from_dict({"query": ["tide"] * 20, **columns})})

    def scored(self, documents: int, scale: float, wanted: int, seed: int) -> Dataset:
        self.asked = documents
        lists = {"documents": [["ship", "bread"]] * 20, "scores": [[1.0, 0.0]] * 20}
        return Dataset.from_dict({"query": ["tide"] * 20, **lists})


def given(side: str, phase: Phase, encoder: Path, folder: Path) -> Mapping[str, Any]:
    """Every setting of the table, read from what a trainer of the profile `paper` holds."""
    profile, source, step = get_profile("paper", side), Rows(), STEP_OF[phase]
    whole = profile.budget(step)
    budget = replace(whole, steps=STEPS, batch_size=BATCH)
    data = step_data(step, budget, cast(Any, source))
    model = open_model(
        encoder,
        step,
        lengths=LENGTHS,
        prompts=profile.prompts,
        query_expansion=profile.query_expansion,
    )
    options = {"seed": 0, "folder": folder, "precision": "bfloat16"}
    trainer = training.make_trainer(model, data, step, budget, LENGTHS, **options)
    arguments, loss = trainer.args, cast(Any, trainer.loss)
    optimizer = trainer.create_optimizer()
    decays, betas = ({group[name] for group in optimizer.param_groups} for name in ("weight_decay", "betas"))
    rates = []
    schedule = cast(Any, trainer.create_scheduler(STEPS, optimizer))
    for _ in range(STEPS):
        rates.append(schedule.get_last_lr()[0] / whole.learning_rate)
        optimizer.step()
        schedule.step()
    sampler: Any = cast(Any, trainer.get_train_dataloader()).batch_sampler
    batches = list(sampler)
    several = SimpleNamespace(
        world_size=2,
        per_device_train_batch_size=BATCH,
        accelerator_config=SimpleNamespace(split_batches=False),
    )
    training.share_batches(cast(Any, several))
    assert {len(batch) * arguments.gradient_accumulation_steps for batch in batches} == {BATCH}
    assert arguments.learning_rate == TABLE1[phase].released_learning_rate
    assert whole.batch_size == TABLE1[phase].batch_size and arguments.max_steps == STEPS
    assert len(betas) == 1 and not arguments.fp16
    falling = [1 - place / STEPS for place in range(STEPS)]
    proportional = isinstance(sampler, ProportionalBatchSampler)
    return {
        "temperature": pytest.approx(loss.temperature),
        "documents": source.asked,
        "accumulation": arguments.gradient_accumulation_steps,
        "authors_gradient": bool(getattr(loss, "authors_gradient", False) and loss.activations.gradient_cache),
        "authors_padding": cast(Any, trainer.data_collator).authors_padding,
        "query_expansion": cast(Any, model).do_query_expansion,
        "warmup": 0.0 if rates[0] == 1 else "some",
        "schedule": "linear" if rates == pytest.approx(falling) else rates,
        "optimizer": "AdamW" if isinstance(optimizer, AdamW) else type(optimizer).__name__,
        "betas": betas.pop(),
        "weight_decay": max(decays),
        "max_grad_norm": arguments.max_grad_norm,
        "drop_last": sum(map(len, batches)) < sum(map(len, data.values())) if isinstance(data, dict) else
        arguments.dataloader_drop_last,
        # One data set has nothing to be proportional to.
        "sampler": "proportional" if proportional or isinstance(sampler, BatchSampler) else type(sampler).__name__,
        "bfloat16": arguments.bf16,
        "split_batches": several.accelerator_config.split_batches,
    }  # fmt: skip


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("side", [PAPER, RELEASED])
def test_the_trainer_is_given_what_the_table_says(
    side: str, phase: Phase, tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    found, said = given(side, phase, tiny_encoder_folder, tmp_path), chosen(side, phase)
    assert {name: found[name] for name in said} == said


def test_several_data_sets_are_drawn_in_proportion(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    step = STEP_OF[Phase.UNSUPERVISED]
    model = open_model(tiny_encoder_folder, step, lengths=LENGTHS, prompts=("", ""))
    budget = replace(get_profile("paper").budget(step), steps=STEPS, batch_size=BATCH)
    trainer = training.make_trainer(model, Rows().pairs(), step, budget, LENGTHS, seed=0, folder=tmp_path)
    sampler = cast(Any, trainer.get_train_dataloader()).batch_sampler
    assert isinstance(sampler, ProportionalBatchSampler)


def test_the_table_names_fields_and_sources() -> None:
    named = {each.setting for each in CHOICES}
    added = {"accumulation", "authors_gradient", "authors_padding"}
    assert added < named & {field.name for field in fields(PhaseBudget)}
    assert all(each.source for each in CHOICES)
    assert len({(each.setting, each.phase) for each in CHOICES}) == len(CHOICES)
    differ = {(each.setting, each.phase) for each in CHOICES if each.paper != each.released}
    assert differ == {
        ("temperature", Phase.UNSUPERVISED),
        ("documents", Phase.SUPERVISED),
        ("authors_gradient", Phase.UNSUPERVISED),
        ("authors_padding", None),
        ("query_expansion", None),
    }


def test_as_released_is_pylates_own_loss_and_gradient(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    from pylate import losses as pylate_losses
    from pylate.utils import ColBERTCollator

    step = STEP_OF[Phase.UNSUPERVISED]
    profile = get_profile("paper", RELEASED)
    model = cast(Any, open_model(
        tiny_encoder_folder, step, lengths=LENGTHS, prompts=profile.prompts, query_expansion=profile.query_expansion
    ))  # fmt: skip
    budget = profile.budget(step)
    rows = [{"query": f"tide {place}", "document": "the ship waits " * (1 + place)} for place in range(4)]
    collators = (
        training.Collator(model, LENGTHS, authors_padding=budget.authors_padding),
        ColBERTCollator(tokenize_fn=model.tokenize, prompts=dict(model.prompts)),
    )
    losses = (
        training.make_loss(model, step, budget),
        pylate_losses.CachedContrastive(model, mini_batch_size=2, temperature=budget.temperature),
    )
    results = []
    for collator, loss in zip(collators, losses, strict=True):
        batch: Any = collator(rows)
        sides = [
            {key: batch[f"{name}_{key}"] for key in ("input_ids", "attention_mask")}
            for name in ("query", "document")
        ]
        model.zero_grad()
        value = loss(sides, None)
        value.backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        results.append((float(value.detach()), gradient))
    (ours, own), (theirs, other) = results
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert float(torch.cosine_similarity(own, other, dim=0)) > 0.99999
    # Divided by 0.02, scores make the last digits of float32 visible.
    assert float(own.norm() / other.norm()) == pytest.approx(1, rel=1e-2)


@pytest.mark.parametrize("kind", [Contrastive, Distillation])
def test_profiles_of_the_offline_text_keep_their_own_settings(kind: type) -> None:
    step: Step = STEP_OF[Phase.DISTILLATION if kind is Distillation else Phase.SUPERVISED]
    settings = get_profile("tiny").settings((step,))["budgets"][f"colbert:{step.phase.value}"]
    assert settings["warmup"] == 0.1 and "accumulation" not in settings and "authors_padding" not in settings


@pytest.mark.parametrize(("native", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_a_card_that_only_emulates_bfloat16_trains_in_float32(
    monkeypatch: pytest.MonkeyPatch, native: bool, precision: str
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return including_emulation or native

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert native_precision("cuda") == precision
