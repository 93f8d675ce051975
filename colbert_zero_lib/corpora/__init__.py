"""Where training pairs, hard negatives, teacher scores and collections come from.

Names are loaded on first use, so that building the offline text needs nothing but the standard library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colbert_zero_lib.corpora.build import (
        DEVELOPMENT_COLLECTIONS,
        SUPERVISED_SOURCES,
        TEST_COLLECTIONS,
        UNSUPERVISED_SOURCES,
    )
    from colbert_zero_lib.corpora.collections import Collection, read_collection, write_collection
    from colbert_zero_lib.corpora.minilm import minilm_folder
    from colbert_zero_lib.corpora.offline import OfflineCorpora, load_offline, recorded_fingerprints
    from colbert_zero_lib.corpora.wheels import fetch_wheels, open_wheel

    RECORDED_FINGERPRINT: str

_ROOMS = {
    "build": (
        "DEVELOPMENT_COLLECTIONS",
        "SUPERVISED_SOURCES",
        "TEST_COLLECTIONS",
        "UNSUPERVISED_SOURCES",
    ),
    "collections": ("Collection", "read_collection", "write_collection"),
    "minilm": ("minilm_folder",),
    "offline": ("OfflineCorpora", "load_offline", "recorded_fingerprints"),
    "wheels": ("fetch_wheels", "open_wheel"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "DEVELOPMENT_COLLECTIONS",
    "RECORDED_FINGERPRINT",
    "SUPERVISED_SOURCES",
    "TEST_COLLECTIONS",
    "UNSUPERVISED_SOURCES",
    "Collection",
    "OfflineCorpora",
    "fetch_wheels",
    "load_offline",
    "minilm_folder",
    "open_wheel",
    "read_collection",
    "recorded_fingerprints",
    "write_collection",
]


def __getattr__(name: str) -> Any:
    if name == "RECORDED_FINGERPRINT":
        return import_module(f"{__name__}.offline").recorded_fingerprints()["all"]
    if name in _ROOM_OF:
        return getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
