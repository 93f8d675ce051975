"""Ask this suite and all its peers again, and write down what they answer: ``python -m tests.conformance``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")  # ranx compiles for a minute what runs for a millisecond

from benchmarks.apart import environment, packages
from colbert_zero_lib import committed
from colbert_zero_lib.home import data_folder, home
from tests.conformance.answers import ask
from tests.conformance.cases import CASES
from tests.conformance.inputs import build_models
from tests.conformance.verdicts import Verdict, judge, page

NAMES = {
    "suite": "this suite",
    "pylate": "PyLate",
    "sentence_transformers": "sentence-transformers",
    "beir": "beir",
    "ranx": "ranx",
    "pytrec_eval": "pytrec_eval",
}
BESIDE = tuple(
    name for name in NAMES if name != "sentence_transformers"
)  # what is installed beside this suite
FILE = data_folder() / "conformance" / "peers.json"
PAGE = Path(__file__).with_name("README.md")


def ask_apart(subject: str, models: dict[str, str], folder: Path) -> dict[str, Any]:
    """`ask` in a process that finds the packages of ``folder`` first."""
    command = [sys.executable, "-m", "tests.conformance.answers", subject]
    given = json.dumps({"questions": questions(), "models": models})
    done = subprocess.run(
        command, input=given, env=environment(folder), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{subject} ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def questions() -> list[dict[str, Any]]:
    """The cases as subjects get them: without their right values."""
    return [{"name": case.name, "task": case.task, "given": case.given} for case in CASES]


def judged(subject: str, answered: dict[str, Any], models: dict[str, str]) -> dict[str, Any]:
    """A subject's version and the verdicts on its answers."""
    given = answered["answers"]
    verdicts = {
        case.name: judge(subject, case, given[case.name], models) for case in CASES if case.name in given
    }
    return {"version": answered["version"], "verdicts": verdicts}


def main() -> None:
    """Ask, judge and write."""
    with tempfile.TemporaryDirectory() as place:
        models = build_models(Path(place))
        found = {}
        for subject in NAMES:
            print(f"{NAMES[subject]} ...", flush=True)
            if subject in BESIDE:
                answered = ask(subject, questions(), models)
            else:
                answered = ask_apart(subject, models, packages(home() / "peers"))
            found[subject] = judged(subject, answered, models)
    found["suite"]["version"] = ""  # the page is of the commit that it is in
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    committed.seal_again(FILE)
    PAGE.write_text(page(recorded(), NAMES), encoding="utf-8")


def recorded() -> dict[str, Any]:
    """The file of answers."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    for each in found.values():
        each["verdicts"] = {name: Verdict(*verdict) for name, verdict in each["verdicts"].items()}
    return found  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
