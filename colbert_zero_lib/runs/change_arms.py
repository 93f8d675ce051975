"""Arms that change one thing of a training: what LateOn did otherwise than ColBERT-Zero, and the temperature.

Recipes and their labels; nothing is run or judged here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from ..recipes import PIPELINES, ZERO, Recipe
from ..steps import LEARNED, Interaction, Phase, Step


class ChangeArm(NamedTuple):
    """A training and what it is held against: ``base`` in words, ``change`` in words, and both recipes or a mark."""

    base: str
    change: str
    recipe: Recipe
    less: Recipe | str


def _with(recipe: Recipe, **switches: object) -> Recipe:
    return replace(recipe, steps=tuple(replace(step, **switches) for step in recipe.steps))  # type: ignore[arg-type]


def lateon_arms() -> tuple[ChangeArm, ...]:
    """Both contrastive phases as ColBERT-Zero has them, with each change of LateOn (LightOn, 2026) and with all.

    LateOn has no distillation. The head stands in the first step, which makes the projection; negatives are of the
    second, drawn below .95 of the positive's score (.99 there); Muon is of the ablations of mxbai-edge-colbert
    (arXiv 2510.14880).
    """
    base = PIPELINES["c"].first(2)
    first, second = base.steps
    headed, sampled = replace(first, head=True), replace(second, sampled=True)
    changes = {
        "two-layer residual head": Recipe((headed, second)),
        "Muon": _with(base, muon=True),
        "negatives sampled below the threshold": Recipe((first, sampled)),
        "no prompts, no extra length": _with(base, prompts=False, extra_length=False),
        "all four": _with(Recipe((headed, sampled)), muon=True, prompts=False, extra_length=False),
    }
    words = "ColBERT unsupervised and supervised"
    return tuple(ChangeArm(words, change, recipe, base) for change, recipe in changes.items())


def dense_arms() -> tuple[ChangeArm, ...]:
    """What to make of a dense model that is there: the paper's pipelines (a) and (b), and what prompts do to it.

    For a profile whose dense phases others trained, such as ``minilm``, without prompts. The teacher is the best on
    development: ensemble and cross-encoder together.
    """

    def bare(step: Step) -> Step:
        if step.interaction is Interaction.DENSE:
            return step
        teacher = "both" if step.phase is Phase.DISTILLATION else None
        return replace(step, prompts=False, extra_length=False, teacher=teacher)

    kd, both = (Recipe(tuple(map(bare, PIPELINES[letter]))) for letter in "ab")
    supervised = both.first(2)
    return (
        ChangeArm("the dense start", "supervised alone", supervised, ZERO),
        ChangeArm("the dense start", "distillation alone: (a)", kd, ZERO),
        ChangeArm("the dense start", "supervised, then distillation: (b)", both, ZERO),
        ChangeArm("supervised alone", "distillation after it: (b)", both, supervised),
        ChangeArm("distillation alone: (a)", "supervised before it: (b)", both, kd),
        ChangeArm("supervised alone", "prompts and their length", PIPELINES["b"].first(2), supervised),
    )


def temperature_arms() -> tuple[ChangeArm, ...]:
    """.02, .2 and a learned temperature in either contrastive phase, dense and ColBERT, each less the profile's own.

    The paper learned it first, then fixed it; Table 1 prints .2 for both phases, the released script takes .02 for the
    first. Supervised steps follow an unsupervised one of their kind under the profile's own temperature.
    """
    contrastive, found = (Phase.UNSUPERVISED, Phase.SUPERVISED), []
    for interaction in Interaction:
        for place, phase in enumerate(contrastive):
            path = tuple(Step(interaction, each) for each in contrastive[: place + 1])
            words = f"{'ColBERT' if interaction is Interaction.COLBERT else 'dense'} {phase.value}"
            for value in (0.02, 0.2, LEARNED):
                last = replace(path[-1], temperature=value)
                found.append(ChangeArm(words, str(value), Recipe((*path[:-1], last)), Recipe(path)))
    return tuple(found)
