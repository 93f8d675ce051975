"""From rows to padded batches: which side a column is on, what is cut, what is padded, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer

from colbert_zero_lib.errors import TrainingError
from colbert_zero_lib.models import open_model, step_lengths, train_tokenizer
from colbert_zero_lib.profiles import PhaseBudget
from colbert_zero_lib.prompts import prompt_tokens
from colbert_zero_lib.recipes import Interaction, Phase, Step
from colbert_zero_lib.training import collation
from colbert_zero_lib.training.collation import Collator, check_columns
from colbert_zero_lib.training.embedding import embed_tokens

PROMPTS = ("search_query: ", "search_document: ")
LONG = "the ship waits until the tide turns and the lamp turns and the bread rises and the bees dance"
SHORT = "honey"


def opened(
    folder: Path, interaction: str = "colbert", lengths=(16, 24), **switches: bool
) -> SentenceTransformer:
    expansion = switches.pop("expansion", False)
    step = Step(Interaction(interaction), Phase.UNSUPERVISED, **switches)
    return open_model(
        folder, step, lengths=lengths, prompts=PROMPTS, projection=32, query_expansion=expansion
    )


def words(model: SentenceTransformer, batch: dict, name: str, row: int = 0) -> list[str]:
    """The tokens of a row that are attended to."""
    ids = batch[f"{name}_input_ids"][row][batch[f"{name}_attention_mask"][row].bool()]
    return model.tokenizer.convert_ids_to_tokens(ids)


# Sides


@pytest.mark.parametrize("interaction", ["dense", "colbert"])
def test_each_side_gets_its_prompt_and_its_marker(tiny_encoder_folder, interaction) -> None:
    model = opened(tiny_encoder_folder, interaction)
    batch = Collator(model, (16, 24))([{"query": "tide", "document": "ship"}])
    query, document = words(model, batch, "query"), words(model, batch, "document")
    text = {name: model.tokenizer.tokenize(prompt) for name, prompt in zip(("q", "d"), PROMPTS, strict=True)}
    marker = {"q": ["[Q] "], "d": ["[D] "]} if interaction == "colbert" else {"q": [], "d": []}
    assert query == ["[CLS]", *marker["q"], *text["q"], "tide", "[SEP]"]
    assert document == ["[CLS]", *marker["d"], *text["d"], "ship", "[SEP]"]


def test_without_prompts_the_markers_stay(tiny_encoder_folder) -> None:
    model = opened(tiny_encoder_folder, prompts=False)
    batch = Collator(model, (16, 24))([{"query": "tide", "positive": "ship", "negative_0": "king"}])
    assert words(model, batch, "query") == ["[CLS]", "[Q] ", "tide", "[SEP]"]
    assert words(model, batch, "negative_0") == ["[CLS]", "[D] ", "king", "[SEP]"]


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        (["question", "document"], "question"),
        (["document", "query"], "document"),
        (["query", "document", "document_id"], "document_id"),
        (["query", "document_id"], "document_id"),
        (["id", "query", "document"], "id"),
        (["query", "document", "title"], "title"),
        (["query", "scores"], "query"),
    ],
)
def test_pitfalls_12_13_16_a_column_of_another_name_is_refused_not_dropped(
    tiny_encoder_folder, names, wrong
) -> None:
    with pytest.raises(TrainingError, match=f"'{wrong}'"):
        check_columns(names)
    with pytest.raises(TrainingError, match=f"'{wrong}'"):
        Collator(opened(tiny_encoder_folder), (16, 24))([{name: "text" for name in names}])


@pytest.mark.parametrize(
    "names",
    [
        ["query", "document"],
        ["query", "positive", "negative_0", "negative_1", "negative_12"],
        ["query", "documents", "scores"],
        ["query", "document", "dataset_name"],
    ],
)
def test_the_columns_of_the_three_phases_are_accepted(names) -> None:
    check_columns(names)


def test_lists_of_documents_are_flattened_query_by_query_and_scores_become_labels(
    tiny_encoder_folder,
) -> None:
    model = opened(tiny_encoder_folder, prompts=False)
    rows = [
        {"query": "tide", "documents": ["ship", "king"], "scores": [2.0, 1.0]},
        {"query": "bees", "documents": ["rook", "lake"], "scores": [0.5, -1]},
    ]
    batch = Collator(model, (16, 24))(rows)
    assert [words(model, batch, "documents", row)[2] for row in range(4)] == ["ship", "king", "rook", "lake"]
    assert batch["label"].tolist() == [[2.0, 1.0], [0.5, -1.0]] and batch["label"].dtype == torch.float32


# Padding


@pytest.mark.parametrize("interaction", ["dense", "colbert"])
def test_pitfall_8_document_columns_share_one_length(tiny_encoder_folder, interaction) -> None:
    model = opened(tiny_encoder_folder, interaction)
    rows = [
        {"query": "tide", "positive": SHORT, "negative_0": LONG, "negative_1": ""},
        {"query": LONG, "positive": "ship", "negative_0": SHORT, "negative_1": "king"},
    ]
    batch = Collator(model, (16, 24))(rows)
    widths = {name: batch[f"{name}_input_ids"].shape for name in ("positive", "negative_0", "negative_1")}
    assert set(widths.values()) == {torch.Size([2, 24])}
    assert batch["query_input_ids"].shape == (2, 16)
    for name in widths:
        assert batch[f"{name}_attention_mask"].shape == (2, 24)


def test_pitfall_7_documents_are_padded_to_the_batch_not_to_the_limit(tiny_encoder_folder) -> None:
    model = opened(tiny_encoder_folder, prompts=False, lengths=(16, 200))
    batch = Collator(model, (16, 200))(
        [{"query": "a", "document": "ship"}, {"query": "b", "document": "the ship"}]
    )
    assert batch["document_input_ids"].shape == (2, 5)


@pytest.mark.parametrize("interaction", ["dense", "colbert"])
def test_pitfall_20_vectors_do_not_depend_on_padding(tiny_encoder_folder, interaction) -> None:
    model = opened(tiny_encoder_folder, interaction).eval()
    collate = Collator(model, (16, 24))
    rows = [{"query": text, "document": text} for text in (SHORT, LONG, "", "the ship waits")]
    for is_query in (True, False):
        name = "query" if is_query else "document"

        def vectors(
            batch: dict, name: str = name, is_query: bool = is_query
        ) -> tuple[torch.Tensor, torch.Tensor]:
            features = {key: batch[f"{name}_{key}"] for key in ("input_ids", "attention_mask")}
            with torch.no_grad():
                return embed_tokens(model, features, is_query)

        together, mask = vectors(collate(rows))
        for place, row in enumerate(rows):
            alone, own = vectors(collate([row]))
            torch.testing.assert_close(together[place][mask[place]], alone[0][own[0]], atol=1e-5, rtol=0)


def test_pitfall_20_padding_is_the_mask_token_and_is_not_attended(tiny_encoder_folder) -> None:
    model = opened(tiny_encoder_folder)
    assert model.tokenizer.pad_token == "[MASK]"
    batch = Collator(model, (16, 24))([{"query": "a", "document": SHORT}, {"query": "b", "document": LONG}])
    padding = batch["document_input_ids"] == model.tokenizer.mask_token_id
    assert padding[0].any()
    assert batch["document_attention_mask"][padding].eq(0).all()
    assert batch["document_attention_mask"][~padding].eq(1).all()


def test_what_the_losses_see_is_what_encode_returns(tiny_encoder_folder) -> None:
    for interaction in ("dense", "colbert"):
        model = opened(tiny_encoder_folder, interaction, lengths=(24, 24)).eval()
        batch = Collator(model, (24, 24))([{"query": "why does bread rise", "document": "a. b, ship (tide)"}])
        for name in ("query", "document"):
            features = {key: batch[f"{name}_{key}"] for key in ("input_ids", "attention_mask")}
            text = {"query": "why does bread rise", "document": "a. b, ship (tide)"}[name]
            with torch.no_grad():
                vectors, mask = embed_tokens(model, features, name == "query")
            side = {"is_query": name == "query"} if interaction == "colbert" else {}
            encoded = model.encode([text], prompt_name=name, convert_to_tensor=True, **side)[0]
            encoded = F.normalize(encoded.reshape(-1, encoded.shape[-1]), dim=-1)
            torch.testing.assert_close(vectors[0][mask[0]], encoded, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("interaction", "expansion"), [("dense", False), ("colbert", False), ("colbert", True)]
)
def test_a_text_is_tokenised_once_and_padded_as_if_it_were_new(
    tiny_encoder_folder, monkeypatch, interaction, expansion
) -> None:
    model = opened(tiny_encoder_folder, interaction, expansion=expansion)
    batches = [
        [{"query": "tide", "document": SHORT}, {"query": LONG, "document": SHORT}],
        [{"query": "tide", "document": LONG}, {"query": "", "document": SHORT}],
        [{"query": SHORT, "document": "tide"}, {"query": "tide", "document": ""}],
    ]
    fresh = [Collator(model, (16, 24))(rows) for rows in batches]
    for room, readings in ((collation.TOKENS_KEPT, 8), (0, 11)):
        monkeypatch.setattr(collation, "TOKENS_KEPT", room)
        collate = Collator(model, (16, 24))
        read: list[str] = []
        plain = collate._tokenize

        def counted(texts: list[str], is_query: bool, plain=plain, read=read) -> dict[str, torch.Tensor]:
            read.extend(texts)
            return plain(texts, is_query)

        monkeypatch.setattr(collate, "_tokenize", counted)
        for rows, expected in zip(batches, fresh, strict=True):
            found = collate(rows)
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                if isinstance(value, torch.Tensor):
                    assert torch.equal(found[name], value) and found[name].dtype == value.dtype
        # Each side has four different texts; without room they are read again in every batch.
        assert len(read) == readings


# Lengths


@pytest.mark.parametrize("interaction", ["dense", "colbert"])
def test_pitfall_9_the_prompt_counts_inside_the_length(tiny_encoder_folder, interaction) -> None:
    model = opened(tiny_encoder_folder, interaction)
    batch = Collator(model, (16, 24))([{"query": LONG, "document": LONG}])
    special = 3 if interaction == "colbert" else 2
    whole = model.tokenizer.tokenize(LONG)
    for name, limit, prompt in zip(("query", "document"), (16, 24), PROMPTS, strict=True):
        kept = words(model, batch, name)
        assert len(kept) == limit
        room = limit - special - prompt_tokens(model.tokenizer, prompt)
        assert kept[-1 - room : -1] == whole[:room]


def test_pitfall_9_the_extra_length_gives_the_text_its_room_back(tiny_encoder_folder) -> None:
    budget = PhaseBudget(steps=1, batch_size=1, learning_rate=1e-3, query_length=10, document_length=14)
    texts = {}
    for prompts, extra in ((True, True), (False, False)):
        step = Step(Interaction.COLBERT, Phase.SUPERVISED, prompts, extra)
        model = opened(tiny_encoder_folder, prompts=prompts, extra_length=extra)
        lengths = step_lengths(step, budget, model.tokenizer, PROMPTS)
        batch = Collator(model, lengths)([{"query": LONG, "document": LONG}])
        cut = (prompt_tokens(model.tokenizer, prompt) if prompts else 0 for prompt in PROMPTS)
        texts[prompts] = [
            words(model, batch, name)[2 + n :] for name, n in zip(("query", "document"), cut, strict=True)
        ]
    assert texts[True] == texts[False]
    assert [len(text) for text in texts[True]] == [10 - 2, 14 - 2]


def test_pitfall_9_the_prompts_tokens_are_counted_with_the_tokenizer_at_hand(tiny_encoder_folder) -> None:
    known = train_tokenizer([f"{word} " * 5 for word in ("search", "query", "document", "ship")], 200)
    strange = train_tokenizer(["search queries document q u e r y : _ " * 5], 30)
    assert prompt_tokens(known, "search_query: ") == 4 == len(known.tokenize("search_query:"))
    assert prompt_tokens(known, "") == 0
    assert prompt_tokens(strange, "search_query: ") != 4
    budget = PhaseBudget(steps=1, batch_size=1, learning_rate=1e-3, query_length=32, document_length=180)
    on = Step(Interaction.COLBERT, Phase.SUPERVISED)
    off = Step(Interaction.COLBERT, Phase.SUPERVISED, extra_length=False)
    bare = Step(Interaction.COLBERT, Phase.SUPERVISED, prompts=False, extra_length=True)
    assert step_lengths(on, budget, known, PROMPTS) == (36, 184)
    assert step_lengths(bare, budget, known, PROMPTS) == (36, 184)
    assert step_lengths(off, budget, known, PROMPTS) == (32, 180)
    other = prompt_tokens(strange, "search_query: ")
    assert step_lengths(on, budget, strange, PROMPTS)[0] == 32 + other


def test_a_late_interaction_model_is_cut_at_the_collators_lengths(tiny_encoder_folder) -> None:
    model = opened(tiny_encoder_folder, lengths=(30, 60))
    batch = Collator(model, (9, 12))([{"query": LONG, "document": LONG}])
    assert batch["query_input_ids"].shape == (1, 9) and batch["document_input_ids"].shape == (1, 12)


def test_pitfall_11_only_expanded_queries_are_padded_to_the_query_length(tiny_encoder_folder) -> None:
    rows = [{"query": "tide", "document": "ship"}]
    short = Collator(opened(tiny_encoder_folder, prompts=False), (16, 24))(rows)
    assert short["query_input_ids"].shape == (1, 4)
    model = opened(tiny_encoder_folder, prompts=False, expansion=True)
    long = Collator(model, (16, 24))(rows)
    assert long["query_input_ids"].shape == (1, 16)
    assert long["query_attention_mask"].sum() == 4
    assert long["query_input_ids"][0, 4:].eq(model.tokenizer.mask_token_id).all()
    assert long["document_input_ids"].shape == (1, 4)
