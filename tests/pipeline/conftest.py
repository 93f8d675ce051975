"""What the tests of real training share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    """No module leaves its number of threads to the next: sums are rounded differently with another number."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
