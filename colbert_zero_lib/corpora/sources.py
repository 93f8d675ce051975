"""Where the rows of each phase and the collections of a profile come from, behind one protocol.

A source is named by the profile: ``offline``, ``hub`` or ``folder:PATH``. Encoders and trainers are not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from colbert_zero_lib.corpora.build import UNSUPERVISED_SOURCES
from colbert_zero_lib.errors import DataError, ProfileError
from colbert_zero_lib.reading import existing
from colbert_zero_lib.recipes import Phase

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from colbert_zero_lib.corpora.collections import Collection
    from colbert_zero_lib.corpora.offline import OfflineCorpora
    from colbert_zero_lib.corpora.teacher import TeacherLists
    from colbert_zero_lib.profiles import Profile


class Source(Protocol):
    """What a run asks of its text.

    ``fingerprint`` stands for every row and collection that it gives, ``teacher`` for the negatives and scores of the
    phases after the first (None where they are part of ``fingerprint``): both go into a run's key.
    """

    @property
    def fingerprint(self) -> str:
        """Equal for equal text, whatever it is called."""
        ...

    @property
    def teacher(self) -> str | None:
        """What mined negatives and scored lists are, where they are kept apart from the text."""
        ...

    @property
    def collections(self) -> Mapping[str, Collection]:
        """What a model is measured on."""
        ...

    @property
    def development(self) -> Mapping[str, Collection]:
        """What decisions are taken on, such as a learning rate."""
        ...

    def rows(self, phase: Phase) -> dict[str, int]:
        """How many rows each data set of a phase has here, without reading the hub."""
        ...

    def texts(self) -> list[str]:
        """Every training document once, sorted: what a small base encoder learns its words from."""
        ...

    def pairs(self) -> DatasetDict:
        """A split per data set, columns ``query`` and ``document``."""
        ...

    def triples(self, negatives: int) -> DatasetDict:
        """A split per data set, columns ``query``, ``positive``, ``negative_0`` ... (at most ``negatives`` of them)."""
        ...

    def scored(self, documents: int, scale: float, wanted: int, seed: int) -> Dataset:
        """Columns ``query``, ``documents`` (texts) and ``scores`` (the teacher's times ``scale``), ``wanted`` rows."""
        ...


@dataclass(frozen=True, eq=False)
class OfflineSource:
    """The text of the pinned packages with the kept lists of the teacher, or with the scores of another one.

    ``sampled``: the seed under which negatives are drawn among all that were mined, in place of the hardest.
    """

    home: Path
    progress: bool = True
    taught: str | None = None
    sampled: int | None = None

    @cached_property
    def corpora(self) -> OfflineCorpora:
        """The offline texts; built on first use."""
        from colbert_zero_lib.corpora.offline import load_offline

        return load_offline(self.home, progress=self.progress)

    @cached_property
    def lists(self) -> TeacherLists:
        """Mined negatives and teacher scores."""
        from colbert_zero_lib.corpora.scores import taught_by
        from colbert_zero_lib.corpora.teacher import load_lists

        return taught_by(load_lists(self.corpora), self.taught)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the text."""
        return self.corpora.fingerprint

    @property
    def teacher(self) -> str | None:
        """The digest of the kept lists, and of the other teacher's scores."""
        return str(self.lists.passport["digest"])

    @property
    def collections(self) -> Mapping[str, Collection]:
        """The eight test collections."""
        return self.corpora.collections

    @property
    def development(self) -> Mapping[str, Collection]:
        """The collections carved from the training side."""
        return self.corpora.development

    def rows(self, phase: Phase) -> dict[str, int]:
        """See `Source`."""
        if phase is Phase.UNSUPERVISED:
            return {name: len(self.corpora.training[name]) for name in UNSUPERVISED_SOURCES}
        if phase is Phase.SUPERVISED:
            return {name: len(self.lists.rows(name)) for name in self.lists.sources}
        return {"train": len(self.lists)}

    def texts(self) -> list[str]:
        """See `Source`."""
        return sorted({text for split in self.corpora.training.values() for text in split["document"]})

    def pairs(self) -> DatasetDict:
        """See `Source`."""
        from datasets import DatasetDict

        training = self.corpora.training
        return DatasetDict(
            {name: training[name].select_columns(["query", "document"]) for name in UNSUPERVISED_SOURCES}
        )

    def triples(self, negatives: int) -> DatasetDict:
        """See `Source`: exactly ``negatives`` columns; queries with fewer are left out."""
        from colbert_zero_lib.corpora.teacher import supervised_rows

        return supervised_rows(self.lists, negatives, self.sampled)

    def scored(self, documents: int, scale: float, wanted: int, seed: int) -> Dataset:
        """See `Source`."""
        from colbert_zero_lib.corpora.teacher import distillation_rows

        return distillation_rows(self.lists, documents, scale, wanted, seed)


def taught_by(source: Source, teacher: str | None) -> Source:
    """The source with the scores of a step's teacher; DataError where it keeps none but its own."""
    if teacher is None:
        return source
    if not isinstance(source, OfflineSource):
        raise DataError(f"Only the offline text has scores of teacher={teacher}: leave the switch out.")
    # Once for a source: every key of a run asks for the digest of the scores.
    found: OfflineSource = source.__dict__.setdefault(f"taught by {teacher}", replace(source, taught=teacher))
    found.__dict__["corpora"] = source.corpora
    return found


def sampling(source: Source, seed: int) -> Source:
    """The source with mined negatives drawn under ``seed``; DataError where it has no more of them than it gives."""
    if not isinstance(source, OfflineSource):
        raise DataError(
            "Only the offline text has mined negatives to draw from: leave the switch +sampled out."
        )
    found = replace(source, sampled=seed)
    found.__dict__.update(corpora=source.corpora, lists=source.lists)
    return found


def open_source(profile: Profile, home: Path, progress: bool = True) -> Source:
    """The source that the profile names; nothing is fetched before it is asked for something."""
    if profile.source == "offline":
        return OfflineSource(home, progress)
    if profile.source == "hub":
        from colbert_zero_lib.corpora.hub import HubSource

        return HubSource(profile, home, progress)
    kind, _, path = profile.source.partition(":")
    if kind == "folder" and path:
        from colbert_zero_lib.corpora.folder import FolderSource

        folder = existing(path)
        if folder is None:
            raise DataError(f"{path} is not a folder: give the one that holds your files.")
        return FolderSource(folder.resolve(), profile, home)
    raise ProfileError(
        f"profile '{profile.name}' has the unknown source '{profile.source}'; it is offline, hub or folder:PATH"
    )
