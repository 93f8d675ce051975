"""One step of training: its phase, its interaction and its switches, and how they are written.

What steps make together is in ``recipes``; data, models and training are elsewhere and read these.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeVar

from .errors import ParameterError, RecipeError
from .prefixes import NO_PREFIX, PROMPTS, SWITCH, TRAINED_KINDS, Prefix

TEACHER, TEMPERATURE = "teacher=", "temperature="
LEARNED = "learned"
TEACHERS = CROSS_ENCODER, BOTH = "cross-encoder", "both"


class Phase(str, Enum):
    """A training phase of the paper (section 3), in the order in which they may follow each other."""

    UNSUPERVISED = "unsupervised"
    SUPERVISED = "supervised"
    DISTILLATION = "distillation"


class Interaction(str, Enum):
    """How query and document meet: one mean-pooled vector each, or one vector a token and MaxSim."""

    DENSE = "dense"
    COLBERT = "colbert"


MOST_SEED = 2**32 - 1  # what every generator of random numbers in use takes


def check_seed(seed: int) -> int:
    """``seed`` if it is a whole number from 0 to `MOST_SEED`; ParameterError otherwise."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MOST_SEED:
        raise ParameterError(f"A seed is a whole number from 0 to {MOST_SEED}, not {_shown(seed)}.")
    return seed


def _shown(seed: object) -> str:
    return "one of thousands of digits" if isinstance(seed, int) and abs(seed) >= 10**40 else repr(seed)


# As they are written, and the field of Step that each turns off (-) or on (+).
_SWITCHES = {
    "-prompts": "prompts",
    "-length": "extra_length",
    "+expansion": "expansion",
    "+head": "head",
    "+muon": "muon",
    "+sampled": "sampled",
}
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
    """One phase of training with its interaction and its switches.

    ``prompts`` puts ``search_query: `` / ``search_document: `` before the texts, or ``prefix`` in their place;
    ``extra_length`` adds its length in tokens (the prompts take 7 with ModernBERT's tokenizer) to both maximum lengths
    (paper, section 4.2). ``expansion`` fills queries up with ``[MASK]`` that MaxSim scores though nothing attends to it
    (PyLate's default; off here as in the paper, whose FlashAttention gives such slots no vector: section 3.2).
    ``teacher`` names whose scores a distillation step learns from where it is not the source's
    own: those of a cross-encoder, or the mean of both.

    What the field changed after the paper: ``head`` projects through two wider residual layers (``models.add_head``),
    ``muon`` trains the encoder's matrices with Muon and the rest with AdamW, ``sampled`` draws the mined negatives at
    random where otherwise the hardest are taken. ``temperature`` stands in place of the profile's own: a number, or
    ``learned`` from that on.
    """

    interaction: Interaction
    phase: Phase
    prompts: bool = True
    extra_length: bool = True
    prefix: Prefix | None = None
    expansion: bool = False
    teacher: str | None = None
    head: bool = False
    muon: bool = False
    sampled: bool = False
    temperature: float | str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "interaction", _one_of("interaction", self.interaction, Interaction))
        object.__setattr__(self, "phase", _one_of("phase", self.phase, Phase))
        if self.interaction is Interaction.DENSE and self.phase is Phase.DISTILLATION:
            raise RecipeError(
                "A dense distillation step is not part of the paper and has no loss here: "
                "write colbert:distillation instead."
            )
        if self.interaction is Interaction.DENSE and self.expansion:
            raise RecipeError(
                "+expansion adds vectors for MaxSim, which a dense step does not have: use it on a colbert step."
            )
        if self.teacher not in (None, *TEACHERS):
            raise RecipeError(
                f"Unknown teacher {self.teacher!r} in a recipe: use one of {', '.join(TEACHERS)}."
            )
        if self.teacher and self.phase is not Phase.DISTILLATION:
            raise RecipeError(f"A {self.phase.value} step has no teacher: leave {TEACHER}{self.teacher} out.")
        if self.head and self.interaction is Interaction.DENSE:
            raise RecipeError(
                "+head is how a colbert step projects its tokens: a dense step has no projection."
            )
        if self.sampled and self.phase is not Phase.SUPERVISED:
            raise RecipeError(f"A {self.phase.value} step has no mined negatives: leave +sampled out.")
        self._check_temperature()
        if self.prefix is None:
            return
        if self.prefix.kind not in TRAINED_KINDS:
            raise RecipeError(
                f"Prefix {self.prefix.kind!r} is written for evaluation only: a step has the prompts unless "
                "-prompts takes them away."
            )
        if not self.prompts:
            raise RecipeError(
                f"Prefix {str(self.prefix)!r} stands in the prompts' place: leave -prompts out."
            )
        if self.interaction is Interaction.DENSE and self.prefix.kind == "context":
            raise RecipeError(
                "Prefix 'context' leaves tokens out of MaxSim, which a dense step does not have: "
                "use it on a colbert step."
            )

    def _check_temperature(self) -> None:
        value = self.temperature
        if value is None or (value == LEARNED and self.phase is not Phase.DISTILLATION):
            return
        if self.phase is Phase.DISTILLATION:
            raise RecipeError(
                f"Distillation takes no temperature (paper, Table 1): leave {TEMPERATURE}{value} out."
            )
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            raise RecipeError(
                f"Cannot read {value!r} as a temperature: write a number above 0 or {TEMPERATURE}{LEARNED}."
            )
        object.__setattr__(self, "temperature", number)

    def __str__(self) -> str:
        named = {SWITCH: self.prefix, TEACHER: self.teacher, TEMPERATURE: self.temperature}
        switches = self._switches() + [f"{name}{value}" for name, value in named.items() if value is not None]
        shown = f"[{','.join(switches)}]" if switches else ""
        return f"{self.interaction.value}:{self.phase.value}{shown}"

    def _switches(self) -> list[str]:
        return [switch for switch, name in _SWITCHES.items() if getattr(self, name) == (switch[0] == "+")]

    @property
    def slug(self) -> str:
        """The step as a piece of a file name, e.g. ``colbert-supervised-noprompts``."""
        parts = [self.interaction.value, self.phase.value]
        parts += [("no" if switch[0] == "-" else "") + switch[1:] for switch in self._switches()]
        parts += [] if self.prefix is None else [self.prefix.slug]
        parts += [] if self.teacher is None else [self.teacher]
        return "-".join(parts + ([] if self.temperature is None else [f"temperature{self.temperature}"]))

    @property
    def is_of_the_paper(self) -> bool:
        """Whether nothing but prompts, lengths, query expansion and the teacher is switched."""
        changed = self.head or self.muon or self.sampled
        return self.prefix is None and self.temperature is None and not changed

    @property
    def prepended(self) -> Prefix:
        """What stands before its texts, ``none`` and ``prompts`` included."""
        return (self.prefix or PROMPTS) if self.prompts else NO_PREFIX

    def under(self, prefix: Prefix) -> Step:
        """The same step with ``prefix`` before its texts."""
        other = None if prefix in (NO_PREFIX, PROMPTS) else prefix
        return replace(self, prompts=prefix != NO_PREFIX, prefix=other)

    @classmethod
    def parse(cls, text: str) -> Step:
        """Read ``interaction:phase`` or ``interaction:phase[-length,prefix=random/14]``; RecipeError otherwise."""
        found = _STEP.fullmatch(text.strip())
        if found is None:
            raise RecipeError(
                f"Cannot read {text.strip()!r} as a step: write interaction:phase with optional switches, "
                "such as colbert:supervised[-prompts,-length]."
            )
        interaction = _one_of("interaction", found[1], Interaction)
        phase = _one_of("phase", found[2], Phase)
        switches = [] if found[3] is None else [part.strip() for part in found[3].split(",")]
        named: dict[str, str] = {}
        for place, switch in enumerate(switches):
            name, equals, value = switch.partition("=")
            if switch not in _SWITCHES and name + equals not in (SWITCH, TEACHER, TEMPERATURE):
                raise RecipeError(
                    f"Unknown switch {switch!r} in step {text.strip()!r}: use {', '.join(_SWITCHES)}, "
                    f"{SWITCH}{TRAINED_KINDS[0]}, {TEACHER}{TEACHERS[0]} or {TEMPERATURE}{LEARNED}."
                )
            if switch in switches[:place] or name in named:
                raise RecipeError(f"Switch {switch!r} stands twice in step {text.strip()!r}: leave one out.")
            if equals:
                named[name] = value
        prefix = Prefix.parse(named["prefix"]) if "prefix" in named else None
        chosen: dict[str, Any] = {
            _SWITCHES[switch]: switch[0] == "+" for switch in switches if switch in _SWITCHES
        }
        chosen |= {name: named.get(name) for name in ("teacher", "temperature")}
        return cls(interaction, phase, prefix=prefix, **chosen)
