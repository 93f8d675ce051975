"""What a batch keeps in memory is measured, and decides whether gradients are cached."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from colbert_zero_lib.models import build_base, open_model, train_tokenizer
from colbert_zero_lib.profiles import get_profile
from colbert_zero_lib.recipes import Interaction, Phase, Step
from colbert_zero_lib.training import memory
from colbert_zero_lib.training.collation import Collator
from colbert_zero_lib.training.contrastive import Contrastive
from colbert_zero_lib.training.memory import SavedActivations, activation_bytes_per_token, device_memory

LENGTHS = (16, 40)
PROMPTS = ("search_query: ", "search_document: ")
TEXT = "the harbour crane lifts two containers at once, and the ship waits until the tide turns in the bay"
TEXTS = [" ".join(TEXT.split()[: 2 + (7 * place) % 17]) for place in range(12)]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def models(tiny_encoder_folder: Path) -> dict[Interaction, nn.Module]:
    return {
        interaction: open_model(
            tiny_encoder_folder, Step(interaction, Phase.UNSUPERVISED), lengths=LENGTHS, prompts=PROMPTS
        ).train()
        for interaction in Interaction
    }


def batch_of(model: nn.Module, rows: int = 12) -> list[dict[str, Tensor]]:
    texts = [{"query": text[: 9 + 3 * i], "document": text} for i, text in enumerate(TEXTS[:rows])]
    batch = Collator(model, LENGTHS)(texts)
    return [
        {key: batch[f"{name}_{key}"] for key in ("input_ids", "attention_mask")}
        for name in ("query", "document")
    ]


def passes(model: nn.Module, loss: Contrastive, features: list[dict[str, Tensor]]) -> int:
    """How often a text is encoded at most: once with activations kept, twice with gradients cached."""
    seen: list[int] = []
    handle = model.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0]["input_ids"])))
    try:
        loss([dict(side) for side in features]).backward()
    finally:
        handle.remove()
        model.zero_grad()
    return -(-sum(seen) // sum(len(side["input_ids"]) for side in features))


@pytest.mark.parametrize("interaction", list(Interaction))
def test_bytes_per_token_foretell_what_a_batch_keeps(models, interaction) -> None:
    model = models[interaction]
    features = batch_of(model)
    with SavedActivations(model) as saved:
        Contrastive(model, 0.2, gradient_cache=False)([dict(side) for side in features]).backward()
    model.zero_grad()
    lengths = [int(side["attention_mask"].sum(dim=1).max()) for side in features]
    tokens = sum(len(side["input_ids"]) * length for side, length in zip(features, lengths, strict=True))
    assert activation_bytes_per_token(model, LENGTHS[1]) * tokens == pytest.approx(saved.peak, rel=0.15)


def test_the_measurement_repeats_and_leaves_random_states_and_gradients_alone(models) -> None:
    model = models[Interaction.COLBERT]
    state = torch.get_rng_state()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.1
    assert activation_bytes_per_token(model, 30) == activation_bytes_per_token(model, 30) > 0
    assert torch.get_rng_state().equal(state)
    assert all(parameter.grad is None for parameter in model.parameters())
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


@pytest.mark.parametrize("interaction", list(Interaction))
def test_gradients_are_cached_once_the_activations_outgrow_their_share(
    models, interaction, monkeypatch
) -> None:
    model = models[interaction]
    features = batch_of(model)
    with SavedActivations(model) as saved:
        assert passes(model, Contrastive(model, 0.2, gradient_cache=False), features) == 1
    for spare, expected in ((0.8, 2), (1.25, 1)):
        monkeypatch.setattr(memory, "device_memory", lambda _, spare=spare: int(2 * spare * saved.peak))
        loss = Contrastive(model, 0.2)
        assert [passes(model, loss, features) for _ in range(2)][1] == expected
        assert passes(model, loss, batch_of(model, rows=2)) == 1


def test_activations_take_no_more_than_a_step_lets_them(models) -> None:
    model = models[Interaction.COLBERT]
    features = batch_of(model)
    with SavedActivations(model) as saved:
        passes(model, Contrastive(model, 0.2, gradient_cache=False), features)
    for most, expected in ((0.8, 2), (1.25, 1)):
        limited = Contrastive(model, 0.2, kept_bytes=int(most * saved.peak))
        assert [passes(model, limited, features) for _ in range(2)][1] == expected


def test_where_the_device_does_not_say_tokens_decide(models, monkeypatch) -> None:
    model = models[Interaction.DENSE]
    monkeypatch.setattr(memory, "device_memory", lambda _: None)
    for tokens, expected in ((10, 2), (10_000, 1)):
        monkeypatch.setattr(memory, "DIRECT_TOKENS", tokens)
        assert passes(model, Contrastive(model, 0.2), batch_of(model)) == expected


@pytest.mark.parametrize("name", ["tiny", "laptop"])
def test_the_small_profiles_keep_their_activations_on_any_machine(name, tmp_path) -> None:
    profile = get_profile(name)
    tokenizer = train_tokenizer(TEXTS, 300, min_frequency=1)
    build_base(tokenizer, profile.encoder, seed=0).model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for (phase, interaction), budget in profile.budgets.items():
        if phase is Phase.DISTILLATION:
            continue
        longest = (budget.query_length + 8, budget.document_length + 8)
        step = Step(interaction, phase)
        model = open_model(tmp_path, step, lengths=longest, prompts=PROMPTS).train()
        tokens = budget.batch_size * (longest[0] + budget.documents * longest[1])
        kept = tokens * activation_bytes_per_token(model, longest[1])
        assert kept < 0.5 * 2**30


def test_the_memory_of_a_cpu_ends_where_the_containers_does_and_is_shared(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_CONTAINER_LIMITS", (str(limit),))
    whole = device_memory(CPU)
    assert whole > 2**28
    limit.write_text("max\n")
    assert device_memory(CPU) == whole
    limit.write_text(f"{2**20}\n")
    assert device_memory(CPU) == 2**20
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert device_memory(CPU) == 2**18
    assert device_memory(torch.device("meta")) is None


def test_what_was_counted_is_let_go_with_its_graph() -> None:
    weights = torch.ones(3, requires_grad=True)
    with SavedActivations(torch.nn.Linear(1, 1)) as saved:
        kept = weights.exp().softmax(dim=0).sum()  # both keep their own output
    assert saved.sums[-1] > 0
    del kept
    assert saved.sums[-1] == 0
