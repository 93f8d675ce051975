"""The paper's data sets, read over HTTP from a loopback hub: rows, columns, samples, interruptions, fingerprints."""

from __future__ import annotations

import shutil
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_zero_lib.corpora import hub as hub_source
from colbert_zero_lib.corpora.forecast import forecast
from colbert_zero_lib.corpora.hub import HubSource, published_rows, shares
from colbert_zero_lib.corpora.sources import open_source
from colbert_zero_lib.errors import DataError, HubError, ProfileError
from colbert_zero_lib.profiles import Profile, get_profile
from colbert_zero_lib.recipes import Phase
from tests.hub.fixtures import use_hub
from tests.hub.server import Server
from tests.hub.stock import NEGATIVES, card, parquet

PAIRS, TRIPLES, LISTS = (
    f"datasets/{name}"
    for name in (hub_source.UNSUPERVISED_DATA, hub_source.SUPERVISED_DATA, hub_source.DISTILLATION_DATA)
)


def scale(batch: int = 8, rows: tuple[int | None, int | None, int | None] = (None, None, None)) -> Profile:
    """The base profile at another batch and sample, with nothing to search."""
    base = replace(get_profile("base"), test_sets=(), development_sets=())
    return replace(
        base, rows=rows, budgets={key: replace(each, batch_size=batch) for key, each in base.budgets.items()}
    )


def source(home: Path, profile: Profile | None = None) -> HubSource:
    found = open_source(profile or scale(), home, progress=False)
    assert isinstance(found, HubSource)
    return found


def only(monkeypatch: pytest.MonkeyPatch, phase: Phase, *names: str) -> None:
    """Fewer data sets, for what does not need them all."""
    monkeypatch.setitem(published_rows(), phase, {name: published_rows()[phase][name] for name in names})


def stored(root: Path, folder: str, split: str) -> pa.Table:
    files = sorted((root / folder).glob(f"data/{split}-*.parquet"))
    return pa.concat_tables([pq.read_table(file) for file in files])


# Rows and columns


def test_pairs_are_29_data_sets_with_every_row(hub: Server, tmp_path: Path) -> None:
    found = source(tmp_path).pairs()
    assert list(found) == list(published_rows()[Phase.UNSUPERVISED])
    for split in ("reddit_title_body", "squad"):
        assert found[split].column_names == ["query", "document"]
        assert (
            found[split].to_dict() == stored(hub.root, PAIRS, split).select(["query", "document"]).to_pydict()
        )


def test_triples_have_the_negatives_of_the_shortest_row_and_lose_no_row(hub: Server, tmp_path: Path) -> None:
    ten, eleven = source(tmp_path).triples(10), source(tmp_path).triples(11)
    assert list(ten) == list(published_rows()[Phase.SUPERVISED])
    for split, shortest in NEGATIVES.items():
        table = stored(hub.root, TRIPLES, split)
        assert ten[split]["query"][:] == table.column("query").to_pylist()
        for found, most in ((ten[split], 10), (eleven[split], 11)):
            count = min(shortest, most)
            assert found.column_names == ["query", "positive", *(f"negative_{n}" for n in range(count))]
            columns = [found[f"negative_{n}"][:] for n in range(count)]
            assert list(map(list, zip(*columns, strict=True))) == [
                row[:count] for row in table.column("negative").to_pylist()
            ]


def test_lists_are_joined_as_pylate_joins_them(hub: Server, tmp_path: Path) -> None:
    from datasets import load_dataset
    from pylate.utils import KDProcessing

    ours = source(tmp_path).scored(20, 2.0, 10_000, seed=0)
    parts = {
        name: load_dataset(hub_source.DISTILLATION_DATA, name, split="train")
        for name in ("train", "queries", "documents")
    }
    join = KDProcessing(queries=parts["queries"], documents=parts["documents"], n_ways=20).transform
    theirs = parts["train"].with_transform(join)
    assert len(ours) == len(theirs) == 500 and ours.column_names == ["query", "documents", "scores"]
    for place in (0, 7, 499):
        row, same = theirs[place], ours[place]
        assert (same["query"], same["documents"]) == (row["query"], row["documents"])
        assert same["scores"] == [2 * score for score in row["scores"]]
    drawn = source(tmp_path).scored(32, 1.0, 50, seed=1)
    assert len(drawn) == 50 and drawn[:]["query"] != source(tmp_path).scored(32, 1.0, 50, seed=2)[:]["query"]


def test_a_row_without_negatives_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, Phase.SUPERVISED, "reddit_triples")
    rows = [{"query": "q", "document": "d", "negative": ["n"] * n, "dataset": "x"} for n in (2, 0, 1)]
    parquet(rows, tmp_path / "hub" / TRIPLES / "data/reddit_triples-00000-of-00001.parquet")
    server = Server(tmp_path / "hub")
    use_hub(monkeypatch, server.address, tmp_path / "hf")
    with pytest.warns(UserWarning, match="reddit_triples of .* have a row without negatives"):
        found = source(tmp_path / "home", scale(batch=3)).triples(10)["reddit_triples"]
    server.close()
    assert found.to_dict() == {"query": ["q"] * 3, "positive": ["d"] * 3}


def small_lists(root: Path, train: list[dict], text: pa.DataType) -> None:
    folder = root / LISTS
    for name, key in (("queries", "query_id"), ("documents", "document_id")):
        table = pa.table({key: range(10), "text": pa.array([f"{name} {n}" for n in range(10)], text)})
        (folder / name).mkdir(parents=True)
        pq.write_table(table, folder / name / "train-00000-of-00001.parquet", row_group_size=3)
    parquet(train, folder / "train" / "train-00000-of-00001.parquet")
    card(folder, {name: {"train": f"{name}/*"} for name in ("train", "queries", "documents")})


def test_passages_that_need_long_offsets_are_never_made_one_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = [{"query_id": 3, "document_ids": "[9, 0]", "scores": "[0.9, 0.1]"}] * 2
    small_lists(tmp_path / "hub", train, pa.large_string())
    server = Server(tmp_path / "hub")
    use_hub(monkeypatch, server.address, tmp_path / "hf")
    monkeypatch.setattr("colbert_zero_lib.corpora.hub_files.BATCH_ROWS", 4)
    found = source(tmp_path / "home").scored(2, 1.0, 10, seed=0)
    server.close()
    row = {"query": "queries 3", "documents": ["documents 9", "documents 0"], "scores": [0.9, 0.1]}
    assert found[:] == {key: [value] * 2 for key, value in row.items()}
    texts = found.format["format_kwargs"]["transform"].texts
    assert texts.features["text"].dtype == "large_string"
    assert texts.data.column("text").num_chunks > 2  # in the pieces that they came in


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"document_ids": "[3, 99]", "scores": "[1, 2]"}, "document_id 99 of the subset train has no text"),
        ({"document_ids": "[3, 4]", "scores": "[1]"}, "query 3 has 2 documents and 1 scores"),
        ({"document_ids": "[3]", "scores": "[1]"}, "no list has 2 documents, the longest has 1"),
    ],
)
def test_lists_that_do_not_fit_together_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: dict, sentence: str
) -> None:
    small_lists(tmp_path / "hub", [{"query_id": 3, **row}], pa.string())
    server = Server(tmp_path / "hub")
    use_hub(monkeypatch, server.address, tmp_path / "hf")
    with pytest.raises(DataError, match=sentence):
        source(tmp_path / "home").scored(2, 1.0, 10, seed=0)
    server.close()


def test_a_foreign_schema_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, Phase.UNSUPERVISED, "squad")
    parquet([{"question": "a"}], tmp_path / "hub" / PAIRS / "data/squad-00000-of-00001.parquet")
    server = Server(tmp_path / "hub")
    use_hub(monkeypatch, server.address, tmp_path / "hf")
    with pytest.raises(DataError, match="Split squad of .* has no column 'query' but question"):
        source(tmp_path / "home").pairs()
    server.close()


# Samples


def test_a_sample_of_the_hub_is_whole_batches_of_every_data_set() -> None:
    pairs = source(Path(), get_profile("base")).rows(Phase.UNSUPERVISED)
    assert sum(pairs.values()) == 500 * 2048 and all(rows and rows % 2048 == 0 for rows in pairs.values())
    assert pairs["reddit_title_body"] == pytest.approx(66_204_599 / 238_998_494 * 500 * 2048, rel=0.03)
    assert sum(source(Path(), get_profile("paper")).rows(Phase.UNSUPERVISED).values()) == 238_998_494


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 500), min_size=1),
    st.integers(1, 3000),
    st.integers(1, 40),
)
def test_shares_fill_batches_and_never_ask_for_more_than_there_is(sizes: dict, rows: int, batch: int) -> None:
    if rows < min(batch, sum(sizes.values())):
        with pytest.raises(ProfileError, match="do not fill one batch"):
            shares(sizes, rows, batch)
        return
    found = shares(sizes, rows, batch)
    if rows >= sum(sizes.values()):
        assert set(found.values()) == {None}
        return
    assert all(given % batch == 0 and given <= sizes[name] for name, given in found.items())
    assert sum(found.values()) == batch * min(rows // batch, sum(size // batch for size in sizes.values()))


def in_groups(root: Path, folder: str, split: str) -> None:
    """Two files of ten row groups each."""
    for part in range(2):
        numbers = range(100 * part, 100 * part + 100)
        table = pa.table({"query": [f"q{n}" for n in numbers], "document": [f"d{n}" for n in numbers]})
        file = root / folder / f"data/{split}-{part:05d}-of-00002.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, file, row_group_size=10)


def test_a_sample_is_the_same_everywhere_and_spread_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(published_rows(), Phase.UNSUPERVISED, {"squad": 200})
    in_groups(tmp_path / "hub", PAIRS, "squad")
    server = Server(tmp_path / "hub")
    use_hub(monkeypatch, server.address, tmp_path / "hf")
    small = scale(batch=12, rows=(36, None, None))
    one, other = (source(tmp_path / home, small).pairs()["squad"][:] for home in ("one", "other"))
    server.close()
    numbers = [int(query[1:]) for query in one["query"]]
    assert one == other and len(set(numbers)) == 36
    assert one["document"] == [f"d{number}" for number in numbers]
    groups = [number // 10 for number in numbers]
    assert sorted(map(groups.count, set(groups))) == [6, 10, 10, 10] and groups != sorted(groups)


def test_what_cannot_fill_a_batch_is_said_once(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, Phase.UNSUPERVISED, "paq", "squad", "quora")
    with pytest.warns(
        UserWarning, match=r"2 of 3 .* of 64 .* never drawn: squad \(60\), quora \(60\)"
    ) as said:
        source(tmp_path, scale(batch=64)).pairs()
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source(tmp_path, scale(batch=60)).pairs()


# Interruptions, fingerprints, networks


def test_a_broken_download_goes_on_with_the_rest(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, Phase.UNSUPERVISED, "squad", "reddit_title_body", "altlex")
    hub.broken = "reddit_title_body-00001"
    with pytest.raises(HubError, match=r"nomic-ai/nomic-embed-unsupervised-data could not be had") as caught:
        source(tmp_path).pairs()
    assert "\n" not in str(caught.value)
    hub.broken, before = "", len(hub.asked)
    found = source(tmp_path).pairs()
    asked = " ".join(hub.asked[before:])
    assert {name: len(split) for name, split in found.items()} == {
        "squad": 60,
        "reddit_title_body": 400,
        "altlex": 60,
    }
    assert "reddit_title_body-00001" in asked and "altlex-00000" in asked
    assert "squad-00000" not in asked and "reddit_title_body-00000" not in asked
    before = len(hub.asked)
    source(tmp_path).pairs()
    assert not any(".parquet" in request for request in hub.asked[before:])


def test_the_fingerprint_is_what_the_rows_are(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = source(tmp_path / "one").fingerprint
    assert not any(".parquet" in request for request in hub.asked)
    assert source(tmp_path / "two").fingerprint == once
    assert source(tmp_path, scale(rows=(800, None, None))).fingerprint != once
    assert source(tmp_path, replace(scale(), test_sets=("nanobeir/NQ",))).fingerprint != once
    assert any(request.endswith("zeta-alpha-ai/NanoNQ") for request in hub.asked)
    copy = Path(shutil.copytree(hub.root / "datasets", tmp_path / "hub" / "datasets")).parent
    parquet([{"query": "a", "document": "b"}], copy / PAIRS / "data/squad-00000-of-00001.parquet")
    other = Server(copy)
    use_hub(monkeypatch, other.address, tmp_path / "hf2")
    assert source(tmp_path).fingerprint != once
    other.close()
    assert source(tmp_path).teacher is None


def test_what_is_kept_is_enough_offline(hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, Phase.UNSUPERVISED, "squad")
    online = source(tmp_path)
    rows, fingerprint = online.pairs()["squad"][:], online.fingerprint
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf", offline=True)
    offline = source(tmp_path)
    assert (offline.pairs()["squad"][:], offline.fingerprint) == (rows, fingerprint)
    with pytest.raises(HubError, match="is not in .* HF_HUB_OFFLINE forbids to fetch it"):
        offline.triples(10)


def test_without_a_network_every_path_ends_in_seconds(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = source(tmp_path)
    assert late.fingerprint  # the hub goes away after it was asked
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf")
    for start in (
        late.pairs,
        lambda: late.triples(10),
        lambda: late.scored(32, 1.0, 8, 0),
        source(tmp_path).pairs,
    ):
        began = time.perf_counter()
        with pytest.raises(HubError, match="could not be had"):
            start()
        assert time.perf_counter() - began < 10


def test_collections_are_those_that_the_profile_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colbert_zero_lib.corpora.evaluation_sets.evaluation_set", str.upper)
    found = source(tmp_path, replace(scale(), test_sets=("beir",), development_sets=("nanobeir/NQ",)))
    assert len(found.collections) == 14 + 12 and found.collections["beir/scifact"] == "BEIR/SCIFACT"
    assert found.development == {"nanobeir/NQ": "NANOBEIR/NQ"}


def test_the_hub_trains_no_encoder_from_nothing(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="answerdotai/ModernBERT-base"):
        source(tmp_path).texts()


# Forecasts


def test_the_papers_epoch_is_forecast_without_a_network(tmp_path: Path) -> None:
    found = forecast(get_profile("paper"), tmp_path)
    assert [phase.batches for phase in found] == [14_571, 26_492, 5_000]
    assert [phase.total for phase in found] == [238_998_494, 1_695_819, 640_000]
    assert found[0].download == 260_607_608_502 and not any(phase.never_drawn for phase in found)
    sampled = forecast(get_profile("base"), tmp_path)
    assert [phase.batches for phase in sampled] == [500, 2_000, 1_000]
    assert sum(phase.download for phase in sampled) < 10e9
    many = forecast(scale(batch=30_000), tmp_path)
    assert many[0].never_drawn == {"squad": 25_117} and not list(tmp_path.iterdir())


def test_the_papers_sources_are_all_there() -> None:
    assert [len(published_rows()[phase]) for phase in Phase] == [29, 10, 1]
