"""The processes of one job: who is first, who waits for whom, and what all are told when one is gone.

Words travel through the launcher's key-value store, so that waiting has a limit and a sentence; vectors and gradients
go through collectives, in ``training`` and ``evaluation``. With one process nothing here does anything. Who starts the
processes is in ``launch``.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, NoReturn

from .errors import ColbertZeroError, GroupError

# Seconds. A process that works alone meanwhile (hashes a model, writes a checkpoint) may take that long.
LIMIT = 1800.0
# Seconds. Fetching and preparing text is done by the first process alone.
PREPARATION_LIMIT = 86_400.0
GO_ON = "the same command goes on from the last checkpoint"
# Set by whoever starts the processes and says itself why one of them ended.
LAUNCHER_TELLS = "COLBERT_ZERO_LAUNCHER_TELLS"

_FAILED = "failed"
_NO_LAUNCHER = f"the launcher of this job is gone; {GO_ON}"
_LOSS = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe")
_calls = 0
_preparing = 0
_told = False
_parent = os.getppid()


def launched() -> int:
    """How many processes a launcher such as torchrun started, this one among them; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def size() -> int:
    """How many processes work together; 1 before `start`."""
    dist = sys.modules.get("torch.distributed")  # a command that needs no torch does not wait for it
    return dist.get_world_size() if dist and dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's place among them, from 0."""
    return sys.modules["torch.distributed"].get_rank() if size() > 1 else 0


def is_first() -> bool:
    """Whether this process owns files and speaks for all."""
    return rank() == 0


def start() -> None:
    """Join the processes that a launcher started; nothing without one, or when it was done before.

    Each takes the GPU of its local rank where there are GPUs. GroupError when there are too few, or when the others do
    not come within `LIMIT` seconds.
    """
    if launched() == 1 or size() > 1:
        return
    _watch()
    # Its warnings about a lost connection are pages of addresses.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if not _is_first_launched():
        # What the first process remarks needs no second voice.
        warnings.simplefilter("ignore")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import torch
    import torch.distributed as dist

    backend = "gloo"
    if torch.cuda.is_available():
        place, here = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if place >= here:
            raise GroupError(
                f"this machine has {here} GPU{'s' * (here != 1)} and process {place + 1} of its own has none left; "
                f"start at most {here} processes on it"
            )
        torch.cuda.set_device(place)
        backend = "cpu:gloo,cuda:nccl"
    try:
        dist.init_process_group(backend, timeout=timedelta(seconds=LIMIT))
    except (RuntimeError, ValueError) as error:
        raise GroupError(
            f"process {os.environ['RANK']} of {launched()} could not join the others ({_first_line(error)}); check that"
            " every node reaches MASTER_ADDR, and start the job again"
        ) from error


@contextmanager
def joined() -> Iterator[None]:
    """`start`, and leave together; a connection that breaks in between is one GroupError."""
    try:
        start()
        yield
    except ColbertZeroError:
        raise
    except Exception as error:
        if size() > 1 and _is_loss(error):
            raise GroupError(f"another process of this job is gone; {GO_ON}", lost=True) from error
        raise
    if size() > 1:
        # What wraps models holds the group too: were it last to let go, it would wait for a thread that waits for it.
        gc.collect()
        sys.modules["torch.distributed"].destroy_process_group()


def gather(value: Any, what: str, limit: float = LIMIT) -> list[Any]:
    """The ``value`` (JSON) of every process, by rank.

    GroupError when one has not come within ``limit`` seconds to ``what``, which ends "waited for ... to", or has
    stopped.
    """
    if size() == 1:
        return [value]
    turn = _turn()
    _store().set(f"{turn}/{rank()}", json.dumps(value))
    return [json.loads(_await(f"{turn}/{place}", place, what, limit)) for place in range(size())]


def barrier(what: str, limit: float = LIMIT) -> None:
    """Wait until every process is here; see `gather`."""
    gather(None, what, limit)


def broadcast(value: Any, what: str) -> Any:
    """What the first process gives as ``value`` (JSON), which need not wait for the others; see `gather`."""
    if size() == 1:
        return value
    key = f"{_turn()}/0"
    if is_first():
        _store().set(key, json.dumps(value))
        return value
    return json.loads(_await(key, 0, what, LIMIT))


def agree(problem: str | None, what: str) -> None:
    """Go on if no process has a problem, else raise the same GroupError, which ends with the first one's, on all."""
    for place, found in enumerate(gather(problem, what)):
        if found:
            raise GroupError(f"process {place} of {size()} {found}")


@contextmanager
def first_goes_first(what: str) -> Iterator[None]:
    """The first process does what stands inside, then the others, who find it done (fetched, built, cached)."""
    global _preparing
    waits = size() > 1 and not _preparing
    if waits and not is_first():
        barrier(what, PREPARATION_LIMIT)
    _preparing += 1
    try:
        yield
    finally:
        _preparing -= 1
    if waits and is_first():
        barrier(what, PREPARATION_LIMIT)
    if waits:
        barrier(what)


def speaks(error: BaseException | str) -> bool:
    """Whether this process is to print ``error``; those that wait for it stop, and print nothing.

    The first process that fails speaks for all, unless it fails because another is gone and a launcher says so.
    """
    global _told
    if launched() == 1:
        return True
    lost = isinstance(error, str) or getattr(error, "lost", False)
    if _told:
        return False
    with suppress(Exception):
        own = f"{rank()} {error}"
        _told = _store().compare_set(_FAILED, "", own).decode() == own
        return _told and not (lost and LAUNCHER_TELLS in os.environ)
    # No store to ask, since the group has not begun or the launcher is gone: what ails one process alone is said by
    # that one, anything else by the first.
    _told = True
    return _is_first_launched() or (isinstance(error, GroupError) and not lost)


def leave(code: int) -> NoReturn:
    """Exit after an error; where others may be gone, without waiting for threads that wait for them."""
    if launched() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)


def _is_first_launched() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _store() -> Any:
    import torch.distributed as dist

    return dist.PrefixStore("colbert-zero", dist.distributed_c10d._get_default_store())


def _turn() -> int:
    global _calls
    _calls += 1
    return _calls


def _await(key: str, whose: int, what: str, limit: float) -> str:
    """The value of a key once it is there; asked for again and again, since a blocked wait hears no signal."""
    store, end, pause = _store(), time.monotonic() + limit, 0.005
    try:
        while not store.check([key]):
            if store.check([_FAILED]):
                place, _, sentence = store.get(_FAILED).decode().partition(" ")
                raise GroupError(f"process {place} of {size()} stopped: {sentence}", lost=True)
            if time.monotonic() > end:
                raise GroupError(
                    f"process {rank()} waited {limit:.0f} seconds for process {whose} of {size()} to {what}; look at"
                    f" what that one does, end the job, and start it again: {GO_ON}"
                )
            time.sleep(pause)
            pause = min(0.5, 1.5 * pause)
        return store.get(key).decode()
    except (RuntimeError, ConnectionError) as error:
        _let_the_first_notice()
        raise GroupError(_NO_LAUNCHER, lost=True) from error


def _is_loss(error: Exception) -> bool:
    # torch's DistError is a RuntimeError; gloo raises plain ones.
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _LOSS)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _watch() -> None:
    """End this process at once when it is told to stop or its launcher is gone, whatever its main thread is at.

    Blocked in a collective, the main thread would hear of neither. What is on disk survives such an end.
    """
    if threading.current_thread() is not threading.main_thread() or os.name == "nt":
        return
    ends, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)

    def watch() -> None:
        while True:
            ready, _, _ = select.select([ends], [], [], 1.0)
            heard = set(os.read(ends, 64)) if ready else set()
            if heard & {signal.SIGTERM, signal.SIGINT}:
                _end(f"this job was told to stop, or another of its processes is gone; {GO_ON}")
            if os.getppid() != _parent:
                _let_the_first_notice()
                _end(_NO_LAUNCHER)

    threading.Thread(target=watch, name="watch", daemon=True).start()


def _let_the_first_notice() -> None:
    # Were the others gone before it looks for the launcher, the first would blame them.
    if not _is_first_launched():
        time.sleep(3)


def _end(sentence: str) -> None:
    if speaks(sentence):
        sys.stderr.write(f"error: {sentence}\n")
        sys.stderr.flush()
    os._exit(128 + signal.SIGTERM)
