"""Peak memory of a training step, each measured in a process of its own; how it grows with the batch.

`python -m benchmarks.memory <file>` is that process: it reads what to do from a JSON file and prints one JSON line.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from colbert_zero_lib.errors import RunError
from colbert_zero_lib.home import repository
from colbert_zero_lib.recipes import PROMPT_TOKENS, Phase
from colbert_zero_lib.training.memory import activation_bytes_per_token

from .apart import MULTIVECTOR, Apart
from .encoders import encoder_folder
from .sides import AUTHORS, OURS, SIDES, Settings
from .statistics import ratio_of
from .steps import step_memory
from .texts import Texts
from .training import Case, make_apart, make_side

MEBIBYTE = 1 << 20
DIMENSION = 128
# The batch that grows: short texts, so that the largest of the paper can be held and stepped on a laptop.
GROWTH_TOKENS = 2048
GROWTH = Case(Phase.UNSUPERVISED, "2x128", 24, query_length=8, mini_batch_tokens=GROWTH_TOKENS)
LEAST = "token vectors and their gradients alone"
PEAK = "peak memory of a step"


def in_fresh_process(
    side: str,
    case: Case,
    folder: Path,
    settings: Settings,
    rows: list[dict[str, Any]],
    activations: bool = True,
    packages: Path | None = None,
) -> dict[str, int]:
    """`step_memory` in a new interpreter; RunError with its last words if it fails (out of memory, say)."""
    if side == MULTIVECTOR and packages:
        with Apart(packages) as apart:
            return make_apart(apart, case, folder, settings).memory(rows, activations)
    work = {
        "side": side,
        "case": asdict(case) | {"phase": case.phase.value},
        "folder": str(folder),
        "settings": asdict(settings),
        "rows": rows,
        "threads": torch.get_num_threads(),
        "activations": activations,
    }
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "work.json"
        file.write_text(json.dumps(work), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", str(file)],
            cwd=repository(),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"signal {-done.returncode}"])[-1]
        raise RunError(f"The memory of {side}, {case.name}, could not be measured ({last}): lower the batch.")
    return json.loads(done.stdout.strip().splitlines()[-1])


def memory(
    case: Case,
    texts: Texts,
    root: Path,
    packages: Path | None = None,
    repeats: int = 2,
) -> list[dict[str, Any]]:
    """Two rows a peer: peak memory of a step above model and optimiser; bytes that autograd keeps.

    In the unsupervised phase all sides encode as many tokens at once: PyLate's default of texts at their maximum
    length. The peak is taken ``repeats`` times, since how pages are handed out differs from process to process.
    ``packages`` are those of sentence-transformers 6.
    """
    folder = encoder_folder(case.encoder, texts.vocabulary(), root)
    settings, name = Settings(), case.name
    if case.phase is Phase.UNSUPERVISED and not case.keep_activations:
        tokens = settings.mini_batch_size * (case.document_length + PROMPT_TOKENS)
        case = replace(case, mini_batch_tokens=tokens)
        settings = replace(settings, peer_mini_batch_tokens=tokens)
    rows = texts.batch(case.phase, *case.size, 0)
    found: dict[str, list[dict[str, int]]] = {}
    for number in range(repeats):
        for side in (*SIDES, *([MULTIVECTOR] if packages else [])):
            # Counted to the byte and always the same: once is enough.
            took = in_fresh_process(side, case, folder, settings, rows, number == 0, packages)
            found.setdefault(side, []).append(took)
    quantities = {"step_bytes": PEAK, "activation_bytes": "activations kept for the backward pass"}
    return [
        {"case": name} | _row(case, found[OURS][:counted], found[peer][:counted], peer, key, quantity)
        for (key, quantity), counted in zip(quantities.items(), (repeats, 1), strict=True)
        for peer in found
        if peer != OURS
    ]


def _row(
    case: Case, ours: list[dict[str, int]], theirs: list[dict[str, int]], peer: str, key: str, quantity: str
) -> dict[str, Any]:
    own, others = ([result[key] for result in results] for results in (ours, theirs))
    return {
        "peer": peer,
        "quantity": quantity,
        **case.fields(),
        **ratio_of(own, others),
        "ours_mebibytes": float(np.median(own)) / MEBIBYTE,
        "peer_mebibytes": float(np.median(others)) / MEBIBYTE,
        "ours_model_mebibytes": ours[0]["model_bytes"] / MEBIBYTE,
        "rounds": len(own),
    }


def growth(
    case: Case, texts: Texts, root: Path, peers: bool, packages: Path | None = None
) -> list[dict[str, Any]]:
    """Peak memory of `GROWTH` at a batch size, a fixed number of tokens encoded at once: a row a peer.

    Peers are measured, with as many tokens encoded at once, where ``peers`` says so; else the peer is what the token
    vectors and their gradients of the batch must take: the least that any exact gradient cache holds. Beside it stands
    what the activations of all tokens would take, by what one token's take.
    """
    folder = encoder_folder(case.encoder, texts.vocabulary(), root)
    rows = texts.batch(case.phase, *case.size, 0)
    longest = case.document_length + PROMPT_TOKENS
    settings = Settings(
        mini_batch_size=max(1, GROWTH_TOKENS // longest), peer_mini_batch_tokens=GROWTH_TOKENS
    )
    side = make_side(OURS, case, folder, settings)
    features, _ = side.collate(rows)
    tokens = sum(int(each["attention_mask"].sum()) for each in features)
    least = 2 * 4 * tokens * DIMENSION
    measured = [OURS, *([AUTHORS] if peers else []), *([MULTIVECTOR] if peers and packages else [])]
    found = {
        name: in_fresh_process(name, case, folder, settings, rows, False, packages)["step_bytes"]
        for name in measured
    }
    ours = found.pop(OURS)
    return [
        {
            "case": case.name,
            "peer": peer if peer == LEAST else f"{peer}, as many tokens encoded at once",
            "quantity": PEAK,
            **case.fields(),
            **ratio_of([ours], [theirs]),
            "ours_mebibytes": ours / MEBIBYTE,
            "peer_mebibytes": theirs / MEBIBYTE,
            "vectors_and_gradients_mebibytes": least / MEBIBYTE,
            "activations_mebibytes": tokens * activation_bytes_per_token(side.model, longest) / MEBIBYTE,
            "rounds": 1,
        }
        for peer, theirs in (found or {LEAST: least}).items()
    ]


def _process(file: Path) -> None:
    work = json.loads(file.read_text(encoding="utf-8"))
    case = Case(**{**work["case"], "phase": Phase(work["case"]["phase"])})
    torch.set_num_threads(work["threads"])
    side = make_side(work["side"], case, Path(work["folder"]), Settings(**work["settings"]))
    print(json.dumps(step_memory(side, work["rows"], work["activations"])))


if __name__ == "__main__":
    _process(Path(sys.argv[1]))
