"""The arms of a grid: which recipes a name means, the runs they need in order, and what an arm is called.

Recipes in, runs to be had out; nothing here knows a profile, a ledger or a figure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError, ParameterError, RecipeError
from ..paper_arms import PAPER_ROWS
from ..prefixes import Prefix
from ..reading import UnreadableError, existing, read_lines
from ..recipes import PIPELINES, ZERO, Interaction, Phase, Recipe, Step, find_recipe
from ..steps import TEACHER, TEMPERATURE
from .change_arms import dense_arms, lateon_arms, temperature_arms
from .prefix_arms import STARTS, expansion_arms, prefix_arms

_CHANGES = {"lateon": lateon_arms, "temperature": temperature_arms, "dense": dense_arms}
GRIDS = ("table3", "table4", "pipelines", "prefixes", "expansion", *_CHANGES)
_COMMA = re.compile(r",(?![^\[]*\])")  # not those between the switches of a step


class ArmName(NamedTuple):
    """An arm in the paper's words: where fine-tuning starts from, its switches, and the stage that is reached.

    The base encoder has no switches and no stage.
    """

    start: str
    switches: str
    stage: str

    def __str__(self) -> str:
        return f"{self.stage} from {self.start} {self.switches}" if self.stage else self.start


@dataclass(frozen=True)
class Job:
    """One run of a grid: a recipe's first steps (or a re-evaluation at another length or prefix) and a seed."""

    recipe: Recipe
    seed: int

    @property
    def before(self) -> Recipe | None:
        """The recipe whose run this one starts from; None for the base encoder."""
        if not self.recipe.trains:
            return self.recipe.training
        return self.recipe.first(len(self.recipe) - 1) if self.recipe.steps else None


def grid_recipes(name: str) -> tuple[Recipe, ...]:
    """The distinct recipes of a grid, in its order.

    ``name`` is ``table3`` or ``table4`` (the rows that the paper prints), ``pipelines`` (Figure 2), ``prefixes`` (what
    stands before texts, from the starts of pipelines b and c), ``expansion`` (prompts, extra length and query expansion
    on and off, from the same starts, each with and without expansion at evaluation), ``lateon`` and ``temperature``
    (one change at a time: ``change_arms``), ``dense`` (what to make of a dense model that is there), a text file with a
    recipe a line (blank lines and what follows ``#`` are skipped), or recipes and pipelines' letters with commas
    between.
    RecipeError names what cannot be read (with file and line), ParameterError an empty grid.
    """
    text = name.strip()
    if text.startswith("table") and text in GRIDS:
        number = int(text.removeprefix("table"))
        found: Iterable[Recipe | None] = (row.recipe for row in PAPER_ROWS if row.table == number)
    elif text == "pipelines":
        found = PIPELINES.values()
    elif text == "prefixes":
        found = (arm.recipe for start in STARTS for arm in prefix_arms(start))
    elif text == "expansion":
        arms = [arm for start in STARTS for arm in expansion_arms(start).values()]
        found = (
            replace(arm, evaluation_expansion=on)
            for arm in arms
            for on in (arm.steps[-1].expansion, False, True)
        )
    elif text in _CHANGES:
        found = (
            recipe
            for arm in _CHANGES[text]()
            for recipe in (arm.less, arm.recipe)
            if isinstance(recipe, Recipe)
        )
    elif text and (file := existing(text)) and not file.is_dir():
        found = _from_file(file)
    else:
        try:
            found = [find_recipe(part) for part in _COMMA.split(text) if part.strip()]
        except RecipeError as error:
            if ":" in text:
                raise
            raise RecipeError(
                f"There is no grid or file {text!r}: use {', '.join(GRIDS)}, a file with a recipe a line, or recipes "
                "with commas between."
            ) from error
    recipes = tuple(dict.fromkeys(recipe for recipe in found if recipe is not None))
    if not recipes:
        raise ParameterError(f"The grid {text!r} names no recipe: write one a line, or with commas between.")
    return recipes


def _from_file(file: Path) -> Iterator[Recipe]:
    try:
        rows = list(read_lines(file))
    except UnreadableError as error:
        raise DataError(f"{file} is not a text file in UTF-8 ({error}): write a recipe a line.") from error
    for number, line in enumerate(rows, 1):
        text = line.partition("#")[0].strip()
        if text:
            try:
                yield find_recipe(text)
            except RecipeError as error:
                raise RecipeError(f"{file}:{number}: {error}") from error


def grid_jobs(recipes: Iterable[Recipe], seeds: Iterable[int], own_base: bool = True) -> tuple[Job, ...]:
    """Every run that the recipes need, each once: the base encoder, then seed by seed and depth-first.

    Recipes that begin alike share those runs. Depth-first, one arm is finished before the next is begun, and a
    re-evaluation follows the run whose weights it measures. The base encoder is the same for all seeds and has the
    first. A base that is not the profile's own (``own_base`` False) and any other start are there already: they are
    runs only where a recipe asks for them alone.
    """
    recipes = tuple(recipes)
    children: dict[Recipe, dict[Recipe, None]] = {}
    roots: dict[Recipe, None] = {}
    for recipe in recipes:
        path = [recipe.first(0), *recipe.stages(), *([] if recipe.trains else [recipe])]
        roots[path[0]] = None
        for before, after in pairwise(path):
            children.setdefault(before, {})[after] = None
    seeds = tuple(dict.fromkeys(seeds))
    if not seeds:
        raise ParameterError("A grid needs at least one seed: give --seeds 0, for example.")

    def below(recipe: Recipe) -> Iterator[Recipe]:
        # What is only measured again comes first: it takes a moment.
        for child in sorted(children.get(recipe, ()), key=lambda child: child.trains):
            yield child
            yield from below(child)

    def is_run(root: Recipe) -> bool:
        measured = any(not child.steps for child in children.get(root, ()))
        return (own_base and root == ZERO) or root in recipes or measured

    return (
        *(Job(root, seeds[0]) for root in roots if is_run(root)),
        *(
            Job(recipe, seed)
            for seed in seeds
            for root in roots
            for recipe in below(root)
            if recipe.steps or seed == seeds[0]
        ),
    )


def fine_tuning(recipe: Recipe) -> tuple[Step, ...]:
    """The ColBERT steps after the unsupervised phase: those whose switches Tables 3 to 5 vary."""
    return tuple(
        step
        for step in recipe.steps
        if step.interaction is Interaction.COLBERT and step.phase is not Phase.UNSUPERVISED
    )


def baseline_of(recipe: Recipe) -> Recipe | None:
    """The arm of the same start and phases without any switch, which Table 5 subtracts; None for that arm itself.

    A ColBERT model of the unsupervised phase alone is held against the one without prompts and length; recipes
    without a ColBERT step have no such arm.
    """
    tuned = fine_tuning(recipe) or tuple(s for s in recipe.steps if s.interaction is Interaction.COLBERT)
    if not tuned:
        return None
    steps = (
        replace(s, prompts=False, extra_length=False, prefix=None, expansion=False) if s in tuned else s
        for s in recipe.steps
    )
    baseline = replace(recipe.training, steps=tuple(steps))
    return None if baseline == recipe else baseline


def arm_name(recipe: Recipe) -> ArmName:
    """What the paper's tables call the arm, e.g. ``dense unsupervised``, ``+prompts −length``, ``distilled``."""
    tuned = fine_tuning(recipe)
    untuned = recipe.steps[: len(recipe.steps) - len(tuned)]
    start = begin = str(recipe.start or "base encoder")
    if untuned:
        last = untuned[-1]
        start = f"{_interaction(last)} {last.phase.value}" + ("" if last.prompts else ", no prompts")
        start += (f", {last.prefix}" if last.prefix else "") + (", expansion" if last.expansion else "")
        start += "".join(f", {change}" for change in _changes(last))
    if not tuned:
        own = dict.fromkeys(map(_switches, untuned[-1:]))
        stage = f"{_interaction(untuned[-1])} {untuned[-1].phase.value}" if untuned else ""
        start = begin
    else:
        own = dict.fromkeys(map(_switches, tuned))
        stage = "distilled" if tuned[-1].phase is Phase.DISTILLATION else tuned[-1].phase.value
    switches = ", then ".join(own)
    if recipe.evaluation_extra_length is not None:
        switches += f", {'+' if recipe.evaluation_extra_length else '−'}length at evaluation"
    if recipe.evaluation_prefix is not None:
        switches += f", {_prefix(recipe.evaluation_prefix)} at evaluation"
    if recipe.evaluation_expansion is not None:
        switches += f", {'+' if recipe.evaluation_expansion else '−'}expansion at evaluation"
    return ArmName(start, switches, stage)


def switch_arms(start: str, stage: str) -> dict[str, Recipe]:
    """The arms that Table 4 trains from ``start`` to ``stage``, by their switches, as `arm_name` calls them.

    From most starts four: prompts and extra length, each off and on. ParameterError lists what the table has.
    """
    found: dict[tuple[str, str], dict[str, Recipe]] = {}
    for row in PAPER_ROWS:
        if row.table == 4 and row.recipe is not None:
            name = arm_name(row.recipe)
            found.setdefault((name.start, name.stage), {})[name.switches] = row.recipe
    if (start, stage) not in found:
        known = "; ".join(f"{stage} from {start}" for start, stage in found)
        raise ParameterError(f"Table 4 has no arms {stage!r} from {start!r}: choose among {known}.")
    return found[start, stage]


def _interaction(step: Step) -> str:
    return "ColBERT" if step.interaction is Interaction.COLBERT else "dense"


def _switches(step: Step) -> str:
    length = f"{'+' if step.extra_length else '−'}length"
    expansion = ["+expansion"] if step.expansion else []
    return " ".join([_prefix(step.prepended), length, *expansion, *_changes(step)])


def _changes(step: Step) -> list[str]:
    """What is not about the texts: everything switched but prefix, length and expansion."""
    found = [f"+{name}" for name in ("head", "muon", "sampled") if getattr(step, name)]
    found += [f"{TEACHER}{step.teacher}"] if step.teacher else []
    return found + ([] if step.temperature is None else [f"{TEMPERATURE}{step.temperature}"])


def _prefix(prefix: Prefix) -> str:
    return {"none": "−prompts", "prompts": "+prompts"}.get(prefix.kind, f"+{prefix}")
