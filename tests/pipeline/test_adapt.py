"""A reader's folder to a model of its own, for real and very small; killed while it trains, it goes on."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from transformers import ModernBertConfig, ModernBertForSequenceClassification

from colbert_zero_lib.adapt import page
from colbert_zero_lib.adapt.folder import documents, open_folder
from colbert_zero_lib.adapt.survey import survey
from colbert_zero_lib.adapt.work import ALONE, BOTH, START, SUPERVISED, UNTRAINED, Adaptation, Result
from colbert_zero_lib.errors import CheckpointError, ParameterError
from colbert_zero_lib.models import open_model, save_model
from colbert_zero_lib.recipes import Interaction, Phase, Step
from colbert_zero_lib.runs import Run
from colbert_zero_lib.searching.index import SearchIndex
from colbert_zero_lib.starts import Start
from tests.conftest import build_encoder
from tests.hub.stock import WORDS
from tests.pipeline.adapting import adapt, adaptation

pytestmark = pytest.mark.pipeline
MARKUP = "</style><script>document.title='run'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 160 pairs as Excel writes it: a byte order mark, CRLF, and quotes over several lines."""
    drawn = random.Random(0)
    folder = tmp_path_factory.mktemp("own")
    with (folder / "asked.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Question", "Answer"])
        for number in range(160):
            words = drawn.sample(WORDS, 6)
            text = " ".join(drawn.choice(WORDS) for _ in range(12))
            writer.writerow(
                [f"{' '.join(words[:3])} {MARKUP} {number}", f'{" ".join(words)}\n"{text}" {MARKUP}']
            )
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense model of random weights in a folder."""
    folder = build_encoder(tmp_path_factory.mktemp("encoder"), [" ".join(WORDS), MARKUP], layers=1)
    step = Step(Interaction.DENSE, Phase.SUPERVISED, prompts=False, extra_length=False)
    dense = open_model(folder, step, lengths=(32, 64), prompts=("", ""))
    assert isinstance(dense, SentenceTransformer)
    saved = tmp_path_factory.mktemp("dense")
    save_model(dense, saved)
    return saved


@pytest.fixture(scope="module")
def result(own: Path, start: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """The adaptation without an interruption, and its home."""
    home = tmp_path_factory.mktemp("home")
    return adapt(own, start, home), home


def test_every_arm_is_measured_on_the_same_queries_and_a_report_is_written_that_runs_nothing(
    result: tuple[Result, Path], own: Path, start: Path, tmp_path: Path
) -> None:
    found, home = result
    assert list(found.evaluations) == ["BM25", START, UNTRAINED, ALONE, SUPERVISED, BOTH]
    queries = [set(each.scores()["test"].index) for each in found.evaluations.values()]
    assert all(each == queries[0] for each in queries) and len(queries[0]) == 32
    work = adaptation(own, start, home)
    report = page.deliver(work, found, tmp_path / "out")
    text = report.read_text(encoding="utf-8")
    assert "<script" not in text and text.count("</style>") == 1 and "<img" not in text
    assert "&lt;script&gt;" in text and page._escaped(page.headline(found)) in text
    passport = json.loads((report.parent / "run.json").read_text())
    assert passport["recipe"] == found.kept.passport["recipe"]
    assert (report.parent / "model" / "README.md").is_file()
    with pytest.raises(ParameterError, match="not empty"):
        page.check_free(tmp_path / "out")


class Helped(Result):
    """A result whose model is given away, however little it learned."""

    helped = True  # type: ignore[assignment]


def test_what_helped_comes_with_an_index_that_moves_with_its_model(
    result: tuple[Result, Path], own: Path, start: Path, tmp_path: Path
) -> None:
    found, home = result
    helped = Helped(found.evaluations, found.development, found.runs)
    work = adaptation(own, start, home)
    page.deliver(work, helped, tmp_path / "out")
    moved = (tmp_path / "out").rename(tmp_path / "moved")
    index = SearchIndex(moved / "index")
    asked = list(documents(work.holding))
    assert len(index) == len(asked) == 160 and len({text for _, text in asked}) == 160
    (hits,) = index.search([asked[3].text], 1)
    assert hits[0].document == asked[3] and asked[3].id == "asked.csv:9"


def test_killed_while_it_trains_it_goes_on_and_ends_with_the_same_figures(
    result: tuple[Result, Path], own: Path, start: Path, tmp_path: Path
) -> None:
    # On the same text, scored already: what is killed is the training.
    command = [sys.executable, "-m", "tests.pipeline.adapting", *map(str, (own, start, tmp_path))]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    pattern = "runs/.partial/*/checkpoints/measured.json"

    def measured() -> int:
        try:
            return max((len(json.loads(file.read_text())) for file in tmp_path.glob(pattern)), default=0)
        except (OSError, ValueError):
            return 0

    try:
        while process.poll() is None and measured() < 3:
            time.sleep(0.01)
        assert process.poll() is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    kept = next(tmp_path.glob("adapt/*/rows/manifest.json")).stat().st_mtime_ns
    found = adapt(own, start, tmp_path)
    assert next(tmp_path.glob("adapt/*/rows/manifest.json")).stat().st_mtime_ns == kept

    def told(run: Run) -> object:
        return run.passport.get("measured"), run.per_query().to_dict()

    assert {arm: told(run) for arm, run in found.runs.items()} == {
        arm: told(run) for arm, run in result[0].runs.items()
    }


@pytest.mark.parametrize("labels", [1, 2])
def test_another_teacher_gives_logits_and_one_number_a_pair(
    own: Path, start: Path, tmp_path: Path, labels: int
) -> None:
    folder = build_encoder(tmp_path / "teacher", WORDS, layers=1)
    config = ModernBertConfig.from_pretrained(folder, num_labels=labels)
    ModernBertForSequenceClassification(config).save_pretrained(folder)
    work = Adaptation(open_folder(own), tmp_path, Start(str(start)), teacher=str(folder))
    if labels == 1:
        scores = work._open_teacher().predict([("tide", "harbour"), ("tide", "tide")])
        assert scores.shape == (2,) and scores.dtype == np.float32
    else:
        with pytest.raises(CheckpointError, match="gives 2 numbers for a query and a document"):
            work._open_teacher()


def test_the_report_on_many_rows_holds_no_rows(tmp_path: Path) -> None:
    """40,000 rows with 40 MB of text: what is held is eight bytes a text, and a sample."""
    with (tmp_path / "many.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["query", "document"])
        writer.writerows((f"what is {n}", f"{n} is {'a number like others ' * 45}") for n in range(40_000))
    tracemalloc.start()
    try:
        found = survey(open_folder(tmp_path), lambda texts, **_: {"input_ids": [[0]] * len(texts)})  # type: ignore[arg-type]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.rows == 40_000 and dict(found.facts)["different documents"] == "40,000"
    assert peak < 12e6
