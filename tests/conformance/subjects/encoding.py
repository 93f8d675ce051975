"""Tasks that need nothing of a library but to open a model and to encode texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def tasks(
    opened: Callable[[str], Any], encode: Callable[[Any, list[str], bool], Any]
) -> dict[str, Callable[[dict[str, Any]], Any]]:
    """The tasks by name; ``encode(model, texts, is_query)`` gives the token vectors of each text."""

    def lengths(given: dict[str, Any]) -> Any:
        return [len(each) for each in encode(opened(given["model"]), given["texts"], given["is_query"])]

    def expansion(given: dict[str, Any]) -> float:
        plain, expanded = (
            encode(opened(given["models"][name]), given["texts"], True) for name in ("plain", "expanded")
        )
        pairs = zip(plain, expanded, strict=True)
        return max(float(abs(one - other[: len(one)]).max()) for one, other in pairs)

    def beside_others(given: dict[str, Any]) -> float:
        model = opened(given["model"])
        together = encode(model, given["texts"], False)
        alone = [encode(model, [text], False)[0] for text in given["texts"]]
        return max(float(abs(one - other).max()) for one, other in zip(together, alone, strict=True))

    def empty(given: dict[str, Any]) -> Any:
        found = encode(opened(given["model"]), given["texts"], False)
        return [len(each) > 0 and bool(np.isfinite(each).all()) for each in found]

    return {"lengths": lengths, "expansion": expansion, "beside others": beside_others, "empty": empty}
