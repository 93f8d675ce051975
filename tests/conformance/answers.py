"""Put cases to a subject: in this process, or in one of its own with ``python -m tests.conformance.answers NAME``."""

from __future__ import annotations

import copy
import importlib
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.conformance.cases import REFUSED

Question = dict[str, Any]  # name, task, given: of a case


def ask(subject: str, questions: Sequence[Question], models: Mapping[str, str]) -> dict[str, Any]:
    """The version of ``subject``, and its answer to each case that concerns it.

    An answer is ``{"value": ...}``, or ``{"refused": "..."}`` with the error's own words.
    """
    module = importlib.import_module(f"tests.conformance.subjects.{subject}")
    answers: dict[str, Any] = {}
    for question in questions:
        solve = module.TASKS.get(question["task"])
        if solve is None:
            continue
        given = copy.deepcopy(question["given"])
        with tempfile.TemporaryDirectory() as place:
            for name, text in given.pop("files", {}).items():
                file = Path(place, name)
                file.parent.mkdir(exist_ok=True)
                file.write_text(text, encoding="utf-8", newline="")
            given["folder"] = place
            if "model" in given:
                given["model"] = models[given["model"]]
            given["models"] = dict(models)
            try:
                answers[question["name"]] = {"value": solve(given)}
            except module.REFUSALS as error:
                words = (str(error).strip() or "no words").splitlines()[0].replace(place, "")
                answers[question["name"]] = {REFUSED: f"{type(error).__name__}: {words}"[:160]}
    return {"version": version(module.DISTRIBUTION), "answers": answers}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps(ask(sys.argv[1], asked["questions"], asked["models"])))
