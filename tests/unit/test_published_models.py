"""The cards of the released models agree with the tables that they are joined to."""

from __future__ import annotations

from pathlib import Path

import pytest

from colbert_zero_lib.errors import DataError
from colbert_zero_lib.published import (
    MTEB_MODELS,
    ModelCard,
    model_cards,
    mteb_scores,
    paper_scores,
    paper_table,
)
from colbert_zero_lib.recipes import Interaction, Recipe

DATA = Path(__file__).resolve().parents[2] / "data"
CARDS: dict[str, ModelCard] = {card.name: card for card in model_cards()}


def test_every_model_of_table_2_and_of_the_rerun_has_a_card() -> None:
    assert set(paper_table(2)["model"]) <= set(CARDS)
    assert set(mteb_scores()["model"]) <= {card.hub_id for card in CARDS.values()}
    assert {name: CARDS[name].hub_id for name in MTEB_MODELS} == MTEB_MODELS


def test_recipes_are_those_of_the_paper() -> None:
    table = paper_table(2).set_index("model")["recipe"]
    assert all(CARDS[name].recipe == recipe for name, recipe in table.items())
    scores = paper_scores()
    for card in CARDS.values():
        assert card.in_paper == (card.name in set(table.index) or card.recipe is not None)
        if card.recipe is not None:
            assert card.recipe in scores.index
            last = Recipe.parse(card.recipe).steps[-1]
            assert (last.interaction is Interaction.COLBERT) == (card.interaction == "colbert")
            assert last.prompts == (card.prompts != "none")
    # The figure with which the authors' announcement links to this model.
    assert scores.loc[CARDS["colbert-zero-noprompts"].recipe, "average"] == pytest.approx(54.61, abs=0.006)


def test_revisions_are_joined_from_the_rerun() -> None:
    evaluated = mteb_scores().groupby("model")["revision"].unique()
    for card in CARDS.values():
        found = set(evaluated.get(card.hub_id, [])) - {"external"}
        assert {card.revision} == (found or {""})
    assert len(CARDS["colbert-zero"].revision) == 40
    assert CARDS["modernbert-embed-supervised"].revision == ""


def test_what_is_not_known_is_empty() -> None:
    assert CARDS["denseon"].vector_dimension is None and CARDS["gte-modernbert"].prompts == ""
    assert CARDS["bm25s"].parameters is None
    assert CARDS["colbert-zero"].parameters == 149 and CARDS["colbert-zero"].vector_dimension == 128


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("ColBERT-Zero,149,colbert", "ColBERT-Zero,149,late", [":11 ", "late", "colbert"]),
        ("ColBERT-Zero,149,colbert", "ColBERT-Zero,149M,colbert", [":11 ", "149M", "parameters_millions"]),
        ("\ncolbert-zero,", "\ncolbert-zero-supervised,", [":11 ", "repeats line 10"]),
        ("licence,link", "license,link", [":1 ", "license", "licence"]),
    ],
)
def test_a_card_that_was_changed_by_mistake_names_the_place(
    published_copy: Path, old: str, new: str, named: list[str]
) -> None:
    file = published_copy / "paper" / "models.csv"
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(DataError) as refused:
        model_cards(published_copy)
    message = str(refused.value)
    assert "models.csv" in message and all(name in message for name in named)
    assert message.endswith(".") and "\n" not in message
