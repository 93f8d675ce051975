"""Sweep the learning rate of a recipe's last step, a run a value, on the development collections alone.

Values are trained here through a ledger of their own; which are tried and which wins is decided in `runs.rates`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from colbert_zero_lib.errors import DivergedError, ParameterError, RecipeError
from colbert_zero_lib.evaluation import Evaluation
from colbert_zero_lib.profiles import Profile
from colbert_zero_lib.recipes import Recipe, Step
from colbert_zero_lib.runs import Ledger, Run, RunKey, origins
from colbert_zero_lib.runs.execute import DEVELOPMENT, _build, obtain_steps, shared_fields
from colbert_zero_lib.runs.rates import Sweep, judge, swept_rates
from colbert_zero_lib.runs.workshop import Workshop
from colbert_zero_lib.steps import check_seed

# What a workshop keeps when only learning rates change.
_SHARED = ("source", "ledger", "precision", "development", "_checkpoints")


def with_rate(profile: Profile, step: Step, rate: float) -> Profile:
    """The profile with another learning rate for ``step``, whatever it follows and whichever weights it trains."""
    # Of the profile's own budget: what the step's switches change stays theirs.
    place = step.phase, step.interaction
    changed = replace(
        profile.budgets[place],
        learning_rate=rate,
        conversion_learning_rate=rate,
        muon_learning_rate=rate,
    )
    return replace(profile, budgets={**profile.budgets, place: changed})


@dataclass(frozen=True, eq=False)
class RateSweep:
    """The values of one sweep and their runs: what is done, what is to be done, and the result.

    ``rates`` are Table 1's for the last step's phase around the profile's present one (`swept_rates`) unless they are
    given; the present one is always among them. The steps before the last are ordinary runs of ``shop``; the values
    are runs of a ledger beside the shop's (``sweeps``), since they are measured on the development collections only.
    A value that the shop's own ledger holds already, as an ordinary run, is taken from there. RecipeError when the
    recipe has no last step to train, ParameterError for a rate that is not above 0.
    """

    recipe: Recipe
    seed: int
    shop: Workshop
    given: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.recipe.steps or not self.recipe.trains:
            raise RecipeError(
                f"A sweep trains the last step of a recipe, and '{self.recipe}' ends in none: give one such as "
                "colbert:unsupervised."
            )
        check_seed(self.seed)
        if any(not rate > 0 for rate in self.given):
            raise ParameterError(f"A learning rate to sweep is above 0, not {min(self.given)}.")

    @cached_property
    def present(self) -> float:
        """The profile's learning rate of the step."""
        return self.shop.budget(self.recipe).learning_rate

    @cached_property
    def rates(self) -> tuple[float, ...]:
        """The learning rates tried, from low to high."""
        if self.given:
            return tuple(sorted({self.present, *self.given}))
        return swept_rates(self.recipe.steps[-1].phase, self.present)

    @cached_property
    def ledger(self) -> Ledger:
        """Where the values' runs are."""
        return Ledger(self.shop.ledger.root.with_name("sweeps"))

    def key(self, rate: float) -> RunKey:
        """The key of a value's run in the sweeps' ledger."""
        return self._shop(rate, development_only=True).key(self.recipe, self.seed)

    def done(self) -> tuple[float, ...]:
        """The rates that need no training any more."""
        return tuple(
            rate
            for rate in self.rates
            if self._is_ordinary(rate) or self.ledger.folder(self.key(rate)).is_dir()
        )

    def obtain(self, rate: float) -> Run:
        """The run of one learning rate: reused, or trained and evaluated; its passport says if it diverged."""
        if self._is_ordinary(rate) and (
            found := self.shop.ledger.get(self._shop(rate).key(self.recipe, self.seed))
        ):
            return found
        start = self.shop.checkpoint(self.recipe)
        if start is not None and len(self.recipe) == 1:
            origins.check_start(start, self.recipe, self.shop.profile)
        before = obtain_steps(self.shop, self.recipe.first(len(self.recipe) - 1), self.seed)
        shop = self._shop(rate, development_only=True)

        def build(folder: Path) -> dict[str, Any]:
            try:
                return _build(shop, self.recipe, self.seed, before, folder)
            except DivergedError as error:
                return {**shared_fields(shop, self.recipe, self.seed), "diverged": str(error)}

        return self.ledger.obtain(self.key(rate), build)

    def result(self) -> Sweep:
        """The sweep's figures and its choice; values that are not there yet are trained first."""
        runs = {rate: self.obtain(rate) for rate in self.rates}
        measured = {
            rate: None if "diverged" in run.passport else Evaluation.from_parquet(run.folder / DEVELOPMENT)
            for rate, run in runs.items()
        }
        sources = {rate: _source(run, self.recipe.steps[-1]) for rate, run in runs.items()}
        return judge(
            measured, str(self.recipe), self.shop.profile.name, self.seed, self.present, sources=sources
        )

    def _is_ordinary(self, rate: float) -> bool:
        return self.shop.ledger.folder(self._shop(rate).key(self.recipe, self.seed)).is_dir()

    def _shop(self, rate: float, development_only: bool = False) -> Workshop:
        profile = with_rate(self.shop.profile, self.recipe.steps[-1], rate)
        shop = replace(self.shop, profile=profile, development_only=development_only)
        shop.__dict__.update({name: getattr(self.shop, name) for name in _SHARED})
        return shop


def _source(run: Run, step: Step) -> dict[str, Any]:
    passport = run.passport
    seconds = passport.get("wall_seconds", {}).get(step.phase.value)
    return {
        "run": run.digest[:12],
        "device": passport["device"],
        "git_commit": passport["git_commit"],
        "versions": passport["versions"],
        **({} if seconds is None else {"seconds": round(seconds, 1)}),
    }


def sweep(
    recipe: Recipe | str,
    shop: Workshop,
    seed: int = 0,
    rates: Sequence[float] = (),
    say: Callable[[str], None] | None = None,
) -> Sweep:
    """Train the last step of ``recipe`` at every learning rate of its sweep and judge them (rule: see `Sweep`).

    Processes that run one sweep share its values: each passes over what another is training, and waits for it in the
    end.
    """
    say = say or (lambda _: None)
    recipe = shop.profile.begun(Recipe.parse(recipe) if isinstance(recipe, str) else recipe)
    plan = RateSweep(recipe, seed, shop, tuple(rates))
    say(f"{plan.recipe}: {len(plan.rates)} learning rates, {len(plan.done())} there already")
    left = list(plan.rates)
    while left:
        rate = next((rate for rate in left if not plan.ledger.is_being_built(plan.key(rate))), left[0])
        left.remove(rate)
        found = plan.obtain(rate).passport.get("development_mean_ndcg@10")
        reached = "diverged" if found is None else f"development nDCG@10 {found:.4f}"
        say(f"{rate:10.3g}  {reached}" + ("  (present)" if rate == plan.present else ""))
    return plan.result()
