"""A checkpoint that somebody trained: where it is, which bytes it is, and what its files say about it.

Only files are read here; ``models`` opens what is described.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import CheckpointError, ColbertZeroError, one_line
from .keeping import MANIFEST, damage, digest_of
from .reading import UnreadableError, existing, read_json
from .recipes import Interaction

_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
# Classes that loading a model may name: other ones would be imported, or run from the folder, by its libraries.
_MODULE = re.compile(
    r"(sentence_transformers|pylate)(\.\w+)*\.(Transformer|Pooling|Normalize|Dense|LayerNorm|Dropout)"
)
_ACTIVATION = re.compile(r"torch\.nn\.(modules\.\w+\.)?[A-Z]\w*")


@dataclass(frozen=True)
class Checkpoint:
    """A dense model, a ColBERT model or a bare encoder in a folder.

    ``name`` is what it was asked for as (hub id or folder), ``identity`` what it *is*: the hub's commit, or the SHA-256
    over the files of a folder. ``interaction`` is None for a bare encoder. ``prompts`` (query, document), ``lengths``
    (query, document; in tokens, markers included) and ``query_expansion`` are None where the files do not say.
    """

    name: str
    folder: Path
    identity: str
    interaction: Interaction | None
    prompts: tuple[str, str] | None = None
    lengths: tuple[int, int] | None = None
    query_expansion: bool | None = None


def find_checkpoint(name: str, revision: str | None = None) -> Checkpoint:
    """The checkpoint in the folder ``name``, else of the hub's repository ``name`` at ``revision``.

    CheckpointError when a folder holds no model or only pickled weights; HubError when the hub cannot give it.
    """
    folder = existing(name)
    if folder and folder.is_dir():
        if revision is not None:
            raise CheckpointError(f"{name} is a folder and has no revision {revision!r}: leave it out.")
        if wrong := _damage(folder.resolve()):
            raise CheckpointError(
                f"{name} {wrong}: get the model again, or remove {MANIFEST} if you changed it yourself."
            )
        described = describe_checkpoint(folder, name, "")  # before all of what may be no model is read
        return replace(described, identity=_digest(folder.resolve()))
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise CheckpointError(f"There is no folder {name}, and a model of the hub is written owner/name.")
    from .hub import model_files

    found, commit = model_files(name, revision)
    return describe_checkpoint(found, name, commit)


def describe_checkpoint(folder: Path, name: str, identity: str) -> Checkpoint:
    """What the files of ``folder`` say; CheckpointError when they are no model or not safe to read."""
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        raise CheckpointError(f"{name} holds no model: config.json or modules.json is missing.")
    if not next(folder.rglob("*.safetensors"), None):
        raise CheckpointError(
            f"{name} has no weights as safetensors, and pickled ones are never loaded: convert them first."
        )
    modules = check_safe(folder, name)
    settings = _read(folder / "config_sentence_transformers.json", name, {})
    late = settings.get("model_type") == "ColBERT" or any("pylate" in kind for kind in modules)
    late = late or (folder / "artifact.metadata").is_file()
    interaction = Interaction.COLBERT if late else Interaction.DENSE if modules else None
    prompts, expansion = settings.get("prompts") or {}, settings.get("do_query_expansion")
    if not isinstance(prompts, dict) or not isinstance(expansion, (bool, type(None))):
        raise CheckpointError(
            f"config_sentence_transformers.json of {name} has odd prompts: get the model again."
        )
    texts = tuple(str(prompts.get(side) or "") for side in ("query", "document"))
    lengths = tuple(settings.get(f"{side}_length") for side in ("query", "document"))
    return Checkpoint(
        name=name,
        folder=folder,
        identity=identity,
        interaction=interaction,
        prompts=(texts[0], texts[1]) if prompts else None,
        lengths=(lengths[0], lengths[1]) if all(map(_is_length, lengths)) else None,
        query_expansion=expansion,
    )


def check_safe(folder: Path, name: str) -> list[str]:
    """The kinds of modules in a model's folder; CheckpointError where a library would run or unpickle what is in it.

    PyLate and sentence-transformers import what ``modules.json`` and a layer's ``activation_function`` name, and run a
    file of the folder for it, whether remote code is trusted or not.
    """
    kinds: list[str] = []
    places: list[Path] = []
    for module in _read(folder / "modules.json", name, []):
        kind, place = (
            (module.get(key) for key in ("type", "path")) if isinstance(module, dict) else (None, None)
        )
        if not isinstance(kind, str) or not _MODULE.fullmatch(kind) or not _is_inside(place):
            raise CheckpointError(
                f"modules.json of {name} names {kind!r} in {place!r}, which would run code that is not of PyLate or "
                "sentence-transformers, or is outside the folder: take a model without it."
            )
        kinds.append(kind)
        places.append(folder / str(place))
        layer = _read(folder / str(place) / "config.json", name, {})
        activation = layer.get("activation_function", "torch.nn.Identity") if kind.endswith(".Dense") else ""
        if activation and not (isinstance(activation, str) and _ACTIVATION.fullmatch(activation)):
            raise CheckpointError(
                f"{place}/config.json of {name} names {activation!r} as activation_function, which is not of torch.nn: "
                "take a model without it."
            )
    for file in sorted(folder.rglob("*.json")):
        if file.name in ("config.json", "tokenizer_config.json") and "auto_map" in _read(file, name, {}):
            raise CheckpointError(
                f"{file.name} of {name} wants to run code of its own (auto_map), which is never run: take a model that "
                "transformers knows."
            )
        if file.name.endswith(".index.json"):
            shards = _read(file, name, {}).get("weight_map")
            if not isinstance(shards, dict) or not all(map(_is_inside, shards.values())):
                raise CheckpointError(f"{file.name} of {name} names files outside it: get the model again.")
    for each in (folder, *places):
        pickled = next((file for file in sorted(each.glob("*")) if file.suffix in _PICKLED), None)
        if pickled and not next(each.glob("*.safetensors"), None):
            raise CheckpointError(
                f"{name} has no weights as safetensors beside {pickled.relative_to(folder)}, and pickled ones are "
                "never loaded: convert them first."
            )
    return kinds


@contextmanager
def opening(name: str) -> Iterator[None]:
    """Turn what libraries raise while they open a model's files into one CheckpointError."""
    try:
        yield
    except (ColbertZeroError, MemoryError):
        raise
    except Exception as error:  # of safetensors, tokenizers, transformers, torch or json, by what is wrong
        raise CheckpointError(
            f"{name} cannot be opened as a model ({type(error).__name__}: {one_line(error, 200)}): get it again,"
            " or name another one."
        ) from error


def _is_inside(place: Any) -> bool:
    """Whether a path that a file names is one within its folder."""
    return (
        isinstance(place, str)
        and not re.search(r"^[/\\]|:|\\|\0", place)
        and ".." not in PurePosixPath(place).parts
    )


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31


def _read(file: Path, name: str, missing: Any) -> Any:
    if not file.is_file():
        return missing
    try:
        found = read_json(file)
    except UnreadableError as error:
        raise CheckpointError(
            f"{file.name} of {name} cannot be read ({error}): get the model again."
        ) from None
    if type(found) is not type(missing):
        raise CheckpointError(f"{file.name} of {name} is not what its name says: get the model again.")
    return found


def _damage(folder: Path) -> str | None:
    """What is wrong with an exported model, or with the model in a run's folder; None for one without a manifest."""
    if (folder / MANIFEST).exists():
        return damage(folder)
    return damage(folder.parent, within=f"{folder.name}/") if (folder.parent / MANIFEST).exists() else None


def _digest(folder: Path) -> str:
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in (".json", ".safetensors") and path.name != MANIFEST
    )
    total = hashlib.sha256()
    for path in files:
        total.update(os.fsencode(path.relative_to(folder).as_posix()))
        total.update(digest_of(path).encode())
    return total.hexdigest()
