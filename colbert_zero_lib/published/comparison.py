"""What is compared: weighted sums of arms, and what must hold of them for a claim to stand.

The paper's own claims are in ``claims``; where figures come from, and what they say, is the business of ``verdicts``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..errors import ParameterError

Relation = Literal[">", "<", "about"]
Measure = Literal["nDCG@10", "GH200 hours"]
_SPELLING = {"colbert": "ColBERT", "gte": "GTE", "kd": "KD", "pretraining": "pre-training"}


@dataclass(frozen=True)
class Clause:
    """One comparison: the weighted sum of arms' figures, held against a threshold.

    ``arms``: (arm, weight) pairs; an arm is a printed recipe, or the name in Table 2 of a model that others trained.
    ``relation``: ``>`` and ``<`` ask for that side of ``threshold``, in points of nDCG@10 (or hours), ``about`` for a
    distance from zero of at most that; at another scale than the paper's ``>`` and ``<`` are asked of zero. A ratio is
    written without a division: "b keeps 99.4 % of c" is ``b - 0.994 c > 0``. ParameterError where nothing is compared.
    """

    arms: tuple[tuple[str, float], ...]
    relation: Relation = ">"
    threshold: float = 0.0
    label: str = ""
    measure: Measure = "nDCG@10"

    def __post_init__(self) -> None:
        names = [arm for arm, _ in self.arms]
        if not names or len(set(names)) < len(names) or not all(weight for _, weight in self.arms):
            raise ParameterError(
                f"A clause on {names} compares nothing: name each arm once, with a weight other than 0."
            )
        finite = all(map(math.isfinite, (self.threshold, *self.weights.values())))
        known = self.relation in ("<", ">") or (self.relation == "about" and self.threshold >= 0)
        if not finite or not known:
            raise ParameterError(
                f"A clause cannot ask for {self.relation} {self.threshold}: use '>', '<' or 'about' and numbers."
            )

    @property
    def weights(self) -> dict[str, float]:
        """Each arm's weight."""
        return dict(self.arms)

    def bound(self, full_scale: bool) -> float:
        """The threshold that is asked for at the paper's scale, or at another one."""
        return self.threshold if full_scale or self.relation == "about" else 0.0

    def holds(self, value: float, full_scale: bool = True) -> bool:
        """Whether a weighted sum of ``value`` satisfies the clause."""
        bound = self.bound(full_scale)
        if self.relation == "about":
            return abs(value) <= bound
        return value > bound if self.relation == ">" else value < bound

    def asked(self, full_scale: bool = True) -> str:
        """What is asked of the weighted sum, for print: ``> +1.30``, ``within ±0.31``."""
        bound = self.bound(full_scale)
        if self.relation == "about":
            return f"within ±{bound:.2f}"
        return f"{self.relation} {bound:+.2f}" if bound else f"{self.relation} 0"


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, in our words, as clauses that must all hold.

    ``section``: where the paper has it; ``refuted_by``: what a reader would have to see to drop it.
    """

    id: str
    text: str
    section: str
    refuted_by: str
    clauses: tuple[Clause, ...]

    def __post_init__(self) -> None:
        if not self.clauses:
            raise ParameterError(f"Claim {self.id!r} has no clause: say what must hold.")

    @property
    def title(self) -> str:
        """The id in words, for the rows of a figure."""
        return " ".join(_SPELLING.get(word, word) for word in self.id.split("-"))
