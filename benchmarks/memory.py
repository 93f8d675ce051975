"""Peak memory of a training step, each measured in a process of its own; how it grows with the batch.

`python -m benchmarks.memory <file>` is that process: it reads what to do from a JSON file and prints one JSON line.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from colbert_zero_lib.errors import RunError
from colbert_zero_lib.recipes import PROMPT_TOKENS, Phase
from colbert_zero_lib.training.memory import SavedActivations, activation_bytes_per_token
from colbert_zero_lib.training.trainer import peak_memory

from .encoders import encoder_folder
from .sides import AUTHORS, OURS, Settings
from .statistics import ratio_of
from .texts import Texts
from .training import Case, make_side

MEBIBYTE = 1 << 20
WARMUP_ROWS = 2  # a first small step loads lazy libraries and makes the optimiser's own state
# The batch that grows: short texts, so that the largest of the paper can be held and stepped on a laptop.
GROWTH_TOKENS = 2048
GROWTH = Case(Phase.UNSUPERVISED, "2x128", 24, query_length=8, mini_batch_tokens=GROWTH_TOKENS)


def resident() -> int:
    """Bytes of this process in memory now; the peak so far where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return peak_memory()


def forget_peak() -> None:
    """Let the peak start from what is in memory now (Linux); elsewhere a higher peak while loading hides a step's."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def step_memory(work: dict[str, Any]) -> dict[str, int]:
    """What the child process does: open the model, take a step, and say how far memory grew meanwhile, in bytes."""
    case = Case(**{**work["case"], "phase": Phase(work["case"]["phase"])})
    if work["threads"]:
        torch.set_num_threads(work["threads"])
    side = make_side(work["side"], case, Path(work["folder"]), Settings(**work["settings"]))
    side.step(work["rows"][:WARMUP_ROWS])
    gc.collect()
    forget_peak()
    before = resident()
    side.step(work["rows"])
    grown = peak_memory() - before
    kept = 0
    if work["activations"]:
        with SavedActivations(side.model) as saved:
            side.backward(work["rows"])
        kept = saved.peak
    return {"step_bytes": grown, "activation_bytes": kept, "model_bytes": before}


def in_fresh_process(
    side: str,
    case: Case,
    folder: Path,
    settings: Settings,
    rows: list[dict[str, Any]],
    activations: bool = True,
) -> dict[str, int]:
    """:func:`step_memory` in a new interpreter; RunError with its last words if it fails (out of memory, say)."""
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
        root = Path(__file__).resolve().parent.parent
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", str(file)],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"signal {-done.returncode}"])[-1]
        raise RunError(f"The memory of {side}, {case.name}, could not be measured ({last}): lower the batch.")
    return json.loads(done.stdout.strip().splitlines()[-1])


def memory(
    case: Case, texts: Texts, root: Path, settings: Settings | None = None, repeats: int = 3
) -> list[dict[str, Any]]:
    """Two rows: peak memory of a step above model and optimiser, and bytes that autograd keeps for the backward pass.

    In the unsupervised phase both sides encode as many padded tokens at once: PyLate's default of texts at their
    maximum length. The peak is taken ``repeats`` times, since how pages are handed out differs from process to process.
    """
    folder = encoder_folder(case.encoder, texts.vocabulary(), root)
    settings, name = settings or Settings(), case.name
    if case.phase is Phase.UNSUPERVISED and not case.keep_activations:
        case = replace(
            case, mini_batch_tokens=settings.mini_batch_size * (case.document_length + PROMPT_TOKENS)
        )
    rows = texts.batch(case.phase, *case.size, 0)
    found: dict[str, list[dict[str, int]]] = {OURS: [], AUTHORS: []}
    for number in range(repeats):
        for side, results in found.items():
            # Counted to the byte and always the same: once is enough.
            results.append(in_fresh_process(side, case, folder, settings, rows, activations=not number))
    return [
        {"case": name} | _row(case, found, "step_bytes", "peak memory of a step", repeats),
        {"case": name} | _row(case, found, "activation_bytes", "activations kept for the backward pass", 1),
    ]


def _row(
    case: Case, found: dict[str, list[dict[str, int]]], key: str, quantity: str, repeats: int
) -> dict[str, Any]:
    ours, peer = ([result[key] for result in found[side][:repeats]] for side in (OURS, AUTHORS))
    return {
        "peer": AUTHORS,
        "quantity": quantity,
        **case.fields(),
        **ratio_of(ours, peer).fields(),
        "ours_mebibytes": float(np.median(ours)) / MEBIBYTE,
        "peer_mebibytes": float(np.median(peer)) / MEBIBYTE,
        "ours_model_mebibytes": found[OURS][0]["model_bytes"] / MEBIBYTE,
        "rounds": repeats,
    }


def growth_case(batch: int) -> Case:
    """The unsupervised step at one batch size."""
    return replace(GROWTH, batch_size=batch)


def growth(batch: int, texts: Texts, root: Path, peer: bool, encoder: str = GROWTH.encoder) -> dict[str, Any]:
    """Peak memory of the unsupervised step at a batch size, a fixed number of tokens encoded at once.

    The peer is the authors' loss with as many tokens encoded at once, where ``peer`` says that it is to be
    measured, else what the token vectors and their gradients of the batch must take: the least that any exact gradient
    cache holds. Beside it stands what the activations of all tokens would take, by what one token's take.
    """
    case = replace(growth_case(batch), encoder=encoder)
    folder = encoder_folder(case.encoder, texts.vocabulary(), root)
    rows = texts.batch(case.phase, batch, 1, 0)
    longest = case.document_length + PROMPT_TOKENS
    settings = Settings(mini_batch_size=max(1, GROWTH_TOKENS // longest))
    side = make_side(OURS, case, folder, settings)
    features, _ = side.collate(rows)
    tokens = sum(int(each["attention_mask"].sum()) for each in features)
    dimension = 128
    least = 2 * 4 * tokens * dimension
    ours = in_fresh_process(OURS, case, folder, settings, rows, activations=False)["step_bytes"]
    theirs = least
    if peer:
        theirs = in_fresh_process(AUTHORS, case, folder, settings, rows, activations=False)["step_bytes"]
    return {
        "case": case.name,
        "peer": f"{AUTHORS}, as many tokens encoded at once" if peer else LEAST,
        "quantity": "peak memory of a step",
        **case.fields(),
        **ratio_of([ours], [theirs]).fields(),
        "ours_mebibytes": ours / MEBIBYTE,
        "peer_mebibytes": theirs / MEBIBYTE,
        "vectors_and_gradients_mebibytes": least / MEBIBYTE,
        "activations_mebibytes": tokens * activation_bytes_per_token(side.model, longest) / MEBIBYTE,
        "rounds": 1,
    }


LEAST = "token vectors and their gradients alone"


def main(arguments: Iterable[str]) -> int:
    """The child process."""
    (file,) = arguments
    print(json.dumps(step_memory(json.loads(Path(file).read_text(encoding="utf-8")))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
