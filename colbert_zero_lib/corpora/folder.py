"""A reader's own folder as a source: ``pairs``, ``triples`` and ``scored`` files, ``collections`` and ``development``.

What a file's rows look like is known by ``readers``.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from colbert_zero_lib.corpora import readers
from colbert_zero_lib.corpora.collections import Collection, read_collection
from colbert_zero_lib.corpora.rows import (
    Cut,
    draw_lists,
    negative_columns,
    say_ragged,
    say_small,
    with_negatives,
)
from colbert_zero_lib.corpora.store import keep
from colbert_zero_lib.errors import DataError
from colbert_zero_lib.recipes import Interaction, Phase

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, DatasetDict

    from colbert_zero_lib.profiles import Profile

# The beginning of the files' names by phase, what a row is, and who reads it.
KINDS = {
    Phase.UNSUPERVISED: ("pairs", readers.PAIR, readers.pair),
    Phase.SUPERVISED: ("triples", readers.TRIPLE, readers.triple),
    Phase.DISTILLATION: ("scored", readers.SCORED, readers.scored),
}


@dataclass(frozen=True, eq=False)
class FolderSource:
    """Rows and collections of a reader's folder.

    ``pairs*``, ``triples*`` and ``scored*`` (JSON lines, CSV, TSV, Parquet), or folders of these names with a file a
    data set, are the phases' rows; ``collections/NAME`` and ``development/NAME`` are searched, in BEIR's layout. Rows
    are checked once and kept under ``home/folders`` by the SHA-256 of their file.
    """

    folder: Path
    profile: Profile
    home: Path
    teacher: ClassVar[None] = None  # scores come with the rows

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise DataError(f"{self.folder} is not a folder: give the one that holds your files.")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names and bytes of all files that are read."""
        files = [path for phase in Phase for path in self._files(phase).values()]
        for part in ("collections", "development"):
            files += [path for path in (self.folder / part).rglob("*") if path.is_file()]
        if not files:
            raise DataError(
                f"{self.folder} has no files for a run: put there pairs.jsonl, triples.jsonl or scored.jsonl, and "
                "collections/NAME in BEIR's layout."
            )
        digest = hashlib.sha256()
        for path in sorted(files):
            digest.update(f"{path.relative_to(self.folder).as_posix()}\n{self._digest(path)}\n".encode())
        return digest.hexdigest()

    @cached_property
    def collections(self) -> Mapping[str, Collection]:
        """The folders of ``collections``."""
        return self._collections("collections")

    @cached_property
    def development(self) -> Mapping[str, Collection]:
        """The folders of ``development``; those of ``collections``, with a warning, where there are none."""
        if (self.folder / "development").is_dir():
            return self._collections("development")
        found = self.collections
        warnings.warn(
            f"{self.folder} has no folder development: what is decided, such as a learning rate, is decided on the "
            "test collections.",
            stacklevel=2,
        )
        return found

    def rows(self, phase: Phase) -> dict[str, int]:
        """Rows of each file of a phase; none where it has no file."""
        return {name: len(split) for name, split in self._tables(phase).items()} if self._files(phase) else {}

    def texts(self) -> list[str]:
        """See `Source`: documents of all phases for which there are files."""
        found: set[str] = set()
        for phase in Phase:
            for split in self._tables(phase).values() if self._files(phase) else ():
                for batch in split.remove_columns("query").iter(1_000):
                    for name, column in batch.items():
                        if name == "documents":
                            column = [text for row in column for text in row]
                        if name != "scores":
                            found.update(text for text in column if text is not None)
        return sorted(found)

    def pairs(self) -> DatasetDict:
        """See `Source`: a split a file."""
        return self._splits(Phase.UNSUPERVISED, self._tables(Phase.UNSUPERVISED))

    def triples(self, negatives: int) -> DatasetDict:
        """See `Source`: a split a file, with as many negatives as its shortest row has."""
        kept = self._tables(Phase.SUPERVISED)
        cut = {name: with_negatives(split, negatives) for name, split in kept.items()}
        for name, split in kept.items():
            say_ragged(str(self._files(Phase.SUPERVISED)[name]), split, negatives)
        return self._splits(Phase.SUPERVISED, cut)

    def scored(self, documents: int, scale: float, wanted: int, seed: int) -> Dataset:
        """See `Source`: the first ``documents`` of each list."""
        from datasets import concatenate_datasets

        kept = concatenate_datasets(list(self._tables(Phase.DISTILLATION).values()))
        name = ", ".join(map(str, self._files(Phase.DISTILLATION).values()))
        return draw_lists(kept, name, documents, wanted, seed).with_transform(Cut(documents, scale))

    def _splits(self, phase: Phase, splits: Mapping[str, Dataset]) -> DatasetDict:
        from datasets import DatasetDict

        batch_size = self.profile.budgets[(phase, Interaction.COLBERT)].batch_size
        say_small(phase.value, {name: len(split) for name, split in splits.items()}, batch_size)
        return DatasetDict(splits)

    def _files(self, phase: Phase) -> dict[str, Path]:
        """Files by the name of their data set."""
        kind, *_ = KINDS[phase]
        found: dict[str, Path] = {}
        places = [*self.folder.glob(f"{kind}*"), *(self.folder / kind).glob("*")]
        for path in sorted(path for path in places if path.is_file()):
            suffix = readers.file_suffix(path)
            if suffix is None:
                raise DataError(
                    f"{path} is none of {', '.join(readers.SUFFIXES)}: convert it or move it away."
                )
            name = path.name[: -len(suffix)]
            if name in found:
                raise DataError(f"{found[name]} and {path} are both the data set {name}: rename one of them.")
            found[name] = path
        return found

    def _tables(self, phase: Phase) -> dict[str, Dataset]:
        """Checked rows of a phase, negatives apart; DataError when it has no file."""
        kind, row, _ = KINDS[phase]
        files = self._files(phase)
        if not files:
            raise DataError(
                f"The {phase.value} phase needs {self.folder / kind}.jsonl (or .csv, .tsv, .parquet; one or more, or a "
                f"folder of them), and there is none: a row is {row}."
            )
        return {
            name: keep(
                self.home / "folders" / f"{kind}--{name}--{self._digest(path)[:16]}",
                lambda path=path: {"rows": partial(_read, path, phase)},  # type: ignore[misc]
            )
            for name, path in files.items()
        }

    def _collections(self, part: str) -> dict[str, Collection]:
        folders = sorted(path for path in (self.folder / part).glob("*") if path.is_dir())
        if not folders:
            raise DataError(
                f"{self.folder / part} has no collections: put there a folder each, with corpus.jsonl, queries.jsonl "
                "and qrels/test.tsv as in BEIR."
            )
        return {path.name: read_collection(path) for path in folders}

    @cached_property
    def _digest(self) -> Callable[[Path], str]:
        return cache(_sha256)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    return digest.hexdigest()


def _read(path: Path, phase: Phase) -> Iterator[pa.Table]:
    import pyarrow as pa

    *_, shape = KINDS[phase]
    for table in readers.tables(path, shape):
        if phase is Phase.SUPERVISED:
            columns = {name: table.column(name) for name in ("query", "positive")}
            table = pa.table(columns | negative_columns(table.column("negative")))
        yield table
