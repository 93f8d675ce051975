"""The training losses against PyLate, sentence-transformers and the naive formulas: values and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pylate import losses as pylate_losses
from pylate.scores import colbert_kd_scores, colbert_scores
from sentence_transformers.losses import MultipleNegativesRankingLoss
from torch import Tensor, nn

from colbert_zero_lib.models import open_model
from colbert_zero_lib.recipes import Interaction, Phase, Step
from colbert_zero_lib.training import maxsim as maxsim_module
from colbert_zero_lib.training import memory
from colbert_zero_lib.training.collation import Collator
from colbert_zero_lib.training.contrastive import Contrastive
from colbert_zero_lib.training.distillation import Distillation, minmax
from colbert_zero_lib.training.embedding import chunks, embed_tokens, scored_mask
from colbert_zero_lib.training.maxsim import maxsim_lists
from colbert_zero_lib.training.memory import SavedActivations

PROMPTS = ("search_query: ", "search_document: ")
LENGTHS = (16, 40)
RAGGED = (
    ("when does the ship wait", "The ship waits until the tide turns."),
    ("bread", "Bread rises because carbon dioxide is trapped in the dough, e.g. between strands of gluten!"),
    ("how is a cello tuned and how is it played by someone who sits", "Honey."),
    ("", "Glaciers carve valleys with a U-shaped profile; rivers carve valleys shaped like the letter V."),
    ("bees?", "..."),
)
EQUAL = tuple((f"the {word}", f"the {word} waits") for word in ("ship", "tide", "king", "rook", "lake"))
NEGATIVES = (
    "Honey never spoils.",
    "A cello is tuned one octave below the viola, and is played sitting down.",
    "ships",
)


def open_colbert(folder: Path, prompts: bool = True, expansion: bool = False) -> nn.Module:
    step = Step(Interaction.COLBERT, Phase.UNSUPERVISED, prompts=prompts)
    model = open_model(
        folder, step, lengths=LENGTHS, prompts=PROMPTS, projection=32, query_expansion=expansion
    )
    return model.train()


@pytest.fixture(scope="module")
def colberts(tiny_encoder_folder: Path) -> dict[tuple[bool, bool], nn.Module]:
    """Late-interaction models by (prompts, query expansion)."""
    arms = [(p, e) for p in (True, False) for e in (True, False)]
    return {arm: open_colbert(tiny_encoder_folder, *arm) for arm in arms}


@pytest.fixture(scope="module")
def dense(tiny_encoder_folder: Path) -> nn.Module:
    step = Step(Interaction.DENSE, Phase.UNSUPERVISED)
    return open_model(tiny_encoder_folder, step, lengths=LENGTHS, prompts=PROMPTS).train()


class _TokenTable(nn.Module):
    """Looks token vectors up; they point everywhere, so a best match may be negative."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)))
        self.skiplist, self.do_query_expansion = [3, 4], False

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"token_embeddings": self.table[features["input_ids"]]}


class _TextTable(nn.Module):
    """A dense 'encoder' that looks text vectors up."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": self.table[features["input_ids"][:, 0]]}


def random_features(lengths: Sequence[int], seed: int) -> dict[str, Tensor]:
    """Random token ids of the given lengths, padded with 1."""
    generator = torch.Generator().manual_seed(seed)
    attention = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(2, 50, attention.shape, generator=generator)
    return {"input_ids": torch.where(attention.bool(), ids, 1), "attention_mask": attention}


def features_of(
    model: nn.Module, pairs: Sequence[tuple[str, str]], negatives: int = 0
) -> list[dict[str, Tensor]]:
    """A padded batch as the trainer hands it to a loss: queries, positives and columns of negatives."""
    rows = []
    for place, (query, document) in enumerate(pairs):
        row = {"query": query, "document" if not negatives else "positive": document}
        for column in range(negatives):
            row[f"negative_{column}"] = NEGATIVES[(place + column) % len(NEGATIVES)]
        rows.append(row)
    batch = Collator(model, LENGTHS)(rows)
    return [side(batch, key.removesuffix("_input_ids")) for key in batch if key.endswith("_input_ids")]


def side(batch: dict[str, object], name: str) -> dict[str, Tensor]:
    """One column of a batch."""
    return {key: batch[f"{name}_{key}"] for key in ("input_ids", "attention_mask")}


def value_and_gradient(
    model: nn.Module, loss: Callable[..., Tensor], features: list[dict[str, Tensor]], *labels: Tensor
) -> tuple[float, Tensor]:
    """The loss and the gradient of all parameters, flattened, in double precision."""
    model.zero_grad()
    value = loss([dict(each) for each in features], *labels)
    value.backward()
    flat = [
        (torch.zeros_like(p) if p.grad is None else p.grad).flatten().double() for p in model.parameters()
    ]
    model.zero_grad()
    return float(value.detach()), torch.cat(flat)


def assert_same(ours: tuple[float, Tensor], theirs: tuple[float, Tensor], scale: float = 1.0) -> None:
    """Equal losses, and gradients that differ by the factor ``scale`` and by nothing else."""
    assert ours[0] == pytest.approx(theirs[0], abs=1e-5)
    assert float(F.cosine_similarity(ours[1], theirs[1], dim=0)) >= 0.99999
    assert float(theirs[1].norm() / ours[1].norm()) == pytest.approx(scale, rel=1e-4)


# MaxSim


@pytest.fixture
def tensors() -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Queries, documents and masks; document 2 is wholly masked, and so is query 1."""
    generator = torch.Generator().manual_seed(0)
    queries = F.normalize(torch.randn(3, 4, 8, generator=generator), dim=-1)
    documents = F.normalize(torch.randn(5, 7, 8, generator=generator), dim=-1)
    query_mask = torch.rand(3, 4, generator=generator) > 0.3
    document_mask = torch.rand(5, 7, generator=generator) > 0.3
    query_mask[1], document_mask[2] = False, False
    yield queries, documents, query_mask, document_mask


def naive(queries: Tensor, documents: Tensor, query_mask: Tensor, document_mask: Tensor) -> Tensor:
    similarity = torch.einsum("ash,bth->abst", queries, documents) * document_mask[None, :, None]
    return (similarity.amax(dim=-1) * query_mask[:, None]).sum(dim=-1)


def maxsim(queries: Tensor, documents: Tensor, query_mask: Tensor, document_mask: Tensor) -> Tensor:
    return maxsim_module.maxsim(queries, [documents], query_mask, [document_mask])


@pytest.mark.parametrize("block_elements", [1, 100, 1 << 21])
def test_maxsim_and_its_gradient_are_the_naive_formulas(tensors, monkeypatch, block_elements) -> None:
    for limits in (maxsim_module.BLOCK_ELEMENTS, maxsim_module.SORTED):
        monkeypatch.setitem(limits, "cpu", block_elements)
    queries, documents, query_mask, document_mask = tensors
    upstream = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    results = []
    for function, dtype in ((maxsim, torch.float32), (naive, torch.float64)):
        q, d = queries.to(dtype).requires_grad_(), documents.to(dtype).requires_grad_()
        scores = function(q, d, query_mask, document_mask)
        results.append((scores, *torch.autograd.grad((scores * upstream).sum(), (q, d))))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours.double(), expected.double(), atol=1e-6, rtol=1e-5)


def test_documents_in_pieces_of_other_lengths_score_as_each_piece_does(tensors) -> None:
    queries, documents, query_mask, document_mask = tensors
    pieces, masks = [documents, documents[1:4, :3]], [document_mask, document_mask[1:4, :3]]
    upstream = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    results = []
    for function in (
        maxsim_module.maxsim,
        lambda q, ds, m, ms: torch.cat(
            [maxsim(q, *pair) for pair in zip(ds, [m] * 2, ms, strict=True)], dim=1
        ),
    ):
        leaves = [each.clone().requires_grad_() for each in (queries, *pieces)]
        scores = function(leaves[0], leaves[1:], query_mask, masks)
        results.append((scores, *torch.autograd.grad((scores * upstream).sum(), leaves)))
    for ours, expected in zip(*results, strict=True):
        assert ours.equal(expected)


def test_a_place_among_many_tokens_is_kept_whole() -> None:
    """A query token's best match is remembered in a byte only while a byte can tell the tokens apart."""
    queries = torch.ones(1, 1, 2)
    for tokens in (256, 257, 1 << 15, (1 << 15) + 1):
        documents = torch.zeros(1, tokens, 2, requires_grad=True)
        with torch.no_grad():
            documents[0, -1] = 1.0
        maxsim(queries, documents, queries[..., 0] > 0, documents[..., 0] >= 0).sum().backward()
        assert documents.grad is not None and documents.grad[0, -1].tolist() == [1.0, 1.0]
        assert documents.grad.sum() == 2.0


def test_maxsim_is_pylates_score(tensors) -> None:
    torch.testing.assert_close(maxsim(*tensors), colbert_scores(*tensors))


def test_a_document_without_a_scored_token_scores_zero_and_gets_no_gradient(tensors) -> None:
    queries, documents, query_mask, document_mask = tensors
    documents.requires_grad_()
    scores = maxsim(queries, documents, query_mask, document_mask)
    assert scores[:, 2].eq(0).all() and scores[1].eq(0).all()
    scores.sum().backward()
    assert documents.grad[2].eq(0).all()
    assert documents.grad[0].ne(0).any()


def test_maxsim_worked_by_hand() -> None:
    queries = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    documents = torch.tensor([[[0.6, 0.8], [1.0, 0.0]], [[-1.0, 0.0], [0.0, -1.0]]])
    every = torch.ones(1, 2, dtype=torch.bool)
    assert maxsim(queries, documents, every, every.expand(2, 2)).tolist() == [pytest.approx([1.8, 0.0])]
    masked = maxsim(
        queries, documents, torch.tensor([[True, False]]), torch.tensor([[True, False], [True, True]])
    )
    assert masked.tolist() == [pytest.approx([0.6, 0.0])]


def test_maxsim_lists_and_its_gradient_are_pylates_distillation_scores(tensors) -> None:
    queries, _, query_mask, _ = tensors
    generator = torch.Generator().manual_seed(2)
    documents = F.normalize(torch.randn(3, 6, 7, 8, generator=generator), dim=-1)
    mask = torch.rand(3, 6, 7, generator=generator) > 0.3
    mask[0, 3] = False
    gradients = []
    for function in (maxsim_lists, colbert_kd_scores):
        q, d = queries.clone().requires_grad_(), documents.clone().requires_grad_()
        scores = function(q, d, query_mask, mask)
        gradients.append((scores, *torch.autograd.grad(scores.square().sum(), (q, d))))
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)


# InfoNCE, late interaction


@pytest.mark.parametrize("negatives", [0, 2], ids=["pairs", "negatives"])
@pytest.mark.parametrize("pairs", [RAGGED, EQUAL], ids=["ragged", "equal"])
@pytest.mark.parametrize("expansion", [True, False], ids=["expanded", "short"])
@pytest.mark.parametrize("prompts", [True, False], ids=["prompts", "bare"])
def test_pitfall_4_cached_direct_and_pylates_loss_are_one(
    colberts, prompts, expansion, pairs, negatives
) -> None:
    model = colberts[prompts, expansion]
    features = features_of(model, pairs, negatives)
    pylate = value_and_gradient(model, pylate_losses.Contrastive(model, temperature=0.2), features)
    for cached in (True, False):
        ours = Contrastive(model, 0.2, mini_batch_tokens=60, gradient_cache=cached)
        assert_same(value_and_gradient(model, ours, features), pylate)


def test_pitfall_4_pylates_cached_gradient_is_batch_size_times_too_large(colberts) -> None:
    model = colberts[True, False]
    features = features_of(model, RAGGED, negatives=1)
    direct = value_and_gradient(model, pylate_losses.Contrastive(model, temperature=0.2), features)
    cached = pylate_losses.CachedContrastive(model, temperature=0.2, mini_batch_size=2)
    authors = value_and_gradient(model, cached, features)
    assert_same(direct, authors, scale=len(RAGGED))
    ours = Contrastive(model, 0.2, mini_batch_tokens=60, gradient_cache=True, authors_gradient=True)
    assert_same(value_and_gradient(model, ours, features), authors)


def test_pitfall_23_the_loss_does_not_depend_on_the_chunks_when_best_matches_are_negative() -> None:
    """Cut-off padding scores 0 in PyLate, which is more than a negative best match."""
    model = _TokenTable()
    features = [random_features((5, 3, 4, 6, 2, 5), 1), random_features((9, 2, 3, 1, 2, 3), 2)]
    with torch.no_grad():
        (queries, _), (documents, mask) = (
            embed_tokens(model, side, i == 0) for i, side in enumerate(features)
        )
        similarity = torch.einsum("ash,bth->abst", queries, documents).masked_fill(~mask[None, :, None], -9)
        best = similarity.amax(dim=-1)
        assert ((best < 0) & (best > -9)).float().mean() > 0.1
    pylate = value_and_gradient(model, pylate_losses.Contrastive(model, temperature=0.5), features)
    for tokens in (1, 12, 8192):
        for cached in (True, False):
            ours = Contrastive(model, 0.5, mini_batch_tokens=tokens, gradient_cache=cached)
            assert_same(value_and_gradient(model, ours, features), pylate)


TEXT = st.one_of(
    st.sampled_from(["", "tide", "...", "?!", "the " * 60, "harbour crane lifts", "x" * 200]),
    st.text(max_size=60),
)


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(pairs=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5), tokens=st.integers(1, 200))
@example(pairs=[("", ""), ("", "..."), ("tide", "the " * 60)], tokens=7)
def test_any_texts_cached_direct_and_pylates_loss_are_equal(colberts, pairs, tokens) -> None:
    model = colberts[True, False]
    features = features_of(model, pairs)
    with torch.no_grad():
        expected = pylate_losses.Contrastive(model, temperature=0.2)(features).item()
    losses = [
        Contrastive(model, 0.2, mini_batch_tokens=tokens, gradient_cache=cached) for cached in (True, False)
    ]
    (cached, gradient), (direct, same) = (value_and_gradient(model, loss, features) for loss in losses)
    assert cached == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert direct == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert (gradient - same).norm() <= 1e-3 * same.norm() + 1e-5


def test_infonce_worked_by_hand() -> None:
    """Two orthogonal pairs: scores [[1, 0], [0, 1]] / T, so the loss is log(1 + exp(-1 / T))."""
    model = _TextTable(torch.eye(2))
    sides = [
        {"input_ids": torch.tensor([[0], [1]]), "attention_mask": torch.ones(2, 1, dtype=torch.int64)}
    ] * 2
    for temperature in (1.0, 0.2):
        expected = torch.tensor(-1.0 / temperature).exp().log1p()
        assert Contrastive(model, temperature)(sides).item() == pytest.approx(float(expected))


# InfoNCE, dense


@pytest.mark.parametrize("negatives", [0, 2], ids=["pairs", "negatives"])
@pytest.mark.parametrize("cached", [True, False], ids=["cached", "direct"])
def test_the_dense_loss_is_multiple_negatives_ranking_loss(dense, cached, negatives) -> None:
    features = features_of(dense, RAGGED, negatives)
    theirs = MultipleNegativesRankingLoss(dense, scale=1 / 0.05)
    ours = Contrastive(dense, 0.05, mini_batch_tokens=60, gradient_cache=cached)
    expected = value_and_gradient(dense, lambda sides: theirs(sides, None), features)
    assert_same(value_and_gradient(dense, ours, features), expected)


# How gradients are cached


@pytest.mark.parametrize("kind", ["dense", "colbert"])
def test_a_learned_temperature_gets_the_same_gradient_cached_or_not(colberts, dense, kind) -> None:
    model = dense if kind == "dense" else colberts[True, False]
    features = features_of(model, RAGGED, negatives=1)
    gradients = []
    for cached in (True, False):
        loss = Contrastive(model, 0.3, 60, gradient_cache=cached, learned_temperature=True)
        value_and_gradient(model, loss, features)
        gradients.append(_temperature_gradient(loss, features))
    assert gradients[0] == pytest.approx(gradients[1], rel=1e-4)
    step, values = 1e-2, []
    for sign in (1, -1):
        with torch.no_grad():
            shifted = Contrastive(model, 0.3)
            shifted.log_temperature += sign * step
            values.append(float(shifted([dict(each) for each in features])))
    assert gradients[1] == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-2, abs=1e-4)


def _temperature_gradient(loss: Contrastive, features: list[dict[str, Tensor]]) -> float:
    loss.log_temperature.grad = None
    loss([dict(each) for each in features]).backward()
    return float(loss.log_temperature.grad)


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "direct"])
def test_a_temperature_that_is_not_learned_has_no_gradient(dense, cached) -> None:
    loss = Contrastive(dense, 0.3, gradient_cache=cached)
    loss(features_of(dense, EQUAL)).backward()
    assert loss.log_temperature.grad is None


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "direct"])
def test_scaled_and_accumulated_backward_passes_add_up(dense, cached) -> None:
    features = features_of(dense, RAGGED)
    loss = Contrastive(dense, 0.3, mini_batch_tokens=60, gradient_cache=cached)
    once = value_and_gradient(dense, loss, features)

    def twice(sides: list[dict[str, Tensor]]) -> Tensor:
        (loss(sides) * 3).backward()
        return loss(sides)

    assert_same(once, value_and_gradient(dense, twice, features), scale=4)


def test_gradient_caching_draws_dropout_once_for_both_passes(tiny_encoder_folder) -> None:
    model = open_colbert(tiny_encoder_folder)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
    features = features_of(model, RAGGED)
    results = []
    for cached in (False, True):
        torch.manual_seed(5)
        results.append(value_and_gradient(model, Contrastive(model, 0.2, gradient_cache=cached), features))
    assert_same(*results)
    torch.manual_seed(6)
    other = value_and_gradient(model, Contrastive(model, 0.2, gradient_cache=True), features)
    assert abs(other[0] - results[0][0]) > 1e-4


@pytest.mark.parametrize(
    ("tokens", "cached", "passes"),
    [(0, None, 2), (10_000, None, 1), (10_000, True, 2)],
    ids=["large batch", "small batch", "asked for"],
)
def test_a_batch_is_encoded_twice_only_when_its_activations_would_not_fit(
    dense, monkeypatch, tokens, cached, passes
) -> None:
    monkeypatch.setattr(memory, "device_memory", lambda _: None)
    monkeypatch.setattr(memory, "DIRECT_TOKENS", tokens)
    features, calls = features_of(dense, EQUAL), []
    handle = dense.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    try:
        Contrastive(dense, 0.2, gradient_cache=cached)(features).backward()
        # One chunk is kept in any case.
        assert calls == ([True, False, True] if passes == 2 else [True, True])
        calls.clear()
        with torch.no_grad():
            Contrastive(dense, 0.2, gradient_cache=cached)(features)
        assert calls == [False, False]
    finally:
        handle.remove()


def test_gradient_caching_never_keeps_more_than_a_chunk_of_activations(colberts) -> None:
    model = colberts[True, False]
    features = features_of(model, RAGGED * 6)

    def peak(loss: Contrastive) -> int:
        with SavedActivations(model) as saved:
            value_and_gradient(model, loss, features)
        return saved.peak

    direct = peak(Contrastive(model, 0.2, mini_batch_tokens=80, gradient_cache=False))
    cached = peak(Contrastive(model, 0.2, mini_batch_tokens=80, gradient_cache=True))
    assert cached < direct / 4


def test_saved_activations_are_counted_to_the_byte() -> None:
    layer = nn.Linear(8, 4, bias=False)
    inputs = torch.randn(10, 8)
    with SavedActivations(layer) as saved:
        middle = layer(inputs)  # keeps its input, and the weight, which does not count
        middle.sigmoid().sum().backward()  # keeps its result
        assert saved.peak == 4 * (10 * 8 + 10 * 4)
        layer(inputs[:1])
    assert saved.peak == 4 * (10 * 8 + 10 * 4)
    assert saved.sums[:3] == [0, 4 * 10 * 8, saved.peak] and saved.sums[-1] == 0


# Which tokens are scored


def test_pitfall_10_masks_of_expanded_queries_are_scored_although_not_attended(colberts) -> None:
    model = colberts[True, True]
    queries = features_of(model, RAGGED)[0]
    expansion = queries["input_ids"] == model.tokenizer.mask_token_id
    assert expansion.any() and queries["attention_mask"][expansion].eq(0).all()
    assert scored_mask(model, queries, True).all()
    parts = chunks(model, queries, True, tokens=20)
    assert {part.features["input_ids"].shape[1] for part in parts} == {LENGTHS[0]}


def test_pitfall_11_queries_that_are_not_expanded_stay_short(colberts) -> None:
    model = colberts[True, False]
    queries = features_of(model, (("tide", "a"), ("the ship", "b")))[0]
    assert queries["input_ids"].shape[1] < LENGTHS[0]
    assert scored_mask(model, queries, True).equal(queries["attention_mask"].bool())


def test_documents_leave_out_padding_and_punctuation(colberts) -> None:
    model = colberts[False, False]
    documents = features_of(model, (("q", "ship. tide!"), ("q", "a tide table lists the times")))[1]
    kept = documents["input_ids"][0][scored_mask(model, documents, False)[0]]
    assert model.tokenizer.convert_ids_to_tokens(kept) == ["[CLS]", "[D] ", "ship", "tide", "[SEP]"]


# Distillation


@pytest.mark.parametrize("normalize", [True, False], ids=["min-max", "raw"])
@pytest.mark.parametrize("kind", ["encoder", "table"])
@pytest.mark.parametrize("tokens", [10, 8192])
@pytest.mark.parametrize("cached", [True, False], ids=["cached", "direct"])
def test_distillation_is_pylates_loss_and_gradient(colberts, normalize, kind, tokens, cached) -> None:
    labels = torch.randn(3, 4, generator=torch.Generator().manual_seed(3)) * 3
    if kind == "encoder":
        model = colberts[True, False]
        rows = [
            {"query": query, "documents": [document, *NEGATIVES], "scores": scores}
            for (query, document), scores in zip(RAGGED, labels.tolist(), strict=False)
        ]
        batch = Collator(model, LENGTHS)(rows)
        assert batch["label"].equal(labels)
        features = [side(batch, name) for name in ("query", "documents")]
    else:
        model = _TokenTable()
        features = [random_features((4, 6, 2), 1), random_features((2, 3, 9, 1, 2, 2, 5, 3, 8, 2, 1, 2), 2)]
    theirs = pylate_losses.Distillation(model, normalize_scores=normalize)
    ours = Distillation(model, normalize_scores=normalize, mini_batch_tokens=tokens, gradient_cache=cached)
    expected = value_and_gradient(model, theirs, features, labels)
    assert_same(value_and_gradient(model, ours, features, labels), expected)


def test_distillation_with_cached_gradients_keeps_a_chunk_whatever_the_list(colberts) -> None:
    model = colberts[True, False]
    peaks: dict[bool, list[int]] = {}
    for cached in (True, False):
        for documents in (8, 32):
            rows = [{"query": "tide", "documents": [NEGATIVES[1]] * documents, "scores": [0.0] * documents}]
            batch = Collator(model, LENGTHS)(rows)
            loss = Distillation(model, mini_batch_tokens=100, gradient_cache=cached)
            with SavedActivations(model) as saved:
                sides = [side(batch, name) for name in ("query", "documents")]
                loss(sides, cast(Tensor, batch["label"])).backward()
            peaks.setdefault(cached, []).append(saved.peak)
    model.zero_grad()
    # The vectors themselves grow with the list; they are little beside what the encoder keeps.
    assert peaks[True][1] < 1.5 * peaks[True][0] and peaks[False][1] > 3 * peaks[False][0]


def test_min_max_maps_each_row_to_zero_and_one_and_survives_equal_scores() -> None:
    scaled = minmax(torch.tensor([[2.0, 4.0, 3.0], [5.0, 5.0, 5.0]]))
    assert scaled.tolist() == [pytest.approx([0.0, 1.0, 0.5]), [0.0, 0.0, 0.0]]


def test_a_teachers_scores_are_scaled_by_list_to_a_range() -> None:
    scores = torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.0, 0.0]])
    teacher = torch.tensor([[-11.0, 9.0, 4.0], [2.0, 1.5, 1.0]])
    scaled = torch.tensor([[0.0, 2.0, 1.5], [2.0, 1.0, 0.0]])
    ranged = Distillation(nn.Identity(), normalize_scores=False, score_range=2.0)
    expected = F.kl_div(scores.log_softmax(1), scaled.softmax(1), reduction="batchmean")
    assert ranged._loss(scores, teacher) == pytest.approx(float(expected), abs=1e-6)
    assert ranged._loss(scores, 3 * teacher - 5) == pytest.approx(float(expected), abs=1e-6)


def test_distillation_divides_the_students_scores_by_the_temperature(colberts) -> None:
    model = colberts[True, False]
    rows = [{"query": "tide", "documents": list(NEGATIVES), "scores": [2.0, 0.0, 1.0]}]
    batch = Collator(model, LENGTHS)(rows)
    sides = [side(batch, name) for name in ("query", "documents")]
    with torch.no_grad():
        student = minmax(Distillation(model).scores(*sides)) / 0.5
        target = batch["label"].softmax(dim=-1)
        expected = (target * (target.log() - student.log_softmax(dim=-1))).sum()
        value = Distillation(model, temperature=0.5)(sides, batch["label"])
    assert float(value) == pytest.approx(float(expected), abs=1e-6)
