"""The paper's training data from the Hugging Face hub: which sets, how many rows, and how they are brought here.

Only the columns that are trained on are read, file by file; what is kept where is the store's business, evaluation
sets are read elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from colbert_zero_lib.corpora import evaluation_sets
from colbert_zero_lib.corpora.hub_files import HubFiles
from colbert_zero_lib.corpora.hub_rows import as_they_are, by_row, negatives_apart, parsed_lists
from colbert_zero_lib.corpora.rows import Cut, draw_lists, say_small, with_negatives
from colbert_zero_lib.corpora.store import Part, keep
from colbert_zero_lib.errors import HubError, ProfileError
from colbert_zero_lib.hub import WITHOUT_NETWORK, commit_of
from colbert_zero_lib.recipes import Interaction, Phase

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, DatasetDict

    from colbert_zero_lib.corpora.collections import Collection
    from colbert_zero_lib.profiles import Profile

UNSUPERVISED_DATA = "nomic-ai/nomic-embed-unsupervised-data"
# The authors' script asks for nomic-ai/nomic-embed-supervised; this is the name under which it was published.
SUPERVISED_DATA = "nomic-ai/nomic-embed-supervised-data"
DISTILLATION_DATA = "lightonai/ms-marco-en-bge-gemma"
SAMPLE_SEED = 0


@cache
def published_rows() -> dict[Phase, dict[str, int]]:
    """Rows by data set, as the sets' pages on the hub state them, in the order of the authors' scripts."""
    from colbert_zero_lib.published.training_mix import training_mix

    mix = training_mix().drop_duplicates(["phase", "split"])
    sizes = {phase: mix[mix["phase"] == phase.value] for phase in Phase}
    return {phase: dict(zip(of["split"], map(int, of["rows"]), strict=True)) for phase, of in sizes.items()}


def shares(sizes: Mapping[str, int], rows: int | None, batch_size: int) -> dict[str, int | None]:
    """How many rows of each data set a sample of ``rows`` has: whole batches, in proportion to the sizes.

    A batch holds rows of one data set, so that part of one would never be drawn; each data set that can fill a batch
    gets one, where there are enough for all. Batches go one by one to the set that is furthest behind its share
    (D'Hondt's rule). None stands for all rows. ProfileError when ``rows`` do not fill a batch.
    """
    if rows is None or rows >= sum(sizes.values()):
        return dict.fromkeys(sizes)
    if (left := rows // batch_size) < 1:
        raise ProfileError(f"{rows} rows do not fill one batch of {batch_size}: raise the profile's rows.")
    most = {name: size // batch_size for name, size in sizes.items() if size >= batch_size}
    given = {name: int(left >= len(most)) for name in most}
    left -= sum(given.values())
    while left and (waiting := [name for name in most if given[name] < most[name]]):
        given[min(waiting, key=lambda name: (-sizes[name] / (given[name] + 1), name))] += 1
        left -= 1
    return {name: given.get(name, 0) * batch_size for name in sizes}


@dataclass(frozen=True, eq=False)
class HubSource:
    """The three data sets of the paper at their newest commits, whole or as the profile's sample.

    Rows are kept under ``home/hub``, a folder a data set and split; a download that was interrupted goes on with the
    file that it stopped in. A sample takes whole row groups (about a thousand neighbours each) of files and groups in
    the order of a seeded shuffle, so that it is the same everywhere and reads little more than it keeps.
    """

    profile: Profile
    home: Path
    progress: bool = True
    teacher: ClassVar[None] = None  # negatives and scores come with the rows

    @cached_property
    def _commits(self) -> Callable[[str], str]:
        return cache(lambda repository: commit_of(repository, "dataset"))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over data sets and evaluation sets, their commits, the rows taken and the sample's seed."""
        tests, development = list(self.collections), list(self.development)
        sets = [evaluation_sets.SETS[name] for name in tests + development]
        evaluated = [name for each in sets for name in (each.repository, each.qrels_repository)]
        parts = {
            "commits": {name: self._commits(name) for name in (*_REPOSITORIES.values(), *evaluated)},
            "rows": {phase.value: self.shares(phase) for phase in Phase},
            "seed": SAMPLE_SEED,
            "test": tests,
            "development": development,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def collections(self) -> Mapping[str, Collection]:
        """The profile's test sets."""
        return _EvaluationSets(self.profile.test_sets)

    @property
    def development(self) -> Mapping[str, Collection]:
        """The profile's development sets."""
        return _EvaluationSets(self.profile.development_sets)

    def shares(self, phase: Phase) -> dict[str, int | None]:
        """Rows that are taken of each data set of a phase, None for all; no network is needed."""
        wanted = self.profile.rows[list(Phase).index(phase)]
        return shares(published_rows()[phase], wanted, self._batch_size(phase))

    def rows(self, phase: Phase) -> dict[str, int]:
        """As `shares`, with the published number where all are taken."""
        whole = published_rows()[phase]
        return {name: whole[name] if taken is None else taken for name, taken in self.shares(phase).items()}

    def texts(self) -> list[str]:
        """ProfileError: encoders of the hub come trained."""
        raise ProfileError(
            f"profile '{self.profile.name}' starts from {self.profile.base}, so no encoder is trained from nothing on "
            "the hub's text; choose an offline profile for that"
        )

    def pairs(self) -> DatasetDict:
        """See `Source`: up to 29 splits."""
        return self._splits(Phase.UNSUPERVISED, ("query", "document"), as_they_are)

    def triples(self, negatives: int) -> DatasetDict:
        """See `Source`: up to 10 splits, each with as many negatives as its shortest row has."""
        from datasets import DatasetDict

        kept = self._splits(Phase.SUPERVISED, ("query", "document", "negative"), negatives_apart)
        found = DatasetDict({name: with_negatives(split, negatives) for name, split in kept.items()})
        if bare := [name for name, split in found.items() if "negative_0" not in split.column_names]:
            warnings.warn(
                f"{', '.join(bare)} of {SUPERVISED_DATA} have a row without negatives, so none of theirs is used.",
                stacklevel=2,
            )
        return found

    def scored(self, documents: int, scale: float, wanted: int, seed: int) -> Dataset:
        """See `Source`: the first ``documents`` of the teacher's lists; texts are looked up when a row is read."""
        repository, taken = DISTILLATION_DATA, self.shares(Phase.DISTILLATION)["train"]
        lists = self._keep(
            repository, "train", "train", taken, ("query_id", "document_ids", "scores"), parsed_lists
        )
        queries = self._keep(repository, "queries", "train", None, ("query_id", "text"), as_they_are)
        texts = self._keep(repository, "documents", "train", None, ("document_id", "text"), as_they_are)
        drawn = draw_lists(lists, f"{repository}, train", documents, wanted, seed)
        return by_row(drawn, queries, texts).with_transform(Cut(documents, scale, queries, texts))

    def _batch_size(self, phase: Phase) -> int:
        return self.profile.budgets[(phase, Interaction.COLBERT)].batch_size

    def _splits(
        self, phase: Phase, columns: tuple[str, ...], shape: Callable[[pa.Table], pa.Table]
    ) -> DatasetDict:
        from datasets import DatasetDict

        found = DatasetDict(
            {
                name: self._keep(_REPOSITORIES[phase], "default", name, rows, columns, shape)
                for name, rows in self.shares(phase).items()
                if rows != 0
            }
        )
        say_small(
            phase.value,
            {name: len(found[name]) if name in found else 0 for name in published_rows()[phase]},
            self._batch_size(phase),
        )
        return found

    def _keep(
        self,
        repository: str,
        configuration: str,
        split: str,
        rows: int | None,
        columns: tuple[str, ...],
        shape: Callable[[pa.Table], pa.Table],
    ) -> Dataset:
        from huggingface_hub import constants

        commit = self._commits(repository)
        sample = "" if rows is None else f"--{rows}-seed{SAMPLE_SEED}"
        folder = (
            self.home
            / "hub"
            / f"{repository.replace('/', '--')}@{commit[:12]}"
            / f"{configuration}--{split}{sample}"
        )

        def brought() -> Mapping[str, Part]:
            if constants.HF_HUB_OFFLINE:
                raise HubError(
                    f"Split {split} of {repository} is not in {folder} and HF_HUB_OFFLINE forbids to fetch it: unset "
                    f"HF_HUB_OFFLINE, or {WITHOUT_NETWORK}."
                )
            # Asked first and once: what follows would try for half a minute to reach a hub that is not there.
            commit_of(repository, "dataset", commit)
            files = HubFiles(repository, commit, configuration, split, columns, shape)
            return files.whole() if rows is None else files.sample(rows, SAMPLE_SEED)

        return keep(
            folder,
            brought,
            self.progress,
            rows or next((sizes[split] for sizes in published_rows().values() if split in sizes), None),
        )


_REPOSITORIES = {
    Phase.UNSUPERVISED: UNSUPERVISED_DATA,
    Phase.SUPERVISED: SUPERVISED_DATA,
    Phase.DISTILLATION: DISTILLATION_DATA,
}


class _EvaluationSets(Mapping[str, "Collection"]):
    """Sets that are read when they are asked for and not held: few memories hold all of BEIR at once."""

    def __init__(self, names: tuple[str, ...]) -> None:
        known = (each for name in names for each in evaluation_sets.expand(name))
        self._names = [part for each in known for part in evaluation_sets.parts(each)]

    def __getitem__(self, name: str) -> Collection:
        if name not in self._names:
            raise KeyError(name)
        return evaluation_sets.evaluation_set(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
