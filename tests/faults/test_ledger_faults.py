"""Killed processes, races and unwritable disks leave whole runs or none, and one plain sentence."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from colbert_zero_lib.errors import RunError
from colbert_zero_lib.runs import Ledger, RunKey

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]

STEPS = 3


def key(seed: int = 0) -> RunKey:
    return RunKey("colbert:unsupervised", "tiny", "{}", seed, "encoder", "data", (("torch", "2"),))


def train(work: Path) -> Mapping[str, Any]:
    """A stand-in for training: three steps, each with a checkpoint that the next one needs."""
    checkpoints = work / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    state = max((int(path.name) for path in checkpoints.iterdir() if path.name.isdigit()), default=0)
    with (work.parents[1] / "log").open("a") as log:
        log.write(f"begins at {state}\n")
    while state < STEPS:
        state += 1
        (checkpoints / "next").write_text(str(state))
        (checkpoints / "next").rename(checkpoints / str(state))
    (work / "model").mkdir(exist_ok=True)
    (work / "model" / "weights").write_bytes(b"w" * 1000 * state)
    return {"state": state}


def in_child(action: Callable[[], None]) -> int:
    """Run ``action`` in a forked process; its process id."""
    child = os.fork()
    if child:
        return child
    try:
        action()
    except BaseException:
        os._exit(1)
    os._exit(0)


def end_of(child: int) -> int:
    """The exit status of a child, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_before(operation: int, root: Path) -> None:
    """SIGKILL this process just before its n-th file operation under ``root``."""
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        about_files = event.split(".")[0] in ("open", "os", "shutil")
        if about_files and any(str(argument).startswith(str(root)) for argument in arguments[:2]):
            seen += 1
            if seen == operation:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def test_a_process_killed_before_any_file_operation_leaves_a_whole_run_or_none(tmp_path: Path) -> None:
    finished, operation, whole_after_kill, resumed = False, 0, 0, 0
    while not finished:
        operation += 1
        root = tmp_path / str(operation)
        root.mkdir()

        def run(root: Path = root, operation: int = operation) -> None:
            kill_before(operation, root)
            Ledger(root).obtain(key(), train)

        ended = end_of(in_child(run))
        assert ended in (0, -signal.SIGKILL)
        finished = ended == 0
        ledger = Ledger(root)
        runs = ledger.runs()
        assert all(run.checked() for run in runs)
        trained = any(root.glob(".partial/*/checkpoints/[1-3]")) or any(root.glob(".partial/*/manifest.json"))
        whole_after_kill += bool(runs) and not finished
        again = ledger.obtain(key(), train)
        assert again.passport["state"] == STEPS and again.checked()
        assert (again.model_folder / "weights").read_bytes() == b"w" * 1000 * STEPS
        assert sorted(path.name for path in again.folder.iterdir()) == ["manifest.json", "model", "run.json"]
        log = (root / "log").read_text().splitlines()
        assert log.count("begins at 0") == 1 or not trained  # no step is trained twice
        resumed += "begins at 2" in log
    assert operation > 25  # the hook saw the operations at all
    assert whole_after_kill >= 1 and resumed >= 1


def test_killed_again_and_again_a_run_still_gets_finished(tmp_path: Path) -> None:
    kills = 0

    def run() -> None:
        kill_before(10 + kills, tmp_path)  # ever a little later, as looking at what is there takes longer
        Ledger(tmp_path).obtain(key(), train)

    while end_of(in_child(run)) != 0:
        kills += 1
        assert kills < 100
        shutil.rmtree(tmp_path / ".locks")  # kernel locks die with their holder; a lost file must not matter
        if Ledger(tmp_path).runs():
            break
    assert kills >= 2
    assert Ledger(tmp_path).obtain(key(), train).passport["state"] == STEPS


def test_four_processes_that_want_the_same_run_build_it_once(tmp_path: Path) -> None:
    def slow(work: Path) -> Mapping[str, Any]:
        time.sleep(0.3)
        return train(work)

    def want() -> None:
        assert Ledger(tmp_path).obtain(key(), slow).passport["state"] == STEPS

    children = [in_child(want) for _ in range(4)]
    assert [end_of(child) for child in children] == [0] * 4
    assert (tmp_path / "log").read_text() == "begins at 0\n"
    assert len(Ledger(tmp_path).runs()) == 1


def test_a_link_in_the_work_folder_does_not_lead_what_is_written_elsewhere(tmp_path: Path) -> None:
    work = tmp_path / "runs" / ".partial" / key().folder_name
    work.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (work / "model").symlink_to(tmp_path / "elsewhere")
    run = Ledger(tmp_path / "runs").obtain(key(), train)
    assert not list((tmp_path / "elsewhere").iterdir())
    assert (run.model_folder / "weights").is_file() and not run.model_folder.is_symlink()


def test_different_runs_are_built_side_by_side(tmp_path: Path) -> None:
    """Each waits for the other's file: under one common lock neither could finish."""

    def meet(mine: str, other: str) -> Callable[[Path], Mapping[str, Any]]:
        def build(work: Path) -> Mapping[str, Any]:
            (tmp_path / mine).touch()
            limit = time.monotonic() + 20
            while not (tmp_path / other).exists():
                if time.monotonic() > limit:
                    raise TimeoutError
                time.sleep(0.01)
            return {}

        return build

    children = [
        in_child(lambda: Ledger(tmp_path / "runs").obtain(key(0), meet("a", "b")) and None),
        in_child(lambda: Ledger(tmp_path / "runs").obtain(key(1), meet("b", "a")) and None),
    ]
    assert [end_of(child) for child in children] == [0, 0]


def test_who_waits_for_a_killed_builder_takes_over_from_its_checkpoint(tmp_path: Path) -> None:
    def hang(work: Path) -> Mapping[str, Any]:
        (work / "checkpoints").mkdir()
        (work / "checkpoints" / "2").write_text("2")
        (tmp_path / "hanging").touch()
        time.sleep(60)
        return {}

    builder = in_child(lambda: Ledger(tmp_path).obtain(key(), hang) and None)
    while not (tmp_path / "hanging").exists():
        time.sleep(0.01)
    waiter = in_child(lambda: Ledger(tmp_path).obtain(key(), train) and None)
    time.sleep(0.2)
    assert not (tmp_path / "log").exists()
    os.kill(builder, signal.SIGKILL)
    assert end_of(builder) == -signal.SIGKILL and end_of(waiter) == 0
    assert (tmp_path / "log").read_text() == "begins at 2\n"


def one_sentence(error: RunError, root: Path) -> None:
    message = str(error)
    assert str(root) in message and message.endswith(".") and ". " not in message and "\n" not in message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the kernel's full device")
def test_a_full_disk_is_one_sentence_and_earlier_runs_stay(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    earlier = ledger.obtain(key(1), train)

    def overflow(work: Path) -> Mapping[str, Any]:
        with Path("/dev/full").open("wb", buffering=0) as device:
            device.write(b"weights")
        return {}

    with pytest.raises(RunError, match="full") as raised:
        ledger.obtain(key(), overflow)
    one_sentence(raised.value, tmp_path)
    assert earlier.checked() and ledger.runs() == [earlier]
    assert ledger.obtain(key(), train).passport["state"] == STEPS


def test_a_disk_that_fills_while_the_run_is_sealed_costs_no_training(tmp_path: Path) -> None:
    import resource

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
        try:
            Ledger(tmp_path).obtain(key(), lambda work: {**train(work), "curve": ["x" * 4000]})
        except RunError as error:
            one_sentence(error, tmp_path)
            os._exit(7)

    assert end_of(in_child(limited)) == 7
    assert Ledger(tmp_path).runs() == []
    assert Ledger(tmp_path).obtain(key(), train).passport["state"] == STEPS
    assert (tmp_path / "log").read_text() == "begins at 0\nbegins at 3\n"


def test_a_full_disk_that_a_dependency_reports_in_its_own_words_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torch_like(work: Path) -> Mapping[str, Any]:
        raise RuntimeError("PytorchStreamWriter failed writing file data/3")

    with pytest.raises(RuntimeError, match="PytorchStreamWriter"):
        Ledger(tmp_path).obtain(key(), torch_like)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    with pytest.raises(RunError, match="full") as raised:
        Ledger(tmp_path).obtain(key(), torch_like)
    one_sentence(raised.value, tmp_path)


def test_a_disk_that_is_read_only_still_gives_finished_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path)
    earlier = ledger.obtain(key(1), train)
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    really_open = os.open

    def refuse(path: object, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def open_to_read(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & writing:
            refuse(path)
        return really_open(path, flags, *rest, **options)

    for name in ("mkdir", "rename", "replace", "unlink"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(os, "open", open_to_read)
    assert ledger.obtain(key(1), train) == earlier
    with pytest.raises(RunError) as raised:
        ledger.obtain(key(), train)
    one_sentence(raised.value, tmp_path)
    assert ledger.runs() == [earlier] and earlier.checked()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder in which nobody may write")
def test_a_root_where_nobody_may_write_is_one_sentence() -> None:
    with pytest.raises(RunError) as raised:
        Ledger(Path("/sys/runs")).obtain(key(), train)
    one_sentence(raised.value, Path("/sys/runs"))


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_file_in_the_place_of_the_root_is_one_sentence(tmp_path: Path, below: str) -> None:
    (tmp_path / "runs").write_text("a file")
    root = tmp_path / "runs" / below
    with pytest.raises(RunError) as raised:
        Ledger(root).obtain(key(), train)
    one_sentence(raised.value, root)
    assert (tmp_path / "runs").read_text() == "a file"


def test_an_error_of_the_builder_elsewhere_is_not_blamed_on_the_ledger(tmp_path: Path) -> None:
    def forbidden(work: Path) -> Mapping[str, Any]:
        raise PermissionError(errno.EACCES, "Permission denied", "somewhere-else")

    with pytest.raises(PermissionError):
        Ledger(tmp_path).obtain(key(), forbidden)
