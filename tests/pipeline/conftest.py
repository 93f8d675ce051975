"""What the tests of real training share."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from colbert_zero_lib.home import home
from colbert_zero_lib.keeping import MANIFEST
from colbert_zero_lib.profiles import Profile, get_profile
from colbert_zero_lib.recipes import ZERO
from colbert_zero_lib.runs import Ledger, Run
from colbert_zero_lib.runs.execute import obtain_base
from colbert_zero_lib.runs.run import PASSPORT
from colbert_zero_lib.runs.workshop import BASE_SEED, Workshop


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    """No module leaves its number of threads to the next: sums are rounded differently with another number."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def smoke() -> Workshop:
    """The smallest profile on the suite's text, in the home folder, where the notebooks' runs are."""
    return Workshop(get_profile("smoke"), home(), "cpu", progress=False)


@pytest.fixture(scope="session")
def smoke_base(smoke: Workshop) -> Run:
    """Its base encoder, which takes ten times as long as any other run of it: trained once for all tests."""
    return obtain_base(smoke)


@pytest.fixture(scope="session")
def open_shop(smoke: Workshop, smoke_base: Run) -> Callable[..., Workshop]:
    """``open_shop(root)``: the smallest profile, or another on its text, with a ledger at ``root``: the base alone."""

    def open_one(root: Path, profile: Profile = smoke.profile) -> Workshop:
        shop = Workshop(profile, smoke.home, "cpu", progress=False)
        shop.__dict__.update(source=smoke.source, ledger=Ledger(root))

        def copy(folder: Path) -> Mapping[str, Any]:
            files = shutil.ignore_patterns(MANIFEST, PASSPORT)
            shutil.copytree(smoke_base.folder, folder, ignore=files, dirs_exist_ok=True)
            return smoke_base.passport

        shop.ledger.obtain(shop.key(ZERO, BASE_SEED), copy)
        return shop

    return open_one
