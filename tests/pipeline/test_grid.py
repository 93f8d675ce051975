"""A small grid for real: killed in the middle and gone on with, it ends where an undisturbed one ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from colbert_zero_lib.home import home
from colbert_zero_lib.profiles import get_profile
from colbert_zero_lib.runs import Ledger, Run
from colbert_zero_lib.runs.arms import grid_recipes
from colbert_zero_lib.runs.grid import plan_grid, run_grid
from colbert_zero_lib.runs.workshop import Workshop
from colbert_zero_lib.verdicts import RunEvidence
from colbert_zero_lib.verdicts.grid import delta_findings
from colbert_zero_lib.verdicts.verdict import NOT_RUN

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process"),
]

START = "colbert:unsupervised[-prompts,-length]"
GRID = f"{START} > colbert:supervised, {START} > colbert:supervised[-prompts,-length]"
RUNS = 4  # the base encoder, the shared start, two arms
SCRIPT = """
import sys
from pathlib import Path
from test_grid import GRID, shop_at
from colbert_zero_lib.runs.arms import grid_recipes
from colbert_zero_lib.runs.grid import plan_grid, run_grid
shop = shop_at(Path(sys.argv[1]))
for event in run_grid(shop, plan_grid(shop, grid_recipes(GRID), (1,))):
    print("begins" if event.run is None else "done", event.job.recipe, flush=True)
"""


def shop_at(root: Path) -> Workshop:
    """The suite's texts, a ledger of its own."""
    shop = Workshop(get_profile("smoke"), home(), "cpu", progress=False)
    shop.__dict__["ledger"] = Ledger(root)
    return shop


def finish(shop: Workshop) -> dict[str, Run]:
    plan = plan_grid(shop, grid_recipes(GRID), (1,))
    return {str(e.job.recipe): e.run for e in run_grid(shop, plan) if e.run is not None}


def kill_in_an_arm(process: subprocess.Popen[str], root: Path) -> None:
    """SIGKILL a grid once it has begun an arm and written something of it."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("begins") and "> colbert:supervised" in line:
            break
    limit = time.monotonic() + 120
    while not any((root / ".partial").glob("*/*")):
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_a_grid_killed_in_the_middle_goes_on_and_ends_alike(
    open_shop: Callable[..., Workshop], tmp_path: Path
) -> None:
    whole = finish(open_shop(tmp_path / "whole"))
    assert len(whole) == RUNS == len(Ledger(tmp_path / "whole").runs())

    root = tmp_path / "killed"
    open_shop(root)  # has the base encoder: only what the grid itself trains is killed
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    here = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(root)], stdout=subprocess.PIPE, text=True, env=here
    )
    kill_in_an_arm(process, root)
    begun = Ledger(root).runs()
    assert 2 <= len(begun) < RUNS and any((root / ".partial").iterdir())
    kept = {run.folder: run.folder.stat().st_mtime_ns for run in begun}

    plan = plan_grid(shop_at(root), grid_recipes(GRID), (1,))
    assert len(plan.done) == len(begun) and len(plan.missing) == RUNS - len(begun)
    again = finish(shop_at(root))
    assert {folder: folder.stat().st_mtime_ns for folder in kept} == kept
    assert set(again) == set(whole)
    for recipe, run in whole.items():
        assert again[recipe].passport["metrics"] == run.passport["metrics"]
        assert again[recipe].per_query().equals(run.per_query())
        assert again[recipe].passport["loss"] == run.passport["loss"]

    # Nothing is left to do, and the delta of the two arms stands in the table.
    assert not plan_grid(shop_at(root), grid_recipes(GRID), (1,)).missing
    deltas = delta_findings(RunEvidence.of_runs("smoke", again.values()))
    run = deltas[deltas["verdict"] != NOT_RUN]
    assert len(run) == 1 and run["effect"].item() == "both"
    means = [100 * float(whole[str(r)].passport["mean_ndcg@10"]) for r in grid_recipes(GRID)]
    assert run["value"].item() == pytest.approx(means[0] - means[1])
