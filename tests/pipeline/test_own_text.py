"""The command on a reader's own folder, for real and very small, and what it fetches from the hub beforehand."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from colbert_zero_lib import profiles
from colbert_zero_lib.cli import app
from colbert_zero_lib.profiles import get_profile
from colbert_zero_lib.runs import Ledger
from tests.hub.server import Server
from tests.hub.stock import WORDS

pytestmark = pytest.mark.pipeline


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A few dozen rows for each phase and one collection, of random words."""
    drawn = random.Random(0)

    def text(words: int = 12) -> str:
        return " ".join(drawn.choice(WORDS) for _ in range(words))

    def rows(name: str, count: int, row: Callable[[], dict]) -> None:
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row()) + "\n" for _ in range(count)))

    rows("pairs.jsonl", 40, lambda: {"query": text(4), "document": text()})
    rows("triples.jsonl", 24, lambda: {"anchor": text(4), "positive": text(), "negative": text()})
    scores = [drawn.random() for _ in range(8)]
    rows(
        "scored.jsonl",
        24,
        lambda: {"query": text(4), "documents": [text() for _ in scores], "scores": scores},
    )
    for name, count in (("corpus", 30), ("queries", 10)):
        ids = iter(range(count))
        rows(f"collections/faq/{name}.jsonl", count, lambda ids=ids: {"_id": str(next(ids)), "text": text(6)})
    (tmp_path / "own/collections/faq/qrels").mkdir()
    judged = "".join(f"{n}\t{n}\t1\n" for n in range(10))
    (tmp_path / "own/collections/faq/qrels/test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return tmp_path / "own"


def invoke(monkeypatch: pytest.MonkeyPatch, home: Path, *words: str) -> str:
    monkeypatch.setenv("COLBERT_ZERO_HOME", str(home))
    found = CliRunner().invoke(app, list(words), env={"COLUMNS": "160"})
    assert found.exit_code == 0, found.output
    return found.output


@pytest.mark.filterwarnings("ignore:.*no folder development")
def test_a_readers_folder_is_trained_on_and_searched(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smoke = get_profile("smoke")
    budgets = {key: replace(each, steps=3) for key, each in smoke.budgets.items()}
    monkeypatch.setitem(profiles.PROFILES, "smoke", replace(smoke, budgets=budgets))
    words = ("run", "c", "--profile", "smoke", "--source", f"folder:{own}", "--quiet")
    output = invoke(monkeypatch, tmp_path / "home", *words)
    assert "smoke-folder" in output and "faq" in output
    run = Ledger(tmp_path / "home" / "runs").find(
        "colbert:unsupervised > colbert:supervised > colbert:distillation"
    )
    assert list(run.passport["metrics"]) == ["faq"] and "own" not in json.dumps(run.passport["key"])
    moved = own.rename(tmp_path / "moved")
    again = invoke(monkeypatch, tmp_path / "home", *words[:-2], f"folder:{moved}", "--quiet")
    assert str(run.folder) in again  # the same text under another name is the same run
    arms = "colbert:unsupervised, colbert:unsupervised > colbert:supervised"
    source = ("--profile", "smoke", "--source", f"folder:{moved}")
    planned = invoke(monkeypatch, tmp_path / "home", "grid", arms, *source, "--seeds", "0", "--quiet")
    assert "to run  0" in planned  # of the runs above
    assert "unsupervised" in invoke(
        monkeypatch, tmp_path / "home", "data", "forecast", *words[2:-2], f"folder:{moved}"
    )


def test_a_profile_of_the_hub_is_fetched_before_it_is_trained(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.warns(UserWarning, match="never drawn"):
        output = invoke(monkeypatch, tmp_path / "home", "data", "fetch", "--profile", "base")
    assert (
        "supervised: 900 rows" in output and "distillation: 500 rows" in output and "13 collections" in output
    )
