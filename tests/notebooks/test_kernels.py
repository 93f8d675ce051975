"""Forked kernels: what a notebook finds in one, and that none outlives whoever asked for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from colbert_zero_lib.errors import NotebookError
from colbert_zero_lib.kernels import forked_kernels, manager
from colbert_zero_lib.suite import read_notebook, run_notebook, run_notebooks
from tests.notebooks.test_suite import texts, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux")
FOUND = """
import os, pathlib, sys, tempfile
print(os.getppid(), os.environ["OF_THIS_RUN"], 'pylate' in sys.modules, 'left' in globals(), pathlib.Path.cwd())
assert tempfile.gettempdir() == os.environ["TMPDIR"]
left = 1
"""
DRAWN = "import matplotlib.pyplot as plt\nplt.plot([1, 2])"
RUNNER = """
import sys
from pathlib import Path
from colbert_zero_lib.kernels import forked_kernels
from colbert_zero_lib.suite import run_notebook
with forked_kernels(2):
    run_notebook(Path(sys.argv[1]), {}, Path(sys.argv[2]))
"""


def test_kernels_are_alike_but_for_what_is_imported_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_kernels: None
) -> None:
    for name in ("01_a", "02_b"):
        monkeypatch.setenv("OF_THIS_RUN", name)
        run_notebooks(
            [write(tmp_path, f"{name}.ipynb", FOUND, DRAWN).stem], {}, tmp_path / "out", folder=tmp_path
        )
    said = [texts(tmp_path / "out" / f"{name}.ipynb")[0].split(maxsplit=4) for name in ("01_a", "02_b")]
    assert said[0][0] == said[1][0] != str(os.getpid())
    assert [words[1:4] for words in said] == [["01_a", "True", "False"], ["02_b", "True", "False"]]
    assert said[0][4].strip() == str(tmp_path)
    drawn = read_notebook(tmp_path / "out" / "01_a.ipynb").cells[-1].outputs
    assert "image/png" in drawn[-1].data


def test_nobody_else_can_ask_for_a_kernel(warm_kernels: None) -> None:
    assert Path(os.environ["COLBERT_ZERO_KERNELS"]).parent.stat().st_mode & 0o777 == 0o700


def test_a_forked_kernel_that_dies_is_named(tmp_path: Path, warm_kernels: None) -> None:
    path = write(tmp_path, "01_a.ipynb", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(NotebookError, match=r"kernel of notebook 01_a.ipynb died"):
        run_notebook(path, {}, tmp_path / "out.ipynb")


def test_kernels_end_with_whoever_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLBERT_ZERO_KERNELS", raising=False)
    pids = tmp_path / "pids"
    code = (
        "import os, pathlib, time\n"
        f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{os.getppid()}}.')\ntime.sleep(600)"
    )
    words = [
        sys.executable,
        "-c",
        RUNNER,
        str(write(tmp_path, "01_a.ipynb", code)),
        str(tmp_path / "out.ipynb"),
    ]
    with subprocess.Popen(words) as runner:
        while not (pids.exists() and pids.read_text().endswith(".")):
            assert runner.poll() is None
            time.sleep(0.1)
        runner.send_signal(signal.SIGKILL)
    found = [Path("/proc", pid) for pid in pids.read_text().strip(".").split()]
    for _ in range(300):
        if not any(map(Path.exists, found)):
            break
        time.sleep(0.1)
    assert not any(map(Path.exists, found))


def test_a_notebook_that_chooses_whether_the_hub_is_asked_gets_an_ordinary_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COLBERT_ZERO_KERNELS", raising=False)
    ordinary = manager()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with forked_kernels(2):
        assert manager() is ordinary
