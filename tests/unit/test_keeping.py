"""What is kept is written whole, and whatever is damaged is noticed before it is used."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Thread

import pyarrow as pa
import pytest

from colbert_zero_lib import committed, keeping
from colbert_zero_lib.corpora import store
from colbert_zero_lib.errors import DataError, TrainingError
from colbert_zero_lib.keeping import damage, remove, replacing, seal, set_aside, write_whole
from colbert_zero_lib.published.recorded import recorded_evaluations, recorded_runs
from colbert_zero_lib.published.sweeps import recorded_sweeps
from colbert_zero_lib.published.tables import paper_table
from colbert_zero_lib.recipes import Recipe
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
    for module in ("committed", "published.recorded", "published.sweeps", "published.tables"):
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
    assert file.name not in {Path(name).name for name in keeping.entries_of(copied / "manifest.json")}


@harms
def test_damaged_rows_are_brought_again(tmp_path: Path, harm: Harm) -> None:
    def parts() -> dict[str, store.Part]:
        return {name: lambda: [pa.table({"query": ["a", "b"]})] for name in ("first", "second")}

    folder = tmp_path / "rows"
    before = store.keep(folder, parts)[:]
    assert store.is_kept(folder)
    harm(folder / "second.arrow")
    with pytest.warns(UserWarning, match=r"second\.arrow.*brought again") as warned:
        assert store.keep(folder, parts)[:] == before
    assert len(warned) == 1 and store.is_kept(folder)
