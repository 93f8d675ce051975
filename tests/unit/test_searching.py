"""An index of a reader's documents against exact search over all of them, through additions, deletions and cuts."""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
import tracemalloc
from collections import deque
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.errors import DataError, ParameterError
from colbert_zero_lib.evaluation import LateInteractionRetriever
from colbert_zero_lib.evaluation.subjects import Subject
from colbert_zero_lib.searching.documents import Cutter, Document, in_parts, read_documents, read_queries
from colbert_zero_lib.searching.index import Changes, SearchIndex
from colbert_zero_lib.searching.state import STATE

ODD = (
    "a/b/../c",
    "two words",
    "\N{WATER WAVE}\N{VARIATION SELECTOR-16}",
    "<i>&amp;",
    "n" * 2048,
    "../../x",
    "\u2028",
)


@pytest.fixture
def subject(tiny_colbert: Any) -> Subject:
    return Subject("tiny", "f" * 64, lambda: tiny_colbert)


@pytest.fixture
def new(tmp_path: Path, subject: Subject) -> Callable[..., SearchIndex]:
    return lambda name="index", **more: SearchIndex.create(
        tmp_path / name, "tiny", subject, **{"overlap": 4} | more
    )


def documents(corpus: Mapping[str, str]) -> list[Document]:
    return [Document(*item) for item in corpus.items()]


def ranked(index: SearchIndex, query: str, k: int = 10) -> list[str]:
    return [hit.document.id for hit in index.search([query], k)[0]]


def test_short_documents_rank_as_in_exact_search(
    new: Callable[..., SearchIndex], toy_collection: Collection, tiny_colbert: Any
) -> None:
    index = new(kind="exact")
    corpus = {name: " ".join(text.split()[:8]) for name, text in toy_collection.corpus.items()}
    assert index.add(documents(corpus)) == Changes(12, 0, 0)
    short = Collection("short", corpus, toy_collection.queries, toy_collection.qrels)
    exact = LateInteractionRetriever(tiny_colbert, index.settings["precision"]).search(short, 10)
    found = index.search(list(short.queries.values()), 10)
    for hits, names, scores in zip(found, exact.document_ids(short).values(), exact.scores, strict=True):
        assert [hit.score for hit in hits] == pytest.approx(scores.tolist(), abs=5e-3)
        assert hits[0].document.id == names[0] and all(hit.passages == 1 for hit in hits)


def test_additions_replacements_and_deletions_leave_what_a_new_index_would_hold(
    new: Callable[..., SearchIndex], subject: Subject
) -> None:
    drawn = random.Random(0)
    words = re.findall(
        r"\w+", "harbour crane ship tide lamp yeast bread violin cello glacier valley bees honey"
    )

    def text() -> str:
        return " ".join(drawn.choices(words, k=drawn.randint(1, 60)))

    kept = {f"d{n}": text() for n in range(20)}
    index = new()
    index.add(documents(kept))
    for turn in range(8):
        some = {f"d{drawn.randrange(30)}": text() for _ in range(3)}
        before = len(kept)
        kept |= some
        assert index.add(documents(some)) == Changes(len(kept) - before, len(some) - len(kept) + before, 0)
        for name in drawn.sample(sorted(kept), 2):
            del kept[name]
            index.delete([name])
        if turn == 4:
            index = SearchIndex(index.folder, subject)
    other = new("other")
    other.add(documents(kept))
    assert len(index) == len(other) == len(kept)
    for query in ("ship in the harbour", "bread"):
        one, two = (sorted(each.search([query], 40)[0]) for each in (index, other))
        assert len(one) == len(kept) and [hit.document for hit in one] == [hit.document for hit in two]
        assert [hit.score for hit in one] == pytest.approx([hit.score for hit in two], abs=1e-3)
    segments = list((index.folder / "segments").iterdir())
    assert len(segments) < 10 and sorted(path.name for path in segments) == sorted(index.segments())
    assert index.add(documents(kept)) == Changes(0, 0, len(kept))
    index.delete(list(kept))
    assert len(index) == 0 and index.search(["ship"]) == [[]]


def test_a_document_counts_by_its_best_passage(new: Callable[..., SearchIndex]) -> None:
    index = new()
    long = " ".join(["Chess players castle to bring the king to safety."] * 30 + ["Honey never spoils."])
    index.add([Document("long", long), Document("other", "A cello is played sitting down.")])
    [hits] = index.search(["honey never spoils"], 2)
    assert sorted(hit.document.id for hit in hits) == ["long", "other"]
    hit = next(hit for hit in hits if hit.document.id == "long")
    assert hit.passages > 5 and hit.text in long and hit.document.text == long


def test_passages_cover_the_text_overlap_and_fit(tiny_colbert: Any) -> None:
    cut = Cutter(tiny_colbert, 6)
    text = "  The harbour crane lifts two containers at once, and the ship waits until the tide turns. " * 9
    other = "\u5149\u6f6e" * 200
    for each in (text, other):
        [spans] = cut([each])
        read = [each[start:end] for start, end in spans]
        count = tiny_colbert.tokenize(
            [tiny_colbert.prompts["document"] + one for one in read], is_query=False
        )
        assert int(count["attention_mask"].sum(1).max()) <= tiny_colbert.document_length
        assert spans[0][0] == len(each) - len(each.lstrip()) and spans[-1][1] == len(each.rstrip())
        for (_, end), (start, _) in pairwise(spans):
            assert start <= end
    assert all(text[start - 1].isspace() for start, _ in cut([text])[0])
    assert cut(["", " \n", "one"]) == [[(0, 0)], [(2, 2)], [(0, 3)]]
    with pytest.raises(ParameterError, match="overlap must be from 0 to"):
        Cutter(tiny_colbert, 30)


def test_a_document_of_a_hundred_thousand_tokens_is_cut_in_full(tiny_colbert: Any) -> None:
    cut = Cutter(tiny_colbert, 0)
    text = "tide " * 100_000
    [(found, [spans])] = in_parts([Document("long", text)], cut, 1000)
    assert found[0].text == text and len(spans) == pytest.approx(100_000 / cut.size, rel=0.2)


def test_odd_names_and_empty_texts_are_kept_and_found(new: Callable[..., SearchIndex]) -> None:
    index = new()
    index.add([Document(name, text) for name, text in zip(ODD, ["", "tide", *ODD[2:]], strict=True)])
    assert sorted(ranked(index, "\u0442\u0438\u0434\u0435 \u6f6e", 20)) == sorted(ODD)
    index.delete(ODD[:2])
    assert len(index) == len(ODD) - 2
    inside = {path.name for path in index.folder.parent.rglob("*")}
    assert not inside & {"x", "c", "two words"}


def test_a_reader_that_stays_open_sees_what_others_change(
    new: Callable[..., SearchIndex], subject: Subject
) -> None:
    index = new()
    index.add(documents({name: "the tide turns" for name in "abc"}))
    reader = SearchIndex(index.folder, subject)
    assert ranked(reader, "tide") == ["a", "b", "c"]
    index.delete("abc")  # its segment goes, and the next one gets the name that is free
    index.add([Document("new", "bread rises")])
    assert [*reader.segments()] == ["000001"] and ranked(reader, "tide") == ["new"]
    shutil.rmtree(index.folder)
    new(overlap=2)
    with pytest.raises(DataError, match="was built anew since it was opened"):
        reader.search(["tide"])


def test_of_equal_scores_the_first_names_are_found_however_few_are_asked_for(
    new: Callable[..., SearchIndex],
) -> None:
    index = new()
    index.add(documents({name: "the tide turns" for name in "hgfedcba"} | {"x": "bread"}))
    for count in (1, 2, 8):
        assert ranked(index, "the tide turns", count) == [*"abcdefgh"][:count]


def test_a_change_that_was_interrupted_changes_nothing_in_the_process_either(
    new: Callable[..., SearchIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    index = new()
    index.add(documents({"a": "the tide turns", "b": "bread"}))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("colbert_zero_lib.searching.index.write_segment", interrupted)
        index.add([Document("a", "other words")])
    assert sorted(ranked(index, "tide")) == ["a", "b"]


def test_a_table_of_questions_and_answers_has_documents_and_queries(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("id,query,answer\n1,who?,nobody\n")
    assert [*read_documents(tmp_path / "pairs.csv")] == [("1", "nobody")]
    assert read_queries(tmp_path / "pairs.csv") == {"1": "who?"}


def test_another_models_queries_are_refused(new: Callable[..., SearchIndex], subject: Subject) -> None:
    folder = new().folder
    with pytest.raises(ParameterError, match="another model"):
        SearchIndex(folder, Subject("other", "0" * 64, subject.open))


def test_what_is_no_index_is_one_sentence(
    new: Callable[..., SearchIndex], tmp_path: Path, tiny_dense: Any
) -> None:
    with pytest.raises(DataError, match="holds no index"):
        SearchIndex(tmp_path / "nowhere")
    index = new()
    index.add([Document("a", "tide")])
    with pytest.raises(DataError, match="two documents|Two documents"):
        index.add([Document("b", "x"), Document("b", "y")])
    with pytest.raises(DataError, match="no document 'z'"):
        index.delete(["a", "z"])
    assert len(index) == 1
    with pytest.raises(ParameterError, match="holds something already"):
        new()
    state = json.loads((index.folder / STATE).read_text())
    for wrong in ([], {}, state | {"format": 9}, state | {"segments": {"../../x": []}}):
        (index.folder / STATE).write_text(json.dumps(wrong))
        with pytest.raises(DataError, match="is not the list of an index"):
            SearchIndex(index.folder)
    (index.folder / STATE).write_text(json.dumps(state))
    next((index.folder / "segments").rglob("vectors.safetensors")).write_bytes(b"x")
    with pytest.raises(DataError, match="cannot be searched"):
        SearchIndex(index.folder, index.subject).search(["tide"])
    dense = Subject("dense", "d", lambda: tiny_dense)
    with pytest.raises(ParameterError, match="is no ColBERT model"):
        SearchIndex.create(tmp_path / "other", "dense", dense)


def test_a_table_is_read_as_a_stream(tmp_path: Path) -> None:
    """5,000 rows, a megabyte as Excel writes them: what is held does not grow with them."""
    file = tmp_path / "many.csv"
    with file.open("w", encoding="utf-8-sig", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["id", "text"])
        writer.writerows((n, f'{"a text " * 25}of "two"\r\nlines, {n}') for n in range(5_000))
    tracemalloc.start()
    try:
        last = deque(read_documents(file), maxlen=1)[0]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert last.id == "4999" and last.text.endswith('of "two"\r\nlines, 4999') and peak < 300_000


def test_documents_come_from_folders_and_tables(tmp_path: Path) -> None:
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "docs" / ".git").mkdir()
    for name in ("a.md", "deep/b b.txt", ".git/c.md", "d.py"):
        (tmp_path / "docs" / name).write_text(f"# {name}\nText.\n")
    assert [each.id for each in read_documents(tmp_path / "docs")] == ["a.md", "deep/b b.txt"]
    (tmp_path / "t.csv").write_bytes('\ufeffdocid,body\r\n"x","a ""b""\r\nc"\r\ny,\r\n'.encode())
    assert list(read_documents(tmp_path / "t.csv")) == [("x", 'a "b"\r\nc'), ("y", "")]
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": 7, "title": "T", "text": "x"}\n{"_id": "8", "text": "y"}\n'
    )
    assert list(read_documents(tmp_path)) == [("7", "T x"), ("8", "y")]
    (tmp_path / "n.jsonl").write_text('{"words": "x"}\n')
    assert list(read_documents(tmp_path / "n.jsonl", text_column="words")) == [("1", "x")]
    with pytest.raises(DataError, match="n.jsonl:1 has no text"):
        list(read_documents(tmp_path / "n.jsonl"))
    with pytest.raises(DataError, match="holds no documents"):
        read_documents(tmp_path / "none")
