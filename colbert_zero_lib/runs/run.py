"""One run: the key that makes it what it is, and the finished folder that answers to that key.

Reading only; building, locking and checking a folder are the ledger's.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RunError
from ..keeping import MANIFEST, damage, entries_of
from ..recipes import Recipe
from .passport import canonical_json, key_versions, read_passport, validate_passport

if TYPE_CHECKING:
    import pandas as pd

PASSPORT = "run.json"
PER_QUERY = "per_query.parquet"


@dataclass(frozen=True)
class RunKey:
    """Everything that changes a run's result; equal keys share one folder.

    ``recipe`` is printed, ``settings`` the JSON of whatever in the profile matters to this prefix (any order of its
    keys), ``base`` names the base encoder, ``data`` the fingerprint of the text.
    """

    recipe: str
    profile: str
    settings: str
    seed: int
    base: str
    data: str
    versions: tuple[tuple[str, str], ...] = field(default_factory=key_versions)

    def to_mapping(self) -> dict[str, Any]:
        """The key as it stands in ``run.json``: settings as an object, versions as a mapping."""
        return {**vars(self), "settings": json.loads(self.settings), "versions": dict(self.versions)}

    @property
    def digest(self) -> str:
        """The sha256 (64 hex digits) of the key's canonical JSON."""
        return hashlib.sha256(canonical_json(self.to_mapping()).encode()).hexdigest()

    @property
    def folder_name(self) -> str:
        """The recipe's slug, cut to 60 characters, and 12 digits of the digest."""
        return f"{Recipe.parse(self.recipe).slug[:60].rstrip('-')}-{self.digest[:12]}"


@dataclass(frozen=True)
class Run:
    """A finished run: ``folder`` holds run.json, manifest.json, model/ and whatever else its builder left."""

    folder: Path
    passport: dict[str, Any] = field(compare=False, repr=False)

    @classmethod
    def read(cls, folder: Path) -> Run:
        """The run in ``folder``; RunError if its passport cannot be read or is not the one that was written."""
        return cls(folder, read_passport(folder / PASSPORT)).checked(PASSPORT)

    def checked(self, within: str = "") -> Run:
        """This run if its files whose names begin with ``within`` are as they were written.

        RunError otherwise, ClosedError where another user keeps them closed.
        """
        if wrong := damage(self.folder, within=within):
            raise RunError(f"Run folder {self.folder} {wrong}: run the recipe again, which builds it anew.")
        return self

    def sound(self) -> Run:
        """This run if its passport has what others rely on (`validate_passport`); RunError otherwise."""
        validate_passport(self.passport, str(self.folder / PASSPORT))
        return self

    @property
    def digest(self) -> str:
        """The digest of the key that made the run."""
        return str(self.passport.get("digest", ""))

    @property
    def model_folder(self) -> Path:
        """Where the builder saved the model."""
        return self.folder / "model"

    @property
    def per_query_file(self) -> Path:
        """Where the builder saved per-query values, if it did."""
        return self.folder / PER_QUERY

    @property
    def has_per_query(self) -> bool:
        """Whether the builder saved per-query values, even if they are gone by now."""
        try:
            return self.per_query_file.exists() or PER_QUERY in entries_of(self.folder / MANIFEST)
        except (OSError, ValueError):
            return False

    def per_query(self) -> pd.DataFrame:
        """One row a query: collection, query, ndcg@10, ...; RunError if the run kept none, or they are damaged."""
        self.checked(PER_QUERY)
        return read_per_query(self.per_query_file)


def read_per_query(file: Path) -> pd.DataFrame:
    """The per-query values in a Parquet file; RunError names the file if it is missing or not Parquet."""
    import pandas as pd

    try:
        return pd.read_parquet(file)
    except FileNotFoundError as error:
        raise RunError(f"There are no per-query values at {file}: evaluate the run again.") from error
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise RunError(f"{file} is not a readable Parquet file: evaluate the run again.") from error
