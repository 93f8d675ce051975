"""What is learned at tiny: each phase of pipeline (c), trained there, ends far above the base on every collection.

`make reproduce` trains the other pipelines at tiny; tests train them at smoke alone.
"""

from __future__ import annotations

import pytest

from colbert_zero_lib.recipes import PIPELINES, Recipe
from colbert_zero_lib.runs.execute import obtain_base, run_recipe, workshop

pytestmark = pytest.mark.pipeline


@pytest.mark.parametrize("recipe", PIPELINES["c"].stages(), ids=str)
def test_a_phase_ends_far_above_the_base_it_began_with_on_every_collection(recipe: Recipe) -> None:
    shop = workshop("tiny", progress=False)
    base = obtain_base(shop).passport["metrics"]
    trained = run_recipe(recipe, shop=shop).passport["metrics"]
    gains = {name: trained[name]["ndcg@10"] - base[name]["ndcg@10"] for name in base}
    assert min(gains.values()) > 0.1, gains
