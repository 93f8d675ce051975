"""sentence-transformers 6 in a process of its own, since it cannot be imported beside PyLate 1.6: the end that asks.

The other end is `multivector`. Only one of the two processes computes at a time, both with as many threads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pylate.models import ColBERT
from safetensors.torch import load_file
from torch import Tensor

from colbert_zero_lib.errors import RunError
from colbert_zero_lib.home import repository
from colbert_zero_lib.models import quiet
from colbert_zero_lib.runs.saved import store_settings

from .steps import Row

VERSION = "6.2.0"
MULTIVECTOR = "sentence-transformers 6.2, MultiVectorEncoder"
_PIN = (
    f"sentence-transformers=={VERSION} "
    "--hash=sha256:ffb51ccfef65427cfa61776d0eeeb257600b0099cf0c7533ae9a6856d31e4665"
)


def packages(folder: Path) -> Path:
    """A folder with sentence-transformers 6 alone (1 MB, by its hash); a process borrows the rest from here.

    RunError with pip's last words when the package index does not give it.
    """
    place = folder / f"sentence-transformers-{VERSION}"
    if not place.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as beside:
            pin = Path(beside, "pin.txt")
            pin.write_text(_PIN + "\n", encoding="utf-8")
            words = ["install", "--quiet", "--no-deps", "--require-hashes", "-r", str(pin)]
            command = [sys.executable, "-m", "pip", *words, "--target", str(Path(beside, "packages"))]
            for pause in (5, 20, 0):  # an index that is busy for a moment says that there is no such package
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if not done.returncode:
                    break
                time.sleep(pause)
            else:
                raise RunError(
                    f"sentence-transformers {VERSION} cannot be installed into {folder} ({_last(done.stderr)}):"
                    " connect to a package index."
                )
            Path(beside, "packages").rename(place)
    return place


def environment(folder: Path) -> dict[str, str]:
    """The environment of a process that finds the packages of ``folder`` before those of this one."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(repository())])}


class Apart:
    """The other process; it is asked one thing at a time, and ends with the context or with this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._words = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.multivector"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            env=environment(folder),
            cwd=repository(),
            text=True,
            encoding="utf-8",
        )

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *problem: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._words.close()

    def ask(self, task: str, **given: Any) -> dict[str, Any]:
        """Its answer to a task of `multivector`; RunError with its last words when it ended without one."""
        assert self._process.stdin and self._process.stdout
        asked = {"task": task, "threads": torch.get_num_threads(), "given": given}
        try:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self._process.stdout.readline()
        if not answer:
            self._process.wait()
            self._words.seek(0)
            raise RunError(
                f"{MULTIVECTOR}, could not {task} ({_last(self._words.read())}): lower the batch, or leave it out."
            )
        return dict(json.loads(answer))


def _last(words: str) -> str:
    return (words.strip().splitlines() or ["no words"])[-1]


def save_for_others(model: ColBERT, folder: Path) -> Path:
    """``model`` in ``folder`` with prompts, lengths and skip list as both libraries read them."""
    with quiet():
        model.save_pretrained(str(folder), create_model_card=False)
    store_settings(model, folder)
    return folder


class ApartSide:
    """A `Side` of the other process: rows go over, numbers come back."""

    def __init__(self, process: Apart, folder: Path, **how: Any) -> None:
        self.name, self._process = MULTIVECTOR, process
        process.ask("open", folder=str(folder), **how)

    def timed(self, rows: Sequence[Row]) -> float:
        """Seconds of one whole training step, by the other process's clock."""
        return float(self._process.ask("step", rows=list(rows))["seconds"])

    def gradient(self, rows: Sequence[Row]) -> tuple[float, Tensor]:
        """See `Side.gradient`."""
        with tempfile.TemporaryDirectory() as place:
            file = Path(place, "gradient.safetensors")
            loss = float(self._process.ask("gradient", rows=list(rows), file=str(file))["loss"])
            return loss, load_file(file)["gradient"]

    def memory(self, rows: Sequence[Row], activations: bool) -> dict[str, int]:
        """See `step_memory`; of a process that has done nothing yet."""
        return dict(self._process.ask("memory", rows=list(rows), activations=activations))
