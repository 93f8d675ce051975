"""What is learned in a third of tiny's steps: each phase of pipeline (c) ends far above the base on every collection.

`make reproduce` trains all three pipelines in all of them; other tests train at smoke.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from colbert_zero_lib.home import home
from colbert_zero_lib.profiles import get_profile
from colbert_zero_lib.recipes import PIPELINES, Recipe
from colbert_zero_lib.runs.execute import Workshop, obtain_base, run_recipe

pytestmark = pytest.mark.pipeline


@pytest.mark.parametrize("recipe", PIPELINES["c"].stages(), ids=str)
def test_a_phase_ends_far_above_the_base_it_began_with_on_every_collection(recipe: Recipe) -> None:
    tiny = get_profile("tiny")
    third = replace(
        tiny,
        pretraining=replace(tiny.pretraining, steps=tiny.pretraining.steps // 3),
        budgets={key: replace(budget, steps=budget.steps // 3) for key, budget in tiny.budgets.items()},
    )
    shop = Workshop(third, home(), "cpu", progress=False)
    base = obtain_base(shop).passport["metrics"]
    trained = run_recipe(recipe, shop=shop).passport["metrics"]
    gains = {name: trained[name]["ndcg@10"] - base[name]["ndcg@10"] for name in base}
    assert min(gains.values()) > 0.1, gains
