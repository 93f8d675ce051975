"""Start a command in several processes on this machine, as torchrun does, and say what became of them.

What the processes do together is in ``group``.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence

from .edge import FAULT, REFUSED
from .errors import GroupError, ParameterError
from .group import GO_ON, LAUNCHER_TELLS, launched
from .scratch import scratch

OPTION = "--processes"


def in_processes(processes: int) -> bool:
    """Run this very command in ``processes`` processes if that is more than one; whether it was done.

    Says how to use all GPUs where there are several and one process would use one.
    """
    if processes > 1:
        launch(processes, without_option(sys.argv[1:]))
        return True
    if launched() == 1:
        # accelerate takes the option, sets an address for several processes, and starts one.
        if "ACCELERATE_USE_CPU" in os.environ and "MASTER_ADDR" in os.environ and "RANK" not in os.environ:
            raise ParameterError(
                "'accelerate launch --cpu' starts a single process whatever --num_processes says; use its --multi_gpu,"
                f" which works without GPUs too, torchrun, or {OPTION}."
            )
        import torch

        if torch.cuda.device_count() > 1:
            sys.stderr.write(
                f"This uses 1 of {torch.cuda.device_count()} GPUs; {OPTION} {torch.cuda.device_count()} uses all.\n"
            )
    return False


def refuse_processes(verb: str | None) -> None:
    """ParameterError where a launcher started several processes for a verb that cannot share its work."""
    if launched() > 1 and verb != "run":
        # They would each do all of it, or wait for one another.
        raise ParameterError(
            f"'{verb}' does not share its work among processes: start it without torchrun (those that do: run)."
        )


def without_option(words: Sequence[str]) -> list[str]:
    """A command line without ``--processes N``."""
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and word != OPTION and not word.startswith(f"{OPTION}="):
            kept.append(word)
        skip = word == OPTION and not skip
    return kept


def launch(processes: int, words: Sequence[str]) -> None:
    """Run ``colbert-zero WORDS`` in ``processes`` processes of this interpreter and wait for them.

    SIGTERM and SIGINT end them too. SystemExit with their code when they said themselves what was wrong, GroupError
    when one was killed or fell over.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if launched() > 1:
        raise ParameterError(f"torchrun or another launcher started this already; leave {OPTION} out.")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // processes)))
    os.environ[LAUNCHER_TELLS] = "1"
    # Its account of a failure is a page long; ours is one sentence.
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    with scratch("colbert-zero-logs") as logs:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=str(logs)),
        )
        try:
            elastic_launch(config, sys.executable)("-u", "-m", "colbert_zero_lib", *words)
        except SignalException as stop:
            sys.stderr.write(f"{signal.Signals(stop.sigval).name}: all processes ended; {GO_ON}\n")
            raise SystemExit(128 + stop.sigval) from None
        except ChildFailedError as failed:
            failures = sorted(failed.failures.values(), key=lambda failure: failure.timestamp)
            killed = [f for f in failures if f.exitcode < 0 and f.exitcode != -signal.SIGTERM]
            said = [f for f in failures if f.exitcode in (REFUSED, FAULT)]
            if said and not killed:
                raise SystemExit(said[0].exitcode) from None
            cause = (killed or failures)[0]
            name = signal.Signals(-cause.exitcode).name if cause.exitcode < 0 else ""
            how = f"was ended by {name}" if name else f"fell over (exit code {cause.exitcode})"
            memory = ", perhaps because memory ran out" if name == "SIGKILL" else ""
            raise GroupError(
                f"process {cause.local_rank} of {processes} {how}{memory}, so all were ended; {GO_ON}"
            ) from None
