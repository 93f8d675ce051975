"""What the parts of the kit have in common: a trial, and how it may end."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Outcome(str, Enum):
    """How a trial ended; only the first two are as they should be."""

    SURVIVED = "survived"  # the right result, at once or made anew
    REFUSED = "refused"  # one sentence that names the place and the mend, exit 2
    LOST = "lost"  # something that was finished is gone
    WRONG = "silently wrong"  # another result than the undamaged one, without a word
    FOREIGN = "foreign traceback"  # exit 70, a traceback, or an exception that is no ColbertZeroError
    LITTER = "litter"  # files or processes that nobody needs and nobody takes away
    HUNG = "hung"


class Trial(NamedTuple):
    """One fault that was injected, and what came of it."""

    kit: str  # kills, damages, disk, crowds, fuzz, soak
    kind: str  # what was hit: "checkpoint", "built text", "recorded run", ...
    what: str  # how: "flip", "truncate", "SIGKILL parent", ...
    outcome: Outcome
    detail: str  # how to repeat it: seed, file, offset; the sentence that came
    count: int = 1  # fuzz: how many inputs it stands for
