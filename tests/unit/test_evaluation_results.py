"""Evaluation: averaging, the file it lives in, and the loop over collections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.errors import DataError, ParameterError, UnknownNameError
from colbert_zero_lib.evaluation import Evaluation, Ranking, evaluate


def frame(rows: list[tuple[str, str, float]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["collection", "query", "ndcg@10"])
    return table.assign(**{"recall@100": 1.0, "mrr@10": 0.25})


@pytest.fixture
def evaluation() -> Evaluation:
    return Evaluation(frame([("b", "1", 0.2), ("b", "2", 0.4), ("b", "3", 0.6), ("a", "1", 1.0)]))


class ByPosition:
    """Ranks the corpus in its own order for every query."""

    def search(self, collection: Collection, k: int = 100) -> Ranking:
        depth = min(k, len(collection.corpus))
        rows = np.tile(np.arange(depth, dtype=np.int32), (len(collection.queries), 1))
        return Ranking(tuple(collection.queries), rows, -rows.astype(np.float32))


def test_the_mean_weighs_collections_equally(evaluation: Evaluation):
    assert evaluation.collections == ("b", "a")
    assert evaluation.metrics()["b"] == pytest.approx({"ndcg@10": 0.4, "recall@100": 1.0, "mrr@10": 0.25})
    assert evaluation.mean() == pytest.approx((0.4 + 1.0) / 2)
    assert evaluation.mean("mrr@10") == 0.25
    assert evaluation.only(["b"]).mean() == pytest.approx(0.4)


def test_the_interval_is_that_of_the_mean_by_students_t(evaluation: Evaluation):
    interval = evaluation.interval()
    assert interval.mean == pytest.approx(evaluation.mean())
    # Collection "a" has one query, so only "b" can move: standard error 0.2 / sqrt(3), t of two degrees 4.3027.
    half = 4.3027 * 0.2 / np.sqrt(3) / 2
    assert (interval.low, interval.high) == pytest.approx((0.7 - half, 0.7 + half), rel=1e-4)


def test_parquet_keeps_every_figure(evaluation: Evaluation, tmp_path: Path):
    evaluation.to_parquet(tmp_path / "new" / "scores.parquet")
    read = Evaluation.from_parquet(tmp_path / "new" / "scores.parquet")
    pd.testing.assert_frame_equal(read.per_query, evaluation.per_query)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["scores.parquet"]


def test_a_damaged_or_missing_file_is_named(evaluation: Evaluation, tmp_path: Path):
    path = tmp_path / "scores.parquet"
    with pytest.raises(DataError, match=r"scores\.parquet"):
        Evaluation.from_parquet(path)
    evaluation.to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"scores\.parquet"):
        Evaluation.from_parquet(path)


def test_figures_that_cannot_be_are_refused():
    with pytest.raises(DataError, match="'1' of collection 'a' appears twice"):
        Evaluation(frame([("a", "1", 0.5), ("a", "1", 0.6)]))
    for wrong in (1.5, -0.1, float("nan")):
        with pytest.raises(DataError, match="between 0 and 1"):
            Evaluation(frame([("a", "1", wrong)]))
    with pytest.raises(DataError, match="'mrr@10'"):
        Evaluation(frame([("a", "1", 0.5)]).drop(columns="mrr@10"))


def test_unknown_metrics_and_collections_are_named(evaluation: Evaluation):
    with pytest.raises(UnknownNameError, match="'ndcg@5'"):
        evaluation.mean("ndcg@5")
    with pytest.raises(UnknownNameError, match="'c'"):
        evaluation.only(["a", "c"])


def test_evaluate_judges_every_query_of_every_collection(toy_collection: Collection):
    other = Collection("other", {"x": "one", "y": "two"}, {"q": "two"}, {"q": {"y": 1}})
    evaluation = evaluate(ByPosition(), {"toy": toy_collection, "other": other})
    assert evaluation.collections == ("toy", "other")
    assert len(evaluation.per_query) == 6
    assert evaluation.scores("mrr@10")["other"].to_dict() == {"q": 0.5}
    # Relevant documents of the toy queries are at ranks 1, 3 (and 4), 5, 9 and 8.
    assert evaluation.scores("mrr@10")["toy"].tolist() == pytest.approx([1, 1 / 3, 1 / 5, 1 / 9, 1 / 8])


def test_evaluate_refuses_an_empty_list():
    with pytest.raises(ParameterError, match="at least one collection"):
        evaluate(ByPosition(), {})
