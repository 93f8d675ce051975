"""The printed rows of the paper's Tables 2, 3 and 4, and the recipe behind each.

Which recipe a row is, and nothing about its figures; steps, recipes and pipelines are in ``recipes``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .recipes import PIPELINES, Interaction, Phase, Recipe, Step

_DENSE_UNSUPERVISED = Step(Interaction.DENSE, Phase.UNSUPERVISED)
_DENSE_SUPERVISED = Step(Interaction.DENSE, Phase.SUPERVISED)
_COLBERT_UNSUPERVISED = Step(Interaction.COLBERT, Phase.UNSUPERVISED)
_COLBERT_UNSUPERVISED_BARE = Step(Interaction.COLBERT, Phase.UNSUPERVISED, prompts=False, extra_length=False)
_SUPERVISED = (Phase.SUPERVISED,)
_DISTILLED = (Phase.SUPERVISED, Phase.DISTILLATION)


def _arm(
    start: tuple[Step, ...],
    phases: tuple[Phase, ...],
    prompts: bool = True,
    extra_length: bool = True,
    evaluation_extra_length: bool | None = None,
) -> Recipe:
    steps = tuple(Step(Interaction.COLBERT, phase, prompts, extra_length) for phase in phases)
    return Recipe(start + steps, evaluation_extra_length)


@dataclass(frozen=True)
class PaperRow:
    """A printed row: its table, its 0-based row in that table's CSV, its name, and the recipe behind it.

    ``recipe`` is None for models that others trained by other means (the GTE family).
    """

    table: int
    row: int
    model: str
    recipe: Recipe | None


def _switches(prompts: bool, extra_length: bool) -> str:
    return f"{'+' if prompts else '-'}prompts {'+' if extra_length else '-'}length"


def _table2() -> Iterator[tuple[str, Recipe | None]]:
    yield "modernbert-embed-unsupervised", Recipe((_DENSE_UNSUPERVISED,))
    yield "modernbert-embed-supervised", Recipe((_DENSE_UNSUPERVISED, _DENSE_SUPERVISED))
    yield "gte-moderncolbert", None
    yield "gte-modernbert", None
    yield "moderncolbert-embed-base-kd-only", PIPELINES["a"]
    yield "moderncolbert-embed-base-supervised", PIPELINES["b"].stages()[1]
    yield "moderncolbert-embed-base", PIPELINES["b"]
    yield "colbert-zero-unsupervised", PIPELINES["c"].stages()[0]
    yield "colbert-zero-supervised", PIPELINES["c"].stages()[1]
    yield "colbert-zero", PIPELINES["c"]


def _table3() -> Iterator[tuple[str, Recipe]]:
    # Table 3 prints only prompts; its values are those of Table 4's rows with both switches on or both off.
    bases = (
        ("modernbert-embed-unsupervised", _DENSE_UNSUPERVISED),
        ("colbert-zero-unsupervised", _COLBERT_UNSUPERVISED),
        ("colbert-zero-unsupervised without prompts", _COLBERT_UNSUPERVISED_BARE),
    )
    for name, base in bases:
        yield name, Recipe((base,))
        for both in (True, False):
            yield f"{name}, supervised + kd {_switches(both, both)}", _arm((base,), _DISTILLED, both, both)


def _table4() -> Iterator[tuple[str, Recipe]]:
    grid = ((False, False), (True, False), (False, True), (True, True))
    dense = (_DENSE_UNSUPERVISED, _DENSE_SUPERVISED)
    for on in grid:
        yield f"kd from dense supervised {_switches(*on)}", _arm(dense, (Phase.DISTILLATION,), *on)
    for name, base in (("dense", _DENSE_UNSUPERVISED), ("colbert", _COLBERT_UNSUPERVISED)):
        for stage, phases in (("supervised", _SUPERVISED), ("supervised + kd", _DISTILLED)):
            for on in grid:
                yield f"{stage} from {name} unsupervised {_switches(*on)}", _arm((base,), phases, *on)
    bare = (_COLBERT_UNSUPERVISED_BARE,)
    for stage, phases in (("supervised", _SUPERVISED), ("supervised + kd", _DISTILLED)):
        name = f"{stage} from colbert unsupervised without prompts"
        yield f"{name} -prompts -length", _arm(bare, phases, False, False)
        if phases is _DISTILLED:
            yield f"{name} -prompts +length at evaluation only", _arm(bare, phases, False, False, True)
        yield f"{name} +prompts +length", _arm(bare, phases)


PAPER_ROWS: tuple[PaperRow, ...] = tuple(
    PaperRow(table, row, model, recipe)
    for table, rows in ((2, _table2()), (3, _table3()), (4, _table4()))
    for row, (model, recipe) in enumerate(rows)
)


def paper_rows(recipe: Recipe) -> tuple[PaperRow, ...]:
    """Every printed row that ``recipe`` answers, in the order of the tables."""
    return tuple(row for row in PAPER_ROWS if row.recipe == recipe)
