"""Collections as people have them: each odd but real form is read, and has the value that BEIR's rules give it."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from colbert_zero_lib.corpora import read_collection

CORPUS = '{"_id": "d1", "title": "", "text": "one"}\n{"_id": "d2", "text": "two"}\n'
QUERIES = '{"_id": "q1", "text": "which"}\n{"_id": "q2", "text": "what"}\n'
HEADER = "query-id\tcorpus-id\tscore\n"
PLAIN = {"q1": {"d1": 1}, "q2": {"d2": 2}}
ONE = {"q1": {"d1": 1}}


@dataclass
class Form:
    """What lies in the folder, and what is right: the qrels, a text by its id, and how many notes there are."""

    qrels: str | bytes
    right: dict[str, dict[str, int]]
    file: str = "test.tsv"
    corpus: str | bytes = CORPUS
    queries: str | bytes = QUERIES
    text: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()
    split: str = "test"
    names: dict[str, str] = field(default_factory=dict)


FORMS = {
    "tsv with header": Form(HEADER + "q1\td1\t1\nq2\td2\t2\n", PLAIN),
    "tsv without header": Form("q1\td1\t1\nq2\td2\t2\n", PLAIN),
    "header of other names": Form("qid\tpid\trelevance\nq1\td1\t1\nq2\td2\t2\n", PLAIN),
    "columns in another order": Form("corpus-id\tscore\tquery-id\nd1\t1\tq1\nd2\t2\tq2\n", PLAIN),
    "trec, tabs": Form("q1\t0\td1\t1\nq2\t0\td2\t2\n", PLAIN),
    "trec, spaces": Form("q1 0 d1 1\nq2 0   d2 2\n", PLAIN, file="test.txt"),
    "trec, Q0 and its ending": Form("q1 Q0 d1 1\nq2 Q0 d2 2\n", PLAIN, file="test.qrels"),
    "trec with header": Form("query-id\tQ0\tcorpus-id\tscore\nq1\t0\td1\t1\nq2\t0\td2\t2\n", PLAIN),
    "no score column": Form("query-id\tcorpus-id\nq1\td1\nq2\td2\n", {"q1": {"d1": 1}, "q2": {"d2": 1}}),
    "no score, no header": Form("q1\td1\nq2\td2\n", {"q1": {"d1": 1}, "q2": {"d2": 1}}),
    "scores like 1.0": Form(HEADER + "q1\td1\t1.0\nq2\td2\t2.0\n", PLAIN),
    "json lines": Form(
        '{"query-id": "q1", "corpus-id": "d1", "score": 1.0}\n{"query-id": "q2", "corpus-id": "d2", "score": 2}\n',
        PLAIN,
        file="test.jsonl",
    ),
    "json lines without a score": Form('{"query-id": "q1", "corpus-id": "d1"}\n', ONE, file="test.jsonl"),
    "numbers for ids": Form(
        HEADER + "7\t12\t1\n",
        {"7": {"12": 1}},
        corpus='{"_id": 12, "text": "twelve"}\n{"_id": "012", "text": "another"}\n',
        queries='{"_id": 7, "text": "seven"}\n',
        text=("12", "twelve"),
    ),
    "leading zeros are kept": Form(
        HEADER + "007\t012\t1\n",
        {"007": {"012": 1}},
        corpus='{"_id": "012", "text": "x"}\n',
        queries='{"_id": "007", "text": "y"}\n',
    ),
    "numbers in json lines": Form(
        '{"query-id": 7, "corpus-id": 12, "score": 1}\n',
        {"7": {"12": 1}},
        file="test.jsonl",
        corpus='{"_id": "12", "text": "x"}\n',
        queries='{"_id": "7", "text": "y"}\n',
    ),
    "gzip": Form(
        gzip.compress((HEADER + "q1\td1\t1\n").encode()),
        ONE,
        file="test.tsv.gz",
        corpus=gzip.compress(CORPUS.encode()),
        names={"corpus": "corpus.jsonl.gz"},
        text=("d2", "two"),
    ),
    "byte order mark": Form(
        ("\ufeff" + HEADER + "q1\td1\t1\n").encode(),
        ONE,
        corpus=("\ufeff" + CORPUS).encode(),
        queries=("\ufeff" + QUERIES).encode(),
    ),
    "line ends of windows": Form(
        (HEADER + "q1\td1\t1\n").replace("\n", "\r\n").encode(), ONE, queries=QUERIES.replace("\n", "\r\n")
    ),
    "no last line end, blank lines": Form("\n" + HEADER + "\nq1\td1\t1", ONE, corpus=CORPUS.strip()),
    "another split": Form(HEADER + "q1\td1\t1\n", ONE, file="dev.tsv", split="dev"),
    "title and text": Form(
        "q1\td1\t1\n",
        ONE,
        corpus='{"_id": "d1", "title": "Heron", "text": "A bird."}\n',
        text=("d1", "Heron A bird."),
    ),
    "title without text": Form(
        "q1\td1\t1\n", ONE, corpus='{"_id": "d1", "title": "Heron", "text": ""}\n', text=("d1", "Heron")
    ),
    "title alone": Form("q1\td1\t1\n", ONE, corpus='{"_id": "d1", "title": "Heron"}\n', text=("d1", "Heron")),
    "title null": Form(
        "q1\td1\t1\n", ONE, corpus='{"_id": "d1", "title": null, "text": "one"}\n', text=("d1", "one")
    ),
    "line separators inside ids": Form(
        HEADER + "a\u2028b\tc\u0085d\x1ce\t1\n",
        {"a\u2028b": {"c\u0085d\x1ce": 1}},
        corpus='{"_id": "c\u0085d\\u001ce", "text": "x\u2028y"}\n',
        queries='{"_id": "a\u2028b", "text": "z"}\n',
        text=("c\u0085d\x1ce", "x\u2028y"),
    ),
    "spaces inside ids": Form(
        "Who wrote it?\tThe Tide (book)\t1\n",
        {"Who wrote it?": {"The Tide (book)": 1}},
        corpus='{"_id": "The Tide (book)", "text": "x"}\n',
        queries='{"_id": "Who wrote it?", "text": "y"}\n',
    ),
    "quoted cells": Form(
        HEADER + 'q1\t"say ""d"""\t1\n',
        {"q1": {'say "d"': 1}},
        corpus='{"_id": "say \\"d\\"", "text": "x"}\n',
    ),
    "equal lines": Form(HEADER + "q1\td1\t1\n" * 3, ONE),
    "a document that is missing": Form(
        HEADER + "q1\td1\t1\nq1\tgone\t1\n",
        {"q1": {"d1": 1, "gone": 1}},
        notes=("1 judged document is missing and kept in the ideal ranking ('gone')",),
    ),
    "a query that is missing": Form(
        HEADER + "q1\td1\t1\nlost\td1\t1\n", ONE, notes=("1 judged query is missing and left out ('lost')",)
    ),
    "nothing relevant": Form(
        HEADER + "q1\td1\t1\nq2\td1\t0\n",
        ONE,
        notes=("1 judged query is without a relevant document and left out ('q2')",),
    ),
    "grades below zero": Form(HEADER + "q1\td1\t1\nq1\td2\t-1\n", {"q1": {"d1": 1, "d2": -1}}),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_every_form_is_read(form: Form, tmp_path: Path) -> None:
    for name, content in (
        (form.names.get("corpus", "corpus.jsonl"), form.corpus),
        ("queries.jsonl", form.queries),
        (f"qrels/{form.file}", form.qrels),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    found = read_collection(tmp_path, form.split)
    assert found.qrels == form.right
    assert set(found.queries) == set(form.right)
    assert found.notes == tuple(f"{tmp_path.name}: {note}." for note in form.notes)
    assert found.split == form.split
    if form.text:
        assert found.corpus[form.text[0]] == form.text[1]
