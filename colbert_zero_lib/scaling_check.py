"""Check the arithmetic of ``scaling`` on processes of this machine: bytes on the wire, and losses, step by step.

``measure`` starts ``python -m colbert_zero_lib.scaling_check`` under torchrun; that is one of the processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .errors import TrainingError
from .scaling import FLOAT32, StepShape, traffic

_COUNTERS = Path("/proc/net/dev")
_STEPS = 5
_PROMPTS = ("search_query: ", "search_document: ")


@dataclass(frozen=True)
class Measured:
    """Steps of contrastive training on some processes.

    ``losses``: of each step. ``sent``: bytes that all processes together sent in a step, a mean over all steps but the
    first; None where the system does not count them. ``expected``: what `traffic` says, for all processes.
    """

    losses: tuple[float, ...]
    sent: float | None
    expected: float


def loopback_bytes() -> int | None:
    """Bytes that went over the loopback device so far; None where the system does not say (it is not Linux)."""
    try:
        lines = _COUNTERS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.strip().startswith("lo:")), None)
    return int(found.split(":")[1].split()[8]) if found else None


def in_processes(module: str, work: dict[str, Any], processes: int, timeout: float = 300) -> Any:
    """What ``module`` leaves in ``result.json`` when torchrun starts it on ``work``, one thread a process.

    The module's one argument is a file with ``work`` as JSON; its ``folder`` is where the result belongs. TrainingError
    when the processes fail.
    """
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        file, result = Path(folder, "work.json"), Path(folder, "result.json")
        file.write_text(json.dumps({**work, "folder": folder}), encoding="utf-8")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        command += [str(processes), "-m", module, str(file)]
        there = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": there}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, env=environment
        )
        if done.returncode or not result.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise TrainingError(f"{processes} processes could not train on this machine: {last}")
        return json.loads(result.read_text(encoding="utf-8"))


def measure(model: Path, rows: Sequence[tuple[str, str]], shape: StepShape) -> Measured:
    """Train the model in ``model`` for some steps on ``rows`` (query, document), on ``shape.devices`` processes.

    Documents must be longer than ``shape.document_length``, so that every batch is as wide as ``shape`` says.
    TrainingError when the processes fail.
    """
    work = {"model": str(model), "rows": list(rows), "shape": asdict(shape)}
    found = in_processes(__name__, work, shape.devices)
    counted, weights = found["counters"], found["weights"]
    sent = None if counted[0] is None else (counted[-1] - counted[0]) / (len(counted) - 1)
    real = replace(shape, weights=weights, bytes_each=FLOAT32)
    return Measured(tuple(found["losses"]), sent, shape.devices * sum(traffic(real).values()))


def _process(file: Path) -> None:
    from datasets import Dataset
    from transformers import TrainerCallback

    from .models import open_model, parameters
    from .profiles import PhaseBudget
    from .recipes import Interaction, Phase, Step
    from .training.trainer import train_step

    work = json.loads(file.read_text(encoding="utf-8"))
    shape = StepShape(**work["shape"])
    lengths = (shape.query_length, shape.document_length)
    step = Step(Interaction.COLBERT, Phase.UNSUPERVISED)
    model = open_model(
        Path(work["model"]), step, lengths=lengths, prompts=_PROMPTS, projection=shape.dimension
    )
    counters: list[int | None] = []

    class Count(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            counters.append(loopback_bytes())

    budget = PhaseBudget(_STEPS, shape.batch, 1e-3, *lengths, temperature=0.5)
    data = Dataset.from_dict(dict(zip(("query", "document"), zip(*work["rows"], strict=True), strict=True)))
    folder = Path(work["folder"], "checkpoints")
    result = train_step(
        model, data, step, budget, lengths, seed=0, folder=folder, precision="float32", callbacks=(Count(),)
    )
    if int(os.environ.get("RANK", "0")) == 0:
        losses = [loss for _, loss in result.loss]
        found = {"losses": losses, "counters": counters, "weights": parameters(model)}
        Path(work["folder"], "result.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    _process(Path(sys.argv[1]))
