"""What stands before texts: how it is written, which tokens it is, what MaxSim sees of it, who brings in the score."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pylate import models as pylate_models
from pylate.models import ColBERT

from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.errors import ParameterError, RecipeError, TrainingError
from colbert_zero_lib.evaluation import (
    LateInteractionRetriever,
    score_contributions,
    token_vectors,
)
from colbert_zero_lib.evaluation.contributions import PARTS, labelled_texts
from colbert_zero_lib.models import open_model, step_lengths, train_tokenizer
from colbert_zero_lib.prefixes import EVALUATED_KINDS, SIZED_KINDS, TRAINED_KINDS, Prefix
from colbert_zero_lib.profiles import EvaluationSize
from colbert_zero_lib.prompts import (
    describe_prefix,
    learned_names,
    prefix_positions,
    prefix_texts,
    prompt_tokens,
    unscored_positions,
)
from colbert_zero_lib.recipes import PIPELINES, ZERO, Interaction, Phase, Recipe, Step
from colbert_zero_lib.runs import RunKey, canonical_json
from colbert_zero_lib.runs.arms import arm_name, baseline_of, grid_jobs, grid_recipes
from colbert_zero_lib.runs.prefix_arms import SLOTS, STARTS, prefix_arms
from colbert_zero_lib.training.collation import Collator
from colbert_zero_lib.training.embedding import embed_tokens, scored_mask
from colbert_zero_lib.training.maxsim import maxsim

RECORDED = Path(__file__).resolve().parents[2] / "data" / "runs"
# The prompts differ in length, so that a side cannot be mistaken for the other.
PROMPTS = ("find the harbour: ", "a lighthouse: ")
LONG = "bread rises because carbon dioxide is trapped in the dough between strands of gluten"
KINDS = ["random", "random/9", "learned", "learned/9", "mask", "mask/9", "swapped", "same", "context"]


def opened(folder: Path, prefix: str | None, interaction: str = "colbert", **options) -> ColBERT:
    step = Step(
        Interaction(interaction), Phase.SUPERVISED, prefix=None if prefix is None else Prefix.parse(prefix)
    )
    options = {"lengths": (24, 40), "prompts": PROMPTS, "projection": 32, **options}
    return open_model(folder, step, **options)


def saved(model: ColBERT, folder: Path) -> Path:
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def prompt_ids(model: ColBERT, side: str) -> list[int]:
    return model.tokenizer(model.prompts[side].strip(), add_special_tokens=False)["input_ids"]


# How it is written


@st.composite
def prefixes(draw: st.DrawFn, kinds: tuple[str, ...]) -> Prefix:
    kind = draw(st.sampled_from(kinds))
    return Prefix(kind, draw(st.none() | st.integers(1, 64)) if kind in SIZED_KINDS else None)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    phases = [phase for phase in Phase if draw(st.booleans())]
    steps = []
    for phase in phases:
        prompts, length = draw(st.booleans()), draw(st.booleans())
        prefix = draw(st.none() | prefixes(TRAINED_KINDS)) if prompts else None
        steps.append(Step(Interaction.COLBERT, phase, prompts, length, prefix))
    learned = [step.prefix for step in steps if step.prefix and step.prefix.kind == "learned"]
    others = prefixes(tuple(kind for kind in EVALUATED_KINDS if kind != "learned"))
    evaluated = draw(st.none() | (st.sampled_from(learned) | others if learned else others))
    return Recipe(tuple(steps), draw(st.sampled_from([None, True, False])), evaluated)


@given(recipes())
def test_a_printed_recipe_with_prefixes_parses_back_to_itself(recipe: Recipe) -> None:
    again = Recipe.parse(str(recipe))
    assert again == recipe and hash(again) == hash(recipe)
    assert again.evaluated_step == recipe.evaluated_step
    assert recipe.training.trains and recipe.trains == (recipe == recipe.training)
    assert recipe.stages() == recipe.training.stages()


@given(recipes(), recipes())
def test_slugs_stay_safe_for_files_and_as_distinct_as_recipes(one: Recipe, other: Recipe) -> None:
    assert set(one.slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert (one.slug == other.slug) == (one == other)


def test_the_printed_form_is_the_documented_one() -> None:
    text = "colbert:supervised[-length,prefix=random/14] @ +length prefix=none"
    assert (
        str(Recipe.parse(" colbert : supervised [ prefix=random/14 , -length ]@prefix=none   +length"))
        == text
    )
    assert Recipe.parse(text).slug == "colbert-supervised-nolength-random14--at-length--at-prefix-none"
    assert Recipe.parse("colbert:supervised @ prefix=prompts") == Recipe.parse("colbert:supervised")
    assert Recipe.parse("colbert:supervised[-prompts] @ prefix=none").trains
    assert Recipe.parse("base @ prefix=prompts").evaluated_step.prompts and ZERO.trains


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("colbert:supervised[prefix=noise]", ["noise", "random", "context"]),
        ("colbert:supervised[prefix=]", ["''", "random"]),
        ("colbert:supervised[prefix=swapped/7]", ["swapped", "no number"]),
        ("colbert:supervised @ prefix=prompts/7", ["prompts", "no number"]),
        ("colbert:supervised[prefix=mask/0]", ["mask", "0", "1 to 64"]),
        ("colbert:supervised[prefix=mask/65]", ["mask", "65", "1 to 64"]),
        ("colbert:supervised[prefix=mask/-3]", ["-3", "1 to 64"]),
        ("colbert:supervised[prefix=mask/]", ["''", "1 to 64"]),
        ("colbert:supervised[prefix=mask,-prompts]", ["mask", "-prompts"]),
        ("colbert:supervised[prefix=mask,prefix=same]", ["prefix=same", "twice"]),
        ("colbert:supervised[prefix=none]", ["none", "-prompts"]),
        ("dense:supervised[prefix=context]", ["context", "dense"]),
        ("dense:supervised @ prefix=context", ["context", "dense"]),
        ("colbert:supervised @ prefix=learned", ["learned", "train it"]),
        ("colbert:supervised[prefix=learned/3] @ prefix=learned", ["learned", "train it"]),
        ("colbert:supervised @ prefix=none prefix=mask", ["prefix=mask", "another"]),
        ("colbert:supervised @ +length -length", ["-length", "another"]),
        ("colbert:supervised @ none", ["none", "+length", "prefix="]),
    ],
)
def test_a_prefix_that_nobody_can_read_or_train_is_refused_in_one_sentence(
    text: str, named: list[str]
) -> None:
    with pytest.raises(RecipeError) as refused:
        Recipe.parse(text)
    message = str(refused.value)
    assert all(name in message for name in named), message
    assert message.endswith(".") and ". " not in message and "\n" not in message


@pytest.mark.parametrize("file", sorted(RECORDED.glob("*/*.json")), ids=lambda file: file.stem)
def test_what_was_recorded_before_there_were_prefixes_keeps_its_key_and_its_names(file: Path) -> None:
    passport = json.loads(file.read_text(encoding="utf-8"))
    recorded = passport["key"]
    recipe = Recipe.parse(passport["recipe"])
    key = RunKey(
        recipe=str(replace(recipe, start=None)),  # what it begins from is the key's base
        profile=recorded["profile"],
        settings=canonical_json(recorded["settings"]),
        seed=recorded["seed"],
        base=recorded["base"],
        data=recorded["data"],
        versions=tuple(recorded["versions"].items()),
    )
    assert key.digest == passport["digest"]
    assert str(recipe) == passport["recipe"]
    assert file.stem == f"{recipe.slug}--seed{passport['seed']}"


def test_digests_of_recipes_with_switches_are_those_of_before() -> None:
    settings = dict(profile="p", settings="{}", seed=0, base="b", data="d", versions=())
    bare = "colbert:supervised[-prompts,-length] > colbert:distillation[-prompts,-length]"
    digests = {
        f"dense:unsupervised > {bare} @ +length": (
            "e6d3d807ba296ee82af30cb096f5270bc0fbbd0d9b8033eccc0afe4027057352"
        ),
        "colbert:unsupervised[-prompts]": "4832dfcbd39a15a2284611afde56d691eec2d84bc851a38b898d5c44c59a6aa0",
        "base @ +length": "56c9a422ecec5aa0fc6b17dd0d5256a3f320d98a8b20d1efae8a5669e792ac2f",
    }
    assert {text: RunKey(recipe=text, **settings).digest for text in digests} == digests


# Which tokens it is


@pytest.mark.parametrize("kind", KINDS)
def test_a_prefix_is_exactly_its_tokens_in_place_and_attended_to(
    tiny_encoder_folder: Path, kind: str
) -> None:
    model = opened(tiny_encoder_folder, kind)
    expected = [prompt_tokens(model.tokenizer, prompt) for prompt in PROMPTS]
    assert expected[0] != expected[1]
    if kind == "swapped":
        expected = expected[::-1]
    if kind == "same":
        expected = [expected[0]] * 2
    if kind.endswith("/9"):
        expected = [9, 9]
    for side, count in zip(("query", "document"), expected, strict=True):
        ids = prompt_ids(model, side)
        assert len(ids) == count
        tokens = Collator(model, (24, 40)).tokenize(["tide", LONG], is_query=side == "query")
        place = prefix_positions(model, side == "query")
        assert (place.start, place.stop) == (2, 2 + count)  # after [CLS] and the marker
        assert tokens["input_ids"][:, place].tolist() == [ids, ids]
        assert tokens["attention_mask"][:, place].all()
        # What follows is the text as it is without any prefix.
        model.prompts[side] = ""
        bare = Collator(model, (24, 40)).tokenize(["tide"], is_query=side == "query")
        text = bare["input_ids"][0, 2:4].tolist()
        assert tokens["input_ids"][0, place.stop : place.stop + 2].tolist() == text


def test_each_kind_is_made_of_the_tokens_it_says(tiny_encoder_folder: Path) -> None:
    for count in (1, 7):
        mask = opened(tiny_encoder_folder, f"mask/{count}")
        assert (
            prompt_ids(mask, "query")
            == prompt_ids(mask, "document")
            == [mask.tokenizer.mask_token_id] * count
        )
        learned = opened(tiny_encoder_folder, f"learned/{count}")
        for side in ("query", "document"):
            names = learned.tokenizer.convert_ids_to_tokens(prompt_ids(learned, side))
            assert names == learned_names(side, count)
        assert not set(prompt_ids(learned, "query")) & set(prompt_ids(learned, "document"))
    swapped, same = opened(tiny_encoder_folder, "swapped"), opened(tiny_encoder_folder, "same")
    assert swapped.prompts == {"query": PROMPTS[1], "document": PROMPTS[0]}
    assert same.prompts == {"query": PROMPTS[0], "document": PROMPTS[0]}


def test_random_words_are_the_same_in_every_run_and_others_on_the_other_side(
    tiny_encoder_folder: Path,
) -> None:
    one, again = (
        opened(tiny_encoder_folder, "random/14", seed=1),
        opened(tiny_encoder_folder, "random/14", seed=2),
    )
    assert one.prompts == again.prompts
    query, document = (one.prompts[side].split() for side in ("query", "document"))
    assert len(set(query) | set(document)) == 28
    vocabulary = one.tokenizer.get_vocab()
    assert all(word in vocabulary and word.isalpha() and word.islower() for word in query + document)
    assert not set(query + document) & {word for prompt in PROMPTS for word in prompt.strip(": ").split()}
    fewer = opened(tiny_encoder_folder, "random/4")
    assert fewer.prompts["query"].split() == query[:4]


def test_too_few_words_for_a_random_prefix_is_one_sentence() -> None:
    tokenizer = train_tokenizer(["the ship waits", "the tide turns"] * 9, 60)
    step = Step(Interaction.COLBERT, Phase.SUPERVISED, prefix=Prefix("random", 64))
    with pytest.raises(TrainingError, match=r"^prefix=random needs 64 words .* take fewer"):
        prefix_texts(step, tokenizer, PROMPTS)


def test_the_number_of_tokens_is_shown(tiny_encoder_folder: Path) -> None:
    shown = describe_prefix(opened(tiny_encoder_folder, "mask/5"))
    assert shown["document"] == {"text": "[MASK]" * 5 + " ", "tokens": 5, "scored": 5}
    prompts = describe_prefix(opened(tiny_encoder_folder, None))
    for side, prompt in zip(("query", "document"), PROMPTS, strict=True):
        # PyLate scores the colon of a query and skips that of a document.
        tokens = prompts[side]["tokens"]
        assert prompts[side] == {"text": prompt, "tokens": tokens, "scored": tokens - (side == "document")}
    assert describe_prefix(opened(tiny_encoder_folder, "context"))["query"]["scored"] == 0
    assert "scored" not in describe_prefix(opened(tiny_encoder_folder, None, "dense"))["query"]


# Lengths


def test_the_extra_length_is_what_the_prefix_takes(tiny_encoder_folder: Path) -> None:
    tokenizer = opened(tiny_encoder_folder, None).tokenizer
    size = EvaluationSize(query_length=20, document_length=30)
    query, document = (prompt_tokens(tokenizer, prompt) for prompt in PROMPTS)
    expected = {
        "[prefix=random/14]": (34, 44),
        "[prefix=mask]": (20 + query, 30 + document),
        "[prefix=swapped]": (20 + document, 30 + query),
        "[prefix=same]": (20 + query, 30 + query),
        "[prefix=context]": (20 + query, 30 + document),
        "[-prompts]": (20 + query, 30 + document),
        "[-length,prefix=random/14]": (20, 30),
    }
    for switches, lengths in expected.items():
        recipe = Recipe.parse(f"colbert:supervised{switches}")
        assert step_lengths(recipe.steps[0], size, tokenizer, PROMPTS) == lengths, switches
    # At evaluation under another prefix lengths stay those of the one that was trained.
    other = Recipe.parse("colbert:supervised[prefix=random/14] @ prefix=none")
    assert step_lengths(other.measured_step, size, tokenizer, PROMPTS) == (34, 44)
    assert other.evaluated_step.prompts is False


@pytest.mark.parametrize("kind", ["learned/9", "mask/9", "random/9", "context"])
def test_a_limit_cuts_the_text_and_never_the_prefix(tiny_encoder_folder: Path, kind: str) -> None:
    model = opened(tiny_encoder_folder, kind, lengths=(14, 16))
    for is_query, limit in ((True, 14), (False, 16)):
        tokens = Collator(model, (14, 16)).tokenize([LONG, "tide"], is_query)
        ids = prompt_ids(model, "query" if is_query else "document")
        assert tokens["input_ids"].shape[1] == limit
        assert tokens["input_ids"][0, prefix_positions(model, is_query)].tolist() == ids
        assert tokens["input_ids"][0, -1] == model.tokenizer.sep_token_id
        assert tokens["attention_mask"].sum(1).tolist() == [limit, len(ids) + 4]


def test_a_context_that_does_not_fit_is_refused(tiny_encoder_folder: Path) -> None:
    with pytest.raises(TrainingError, match="do not fit into 4; raise query_length"):
        opened(tiny_encoder_folder, "context", lengths=(4, 40))


# Learned tokens


@pytest.mark.parametrize("interaction", ["colbert", "dense"])
def test_learned_rows_are_drawn_under_the_seed_and_change_nothing_else(
    tiny_encoder_folder: Path, interaction: str
) -> None:
    plain = opened(tiny_encoder_folder, None, interaction, seed=3)
    one = opened(tiny_encoder_folder, "learned/5", interaction, seed=3)
    same = opened(tiny_encoder_folder, "learned/5", interaction, seed=3)
    other = opened(tiny_encoder_folder, "learned/5", interaction, seed=4)
    states = [model.state_dict() for model in (plain, one, same, other)]
    name = next(key for key in states[0] if key.endswith("tok_embeddings.weight"))
    before = len(states[0][name])
    for key, value in states[0].items():
        assert states[1][key][: len(value)].equal(value), key
        assert states[2][key].equal(states[1][key])
    rows = states[1][name][before:]
    assert len(rows) == 10 and len(rows.unique(dim=0)) == 10
    assert not rows.equal(states[3][name][before:])
    # They look like rows of ordinary tokens: no row is a copy of another, none is far away.
    ordinary = states[0][name]
    assert (
        torch.cdist(rows, rows)[~torch.eye(10, dtype=torch.bool)].min()
        > 0.3 * torch.cdist(ordinary, ordinary).median()
    )
    assert rows.norm(dim=1).max() < 2 * ordinary.norm(dim=1).max()


def test_learned_tokens_keep_their_rows_from_step_to_step(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    def row(model: ColBERT, name: str) -> torch.Tensor:
        weight = model[0].auto_model.get_input_embeddings().weight
        return weight[model.tokenizer.convert_tokens_to_ids(name)].detach().clone()

    dense = opened(tiny_encoder_folder, "learned/2", "dense", seed=1)
    with torch.no_grad():
        dense[0].auto_model.get_input_embeddings().weight.add_(0.25)
    colbert = opened(saved(dense, tmp_path / "dense"), "learned/4", seed=2)
    for name in learned_names("query", 2) + learned_names("document", 2):
        assert row(colbert, name).equal(row(dense, name))
    prompted = opened(saved(colbert, tmp_path / "colbert"), None, seed=3)
    again = opened(saved(prompted, tmp_path / "prompted"), "learned/4", seed=4)
    for name in learned_names("query", 4) + learned_names("document", 4):
        assert row(again, name).equal(row(colbert, name))
    assert prompted.prompts["query"] == PROMPTS[0] and again.prompts == colbert.prompts
    assert len(again.tokenizer) == len(prompted.tokenizer) == len(colbert.tokenizer)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_prefix_is_restored_by_whoever_loads_the_model(
    tiny_encoder_folder: Path, tmp_path: Path, kind: str
) -> None:
    model = opened(tiny_encoder_folder, kind)
    folder = saved(model, tmp_path / "model")
    for loaded in (pylate_models.ColBERT(str(folder), device="cpu"), opened(folder, kind)):
        assert loaded.prompts == model.prompts
        for is_query in (True, False):
            assert unscored_positions(loaded, is_query) == unscored_positions(model, is_query)
            for ours, theirs in zip(
                token_vectors(model, ["tide", LONG], is_query),
                token_vectors(loaded, ["tide", LONG], is_query),
                strict=True,
            ):
                np.testing.assert_array_equal(ours, theirs)


# What MaxSim sees of it


@pytest.mark.parametrize("expansion", [False, True], ids=["plain", "expanded"])
def test_context_is_attended_to_and_never_scored(tiny_encoder_folder: Path, expansion: bool) -> None:
    context = opened(tiny_encoder_folder, "context", query_expansion=expansion)
    prompts = opened(tiny_encoder_folder, None, query_expansion=expansion)
    for is_query, side in ((True, "query"), (False, "document")):
        features = Collator(prompts, (24, 40)).tokenize(["tide", LONG], is_query)
        kept, all_of_them = (scored_mask(model, features, is_query) for model in (context, prompts))
        place = prefix_positions(prompts, is_query)
        assert not kept[:, place].any()
        assert all_of_them[:, place].sum() == 2 * describe_prefix(prompts)[side]["scored"] > 0
        all_of_them[:, place] = False
        assert kept.equal(all_of_them)
        # The vectors that are left are those that the prompts' model gives the same tokens: prompts were attended to.
        with torch.no_grad():
            vectors, _ = embed_tokens(prompts, features, is_query)
        for row, found in enumerate(token_vectors(context, ["tide", LONG], is_query)):
            torch.testing.assert_close(torch.from_numpy(found), vectors[row][kept[row]], atol=2e-6, rtol=0)
    mask = torch.ones(2, 9, dtype=torch.bool)
    scored_mask(context, {"input_ids": torch.zeros(2, 9, dtype=torch.int64), "attention_mask": mask}, True)
    assert mask.all()


@pytest.mark.parametrize("kind", ["context", "mask", "learned"])
def test_training_and_evaluation_score_alike(
    tiny_encoder_folder: Path, toy_collection: Collection, kind: str
) -> None:
    model = opened(tiny_encoder_folder, kind).eval()
    ranking = LateInteractionRetriever(model).search(toy_collection, k=len(toy_collection.corpus))
    collator = Collator(model, (24, 40))
    sides = []
    with torch.no_grad():
        for texts, is_query in ((toy_collection.queries, True), (toy_collection.corpus, False)):
            features = collator.tokenize(list(texts.values()), is_query)
            sides.append(embed_tokens(model, features, is_query))
    (queries, query_mask), (documents, document_mask) = sides
    similarity = torch.einsum("ash,bth->abst", queries, documents)
    best = similarity.masked_fill(~document_mask[None, :, None], -2).amax(-1)
    scored = query_mask[:, None]
    indices = torch.from_numpy(ranking.indices).long()
    evaluated = (best * scored).sum(-1).gather(1, indices)
    torch.testing.assert_close(torch.from_numpy(ranking.scores), evaluated, atol=1e-4, rtol=0)
    # In training a token that is not scored counts 0 (as in PyLate), so that no best match is negative.
    trained = (best.clamp(min=0) * scored).sum(-1)
    scores = maxsim(queries, [documents], query_mask, [document_mask])
    torch.testing.assert_close(scores, trained, atol=1e-4, rtol=0)


def test_a_context_model_does_not_let_pylate_score_its_prompts(tiny_encoder_folder: Path) -> None:
    with pytest.raises(ParameterError, match=r"context alone.*token_vectors\.$"):
        opened(tiny_encoder_folder, "context").encode(["tide"], is_query=True)
    assert len(opened(tiny_encoder_folder, None).encode(["tide"], is_query=True)) == 1


def test_a_step_after_context_scores_its_prompts_again(tiny_encoder_folder: Path, tmp_path: Path) -> None:
    folder = saved(opened(tiny_encoder_folder, "context"), tmp_path / "context")
    prompted = opened(folder, None)
    assert unscored_positions(prompted, True) is None
    assert unscored_positions(pylate_models.ColBERT(str(saved(prompted, tmp_path / "next"))), True) is None


# Who brings in the score


def by_hand(model: ColBERT, query: str, document: str) -> dict[tuple[str, str], tuple[float, float, float]]:
    """The shares and sums of one query and one document, token by token in plain Python."""
    sides = {}
    for text, is_query, side in ((query, True, "query"), (document, False, "document")):
        features = model.tokenize([model.prompts[side] + text], is_query=is_query)
        with torch.no_grad():
            vectors = F.normalize(model(dict(features))["token_embeddings"][0], dim=-1)
        count = len(prompt_ids(model, side))
        tokens = []
        for place, (token, attended) in enumerate(
            zip(features["input_ids"][0], features["attention_mask"][0], strict=True)
        ):
            if 2 <= place < 2 + count:
                part = "prefix"
            elif not attended:
                part = "expansion"
            elif model.tokenizer.convert_ids_to_tokens(int(token)) in ("[CLS]", "[SEP]", "[Q] ", "[D] "):
                part = "marker"
            else:
                part = "text"
            skipped = not is_query and (int(token) in model.skiplist or not attended)
            if not skipped:
                tokens.append((part, vectors[place]))
        sides[side] = tokens
    matches = []
    for part, vector in sides["query"]:
        similarity, best = max((float(vector @ other), name) for name, other in sides["document"])
        matches.append((part, best, similarity))
    total = sum(similarity for *_, similarity in matches)
    found = {}
    for place, side in enumerate(("query", "document")):
        for part in PARTS:
            chosen = [match[2] for match in matches if match[place] == part]
            found[side, part] = (len(chosen) / len(matches), sum(chosen) / total, sum(chosen))
    return found


@pytest.mark.parametrize("kind", [None, "mask/5", "learned"])
@pytest.mark.parametrize("expansion", [False, True], ids=["plain", "expanded"])
def test_contributions_are_those_counted_by_hand(
    tiny_encoder_folder: Path, toy_collection: Collection, kind: str | None, expansion: bool
) -> None:
    model = opened(tiny_encoder_folder, kind, query_expansion=expansion).eval()
    frame = score_contributions(model, toy_collection, others=3)
    shown = frame[(frame["query"] == "q1") & frame["relevant"]].set_index(["side", "part"])
    assert (shown["documents"] == 2).all()
    pair = [by_hand(model, toy_collection.queries["q1"], toy_collection.corpus[d]) for d in ("d3", "d2")]
    for key, row in shown.iterrows():
        expected = np.mean([found[key] for found in pair], axis=0)
        np.testing.assert_allclose([row["tokens"], row["score"], row["sum"]], expected, atol=1e-5)


def test_contributions_sum_to_one_and_leave_out_what_is_not_scored(
    tiny_encoder_folder: Path, toy_collection: Collection
) -> None:
    frames = {
        kind: score_contributions(opened(tiny_encoder_folder, kind), toy_collection, others=4)
        for kind in (None, "context", "random/9")
    }
    for frame in frames.values():
        sums = frame.groupby(["query", "relevant", "side"])[["tokens", "score"]].sum()
        np.testing.assert_allclose(sums.to_numpy(), 1, atol=1e-5)
        assert len(sums) == 5 * 2 * 2
        assert (frame.loc[~frame["relevant"], "documents"] == 4).all()
    prefix = {kind: frame[frame["part"] == "prefix"] for kind, frame in frames.items()}
    assert (prefix["context"][["tokens", "score"]] == 0).all().all()
    assert (prefix[None].loc[prefix[None]["side"] == "query", "tokens"] > 0).all()
    assert score_contributions(opened(tiny_encoder_folder, None), toy_collection, others=4).equals(
        frames[None]
    )


def test_other_documents_are_never_relevant_ones_and_must_be_asked_for(
    tiny_encoder_folder: Path, toy_collection: Collection
) -> None:
    model = opened(tiny_encoder_folder, None)
    frame = score_contributions(model, toy_collection, others=100)
    counts = frame[~frame["relevant"]].groupby("query")["documents"].first()
    assert counts.to_dict() == {q: 12 - len(d) for q, d in toy_collection.qrels.items()}
    with pytest.raises(ParameterError, match="others must be at least 1"):
        score_contributions(model, toy_collection, others=0)


def test_labels_name_every_scored_token(tiny_encoder_folder: Path) -> None:
    model = opened(tiny_encoder_folder, "mask/5")
    (query,) = labelled_texts(model, ["tide table"], True)
    names = [PARTS[part] for part in query.parts.tolist()]
    assert names == ["marker", "marker", *["prefix"] * 5, "text", "text", "marker"]
    assert query.vectors.shape == (10, 32)
    assert model.tokenizer.convert_ids_to_tokens(query.ids.tolist())[2:7] == ["[MASK]"] * 5


# The study


@pytest.mark.parametrize("start", STARTS, ids=str)
def test_arms_differ_only_in_what_stands_before_texts(start: Recipe) -> None:
    arms = prefix_arms(start)
    assert len({arm.recipe for arm in arms}) == len({arm[:2] for arm in arms}) == len(arms)
    trained = [arm.recipe for arm in arms if arm.matched]
    assert len(trained) == 3 + len(TRAINED_KINDS) + len(SIZED_KINDS) * len(SLOTS)
    for recipe in trained:
        assert recipe.steps[:-1] == start.steps
        assert (recipe.steps[-1].interaction, recipe.steps[-1].phase) == (
            Interaction.COLBERT,
            Phase.SUPERVISED,
        )
        # The prompts' own arm, whose training is pipeline b's or c's, and those of Table 4 are trained once for all.
        others = [arm for arm in arms if arm.recipe.training == recipe and not arm.matched]
        evaluated = {str(arm.recipe.evaluation_prefix) for arm in others}
        own = str(recipe.steps[-1].prepended)
        assert evaluated == {"none", "prompts", *(["context"] if own == "prompts" else [])} - {own}
    assert PIPELINES["b"].stages()[1] in grid_recipes("prefixes")
    assert PIPELINES["c"].stages()[1] in grid_recipes("prefixes")


def test_the_grid_measures_every_training_right_after_it() -> None:
    recipes = grid_recipes("prefixes")
    jobs = grid_jobs(recipes, [0])
    assert {job.recipe for job in jobs} == {*recipes, *STARTS, ZERO}
    done: list[Recipe] = []
    for job in jobs:
        assert job.before is None or job.before in done
        if not job.recipe.trains:
            previous = done[-1]
            assert previous.training == job.recipe.training
        done.append(job.recipe)


def test_arms_have_names_and_the_bare_arm_as_their_baseline() -> None:
    recipe = Recipe.parse("dense:unsupervised > colbert:supervised[prefix=learned/14] @ prefix=none")
    assert str(arm_name(recipe)) == (
        "supervised from dense unsupervised +learned/14 +length, −prompts at evaluation"
    )
    assert arm_name(Recipe.parse("dense:unsupervised[prefix=mask] > colbert:supervised")).start == (
        "dense unsupervised, mask"
    )
    bare = Recipe.parse("dense:unsupervised > colbert:supervised[-prompts,-length]")
    assert baseline_of(recipe) == bare and baseline_of(bare) is None
    with pytest.raises(RecipeError):
        prefix_arms(PIPELINES["b"])
