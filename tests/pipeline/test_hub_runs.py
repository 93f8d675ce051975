"""The paper's pipelines at profile ``base`` from nothing but a hub: in one process, in two, and after a kill.

Each process cuts the profile's numbers first, since a batch of 2,048 is not for a test. The command that is killed is
the real one; its sharing of work is looked at closer in ``test_processes``.
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
JOB = """
from colbert_zero_lib import group
from colbert_zero_lib.runs.execute import run_recipe
with group.joined():
    for letter in "abc":
        run_recipe(letter, "base", progress=False)
"""
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    (folder / "sitecustomize.py").write_text(CUT)
    (folder / "job.py").write_text(JOB)
    return folder


@pytest.fixture(scope="module")
def server(hub_root: Path) -> Server:
    return Server(hub_root)


def started(server: Server, root: Path, home: str, *words: str) -> subprocess.Popen[str]:
    environment = hub_environment(server.address, root / "hf", root / home)
    path = os.pathsep.join((str(root), str(ROOT)))
    return subprocess.Popen(
        [sys.executable, *words],
        env={**environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(server: Server, root: Path, home: str, *words: str) -> dict[str, Run]:
    """Run it to its end; the finished runs of that home by pipeline, or by recipe where they end none."""
    process = started(server, root, home, *words)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said[-3000:]
    return {
        one.passport["pipeline"] or one.passport["recipe"]: one for one in Ledger(root / home / "runs").runs()
    }


@pytest.fixture(scope="module")
def together(server: Server, root: Path) -> dict[str, Run]:
    return run(server, root, "two", *TORCHRUN, str(root / "job.py"))


def test_two_processes_train_what_one_trains(server: Server, root: Path, together: dict[str, Run]) -> None:
    alone = run(server, root, "one", str(root / "job.py"))
    assert alone.keys() == together.keys()
    # What comes before is downloaded: the last step of (a), the last two of (b), all three of (c).
    assert PIPELINES.keys() <= alone.keys() and len(alone) == 1 + 2 + 3
    for name, one in alone.items():
        two = together[name]
        assert one.digest == two.digest
        (own,), (theirs,) = one.passport["loss"].values(), two.passport["loss"].values()
        assert len(own) == STEPS
        assert [v for _, v in own] == pytest.approx([v for _, v in theirs], rel=1e-5, abs=1e-5)
        assert one.passport["mean_ndcg@10"] == pytest.approx(two.passport["mean_ndcg@10"], abs=1e-3)


def test_a_killed_run_goes_on_to_the_same_metrics(
    server: Server, root: Path, together: dict[str, Run]
) -> None:
    words = ("-m", "colbert_zero_lib", "run", "c", "--processes", "2", "--profile", "base", "--quiet")
    process = started(server, root, "killed", *words)
    runs = root / "killed" / "runs"
    end = time.monotonic() + 120
    while not list(runs.glob(".partial/*/checkpoints/*/complete")) and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    time.sleep(2)  # processes of their own sessions notice that the launcher is gone
    assert len(Ledger(runs).runs()) < len(PIPELINES["c"].steps)  # it was not done
    resumed = run(server, root, "killed", *words)
    assert "c" in resumed and len(resumed) == len(PIPELINES["c"].steps)
    for name, one in resumed.items():
        assert one.passport["loss"] == together[name].passport["loss"]
        assert one.passport["metrics"] == together[name].passport["metrics"]
