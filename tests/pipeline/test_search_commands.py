"""The commands of a reader's own search, from documents to an answer, a page and a reranked run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from colbert_zero_lib.cli import app
from colbert_zero_lib.corpora import Collection, write_collection
from colbert_zero_lib.searching.rerank import read_run
from tests.hub.fixtures import use_hub
from tests.hub.server import Server

pytestmark = pytest.mark.pipeline


@pytest.fixture
def command(tmp_path: Path, tiny_colbert: Any, toy_collection: Collection) -> Callable[..., Any]:
    tiny_colbert.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    write_collection(toy_collection, tmp_path / "toy")
    where = {"COLBERT_ZERO_HOME": str(tmp_path / "home"), "COLUMNS": "200"}
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], env=where)


def test_the_commands_from_documents_to_a_page(tmp_path: Path, command: Callable[..., Any]) -> None:
    place, model = tmp_path / "index", tmp_path / "model"
    done = command("index", tmp_path / "toy", "--model", model, "--out", place)
    assert done.exit_code == 0 and "12 added" in done.stdout, done.output
    (tmp_path / "more.jsonl").write_text(
        '{"id": "[red]x\\u001b", "text": "The \\u001b[31m[bold]tide[/bold] </style>"}\n'
    )
    assert "1 added, 0 replaced" in command("index", place, "--add", tmp_path / "more.jsonl").stdout
    assert "1 deleted" in command("index", place, "--delete", "d0").stdout
    done = command(
        "search", place, "tide table", "-k", 12, "--beside", place, "--html", tmp_path / "page.html"
    )
    assert done.exit_code == 0 and "[red]x\\x1b" in done.stdout and "\x1b" not in done.stdout, done.output
    page = (tmp_path / "page.html").read_text()
    assert page.count("</style>") == 1 and "&lt;/style&gt;" in page
    for words, said in (
        (("index", tmp_path / "toy", "--out", tmp_path / "new"), "needs --model"),
        (("index", place, "--delete", "none"), "has no document 'none'"),
        (("index", place, "--add", tmp_path / "none"), "holds no documents"),
        (("search", tmp_path / "toy", "x"), "holds no index"),
        (("serve", tmp_path / "toy"), "holds no index"),
        (
            ("rerank", tmp_path / "no", "--model", model, "--corpus", tmp_path / "toy", "--out", "x"),
            "cannot be read",
        ),
    ):
        refused = command(*words)
        assert refused.exit_code == 2 and said in refused.stderr.replace("\n", " "), refused.output
    (tmp_path / "run").write_text("q0 Q0 d1 1 9 bm25\nq0 Q0 d0 2 8 bm25\n")
    done = command(
        "rerank", tmp_path / "run", "--model", model, "--corpus", tmp_path / "toy", "--out", tmp_path / "out"
    )
    assert done.exit_code == 0 and sorted(read_run(tmp_path / "out")["q0"]) == ["d0", "d1"], done.output


def test_a_folder_of_notes_is_searched_with_the_papers_model(
    tmp_path: Path, hub: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes").mkdir()
    for name, text in (("tide.md", "# Tides\n\nThe tide turns."), ("bread.txt", "Bread rises.")):
        (tmp_path / "notes" / name).write_text(text)

    def command(*words: str) -> str:
        done = CliRunner().invoke(app, [*words], env={"COLBERT_ZERO_HOME": str(tmp_path / "home")})
        assert done.exit_code == 0, done.output
        return done.stdout

    place = str(tmp_path / "index")
    command("index", str(tmp_path / "notes"), "--model", "lightonai/ColBERT-Zero", "--out", place)
    use_hub(monkeypatch, hub.address, tmp_path / "hf", offline=True)
    main = next((tmp_path / "hf").glob("hub/models--*/refs/main"))
    main.write_text("0" * 40)  # the hub's model goes on; the index keeps to its own
    assert "tide.md" in command("search", place, "when does the tide turn?")
