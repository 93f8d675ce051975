"""Two processes compute what one computes: losses, gradients, batches, trained weights.

Run under torchrun, this file is one of the processes: ``test_distributed.py losses|train ENCODER FOLDER``.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from datasets import Dataset, DatasetDict
from pylate import losses as pylate_losses
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from colbert_zero_lib.errors import TrainingError
from colbert_zero_lib.models import open_model
from colbert_zero_lib.profiles import PhaseBudget
from colbert_zero_lib.recipes import Interaction, Phase, Step
from colbert_zero_lib.training import trainer
from colbert_zero_lib.training.checkpoints import COMPLETE
from colbert_zero_lib.training.collation import Collator
from colbert_zero_lib.training.contrastive import Contrastive

pytestmark = pytest.mark.pipeline

PROCESSES = 2
LENGTHS = (16, 40)
# Scores reach 16 over the temperature, and float32 rounds them: 1e-5 of the loss needs a temperature of this size.
TEMPERATURE = 0.5
PROMPTS = ("search_query: ", "search_document: ")
COLBERT = Step(Interaction.COLBERT, Phase.UNSUPERVISED)
DENSE = Step(Interaction.DENSE, Phase.UNSUPERVISED)
STEPS = {
    "unsupervised": COLBERT,
    "dense": DENSE,
    "supervised": Step(Interaction.COLBERT, Phase.SUPERVISED),
    "distillation": Step(Interaction.COLBERT, Phase.DISTILLATION),
}
# Texts of the first process are short, of the second long: widths, chunks and their number all differ.
PAIRS = (
    ("bread", "Bread rises."),
    ("tide?", "The ship waits."),
    ("", "..."),
    (
        "how is a cello tuned and how is it played by someone who sits",
        "A cello is tuned one octave below the viola, and is played sitting down, as is the bass viol.",
    ),
    ("bees", "Bees tell each other where the flowers are by dancing, and find their way by the sun alone."),
    ("honey", "Honey never spoils: it is too dry for yeast, and slightly acid; bees keep it so."),
)
NEGATIVES = ("A tide table lists the times of high and low water for each day of the year.", "rook", "Ships!")
# Name, model, mined negatives, gradients cached by each process, learned temperature.
CASES: dict[str, tuple[Step, bool, int, tuple[bool, bool], bool]] = {
    "direct": (COLBERT, False, 0, (False, False), False),
    "cached": (COLBERT, False, 0, (True, True), False),
    "direct, negatives": (COLBERT, False, 2, (False, False), True),
    "cached, negatives": (COLBERT, False, 2, (True, True), True),
    "cached, expanded queries": (COLBERT, True, 1, (True, True), False),
    "cached where one process must": (COLBERT, False, 1, (False, True), False),
    "dense, direct": (DENSE, False, 1, (False, False), False),
    "dense, cached": (DENSE, False, 1, (True, True), True),
}


def opened(encoder: Path, step: Step, expansion: bool = False) -> nn.Module:
    model = open_model(
        encoder, step, lengths=LENGTHS, prompts=PROMPTS, projection=32, query_expansion=expansion
    )
    return model.train()


def features_of(
    model: nn.Module, pairs: Sequence[tuple[str, str]], negatives: int
) -> list[dict[str, Tensor]]:
    rows = []
    for query, document in pairs:
        mined = {
            f"negative_{place}": NEGATIVES[(len(query) + place) % len(NEGATIVES)]
            for place in range(negatives)
        }
        rows.append({"query": query, "positive": document, **mined})
    batch = Collator(model, LENGTHS)(rows)
    names = [key.removesuffix("_input_ids") for key in batch if key.endswith("_input_ids")]
    return [{key: batch[f"{name}_{key}"] for key in ("input_ids", "attention_mask")} for name in names]


def value_and_gradient(loss: nn.Module, features: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, the gradient of the encoder, flattened, and the gradient of the temperature."""
    loss.zero_grad()
    value = loss([dict(each) for each in features])
    value.backward()
    own = [p.grad for name, p in loss.named_parameters() if not name.startswith("model.")]
    encoder = [p.grad for name, p in loss.named_parameters() if name.startswith("model.")]
    flat = torch.cat([gradient.flatten().double() for gradient in encoder if gradient is not None])
    temperature = own[0] if own and own[0] is not None else torch.zeros(())
    return value.detach().double(), flat, temperature.double()


def average(value: Tensor) -> Tensor:
    dist.all_reduce(value)
    return value / PROCESSES


def losses_of_a_process(encoder: Path, folder: Path) -> None:
    """Every case on this process's rows; the first process writes what a trainer would log and apply."""
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    found: dict[str, Tensor] = {}

    def keep(name: str, loss: nn.Module, features: list[dict[str, Tensor]]) -> None:
        for again in range(2):  # DistributedDataParallel behaves differently after its first step
            value, gradient, temperature = value_and_gradient(loss, features)
            found.update(
                {
                    f"{name}/{again}/loss": average(value),
                    f"{name}/{again}/gradient": gradient,
                    f"{name}/{again}/temperature": temperature,
                }
            )

    share = len(PAIRS) // PROCESSES
    for name, (step, expansion, negatives, cached, learned) in CASES.items():
        model = opened(encoder, step, expansion)
        features = features_of(model, PAIRS[rank * share : (rank + 1) * share], negatives)
        wrapped = DistributedDataParallel(model)
        loss = Contrastive(
            wrapped,
            TEMPERATURE,
            mini_batch_tokens=30,
            gradient_cache=cached[rank],
            learned_temperature=learned,
        )
        keep(name, loss, features)
        if name == "direct":
            theirs = [
                {key: F.pad(value, (0, LENGTHS[side > 0] - value.shape[1])) for key, value in each.items()}
                for side, each in enumerate(features)
            ]
            pylate = pylate_losses.Contrastive(wrapped, temperature=TEMPERATURE, gather_across_devices=True)
            keep("pylate", pylate, theirs)
    if rank == 0:
        save_file({name: value.contiguous() for name, value in found.items()}, folder / "losses.safetensors")
    del wrapped, loss, pylate  # the group must outlive what wraps models (see `group.joined`)
    gc.collect()
    dist.destroy_process_group()


def rows_of(phase: str) -> Dataset | DatasetDict:
    things = ("ship", "tide", "crane", "yeast", "bread", "violin", "cello", "glacier")
    doings = ("waits", "turns", "rises", "plays")
    queries = [f"{thing} {doing}" for thing in things for doing in doings]
    documents = [f"the {query} by the sea" * (1 + place % 3) for place, query in enumerate(queries)]
    others = documents[7:] + documents[:7]
    if phase in ("unsupervised", "dense"):
        parts = {"first": slice(0, 16), "second": slice(16, 32)}
        return DatasetDict(
            {
                name: Dataset.from_dict({"query": queries[part], "document": documents[part]})
                for name, part in parts.items()
            }
        )
    if phase == "supervised":
        return Dataset.from_dict({"query": queries, "positive": documents, "negative_0": others})
    lists = [[a, b, "honey"] for a, b in zip(documents, others, strict=True)]
    return Dataset.from_dict(
        {"query": queries, "documents": lists, "scores": [[4.0, 1.0, 0.0]] * len(queries)}
    )


def train(phase: str, encoder: Path, folder: Path, batch_size: int = 8) -> tuple[nn.Module, dict[str, Any]]:
    """Seven steps, of which the last ones lie in the second epoch; also which queries each step saw."""
    seen: list[list[str]] = []

    class Watch(Collator):
        def __call__(self, features: list[dict]) -> dict[str, object]:
            seen.append([row["query"] for row in features])
            return super().__call__(features)

    torch.set_num_threads(1)
    step = STEPS[phase]
    budget = PhaseBudget(
        steps=7,
        batch_size=batch_size,
        learning_rate=2e-3,
        query_length=10,
        document_length=20,
        temperature=0.2,
        learned_temperature_steps=4 if phase == "dense" else 0,
        mini_batch_tokens=60,
    )
    model = open_model(encoder, step, lengths=LENGTHS, prompts=PROMPTS, projection=32, seed=3)
    before, trainer.Collator = trainer.Collator, Watch
    try:
        result = trainer.train_step(
            model, rows_of(phase), step, budget, LENGTHS, seed=3, folder=folder, precision="float32"
        )
    finally:
        trainer.Collator = before
    return model, {"loss": result.loss, "temperature": result.temperature, "seen": seen}


def train_in_a_process(encoder: Path, folder: Path) -> None:
    """Every phase, then one of them again from a checkpoint; each process writes its part of what it saw."""
    for phase in (*STEPS, "unsupervised"):
        again = (folder / phase / "checkpoint-6").is_dir()
        if again and dist.get_rank() == 0:
            (folder / phase / "checkpoint-7" / COMPLETE).unlink()
        model, told = train(phase, encoder, folder / phase)
        name = f"{phase}{'-again' if again else ''}"
        (folder / f"{name}-{dist.get_rank()}.json").write_text(json.dumps(told))
        weights = {key: value.contiguous() for key, value in model.state_dict().items()}
        save_file(weights, folder / f"{name}-{dist.get_rank()}.safetensors")
        dist.barrier()
    refused = ""
    try:
        train("dense", encoder, folder / "refused", batch_size=7)
    except TrainingError as problem:
        refused = str(problem)
    (folder / f"refused-{dist.get_rank()}.txt").write_text(refused)
    dist.destroy_process_group()


def torchrun(task: str, encoder: Path, folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(PROCESSES),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    finished = subprocess.run(
        [*command, __file__, task, str(encoder), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def losses(tiny_encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    folder = torchrun("losses", tiny_encoder_folder, tmp_path_factory.mktemp("losses"))
    return load_file(folder / "losses.safetensors")


@pytest.fixture(scope="module")
def trained(tiny_encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return torchrun("train", tiny_encoder_folder, tmp_path_factory.mktemp("trained"))


def alone(encoder: Path, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """A case on one process with all rows."""
    step, expansion, negatives, cached, learned = CASES[name]
    model = opened(encoder, step, expansion)
    loss = Contrastive(model, TEMPERATURE, 30, gradient_cache=any(cached), learned_temperature=learned)
    return value_and_gradient(loss, features_of(model, PAIRS, negatives))


@pytest.mark.parametrize("again", [0, 1], ids=["first step", "second step"])
@pytest.mark.parametrize("name", list(CASES))
def test_pitfall_5_two_processes_have_the_loss_and_gradient_of_one(
    tiny_encoder_folder, losses, name, again
) -> None:
    value, gradient, temperature = alone(tiny_encoder_folder, name)
    assert float(losses[f"{name}/{again}/loss"]) == pytest.approx(float(value), abs=1e-5)
    theirs = losses[f"{name}/{again}/gradient"]
    assert float(F.cosine_similarity(theirs, gradient, dim=0)) >= 0.99999
    assert float(theirs.norm() / gradient.norm()) == pytest.approx(1, rel=1e-3)
    assert float(losses[f"{name}/{again}/temperature"]) == pytest.approx(
        float(temperature), rel=1e-4, abs=1e-6
    )
    assert bool(temperature) is CASES[name][-1]


def test_pitfall_5_pylates_gathered_loss_and_gradient_are_too_large_by_the_number_of_processes(
    losses, tiny_encoder_folder
) -> None:
    value, gradient, _ = alone(tiny_encoder_folder, "direct")
    assert float(losses["pylate/0/loss"]) == pytest.approx(PROCESSES * float(value), abs=1e-4)
    assert float(F.cosine_similarity(losses["pylate/0/gradient"], gradient, dim=0)) >= 0.99999
    assert float(losses["pylate/0/gradient"].norm() / gradient.norm()) == pytest.approx(PROCESSES, rel=1e-3)


@pytest.mark.parametrize("phase", list(STEPS))
def test_a_step_on_two_processes_sees_the_batches_of_one_and_learns_the_same(
    tiny_encoder_folder, tmp_path, trained, phase
) -> None:
    model, told = train(phase, tiny_encoder_folder, tmp_path)
    parts = [json.loads((trained / f"{phase}-{rank}.json").read_text()) for rank in range(PROCESSES)]
    shared = [one + other for one, other in zip(*(part["seen"] for part in parts), strict=True)]
    assert shared[:7] == told["seen"][:7]
    assert {frozenset(batch) for batch in shared[:4]} != {frozenset(batch) for batch in shared[4:7]}
    for part in parts:
        steps, values = zip(*part["loss"], strict=True)
        assert steps == tuple(range(1, 8))
        # The same up to rounding, which the optimizer's first steps (gradient over its own size) blow up.
        assert values == pytest.approx([value for _, value in told["loss"]], rel=2e-3)
        assert values[0] == pytest.approx(told["loss"][0][1], abs=1e-4)
        assert part["temperature"] == pytest.approx(told["temperature"], rel=1e-4)
    weights = [load_file(trained / f"{phase}-{rank}.safetensors") for rank in range(PROCESSES)]
    assert all(value.equal(weights[1][key]) for key, value in weights[0].items())
    fresh = open_model(
        tiny_encoder_folder, STEPS[phase], lengths=LENGTHS, prompts=PROMPTS, projection=32, seed=3
    ).state_dict()
    one, two = (
        torch.cat([(state[key] - value).flatten().double() for key, value in fresh.items()])
        for state in (model.state_dict(), weights[0])
    )
    assert one.norm() > 0.1
    assert float(F.cosine_similarity(one, two, dim=0)) > 0.999


@pytest.mark.parametrize("phase", ["unsupervised", "distillation"])
def test_a_run_resumes_bitwise_in_its_second_epoch(tiny_encoder_folder, tmp_path, phase) -> None:
    undisturbed, told = train(phase, tiny_encoder_folder, tmp_path)
    (tmp_path / "checkpoint-7" / COMPLETE).unlink()
    resumed, again = train(phase, tiny_encoder_folder, tmp_path)
    assert again["seen"][0] == told["seen"][6]
    assert all(value.equal(resumed.state_dict()[key]) for key, value in undisturbed.state_dict().items())


def test_two_processes_resume_bitwise_from_a_checkpoint(trained) -> None:
    undisturbed, resumed = (load_file(trained / f"unsupervised{end}-0.safetensors") for end in ("", "-again"))
    assert all(value.equal(resumed[key]) for key, value in undisturbed.items())
    told = json.loads((trained / "unsupervised-again-0.json").read_text())
    assert len(told["seen"]) < 7
    assert [step for step, _ in told["loss"]] == list(range(1, 8))


def test_processes_that_cannot_share_a_batch_evenly_are_told_so(trained) -> None:
    for rank in range(PROCESSES):
        assert (
            "a batch of 7 queries cannot be shared by 2 processes"
            in (trained / f"refused-{rank}.txt").read_text()
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task = {"losses": losses_of_a_process, "train": train_in_a_process}[sys.argv[1]]
    task(Path(sys.argv[2]), Path(sys.argv[3]))
