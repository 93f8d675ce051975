"""Where training pairs, hard negatives, teacher scores and collections come from.

Names are loaded on first use, so that ``python -m colbert_zero_lib.corpora.offline`` finds that module not loaded yet.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .build import SUPERVISED_SOURCES as SUPERVISED_SOURCES
    from .build import TEST_COLLECTIONS as TEST_COLLECTIONS
    from .build import UNSUPERVISED_SOURCES as UNSUPERVISED_SOURCES
    from .collections import Collection as Collection
    from .collections import read_collection as read_collection
    from .collections import write_collection as write_collection
    from .minilm import minilm_folder as minilm_folder
    from .offline import OfflineCorpora as OfflineCorpora
    from .offline import load_offline as load_offline
    from .wheels import fetch_wheels as fetch_wheels

_ROOMS = {
    "build": ("SUPERVISED_SOURCES", "TEST_COLLECTIONS", "UNSUPERVISED_SOURCES"),
    "collections": ("Collection", "read_collection", "write_collection"),
    "minilm": ("minilm_folder",),
    "offline": ("OfflineCorpora", "load_offline"),
    "wheels": ("fetch_wheels",),
}


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
