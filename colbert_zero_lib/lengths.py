"""How long texts are in tokens, and what a length limit cuts off them once markers and prompts have their share.

Counting only; limits and prompts are set where models are opened, in ``models`` and ``prompts``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from .errors import ParameterError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_AT_ONCE = 1024


class Cut(NamedTuple):
    """What a limit does to some texts: the share that is cut, and the share of all their tokens that is lost."""

    texts: float
    tokens: float


def text_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> np.ndarray:
    """Tokens of each text alone, int64 [texts]: no limit, no prompt, no ``[CLS]`` or ``[SEP]``."""
    counts: list[int] = []
    for start in range(0, len(texts), _AT_ONCE):
        found = tokenizer(
            list(texts[start : start + _AT_ONCE]), add_special_tokens=False, truncation=False, verbose=False
        )
        counts += map(len, found["input_ids"])
    return np.array(counts, dtype=np.int64)


def marker_tokens(tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that a late-interaction model puts around every text: ``[CLS]`` and ``[SEP]``, and ``[Q]`` or ``[D]``."""
    return tokenizer.num_special_tokens_to_add() + 1


def cut(tokens: np.ndarray, limit: int, taken: int) -> Cut:
    """What is cut of texts of so many ``tokens`` where a limit also holds ``taken`` tokens of markers and prompt.

    ParameterError without texts, or when the limit leaves no token for them.
    """
    room = limit - taken
    if not len(tokens) or room < 1:
        raise ParameterError(
            f"A limit of {limit} tokens, {taken} of them taken, says nothing of {len(tokens)} texts: pass texts and a "
            "higher limit."
        )
    lost = np.maximum(tokens - room, 0)
    return Cut(float((lost > 0).mean()), float(lost.sum() / max(1, tokens.sum())))


def cut_table(
    tokens: Mapping[str, np.ndarray],
    limits: Mapping[str, Iterable[int]],
    markers: int,
    prompts: Mapping[str, int],
) -> pd.DataFrame:
    """`cut` at each limit of each side (``query``, ``document``), without and with the side's prompt.

    ``prompts``: tokens of each side's prompt. Columns: side, limit, prompts (bool), texts, lost (shares, 0 to 1).
    """
    rows = [
        (side, limit, with_prompt, *cut(counts, limit, markers + with_prompt * prompts[side]))
        for side, counts in tokens.items()
        for with_prompt in (False, True)
        for limit in limits[side]
    ]
    return pd.DataFrame(rows, columns=["side", "limit", "prompts", "texts", "lost"])
