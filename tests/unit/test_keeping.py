"""What is kept is written whole, and whatever is damaged is noticed before it is used."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Thread

import pyarrow as pa
import pytest

from colbert_zero_lib import committed, keeping
from colbert_zero_lib.checkpoint import find_checkpoint
from colbert_zero_lib.corpora import store
from colbert_zero_lib.errors import CheckpointError, ClosedError, DataError, HubError, TrainingError
from colbert_zero_lib.keeping import damage, remove, replacing, seal, set_aside, write_whole
from colbert_zero_lib.published.recorded import recorded_evaluations, recorded_runs, recorded_sweeps
from colbert_zero_lib.published.tables import paper_table
from colbert_zero_lib.recipes import Recipe
from colbert_zero_lib.runs import Ledger, RunKey
from colbert_zero_lib.training.checkpoints import COMPLETE, last_complete_checkpoint

DATA = Path(__file__).parents[2] / "data"


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def flip_and_keep_the_time(file: Path) -> None:
    state = file.stat()
    flip(file)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def put_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()
    (file / "inside").touch()


def dangle(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


@contextlib.contextmanager
def closed(place: Path) -> Iterator[None]:
    """``place`` as another user's who kept it to themselves."""
    mode = place.stat().st_mode
    place.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        yield
    finally:
        if root:
            os.seteuid(0)
        place.chmod(mode)


HARMS = [flip, flip_and_keep_the_time, truncate, empty, Path.unlink, put_a_folder, dangle]
Harm = Callable[[Path], None]
harms = pytest.mark.parametrize("harm", HARMS)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    (folder / "inner").mkdir(parents=True)
    (folder / "weights").write_bytes(bytes(range(256)))
    (folder / "inner" / "settings.json").write_text("{}\n")
    (folder / "scratch").write_text("left out")
    seal(folder, without=["scratch"])
    return folder


@harms
@pytest.mark.parametrize("name", ["weights", "inner/settings.json"])
def test_every_damage_of_a_sealed_folder_is_named(sealed: Path, harm: Harm, name: str) -> None:
    assert damage(sealed) is None and damage(sealed, sizes_alone=True) is None
    harm(sealed / name)
    assert name in str(damage(sealed))


@harms
def test_a_damaged_manifest_vouches_for_nothing(sealed: Path, harm: Harm) -> None:
    if harm in (flip, flip_and_keep_the_time):
        (sealed / "manifest.json").write_text('{"files": [1, 2]}')
    else:
        harm(sealed / "manifest.json")
    assert "manifest.json" in str(damage(sealed))


def test_sizes_alone_read_no_file_and_what_is_left_out_may_change(
    sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sealed / "scratch").unlink()
    (sealed / "more").touch()
    assert damage(sealed) is None
    monkeypatch.setattr(keeping, "digest_of", lambda file: pytest.fail(f"{file} was read"))
    assert damage(sealed, sizes_alone=True) is None


def test_a_file_is_read_once_while_it_looks_the_same(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = sealed / "weights"
    monkeypatch.setattr(keeping.time, "time", lambda: file.stat().st_ctime + 60)
    first = keeping.digest_of(file)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda *_: pytest.fail("the file was read again"))
        assert keeping.digest_of(file) == first
    flip_and_keep_the_time(file)
    assert keeping.digest_of(file) != first


def test_a_file_has_all_that_was_written_or_what_it_had(tmp_path: Path) -> None:
    file = tmp_path / "page"
    write_whole(file, "é\n")
    assert file.read_bytes() == "é\n".encode()
    with pytest.raises(KeyError), replacing(file) as neighbour:
        neighbour.write_text("half")
        raise KeyError
    assert file.read_bytes() == "é\n".encode() and list(tmp_path.iterdir()) == [file]


def test_what_a_killed_writer_left_goes_with_the_next(tmp_path: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    with keeping.replacing(tmp_path / "file") as neighbour:
        neighbour.write_text("half")
        left = tmp_path / neighbour.name.replace(f"-{os.getpid()}-", f"-{killed.pid}-")
        left.write_text("half")
        keeping.write_whole(tmp_path / "other", "whole")
        assert neighbour.exists() and not left.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"file", "other"}


def test_two_that_record_at_once_are_both_listed(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [copied / "runs" / "laptop" / f"{name}.json" for name in "ab"]
    entries, both = keeping.entries_of, Barrier(2)

    def read(manifest: Path) -> dict[str, keeping.Kept]:
        found = entries(manifest)
        with contextlib.suppress(BrokenBarrierError):
            both.wait(0.3)  # the other has read it too, unless it has to wait
        return found

    monkeypatch.setenv("COLBERT_ZERO_HOME", str(copied.parent / "home"))
    monkeypatch.setattr(keeping, "entries_of", read)
    for file in files:
        file.write_text("{}")
    threads = [Thread(target=committed.seal_again, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {f"runs/laptop/{file.name}" for file in files} <= set(entries(copied / "manifest.json"))


def test_of_a_link_the_link_alone_is_removed(sealed: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(sealed)
    remove(tmp_path / "link")
    remove(tmp_path / "nothing")
    assert damage(sealed) is None and list(tmp_path.iterdir()) == [sealed]
    assert set_aside(sealed).parent == tmp_path / ".set-aside"


def checkpoints(folder: Path) -> Path:
    for step in (3, 6):
        checkpoint = folder / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "model.safetensors").write_bytes(bytes(range(256)))
        (checkpoint / "trainer_state.json").write_text(f'{{"global_step": {step}}}')
        seal(checkpoint, name=COMPLETE)
    return folder


@harms
@pytest.mark.parametrize("name", ["model.safetensors", "trainer_state.json", COMPLETE])
def test_a_damaged_checkpoint_goes_and_the_one_before_is_taken(
    tmp_path: Path, harm: Harm, name: str, recwarn: pytest.WarningsRecorder
) -> None:
    folder = checkpoints(tmp_path / "checkpoints")
    harm(folder / "checkpoint-6" / name)
    found = last_complete_checkpoint(folder)
    assert found == folder / "checkpoint-3" and not (folder / "checkpoint-6").exists()
    # Without the mark, it was not written to its end: no damage.
    assert len(recwarn) == (0 if name == COMPLETE and harm in (Path.unlink, dangle) else 1)
    assert all("checkpoint-6 " in str(one.message) for one in recwarn)


def test_an_empty_mark_of_an_older_version_vouches_for_nothing(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path / "checkpoints")
    for step in (3, 6):
        empty(folder / f"checkpoint-{step}" / COMPLETE)
    with pytest.warns(UserWarning, match="unreadable complete"):
        assert last_complete_checkpoint(folder) is None


def test_what_stands_in_a_checkpoints_way_goes_and_what_a_link_points_to_stays(tmp_path: Path) -> None:
    folder, elsewhere = checkpoints(tmp_path / "checkpoints"), checkpoints(tmp_path / "elsewhere")
    (folder / "checkpoint-7").write_text("a file")
    (folder / "checkpoint-8").symlink_to("nowhere")
    (folder / "checkpoint-9").symlink_to(elsewhere / "checkpoint-6")
    (folder / "checkpoint-notes").mkdir()
    with pytest.warns(UserWarning, match="is no folder") as warned:
        assert last_complete_checkpoint(folder) == folder / "checkpoint-6"
    assert len(warned) == 3
    assert {file.name for file in folder.iterdir()} == {"checkpoint-3", "checkpoint-6", "checkpoint-notes"}
    assert damage(elsewhere / "checkpoint-6", name=COMPLETE) is None


@pytest.mark.parametrize("target", ["elsewhere", "nowhere", None])
def test_a_linked_folder_of_checkpoints_is_refused_and_keeps_what_it_has(
    tmp_path: Path, target: str | None
) -> None:
    elsewhere = checkpoints(tmp_path / "elsewhere")
    (elsewhere / "checkpoint-6" / COMPLETE).unlink()
    folder = tmp_path / "checkpoints"
    folder.symlink_to(target) if target else folder.touch()
    with pytest.raises(TrainingError, match="move it away"):
        last_complete_checkpoint(folder)
    assert (elsewhere / "checkpoint-6").is_dir()


def test_the_data_folder_is_as_its_manifest_lists_it() -> None:
    assert damage(DATA) is None, "after a wanted change: colbert-zero data seal"
    try:
        tracked = subprocess.run(
            ["git", "-C", str(DATA), "ls-files"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no git")
    assert set(keeping.entries_of(DATA / "manifest.json")) == set(tracked) - {"manifest.json"}


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with its manifest that is taken for the suite's own."""
    root = tmp_path / "data"
    for name in ("manifest.json", "paper", "runs"):
        copy = shutil.copytree if (DATA / name).is_dir() else shutil.copy
        root.mkdir(exist_ok=True)
        copy(DATA / name, root / name)
    for module in ("committed", "published.recorded", "published.tables"):
        monkeypatch.setattr(f"colbert_zero_lib.{module}.data_folder", lambda: root)
    return root


READERS: list[tuple[str, Callable[[], object]]] = [
    ("paper/table2_beir_ndcg10.csv", lambda: paper_table(2)),
    ("runs/laptop/base--seed0.json", lambda: recorded_runs("laptop")),
    (
        "runs/laptop/colbert-unsupervised--colbert-supervised--seed1.parquet",
        lambda: recorded_evaluations("laptop", Recipe.parse("colbert:unsupervised>colbert:supervised")),
    ),
    ("runs/sweeps", lambda: recorded_sweeps("laptop")),
]


@harms
@pytest.mark.parametrize(("name", "read"), READERS, ids=["table", "run", "queries", "sweep"])
def test_a_committed_file_that_changed_is_one_sentence(
    copied: Path, harm: Harm, name: str, read: Callable[[], object]
) -> None:
    file = copied / name
    if name.endswith("sweeps"):
        file = next((file / "laptop").glob("*.json"))
    harm(file)
    with pytest.raises(DataError, match=rf"{file.name}.*restore the file with git") as refused:
        read()
    assert "\n" not in str(refused.value)


def test_a_copy_without_a_manifest_is_a_readers_own(published_copy: Path) -> None:
    file = published_copy / "paper" / "table2_beir_ndcg10.csv"
    file.write_text(file.read_text().replace("FiQA", "FiQA"))
    assert len(paper_table(2, published_copy / "paper"))


def test_what_is_recorded_anew_is_listed_anew(copied: Path) -> None:
    file = copied / "runs" / "laptop" / "base--seed0.json"
    file.write_text(file.read_text() + "\n")
    with pytest.raises(DataError, match="base--seed0"):
        recorded_runs("laptop")
    committed.seal_again(file, file.with_name("never.parquet"), copied.parent / "elsewhere.json")
    assert recorded_runs("laptop")
    file.unlink()
    committed.seal_again(file)
    assert file.relative_to(copied).as_posix() not in keeping.entries_of(copied / "manifest.json")


@harms
def test_damaged_rows_are_brought_again(tmp_path: Path, harm: Harm) -> None:
    def parts() -> dict[str, store.Part]:
        return {name: lambda: [pa.table({"query": ["a", "b"]})] for name in ("first", "second")}

    folder = tmp_path / "rows"
    before = store.keep(folder, parts)[:]
    assert damage(folder) is None
    harm(folder / "second.arrow")
    with pytest.warns(UserWarning, match=r"second\.arrow.*brought again") as warned:
        assert store.keep(folder, parts)[:] == before
    assert len(warned) == 1 and damage(folder) is None


@pytest.mark.skipif(os.name == "nt", reason="names of any bytes are POSIX")
def test_a_file_may_be_called_by_any_bytes(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.json")).touch()
    seal(tmp_path)
    assert damage(tmp_path) is None
    with pytest.raises(CheckpointError, match="config.json"):
        find_checkpoint(str(tmp_path))
    (tmp_path / os.fsdecode(b"\xff.json")).unlink()
    assert "lacks" in str(damage(tmp_path))


@pytest.mark.skipif(os.name == "nt", reason="rights are POSIX")
@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_a_sealed_folder_is_as_open_as_the_umask_says(tmp_path: Path, umask: int) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o2775)
    before = os.umask(umask)
    try:
        folder = Path(tempfile.mkdtemp(dir=tmp_path / "shared"))  # private, as is what safetensors writes
        (folder / "model").mkdir(mode=0o700)
        os.close(os.open(folder / "model" / "weights", os.O_CREAT, 0o600))
        (folder / "run").touch()
        (folder / "run").chmod(0o755)  # wider than asked for stays
        seal(folder)
    finally:
        os.umask(before)
    found = {path.name: stat.S_IMODE(path.stat().st_mode) & 0o777 for path in folder.rglob("*")}
    place, file = 0o777 & ~umask, 0o666 & ~umask
    assert found == {"model": place, "weights": file, "run": 0o755 | file, "manifest.json": file}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o2000 | place and damage(folder) is None


@pytest.mark.skipif(os.name == "nt", reason="rights are POSIX")
@pytest.mark.parametrize("part", ["", "manifest.json", "model", "model/weights"])
def test_what_may_not_be_read_is_no_damage(tmp_path: Path, part: str) -> None:
    tmp_path.chmod(0o755)
    for above in tmp_path.parents[:3]:
        above.chmod(above.stat().st_mode | 0o111)
    folder = tmp_path / "checkpoints" / "checkpoint-1"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "weights").write_text("x")
    seal(folder, name="manifest.json")
    seal(folder, name=COMPLETE)
    with closed(folder / part):
        with pytest.raises(ClosedError, match=r"cannot be read \(Permission denied\): ask its owner"):
            damage(folder)
        if part.startswith("model"):
            with pytest.raises(ClosedError):
                last_complete_checkpoint(folder.parent)
    assert damage(folder) is None


@pytest.mark.skipif(os.name == "nt", reason="rights are POSIX")
def test_another_users_closed_run_is_neither_set_aside_nor_trained_again(tmp_path: Path) -> None:
    for above in (tmp_path, *tmp_path.parents[:3]):
        above.chmod(above.stat().st_mode | 0o111)

    def build(work: Path) -> dict[str, str]:
        (work / "model").mkdir()
        (work / "model" / "weights").write_text("x")
        return {}

    key = RunKey("colbert:unsupervised", "tiny", "{}", 0, "encoder", "data", (("torch", "2"),))
    ledger = Ledger(tmp_path / "runs")
    run = ledger.obtain(key, build)
    with closed(run.model_folder / "weights"), pytest.raises(ClosedError, match="weights cannot be read"):
        ledger.obtain(key, lambda work: pytest.fail("it is trained again"))
    assert run.checked() and not (tmp_path / "runs" / ".set-aside").exists()
    with closed(run.folder), pytest.warns(UserWarning, match="Permission denied"):
        assert ledger.runs() == []


def test_damaged_rows_that_cannot_be_brought_again_stay(tmp_path: Path) -> None:
    def nowhere() -> dict[str, store.Part]:
        raise HubError("no network")

    folder = tmp_path / "rows"
    store.keep(folder, lambda: {"first": lambda: [pa.table({"query": ["a"]})]})
    (folder / "first.arrow").write_bytes(b"x")
    with pytest.raises(HubError, match="no network"):
        store.keep(folder, nowhere)
    assert (folder / "first.arrow").read_bytes() == b"x"
    with pytest.warns(UserWarning), pytest.raises(DataError, match="has no parts"):
        store.keep(folder, dict)
