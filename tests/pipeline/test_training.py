"""Real training, small: losses fall, sources are not mixed, a killed run ends where an undisturbed one does.

Run as a program, this file is the run that gets killed: ``test_training.py PHASE ENCODER FOLDER``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback

from colbert_zero_lib.errors import DivergedError, TrainingError
from colbert_zero_lib.keeping import seal
from colbert_zero_lib.models import open_model
from colbert_zero_lib.profiles import PhaseBudget
from colbert_zero_lib.recipes import Interaction, Phase, Step
from colbert_zero_lib.training import checkpoints, trainer
from colbert_zero_lib.training.distillation import Distillation
from colbert_zero_lib.training.packing import WORTH_PACKING
from colbert_zero_lib.training.trainer import TrainingResult, last_complete_checkpoint, train_step

pytestmark = pytest.mark.pipeline

LENGTHS = (14, 24)
PROMPTS = ("search_query: ", "search_document: ")
THINGS = (
    "ship",
    "tide",
    "crane",
    "yeast",
    "bread",
    "violin",
    "cello",
    "glacier",
    "lake",
    "bees",
    "honey",
    "king",
)
DOINGS = ("waits", "turns", "rises", "plays", "melts", "dances", "lifts", "carves")
STEPS = {
    "unsupervised": Step(Interaction.COLBERT, Phase.UNSUPERVISED),
    "dense": Step(Interaction.DENSE, Phase.UNSUPERVISED),
    "supervised": Step(Interaction.COLBERT, Phase.SUPERVISED),
    "distillation": Step(Interaction.COLBERT, Phase.DISTILLATION),
}
CHANGED = {"muon": Step(Interaction.COLBERT, Phase.UNSUPERVISED, head=True, muon=True)}


def rows(phase: str) -> Dataset | DatasetDict:
    """Toy rows: a query names the thing and the doing that its document is about."""
    pairs = [(f"{thing} {doing}", f"the {thing} {doing} by the sea") for thing in THINGS for doing in DOINGS]
    queries, documents = [query for query, _ in pairs], [document for _, document in pairs]
    others = documents[7:] + documents[:7]
    if phase in ("unsupervised", "dense", "muon"):
        sources = {"first": slice(0, 40), "second": slice(40, 70), "third": slice(70, 96)}
        return DatasetDict(
            {
                name: Dataset.from_dict({"query": queries[part], "document": documents[part]})
                for name, part in sources.items()
            }
        )
    if phase == "supervised":
        return Dataset.from_dict({"query": queries, "positive": documents, "negative_0": others})
    lists = [[a, b, "honey"] for a, b in zip(documents, others, strict=True)]
    return Dataset.from_dict(
        {"query": queries, "documents": lists, "scores": [[4.0, 1.0, 0.0]] * len(queries)}
    )


def budget(**changes: Any) -> PhaseBudget:
    plain = PhaseBudget(
        steps=12, batch_size=8, learning_rate=2e-3, query_length=10, document_length=20, temperature=0.2
    )
    return replace(plain, **changes)


def train(
    phase: str,
    encoder: Path,
    folder: Path,
    *callbacks: TrainerCallback,
    seed: int = 3,
    **changes: Any,
) -> tuple[SentenceTransformer, TrainingResult]:
    step = {**STEPS, **CHANGED}[phase]
    if step.muon:
        changes = {"muon_learning_rate": 2e-3, **changes}
    torch.set_num_threads(1)
    model = open_model(encoder, step, lengths=LENGTHS, prompts=PROMPTS, projection=32, seed=seed)
    result = train_step(
        model,
        rows(phase),
        step,
        budget(**changes),
        LENGTHS,
        seed=seed,
        folder=folder,
        precision="float32",
        callbacks=callbacks,
    )
    return model, result


class Stop(TrainerCallback):
    """Waits to be killed once a step after the first complete checkpoint has been taken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if last_complete_checkpoint(self.folder) and state.global_step > 3:
            (self.folder / "waiting").touch()
            time.sleep(600)


class Record(TrainerCallback):
    """The steps that were really taken."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.steps.append(state.global_step)


def same(one: SentenceTransformer, other: SentenceTransformer) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(value.equal(theirs[name]) for name, value in mine.items())


def killed(phase: str, encoder: Path, folder: Path) -> None:
    """Train in another process and kill it, without warning, after its first complete checkpoint."""
    folder.mkdir(parents=True)
    process = subprocess.Popen(
        [sys.executable, __file__, phase, str(encoder), str(folder)], stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 240
    while not (folder / "waiting").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(process.communicate()[1].decode()[-2000:])
        time.sleep(0.1)
    process.kill()
    assert process.wait() == -9
    process.stderr.close()


@pytest.mark.parametrize("phase", list(STEPS))
def test_the_loss_falls(tiny_encoder_folder, tmp_path, phase) -> None:
    _, result = train(phase, tiny_encoder_folder, tmp_path, steps=24)
    values = [value for _, value in result.loss]
    assert len(values) == 24
    assert sum(values[-5:]) < 0.9 * sum(values[:5])
    assert result.queries == 24 * 8 and result.queries_per_second > 0


@pytest.mark.parametrize(
    ("phase", "packed"), [("unsupervised", False), ("distillation", True), ("muon", False)]
)
def test_a_run_killed_after_a_checkpoint_ends_bitwise_like_an_undisturbed_one(
    tiny_encoder_folder, tmp_path, phase, packed
) -> None:
    # Not at the head: this file is also a script, which does not find it.
    from tests.conftest import SENTENCES, build_encoder

    encoder = tiny_encoder_folder
    if packed:
        encoder = build_encoder(tmp_path / "wide", SENTENCES, hidden=WORTH_PACKING)
    undisturbed, expected = train(phase, encoder, tmp_path / "undisturbed")
    assert undisturbed.way.packed is packed
    killed(phase, encoder, tmp_path / "killed")
    assert last_complete_checkpoint(tmp_path / "killed").name == "checkpoint-3"
    torch.manual_seed(99)
    record = Record()
    resumed, result = train(phase, encoder, tmp_path / "killed", record)
    assert record.steps == list(range(4, 13))
    assert same(resumed, undisturbed)
    assert result.loss == expected.loss


@pytest.mark.parametrize("phase", ["unsupervised", "supervised"])
def test_a_run_killed_after_its_last_checkpoint_takes_no_further_step(
    tiny_encoder_folder, tmp_path, phase
) -> None:
    options = {"learned_temperature_steps": 6, "steps": 4} if phase == "supervised" else {"steps": 4}
    undisturbed, expected = train(phase, tiny_encoder_folder, tmp_path, **options)
    record = Record()
    again, result = train(phase, tiny_encoder_folder, tmp_path, record, **options)
    assert record.steps == [] and same(again, undisturbed)
    assert result.loss == expected.loss and len(result.loss) == 4
    assert result.temperature == expected.temperature


def test_damaged_weights_are_not_resumed_from(tiny_encoder_folder, tmp_path) -> None:
    undisturbed, expected = train("supervised", tiny_encoder_folder, tmp_path, steps=4)
    weights = tmp_path / "checkpoint-4" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    record = Record()
    with pytest.warns(UserWarning, match=r"checkpoint-4 has other bytes in model\.safetensors"):
        again, result = train("supervised", tiny_encoder_folder, tmp_path, record, steps=4)
    assert record.steps == [4] and same(again, undisturbed) and result.loss == expected.loss


def test_a_half_written_checkpoint_is_ignored(tiny_encoder_folder, tmp_path) -> None:
    undisturbed, _ = train("supervised", tiny_encoder_folder, tmp_path / "run")
    (tmp_path / "run" / "checkpoint-12" / "complete").unlink()
    weights = tmp_path / "run" / "checkpoint-12" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    record = Record()
    again, _ = train("supervised", tiny_encoder_folder, tmp_path / "run", record)
    assert record.steps == [10, 11, 12]
    assert same(again, undisturbed)


def test_the_newest_complete_checkpoint_is_found_by_number_and_unfinished_ones_go(tmp_path) -> None:
    for step in (3, 9, 12, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    assert last_complete_checkpoint(tmp_path / "none") is None
    for step in (3, 9, 12):
        seal(tmp_path / f"checkpoint-{step}", name="complete")
    assert last_complete_checkpoint(tmp_path).name == "checkpoint-12"
    assert not (tmp_path / "checkpoint-100").exists()


def test_the_seed_decides_and_the_state_of_the_process_does_not(tiny_encoder_folder, tmp_path) -> None:
    torch.manual_seed(1)
    first, _ = train("dense", tiny_encoder_folder, tmp_path / "first", steps=3)
    torch.manual_seed(2)
    second, _ = train("dense", tiny_encoder_folder, tmp_path / "second", steps=3)
    other, _ = train("dense", tiny_encoder_folder, tmp_path / "other", steps=3, seed=4)
    assert same(first, second) and not same(first, other)


def test_a_batch_holds_one_source_and_sources_come_in_proportion(
    tiny_encoder_folder, tmp_path, monkeypatch
) -> None:
    from colbert_zero_lib.training import trainer

    source_of = {row["query"]: name for name, split in rows("dense").items() for row in split}
    seen: list[set[str]] = []

    class Watch(trainer.Collator):
        def __call__(self, features: list[dict]) -> dict[str, object]:
            seen.append({source_of[row["query"]] for row in features})
            return super().__call__(features)

    monkeypatch.setattr(trainer, "Collator", Watch)
    train("dense", tiny_encoder_folder, tmp_path, steps=11)  # one epoch: 40 // 8 + 30 // 8 + 26 // 8 batches
    assert all(len(sources) == 1 for sources in seen)
    counts = {name: sum(sources == {name} for sources in seen[:11]) for name in ("first", "second", "third")}
    assert counts == {"first": 5, "second": 3, "third": 3}


def test_arms_of_one_seed_see_the_same_batches_in_the_same_order(
    tiny_encoder_folder, tmp_path, monkeypatch
) -> None:
    seen: list[list[str]] = []

    class Watch(trainer.Collator):
        def __call__(self, features: list[dict]) -> dict[str, object]:
            seen.append([row["query"] for row in features])
            return super().__call__(features)

    monkeypatch.setattr(trainer, "Collator", Watch)
    orders = []
    for phase in ("unsupervised", "dense", "muon"):
        train(phase, tiny_encoder_folder, tmp_path / phase, steps=5)
        orders.append(seen[:5])
        seen.clear()
    assert orders[0] == orders[1] == orders[2]


def test_the_temperature_is_learned_for_its_steps_and_then_stays(tiny_encoder_folder, tmp_path) -> None:
    learned = {"learned_temperature_steps": 3}
    _, short = train("dense", tiny_encoder_folder, tmp_path / "long", **learned)
    values = []
    for step in (9, 12):
        own = load_file(tmp_path / "long" / f"checkpoint-{step}" / "loss.safetensors")
        values.append(float(own["log_temperature"].exp()))
    assert values[0] == values[1] == pytest.approx(short.temperature)
    assert short.temperature != pytest.approx(0.2, abs=1e-6)
    (tmp_path / "long" / "checkpoint-12" / "complete").unlink()
    _, resumed = train("dense", tiny_encoder_folder, tmp_path / "long", **learned)
    assert resumed.temperature == short.temperature


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda data: data.select(range(5)),
            "5 rows cannot fill one batch of 8; lower batch_size or give more rows",
        ),
        (lambda data: data.rename_column("query", "question"), "'question'; rename it to 'query'"),
        (lambda data: data.add_column("passage_id", ["x"] * len(data)), "'passage_id' is neither"),
    ],
    ids=["too few rows", "question", "identifier"],
)
def test_data_that_cannot_be_trained_on_is_one_sentence(
    tiny_encoder_folder, tmp_path, spoil: Callable[[Dataset], Dataset], sentence
) -> None:
    step = STEPS["supervised"]
    model = open_model(tiny_encoder_folder, step, lengths=LENGTHS, prompts=PROMPTS, projection=32)
    with pytest.raises(TrainingError, match=sentence) as caught:
        train_step(model, spoil(rows("supervised")), step, budget(), LENGTHS, seed=0, folder=tmp_path)
    assert "\n" not in str(caught.value)


class Clock:
    """A clock that a test sets."""

    def __init__(self, seconds: list[float]) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]


def test_time_asks_for_a_checkpoint_before_too_much_work_can_be_lost(
    tiny_encoder_folder, tmp_path, monkeypatch
) -> None:
    minutes = [
        0.0,
        3,
        6,
        9,
        9,
        12,
        15,
        17,
        18,
        19,
        19,
        20,
    ]  # begin, three steps, a save, five steps, a save, the rest
    clock = Clock([60.0 * minute for minute in [0.0, *minutes]])
    clocks = SimpleNamespace(monotonic=clock, perf_counter=time.perf_counter)
    monkeypatch.setattr(checkpoints, "time", clocks)
    monkeypatch.setattr(trainer, "CHECKPOINTS", 1)
    saved: list[int] = []

    class Saved(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            saved.append(state.global_step)

    model, result = train("distillation", tiny_encoder_folder, tmp_path, Saved(), steps=10)
    assert saved == [3, 8, 10]
    plain, expected = train("distillation", tiny_encoder_folder, tmp_path / "plain", steps=10)
    assert same(model, plain) and result.loss == expected.loss


def test_a_loss_logged_with_a_checkpoint_is_put_together_with_its_neighbours() -> None:
    history = [
        {"step": 2, "loss": 3.0},
        {"step": 3, "loss": 1.0},
        {"step": 4, "loss": 2.0},
        {"step": 5, "loss": 9.0},
    ]
    assert trainer.loss_curve(history, 2) == [(2, 3.0), (4, 1.5)]
    assert trainer.loss_curve([{"step": 3, "loss": 6.0}, {"step": 4, "loss": 2.0}], 4) == [(4, 5.0)]


def test_a_resumed_run_counts_the_time_of_all_its_sittings(tiny_encoder_folder, tmp_path) -> None:
    train("dense", tiny_encoder_folder, tmp_path)
    (tmp_path / "checkpoint-12" / "complete").unlink()
    file = tmp_path / "checkpoint-9" / "sittings.json"
    (earlier,) = json.loads(file.read_text())
    assert earlier["steps"] == 9 and earlier["devices"] == 1 and earlier["seconds"] > 0
    file.write_text(json.dumps([{"steps": 9, "seconds": 1000.0, "devices": 8}]))
    seal(file.parent, name="complete")
    _, resumed = train("dense", tiny_encoder_folder, tmp_path)
    assert 1000 < resumed.wall_seconds < 1100
    assert resumed.device_seconds == pytest.approx(7000 + resumed.wall_seconds)
    assert resumed.queries == 12 * 8
    assert resumed.queries_per_second == pytest.approx(96 / resumed.wall_seconds)
    assert len(json.loads((tmp_path / "checkpoint-12" / "sittings.json").read_text())) == 2


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "direct"])
def test_a_batch_in_parts_is_the_whole_batch(tiny_encoder_folder, tmp_path, monkeypatch, cached) -> None:
    def distillation(model: Any, *_: Any) -> Distillation:
        # Scores as they are: between the nearly equal ones of random weights, min-max makes rounding large.
        return Distillation(model, normalize_scores=False, gradient_cache=cached)

    monkeypatch.setattr(trainer, "make_loss", distillation)
    options = {"steps": 20, "learning_rate": 5e-5}
    _, expected = train("distillation", tiny_encoder_folder, tmp_path / "whole", **options)
    _, found = train("distillation", tiny_encoder_folder, tmp_path / "parts", **options, accumulation=2)
    assert [step for step, _ in found.loss] == list(range(1, 21))
    assert [value for _, value in found.loss] == pytest.approx(
        [value for _, value in expected.loss], abs=1e-5
    )
    assert found.queries == expected.queries and found.loss[-1][1] < found.loss[0][1]


def test_a_batch_in_parts_resumes_where_it_was(tiny_encoder_folder, tmp_path) -> None:
    undisturbed, expected = train("distillation", tiny_encoder_folder, tmp_path, steps=28, accumulation=2)
    (tmp_path / "checkpoint-28" / "complete").unlink()
    record = Record()
    resumed, result = train("distillation", tiny_encoder_folder, tmp_path, record, steps=28, accumulation=2)
    assert record.steps == list(range(22, 29))  # in the second and third epoch of twelve steps
    assert same(resumed, undisturbed) and result.loss == expected.loss


@pytest.mark.parametrize(("phase", "parts"), [("supervised", 2), ("distillation", 3)])
def test_a_batch_that_cannot_be_parted_is_refused(tiny_encoder_folder, tmp_path, phase, parts) -> None:
    with pytest.raises(TrainingError, match="accumulation"):
        train(phase, tiny_encoder_folder, tmp_path, accumulation=parts)


class Spoil(TrainerCallback):
    """Makes a weight's gradient infinite or its value NaN at a step."""

    def __init__(self, step: int, what: str) -> None:
        self.step, self.what = step, what

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step + 1 == self.step:
            weight = next(kwargs["model"].parameters())
            if self.what == "gradient":
                weight.register_hook(lambda gradient: gradient * float("inf"))
            else:
                weight.data.view(-1)[:] = float("nan")


@pytest.mark.parametrize("what", ["gradient", "weight"])
def test_what_is_not_finite_stops_the_run_at_its_step(tiny_encoder_folder, tmp_path, what) -> None:
    record = Record()
    with pytest.raises(DivergedError, match=r"unsupervised: at step 5 the loss is not finite; lower"):
        train("unsupervised", tiny_encoder_folder, tmp_path, Spoil(5, what), record)
    assert record.steps == [1, 2, 3, 4]
    good = last_complete_checkpoint(tmp_path)
    assert good is not None and good.name == "checkpoint-3"
    with pytest.raises(TrainingError, match="at step 1, before anything was learned") as refused:
        train("unsupervised", tiny_encoder_folder, tmp_path / "first", Spoil(1, what))
    assert not isinstance(refused.value, DivergedError)


def test_a_checkpoint_of_weights_that_are_not_finite_is_none(tiny_encoder_folder, tmp_path) -> None:
    class Late(TrainerCallback):
        def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step + 1 == 6:
                next(kwargs["model"].parameters()).data.fill_(float("inf"))

    with pytest.raises(DivergedError, match="not finite after step 6"):
        train("dense", tiny_encoder_folder, tmp_path, Late())
    good = last_complete_checkpoint(tmp_path)
    assert good is not None and good.name == "checkpoint-3"


def test_a_loss_that_is_not_finite_is_one_sentence(tiny_encoder_folder, tmp_path) -> None:
    with pytest.raises(TrainingError, match="the loss is not finite; lower learning_rate"):
        train("dense", tiny_encoder_folder, tmp_path, learning_rate=1e30, steps=6)


if __name__ == "__main__":
    train(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Stop(Path(sys.argv[3])))


FREED = """
import os, sys, torch
from colbert_zero_lib.training.devices import keep_freed_memory, release_freed_memory

def held():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

keep_freed_memory(sys.argv[1] == "much")
blocks = [torch.ones(1 << 20) for _ in range(64)]  # of four megabytes
last, full = torch.ones(1 << 8), held()  # what is kept lies below it
del blocks
kept = held()
release_freed_memory()
print(full - kept, full - held())
"""


@pytest.mark.skipif(
    not Path("/proc/self/statm").is_file(), reason="the system does not say what a process holds"
)
@pytest.mark.parametrize("much", [True, False])
def test_what_a_step_freed_is_kept_or_given_back_and_in_the_end_given_back(much: bool) -> None:
    command = [sys.executable, "-c", FREED, "much" if much else "little"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    at_once, in_the_end = map(float, done.stdout.split())
    assert (at_once < 20 if much else at_once > 200) and in_the_end > 200
