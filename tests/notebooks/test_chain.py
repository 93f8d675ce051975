"""What is learned at tiny: two notebooks that train there run headless, and what they trained is far above the base.

It takes longest of all tests, nearly all of it training. The notebooks of what follows, 05 and 06, run at the smallest
profile (`test_notebooks`); their last steps of pipelines (a) and (b) are trained at tiny by `make reproduce` alone.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from colbert_zero_lib.recipes import PIPELINES, Recipe
from colbert_zero_lib.runs.execute import obtain_base, run_recipe, workshop

pytestmark = pytest.mark.notebooks


@pytest.mark.parametrize("name", ["03_unsupervised", "04_supervised"])
def test_a_notebook_runs_headless(name: str, run_headless: Callable[[str, str], None]) -> None:
    run_headless(name, "tiny")


# The stages that the notebooks trained, and the distillation of the last of them.
@pytest.mark.parametrize("recipe", [PIPELINES["b"].stages()[1], *PIPELINES["c"].stages()], ids=str)
def test_a_stage_is_far_above_the_base_it_began_with_on_every_collection(recipe: Recipe) -> None:
    shop = workshop("tiny", progress=False)
    base = obtain_base(shop).passport["metrics"]
    trained = run_recipe(recipe, shop=shop).passport["metrics"]
    gains = {name: trained[name]["ndcg@10"] - base[name]["ndcg@10"] for name in base}
    assert min(gains.values()) > 0.1, gains
