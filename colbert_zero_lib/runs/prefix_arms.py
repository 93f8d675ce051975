"""The arms that tell content, slots and budget of the prompts apart: they differ only in what stands before texts.

Recipes and their labels; what a prefix is in tokens is in ``prompts``, and no run is started here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from ..prefixes import NO_PREFIX, PROMPTS, SIZED_KINDS, TRAINED_KINDS, Prefix
from ..recipes import PIPELINES, Interaction, Phase, Recipe, Step

# Where supervised fine-tuning of a ColBERT model begins in pipelines b and c.
STARTS = tuple(PIPELINES[letter].stages()[0] for letter in "bc")
SLOTS = (1, 2, 4, 7, 14, 28)
CONTEXT = Prefix("context")


class PrefixArm(NamedTuple):
    """A recipe, what its last step puts before texts in words, and what stands there at evaluation if not the same."""

    label: str
    evaluated: str
    recipe: Recipe

    @property
    def matched(self) -> bool:
        """Whether it is evaluated as it was trained."""
        return self.recipe.trains


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
    slots: Sequence[int] = SLOTS,
    mismatched: bool = True,
    prompts: tuple[int, int] | None = None,
) -> tuple[PrefixArm, ...]:
    """The arms of the study: ``start``, then a supervised ColBERT step under each prefix.

    First nothing, nothing with the extra length, the prompts, and every other prefix with as many tokens as the
    prompts take; then random words, learned tokens and ``[MASK]`` in each number of ``slots``. Each arm but the first
    has the extra length of its own prefix. With ``mismatched``, each is followed by what the same weights score, at the
    same lengths, with nothing and with the prompts before the texts, and the prompts by what is left of theirs when
    MaxSim does not see them. Where the tokens that the ``prompts`` take are
    known (`in_default_size`), an arm that would stand there twice does so once. RecipeError when the step cannot follow
    ``start``.
    """
    found: dict[Recipe, PrefixArm] = {}
    for arm in _arms(start, slots, mismatched):
        recipe = in_default_size(arm.recipe, prompts)
        found.setdefault(recipe, arm._replace(recipe=recipe))
    return tuple(found.values())


def expansion_arms(start: Recipe) -> dict[tuple[bool, bool, bool], Recipe]:
    """``start``, then a supervised ColBERT step under every (prompts, extra length, query expansion), by these."""
    return {
        (prompts, longer, expansion): Recipe(
            (*start.steps, Step(Interaction.COLBERT, Phase.SUPERVISED, prompts, longer, None, expansion))
        )
        for prompts, longer, expansion in product((False, True), repeat=3)
    }


def in_default_size(recipe: Recipe, prompts: tuple[int, int] | None) -> Recipe:
    """The same recipe with each prefix that has as many tokens as the prompts take written without a number.

    ``prompts``: the tokens of the (query, document) prompts, None where there is no tokenizer yet. ``random/4`` and
    ``random`` are one training where both prompts take 4 tokens, and two names of it. A recipe with a start of its own
    has other prompts, perhaps, and stays as it is.
    """
    if recipe.start is not None or prompts is None:
        return recipe

    def of(prefix: Prefix | None) -> Prefix | None:
        same = prefix is not None and prefix.tokens is not None and (prefix.tokens,) * 2 == prompts
        return Prefix(prefix.kind) if prefix is not None and same else prefix

    steps = tuple(replace(step, prefix=of(step.prefix)) for step in recipe.steps)
    return replace(recipe, steps=steps, evaluation_prefix=of(recipe.evaluation_prefix))


def has_sizes(recipes: Iterable[Recipe]) -> bool:
    """Whether some prefix of the recipes names its number of tokens, so that it may be another one's double."""
    return any(
        prefix is not None and prefix.tokens is not None
        for recipe in recipes
        for prefix in (recipe.evaluation_prefix, *(step.prefix for step in recipe.steps))
    )


def _arms(start: Recipe, slots: Sequence[int], mismatched: bool) -> Iterator[PrefixArm]:
    step = Step(Interaction.COLBERT, Phase.SUPERVISED)
    longer = replace(step, prompts=False)
    bare = replace(longer, extra_length=False)
    arms = [("nothing", bare), ("nothing, extra length", longer), (prefix_label(PROMPTS), step)]
    others = [Prefix(kind) for kind in TRAINED_KINDS]
    others += [Prefix(kind, count) for kind in SIZED_KINDS for count in slots]
    arms += [(prefix_label(prefix), step.under(prefix)) for prefix in others]
    for label, last in arms:
        trained = (*start.steps, last)
        yield PrefixArm(label, prefix_label(last.prepended), Recipe(trained))
        instead = (NO_PREFIX, PROMPTS, *((CONTEXT,) if last.prepended == PROMPTS else ()))
        for prefix in instead if mismatched else ():
            if prefix != last.prepended:
                yield PrefixArm(label, prefix_label(prefix), Recipe(trained, evaluation_prefix=prefix))
