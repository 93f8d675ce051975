"""The Hugging Face hub: which commit a name means, and a model's files, or one sentence that says why not.

What is in the files is read elsewhere: models by ``checkpoint``, data sets by ``corpora``.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal

from .errors import ColbertZeroError, HubError
from .keeping import digest_of

REACH_SECONDS = 8
WITHOUT_NETWORK = "take what needs no network (profiles smoke to mini, evaluate --on offline)"
# Weights as safetensors and what describes them: nothing that would have to be unpickled.
MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.metadata")

Kind = Literal["dataset", "model"]
_REVISION = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")
_PASSWORD = re.compile(r"//[^/@\s]+@")  # of an address
COMMIT = re.compile(r"[0-9a-f]{40}")  # a model's or a data set's identity on the hub


def commit_of(repository: str, kind: Kind, revision: str | None = None) -> str:
    """The commit (40 hex digits) that ``revision`` of a repository means; the main branch by default.

    Asks the hub, or the cache when ``HF_HUB_OFFLINE`` is set. HubError within seconds when neither knows it.
    """
    from huggingface_hub import HfApi, constants

    if revision is not None and not _REVISION.fullmatch(revision):  # it becomes the name of a file
        raise HubError(f"{revision!r} is no revision of {repository}: write a branch, a tag or a commit.")
    if constants.HF_HUB_OFFLINE:
        return _cached_commit(repository, kind, revision)
    with plain_hub_errors(repository, kind):
        info = HfApi().repo_info(repository, repo_type=kind, revision=revision, timeout=REACH_SECONDS)
        commit = str(info.sha)
        if not COMMIT.fullmatch(commit):
            raise ValueError(f"its commit is {commit!r}")
        # As the hub's own library notes it; it does so only where files are asked for by the revision's name.
        reference = _cache(repository, kind) / "refs" / (revision or "main")
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit, encoding="utf-8")
        return commit


def model_files(repository: str, revision: str | None = None) -> tuple[Path, str]:
    """A model's folder in the hub's cache, downloaded as far as it is not there, and its commit."""
    from huggingface_hub import constants, snapshot_download

    commit = commit_of(repository, "model", revision)
    cache = _cache(repository, "model")
    there = (cache / "snapshots" / commit).is_dir() and not any((cache / "blobs").glob("*.incomplete"))
    with plain_hub_errors(repository, "model"), without_bars() if there else nullcontext():
        folder = snapshot_download(
            repository,
            revision=commit,
            allow_patterns=list(MODEL_FILES),
            local_files_only=constants.HF_HUB_OFFLINE,
        )
    check_blobs(*(file for file in Path(folder).rglob("*") if file.is_symlink()))
    return Path(folder), commit


def check_blobs(*files: Path) -> None:
    """HubError where a file of the hub's cache is not what its name there says: its SHA-256, or git's digest of it."""
    for blob in (Path(os.path.realpath(file)) for file in files):
        if blob.parent.name != "blobs":
            continue  # a system without links has copies, whose names say nothing
        try:
            digest = digest_of(blob)
            content = blob.read_bytes() if len(blob.name) == 40 else b""
        except OSError as error:
            raise HubError(f"{blob} cannot be read ({error.strerror}): remove it and run again.") from None
        if len(blob.name) == 40:
            digest = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if len(blob.name) in (40, 64) and digest != blob.name:
            raise HubError(f"{blob} has other bytes than the hub gave: remove it and run again.")


@contextmanager
def plain_hub_errors(repository: str, kind: Kind) -> Iterator[None]:
    """Turn whatever goes wrong between here and the hub into one :class:`HubError`."""
    from huggingface_hub import constants

    try:
        yield
    except ColbertZeroError:
        raise
    except Exception as error:  # httpx, requests, datasets or the hub's own, by version
        lines = str(error).strip().splitlines()
        reason = lines[0].rstrip(".") if lines else type(error).__name__
        noun = "data set" if kind == "dataset" else "model"
        place = _PASSWORD.sub("//", f"{constants.ENDPOINT} ({reason})")
        raise HubError(
            f"The {noun} {repository} could not be had from {place}: it would be kept in {constants.HF_HUB_CACHE}; "
            f"check the name and the connection, or {WITHOUT_NETWORK}."
        ) from error


@contextmanager
def without_bars() -> Iterator[None]:
    """Hide the progress bars of ``datasets`` and of the hub's library for a while, where they are shown."""
    from datasets import utils as tables
    from huggingface_hub import utils as files

    shown = [library for library in (tables, files) if not library.are_progress_bars_disabled()]
    for library in shown:
        library.disable_progress_bars()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bars()


def _cache(repository: str, kind: Kind) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"{kind}s--{repository.replace('/', '--')}"


def _cached_commit(repository: str, kind: Kind, revision: str | None) -> str:
    from huggingface_hub import constants

    folder = _cache(repository, kind)
    name = revision or "main"
    reference = folder / "refs" / name
    with plain_hub_errors(repository, kind):
        if reference.is_file():
            return reference.read_text(encoding="utf-8").strip()
    if (folder / "snapshots" / name).is_dir():
        return name
    noun = "data set" if kind == "dataset" else "model"
    raise HubError(
        f"The {noun} {repository} (revision {name}) is not in {constants.HF_HUB_CACHE} and HF_HUB_OFFLINE forbids to "
        f"fetch it: unset HF_HUB_OFFLINE, or {WITHOUT_NETWORK}."
    )
