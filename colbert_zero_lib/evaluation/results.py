"""Evaluation of one retriever on several collections: per-query figures, their means, and their file.

Intervals and tests are computed in `statistics`; searching is the retriever's business.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from colbert_zero_lib.errors import DataError, ParameterError, UnknownNameError
from colbert_zero_lib.keeping import replacing

from .metrics import METRICS, score_ranking
from .ranking import rank
from .statistics import Interval, over_collections, paired_scores, tested

if TYPE_CHECKING:
    from colbert_zero_lib.corpora import Collection

    from .ranking import Retriever

COLUMNS = ("collection", "query", *METRICS)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a retriever reached on every query.

    ``per_query`` has the columns collection, query, ndcg@10, recall@100, mrr@10, one row per judged query.
    """

    per_query: pd.DataFrame

    def __post_init__(self) -> None:
        missing = [column for column in COLUMNS if column not in self.per_query.columns]
        if missing:
            raise DataError(f"an evaluation needs the column {missing[0]!r}: evaluate again.")
        # Column by column: frames are selected from and cast several times as slowly, and a grid has hundreds.
        try:
            values = {metric: self.per_query[metric].astype(float).to_numpy() for metric in METRICS}
        except (ValueError, TypeError, OverflowError):
            raise DataError("an evaluation needs figures that are numbers: evaluate again.") from None
        names = {name: self.per_query[name].astype(str).array for name in ("collection", "query")}
        frame = pd.DataFrame({**names, **values})
        twice = frame.duplicated(["collection", "query"])
        if twice.any():
            first = frame[twice].iloc[0]
            raise DataError(
                f"query {first['query']!r} of collection {first['collection']!r} appears twice in an evaluation: "
                "keep one row."
            )
        if not len(frame) or not all(((of >= 0) & (of <= 1)).all() for of in values.values()):
            raise DataError("an evaluation needs queries and figures between 0 and 1: evaluate again.")
        object.__setattr__(self, "per_query", frame)

    @property
    def collections(self) -> tuple[str, ...]:
        """The names of the collections, in the order they were evaluated."""
        return tuple(dict.fromkeys(self.per_query["collection"]))

    def scores(self, metric: str = "ndcg@10") -> dict[str, pd.Series]:
        """Each collection's figures of one metric, indexed by query."""
        if metric not in METRICS:
            raise UnknownNameError(f"no metric is called {metric!r}: choose one of {', '.join(METRICS)}.")
        return {name: group[metric] for name, group in self._by_collection.items()}

    @cached_property
    def _by_collection(self) -> dict[str, pd.DataFrame]:
        # Kept: one arm is compared with many.
        groups = self.per_query.set_index("query").groupby("collection", sort=False)
        return {str(name): group for name, group in groups}

    def metrics(self) -> dict[str, dict[str, float]]:
        """Mean of every metric over the queries of each collection."""
        means = self.per_query.groupby("collection", sort=False)[list(METRICS)].mean()
        return {
            str(name): {metric: float(row[metric]) for metric in METRICS} for name, row in means.iterrows()
        }

    def mean(self, metric: str = "ndcg@10") -> float:
        """Unweighted mean over collections, as BEIR averages: a small collection counts as much as a large one.

        The forums of CQADupstack count as one collection.
        """
        means = {name: series.mean() for name, series in self.scores(metric).items()}
        return float(over_collections(np.array(list(means.values())), list(means)))

    def interval(self, metric: str = "ndcg@10") -> Interval:
        """Interval of `mean` over queries; of other trainings of the same recipe it knows nothing."""
        found = tested({name: values.to_numpy()[None] for name, values in self.scores(metric).items()})
        return Interval(found.value / 100, found.low / 100, found.high / 100)

    def only(self, names: Iterable[str]) -> Evaluation:
        """The same evaluation on some of its collections."""
        wanted = list(names)
        for name in wanted:
            if name not in self.collections:
                raise UnknownNameError(
                    f"collection {name!r} was not evaluated: choose among {', '.join(self.collections)}."
                )
        return Evaluation(self.per_query[self.per_query["collection"].isin(wanted)])

    def to_parquet(self, path: Path | str) -> None:
        """Write the per-query figures; the file appears complete or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as neighbour:
            self.per_query.to_parquet(neighbour, index=False)

    @staticmethod
    def from_parquet(path: Path | str) -> Evaluation:
        """Read what `to_parquet` wrote."""
        try:
            return Evaluation(pd.read_parquet(path))
        except FileNotFoundError:
            raise DataError(f"there is no evaluation at {path}: evaluate the model first.") from None
        except (OSError, ValueError, DataError) as error:
            raise DataError(
                f"{path} is no readable evaluation ({error}): remove it, evaluate again."
            ) from error


class Difference(NamedTuple):
    """How far A is above B, with its interval and the p-value of no difference; unweighted over collections, 0 to 1."""

    delta: float
    low: float
    high: float
    p: float


def difference(
    a: Evaluation | Sequence[Evaluation],
    b: Evaluation | Sequence[Evaluation],
    metric: str = "ndcg@10",
) -> Difference:
    """A less B, paired by query and, with one evaluation a seed on each side, by seed: see `mean_test`.

    Of single evaluations it speaks of queries alone: whether these weights are better, not whether their recipe is.
    """
    found = tested(paired_scores([(1.0, a), (-1.0, b)], metric))
    return Difference(found.value / 100, found.low / 100, found.high / 100, found.p)


def by_collection(evaluations: Evaluation | Sequence[Evaluation], metric: str = "ndcg@10") -> pd.DataFrame:
    """Each collection's mean, over seeds if there are several, with its interval: mean, low, high (0 to 1)."""
    scores = paired_scores([(1.0, evaluations)], metric)
    tests = [tested({name: matrix}) for name, matrix in scores.items()]
    rows = [(test.value / 100, test.low / 100, test.high / 100) for test in tests]
    return pd.DataFrame(rows, index=pd.Index(scores, name="collection"), columns=["mean", "low", "high"])


def evaluate(
    retriever: Retriever, collections: Mapping[str, Collection], progress: bool = False
) -> Evaluation:
    """Search every collection with ``retriever``, 100 documents a query, and judge the rankings.

    ``progress`` shows a bar over collections. Queries without a relevant document are searched but not judged.
    """
    from tqdm.auto import tqdm

    if not collections:
        raise ParameterError("there is nothing to evaluate on: pass at least one collection.")
    frames = []
    for name, collection in tqdm(collections.items(), desc="collections", disable=not progress, leave=False):
        scored = score_ranking(rank(retriever, collection), collection)
        scored.insert(0, "collection", name)
        frames.append(scored)
    return Evaluation(pd.concat(frames, ignore_index=True))


def collection_digest(collection: Collection) -> str:
    """Hash of everything in a collection that a figure depends on, order included (it breaks ties)."""
    texts = [list(collection.corpus.items()), list(collection.queries.items())]
    content: list[Any] = [
        *texts,
        {query: dict(grades) for query, grades in collection.qrels.items()},
        METRICS,
    ]
    if collection.identical_ids_out:
        content.append("identical ids out")
    digest = hashlib.sha256()
    # In pieces: the corpus may fill half of the memory.
    for piece in json.JSONEncoder(sort_keys=True).iterencode(content):
        digest.update(piece.encode())
    return digest.hexdigest()
