"""The notebooks that train the three pipelines run headless at tiny, in order, each reusing what was trained.

They take longest of all tests, and a file is one process's: they have one to themselves, first in the order of names.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from colbert_zero_lib.recipes import PIPELINES
from colbert_zero_lib.runs.execute import obtain_base, run_recipe, workshop

pytestmark = pytest.mark.notebooks


@pytest.mark.parametrize("name", ["03_unsupervised", "04_supervised", "05_distillation", "06_pipelines"])
def test_a_notebook_runs_headless(name: str, run_headless: Callable[[str, str], None]) -> None:
    run_headless(name, "tiny")


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_pipeline_is_far_above_the_base_it_began_with_on_every_collection(pipeline: str) -> None:
    shop = workshop("tiny", progress=False)
    base = obtain_base(shop).passport["metrics"]
    final = run_recipe(pipeline, shop=shop).passport["metrics"]
    gains = {name: final[name]["ndcg@10"] - base[name]["ndcg@10"] for name in base}
    assert min(gains.values()) > 0.1, gains
