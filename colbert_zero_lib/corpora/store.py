"""Rows kept in the home folder as Arrow files: written once, whole or not at all, part by part, mapped when read.

What the rows are, and where they come from, is decided by the sources.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_zero_lib import group
from colbert_zero_lib.errors import DataError
from colbert_zero_lib.keeping import damage, remove, replacing, seal

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

Part = Callable[[], "Iterable[pa.Table]"]


def keep(
    folder: Path, parts: Callable[[], Mapping[str, Part]], progress: bool = False, expected: int | None = None
) -> Dataset:
    """The rows in ``folder``, which are written first where they are not there.

    ``parts`` is asked only then; each part gives tables of the same columns and becomes a file. A part that was
    written before an interruption is not written again; damaged rows are brought again, with a warning. Two processes
    that ask at once write once. ``progress`` shows a bar, of the ``expected`` rows where they are known. DataError
    when the folder cannot be written or read.

    Of a job's processes the first, which goes first, reads every byte once; to the others the sizes say enough.
    """
    from filelock import FileLock

    try:
        if damage(folder, sizes_alone=not group.is_first()):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.parent / f".{folder.name}.lock"):
                if wrong := damage(folder):
                    wanted = parts()  # which may not be to be had: nothing is removed before
                    if folder.exists() or folder.is_symlink():
                        warnings.warn(f"{folder} {wrong}: its rows are brought again.", stacklevel=2)
                        remove(folder)
                    _write(folder, wanted, progress, expected)
        return _read(folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be kept or read: {error.strerror or error}.") from None


def _write(folder: Path, parts: Mapping[str, Part], progress: bool, expected: int | None) -> None:
    import pyarrow as pa
    from tqdm.auto import tqdm

    if not parts:
        raise DataError(f"{folder.name} has no parts: nothing could be trained on.")
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    unfinished.mkdir(exist_ok=True)
    bar = tqdm(desc=folder.name, total=expected, unit=" rows", unit_scale=True, disable=not progress)
    for name, tables in parts.items():
        file = unfinished / f"{name}.arrow"
        if file.exists():
            continue
        with replacing(file) as neighbour, neighbour.open("wb") as stream:
            writer = None
            for table in tables():
                writer = writer or pa.ipc.new_stream(stream, table.schema)
                writer.write_table(table)
                bar.update(table.num_rows)
            if writer is None:
                raise DataError(f"{folder.name} has no rows in its part {name}: nothing could be trained on.")
            writer.close()
    seal(unfinished)
    unfinished.rename(folder)
    bar.close()


def _read(folder: Path) -> Dataset:
    from datasets import Dataset, concatenate_datasets

    files = sorted(folder.glob("*.arrow"))
    if not files:
        raise DataError(f"{folder} is empty: delete it, and the next call brings its rows again.")
    return concatenate_datasets([Dataset.from_file(str(file)) for file in files])
