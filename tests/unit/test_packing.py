"""Rows encoded end to end, against the padded way, on any device."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoTokenizer, BertConfig, BertModel
from transformers.modeling_outputs import BaseModelOutput

from colbert_zero_lib.models import open_model
from colbert_zero_lib.recipes import Interaction, Phase, Step
from colbert_zero_lib.training import packing
from colbert_zero_lib.training.attention import GroupedAttention, grouped
from colbert_zero_lib.training.contrastive import Contrastive
from colbert_zero_lib.training.distillation import Distillation
from colbert_zero_lib.training.embedding import chunks, embed_tokens
from colbert_zero_lib.training.packing import Way, go_fast, packs_alike

PROMPTS = ("search_query: ", "search_document: ")
STEP = Step(Interaction.COLBERT, Phase.UNSUPERVISED)


def opened(folder: Path, expansion: bool = False) -> nn.Module:
    return open_model(
        folder, STEP, lengths=(32, 200), prompts=PROMPTS, projection=32, query_expansion=expansion
    )


def features(lengths: list[int], seed: int = 0) -> dict[str, Tensor]:
    """Random ids, longer than the 128 tokens that a local layer sees."""
    ids = torch.randint(5, 90, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return {"input_ids": ids * mask, "attention_mask": mask.long()}


def take(model: nn.Module, vectors: torch.dtype = torch.float32) -> nn.Module:
    model.way = Way(vectors, packed=True)
    return model


def test_packed_rows_have_the_vectors_of_padded_ones(tiny_encoder_folder: Path) -> None:
    model = opened(tiny_encoder_folder).eval()
    batch = features([180, 7, 64, 1, 130])
    with torch.no_grad():
        padded = model(dict(batch))["token_embeddings"] * batch["attention_mask"][..., None]
        with packing.packing(model):
            packed = model(dict(batch))["token_embeddings"]
    assert torch.allclose(padded, packed, atol=1e-5)
    assert model[0].auto_model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("phase", list(Phase))
def test_loss_and_gradient_are_those_of_padded_rows(
    tiny_encoder_folder: Path, phase: Phase, cached: bool
) -> None:
    columns = [features([9, 20, 5], 1), features([150, 30, 3], 2)]
    labels = None
    if phase is not Phase.UNSUPERVISED:
        columns = [columns[0], features([150, 30, 3, 140, 12, 60, 20, 40, 9], 2)]
    if phase is Phase.SUPERVISED:
        columns = [columns[0], *({k: v[place::3] for k, v in columns[1].items()} for place in range(3))]
    found = []
    for packed in (False, True):
        model = opened(tiny_encoder_folder).train()
        if packed:
            take(model)
        if phase is Phase.DISTILLATION:
            labels = torch.tensor([[1.0, 2.0, 0.0], [0.5, 0.1, 0.7], [3.0, 1.0, 2.0]])
            loss = Distillation(model, mini_batch_tokens=320, gradient_cache=cached)
        else:
            loss = Contrastive(model, temperature=0.2, mini_batch_tokens=320, gradient_cache=cached)
        value = loss(columns, labels)
        value.backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found.append((value.detach(), torch.cat(gradients)))
    (value, gradient), (other, another) = found
    assert float(other) == pytest.approx(float(value), rel=1e-5)
    assert float(F.cosine_similarity(gradient, another, dim=0)) > 0.99999
    assert float(another.norm() / gradient.norm()) == pytest.approx(1, abs=1e-4)


def test_the_padding_of_an_expanded_query_is_still_encoded(tiny_encoder_folder: Path) -> None:
    model = opened(tiny_encoder_folder, expansion=True).eval()
    batch = features([20, 7])
    with torch.no_grad():
        before, _ = embed_tokens(model, batch, is_query=True)
        after, _ = embed_tokens(take(model), batch, is_query=True)
    assert torch.equal(before, after)


def test_vectors_of_half_width_have_float32_scores(tiny_encoder_folder: Path) -> None:
    model = take(opened(tiny_encoder_folder), torch.bfloat16)
    vectors, _ = embed_tokens(model, features([12, 4]), is_query=False)
    assert vectors.dtype == torch.bfloat16
    loss = Contrastive(model, temperature=0.2)([features([9, 20]), features([30, 12])])
    assert loss.dtype == torch.float32
    loss.backward()


def test_a_cpu_packs_and_keeps_the_type_of_vectors(
    tiny_encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened(tiny_encoder_folder)
    go_fast(model, "float32")
    assert not model.way.packed  # too narrow
    monkeypatch.setattr(packing, "WORTH_PACKING", 0)
    for precision in ("bfloat16", "float32"):
        model = opened(tiny_encoder_folder)
        go_fast(model, precision, compiled=True)
        assert model.way == Way(torch.float32, packed=True)


def test_packing_that_goes_wrong_on_a_device_is_noticed_and_said(
    tiny_encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened(tiny_encoder_folder).train()
    assert packs_alike(model, "float32") and model.training
    right = packing._packed_forward
    rolled = lambda *a, **b: BaseModelOutput(right(*a, **b)[0].roll(1, dims=1))  # noqa: E731
    monkeypatch.setattr(packing, "_packed_forward", rolled)
    with pytest.warns(UserWarning, match="padded, not packed"):
        assert not packs_alike(model, "float32")
    monkeypatch.setattr(packing, "_packed_forward", lambda *_, **__: torch.zeros(2) @ torch.zeros(3))
    with pytest.warns(UserWarning, match="padded, not packed"):
        assert not packs_alike(model, "float32")


def test_packing_is_tried_once_for_a_model(
    tiny_encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened(tiny_encoder_folder)
    on_a_gpu = SimpleNamespace(device=torch.device("cuda"))
    monkeypatch.setattr(model, "parameters", lambda: iter([on_a_gpu]))
    tried: list[nn.Module] = []
    monkeypatch.setattr(packing, "packs_alike", lambda each, _: tried.append(each) is None)
    for _ in range(3):
        go_fast(model, "bfloat16")
    assert tried == [model] and model.way == Way(torch.bfloat16, packed=True)


def test_attention_of_groups_is_that_of_each_text() -> None:
    lengths, heads, size, reach = [70, 65, 40, 33, 33, 5, 1], 2, 8, 10
    chance = torch.Generator().manual_seed(0)
    given = torch.randn(sum(lengths), 3, heads, size, generator=chance).requires_grad_()
    weights = torch.randn(sum(lengths), heads, size, generator=chance)
    for far in (-1, reach):
        found = GroupedAttention.apply(given, None, grouped(lengths, heads), far, 0.3, 0.0)
        (gradient,) = torch.autograd.grad((found * weights).sum(), given)
        texts = []
        for text in given.split(lengths):
            q, k, v = text.permute(1, 2, 0, 3)
            place = torch.arange(len(text))
            seen = (place[:, None] - place).abs() <= (far if far >= 0 else len(text))
            texts.append(F.scaled_dot_product_attention(q, k, v, seen, scale=0.3).transpose(0, 1))
        plain = torch.cat(texts)
        (right,) = torch.autograd.grad((plain * weights).sum(), given)
        assert torch.allclose(found, plain, atol=1e-6) and torch.allclose(gradient, right, atol=1e-5)


def test_berts_rows_and_a_dense_models_have_the_vectors_of_padded_ones(
    tiny_encoder_folder: Path, tmp_path: Path
) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=100, **sizes)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_encoder_folder).save_pretrained(tmp_path)
    dense = Step(Interaction.DENSE, Phase.UNSUPERVISED)
    batch = features([180, 33, 7, 1])
    for model in (
        opened(tmp_path),
        open_model(tiny_encoder_folder, dense, lengths=(32, 200), prompts=PROMPTS),
    ):
        model.eval()
        found = []
        for packed in (False, True):
            if packed:
                take(model)
            vectors, _ = embed_tokens(model, batch, is_query=False)
            shown = vectors[batch["attention_mask"].bool()] if vectors.shape[1] > 1 else vectors
            gradient = torch.autograd.grad(
                shown[..., 0].sum(), model[0].auto_model.get_input_embeddings().weight
            )
            found.append((shown.detach(), gradient[0]))
        for plain, ours in zip(*found, strict=True):
            assert torch.allclose(plain, ours, atol=1e-5)


def test_chunks_of_packed_texts_hold_what_is_asked_and_little_padding(tiny_encoder_folder: Path) -> None:
    model = take(opened(tiny_encoder_folder))
    parts = chunks(model, features([200] * 20 + [10] * 300), is_query=False, tokens=4096)
    assert sorted(torch.cat([part.index for part in parts]).tolist()) == list(range(320))
    for part in parts:
        ids, attended = part.features["input_ids"], int(part.features["attention_mask"].sum())
        assert attended <= 4096 and ids.numel() <= 1.25 * max(attended, 2048)
