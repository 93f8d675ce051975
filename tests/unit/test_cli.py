"""The command line: one sentence for what goes wrong, exit codes, and the verbs over real run folders."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from colbert_zero_lib import __version__
from colbert_zero_lib.cli import app
from colbert_zero_lib.evaluation import Evaluation
from colbert_zero_lib.evaluation.metrics import METRICS
from colbert_zero_lib.published.recorded import recorded_marks
from colbert_zero_lib.recipes import PIPELINES, Recipe
from colbert_zero_lib.runs import Ledger, Run, RunKey, canonical_json

VERBS = (
    "run",
    "evaluate",
    "grid",
    "list",
    "show",
    "export",
    "explain",
    "index",
    "search",
    "serve",
    "rerank",
    "record",
    "notebooks",
    "figures",
    "crosswalk",
    "data",
)


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "160"})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLBERT_ZERO_HOME", str(tmp_path))
    return tmp_path


def make_run(home: Path, recipe: Recipe, seed: int, scores: dict[str, float], rate: float = 1e-3) -> Run:
    key = RunKey(
        str(recipe), "tiny", canonical_json({"rate": rate}), seed, "toy", "f" * 64, (("torch", "2"),)
    )
    letter = next((letter for letter, known in PIPELINES.items() if known == recipe), None)

    def build(work: Path) -> Mapping[str, Any]:
        return {
            "profile": "tiny",
            "seed": seed,
            "recipe": str(recipe),
            "pipeline": letter,
            "arm": None,
            "device": "cpu",
            "versions": {"torch": "2"},
            "git_commit": None,
            "wall_seconds": {"supervised": 3.0},
            "metrics": {name: {"ndcg@10": score} for name, score in scores.items()},
            "mean_ndcg@10": sum(scores.values()) / len(scores),
        }

    return Ledger(home / "runs").obtain(key, build)


def test_every_verb_explains_itself() -> None:
    overview = invoke("--help")
    assert overview.exit_code == 0
    for verb in VERBS:
        assert verb in overview.stdout
        assert invoke(verb, "--help").exit_code == 0
    assert invoke("--version").stdout.strip() == __version__


@pytest.mark.parametrize(
    ("words", "culprit"),
    [
        (("run", "colbert:unsupervized"), "unsupervized"),
        (("run", "c", "--profile", "huge"), "huge"),
        (("show", "abcdef"), "abcdef"),
        (("explain", "abcdef", "c"), "abcdef"),
        (("evaluate", "abcdef", "--on", "offline"), "abcdef"),
        (("evaluate", "bm25", "--on", "nowhere"), "nowhere"),
        (("notebooks", "99"), "99"),
        (("notebooks", "--parameter", "seed"), "seed"),
        (("notebooks", "--refresh", "--profile", "tiny"), "--refresh"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_two(
    home: Path, words: tuple[str, ...], culprit: str
) -> None:
    result = invoke(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert culprit in result.stderr
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_installed_command_answers_like_the_module(home: Path) -> None:
    command = Path(sys.executable).with_name("colbert-zero")
    done = subprocess.run([command, "show", "abcdef"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "abcdef" in done.stderr


def test_runs_are_listed_shown_and_compared(home: Path) -> None:
    assert "No runs yet" in invoke("list").stdout
    a = make_run(home, PIPELINES["b"], 0, {"one": 0.25, "two": 0.75})
    b = make_run(home, PIPELINES["b"], 0, {"one": 0.5, "two": 0.75}, rate=2e-3)

    listed = invoke("list").stdout
    assert "0.5000" in listed and "0.6250" in listed
    assert a.digest[:12] in listed and b.digest[:12] in listed
    assert a.digest[:12] not in invoke("list", "--profile", "laptop").stdout

    shown = invoke("show", a.digest[:12])
    assert shown.exit_code == 0
    assert str(PIPELINES["b"]) in shown.stdout
    assert "0.2500" in shown.stdout and "0.7500" in shown.stdout and "0.5000" in shown.stdout

    explained = invoke("explain", a.digest[:12], b.digest[:12])
    assert explained.exit_code == 0
    assert "0.001" in explained.stdout and "0.002" in explained.stdout
    ambiguous = invoke("show", "b")
    assert ambiguous.exit_code == 2
    assert a.folder.name in ambiguous.stderr and b.folder.name in ambiguous.stderr


def test_record_writes_passports_where_they_are_looked_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(home, PIPELINES["c"], 3, {"one": 0.5})
    make_run(home, PIPELINES["a"], 0, {"one": 0.25})
    data = home / "checkout-data"
    monkeypatch.setattr("colbert_zero_lib.runs.passport.recording_folder", lambda: data)
    assert invoke("record", "--profile", "laptop").stdout == ""
    assert not data.exists()
    assert invoke("record", "c").exit_code == 0
    files = sorted(path.relative_to(data).as_posix() for path in data.rglob("*.json"))
    assert files == [f"runs/tiny/{PIPELINES['c'].slug}--seed3.json"]
    assert json.loads((data / files[0]).read_text(encoding="utf-8"))["metrics"] == {"one": {"ndcg@10": 0.5}}


def test_a_baseline_is_recorded_on_the_collections_of_a_profile(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = pd.DataFrame({"collection": ["one"], "query": ["q"]} | {name: [0.25] for name in METRICS})
    asked: list[tuple[str, ...]] = []

    def measured(source: object, cache: Path, **options: Any) -> dict[str, Evaluation]:
        asked.append((cache.name, *options["collections"], *options["names"]))
        return {name: Evaluation(values) for name in options["names"]}

    shop = SimpleNamespace(home=home, source=None, collections={"one": None})
    monkeypatch.setattr("colbert_zero_lib.home.recording_folder", lambda: home / "data")
    monkeypatch.setattr("colbert_zero_lib.evaluation.baselines.evaluate_baselines", measured)
    monkeypatch.setattr("colbert_zero_lib.runs.execute.workshop", lambda *_, **__: shop)
    assert "needs --profile" in invoke("record", "--mark", "BM25").stderr
    assert invoke("record", "--profile", "laptop", "--mark", "BM25").exit_code == 0
    assert asked == [("baselines", "one", "BM25")]
    found = recorded_marks("laptop", home / "data" / "runs")
    assert list(found) == ["BM25"] and found["BM25"].mean() == 0.25


def test_notebooks_run_headless_from_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat

    cells = [
        nbformat.v4.new_markdown_cell("# A toy"),
        nbformat.v4.new_code_cell(
            "profile: str = 'tiny'  # tiny | laptop\nsizes: list[int] = [1]  # of\nname: str = ''  # whose",
            metadata={"tags": ["parameters"]},
        ),
        nbformat.v4.new_code_cell("print(profile, sizes, name)"),
    ]
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebooks / "01_toy.ipynb")
    monkeypatch.setattr("colbert_zero_lib.suite.notebooks_folder", lambda: notebooks)

    result = invoke("notebooks", "01", "--profile", "laptop", "-p", "sizes=[2, 3]", "-p", "name=a toy")

    assert result.exit_code == 0, result.stderr
    executed = nbformat.read(tmp_path / "report" / "notebooks" / "01_toy.ipynb", as_version=4)
    assert executed.cells[-1].outputs[0].text == "laptop [2, 3] a toy\n"
    assert "A toy" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert (tmp_path / "report" / "index.md").exists()
