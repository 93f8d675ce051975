"""Small homes with one of each kind of kept file, and what their readers hand out of them; `damages` breaks them."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from colbert_zero_lib.errors import DataError
from colbert_zero_lib.home import data_folder

DATA = data_folder()


@dataclass(frozen=True)
class Target:
    """Something that is kept.

    ``make`` writes it under a folder, in one of two versions; ``read`` gives what its reader hands out of there, as
    something to compare. ``of`` are patterns of the files that may be hit. ``declared``: whether somebody else says
    what the bytes are. ``weight`` is its part of the trials.
    """

    kind: str
    make: Callable[[Path, int], object]
    read: Callable[[Path], Any]
    of: tuple[str, ...] = ("**/*",)
    patches: Callable[[Path], Iterable[Any]] = lambda root: ()
    declared: bool = False
    weight: float = 1.0


def digests(folder: Path, without: tuple[str, ...] = ()) -> dict[str, str]:
    """What the files of a folder hold, by name."""
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not {*without} & {*path.relative_to(folder).parts}
    )
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


_WORDS = ["tide", "moon", "harbour", "ship", "cello", "bee", "honey", "dance", "bread"]


def _text(chance: random.Random, words: int = 8) -> str:
    return " ".join(chance.choice(_WORDS) for _ in range(words))


# --- a run --------------------------------------------------------------------------------------------------------


@cache
def _model(version: int, scratch: str) -> Path:
    """A tiny ColBERT as a run keeps it."""
    from colbert_zero_lib.models import build_base, open_model, quiet, train_tokenizer
    from colbert_zero_lib.profiles import EncoderShape
    from colbert_zero_lib.recipes import Recipe
    from colbert_zero_lib.runs.saved import store_settings

    folder = Path(scratch) / f"model-{version}"
    chance = random.Random(0)
    tokenizer = train_tokenizer([_text(chance, 30) for _ in range(50)], 120)
    with quiet():
        base = build_base(
            tokenizer,
            EncoderShape(vocabulary=120, hidden=16, intermediate=24, layers=1, heads=2),
            seed=version,
        )
    with quiet():
        base.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    step = Recipe.parse("colbert:unsupervised").steps[0]
    opened = open_model(
        folder / "base", step, lengths=(16, 24), prompts=("q: ", "d: "), projection=8, seed=version
    )
    with quiet():
        opened.save_pretrained(str(folder / "model"), create_model_card=False)
    store_settings(opened, folder / "model")
    for path in folder.rglob("*"):  # another user rebuilds a run from here
        path.chmod(0o755)
    return folder / "model"


@cache
def _scratch() -> str:
    import atexit
    import tempfile

    folder = tempfile.mkdtemp(prefix="colbert-zero-kept-")
    Path(folder).chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _key() -> Any:
    from colbert_zero_lib.runs import RunKey

    settings = json.dumps({"prompts": ["q: ", "d: "], "device": "cpu", "precision": "float32"})
    return RunKey("colbert:unsupervised", "smoke", settings, 0, "base", "f" * 64, versions=(("toy", "1"),))


def _passport() -> dict[str, Any]:
    queries = {"cwe": 4, "icd": 4}
    return {
        "profile": "smoke", "seed": 0, "recipe": "colbert:unsupervised", "pipeline": None, "arm": None,
        "device": "cpu", "versions": {"torch": "2"}, "git_commit": None, "wall_seconds": {"unsupervised": 3.25},
        "metrics": {name: {"ndcg@10": 0.5, "recall@100": 0.75, "mrr@10": 0.25} for name in queries},
        "mean_ndcg@10": 0.5, "lengths": {"query": 16, "document": 24}, "data": {"fingerprint": "f" * 64},
        "loss": {"unsupervised": [[1, 2.5], [2, 2.25]]}, "threads": 1, "precision": "float32", "source": "offline",
        "parameters": 1234, "temperature": {"unsupervised": 0.2}, "gpu_hours": 0.0,
    }  # fmt: skip


def _frame(version: int = 0) -> Any:
    import pandas as pd

    rows = [
        {
            "collection": name,
            "query": f"q{n}",
            "ndcg@10": 0.5,
            "recall@100": 0.75,
            "mrr@10": 0.25 + version / 8,
        }
        for name in ("cwe", "icd")
        for n in range(4)
    ]
    return pd.DataFrame(rows)


def _build(work: Path, version: int = 0) -> dict[str, Any]:
    shutil.copytree(_model(version, _scratch()), work / "model", dirs_exist_ok=True)
    _frame(version).to_parquet(work / "per_query.parquet", index=False)
    return _passport()


def _make_run(root: Path, version: int) -> None:
    from colbert_zero_lib.runs import Ledger

    Ledger(root / "runs").obtain(_key(), lambda work: _build(work, version))


def _whole(run: Any) -> dict[str, Any]:
    return {
        "passport": run.passport,
        "model": digests(run.model_folder),
        "queries": run.per_query().to_dict("list"),
    }


def _obtain_run(root: Path) -> Any:
    from colbert_zero_lib.runs import Ledger

    return _whole(Ledger(root / "runs").obtain(_key(), _build))


@contextmanager
def _said() -> Iterator[None]:
    """What is said in a warning counts as a sentence, where less came out."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    if caught:
        raise DataError(str(caught[-1].message))


def _list_runs(root: Path) -> Any:
    from colbert_zero_lib.runs import Ledger
    from colbert_zero_lib.verdicts import RunEvidence

    with _said():
        runs = Ledger(root / "runs").sound_runs()
        evidence = RunEvidence.of_runs("yours", runs)
    return [run.passport for run in runs], evidence.means


def _run_folder(root: Path) -> Path:
    return root / "runs" / _key().folder_name


def _open_run(root: Path) -> Any:
    from colbert_zero_lib.evaluation.subjects import find_subject

    subject = find_subject(str(_run_folder(root)), root, "cpu")
    weights = subject.model.state_dict()
    return subject.identity, {name: value.numpy().tobytes() for name, value in weights.items()}


def _export(root: Path) -> Any:
    from colbert_zero_lib.export import export_run
    from colbert_zero_lib.runs import Run

    shutil.rmtree(root / "out", ignore_errors=True)
    return digests(
        export_run(Run.read(_run_folder(root)), root / "out"), without=("README.md", "manifest.json")
    )


def _card_patches(root: Path) -> list[Any]:
    """The card is words for people and says more than this run knows."""
    return [patch("colbert_zero_lib.export.model_card", lambda *_: "card")]


def _record(root: Path) -> Any:
    from colbert_zero_lib.runs import Run
    from colbert_zero_lib.runs.explain import explain
    from colbert_zero_lib.runs.passport import record

    shutil.rmtree(root / "recorded", ignore_errors=True)
    run = Run.read(_run_folder(root))
    file = record(run, root / "recorded")
    other = Run(run.folder, _passport() | {"seed": 1})
    return json.loads(file.read_text()), digests(file.parent), explain(run, other).to_text()


def _make_exported(root: Path, version: int) -> None:
    from colbert_zero_lib.export import export_run
    from colbert_zero_lib.runs import Run

    _make_run(root / "home", version)
    export_run(Run.read(_run_folder(root / "home")), root / "model")
    shutil.rmtree(root / "home")


def _read_exported(root: Path) -> Any:
    from colbert_zero_lib.checkpoint import find_checkpoint

    found = find_checkpoint(str(root / "model"))
    loaded = digests(found.folder, without=("README.md", "manifest.json"))
    return found.interaction, found.prompts, found.lengths, found.query_expansion, found.identity, loaded


# --- training -----------------------------------------------------------------------------------------------------


def _checkpoint_files(step: int, version: int = 0) -> dict[str, bytes]:
    chance = random.Random(f"{step} {version}")
    return {
        "model.safetensors": chance.randbytes(4_000),
        "optimizer.pt": chance.randbytes(8_000),
        "1_Dense/model.safetensors": chance.randbytes(500),
        "trainer_state.json": json.dumps({"global_step": step, "log_history": [version]}).encode(),
        "sittings.json": b'[{"steps": 3, "seconds": 1.5, "devices": 1}]',
        "loss.safetensors": chance.randbytes(64),
    }


def _make_checkpoints(root: Path, version: int) -> None:
    from colbert_zero_lib.keeping import seal
    from colbert_zero_lib.training.checkpoints import COMPLETE

    for step in (3, 6, 9):
        folder = root / "checkpoints" / f"checkpoint-{step}"
        for name, content in _checkpoint_files(step, version).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        seal(folder, name=COMPLETE)


def _read_checkpoint(root: Path) -> Any:
    """Whether what training goes on from is a checkpoint as it was written, whichever it is."""
    from colbert_zero_lib.training.checkpoints import COMPLETE, last_complete_checkpoint

    found = last_complete_checkpoint(root / "checkpoints")
    if found is None:
        return "as written"
    there = {name: (found / name).read_bytes() for name in digests(found, without=(COMPLETE,))}
    right = _checkpoint_files(int(found.name.partition("-")[2]))
    return (
        "as written"
        if there == right
        else {name: "other" for name in right if there.get(name) != right[name]}
    )


# --- text ---------------------------------------------------------------------------------------------------------


def _collection(name: str, seed: int = 0) -> Any:
    from colbert_zero_lib.corpora import Collection

    chance = random.Random(f"{name}{seed}")
    corpus = {f"d{n}": _text(chance, 12) for n in range(12)}
    queries = {f"q{n}": _text(chance, 4) for n in range(4)}
    return Collection(name, corpus, queries, {query: {f"d{n}": 1} for n, query in enumerate(queries)})


def _offline_text(version: int) -> Any:
    from colbert_zero_lib.corpora.build import OfflineText
    from colbert_zero_lib.corpora.material import Draft, Pair

    text = OfflineText()
    for source in ("py_name", "icd"):
        chance = random.Random(f"{source}{version}")
        text.pairs[source] = [Pair(f"{source}:{n}", _text(chance, 4), _text(chance, 12)) for n in range(9)]
        text.dropped[source] = {"double": 2}
    for name in ("cwe", "dev-icd"):
        found = _collection(name, version)
        judged = {query: set(grades) for query, grades in found.qrels.items()}
        text.drafts[name] = Draft(dict(found.corpus), dict(found.queries), judged)
    return text


def _offline_patches(version: int = 0) -> list[Any]:
    from colbert_zero_lib.corpora import offline

    return [
        patch.object(offline, "build", lambda *_: _offline_text(version)),
        patch.object(offline, "fetch_wheels", lambda *_, **__: {}),
        patch.object(offline, "TEST_COLLECTIONS", ("cwe",)),
        patch.object(offline, "DEVELOPMENT_COLLECTIONS", ("dev-icd",)),
    ]


def _make_text(root: Path, version: int) -> None:
    from colbert_zero_lib.corpora import offline

    with patch.object(offline, "build", lambda *_: _offline_text(version)):
        offline.load_offline(root, progress=False)


def _read_text(root: Path) -> Any:
    from colbert_zero_lib.corpora.offline import load_offline

    found = load_offline(root, progress=False)
    return {
        "rows": {name: split.to_dict() for name, split in found.training.items()},
        "collections": [
            vars(each) for part in (found.collections, found.development) for each in part.values()
        ],
        "fingerprint": found.fingerprint,
        "statistics": found.statistics.to_csv(),
    }


def _make_rows(root: Path, version: int) -> None:
    chance = random.Random(version)
    (root / "files").mkdir()
    rows: dict[str, list[dict[str, Any]]] = {"pairs": [], "triples": [], "scored": []}
    for _ in range(40):
        query, positive, *others = (_text(chance, n) for n in (4, 12, 12, 12))
        rows["pairs"].append({"query": query, "document": positive})
        rows["triples"].append({"query": query, "document": positive + " yes", "negatives": others})
        rows["scored"].append(
            {"query": query, "documents": [positive, *others], "scores": [3, 2.5, chance.random()]}
        )
    for name, lines in rows.items():
        (root / "files" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    _read_rows(root)


def _read_rows(root: Path) -> Any:
    from colbert_zero_lib.corpora.folder import FolderSource
    from colbert_zero_lib.profiles import get_profile

    # Its own files may not change: other bytes there are other text.
    source = FolderSource(root / "files", get_profile("smoke"), root / "home")
    parts = (source.pairs(), source.triples(2))
    splits = [split.to_dict() for part in parts for split in part.values()]
    return splits, source.scored(3, 1.0, 40, 0)[:]


def _tables(version: int) -> dict[str, Callable[[], Iterable[pa.Table]]]:
    def part(name: str) -> Callable[[], Iterable[pa.Table]]:
        chance = random.Random(f"{name}{version}")
        return lambda: [pa.table({"query": [_text(chance) for _ in range(50)]}) for _ in range(2)]

    return {name: part(name) for name in ("00000", "00001", "00002")}


def _hub_rows(root: Path, version: int = 0) -> Any:
    from colbert_zero_lib.corpora.store import keep

    folder = root / "hub" / "owner--name@0123456789ab" / "default--split"
    return keep(folder, lambda: _tables(version)).to_dict()


def _toy_wheel(file: Path, version: int) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("toy/data.txt", "toy/more.json"):
            archive.writestr(zipfile.ZipInfo(name), _text(random.Random(version), 500))


def _make_wheels(root: Path, version: int) -> None:
    for folder in ("wheels", "index"):
        (root / folder).mkdir()
        for name in ("one", "two"):
            _toy_wheel(root / folder / f"{name}-1.0-py3-none-any.whl", version + ord(name[0]))


def _wheel_patches(root: Path) -> list[Any]:
    from colbert_zero_lib.corpora import wheels

    index = root.parent / "intact" / "index"
    files = {name: index / f"{name}-1.0-py3-none-any.whl" for name in ("one", "two")}

    def pins(*_: object) -> dict[str, Any]:
        shas = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
        return {name: wheels.Pin(name, "1.0", sha) for name, sha in shas.items()}

    def bring(wanted: list[Any], folder: Path, quiet: bool) -> None:
        for pin in wanted:
            shutil.copyfile(files[pin.name], folder / files[pin.name].name)

    return [patch.object(wheels, "read_pins", pins), patch.object(wheels, "_pip_download", bring)]


def _read_wheels(root: Path, fetch: bool) -> Any:
    from colbert_zero_lib.corpora import wheels

    if fetch:
        wheels.fetch_wheels(root, quiet=True)
    found = {}
    for name in ("one", "two"):
        with wheels.open_wheel(name, root) as archive:
            found |= {f"{name}/{part}": archive.read(part) for part in archive.namelist()}
    return found


def _encoder_patches(root: Path) -> list[Any]:
    from colbert_zero_lib.corpora import minilm

    chance = random.Random("intact" if root.name != "older" else "older")
    content = {name: chance.randbytes(900) for name in ("model.safetensors", *minilm._FILES)}
    file = root.parent / f"{root.name}.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for name, each in content.items():
            archive.writestr(minilm._INSIDE + name, each)
    digest = hashlib.sha256(content["model.safetensors"]).hexdigest()
    return [
        patch.object(minilm, "open_wheel", lambda *_: zipfile.ZipFile(file)),
        patch.object(minilm, "WEIGHTS_SHA256", digest),
    ]


def _encoder(root: Path) -> Any:
    from colbert_zero_lib.corpora.minilm import minilm_folder

    return digests(minilm_folder(root), without=("manifest.json",))


# --- evaluation ---------------------------------------------------------------------------------------------------


def _baselines(root: Path, version: int = 0) -> Any:
    from colbert_zero_lib.evaluation.baselines import evaluate_baselines

    # The cache is found by the text: an older version has the same name and other figures.
    corpora: Any = SimpleNamespace(collections={"cwe": _collection("cwe")}, fingerprint="f")
    with patch("colbert_zero_lib.evaluation.baselines.evaluate", _evaluations(version)):
        found = evaluate_baselines(corpora, root / "baselines", names=("BM25",))
    return found["BM25"].per_query.to_dict("list")


def _evaluations(version: int) -> Callable[..., Any]:
    from colbert_zero_lib.evaluation.results import Evaluation

    return lambda *_, **__: Evaluation(_frame(version))


def _evaluated(root: Path, version: int = 0) -> Any:
    from colbert_zero_lib.evaluation import sessions
    from colbert_zero_lib.evaluation.subjects import find_subject

    def scored(ranking: Any, collection: Any) -> Any:
        return _frame(version)[lambda frame: frame["collection"] == "cwe"].drop(columns="collection")

    with patch.object(sessions, "score_ranking", scored):
        return sessions.evaluate_model(
            find_subject("bm25", root), {"cwe": lambda: _collection("cwe")}, root
        ).per_query.to_dict("list")


def _vectors(root: Path, version: int = 0) -> Any:
    import torch

    from colbert_zero_lib.evaluation import vectors

    def encode(*_: Any) -> Iterator[Any]:
        for batch in range(3):
            values = torch.full((4, 8), float(batch + 10 * version))
            yield vectors.TokenBatch(torch.tensor([0, 1]), torch.tensor([2, 2]), values)

    model: Any = SimpleNamespace(device=torch.device("cpu"))
    with (
        patch.object(vectors, "encode_batches", encode),
        patch.object(vectors, "_key", lambda *_: "key"),
    ):
        found = vectors.VectorStore(root / "vectors").batches(model, ["a"])
        return [tuple(part.tolist() for part in batch) for batch in found]


# --- the hub's cache ----------------------------------------------------------------------------------------------

_COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _make_hub(root: Path, version: int) -> None:
    """As the hub's own library lays it out: blobs by their digest, links to them by name."""
    folder = root / "hub" / "models--owner--toy"
    snapshot = folder / "snapshots" / _COMMIT
    (folder / "blobs").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(_COMMIT)
    for file in sorted(path for path in _model(version, _scratch()).rglob("*") if path.is_file()):
        content, name = file.read_bytes(), file.relative_to(_model(version, _scratch()))
        digest = hashlib.sha256(content).hexdigest()
        if file.suffix != ".safetensors":
            digest = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        (folder / "blobs" / digest).write_bytes(content)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(Path("../" * (2 + len(name.parts) - 1)) / "blobs" / digest)


def _hub_patches(root: Path) -> list[Any]:
    import huggingface_hub.constants as constants

    return [
        patch.object(constants, "HF_HUB_OFFLINE", True),
        patch.object(constants, "HF_HUB_CACHE", str(root / "hub")),
    ]


def _read_hub(root: Path) -> Any:
    from colbert_zero_lib.checkpoint import find_checkpoint

    found = find_checkpoint("owner/toy")
    return found.identity, found.prompts, found.lengths, digests(found.folder)


# --- data/ --------------------------------------------------------------------------------------------------------

_RUNS = ("base--seed0", *(f"colbert-unsupervised--colbert-supervised--seed{seed}" for seed in range(3)))


def _make_data(root: Path, version: int) -> None:
    from colbert_zero_lib.keeping import seal

    data = root / "data"
    for name in ("paper", "mteb", "offline", "benchmarks", "teacher", "runs/sweeps"):
        shutil.copytree(DATA / name, data / name)
    shutil.copy(DATA / "README.md", data)
    (data / "runs" / "laptop").mkdir()
    for name in _RUNS:
        for suffix in (".json", ".parquet"):
            shutil.copy(DATA / "runs" / "laptop" / f"{name}{suffix}", data / "runs" / "laptop")
    if version:
        for file in data.rglob("*.*"):
            if file.suffix in (".csv", ".json", ".txt"):
                file.write_text(file.read_text().replace("4", "5"))
    seal(data)


def _data_patches(root: Path) -> list[Any]:
    modules = [module for name, module in sys.modules.items() if name.startswith("colbert_zero_lib")]
    return [
        patch.object(module, "data_folder", lambda: root / "data")
        for module in modules
        if hasattr(module, "data_folder")
    ]


def _published(root: Path) -> Any:
    from colbert_zero_lib.published import models, tables, training_mix
    from colbert_zero_lib.verdicts import paper_evidence

    found = {str(n): tables.paper_table(n).to_csv() for n in (1, 2, 3, 4, 5, "figure2")}
    found |= {"mteb": tables.mteb_scores().to_csv(), "cards": str(models.model_cards())}
    found |= {"mix": training_mix.training_mix().to_csv(), "queries": training_mix.beir_queries().to_csv()}
    return found | {"evidence": paper_evidence().scores.to_csv()}


def _recorded(root: Path) -> Any:
    from colbert_zero_lib.published.recorded import recorded_evaluations, recorded_runs
    from colbert_zero_lib.recipes import Recipe
    from colbert_zero_lib.verdicts import recorded_evidence

    recipe = Recipe.parse("colbert:unsupervised > colbert:supervised")
    return {
        "passports": recorded_runs("laptop"),
        "queries": {
            seed: each.per_query.to_dict("list")
            for seed, each in recorded_evaluations("laptop", recipe).items()
        },
        "evidence": recorded_evidence("laptop").means,
    }


def _swept(root: Path) -> Any:
    from colbert_zero_lib.published.recorded import recorded_sweeps

    return {str(sweep): sweep for sweep in recorded_sweeps("laptop")}


def _pinned(root: Path) -> Any:
    from colbert_zero_lib.corpora.offline import recorded_fingerprints
    from colbert_zero_lib.corpora.wheels import read_pins

    beside = read_pins(root / "data" / "offline" / "cross_encoder.txt")
    return {"fingerprints": recorded_fingerprints(), "pins": read_pins(), "beside": beside}


def _benchmarks(root: Path) -> Any:
    from colbert_zero_lib.evaluation.choice import measured_costs

    return {"costs": measured_costs()}


def _teacher_lists(root: Path) -> Any:
    from datasets import Dataset

    from colbert_zero_lib.corpora import SUPERVISED_SOURCES
    from colbert_zero_lib.corpora.teacher import load_lists

    split = Dataset.from_dict({"query": ["q"], "document": ["d"]})
    fingerprint = json.loads((DATA / "teacher" / "passport.json").read_text())["corpora"]
    corpora: Any = SimpleNamespace(training=dict.fromkeys(SUPERVISED_SOURCES, split), fingerprint=fingerprint)
    found = load_lists(corpora)
    arrays = (found.documents, found.scores, found.hard)
    return [np.ascontiguousarray(array).tobytes() for array in arrays], found.passport


# --- the report ---------------------------------------------------------------------------------------------------


def _make_report(root: Path, version: int) -> None:
    import nbformat

    cells = [nbformat.v4.new_markdown_cell("# Title", id="a"), nbformat.v4.new_code_cell("1", id="b")]
    html = f"<table><tr><th>verdict</th></tr><tr><td>agrees {version}</td></tr></table>"
    picture = nbformat.v4.new_output("display_data", {"text/html": html, "image/svg+xml": "<svg></svg>"})
    cells[1].update(outputs=[picture], execution_count=1)
    cells[1].metadata["tags"] = ["verdict"]
    (root / "report" / "notebooks").mkdir(parents=True)
    notebook = nbformat.v4.new_notebook(cells=cells)
    for name in ("00_one", "01_two"):
        (root / "report" / "notebooks" / f"{name}.ipynb").write_text(nbformat.writes(notebook))
    _write_report(root)


def _write_report(root: Path) -> Any:
    from colbert_zero_lib.report import write_report
    from colbert_zero_lib.suite import NotebookRun

    runs = [
        NotebookRun(name, root / "report" / "notebooks" / f"{name}.ipynb", 1.0)
        for name in ("00_one", "01_two")
    ]
    write_report(runs, root / "report")
    return digests(root / "report")


# --- a search ------------------------------------------------------------------------------------------------------


def _make_index(root: Path, version: int) -> None:
    from colbert_zero_lib.evaluation.subjects import find_subject
    from colbert_zero_lib.searching.documents import Document
    from colbert_zero_lib.searching.index import SearchIndex

    chance = random.Random(version)
    word = str(_model(0, _scratch()))
    index = SearchIndex.create(root / "index", word, find_subject(word, root), kind="exact")
    index.add(Document(f"{number}", _text(chance)) for number in range(30))
    index.add([Document("30", _text(chance))])
    index.delete(["3", "17"])


def _search_index(root: Path) -> Any:
    from colbert_zero_lib.evaluation.subjects import find_subject
    from colbert_zero_lib.searching.index import SearchIndex

    index = SearchIndex(root / "index", find_subject(str(_model(0, _scratch())), root))
    hits = index.search(["tide moon", "bread"], 29)
    return (
        index.settings,
        len(index),
        [[(hit.document, round(hit.score, 4)) for hit in found] for found in hits],
    )


RUN = ("runs/*/*", "runs/*/model/**/*")
TARGETS = (
    Target("run", _make_run, _obtain_run, RUN, weight=2),
    Target("run, listed", _make_run, _list_runs, RUN, weight=2),
    Target("run, opened", _make_run, _open_run, RUN, weight=0.7),
    Target("run, exported", _make_run, _export, RUN, _card_patches),
    Target("run, recorded", _make_run, _record, RUN),
    Target("exported model", _make_exported, _read_exported, ("model/**/*",), _card_patches),
    Target("checkpoint", _make_checkpoints, _read_checkpoint, weight=2),
    Target(
        "built text", _make_text, _read_text, ("corpora/*/**/*",), lambda root: _offline_patches(), weight=2
    ),
    Target("folder's rows", _make_rows, _read_rows, ("home/**/*",)),
    Target("hub's rows", _hub_rows, _hub_rows, ("hub/**/*",)),
    Target(
        "wheel", _make_wheels, lambda root: _read_wheels(root, False), ("wheels/*",), _wheel_patches, True
    ),
    Target(
        "wheel, fetched",
        _make_wheels,
        lambda root: _read_wheels(root, True),
        ("wheels/*",),
        _wheel_patches,
        True,
    ),
    Target("encoder", lambda root, _: _encoder(root), _encoder, ("cache/minilm/**/*",), _encoder_patches),
    Target(
        "encoder's weights",
        lambda root, _: _encoder(root),
        _encoder,
        ("cache/minilm/*.safetensors",),
        _encoder_patches,
        True,
        0.5,
    ),
    Target("baselines", _baselines, _baselines, ("baselines/*",)),
    Target("evaluation", _evaluated, _evaluated, ("evaluations/**/*",)),
    Target("vectors", _vectors, _vectors, ("vectors/**/*",)),
    Target("search index", _make_index, _search_index, ("index/**/*",)),
    Target("model of the hub", _make_hub, _read_hub, ("hub/*/blobs/*", "hub/*/refs/*"), _hub_patches, True),
    Target(
        "published table",
        _make_data,
        _published,
        ("data/paper/*", "data/mteb/*", "data/manifest.json"),
        _data_patches,
    ),
    Target(
        "recorded run", _make_data, _recorded, ("data/runs/laptop/*", "data/manifest.json"), _data_patches
    ),
    Target("recorded sweep", _make_data, _swept, ("data/runs/sweeps/**/*",), _data_patches),
    Target(
        "pins and fingerprints", _make_data, _pinned, ("data/offline/*", "data/manifest.json"), _data_patches
    ),
    Target("benchmark", _make_data, _benchmarks, ("data/benchmarks/search.json",), _data_patches, weight=0.5),
    Target("teacher's lists", _make_data, _teacher_lists, ("data/teacher/[lp]*",), _data_patches),
    Target("report", _make_report, _write_report, ("report/*", "report/figures/*", "report/tables/*")),
)
