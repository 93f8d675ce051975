"""A result taken apart, its page, the server, and a run reranked."""

from __future__ import annotations

import asyncio
import json
import socket
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.errors import DataError, ParameterError
from colbert_zero_lib.evaluation import LateInteractionRetriever
from colbert_zero_lib.evaluation.subjects import Subject
from colbert_zero_lib.searching.documents import Document
from colbert_zero_lib.searching.hits import Hit
from colbert_zero_lib.searching.index import SearchIndex
from colbert_zero_lib.searching.matches import look_into
from colbert_zero_lib.searching.page import page
from colbert_zero_lib.searching.rerank import read_run, rerank, write_run
from colbert_zero_lib.searching.serve import MOST_SIGNS, MOST_WAITING, serve

TEXTS = (
    "  A lighthouse (built of granite) warns ships; its lamp turns. ",
    "",
    "???",
    "Bread rises. " * 40,
    "\u5149 tide \N{WATER WAVE}",
)


def hit_of(text: str) -> Hit:
    return Hit(Document("d", text), 1.0, (0, len(text)), 1, 1)


@pytest.fixture
def index(tmp_path: Path, tiny_colbert: Any, toy_collection: Collection) -> SearchIndex:
    subject = Subject("tiny", "f" * 64, lambda: tiny_colbert)
    found = SearchIndex.create(tmp_path / "index", "tiny", subject)
    found.add([Document(*item) for item in toy_collection.corpus.items()])
    return found


@pytest.mark.parametrize("expansion", [False, True])
def test_every_match_names_the_tokens_that_met(
    tiny_colbert: Any, monkeypatch: pytest.MonkeyPatch, expansion: bool
) -> None:
    monkeypatch.setattr(tiny_colbert, "do_query_expansion", expansion)
    query = " the SHIP? "
    looks = look_into(tiny_colbert, query, [hit_of(text) for text in TEXTS])
    tokens = tiny_colbert.tokenizer
    ids = tiny_colbert.tokenize([tiny_colbert.prompts["query"] + query], is_query=True)["input_ids"][0]
    for look, text in zip(looks, TEXTS, strict=True):
        assert "".join(piece for piece, _ in look.pieces()) == text
        assert sum(match.share for match in look.matches) == pytest.approx(1)
        for match, number in zip(look.matches, ids.tolist(), strict=True):
            named = tokens.convert_ids_to_tokens(number)
            assert named == "[UNK]" or match.token.lower() in (named.lower(), named.removeprefix("##"))
            assert match.met == text[slice(*match.span)] or match.span == (0, 0)
    own = [match.token for match in looks[0].matches if match.part == "text"]
    assert "".join(own).lower() == "theship?"
    assert any(match.part == "expansion" for match in looks[0].matches) == expansion


def test_shares_are_those_of_the_models_own_similarities(tiny_colbert: Any) -> None:
    text, query = "Honey never spoils, says the chess player.", "honey and chess"
    [look] = look_into(tiny_colbert, query, [hit_of(text)])
    prompts = tiny_colbert.prompts
    asked, told = (
        np.asarray(
            tiny_colbert.encode([one], is_query=is_query, prompt=prompts[side], show_progress_bar=False)[0]
        )
        for one, is_query, side in ((query, True, "query"), (text, False, "document"))
    )
    best = (asked @ told.T).max(1)
    assert [match.share for match in look.matches] == pytest.approx((best / best.sum()).tolist(), abs=1e-4)


class Tags(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_a_page_has_no_markup_but_its_own(tiny_colbert: Any) -> None:
    hostile = "</style></mark><script>x</script><img src=x onerror=y> \" ' & tide"
    looks = look_into(tiny_colbert, hostile, [Hit(Document(hostile, hostile), 1.0, (0, len(hostile)), 1, 2)])
    found = Tags(page(hostile, {hostile: looks, "other": []}, form=True))
    assert {"script", "img"} & found.tags == set() and {"mark", "article", "form"} <= found.tags
    own = (
        "lang",
        "charset",
        "http-equiv",
        "content",
        "class",
        "style",
        "title",
        "name",
        "value",
        "autofocus",
    )
    assert found.attributes <= {*own}


def asked(index: SearchIndex, *requests: tuple[str, dict[str, str]]) -> list[Any]:
    """Responses to (path, headers) of a server for the time of the call."""

    async def main() -> list[Any]:
        port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        server = asyncio.create_task(serve(index, 0, port.set_result))
        address = f"http://127.0.0.1:{await port}"
        client = AsyncHTTPClient(force_instance=True, max_clients=100)
        wanted = [HTTPRequest(address + path, headers=headers) for path, headers in requests]
        found = await asyncio.gather(*(client.fetch(one, raise_error=False) for one in wanted))
        client.close()
        server.cancel()
        return found

    return asyncio.run(main())


def test_the_server_answers_what_the_index_finds_and_nothing_else(index: SearchIndex) -> None:
    query = "when does the ship leave"
    [hits] = index.search([query], 3)
    found = asked(
        index,
        (f"/search.json?q={quote(query)}&k=3", {}),
        (f"/?q={quote('<script>')}", {}),
        ("/", {}),
        (f"/search.json?q={'x' * (MOST_SIGNS + 1)}", {}),
        ("/search.json?q=x&k=101", {}),
        ("/search.json?q=x&k=-1", {}),
        ("/search.json?q=x&k=0100000", {}),
        ("/index.json", {}),
        ("/../index.json", {}),
        ("/", {"Host": "evil.example"}),
    )
    assert [one.code for one in found] == [200, 200, 200, 400, 400, 400, 400, 404, 404, 403]
    results = json.loads(found[0].body)["results"]
    assert [(one["id"], one["text"]) for one in results] == [(hit.document.id, hit.text) for hit in hits]
    assert [one["score"] for one in results] == pytest.approx([hit.score for hit in hits], abs=1e-5)
    assert sum(match["share"] for match in results[0]["matches"]) == pytest.approx(1)
    for one in found[:7]:
        assert "default-src 'none'" in one.headers["Content-Security-Policy"]
        assert one.headers["X-Content-Type-Options"] == "nosniff"
    assert "script" not in Tags(found[1].body.decode()).tags


def test_a_port_that_is_taken_is_one_sentence(index: SearchIndex) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ParameterError, match=f"Port {port} cannot be had"):
            asyncio.run(serve(index, port))


def test_more_queries_than_can_wait_are_sent_away(index: SearchIndex) -> None:
    codes = [one.code for one in asked(index, *[("/search.json?q=tide", {})] * (MOST_WAITING * 2))]
    assert set(codes) == {200, 503} and codes.count(200) >= MOST_WAITING


def test_a_reranked_run_has_the_models_order(
    tmp_path: Path, tiny_colbert: Any, toy_collection: Collection
) -> None:
    corpus = {f"d {n}": " ".join(text.split()[:8]) for n, text in enumerate(toy_collection.corpus.values())}
    short = Collection(
        "short", corpus, toy_collection.queries, {q: {"d 0": 1} for q in toy_collection.queries}
    )
    exact = LateInteractionRetriever(tiny_colbert).search(short, 12)
    lines = (f"{q}\tQ0\t{d}\t{n}\t{-n}\tother\n" for q in short.queries for n, d in enumerate(corpus))
    (tmp_path / "run.txt").write_text("".join(lines))
    run = read_run(tmp_path / "run.txt")
    documents = [Document(*item) for item in corpus.items()]
    found = rerank(run, short.queries, documents, tiny_colbert)
    for query, names, scores in zip(run, exact.document_ids(short).values(), exact.scores, strict=True):
        assert [name for name, _ in found[query]] == names
        assert [score for _, score in found[query]] == pytest.approx(scores.tolist(), abs=1e-4)
    write_run(found, tmp_path / "out.txt")
    assert read_run(tmp_path / "out.txt") == {
        query: [name for name, _ in each] for query, each in found.items()
    }
    with pytest.raises(DataError, match="document 'd 0', which is not in the corpus"):
        rerank(run, short.queries, documents[1:], tiny_colbert)
    with pytest.raises(DataError, match="query 'q0', which is not among"):
        rerank(run, {}, documents, tiny_colbert)


@pytest.mark.parametrize("line", ["q Q0 d 1 2.0", "q Q0 d one 2.0 t", "q Q0 d 1 2 t\nq Q0 d 2 1 t", ""])
def test_what_is_no_run_is_one_sentence(tmp_path: Path, line: str) -> None:
    (tmp_path / "run").write_text(line)
    with pytest.raises(DataError, match="run:|has no lines"):
        read_run(tmp_path / "run")
