"""What is trained, in which order, with which switches: recipes, pipelines and the paper's Table 1.

Only names and numbers live here; data, models and training are elsewhere and read these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from .errors import RecipeError
from .prefixes import EVALUATED_KINDS, SWITCH, Prefix
from .starts import FROM, Start, read_start
from .steps import Interaction, Phase, Step

_ORDER = {phase: place for place, phase in enumerate(Phase)}


@dataclass(frozen=True)
class Recipe:
    """An ordered tuple of steps, what they begin from, and the length and prefix under which the result is evaluated.

    ``start`` None is the profile's own base encoder. Which phases another start has been through is not known here:
    the order of phases is checked among the steps alone. Without steps the recipe is the start itself, evaluated as
    its files say.

    ``evaluation_extra_length`` is None unless it differs from the last step's ``extra_length`` (one row of
    the paper's Table 4 lengthens at evaluation only); an equal value is stored as None, so that equal recipes
    compare equal. The base encoder itself counts as trained without the extra length. ``evaluation_prefix`` is None
    unless something else stands before texts at evaluation than in the last step; lengths stay those of that step.
    ``evaluation_expansion`` says likewise whether queries are expanded at evaluation.
    """

    steps: tuple[Step, ...] = ()
    evaluation_extra_length: bool | None = None
    evaluation_prefix: Prefix | None = None
    start: Start | None = None
    evaluation_expansion: bool | None = None

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
            if after.head and before.interaction is Interaction.COLBERT:
                raise RecipeError(
                    f"{after} cannot follow {before}, which has a projection already: write +head there."
                )
        # What a start has of its own is in its files, so that no switch is known to change nothing.
        if self.steps or self.start is None:
            if self.evaluation_extra_length == self._last_step.extra_length:
                object.__setattr__(self, "evaluation_extra_length", None)
            if self.evaluation_prefix == self._last_step.prepended:
                object.__setattr__(self, "evaluation_prefix", None)
            if self.evaluation_expansion == self._last_step.expansion:
                object.__setattr__(self, "evaluation_expansion", None)
        prefix = self.evaluation_prefix
        if prefix and prefix.kind == "learned" and prefix not in [step.prefix for step in self.steps]:
            raise RecipeError(
                f"No step of the recipe learns {SWITCH}{prefix}, so it cannot be evaluated under it: "
                "train it in a step."
            )
        if prefix:
            self._last_step.under(prefix)  # refuses what the step cannot have
        if self.evaluation_expansion:
            replace(self._last_step, expansion=True)

    @property
    def _last_step(self) -> Step:
        return self.steps[-1] if self.steps else _UNTRAINED

    def __str__(self) -> str:
        begin = [f"{FROM} {self.start}"] if self.start else []
        text = " > ".join([*begin, *map(str, self.steps)]) or "base"
        switches = []
        if self.evaluation_extra_length is not None:
            switches.append(f"{'+' if self.evaluation_extra_length else '-'}length")
        if self.evaluation_prefix is not None:
            switches.append(f"{SWITCH}{self.evaluation_prefix}")
        if self.evaluation_expansion is not None:
            switches.append(f"{'+' if self.evaluation_expansion else '-'}expansion")
        return f"{text} @ {' '.join(switches)}" if switches else text

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __bool__(self) -> bool:
        return True  # an empty recipe is still a recipe: the base encoder

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """The recipe that prints as ``text``; blanks are free. RecipeError names the token that is wrong."""
        start, rest = read_start(text)
        body, at, end = rest.partition("@")
        evaluation = _evaluation(end, text.strip()) if at else {}
        body = body.strip()
        if body == ("" if start else "base"):
            return cls((), **evaluation, start=start)
        steps = body.removeprefix(">") if start else body
        return cls(tuple(Step.parse(part) for part in steps.split(">")), **evaluation, start=start)

    @property
    def evaluated_step(self) -> Step:
        """The last step as its model is opened for evaluation: under the evaluation's length, prefix and expansion.

        The untrained base is looked at as a late-interaction model.
        """
        step = self.measured_step
        return step if self.evaluation_prefix is None else step.under(self.evaluation_prefix)

    @property
    def measured_step(self) -> Step:
        """The last step under the evaluation's length, counted in tokens of the trained prefix, and expansion."""
        step, longer, expansion = self._last_step, self.evaluation_extra_length, self.evaluation_expansion
        return replace(
            step,
            extra_length=step.extra_length if longer is None else longer,
            expansion=step.expansion if expansion is None else expansion,
        )

    @property
    def training(self) -> Recipe:
        """What has to be trained: the recipe without the switches of its evaluation, which change no weight."""
        return Recipe(self.steps, start=self.start)

    @property
    def trains(self) -> bool:
        """False when it only measures the weights of ``training`` again, under other switches."""
        return self == self.training

    @property
    def slug(self) -> str:
        """A name safe for files, e.g. ``dense-unsupervised--colbert-supervised-noprompts-nolength``."""
        begin = [self.start.slug] if self.start else []
        text = "--".join([*begin, *(step.slug for step in self.steps)]) or "base"
        if self.evaluation_extra_length is not None:
            text += f"--at-{'length' if self.evaluation_extra_length else 'nolength'}"
        if self.evaluation_prefix is not None:
            text += f"--at-prefix-{self.evaluation_prefix.slug}"
        if self.evaluation_expansion is not None:
            text += f"--at-{'expansion' if self.evaluation_expansion else 'noexpansion'}"
        return text

    def stages(self) -> tuple[Recipe, ...]:
        """The trainings it needs, one a step: its first 1, 2, ... n steps, without the evaluation's switches."""
        return tuple(self.first(count + 1) for count in range(len(self.steps)))

    def first(self, steps: int) -> Recipe:
        """Its first so many steps from the same start, without the evaluation's switches."""
        return Recipe(self.steps[:steps], start=self.start)

    @property
    def colbert_gpu_hours(self) -> float:
        """GH200 hours of its ColBERT steps at the paper's scale (Figure 2 counts no dense step)."""
        return sum(TABLE1[s.phase].gpu_hours for s in self.steps if s.interaction is Interaction.COLBERT)


def _evaluation(text: str, recipe: str) -> dict[str, Any]:
    """The evaluation's switches, as arguments of Recipe."""
    found: dict[str, Any] = {}
    names = {"length": "evaluation_extra_length", "expansion": "evaluation_expansion"}
    for switch in text.split() or [""]:
        prefix, name = switch.startswith(SWITCH), names.get(switch[1:]) if switch[:1] in ("+", "-") else None
        if name is None and not prefix:
            raise RecipeError(
                f"Unknown evaluation switch {switch!r} after '@' in recipe {recipe!r}: use +length, -length, "
                f"+expansion, -expansion or {SWITCH}{EVALUATED_KINDS[0]}."
            )
        name = name or "evaluation_prefix"
        if name in found:
            raise RecipeError(
                f"Evaluation switch {switch!r} comes after another of its kind in recipe {recipe!r}: leave one out."
            )
        found[name] = Prefix.parse(switch.removeprefix(SWITCH)) if prefix else switch[0] == "+"
    return found


_UNTRAINED = Step(Interaction.COLBERT, Phase.UNSUPERVISED, prompts=False, extra_length=False)
ZERO = Recipe(())

_DENSE_UNSUPERVISED = Step(Interaction.DENSE, Phase.UNSUPERVISED)
_SUPERVISED = Step(Interaction.COLBERT, Phase.SUPERVISED)
_DISTILLATION = Step(Interaction.COLBERT, Phase.DISTILLATION)

PIPELINES: dict[str, Recipe] = {
    "a": Recipe((_DENSE_UNSUPERVISED, Step(Interaction.DENSE, Phase.SUPERVISED), _DISTILLATION)),
    "b": Recipe((_DENSE_UNSUPERVISED, _SUPERVISED, _DISTILLATION)),
    "c": Recipe((Step(Interaction.COLBERT, Phase.UNSUPERVISED), _SUPERVISED, _DISTILLATION)),
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


def find_recipe(text: str) -> Recipe:
    """The recipe that ``text`` means: a pipeline of Figure 2 (``a``, ``b``, ``c``) or the printed grammar."""
    name = text.strip().lower()
    if name.isalnum() and name not in (*PIPELINES, "base", FROM):
        raise RecipeError(
            f"There is no pipeline {text.strip()!r}: choose {', '.join(PIPELINES)} or base, or write steps such as "
            "'dense:unsupervised > colbert:supervised[-prompts]'."
        )
    return PIPELINES.get(name) or Recipe.parse(text)


def pipeline_of(recipe: Recipe) -> str | None:
    """The letter of the pipeline (Figure 2) that ``recipe`` is, or None."""
    return next((letter for letter, known in PIPELINES.items() if known == recipe), None)
