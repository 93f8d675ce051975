"""A grid of arms through the ledger: what it needs, what is there already, what the rest will take, and the run itself.

A grid's hours follow from medians of whole runs, those of a single recipe from queries per second (`needs`).
Which arms a grid has is in `arms`, how one of them is trained in `execute`; nothing here prints.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ColbertZeroError, ParameterError, RunError
from ..home import data_folder
from ..recipes import Interaction, Recipe, Step
from ..steps import MOST_SEED, check_seed
from .arms import Job, grid_jobs
from .passport import read_passport
from .prefix_arms import has_sizes, in_default_size
from .run import Run

if TYPE_CHECKING:
    from .execute import Workshop

_PARAMETER_BYTES = 4  # weights are kept in float32
_PRETRAINING = "pretraining"


@dataclass(frozen=True)
class Forecast:
    """What finished runs say of one to come: seconds by kind of work, bytes of a trained run's folder.

    ``source`` says how many runs that is from, and where they are; bytes are None where nothing is known.
    """

    seconds: Mapping[str, float]
    bytes: int | None
    source: str

    def of(self, job: Job) -> float | None:
        """Predicted wall seconds of a run, its evaluation among them; None where a part of it was never timed."""
        kinds = [kind for kind, _ in _work(job.recipe)]
        return sum(self.seconds[kind] for kind in kinds) if set(kinds) <= set(self.seconds) else None


@dataclass(frozen=True)
class Plan:
    """A grid at a profile: every run once, in the order of work, and those that the ledger has."""

    profile: str
    recipes: tuple[Recipe, ...]
    seeds: tuple[int, ...]
    jobs: tuple[Job, ...]
    done: Mapping[Job, Run]
    forecast: Forecast

    @property
    def missing(self) -> tuple[Job, ...]:
        """The runs that are still to be had, in order."""
        return tuple(job for job in self.jobs if job not in self.done)

    @property
    def seconds(self) -> float | None:
        """Predicted wall seconds of the missing runs that can be timed; None where none of them can."""
        known = [seconds for job in self.missing if (seconds := self.forecast.of(job)) is not None]
        return sum(known) if known or not self.missing else None

    @property
    def untimed(self) -> int:
        """How many missing runs are of a kind that was never timed."""
        return sum(self.forecast.of(job) is None for job in self.missing)

    @property
    def bytes(self) -> int | None:
        """Predicted bytes on disk of the missing runs; those that only measure share weights and count for none."""
        trained = sum(job.recipe.trains for job in self.missing)
        return 0 if not trained else self.forecast.bytes and trained * self.forecast.bytes

    def to_text(self) -> str:
        """The plan as a few aligned lines."""
        missing, disk = self.missing, self.bytes
        seeds = f"seed{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}"
        measured = sum(not job.recipe.trains for job in missing)
        told = f" ({measured} of them only measure again)" if measured else ""
        lines = {
            "arms": f"{len(self.recipes)} at profile {self.profile}, {seeds}",
            "runs needed": f"{len(self.jobs)}, each shared step once",
            "in the ledger": str(len(self.done)),
            "to run": f"{len(missing)}{told}",
            "time": self._time(),
            "disk": "unknown" if disk is None else f"about {size(disk)}" if disk else "none",
        }
        return "\n".join(f"{name:>14}  {text}" for name, text in lines.items())

    def _time(self) -> str:
        if not self.missing:
            return "none"
        if self.seconds is None:
            return "unknown: no run of this profile has been timed on this kind of device"
        more = f", and {self.untimed} runs of unknown time" if self.untimed else ""
        return f"about {duration(self.seconds)}{more} (from {self.forecast.source})"


@dataclass(frozen=True)
class Event:
    """Something that happened to a run of a grid: it begins (``run`` is None), or is there.

    ``seconds``: since it began, 0 for a run that was in the ledger before.
    """

    job: Job
    run: Run | None
    seconds: float

    @property
    def score(self) -> float | None:
        """Mean nDCG@10 over the test collections, 0 to 1."""
        return None if self.run is None else float(self.run.passport["mean_ndcg@10"])


def read_seeds(text: str) -> tuple[int, ...]:
    """The seeds of a list such as ``0,1,2``, each once; ParameterError for what is no list of them."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 20 for part in parts):
        raise ParameterError(
            f"--seeds takes whole numbers from 0 to {MOST_SEED} with commas between, such as 0,1,2, not {text!r}."
        )
    return tuple(dict.fromkeys(check_seed(int(part)) for part in parts))


def plan_grid(shop: Workshop, recipes: Sequence[Recipe], seeds: Iterable[int]) -> Plan:
    """What a grid needs at a profile, beside what its ledger has; builds nothing, and no text while there is no run.

    Where the base encoder is there, so that its tokenizer is known, two names of one training (prefix ``random`` and
    ``random/4``, if the prompts take 4 tokens) are one arm. ParameterError without a seed.
    """
    seeds = tuple(dict.fromkeys(map(check_seed, seeds)))
    recipes = [shop.profile.begun(recipe) for recipe in recipes]
    runs = [run for run in shop.ledger.runs() if run.passport.get("profile") == shop.profile.name]
    prompts = shop.prompt_lengths() if runs and has_sizes(recipes) else None
    recipes = tuple(dict.fromkeys(in_default_size(recipe, prompts) for recipe in recipes))
    jobs = grid_jobs(recipes, seeds, own_base=shop.profile.encoder is not None)
    done = {
        job: run
        for job in (jobs if runs else ())
        if (run := shop.ledger.get(shop.key(job.recipe, job.seed), sizes_alone=True))
    }
    return Plan(shop.profile.name, recipes, seeds, jobs, done, _forecast(shop, runs))


def _forecast(shop: Workshop, runs: Iterable[Run]) -> Forecast:
    """Median times and sizes: of ``runs`` (finished ones of the profile), else of recorded passports.

    Only those count that ran on the same kind of device (processor or graphics card); a recorded passport that cannot
    be read is passed over.
    """
    on_cpu = shop.device.startswith("cpu")

    def alike(passport: Mapping[str, Any]) -> bool:
        return str(passport.get("device", "")).startswith("cpu") == on_cpu

    own = [run for run in runs if alike(run.passport)]
    others = [passport for passport in _recorded_passports(shop.profile.name) if alike(passport)]
    from_own, from_others = _medians([run.passport for run in own]), _medians(others)
    told = [f"{len(own)} runs in the ledger"] if from_own else []
    if set(from_others) - set(from_own):
        told.append(f"{len(others)} recorded runs")
    sizes = [sum(file.stat().st_size for file in run.folder.rglob("*") if file.is_file()) for run in own]
    weights = [_PARAMETER_BYTES * passport["parameters"] for passport in others if passport.get("parameters")]
    per_run = sizes or weights
    # A base encoder that others trained takes no time.
    free = {} if shop.profile.encoder else {_PRETRAINING: 0.0}
    return Forecast(
        {**from_others, **from_own, **free},
        int(statistics.median(per_run)) if per_run else None,
        " and ".join(told) or "nothing",
    )


def run_grid(shop: Workshop, plan: Plan) -> Iterator[Event]:
    """Run what a plan lacks, in order: an event when a run begins and one when it is there.

    Processes that run one grid share its work: each passes over what another is building, and comes back to it. Runs
    that the ledger has come as one event each. An arm that a plan made without the base encoder could not know to be
    another's double comes with the run of that one, and is not trained. The first error ends it; what is finished
    stays, and the same grid goes on from there (a run that was broken off resumes from its last checkpoint).
    """
    from .execute import run_recipe

    sized = has_sizes(plan.recipes)
    prompts: tuple[int, int] | None = None

    def wanted(job: Job) -> Recipe:
        return in_default_size(job.recipe, prompts)

    def needed(job: Job) -> Job | None:
        if job.before is None:
            return None
        return Job(job.before, job.seed if job.before.steps else plan.seeds[0])

    def is_free(job: Job) -> bool:
        if needed(job) in left:
            return False
        return job in plan.done or not shop.ledger.is_being_built(shop.key(wanted(job), job.seed))

    left = dict.fromkeys(plan.jobs)
    while left:
        # Before the first run of a ledger there is nothing to pass over, and no text to name runs by.
        first = next(iter(left))
        job = next(filter(is_free, left), first) if shop.ledger.root.is_dir() else first
        run, seconds = plan.done.get(job), 0.0
        if run is None:
            yield Event(job, None, 0.0)
            started = time.perf_counter()
            if sized and prompts is None:
                prompts = shop.prompt_lengths()
            run = run_recipe(wanted(job), seed=job.seed, shop=shop)
            seconds = time.perf_counter() - started
        yield Event(job, run, seconds)
        del left[job]


def _work(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """The parts of one run that take time, its own step and its evaluation: (kind of work, field of wall_seconds)."""
    last = recipe.steps[-1] if recipe.steps else None
    if recipe.trains:
        if last is None:
            yield _PRETRAINING, _PRETRAINING
        else:
            yield f"{last.interaction.value}:{last.phase.value}", last.phase.value
    # The untrained base is searched as a late-interaction model.
    yield f"{(last.interaction if last else Interaction.COLBERT).value} evaluation", "evaluation"


def _medians(passports: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Median wall seconds of each kind of work; what a passport says of earlier steps was timed by their own runs."""
    found: dict[str, list[float]] = {}
    for passport in passports:
        try:
            seconds = {name: float(value) for name, value in passport["wall_seconds"].items()}
            recipe = Recipe.parse(passport["recipe"])
        except (KeyError, TypeError, ValueError, AttributeError, ColbertZeroError):
            continue  # one that is no run's
        for kind, field in _work(recipe):
            if field in seconds:
                found.setdefault(kind, []).append(seconds[field])
    return {kind: statistics.median(seconds) for kind, seconds in found.items()}


def needs(shop: Workshop, recipe: Recipe, seed: int) -> Iterator[str]:
    """The steps of ``recipe`` that the ledger lacks, in order, each with its steps, rows (queries) and predicted time.

    That follows from queries per second of runs on a device of the same name, in the ledger or recorded, that trained
    the same step with the same budget.
    """
    passports = [run.passport for run in shop.ledger.runs()] + [*_recorded_passports(shop.profile.name)]
    for stage in shop.profile.begun(recipe).stages():
        key = shop.key(stage, seed)
        if shop.ledger.get(key, sizes_alone=True) is None:
            step = stage.steps[-1]
            budget = shop.profile.budget(step)
            rows = budget.steps * budget.batch_size
            speed = _speed(passports, shop.device_name, step, key.to_mapping()["settings"]["budgets"])
            time = duration(rows / speed) if speed else "unknown time: never timed on this device"
            yield f"{step}: {budget.steps:,} steps, {rows:,} rows, {time}"


def _speed(
    passports: Iterable[Mapping[str, Any]], device: str, step: Step, budgets: Mapping[str, Any]
) -> float | None:
    name = f"{step.interaction.value}:{step.phase.value}"
    # Neither the number of steps nor the learning rate changes how long a step takes.
    told = {"steps": None, "learning_rate": None}
    known = []
    for passport in passports:
        other = passport.get("key", {}).get("settings", {}).get("budgets", {}).get(name)
        speed = passport.get("queries_per_second", {}).get(step.phase.value)
        if other and speed and passport.get("device") == device and other | told == budgets[name] | told:
            known.append(float(speed))
    return statistics.median(known) if known else None


def _recorded_passports(profile: str) -> Iterator[dict[str, Any]]:
    """Recorded passports of a profile; one that cannot be read is passed over."""
    for file in sorted((data_folder() / "runs" / profile).glob("*.json")):
        try:
            passport = read_passport(file)
        except RunError:
            continue
        if {"recipe", "wall_seconds", "device"} <= set(passport):
            yield passport


def duration(seconds: float) -> str:
    """Seconds for print: ``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: int) -> str:
    """Bytes for print: ``740 MB``, ``1.2 GB``."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e6:.0f} MB"
