"""What may stand before texts in place of the paper's prompts, as a name: kinds, sizes and how they are written.

Names only; the tokens behind a name need a tokenizer and are in ``prompts``.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import RecipeError

SIZED_KINDS = ("random", "learned", "mask")
TRAINED_KINDS = (*SIZED_KINDS, "swapped", "same", "context")
EVALUATED_KINDS = ("none", "prompts", *TRAINED_KINDS)
MOST_TOKENS = 64
SWITCH = "prefix="


@dataclass(frozen=True)
class Prefix:
    """What is prepended to queries and documents.

    ``random``: words of the vocabulary, fixed once, others for queries than for documents. ``learned``: new tokens
    with rows of their own. ``mask``: ``[MASK]`` tokens, attended to. ``swapped``: the document prompt before queries
    and the query prompt before documents. ``same``: the query prompt before both. ``context``: the prompts, attended
    to but left out of MaxSim. ``none`` and ``prompts`` say at evaluation what ``[-prompts]`` and nothing say of a step.

    ``tokens`` is the number on either side, 1 to 64, for the first three; None takes as many as the prompts would.
    """

    kind: str
    tokens: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in EVALUATED_KINDS:
            raise RecipeError(
                f"Unknown prefix {self.kind!r} in a recipe: use one of {', '.join(TRAINED_KINDS)}."
            )
        if self.tokens is None:
            return
        if self.kind not in SIZED_KINDS:
            raise RecipeError(
                f"Prefix {self.kind!r} takes no number of tokens, only {', '.join(SIZED_KINDS)} do: "
                f"write {SWITCH}{self.kind}."
            )
        if not 1 <= self.tokens <= MOST_TOKENS:
            raise RecipeError(
                f"Prefix {self.kind!r} cannot have {self.tokens} tokens: write a number from 1 to {MOST_TOKENS}."
            )

    def __str__(self) -> str:
        return self.kind if self.tokens is None else f"{self.kind}/{self.tokens}"

    @property
    def slug(self) -> str:
        """The prefix as a piece of a file name, e.g. ``random14``."""
        return str(self).replace("/", "")

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """Read ``kind`` or ``kind/tokens``; RecipeError otherwise."""
        kind, slash, tokens = text.partition("/")
        if not slash:
            return cls(kind)
        if not (tokens.isascii() and tokens.isdecimal() and len(tokens) < 9):
            raise RecipeError(
                f"Cannot read {tokens!r} as the number of tokens in {SWITCH}{text}: write one from 1 to {MOST_TOKENS}."
            )
        return cls(kind, int(tokens))


NO_PREFIX = Prefix("none")
PROMPTS = Prefix("prompts")
