"""Kernels of headless notebooks, forked from one process that has imported what most notebooks import.

A third of what a notebook takes that trains nothing is imports. ``python -m colbert_zero_lib.kernels`` is that
process: whoever connects to its socket gets a kernel. Which notebooks run is decided in ``suite``.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from .scratch import scratch

_PLACE = "COLBERT_ZERO_KERNELS"  # of the socket
# Not pyplot, which asks while it is imported how the kernel shows figures.
_IMPORTS = (
    "ipykernel.kernelapp",
    "colbert_zero_lib.runs.execute",
    "colbert_zero_lib.verdicts",
    "matplotlib.figure",
)
# As ipykernel sets it; matplotlib reads it once.
_BACKEND = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}


@contextmanager
def forked_kernels(kernels: int, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """While it lasts, `manager` forks kernels, in this process and in those that it starts.

    It pays from the second of ``kernels`` on. ``environment`` is what the imports shall find beside this process's own,
    such as the number of threads. Nothing changes on another system than Linux, nor where notebooks decide themselves
    whether the hub may be asked: its library reads ``HF_HUB_OFFLINE`` once.
    """
    possible = hasattr(os, "pidfd_open") and "HF_HUB_OFFLINE" in os.environ
    if kernels < 2 or not possible or _PLACE in os.environ:
        yield
        return
    with scratch("colbert-zero-kernels") as folder:
        place = str(folder / "socket")
        with socket.socket(socket.AF_UNIX) as listener:
            try:
                listener.bind(place)
            except OSError:  # the temporary directory's name is too long for a socket
                yield
                return
            listener.listen()
            search = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
            process = subprocess.Popen(
                [sys.executable, "-W", "ignore:IProgress not found", "-m", __name__, str(listener.fileno())],
                stdin=subprocess.PIPE,  # its end is that of this process, which may be killed
                pass_fds=[listener.fileno()],
                start_new_session=True,
                env=_BACKEND
                | dict(os.environ)
                | dict(environment or {})
                | {"PYTHONPATH": os.pathsep.join(search)},
            )
        os.environ[_PLACE] = place
        try:
            yield
        finally:
            del os.environ[_PLACE]
            with process:
                process.kill()


def manager() -> type[AsyncKernelManager]:
    """The class that starts a kernel: by a fork inside of `forked_kernels`."""
    return _Manager if _PLACE in os.environ else AsyncKernelManager


class _Kernel:
    """What a provisioner asks of a ``Popen``, for a process that is not our child."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: list[str], env: dict[str, str]) -> None:
        self._connection = socket.socket(socket.AF_UNIX)  # the kernel ends when this closes
        request = {"arguments": arguments, "cwd": str(Path.cwd()), "env": env}
        try:
            self._connection.connect(os.environ[_PLACE])
            with self._connection.makefile("rw", encoding="utf-8") as stream:
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                self.pid = int(stream.readline())
            self._end = os.pidfd_open(self.pid)
        except (OSError, ValueError) as error:
            self._connection.close()
            raise RuntimeError(f"no kernel could be forked ({error})") from None

    def poll(self) -> int | None:
        """None while it lives."""
        return 0 if select.select([self._end], [], [], 0)[0] else None

    def wait(self) -> int:
        """Wait for its end; what it ended with is not known."""
        select.select([self._end], [], [])
        return 0

    def send_signal(self, number: int) -> None:
        """Signal it, if it lives."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._end, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    terminate = kill

    def __del__(self) -> None:
        self._connection.close()
        if hasattr(self, "_end"):
            os.close(self._end)


class _Provisioner(LocalProvisioner):
    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        kernel = _Kernel(cmd[3:], kwargs["env"])  # after `python -m ipykernel_launcher`
        self.process = cast(Any, kernel)
        self.pid = self.pgid = kernel.pid
        return self.connection_info


class _Manager(AsyncKernelManager):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.provisioner = _Provisioner(parent=self, kernel_id=str(uuid4()), kernel_spec=self.kernel_spec)


def _serve(listener: socket.socket) -> None:
    for name in _IMPORTS:
        import_module(name)
    gc.freeze()  # what is there is not looked through, and so not copied, by each kernel
    signal.signal(signal.SIGCHLD, _reap)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return _become_kernel(connection)
        connection.close()


def _reap(*_: object) -> None:
    """Wait for the kernels that have ended, so that their processor time is counted with ours."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _become_kernel(connection: socket.socket) -> None:
    """As ``python -m ipykernel_launcher`` begins, in a session of its own; it ends with whoever asked for it."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # libraries that are imported hold the streams of now, not the notebook's
        os.dup2(nothing, stream)
    with connection.makefile("rw", encoding="utf-8") as exchange:
        request = json.loads(exchange.readline())
        exchange.write(f"{os.getpid()}\n")
    threading.Thread(target=lambda: (connection.recv(1), os._exit(1)), daemon=True).start()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"], JPY_PARENT_PID=str(os.getppid()))
    os.environ.pop(_PLACE)
    tempfile.tempdir = None  # to be looked up anew
    sys.path[0] = str(Path.cwd())  # the launcher takes it out
    sys.argv = ["ipykernel_launcher", *request["arguments"]]
    runpy.run_module("ipykernel_launcher", run_name="__main__")


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
