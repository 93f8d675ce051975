"""What is trained, in which order, with which switches: steps, recipes, the paper's Table 1 and its arms.

Only names and numbers live here; data, models and training are elsewhere and read these.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise
from typing import TypeVar

from .errors import RecipeError


class Phase(str, Enum):
    """A training phase of the paper (section 3), in the order in which they may follow each other."""

    UNSUPERVISED = "unsupervised"
    SUPERVISED = "supervised"
    DISTILLATION = "distillation"


class Interaction(str, Enum):
    """How query and document meet: one mean-pooled vector each, or one vector a token and MaxSim."""

    DENSE = "dense"
    COLBERT = "colbert"


_ORDER = {phase: place for place, phase in enumerate(Phase)}
_SWITCHES = ("-prompts", "-length")
_Name = TypeVar("_Name", Phase, Interaction)
_STEP = re.compile(r"([^\s:\[\]]+)\s*:\s*([^\s:\[\]]+)\s*(?:\[([^\[\]]*)\])?")


def _one_of(kind: str, text: object, allowed: type[_Name]) -> _Name:
    try:
        return allowed(text)
    except ValueError:
        names = ", ".join(member.value for member in allowed)
        raise RecipeError(f"Unknown {kind} {str(text)!r} in a recipe: use one of {names}.") from None


@dataclass(frozen=True)
class Step:
    """One phase of training with its interaction and its two switches.

    ``prompts`` puts ``search_query: `` / ``search_document: `` before the texts; ``extra_length`` adds the
    prompt's length in tokens (7 with ModernBERT's tokenizer) to both maximum lengths (paper, section 4.2).
    """

    interaction: Interaction
    phase: Phase
    prompts: bool = True
    extra_length: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "interaction", _one_of("interaction", self.interaction, Interaction))
        object.__setattr__(self, "phase", _one_of("phase", self.phase, Phase))
        if self.interaction is Interaction.DENSE and self.phase is Phase.DISTILLATION:
            raise RecipeError(
                "A dense distillation step is not part of the paper and has no loss here: "
                "write colbert:distillation instead."
            )

    def __str__(self) -> str:
        kept = (self.prompts, self.extra_length)
        off = [switch for switch, on in zip(_SWITCHES, kept, strict=True) if not on]
        return f"{self.interaction.value}:{self.phase.value}" + (f"[{','.join(off)}]" if off else "")

    @property
    def slug(self) -> str:
        """The step as a piece of a file name, e.g. ``colbert-supervised-noprompts``."""
        off = ("" if self.prompts else "-noprompts") + ("" if self.extra_length else "-nolength")
        return f"{self.interaction.value}-{self.phase.value}{off}"

    @classmethod
    def parse(cls, text: str) -> Step:
        """Read ``interaction:phase`` or ``interaction:phase[-prompts,-length]``; RecipeError otherwise."""
        found = _STEP.fullmatch(text.strip())
        if found is None:
            raise RecipeError(
                f"Cannot read {text.strip()!r} as a step: write interaction:phase with optional switches, "
                "such as colbert:supervised[-prompts,-length]."
            )
        interaction = _one_of("interaction", found[1], Interaction)
        phase = _one_of("phase", found[2], Phase)
        switches = [] if found[3] is None else [part.strip() for part in found[3].split(",")]
        for place, switch in enumerate(switches):
            if switch not in _SWITCHES:
                raise RecipeError(
                    f"Unknown switch {switch!r} in step {text.strip()!r}: use {' or '.join(_SWITCHES)}."
                )
            if switch in switches[:place]:
                raise RecipeError(f"Switch {switch!r} stands twice in step {text.strip()!r}: leave one out.")
        return cls(interaction, phase, "-prompts" not in switches, "-length" not in switches)


@dataclass(frozen=True)
class Recipe:
    """An ordered tuple of steps from the untrained base encoder, and the length at which it is evaluated.

    ``evaluation_extra_length`` is None unless it differs from the last step's ``extra_length`` (one row of
    the paper's Table 4 lengthens at evaluation only); an equal value is stored as None, so that equal recipes
    compare equal. The base encoder itself counts as trained without the extra length.
    """

    steps: tuple[Step, ...] = ()
    evaluation_extra_length: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        for before, after in pairwise(self.steps):
            if _ORDER[after.phase] <= _ORDER[before.phase]:
                raise RecipeError(
                    f"{after} cannot follow {before}: phases go unsupervised, supervised, distillation, "
                    "each at most once."
                )
            if before.interaction is Interaction.COLBERT and after.interaction is Interaction.DENSE:
                raise RecipeError(
                    f"{after} cannot follow {before}: a ColBERT model is not turned back into a dense one, "
                    "so put the dense steps first."
                )
        if self.evaluation_extra_length == self._trained_extra_length:
            object.__setattr__(self, "evaluation_extra_length", None)

    @property
    def _trained_extra_length(self) -> bool:
        return self.steps[-1].extra_length if self.steps else False

    def __str__(self) -> str:
        text = " > ".join(map(str, self.steps)) or "base"
        if self.evaluation_extra_length is None:
            return text
        return f"{text} @ {'+' if self.evaluation_extra_length else '-'}length"

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __bool__(self) -> bool:
        return True  # an empty recipe is still a recipe: the base encoder

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """The recipe that prints as ``text``; blanks are free. RecipeError names the token that is wrong."""
        body, at, end = text.partition("@")
        evaluation: bool | None = None
        if at:
            choices = {"+length": True, "-length": False}
            if end.strip() not in choices:
                raise RecipeError(
                    f"Unknown evaluation switch {end.strip()!r} after '@' in recipe {text.strip()!r}: "
                    "use +length or -length."
                )
            evaluation = choices[end.strip()]
        if body.strip() == "base":
            return cls((), evaluation)
        return cls(tuple(Step.parse(part) for part in body.split(">")), evaluation)

    @property
    def evaluated_with_extra_length(self) -> bool:
        """Whether texts are encoded at the longer maximum length when the recipe is evaluated."""
        chosen = self.evaluation_extra_length
        return self._trained_extra_length if chosen is None else chosen

    @property
    def training(self) -> Recipe:
        """What has to be trained: the recipe without its evaluation length, which changes no weight."""
        return replace(self, evaluation_extra_length=None)

    @property
    def slug(self) -> str:
        """A name safe for files, e.g. ``dense-unsupervised--colbert-supervised-noprompts-nolength``."""
        text = "--".join(step.slug for step in self.steps) or "base"
        if self.evaluation_extra_length is None:
            return text
        return f"{text}--at-{'length' if self.evaluation_extra_length else 'nolength'}"

    def prefixes(self) -> tuple[Recipe, ...]:
        """The trainings it needs, one a step: its first 1, 2, ... n steps, without the evaluation length."""
        return tuple(Recipe(self.steps[: count + 1]) for count in range(len(self.steps)))

    @property
    def colbert_gpu_hours(self) -> float:
        """GH200 hours of its ColBERT steps at the paper's scale (Figure 2 counts no dense step)."""
        return sum(TABLE1[s.phase].gpu_hours for s in self.steps if s.interaction is Interaction.COLBERT)


ZERO = Recipe(())

_DENSE_UNSUPERVISED = Step(Interaction.DENSE, Phase.UNSUPERVISED)
_DENSE_SUPERVISED = Step(Interaction.DENSE, Phase.SUPERVISED)
_COLBERT_UNSUPERVISED = Step(Interaction.COLBERT, Phase.UNSUPERVISED)
_COLBERT_UNSUPERVISED_BARE = Step(Interaction.COLBERT, Phase.UNSUPERVISED, prompts=False, extra_length=False)


def _arm(
    start: tuple[Step, ...],
    phases: tuple[Phase, ...],
    prompts: bool = True,
    extra_length: bool = True,
    evaluation_extra_length: bool | None = None,
) -> Recipe:
    steps = tuple(Step(Interaction.COLBERT, phase, prompts, extra_length) for phase in phases)
    return Recipe(start + steps, evaluation_extra_length)


_SUPERVISED = (Phase.SUPERVISED,)
_DISTILLED = (Phase.SUPERVISED, Phase.DISTILLATION)

PIPELINES: dict[str, Recipe] = {
    "a": _arm((_DENSE_UNSUPERVISED, _DENSE_SUPERVISED), (Phase.DISTILLATION,)),
    "b": _arm((_DENSE_UNSUPERVISED,), _DISTILLED),
    "c": _arm((_COLBERT_UNSUPERVISED,), _DISTILLED),
}


@dataclass(frozen=True)
class PaperPhase:
    """One row of the paper's Table 1, beside the defaults of the training scripts its authors released.

    Lengths are in tokens and include the 7 of the prompt; ``batch_size`` is the effective one in queries;
    ``gpu_hours`` are GH200 hours and ``nodes`` have four GH200 each. The learning rate finally picked on
    NanoBEIR is not printed in the paper: ``released_learning_rate`` is the nearest thing to it.
    """

    phase: Phase
    learning_rate_low: float
    learning_rate_high: float
    learning_rates_tried: int
    batch_size: int
    temperature: float | None
    query_length: int
    document_length: int
    gpu_hours: float
    nodes: int
    released_learning_rate: float
    released_temperature: float | None
    note: str = ""

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """The values swept, from low to high, evenly spaced in the logarithm."""
        ratio = self.learning_rate_high / self.learning_rate_low
        last = self.learning_rates_tried - 1
        inner = (self.learning_rate_low * ratio ** (place / last) for place in range(1, last))
        return (self.learning_rate_low, *inner, self.learning_rate_high)


PROMPT_TOKENS = 7  # of either prompt, with ModernBERT's tokenizer; other tokenizers differ and are counted

TABLE1: dict[Phase, PaperPhase] = {
    Phase.UNSUPERVISED: PaperPhase(
        Phase.UNSUPERVISED, 1e-5, 3e-3, 10, 16_384, 0.2, 39, 187, 368, 8, 3e-4, 0.02,
        "The paper prints temperature 0.2, the released script defaults to 0.02: ten times sharper.",
    ),
    Phase.SUPERVISED: PaperPhase(
        Phase.SUPERVISED, 8e-8, 2e-5, 10, 64, 0.2, 39, 519, 32, 1, 8e-6, 0.2,
        "Paper and released script agree on temperature 0.2.",
    ),
    Phase.DISTILLATION: PaperPhase(
        Phase.DISTILLATION, 1e-7, 1e-3, 10, 128, None, 39, 519, 8, 1, 4e-6, None,
        "The batch of 128 is 64 accumulated twice; the loss takes no temperature.",
    ),
}  # fmt: skip


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
    yield "moderncolbert-embed-base-supervised", PIPELINES["b"].prefixes()[1]
    yield "moderncolbert-embed-base", PIPELINES["b"]
    yield "colbert-zero-unsupervised", PIPELINES["c"].prefixes()[0]
    yield "colbert-zero-supervised", PIPELINES["c"].prefixes()[1]
    yield "colbert-zero", PIPELINES["c"]


def _table3() -> Iterator[tuple[str, Recipe]]:
    # Table 3 prints only prompts; its values are those of Table 4's rows with both switches on or both off.
    bases = (
        ("modernbert-embed-unsupervised", _DENSE_UNSUPERVISED, (True, False)),
        ("colbert-zero-unsupervised", _COLBERT_UNSUPERVISED, (True, False)),
        ("colbert-zero-unsupervised without prompts", _COLBERT_UNSUPERVISED_BARE, (True, False)),
    )
    for name, base, finetunings in bases:
        yield name, Recipe((base,))
        for both in finetunings:
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


def find_recipe(text: str) -> Recipe:
    """The recipe that ``text`` means: a pipeline of Figure 2 (``a``, ``b``, ``c``) or the printed grammar."""
    return PIPELINES.get(text.strip().lower()) or Recipe.parse(text)


def pipeline_of(recipe: Recipe) -> str | None:
    """The letter of the pipeline (Figure 2) that ``recipe`` is, or None."""
    return next((letter for letter, known in PIPELINES.items() if known == recipe), None)


def paper_rows(recipe: Recipe, table: int | None = None) -> tuple[PaperRow, ...]:
    """Every printed row that ``recipe`` answers, in the order of the tables; only ``table``'s if given."""
    return tuple(row for row in PAPER_ROWS if row.recipe == recipe and table in (None, row.table))
