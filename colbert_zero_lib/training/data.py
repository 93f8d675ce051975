"""The rows that each phase trains on: pairs, queries with mined negatives, queries with scored lists.

Texts come from ``corpora``; tokens, batches and losses are elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from datasets import Dataset, DatasetDict

from colbert_zero_lib.corpora import UNSUPERVISED_SOURCES
from colbert_zero_lib.errors import TrainingError
from colbert_zero_lib.recipes import Phase, Step

if TYPE_CHECKING:
    from colbert_zero_lib.corpora import OfflineCorpora
    from colbert_zero_lib.corpora.teacher import TeacherLists
    from colbert_zero_lib.profiles import PhaseBudget


def step_data(
    step: Step,
    budget: PhaseBudget,
    corpora: OfflineCorpora,
    lists: TeacherLists | None = None,
    seed: int = 0,
) -> Dataset | DatasetDict:
    """Training rows of a step.

    Unsupervised: one split per source, columns ``query``, ``document``. Supervised: one split per source, columns
    ``query``, ``positive``, ``negative_0`` ... (``budget.documents - 1`` of them). Distillation: columns ``query``,
    ``documents`` (a list of ``budget.documents`` texts) and ``scores`` (the teacher's, in the same order).
    """
    if step.phase is Phase.UNSUPERVISED:
        return DatasetDict(
            {
                name: corpora.training[name].select_columns(["query", "document"])
                for name in UNSUPERVISED_SOURCES
            }
        )
    if lists is None:
        raise TrainingError(
            f"{step} needs mined negatives and teacher scores; make them with 'colbert-zero data teach'"
        )
    if step.phase is Phase.SUPERVISED:
        return supervised_rows(lists, budget.documents - 1)
    return distillation_rows(
        lists, budget.documents, budget.score_scale, budget.steps * budget.batch_size, seed
    )


def supervised_rows(lists: TeacherLists, negatives: int) -> DatasetDict:
    """Queries that have at least ``negatives`` mined hard negatives, one split per source.

    The hardest negatives come first; a query with fewer than asked for is left out, as in the authors' script.
    """
    splits = {}
    for source in lists.sources:
        queries: list[str] = []
        positives: list[str] = []
        columns: list[list[str]] = [[] for _ in range(negatives)]
        for row in lists.rows(source):
            hard = lists.negatives(row)[:negatives]
            if len(hard) < negatives:
                continue
            queries.append(lists.query(row))
            positives.append(lists.document(row))
            for column, document in zip(columns, hard, strict=True):
                column.append(lists.document(document))
        texts = {f"negative_{place}": column for place, column in enumerate(columns)}
        splits[source] = Dataset.from_dict({"query": queries, "positive": positives, **texts})
    return DatasetDict(splits)


def distillation_rows(
    lists: TeacherLists, documents: int, scale: float, wanted: int | None = None, seed: int = 0
) -> Dataset:
    """Queries with ``documents`` of their candidates and the teacher's scores times ``scale``.

    Candidates keep the order in which they are stored: the known positive, then by the teacher's score, spread over the
    list's whole range when fewer are asked for than there are, so that easy documents are seen as well as hard ones.
    At most ``wanted`` queries are drawn under ``seed``: no more text is unfolded than the step will read.
    """
    queries: list[str] = []
    texts: list[list[str]] = []
    scores: list[list[float]] = []
    for row in np.random.default_rng(seed).permutation(len(lists)):
        if len(queries) == wanted:
            break
        candidates, values = lists.candidates(row)
        if len(candidates) < documents:
            continue
        keep = np.unique(np.linspace(0, len(candidates) - 1, documents).round().astype(int))
        queries.append(lists.query(row))
        texts.append([lists.document(candidates[place]) for place in keep])
        scores.append([float(values[place]) * scale for place in keep])
    return Dataset.from_dict({"query": queries, "documents": texts, "scores": scores})
