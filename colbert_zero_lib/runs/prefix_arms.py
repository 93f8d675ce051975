"""The arms that tell content, slots and budget of the prompts apart: they differ only in what stands before texts.

Recipes and their labels; what a prefix is in tokens is in ``prompts``, and no run is started here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..prefixes import NO_PREFIX, PROMPTS, SIZED_KINDS, TRAINED_KINDS, Prefix
from ..recipes import PIPELINES, Interaction, Phase, Recipe, Step

# Where supervised fine-tuning of a ColBERT model begins in pipelines b and c.
STARTS = tuple(PIPELINES[letter].prefixes()[0] for letter in "bc")
SLOTS = (1, 2, 4, 7, 14, 28)


class PrefixArm(NamedTuple):
    """A recipe, what its last step puts before texts in words, and what stands there at evaluation if not the same."""

    label: str
    evaluated: str
    recipe: Recipe

    @property
    def matched(self) -> bool:
        """Whether it is evaluated as it was trained."""
        return self.recipe.trains

    def __str__(self) -> str:
        return self.label if self.matched else f"{self.label}, evaluated with {self.evaluated}"


_WORDS = {
    "none": "nothing",
    "prompts": "the prompts",
    "random": "random words",
    "learned": "learned tokens",
    "mask": "[MASK] tokens",
    "swapped": "the prompts swapped",
    "same": "the query prompt on both sides",
    "context": "the prompts as context only",
}


def prefix_label(prefix: Prefix) -> str:
    """What the prefix is in words, e.g. ``14 learned tokens``."""
    words = _WORDS[prefix.kind]
    if prefix.tokens is None:
        return words
    return f"{prefix.tokens} {words.removesuffix('s') if prefix.tokens == 1 else words}"


def prefix_arms(
    start: Recipe = STARTS[0],
    phase: Phase = Phase.SUPERVISED,
    slots: Sequence[int] = SLOTS,
    mismatched: bool = True,
) -> tuple[PrefixArm, ...]:
    """The arms of the study: ``start``, then one ColBERT step of ``phase`` under each prefix.

    First nothing, nothing with the extra length, the prompts, and every other prefix with as many tokens as the
    prompts take; then random words, learned tokens and ``[MASK]`` in each number of ``slots``. Each arm but the first
    has the extra length of its own prefix. With ``mismatched``, each is followed by what the same weights score, at the
    same lengths, with nothing and with the prompts before the texts. RecipeError when ``phase`` cannot follow
    ``start``.
    """
    return tuple(_arms(start, Step(Interaction.COLBERT, phase), slots, mismatched))


def _arms(start: Recipe, step: Step, slots: Sequence[int], mismatched: bool) -> Iterator[PrefixArm]:
    bare = Step(step.interaction, step.phase, prompts=False, extra_length=False)
    longer = Step(step.interaction, step.phase, prompts=False)
    arms = [("nothing", bare), ("nothing, extra length", longer), (prefix_label(PROMPTS), step)]
    others = [Prefix(kind) for kind in TRAINED_KINDS]
    others += [Prefix(kind, count) for kind in SIZED_KINDS for count in slots]
    arms += [(prefix_label(prefix), step.under(prefix)) for prefix in others]
    for label, last in arms:
        trained = (*start.steps, last)
        yield PrefixArm(label, prefix_label(last.prepended), Recipe(trained))
        for prefix in (NO_PREFIX, PROMPTS) if mismatched else ():
            if prefix != last.prepended:
                yield PrefixArm(label, prefix_label(prefix), Recipe(trained, evaluation_prefix=prefix))
