"""Whatever the texts: our collator and losses, and PyLate's, have one value and one gradient, in every phase."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st
from pylate import losses as pylate_losses
from pylate.utils import ColBERTCollator
from torch import Tensor, nn

from colbert_zero_lib.models import open_model
from colbert_zero_lib.recipes import Interaction, Phase, Step
from colbert_zero_lib.training.collation import Collator
from colbert_zero_lib.training.contrastive import Contrastive
from colbert_zero_lib.training.distillation import Distillation

PROMPTS = ("search_query: ", "search_document: ")
LENGTHS = (16, 40)
# Scores reach 16 over the temperature, and float32 rounds them: 1e-5 of the loss needs a temperature of this size.
TEMPERATURE = 1.0
NEGATIVES = 2
ARMS = tuple(product((True, False), (True, False)))
WORDS = ("ship", "tide", "king", "rook", "lake", "bees", "lamp", "yeast")
LONG = (
    "A lighthouse (built of granite) warns ships away from the rocks; its lamp turns every ten seconds. Glaciers carve"
    " valleys with a U-shaped profile; rivers carve valleys shaped like the letter V, e.g. in the Alps and in Norway."
)
# Empty, one token, all punctuation, far too long, one endless word, and anything that Unicode has.
RAGGED = st.one_of(
    st.sampled_from(
        ["", "tide", "...", "?! (;)", LONG, "x" * 200, "why does bread rise", "Straße 漢字 🐝 ﬁn"]
    ),
    st.text(max_size=60),
)
# One token each, so that nothing is padded but by PyLate.
EQUAL = st.sampled_from(WORDS)
TEXTS = {"ragged": RAGGED, "equal": EQUAL}
TEACHER = st.floats(-4, 4, width=32)
Row = tuple[str, tuple[str, ...], tuple[float, ...]]


@pytest.fixture(scope="module")
def colberts(tiny_encoder_folder: Path) -> dict[tuple[bool, bool], nn.Module]:
    """Late-interaction models by (prompts, query expansion)."""
    found = {}
    for prompts, expansion in ARMS:
        step = Step(Interaction.COLBERT, Phase.UNSUPERVISED, prompts=prompts)
        model = open_model(
            tiny_encoder_folder,
            step,
            lengths=LENGTHS,
            prompts=PROMPTS,
            projection=32,
            query_expansion=expansion,
        )
        found[prompts, expansion] = model.train()
    return found


def rows_of(phase: Phase, rows: Sequence[Row]) -> list[dict]:
    """Rows as the trainer reads them from a data set."""
    if phase is Phase.UNSUPERVISED:
        return [{"query": query, "document": documents[0]} for query, documents, _ in rows]
    if phase is Phase.SUPERVISED:
        names = ("positive", *(f"negative_{place}" for place in range(NEGATIVES)))
        return [{"query": query, **dict(zip(names, documents, strict=True))} for query, documents, _ in rows]
    return [
        {"query": query, "documents": list(documents), "scores": list(scores)}
        for query, documents, scores in rows
    ]


def sides_of(batch: dict) -> tuple[list[dict[str, Tensor]], Tensor | None]:
    names = [key.removesuffix("_input_ids") for key in batch if key.endswith("_input_ids")]
    sides = [{key: batch[f"{name}_{key}"] for key in ("input_ids", "attention_mask")} for name in names]
    return sides, batch.get("label")


def ours(model: nn.Module, rows: list[dict]) -> tuple[list[dict[str, Tensor]], Tensor | None]:
    return sides_of(Collator(model, LENGTHS, authors_padding=True)(rows))


def authors(model: nn.Module, rows: list[dict]) -> tuple[list[dict[str, Tensor]], Tensor | None]:
    """PyLate's own collator, prompts by column, as in the authors' scripts: everything padded to the limit."""
    columns = [name for name in rows[0] if name != "scores"]
    prompts = {name: model.prompts["query" if name == "query" else "document"] for name in columns}
    collator = ColBERTCollator(tokenize_fn=model.tokenize, prompts=prompts, valid_label_columns=["scores"])
    sides, labels = sides_of(collator(rows))
    assert {side["input_ids"].shape[1] for side in sides[1:]} == {LENGTHS[1]}
    return sides, labels


def value_and_gradient(
    model: nn.Module, loss: nn.Module, batch: tuple[list[dict[str, Tensor]], Tensor | None]
) -> tuple[float, Tensor]:
    """The loss and the gradient of all parameters, flattened, in double precision."""
    sides, labels = batch
    model.zero_grad()
    value = loss([dict(side) for side in sides], labels)
    value.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten().double() for gradient in gradients])
    model.zero_grad()
    return float(value.detach()), flat


def assert_same(mine: tuple[float, Tensor], theirs: tuple[float, Tensor], slack: float = 1.0) -> None:
    """One loss and one gradient; where the gradient cancels to rounding, it must do so on both sides.

    ``slack`` is how many times more rounding counts than in the scores themselves.
    """
    assert mine[0] == pytest.approx(theirs[0], rel=1e-5 * slack, abs=1e-6 * slack)
    if max(mine[1].norm(), theirs[1].norm()) < 1e-3 * slack:
        return
    assert 1 - float(F.cosine_similarity(mine[1], theirs[1], dim=0)) <= 1e-5 * slack
    assert float(mine[1].norm() / theirs[1].norm()) == pytest.approx(1, rel=5e-3 * slack)


def rows_strategy(text: st.SearchStrategy[str]) -> st.SearchStrategy[list[Row]]:
    row = st.tuples(text, st.tuples(*[text] * (1 + NEGATIVES)), st.tuples(*[TEACHER] * (1 + NEGATIVES)))
    return st.lists(row, min_size=2, max_size=4)


@pytest.mark.parametrize("lengths", list(TEXTS))
@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize(("prompts", "expansion"), ARMS)
def test_our_batches_and_losses_are_the_authors(colberts, prompts, expansion, phase, lengths) -> None:
    model = colberts[prompts, expansion]

    @settings(
        max_examples=4,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Stage.explicit, Stage.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(rows=rows_strategy(TEXTS[lengths]), tokens=st.integers(1, 120))
    def holds(rows: list[Row], tokens: int) -> None:
        table = rows_of(phase, rows)
        batch, padded = ours(model, table), authors(model, table)
        if phase is Phase.DISTILLATION:
            with torch.no_grad():
                scores = Distillation(model).scores(*batch[0])
            # Min-max scaling stretches the scores of a list to [0, 1], and their rounding with them.
            spread = float((scores.amax(dim=1) - scores.amin(dim=1)).min())
            for scaled in (False, True):
                if scaled and spread < 0.01:
                    continue
                pylate = pylate_losses.Distillation(model, normalize_scores=scaled)
                loss = Distillation(model, normalize_scores=scaled, mini_batch_tokens=tokens)
                theirs = value_and_gradient(model, pylate, padded)
                slack = max(1.0, 1 / spread) if scaled else 1.0
                assert_same(value_and_gradient(model, loss, batch), theirs, slack)
            return
        size = len(rows)
        cached = pylate_losses.CachedContrastive(model, temperature=TEMPERATURE, mini_batch_size=2)
        value, gradient = value_and_gradient(model, cached, padded)
        plain = pylate_losses.Contrastive(model, temperature=TEMPERATURE)
        for theirs in ((value, gradient / size), value_and_gradient(model, plain, padded)):
            for caches in (True, False):
                loss = Contrastive(model, TEMPERATURE, mini_batch_tokens=tokens, gradient_cache=caches)
                assert_same(value_and_gradient(model, loss, batch), theirs)

    holds()


def test_pitfall_23_what_padding_to_the_limit_changes_is_a_negative_best_match(colberts) -> None:
    model = colberts[False, False]
    rows = [{"query": "bees", "document": "rook"}, {"query": "yeast", "document": "ship"}]
    loss = Contrastive(model, TEMPERATURE)
    with torch.no_grad():
        short, one_more, limit = (
            float(loss(batch[0]))
            for batch in (sides_of(Collator(model, LENGTHS)(rows)), ours(model, rows), authors(model, rows))
        )
    assert one_more == pytest.approx(limit, abs=1e-6)
    assert abs(short - limit) > 1e-4
