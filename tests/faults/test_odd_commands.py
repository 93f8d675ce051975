"""Odd commands, odd texts and odd files: each ends in its result or in one sentence, and never in a traceback."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from typer.testing import CliRunner, Result

from colbert_zero_lib import cli, cli_notebooks, report
from colbert_zero_lib.checkpoint import describe_checkpoint
from colbert_zero_lib.corpora import read_collection, readers, wheels
from colbert_zero_lib.corpora.qrels import read_qrels
from colbert_zero_lib.corpora.sources import open_source
from colbert_zero_lib.errors import (
    LONGEST,
    CheckpointError,
    ColbertZeroError,
    DataError,
    NotebookError,
    ParameterError,
    RunError,
    one_line,
)
from colbert_zero_lib.figures import save
from colbert_zero_lib.figures.tables import make_table
from colbert_zero_lib.keeping import seal
from colbert_zero_lib.profiles import get_profile
from colbert_zero_lib.recipes import find_recipe
from colbert_zero_lib.runs import Ledger, Run, RunKey, canonical_json, explain
from colbert_zero_lib.runs.arms import grid_recipes
from colbert_zero_lib.runs.grid import read_seeds
from colbert_zero_lib.runs.passport import read_passport, validate_passport
from colbert_zero_lib.scratch import scratch
from colbert_zero_lib.steps import MOST_SEED, check_seed
from colbert_zero_lib.suite import NotebookRun

pytestmark = pytest.mark.faults

POSIX = pytest.mark.skipif(os.name == "nt", reason="pipes with names, limits and /dev are POSIX")
LONG = ", ".join(["colbert:unsupervised > colbert:supervised > colbert:distillation"] * 8)
NO_PATH = "x" * 5000
DIGITS = "9" * 5000
DEEP = "[" * 100_000


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words), env={"COLUMNS": "160"})


def passport() -> dict[str, Any]:
    return {
        "profile": "tiny",
        "seed": 0,
        "recipe": "colbert:supervised",
        "pipeline": None,
        "arm": None,
        "device": "cpu",
        "versions": {"torch": "2"},
        "git_commit": None,
        "wall_seconds": {"supervised": 3.0},
        "metrics": {"one": {"ndcg@10": 0.5}},
        "mean_ndcg@10": 0.5,
    }


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with one sound run and some whose passports are not."""
    monkeypatch.setenv("COLBERT_ZERO_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    key = RunKey("colbert:supervised", "tiny", canonical_json({}), 0, "toy", "f" * 64, (("torch", "2"),))
    Ledger(tmp_path / "runs").obtain(key, lambda work: passport())
    lacking = {name: value for name, value in passport().items() if name != "profile"}
    odd = {"lacking": json.dumps(lacking), "list": "[]", "deep": DEEP, "digits": f'{{"seed": {DIGITS}}}'}
    odd["key"] = json.dumps(passport() | {"key": ["no", "object"], "digest": 3})
    odd["metrics"] = json.dumps(passport() | {"metrics": {"one": {"ndcg@10": 0.5, "mrr@10": "high"}}})
    for name, text in odd.items():
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "run.json").write_text(text)
        seal(tmp_path / "runs" / name)
    (tmp_path / "file").write_text("colbert:nonsense\n")
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "culprit"),
    [
        (("nonsense",), "nonsense"),
        (("--nonsense",), "--nonsense"),
        (("run",), "pipeline"),
        (("run", "d"), "a, b, c"),
        (("run", ""), "''"),
        (("run", "dense:distillation"), "distillation"),
        (("run", "colbert:supervised[prefix=random/" + DIGITS + "]"), "from 1 to 64"),
        (("run", "colbert:supervised\x1b[31m\n\u2028"), "colbert:supervised"),
        (("run", NO_PATH), "There is no pipeline"),
        (("run", "c", "--seed", "4294967296"), "4294967296"),
        (("run", "c", "--seed", "-1"), "-1"),
        (("run", "c", "--seed", "1.5"), "--seed"),
        (("run", "c", "--seed", DIGITS), "--seed"),
        (("run", "c", "--profile", "nope"), "nope"),
        (("run", "c", "--as", "nope"), "nope"),
        (("run", "c", "--processes", "0"), "--processes"),
        (("sweep", "c", "--seed", "4294967296"), "4294967296"),
        (("grid", LONG + ", d"), "'d'"),
        (("grid", ""), "recipe"),
        (("grid", "file"), "file:1"),
        (("grid", "folder"), "folder"),
        (("grid", "table4", "--seeds", "4294967296"), "4294967296"),
        (("grid", "table4", "--seeds", DIGITS), "--seeds"),
        (("grid", "table4", "--seeds", "0,x"), "0,x"),
        (("evaluate", "bm25", "--on", NO_PATH), "No set"),
        (("evaluate", "bm25", "--on", "file"), "file"),
        (("evaluate", NO_PATH, "--on", "offline"), "No run"),
        (("evaluate", "runs/lacking", "--on", "offline"), "profile"),
        (("list", "--profile", "nope"), "nope"),
        (("show", "zzz"), "zzz"),
        (("show", NO_PATH), "No run"),
        (("show", "lacking"), "profile"),
        (("show", "key"), "key"),
        (("show", "metrics"), "mrr@10"),
        (("explain", "colbert:supervised", "lacking"), "profile"),
        (("export", "colbert:supervised", "file"), "file"),
        (("record", "nope"), "nope"),
        (("notebooks", "06", "-p", "seeds={[]:1}"), "list[int]"),
        (("notebooks", "06", "-p", f"seeds={DIGITS}"), "list[int]"),
        (("notebooks", "06", "-p", f"seeds={'[' * 5000}"), "list[int]"),
        (("notebooks", "06", "-p", "1=2"), "name=value"),
        (("figures", "--output", "file"), "file"),
        (("figures", "--format", "exe"), "exe"),
        (("data", "forecast", "--profile", "nope"), "nope"),
        (("data", "nonsense"), "nonsense"),
    ],
    ids=lambda value: one_line(" ".join(value) if isinstance(value, tuple) else value, 50),
)
@pytest.mark.filterwarnings("ignore")
def test_an_odd_command_is_one_sentence(home: Path, words: tuple[str, ...], culprit: str) -> None:
    result = invoke(*words)
    sentences = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
    assert result.exit_code == 2, result.output[-2000:]
    assert len(sentences) == 1 and sentences[0].startswith("error: ") and len(sentences[0]) <= LONGEST + 10
    assert culprit in sentences[0]
    assert "Traceback" not in result.output and result.stdout == ""
    assert not (home / "errors").exists()


def test_a_folder_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        open_source(get_profile("smoke").on(f"folder:{NO_PATH}"), tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_runs_whose_passports_lack_something_are_passed_over(home: Path) -> None:
    listed = invoke("list")
    assert listed.exit_code == 0 and listed.stdout.count("tiny") == 1
    assert "No runs of profile laptop" in invoke("list", "--profile", "laptop").stdout
    shutil.rmtree(home / "runs")
    assert f"{home / 'runs'}, a folder that is not there" in invoke("list").stdout
    assert f"{home / 'runs'}, a folder that is not there" in invoke("show", "c").stderr


def test_a_name_that_is_nearly_a_runs_is_told_the_few_that_are_near(home: Path) -> None:
    [folder] = [path.name for path in (home / "runs").glob("colbert*")]
    with pytest.warns(UserWarning):
        said = invoke("show", folder[:-1] + "zz").stderr
    assert f"near it: {folder})" in said and "lacking" not in said


def raising(error: BaseException) -> Callable[[], Any]:
    def ledger() -> Any:
        raise error

    return ledger


def test_a_fault_says_whose_it_is_and_keeps_its_traceback(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_ledger", raising(ZeroDivisionError("over\nand over")))
    result = invoke("list")
    [file] = (home / "errors").iterdir()
    assert result.exit_code == 70 and len(result.stderr.splitlines()) == 1
    for word in ("fault of this suite", "ZeroDivisionError: over and over", str(file), "CONTRIBUTING.md"):
        assert word in result.stderr
    assert "Traceback" in file.read_text() and file.read_text().endswith("over\nand over\n")
    shutil.rmtree(home / "errors")
    (home / "errors").write_text("in the way")
    result = invoke("list")
    assert result.exit_code == 70 and "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: a fault of this suite")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 2, "memory"),
        (OSError(errno.ENOSPC, "No space left on device", "here"), 2, "here cannot be used"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "the output cannot be used"),
        (OSError(errno.EIO, "Input/output error", "there"), 2, "there cannot be used (Input/output error)"),
        (OSError(errno.ENOENT, "No such file or directory"), 2, "something that is read or written cannot"),
        (OSError(errno.EISDIR, "Is a directory", "near", None, "there"), 2, "there is in the way"),
        (OSError(errno.ENOMEM, "Memory mapping file failed: Cannot allocate memory"), 2, "enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 2, "enough memory"),
        (RunError("half of one \udcff"), 2, "half of one"),
        (ValueError("I/O error: File too large (os error 27)"), 2, "free some space"),
        (RunError("one\ntwo\x1b[31m\t" + "x" * 5000 + " mend it."), 2, "mend it."),
    ],
)
def test_what_nobody_worded_has_a_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    monkeypatch.setattr(cli, "_ledger", raising(error))
    result = invoke("list")
    assert result.exit_code == code and result.stdout == ""
    assert said in result.stderr and len(result.stderr.splitlines()) == 1 and "\x1b" not in result.stderr
    assert len(result.stderr) <= LONGEST + 10


@POSIX
@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("show zzz", 2, "zzz"),
        ("run c --seed 4294967296", 2, "4294967296"),
        ("choices > /dev/full", 2, "No space left"),
        ("choices >&-", 0, ""),
        ("choices | false", 0, ""),
        ("choices | head -n 1 > /dev/null; exit ${PIPESTATUS[0]}", 141, ""),
    ],
)
def test_a_real_process_ends_in_words(home: Path, line: str, code: int, said: str) -> None:
    words = f"set +o pipefail; {sys.executable} -m colbert_zero_lib {line}"
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1]), "COLUMNS": "20"}
    if "false" in line:
        words += "; exit 0"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode in ((code, 0) if code == 141 else (code,)), done.stderr  # the pipe may hold it all
    sentences = [one for one in done.stderr.splitlines() if not one.startswith("note: ")]
    assert said in done.stderr and len(sentences) == bool(said)


def attempt(work: Callable[[], Any]) -> None:
    """Do it; what goes wrong is an error of this library with a message of one line."""
    with suppress(ColbertZeroError):
        work()


PIECES = [*"[]:/@>,# \n\0\ud800٣", "colbert", "dense", "unsupervised", "supervised", "-prompts", "prefix="]
PIECES += ["random", "from ", "./a", "+length", "1_0", "9" * 4400, "base", "x" * 300]
TEXTS = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@MANY
@given(TEXTS)
def test_recipes_grids_seeds_and_parameters_are_read_or_refused(text: str) -> None:
    for read in (find_recipe, grid_recipes, read_seeds):
        attempt(lambda read=read: read(text))  # type: ignore[misc]
    attempt(lambda: cli_notebooks._assignments([text]))
    attempt(lambda: cli_notebooks._assignments([f"seeds={text}"]))


@MANY
@given(st.dictionaries(st.sampled_from([*passport(), "key", "digest"]), JSON, max_size=3))
def test_passports_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    odd = passport() | changes
    attempt(lambda: validate_passport(odd))
    attempt(lambda: explain(Run(folder, odd), Run(folder, passport())).to_text())


CELLS = [*'\t\n \r\0"{\ufeff٣', "q1", "d1", "1", "1_0", "1e400", "nan", "[" * 2000, "9" * 4400]
CELLS += ['{"query-id": "q", "corpus-id": "d"}', '{"qid": "q", "docid": 3, "score": 1e400}']
CELLS += ['{"_id": "\\ud800", "text": "a"}', '{"query": "a", "document": "b", "scores": [1e400]}']
CONTENTS = st.one_of(
    st.binary(max_size=60),
    st.lists(st.sampled_from(CELLS), max_size=12).map(lambda found: "".join(found).encode()),
)


@MANY
@given(CONTENTS)
def test_files_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "odd"
    folder.mkdir(exist_ok=True)
    for name in (
        "a.tsv",
        "a.jsonl",
        "a.jsonl.gz",
        "a.csv",
        "a.parquet",
        "run.json",
        "config.json",
        "modules.json",
    ):
        (folder / name).write_bytes(content)
    (folder / "model.safetensors").touch()
    for name in ("a.tsv", "a.jsonl", "a.jsonl.gz"):
        attempt(lambda name=name: read_qrels(folder / name))  # type: ignore[misc]
    for name in ("a.jsonl", "a.csv", "a.tsv", "a.parquet"):
        for shape in (readers.pair, readers.triple, readers.scored):
            attempt(lambda name=name, shape=shape: list(readers.tables(folder / name, shape)))  # type: ignore[misc]
    attempt(lambda: validate_passport(Run.read(folder).passport))
    attempt(lambda: describe_checkpoint(folder, "odd", "x"))


KEYS = ["query", "document", "positive", "negatives", "documents", "scores", "positive_passages"]
KEYS += ["negative_0", "negative_" + "9" * 4400]


@MANY
@given(st.dictionaries(st.sampled_from(KEYS), JSON | st.just(["a"])))
def test_rows_are_shaped_or_refused(row: dict[str, Any]) -> None:
    for shape in (readers.pair, readers.triple, readers.scored):
        attempt(lambda shape=shape: list(shape("here:1", row)))  # type: ignore[misc]


@pytest.mark.parametrize("grade", ["1_0", "٣", "nan", "inf", "1e400", "1e300", DIGITS, "0x1", "", "1.5"])
def test_a_grade_that_only_python_reads_is_refused(tmp_path: Path, grade: str) -> None:
    (tmp_path / "a.tsv").write_text(f"q\td\t{grade}\n")
    with pytest.raises(DataError, match=r"a\.tsv:1 has the grade"):
        read_qrels(tmp_path / "a.tsv")


@pytest.mark.parametrize("grade", ["1", "1.0", "+1", "1e0", " 1 ", "1.000e+00"])
def test_a_grade_may_be_written_as_a_number(tmp_path: Path, grade: str) -> None:
    (tmp_path / "a.tsv").write_text(f"q\td\t{grade}\n")
    assert read_qrels(tmp_path / "a.tsv") == {"q": {"d": 1}}


@pytest.mark.parametrize("text", [DEEP, f'{{"_id": {DIGITS}}}', '{"_id": "\\ud800", "text": "a"}'])
def test_json_that_python_cannot_hold_names_its_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "a"}\n' + text + "\n")
    with pytest.raises(DataError, match=r"corpus\.jsonl:2 is not JSON"):
        read_collection(tmp_path)
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json cannot be read"):
        read_passport(tmp_path / "run.json")
    (tmp_path / "config.json").touch()
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "modules.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"modules\.json of toy cannot be read"):
        describe_checkpoint(tmp_path, "toy", "x")


@POSIX
def test_a_pipe_or_a_device_in_a_files_place_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("corpus.jsonl", "run.json", "pairs.parquet", "grid"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=r"corpus\.jsonl cannot be read: it is no ordinary file"):
        read_collection(tmp_path)
    with pytest.raises(RunError, match="no ordinary file"):
        Run.read(tmp_path)
    with pytest.raises(DataError, match="no ordinary file"):
        list(readers.read_rows(tmp_path / "pairs.parquet"))
    for name in (str(tmp_path / "grid"), "/dev/zero"):
        with pytest.raises(DataError, match="no ordinary file"):
            grid_recipes(name)


@pytest.mark.parametrize("seed", [-1, MOST_SEED + 1, True, 1.0, "1", 10**5000], ids=range(6))
def test_a_seed_out_of_range_is_refused(seed: Any) -> None:
    assert check_seed(MOST_SEED) == MOST_SEED
    with pytest.raises(ParameterError, match="from 0 to 4294967295"):
        check_seed(seed)


def executed(folder: Path, name: str, cells: list[nbformat.NotebookNode]) -> NotebookRun:
    folder.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{name}.ipynb")
    return NotebookRun(name, folder / f"{name}.ipynb", 1.0)


def shown(html: str, *tags: str) -> nbformat.NotebookNode:
    outputs = [nbformat.v4.new_output("display_data", {"text/html": html})]
    return nbformat.v4.new_code_cell("x", outputs=outputs, metadata={"tags": list(tags)})


def picture(size: int) -> nbformat.NotebookNode:
    content = random.Random(0).randbytes(size).hex()
    return nbformat.v4.new_code_cell(
        "x", outputs=[nbformat.v4.new_output("display_data", {"image/svg+xml": content})]
    )


def test_odd_names_titles_and_tables_do_not_break_the_report(tmp_path: Path) -> None:
    head = '<tr><th colspan="wide">a</th><th colspan="999999999999">[x](y)</th></tr>'
    table = f"<table>{head}<tr><td>b|</td></tr></table>"
    title = nbformat.v4.new_markdown_cell("# A | <script>alert(1)</script> [x](javascript:y)")
    name = "01_a (b) #|%?é" + "x" * 200
    runs = [executed(tmp_path / "notebooks", name, [title, picture(9), shown(table, "verdict")])]
    page = report.write_report(runs, tmp_path).read_text()
    markdown = (tmp_path / "index.md").read_text()
    assert "<script>" not in page + markdown and "](javascript" not in markdown and "[x](y)" not in markdown
    [figure] = (tmp_path / "figures").iterdir()
    assert f"](figures/{figure.name})" in markdown and f'src="figures/{figure.name}"' in page
    assert "](notebooks/01_a%20%28b%29%20%23%7C%25%3F%C3%A9" in markdown


@contextmanager
def no_room_for(size: int) -> Iterator[None]:
    """Files of this process end at ``size`` bytes, as on a full disk."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@POSIX
def test_a_figure_and_a_table_that_cannot_be_written_leave_the_earlier_ones(tmp_path: Path) -> None:
    figure, table = Figure(), make_table(pd.DataFrame({"a": [1]}), "one", "First")
    writers: list[Callable[[], Any]] = [
        lambda: save(figure, "one", tmp_path),
        lambda: table.write(tmp_path),
    ]
    for write in writers:
        write()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for write in writers:
        with no_room_for(40), pytest.raises(OSError, match="File too large"):
            write()
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()} and len(before) == 5


@POSIX
def test_a_report_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path) -> None:
    cells = [nbformat.v4.new_markdown_cell("# First"), picture(9)]
    report.write_report([executed(tmp_path / "notebooks", "01_a", cells)], tmp_path)
    before = {
        path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".ipynb"
    }
    again = [
        executed(tmp_path / "notebooks", "02_b", [nbformat.v4.new_markdown_cell("# Second"), picture(9999)])
    ]
    with (
        no_room_for(5000),
        pytest.raises(NotebookError, match="cannot be written to .* an earlier one stays"),
    ):
        report.write_report(again, tmp_path)
    after = {
        path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".ipynb"
    }
    assert after == before


@POSIX
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from colbert_zero_lib.scratch import scratch\n"
        "with scratch('toy', Path(sys.argv[1])) as folder:\n"
        "    (folder / 'large').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", script, tmp_path], env=environment, check=False)
    [left] = tmp_path.iterdir()
    with scratch("toy", tmp_path) as folder, scratch("toy", tmp_path) as other:
        assert not left.exists() and folder.is_dir() and other.is_dir()
    assert not list(tmp_path.iterdir())


def test_pip_does_not_run_on_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        words = ["download", "--isolated", "-i", index, "--timeout", "60", "-d", str(tmp_path), "toy"]
        pip = subprocess.Popen([sys.executable, "-c", wheels._PIP, *words], stdin=subprocess.PIPE)
        asked, _ = silent.accept()
        assert pip.poll() is None and pip.stdin is not None
        pip.stdin.close()
        assert pip.wait(20) == 1
        asked.close()
