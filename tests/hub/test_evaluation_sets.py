"""BEIR and NanoBEIR from a hub of small repositories with their true names: what is read, and what is said without."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from colbert_zero_lib.corpora.evaluation_sets import SETS, evaluation_set, expand, parts
from colbert_zero_lib.errors import DataError, HubError, UnknownNameError
from tests.hub.fixtures import use_hub
from tests.hub.server import Server, commit


def test_there_are_fifteen_and_thirteen_sets_and_twelve_forums() -> None:
    assert (len(expand("beir")), len(expand("nanobeir"))) == (15, 13)
    assert len(parts("beir/cqadupstack")) == 12
    assert expand("NanoBEIR/scifact") == parts("nanobeir/SciFact") == ("nanobeir/SciFact",)
    assert len(SETS) == 14 + 12 + 13
    with pytest.raises(UnknownNameError, match="beir/scifact"):
        expand("beir/sifact")
    for several in ("beir", "beir/cqadupstack"):
        with pytest.raises(DataError, match="several collections"):
            evaluation_set(several)


def test_the_tasks_are_those_of_the_published_scores() -> None:
    import pandas as pd

    from colbert_zero_lib.home import data_folder

    published = pd.read_csv(data_folder() / "mteb" / "beir_scores.csv")
    splits = {entry.task: entry.split for name, entry in SETS.items() if name.startswith("beir/")}
    known = dict(zip(published["task"], published["split"], strict=True))
    assert splits == {task: split for task, split in known.items() if task != "CQADupstackRetrieval"}


def test_sets_of_the_hub_are_read_by_beirs_rules(hub: Server) -> None:
    scifact = evaluation_set("beir/scifact")
    assert scifact.revision == commit(hub.root / "datasets/BeIR/scifact")
    assert (len(scifact.corpus), len(scifact.queries), scifact.identical_ids_out) == (40, 5, False)
    assert set(scifact.queries) == {f"test-{n}" for n in range(5)}
    assert all(sorted(grades.values()) == [0, 1, 2] for grades in scifact.qrels.values())
    assert len(scifact.corpus["1000"].split()) == 22  # title and text
    marco = evaluation_set("beir/msmarco")
    assert (marco.split, "dev-0" in marco.queries) == ("dev", True)
    arguana = evaluation_set("beir/arguana")
    assert arguana.identical_ids_out and set(arguana.queries) <= set(arguana.corpus)
    (note,) = evaluation_set("beir/nfcorpus").notes
    assert note.startswith("beir/nfcorpus: 1 judged document is missing and kept")
    forum = evaluation_set("beir/cqadupstack/gis")
    assert sorted(forum.qrels["test-0"].values()) == [0, 1, 2]
    nano = evaluation_set("nanobeir/SciFact")
    assert all(list(grades.values()) == [1] for grades in nano.qrels.values())


def test_a_filled_cache_answers_offline(hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("beir/scifact", "nanobeir/NQ", "beir/cqadupstack/tex")
    before = [evaluation_set(name) for name in names]
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf", offline=True)
    assert [evaluation_set(name) for name in names] == before
    with pytest.raises(HubError, match="BeIR/nfcorpus .* is not in .* HF_HUB_OFFLINE"):
        evaluation_set("beir/nfcorpus")


def test_without_a_network_one_sentence_comes_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf")
    started = time.perf_counter()
    with pytest.raises(HubError, match="BeIR/scifact could not be had from http://127.0.0.1:9") as caught:
        evaluation_set("beir/scifact")
    assert time.perf_counter() - started < 10
    assert "\n" not in str(caught.value)
