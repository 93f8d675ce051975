"""What a profile is: the scale at which a recipe runs, in data, encoder, budgets, lengths, seeds and evaluation.

Plain data; which profiles there are is in ``profiles``, how a step is trained with one in ``training``.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from colbert_zero_lib.errors import ProfileError, RecipeError
from colbert_zero_lib.recipes import Interaction, Phase, Recipe, Step
from colbert_zero_lib.starts import Start
from colbert_zero_lib.steps import LEARNED

if TYPE_CHECKING:
    from colbert_zero_lib.checkpoint import Checkpoint


@dataclass(frozen=True)
class EncoderShape:
    """A ModernBERT-architecture encoder, trained from nothing on the offline text."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocabulary: int


@dataclass(frozen=True)
class PretrainingBudget:
    """Masked-language-model phase of the base encoder; ``steps`` 0 leaves it random."""

    steps: int
    batch_size: int = 64
    length: int = 96
    learning_rate: float = 2e-3
    mask_probability: float = 0.3


@dataclass(frozen=True)
class PhaseBudget:
    """How long and how one phase trains.

    ``batch_size`` counts queries. ``documents`` is the number of documents that belong to a query: 1 for pairs,
    1 + negatives in the supervised phase, the length of the teacher's list in distillation. ``temperature`` divides
    the score: of the sum over query tokens for ColBERT, of the cosine for dense. Lengths are in tokens, markers
    included, before the extra length of a step is added. ``conversion_learning_rate`` replaces the learning rate when
    the step turns a dense model into a ColBERT one, whose projection is new; None keeps it. ``accumulation`` is the
    number of equal parts in which a batch of distillation is encoded. ``score_range`` min-max scales the teacher's
    scores of each list from 0 to so much, as the student's are from 0 to 1, in place of ``score_scale``; None does
    not. ``kept_bytes`` is the most that activations of a batch may take, where half of the device's memory is too much;
    the rest is computed again. ``measured`` is how many times the development collections are searched during the step,
    which ends where they no longer rise and leaves the best weights (``stopping``); None does neither.
    ``authors_gradient`` and ``authors_padding`` are
    those of ``Contrastive`` and ``Collator``: what PyLate does where it differs from its formulas.
    ``muon_learning_rate`` is that of the encoder's matrices in a step with ``[+muon]``, the learning rate where it is
    None, since Muon's updates are scaled to the size of AdamW's; no other step has one.
    """

    steps: int
    batch_size: int
    learning_rate: float
    query_length: int
    document_length: int
    documents: int = 1
    temperature: float = 1.0
    learned_temperature_steps: int = 0
    mini_batch_tokens: int = 2048
    warmup: float = 0.1
    score_scale: float = 1.0
    conversion_learning_rate: float | None = None
    accumulation: int = 1
    authors_gradient: bool = False
    authors_padding: bool = False
    score_range: float | None = None
    kept_bytes: int | None = None
    muon_learning_rate: float | None = None
    measured: int | None = None


@dataclass(frozen=True)
class EvaluationSize:
    """Which part of the test collections is searched; None keeps everything."""

    max_queries: int | None = None
    max_documents: int | None = None
    query_length: int = 32
    document_length: int = 128


@dataclass(frozen=True)
class Profile:
    """A named scale.

    ``budgets`` maps (phase, interaction) to its budget. ``source`` is ``offline``, ``hub`` or ``folder:PATH``. ``rows``
    is how many rows of the hub's data each phase samples, over all its data sets, None being all; ``test_sets`` and
    ``development_sets`` name the hub's collections, one by one or as ``beir`` and ``nanobeir``. ``encoder`` None opens
    ``base`` from the hub. ``starts`` names published models in place of dense steps that begin a recipe, since the
    paper did not train those either; the longest that fits is taken.
    """

    name: str
    summary: str
    source: str
    encoder: EncoderShape | None
    base: str
    pretraining: PretrainingBudget
    budgets: dict[tuple[Phase, Interaction], PhaseBudget] = field(hash=False)
    evaluation: EvaluationSize
    projection: int = 128
    seeds: tuple[int, ...] = (0,)
    prompts: tuple[str, str] = ("search_query: ", "search_document: ")
    query_expansion: bool = False
    rows: tuple[int | None, ...] = (None, None, None)
    test_sets: tuple[str, ...] = ()
    development_sets: tuple[str, ...] = ()
    starts: dict[tuple[Step, ...], Start] = field(default_factory=dict, hash=False)

    def on(self, source: str) -> Profile:
        """The same scale on other text, ``offline``, ``hub`` or ``folder:PATH``: a profile with a name of its own.

        The name says of what kind the text is, not where it lies: a run's key holds what the text itself is.
        """
        if source == self.source:
            return self
        kind = source.partition(":")[0]
        base = self.base.replace("offline text", f"{kind} text")
        return replace(self, name=f"{self.name}-{kind}", source=source, base=base)

    def begun(self, recipe: Recipe) -> Recipe:
        """The recipe as this profile runs it: from a published model where ``starts`` has one for its first steps.

        A temperature that is the profile's own anyway is left out: it would be a second name of the same training.
        """
        steps = (
            replace(step, temperature=None)
            if (own := self.budgets.get((step.phase, step.interaction)))
            and own.temperature == step.temperature
            else step
            for step in recipe.steps
        )
        recipe = replace(recipe, steps=tuple(steps))
        for count in range(len(recipe) if recipe.start is None else 0, 0, -1):
            if start := self.starts.get(recipe.steps[:count]):
                return replace(recipe, steps=recipe.steps[count:], start=start)
        return recipe

    def whole(self, recipe: Recipe) -> Recipe:
        """The recipe of the paper that ``recipe`` stands for: `begun` the other way round.

        Of several that one start stands for it is the longest that its first step may follow.
        """
        for steps in sorted(self.starts, key=len, reverse=True):
            if recipe.start == self.starts[steps]:
                with suppress(RecipeError):
                    return replace(recipe, steps=steps + recipe.steps, start=None)
        return recipe

    def budget(self, step: Step, before: Step | Checkpoint | None = None) -> PhaseBudget:
        """The budget of a step that follows ``before``; :class:`ProfileError` when this profile has none for it."""
        try:
            budget = self.budgets[(step.phase, step.interaction)]
        except KeyError:
            raise ProfileError(
                f"profile '{self.name}' has no budget for {step.interaction.value}:{step.phase.value};"
                " add one to colbert_zero_lib/profiles.py"
            ) from None
        muon = (budget.muon_learning_rate or budget.learning_rate) if step.muon else None
        budget = replace(budget, muon_learning_rate=muon)
        if step.temperature == LEARNED:
            budget = replace(budget, learned_temperature_steps=budget.steps)
        elif step.temperature is not None:
            budget = replace(budget, temperature=float(step.temperature))
        converts = before is not None and before.interaction not in (None, step.interaction)
        if converts and budget.conversion_learning_rate is not None:
            return replace(budget, learning_rate=budget.conversion_learning_rate)
        return budget

    def settings(self, steps: tuple[Step, ...], before: Step | Checkpoint | None = None) -> dict:
        """Everything in the profile that changes the result of training ``steps`` after ``before`` and measuring it."""
        budgets = {
            f"{step.interaction.value}:{step.phase.value}": _set_fields(self.budget(step, earlier))
            for earlier, step in zip((before, *steps), steps, strict=False)
        }
        return {
            "encoder": asdict(self.encoder) if self.encoder else None,
            "pretraining": asdict(self.pretraining),
            "budgets": budgets,
            "evaluation": asdict(self.evaluation),
            "projection": self.projection,
            "prompts": list(self.prompts),
            "query_expansion": self.query_expansion,
        }


def _set_fields(budget: PhaseBudget) -> dict:
    """The fields that matter: what is None or neutral changes nothing; the learning rate is the one that is used."""
    found = asdict(budget)
    found.pop("conversion_learning_rate")
    return {
        name: value
        for name, value in found.items()
        if value is not None and not (name in _NEUTRAL and value == _NEUTRAL[name])
    }


# Fields that recorded runs did not have yet, with the value that changes nothing.
_NEUTRAL = {"accumulation": 1, "authors_gradient": False, "authors_padding": False}
