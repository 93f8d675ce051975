"""The verb ``colbert-zero grid`` and the table it shows while runs are made.

Plan and runs are the library's; only words and the terminal are known here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .terminal import FromSource, profile_from, table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from .recipes import Recipe
    from .runs import Run
    from .runs.arms import Job
    from .runs.grid import Event, Plan
    from .verdicts import RunEvidence


def grid(
    name: Annotated[
        str,
        typer.Argument(
            help="table4, table3, pipelines, prefixes, expansion, lateon, temperature, dense, a file with a recipe a "
            "line, or recipes with commas between."
        ),
    ],
    profile: Annotated[str, typer.Option(help="smoke, tiny, laptop, mini or minilm.")] = "tiny",
    source: FromSource = None,
    seeds: Annotated[str | None, typer.Option(help="Such as 0,1,2; the profile's own by default.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what is needed, and stop.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="A line a run, no live table.")] = False,
) -> None:
    """Run a grid of arms: each shared step once, resumed where it stopped; says first what that takes."""
    from .runs.arms import grid_recipes
    from .runs.grid import plan_grid, read_seeds, run_grid
    from .verdicts import ledger_evidence

    recipes = grid_recipes(name)
    scale = profile_from(profile, source, begins_elsewhere=any(recipe.start for recipe in recipes))
    chosen = read_seeds(seeds) if seeds is not None else scale.seeds
    from rich.console import Console
    from rich.live import Live

    from .runs.execute import workshop

    shop = workshop(scale, progress=False)
    found = plan_grid(shop, recipes, chosen)
    typer.echo(found.to_text())
    if plan:
        return
    console, board = Console(), Board(found)
    if quiet or not console.is_terminal:
        for event in run_grid(shop, found):
            board.take(event)
            if event.run is not None and event.job not in found.done:
                typer.echo(board.line(event))
    else:
        with Live(console=console, refresh_per_second=1, get_renderable=lambda: board.table(console.height)):
            for event in run_grid(shop, found):
                board.take(event)
    whole = [scale.whole(recipe) for recipe in found.recipes]
    runs = [run for run in shop.ledger.sound_runs() if run.passport["profile"] == scale.name]
    show_differences(ledger_evidence(scale), whole, shop.prompt_lengths(), console, runs)


def show_differences(
    evidence: RunEvidence,
    recipes: Sequence[Recipe],
    prompts: tuple[int, int] | None,
    console: Console,
    runs: Sequence[Run] = (),
) -> None:
    """What a grid's own arms say: those of Table 5 beside its deltas, those of the other studies less their base.

    Below each table stands what it could have shown. ``runs`` are those that may have learned a temperature.
    """
    from .runs.change_arms import dense_arms, lateon_arms, temperature_arms
    from .runs.prefix_arms import STARTS, in_default_size, prefix_arms
    from .verdicts.changes import change_findings
    from .verdicts.deltas import smallest_words
    from .verdicts.grid import delta_findings
    from .verdicts.prefixes import effect_findings, expansion_findings
    from .verdicts.verdict import NOT_RUN

    named = {str(in_default_size(recipe, prompts)) for recipe in recipes}
    study = (arm.recipe for start in STARTS for arm in prefix_arms(start, mismatched=False, prompts=prompts))
    only_there = {str(recipe) for recipe in study if recipe.steps[-1].prefix is not None}  # not in Table 5
    deltas = delta_findings(evidence)
    tables = [("Table 5", ["start", "stage", "effect", "paper"], deltas[deltas["arm"].isin(named)])]
    if named & only_there:
        effects = effect_findings(evidence, prompts)
        effects = effects[effects["recipe"].isin(named)]
        tables.append(("less nothing before the texts", ["start", "arm"], effects))
    if any(recipe.evaluated_step.expansion for recipe in recipes):
        tables.append(("query expansion", ["start", "length", "comparison"], expansion_findings(evidence)))
    for title, arms, words in (
        ("LateOn's changes, less none", lateon_arms(), ()),
        ("temperature, less the profile's own", temperature_arms(), ("learned",)),
        ("a dense model that is there", dense_arms(), ()),
    ):
        if chosen := [arm for arm in arms if str(arm.recipe) in named]:
            tables.append((title, ["base", "change", *words], change_findings(evidence, chosen, runs)))
    for title, about, rows in tables:
        rows = rows[rows["verdict"] != NOT_RUN]
        if len(rows):
            columns = [*about, "yours", "seeds", "verdict"]
            title = f"{title}: points of nDCG@10"
            console.print(table(title, columns, [_difference(about, row) for row in rows.to_dict("records")]))
            console.print(smallest_words(rows), markup=False, highlight=False)


def _difference(about: Sequence[str], row: Mapping[str, Any]) -> list[str]:
    words = [f"{row[name]:+.2f}" if name == "paper" else row[name] for name in about]
    yours = f"{row['value']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
    return [*words, yours, str(row["seeds"]), row["verdict"]]


class Board:
    """A grid while it runs: arms down, seeds across, nDCG@10 in points where a run is there."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.left = dict.fromkeys(plan.missing)
        self.scores: dict[Job, str] = {}
        self.now: Job | None = None
        self.begun = 0.0

    def take(self, event: Event) -> None:
        """Note what happened."""
        if event.score is None:
            self.now, self.begun = event.job, time.monotonic()
            self.scores[event.job] = "…"
        else:
            self.left.pop(event.job, None)
            self.scores[event.job] = f"{100 * event.score:.2f}"
            self.now = None

    def line(self, event: Event) -> str:
        """A finished run in a line: its place in the grid, score, time spent, what is left, and its arm."""
        from .runs.grid import duration

        words = (self._count(), self.scores[event.job], duration(event.seconds), self._rest())
        return "  ".join((*words, f"seed {event.job.seed}", str(event.job.recipe)))

    def table(self, height: int) -> Table:
        """The grid as it is now: as many arms as a terminal of ``height`` lines holds, those in work among them."""
        from .runs.arms import arm_name

        recipes = list(dict.fromkeys(job.recipe for job in self.plan.jobs))
        room = max(1, height - 6)
        place = recipes.index(self.now.recipe) if self.now else len(recipes)
        first = max(0, min(place - room // 2, len(recipes) - room))
        rows = []
        for recipe in recipes[first : first + room]:
            own = {job.seed: text for job, text in self.scores.items() if job.recipe == recipe}
            rows.append([str(arm_name(recipe)), *(own.get(seed, "") for seed in self.plan.seeds)])
        columns = ["arm", *(f"seed {seed}" for seed in self.plan.seeds)]
        return table(f"{self._count()} runs, {self._rest()}", columns, rows)

    def _count(self) -> str:
        return f"{len(self.plan.jobs) - len(self.left)}/{len(self.plan.jobs)}"

    def _rest(self) -> str:
        from .runs.grid import duration

        known = [seconds for job in self.left if (seconds := self.plan.forecast.of(job)) is not None]
        if len(known) < len(self.left):
            return f"{len(self.left)} left"
        spent = time.monotonic() - self.begun if self.now else 0.0
        return f"{duration(max(0.0, sum(known) - spent))} left" if self.left else "finished"
