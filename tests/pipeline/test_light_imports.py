"""What must work without the heavy libraries: each piece in turn, lightest first, in one process without them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "datasets", "pylate")
# With what each must not load; a later one may load what an earlier one did.
PIECES = {
    "the command's help": (
        (*HEAVY, "pandas", "numpy", "nbformat"),
        "from colbert_zero_lib.cli import app\ntry: app(['--help'])\nexcept SystemExit: pass",
    ),
    "looking at runs": (HEAVY, "import colbert_zero_lib.runs"),
    "metrics and statistics": (
        HEAVY,
        "from colbert_zero_lib.evaluation import metrics, results, statistics",
    ),
    "claims and verdicts": (
        HEAVY,
        "from colbert_zero_lib.published import *\nfrom colbert_zero_lib.verdicts import *\nmodel_cards()\n"
        "sources = [paper_evidence(), mteb_evidence(), recorded_evidence('laptop'), ledger_evidence('tiny')]\n"
        "judge_all(CLAIMS, sources)",
    ),
    "recorded sweeps and their figure": (
        HEAVY,
        "from colbert_zero_lib.published.recorded import recorded_sweeps\n"
        "from colbert_zero_lib.figures.sweep import sweep_figure\nsweep_figure(recorded_sweeps('laptop'))",
    ),
    "the paper's figures and tables": (
        HEAVY,
        "from colbert_zero_lib.figures import catalogue\n"
        "for make in (*list(catalogue.FIGURES.values())[:4], *catalogue.TABLES.values()): make(None)",
    ),
}
SCRIPT = """
import json, sys
found = {}
for name, (unwanted, code) in json.load(sys.stdin).items():
    try:
        exec(code, {})
        found[name] = sorted(set(unwanted) & set(sys.modules))
    except Exception as error:
        found[name] = [repr(error)]
print("\\n" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """What each piece had loaded of what it must not, or the error that it ended in."""
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, input=json.dumps(PIECES), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("piece", PIECES)
def test_no_heavy_library_is_needed_for(loaded: dict[str, list[str]], piece: str) -> None:
    assert loaded[piece] == []
