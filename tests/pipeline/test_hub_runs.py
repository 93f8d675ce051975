"""The paper's pipelines at profile ``base`` from nothing but a hub: in one process, in two, and after a kill.

The commands are the real ones. Each process cuts the profile's numbers first, since a batch of 2,048 is not for a test.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from colbert_zero_lib.recipes import PIPELINES
from colbert_zero_lib.runs import Ledger, Run
from tests.hub.fixtures import hub_environment
from tests.hub.server import Server

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).resolve().parents[2]
STEPS = 20
# Single precision: in bfloat16 two orders of summing are no longer close.
CUT = f"""
import colbert_zero_lib.profiles as profiles
import colbert_zero_lib.training.devices as devices
from dataclasses import replace

devices.native_bfloat16 = lambda device: False
base = profiles.PROFILES["base"]
budgets = {{
    key: replace(budget, steps={STEPS}, batch_size=8, documents=min(budget.documents, 5), document_length=40)
    for key, budget in base.budgets.items()
}}
profiles.PROFILES["base"] = replace(
    base,
    budgets=budgets,
    rows=(8 * 200, 8 * 40, 8 * {STEPS}),
    test_sets=("nanobeir/SciFact", "nanobeir/NFCorpus"),
    development_sets=("nanobeir/ArguAna",),
)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    (folder / "sitecustomize.py").write_text(CUT)
    return folder


@pytest.fixture(scope="module")
def server(hub_root: Path) -> Server:
    return Server(hub_root)


def started(server: Server, root: Path, home: str, *words: str) -> subprocess.Popen[str]:
    environment = hub_environment(server.address, root / "hf", root / home)
    path = os.pathsep.join((str(root), str(ROOT)))
    command = [sys.executable, "-m", "colbert_zero_lib", "run", *words, "--profile", "base", "--quiet"]
    return subprocess.Popen(
        command,
        env={**environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(server: Server, root: Path, home: str, *words: str) -> dict[str, Run]:
    """Run it to its end; the finished runs of that home by recipe."""
    process = started(server, root, home, *words)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said[-3000:]
    return {one.passport["recipe"]: one for one in Ledger(root / home / "runs").runs()}


@pytest.mark.parametrize("letter", PIPELINES)
def test_two_processes_train_what_one_trains(server: Server, root: Path, letter: str) -> None:
    one, two = (run(server, root, f"{letter}{n}", letter, "--processes", str(n)) for n in (1, 2))
    assert one.keys() == two.keys()
    assert len(one) == {"a": 1, "b": 2, "c": 3}[letter]  # what comes before is downloaded
    for recipe, alone in one.items():
        together = two[recipe]
        assert alone.digest == together.digest
        (own,), (theirs,) = alone.passport["loss"].values(), together.passport["loss"].values()
        assert len(own) == STEPS
        assert [v for _, v in own] == pytest.approx([v for _, v in theirs], rel=1e-5, abs=1e-5)
        assert alone.passport["mean_ndcg@10"] == pytest.approx(together.passport["mean_ndcg@10"], abs=1e-3)
    assert max(one.values(), key=lambda each: len(each.passport["recipe"])).passport["pipeline"] == letter


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_goes_on_to_the_same_metrics(server: Server, root: Path, processes: int) -> None:
    words = ("c", "--processes", str(processes))
    whole = run(server, root, f"c{processes}", *words)  # there already
    home = f"killed{processes}"
    process = started(server, root, home, *words)
    runs = root / home / "runs"
    end = time.monotonic() + 120
    while not list(runs.glob(".partial/*/checkpoints/*/complete")) and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    time.sleep(2)  # processes of their own sessions notice that the launcher is gone
    assert len(Ledger(runs).runs()) < len(whole)  # it was not done
    resumed = run(server, root, home, *words)
    for recipe, one in whole.items():
        assert resumed[recipe].passport["loss"] == one.passport["loss"]
        assert resumed[recipe].passport["metrics"] == one.passport["metrics"]
