"""The rows that a step trains on, from whatever source its profile has.

Texts come from ``corpora``; tokens, batches and losses are elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from colbert_zero_lib.corpora.sources import sampling, taught_by
from colbert_zero_lib.recipes import Phase, Step

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from colbert_zero_lib.corpora.sources import Source
    from colbert_zero_lib.profiles import PhaseBudget


def step_data(step: Step, budget: PhaseBudget, source: Source, seed: int = 0) -> Dataset | DatasetDict:
    """Training rows of a step.

    Unsupervised: one split per data set, columns ``query``, ``document``. Supervised: one split per data set, columns
    ``query``, ``positive``, ``negative_0`` ... (``budget.documents - 1`` of them at most; drawn under ``seed`` where
    the step samples them). Distillation: columns
    ``query``, ``documents`` (a list of ``budget.documents`` texts) and ``scores`` (the teacher's, in the same order).
    """
    if step.phase is Phase.UNSUPERVISED:
        return source.pairs()
    if step.phase is Phase.SUPERVISED:
        return (sampling(source, seed) if step.sampled else source).triples(budget.documents - 1)
    source = taught_by(source, step.teacher)
    return source.scored(budget.documents, budget.score_scale, budget.steps * budget.batch_size, seed)
