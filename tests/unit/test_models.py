"""Encoders: what is drawn at random, what is carried from step to step, what a saved model remembers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pylate import models as pylate_models
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from colbert_zero_lib.errors import TrainingError
from colbert_zero_lib.models import build_base, open_model, parameters, save_model, train_tokenizer
from colbert_zero_lib.profiles import EncoderShape, PretrainingBudget
from colbert_zero_lib.recipes import Interaction, Phase, Step
from colbert_zero_lib.training.checkpoints import MarkComplete
from colbert_zero_lib.training.pretraining import pretrain
from colbert_zero_lib.training.trainer import TrainingResult

PROMPTS = ("search_query: ", "search_document: ")
SHAPE = EncoderShape(layers=1, hidden=32, heads=1, intermediate=64, vocabulary=120)
TEXTS = [f"the {a} waits for the {b}" for a in ("ship", "tide", "king") for b in ("lamp", "bread", "lake")]


def opened(
    folder: Path, interaction: str = "colbert", prompts: bool = True, **options
) -> SentenceTransformer:
    options = {"lengths": (16, 40), "prompts": PROMPTS, "projection": 32, **options}
    return open_model(folder, Step(Interaction(interaction), Phase.SUPERVISED, prompts), **options)


def encoder_weights(model: SentenceTransformer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model[0].auto_model.state_dict().items()}


def drawn(model: SentenceTransformer) -> torch.Tensor:
    """What a base encoder does not have: the projection and the rows of [Q] and [D]."""
    rows = (
        model[0].auto_model.get_input_embeddings().weight[[model.query_prefix_id, model.document_prefix_id]]
    )
    return torch.cat([model[1].linear.weight.flatten(), rows.flatten()]).detach().clone()


def saved(model: SentenceTransformer, folder: Path) -> Path:
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def test_a_two_layer_head_is_pylates_own_and_is_saved_for_it(tiny_encoder_folder, tmp_path) -> None:
    step = Step(Interaction.COLBERT, Phase.UNSUPERVISED, head=True)
    model = open_model(tiny_encoder_folder, step, lengths=(16, 40), prompts=PROMPTS, projection=32)
    shapes = [(layer.in_features, layer.out_features, layer.use_residual) for layer in list(model)[1:]]
    assert shapes == [(64, 128, True), (128, 64, True), (64, 32, False)]
    theirs = pylate_models.ColBERT(str(saved(model, tmp_path)), device="cpu")
    vectors = [each.encode(["a ship"], is_query=False)[0] for each in (model, theirs)]
    assert vectors[0].shape[1] == 32 and (vectors[0] == vectors[1]).all()
    later = replace(step, phase=Phase.SUPERVISED, head=False)
    again = open_model(tmp_path, later, lengths=(16, 40), prompts=PROMPTS, projection=32, seed=9)
    assert all(value.equal(again.state_dict()[name]) for name, value in model.state_dict().items())


# Random parts


def test_pitfall_18_projection_and_markers_depend_on_the_seed_and_on_nothing_before_it(
    tiny_encoder_folder,
) -> None:
    torch.manual_seed(123)
    first = drawn(opened(tiny_encoder_folder, seed=4))
    torch.manual_seed(987)
    torch.rand(17)
    assert drawn(opened(tiny_encoder_folder, seed=4)).equal(first)
    other = drawn(opened(tiny_encoder_folder, seed=5))
    assert not other[:32].equal(first[:32]) and not other[-32:].equal(first[-32:])


def test_a_base_of_the_same_seed_has_the_same_weights() -> None:
    tokenizer = train_tokenizer(TEXTS, SHAPE.vocabulary)
    one, same, other = (build_base(tokenizer, SHAPE, seed).state_dict() for seed in (0, 0, 1))
    assert all(one[name].equal(same[name]) for name in one)
    assert any(not one[name].equal(other[name]) for name in one)
    assert one["model.embeddings.tok_embeddings.weight"].shape == (len(tokenizer), SHAPE.hidden)


def test_the_tokenizer_lower_cases_and_knows_its_special_tokens() -> None:
    tokenizer = train_tokenizer(TEXTS, SHAPE.vocabulary)
    assert tokenizer.tokenize("The SHIP") == ["the", "ship"]
    ids = tokenizer("ship")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "ship", "[SEP]"]
    assert len(tokenizer) <= SHAPE.vocabulary


@pytest.mark.parametrize("steps", [0, 2])
def test_a_pretrained_base_opens_as_either_model(tmp_path, steps) -> None:
    budget = PretrainingBudget(steps=steps, batch_size=4, length=16)
    base, checkpoints = tmp_path / "base", tmp_path / "checkpoints"
    result = pretrain(
        TEXTS, SHAPE, budget, seed=0, folder=base, checkpoints_folder=checkpoints, precision="float32"
    )
    assert len(result.loss) == steps and result.queries == steps * 4
    for interaction in ("dense", "colbert"):
        model = opened(base, interaction)
        vectors = model.encode(["the ship waits"], prompt_name="query", **_side(interaction, True))
        assert vectors[0].shape[-1] == 32


def test_pretraining_that_was_killed_after_its_last_checkpoint_takes_no_further_step(tmp_path) -> None:
    budget = PretrainingBudget(steps=3, batch_size=4, length=16)
    results = [
        pretrain(
            TEXTS, SHAPE, budget, seed=0, folder=tmp_path / name, checkpoints_folder=tmp_path / "kept",
            precision="float32",
        )
        for name in ("undisturbed", "again")
    ]  # fmt: skip
    assert results[0].loss == results[1].loss and len(results[0].loss) == 3
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("undisturbed", "again"))
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def test_pretraining_that_was_stopped_hides_the_tokens_it_would_have_hidden(tmp_path, monkeypatch) -> None:
    budget = PretrainingBudget(steps=4, batch_size=4, length=16)

    def trained(name: str) -> TrainingResult:
        return pretrain(
            TEXTS, SHAPE, budget, seed=0, folder=tmp_path / "models" / name, checkpoints_folder=tmp_path / name,
            precision="float32",
        )  # fmt: skip

    undisturbed = trained("undisturbed")
    sealed = MarkComplete.on_save

    def stop(self: MarkComplete, args, state, control, **kwargs) -> None:
        sealed(self, args, state, control, **kwargs)
        if state.global_step == 2:
            raise InterruptedError

    with monkeypatch.context() as patched, pytest.raises(InterruptedError):
        patched.setattr(MarkComplete, "on_save", stop)
        trained("stopped")
    assert trained("stopped").loss == undisturbed.loss
    one, other = (
        load_file(tmp_path / "models" / name / "model.safetensors") for name in ("undisturbed", "stopped")
    )
    assert all(one[name].equal(other[name]) for name in one)


def test_a_saved_model_does_not_depend_on_what_it_encoded_last(tiny_encoder_folder, tmp_path) -> None:
    files = []
    model = opened(tiny_encoder_folder, "colbert")
    for side in ("query", "document"):
        model.encode(["a long text " * 40], prompt_name=side, is_query=side == "query")
        save_model(model, folder := tmp_path / side)
        files.append({path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert files[0] == files[1]


def _side(interaction: str, is_query: bool) -> dict[str, bool]:
    return {"is_query": is_query} if interaction == "colbert" else {}


# From step to step


def test_dense_weights_flow_into_colbert(tiny_encoder_folder, tmp_path) -> None:
    dense = opened(tiny_encoder_folder, "dense")
    with torch.no_grad():
        for parameter in dense.parameters():
            parameter.add_(0.01)
    colbert = opened(saved(dense, tmp_path / "dense"), "colbert")
    before, after = encoder_weights(dense), encoder_weights(colbert)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert after[name][: len(value)].equal(value), name
    embeddings = "embeddings.tok_embeddings.weight"
    assert len(after[embeddings]) == len(before[embeddings]) + 2
    assert [type(module).__name__ for module in colbert] == ["Transformer", "Dense"]


def test_a_colbert_checkpoint_is_carried_on_whole_whatever_the_seed(tiny_encoder_folder, tmp_path) -> None:
    first = opened(tiny_encoder_folder, seed=1)
    again = opened(saved(first, tmp_path / "model"), seed=2)
    assert first.state_dict().keys() == again.state_dict().keys()
    assert all(value.equal(again.state_dict()[name]) for name, value in first.state_dict().items())
    assert (first.query_prefix_id, first.document_prefix_id) == (
        again.query_prefix_id,
        again.document_prefix_id,
    )


def test_the_projection_is_the_only_layer_besides_the_encoder(tiny_encoder_folder) -> None:
    dense, colbert = opened(tiny_encoder_folder, "dense"), opened(tiny_encoder_folder, projection=16)
    hidden = dense[0].get_word_embedding_dimension()
    assert parameters(colbert) == parameters(dense) + hidden * 16 + 2 * hidden


def test_opening_what_is_no_model_is_one_sentence(tmp_path) -> None:
    with pytest.raises(TrainingError, match="holds no model; train the step before"):
        opened(tmp_path)


# What a saved model remembers


@pytest.mark.parametrize("prompts", [True, False], ids=["prompts", "bare"])
@pytest.mark.parametrize("interaction", ["dense", "colbert"])
def test_pitfall_17_prompts_are_saved_with_the_model_and_used_after_loading_it(
    tiny_encoder_folder, tmp_path, interaction, prompts
) -> None:
    model = opened(tiny_encoder_folder, interaction, prompts)
    folder = saved(model, tmp_path / "model")
    loader = pylate_models.ColBERT if interaction == "colbert" else SentenceTransformer
    loaded = loader(str(folder), device="cpu")
    assert loaded.prompts == dict(zip(("query", "document"), PROMPTS if prompts else ("", ""), strict=True))
    for name, prompt in loaded.prompts.items():
        side = _side(interaction, name == "query")
        text = "why does bread rise"
        ours = model.encode([text], prompt_name=name, convert_to_tensor=True, **side)[0]
        theirs = loaded.encode([text], prompt_name=name, convert_to_tensor=True, **side)[0]
        assert ours.equal(theirs)
        by_hand = loaded.encode([prompt + text], prompt="", convert_to_tensor=True, **side)[0]
        torch.testing.assert_close(theirs, by_hand, atol=1e-6, rtol=0)
        if prompts:
            without = loaded.encode([text], prompt="", convert_to_tensor=True, **side)[0]
            assert without.shape != theirs.shape or not torch.allclose(without, theirs, atol=1e-3)


def test_lengths_and_expansion_are_saved_with_the_model(tiny_encoder_folder, tmp_path) -> None:
    model = opened(tiny_encoder_folder, lengths=(11, 23), query_expansion=True)
    loaded = pylate_models.ColBERT(str(saved(model, tmp_path / "model")), device="cpu")
    assert (loaded.query_length, loaded.document_length, loaded.do_query_expansion) == (11, 23, True)
    text = "the ship waits until the tide turns " * 4
    assert len(loaded.encode(["tide"], is_query=True)[0]) == 11
    assert len(loaded.encode([text], is_query=False)[0]) == 23


def test_a_dense_model_holds_both_sides_lengths(tiny_encoder_folder, tmp_path) -> None:
    model = opened(tiny_encoder_folder, "dense", lengths=(11, 23))
    assert model.max_seq_length == 23
    assert SentenceTransformer(str(saved(model, tmp_path / "model")), device="cpu").max_seq_length == 23


# The tokenizer


def test_continuations_are_pieces_of_words_and_not_special_tokens() -> None:
    tokenizer = train_tokenizer([*TEXTS, "kings and ships"], 60)
    assert "##s" in tokenizer.get_vocab()
    assert tokenizer.decode(tokenizer("kings")["input_ids"], skip_special_tokens=True) == "kings"
