"""Runs in several processes: equal to one, whoever starts them, and resumed whoever is killed.

Run under torchrun, this file is one of the processes: ``test_processes.py FOLDER``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest
import torch

from colbert_zero_lib import group
from colbert_zero_lib.errors import GroupError
from colbert_zero_lib.evaluation import DenseRetriever, LateInteractionRetriever
from colbert_zero_lib.home import home
from colbert_zero_lib.launch import without_option
from colbert_zero_lib.profiles import get_profile
from colbert_zero_lib.runs import Ledger, Run, RunKey, ledger
from colbert_zero_lib.runs.execute import Workshop, run_recipe

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).resolve().parents[2]
COLBERT = "colbert:unsupervised > colbert:supervised > colbert:distillation"
DENSE = "dense:supervised"
WORDS = ("run", "colbert:unsupervised", "--profile", "smoke", "--quiet")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
FEW_TEXTS = 300  # learning words from all texts would take most of a test's time

# What every Python process of a command does first: it takes few texts, and the first process of a job kills whom
# $KILL names as soon as the checkpoint that $KILL_AT names is complete.
CUSTOM = """
import os, signal, sys
from colbert_zero_lib.corpora import sources
sources.OfflineSource.texts = lambda self: list(self.corpora.training["wiki_title"][:FEW_TEXTS]["document"])

def hook(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith(os.environ["KILL_AT"] + "/complete"):
        import psutil
        launcher = psutil.Process(os.getppid())
        ranks = sorted(child.pid for child in launcher.children() if child.pid != os.getpid())
        whom = {"other": ranks, "first": [], "launcher": [launcher.pid]}
        for process in whom[os.environ["KILL"]]:
            os.kill(process, signal.SIGKILL)
        if os.environ["KILL"] == "first":
            os.kill(os.getpid(), signal.SIGKILL)

if os.environ.get("RANK") == "0" and "KILL" in os.environ:
    sys.addaudithook(hook)
""".replace("FEW_TEXTS", str(FEW_TEXTS))


def exact_shop(folder: Path) -> Workshop:
    """The smallest profile in double precision, so that two orders of summing differ by next to nothing.

    In single precision they differ in the seventh digit, which the optimizer's first steps (gradient over its own
    size) blow up to the third within twelve steps.
    """
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    smoke = get_profile("smoke")
    budgets = {
        key: replace(budget, learning_rate=budget.learning_rate / 10) for key, budget in smoke.budgets.items()
    }
    shop = Workshop(replace(smoke, budgets=budgets), home(), "cpu", progress=False)
    texts = list(shop.source.corpora.training["wiki_title"][:FEW_TEXTS]["document"])  # type: ignore[attr-defined]
    object.__setattr__(shop.source, "texts", lambda: texts)
    shop.__dict__.update(ledger=Ledger(folder), precision="float32")
    return shop


def rankings(shop: Workshop, colbert: Run, dense: Run, together: bool) -> dict[str, np.ndarray]:
    """Indices and scores of every query of a collection, by a late-interaction and by a dense model."""
    collection = shop.collections["wiki"]
    late = LateInteractionRetriever(shop.open(colbert), positions=256, together=together)  # type: ignore[arg-type]
    flat = DenseRetriever(shop.open(dense), positions=60, together=together)
    found = {"late": late.search(collection, 20), "flat": flat.search(collection, 20)}
    return {f"{name}_{part}": getattr(r, part) for name, r in found.items() for part in ("indices", "scores")}


def refusal(action: Any) -> str:
    try:
        action()
    except GroupError as error:
        return str(error)
    return ""


def work_of_a_process(folder: Path) -> None:
    """The runs, and what goes wrong between processes; each writes what it was told."""
    with group.joined():
        shop = exact_shop(folder / "runs")
        colbert, dense = (run_recipe(recipe, seed=1, shop=shop) for recipe in (COLBERT, DENSE))
        found = rankings(shop, colbert, dense, together=True)
        np.savez(folder / f"rankings-{group.rank()}.npz", **found)  # type: ignore[arg-type]
        told: dict[str, Any] = {"everyone": group.gather(group.rank(), "say its rank")}
        time.sleep(2 * group.rank())
        told["late"] = refusal(lambda: group.barrier("come", limit=10 if group.rank() else 0.5))
        key = RunKey("colbert:unsupervised", "smoke", "{}", group.rank(), "base", "text", (("torch", "2"),))
        told["other run"] = refusal(lambda: shop.ledger.obtain(key, lambda _: {}))
        ledger._VISIBLE = 0.2
        own = Ledger(folder / f"own-{group.rank()}")
        told["own folder"] = refusal(lambda: own.obtain(replace(key, seed=0), lambda _: {}))
        (folder / f"told-{group.rank()}.json").write_text(json.dumps(told))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        [*TORCHRUN, __file__, str(folder)], env=environment, capture_output=True, text=True, timeout=600
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    return folder


def test_two_processes_make_the_runs_of_one(two: Path, tmp_path: Path) -> None:
    try:
        shop = exact_shop(tmp_path)
        final = [run_recipe(recipe, seed=1, shop=shop) for recipe in (COLBERT, DENSE)]
        shared = {run.folder.name: run for run in Ledger(two / "runs").runs()}
        assert len(shared) == 5  # the base encoder and a run for each of four steps
        for one in shop.ledger.runs():
            other = shared[one.folder.name]
            (own,), (theirs,) = one.passport["loss"].values(), other.passport["loss"].values()
            assert [step for step, _ in own] == [step for step, _ in theirs]
            assert len(own) >= 5
            assert [v for _, v in own] == pytest.approx([v for _, v in theirs], abs=1e-5)
            for name in ("metrics", "development"):
                for collection, metrics in one.passport[name].items():
                    assert metrics == pytest.approx(other.passport[name][collection], abs=1e-6)
            assert other.passport["processes"] == 2 and "processes" not in one.passport
            assert other.checked()
        assert not list((two / "runs").glob("*/checkpoints"))
        # Of the same model, the ranking is the same to the last bit, and every process has it.
        colbert, dense = (shared[run.folder.name] for run in final)
        alone = rankings(shop, colbert, dense, together=False)
        for rank in range(2):
            shares = np.load(two / f"rankings-{rank}.npz")
            assert all(np.array_equal(alone[name], shares[name]) for name in alone)
    finally:
        torch.set_default_dtype(torch.float32)


def test_what_goes_wrong_between_processes_is_one_sentence(two: Path) -> None:
    first, other = (json.loads((two / f"told-{rank}.json").read_text()) for rank in range(2))
    assert first["everyone"] == other["everyone"] == [0, 1]
    assert "waited 0 seconds for process 1 of 2 to come" in first["late"] and other["late"] == ""
    for name, word in {"other run": "make another run", "own folder": "that all nodes share"}.items():
        assert first[name] == other[name]
        assert word in first[name] and first[name].startswith("process 1 of 2") and ". " not in first[name]
    assert str(two / "own-1") in first["own folder"]


def command(root: Path, **more: str) -> dict[str, str]:
    """The environment of a command whose runs go to a home of its own beside the built text."""
    own = root / "home"
    if not own.exists():
        own.mkdir(parents=True)
        for name in ("wheels", "corpora"):
            (own / name).symlink_to(home().resolve() / name)
        (root / "sitecustomize.py").write_text(CUSTOM)
    path = os.pathsep.join((str(root), str(ROOT), str(Path(sys.executable).parent)))
    kept = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    return {
        **kept,
        "PYTHONPATH": path,
        "COLBERT_ZERO_HOME": str(own),
        "OMP_NUM_THREADS": "1",
        **more,
    }


def finished(root: Path, words: tuple[str, ...], **more: str) -> tuple[int, str, float]:
    """Exit code, what was said on stderr, and seconds from the kill (or the start) to the end of all processes."""
    started = time.monotonic()
    # Its stderr stays open as long as any process that it started lives.
    done = subprocess.run(
        words, env=command(root, **more), capture_output=True, text=True, timeout=300, cwd=root
    )
    return done.returncode, done.stderr, time.monotonic() - started


def figures(root: Path) -> list[tuple[str, Any, Any]]:
    runs = Ledger(root / "home" / "runs").runs()
    return [(run.folder.name, run.passport["metrics"], run.passport["loss"]) for run in runs]


@pytest.fixture(scope="module")
def through_slurm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The batch script for one node, with the scheduler's commands replaced."""
    root = tmp_path_factory.mktemp("slurm")
    for name, body in {
        "srun": 'echo "$@" >> steps; shift; exec "$@"',
        "scontrol": "echo localhost",
        "torchrun": f'exec "{sys.executable}" -m torch.distributed.run "$@"',
    }.items():
        (root / "bin").mkdir(exist_ok=True)
        (root / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (root / "bin" / name).chmod(0o755)
    slurm = {"SLURM_NNODES": "1", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1", "SLURM_GPUS_ON_NODE": "2"}
    code, said, _ = finished(
        root,
        ("bash", str(ROOT / "scripts" / "slurm_run.sh"), WORDS[1], "smoke"),
        PATH=f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}",
        PORT="0",
        **slurm,
    )
    assert code == 0, said[-4000:]
    return root


def test_the_batch_script_starts_torchrun_with_options_that_exist(through_slurm: Path) -> None:
    from torch.distributed.run import get_args_parser
    from typer.main import get_command

    from colbert_zero_lib.cli import app

    (step,) = (through_slurm / "steps").read_text().splitlines()
    options, starts, words = step.partition("torchrun ")
    assert options == "--kill-on-bad-exit=1 " and starts
    chosen = get_args_parser().parse_args(words.split())
    assert (chosen.nnodes, chosen.nproc_per_node, chosen.rdzv_backend) == ("1", "2", "c10d")
    assert chosen.module and chosen.training_script == "colbert_zero_lib"
    verb, *rest = chosen.training_script_args
    context = get_command(app).commands[verb].make_context(verb, rest)  # type: ignore[attr-defined]
    assert (context.params["pipeline"], context.params["profile"]) == (WORDS[1], "smoke")
    assert len(figures(through_slurm)) == 2


def test_whoever_is_killed_the_job_says_so_and_the_same_command_resumes_to_the_same_figures(
    through_slurm: Path, tmp_path: Path
) -> None:
    ours = (sys.executable, "-m", "colbert_zero_lib", *WORDS, "--processes", "2")
    theirs = (*TORCHRUN, "-m", "colbert_zero_lib", *WORDS)
    moments = (
        (ours, "other", "checkpoint-3", "error: process 1 of 2 was ended by SIGKILL"),
        (theirs, "first", "checkpoint-6", "error: "),
        (ours, "launcher", "checkpoint-9", "error: the launcher of this job is gone"),
    )  # `test_hub_runs` kills all of them at once
    for words, whom, moment, sentence in moments:
        code, said, seconds = finished(tmp_path, words, KILL=whom, KILL_AT=moment)
        assert code != 0 and seconds < 90, said
        spoken = [line for line in said.splitlines() if line.startswith("error: ")]
        assert len(spoken) == 1, said
        assert spoken[0].startswith(sentence) and "the same command goes on" in spoken[0]
        assert len(figures(tmp_path)) <= 1  # the base encoder
    # Two jobs want the run at once: the second waits for the first and reuses what that made.
    jobs = [subprocess.Popen(ours, env=command(tmp_path), stderr=subprocess.PIPE, cwd=tmp_path) for _ in "ab"]
    assert [job.wait(timeout=300) for job in jobs] == [0, 0]
    assert figures(tmp_path) == figures(through_slurm)


def test_the_option_is_taken_out_of_the_command_of_each_process() -> None:
    words = ["run", "c", "--processes", "2", "--profile", "smoke"]
    assert without_option(words) == ["run", "c", "--profile", "smoke"]
    assert without_option(["run", "--processes=8", "c"]) == ["run", "c"]


def test_verbs_that_do_not_share_their_work_refuse_a_launcher(tmp_path: Path) -> None:
    words = (sys.executable, "-m", "colbert_zero_lib", "list")
    code, said, _ = finished(tmp_path, words, RANK="0", WORLD_SIZE="2")
    assert code == 2 and said.startswith("error: 'list' does not share its work")


if __name__ == "__main__":
    work_of_a_process(Path(sys.argv[1]))
