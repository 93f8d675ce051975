"""The ``colbert-zero`` command: each verb reads its arguments, calls the library and prints.

No logic of its own; heavy libraries are imported inside the verbs so that ``--help`` is instant.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import group
from .cli_adapt import adapt
from .cli_data import data_app
from .cli_evaluate import evaluate, record
from .cli_grid import grid
from .cli_notebooks import crosswalk, figures, notebooks, program, stamp
from .cli_search import index, rerank, search, serve
from .edge import Verbs, printable
from .errors import one_line
from .launch import in_processes, refuse_processes
from .terminal import FromSource, Processes, Quiet, Seed, print_table, profile_from

if TYPE_CHECKING:
    from .runs import Ledger, Run


app = typer.Typer(
    cls=Verbs,
    help="Train, evaluate and compare ColBERT-Zero recipes, and run the notebooks headless.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data")

Profile = Annotated[
    str, typer.Option(help="smoke, tiny, laptop, mini, minilm, base or paper; base-released, paper-released.")
]


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Train, evaluate and compare ColBERT-Zero recipes, and run the notebooks headless."""
    if version:
        from . import __version__

        typer.echo(__version__)
        raise typer.Exit()
    # A warning is a sentence for the reader; where in the code it came up is not.
    warnings.formatwarning = lambda message, *_, **__: f"note: {one_line(message)}\n"
    refuse_processes(context.invoked_subcommand)


@app.command()
def run(
    pipeline: Annotated[str, typer.Argument(help="a, b, c, or a recipe such as 'colbert:unsupervised'.")],
    profile: Profile = "tiny",
    source: FromSource = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    choices: Annotated[
        str | None,
        typer.Option("--as", help="Of base and paper: 'paper', or 'released' for the scripts' settings."),
    ] = None,
    processes: Processes = 1,
) -> None:
    """Train and evaluate a recipe; steps that were trained before are reused."""
    from .recipes import find_recipe

    recipe = find_recipe(pipeline)
    scale = profile_from(profile, source, choices, begins_elsewhere=recipe.start is not None)
    if in_processes(processes):
        return
    with group.joined():
        from .runs.execute import run_recipe

        # All processes look up what is needed, which may fetch text; one says it.
        say = typer.echo if group.is_first() else lambda _: None
        shown = not quiet and group.is_first()
        run = run_recipe(recipe, scale, seed, progress=shown, say=say if scale.encoder is None else None)
        if group.is_first():
            _show_run(run)


@app.command("choices")
def show_choices() -> None:
    """Say where the paper, its released scripts and this suite choose differently, and after whom."""
    from .choices import CHOICES, offline_value

    notes = ["; ".join(filter(None, (each.source, each.remark))) for each in CHOICES]
    numbers = {note: str(number) for number, note in enumerate(dict.fromkeys(notes), start=1)}
    rows = [
        (
            each.setting,
            each.phase.value if each.phase else "all",
            str(each.paper),
            str(each.released),
            str(offline_value(each)),
            numbers[note],
        )
        for each, note in zip(CHOICES, notes, strict=True)
    ]
    print_table("", ("setting", "phase", "paper", "released", "offline", "see"), rows)
    for note, number in numbers.items():
        typer.echo(f"{number:>3}  {note}")


for verb in (
    grid,
    evaluate,
    record,
    adapt,
    index,
    search,
    serve,
    rerank,
    notebooks,
    figures,
    crosswalk,
    program,
    stamp,
):
    app.command()(verb)


@app.command("list")
def list_runs(
    profile: Annotated[str | None, typer.Option(help="Only runs of this profile.")] = None,
) -> None:
    """List the finished runs."""
    ledger = _ledger()
    runs = [run for run in ledger.sound_runs() if profile in (None, run.passport["profile"])]
    if not runs:
        kind = ""
        if profile is not None:
            from .profiles import get_profile

            get_profile(profile.removesuffix("-folder").removesuffix("-offline").removesuffix("-hub"))
            kind = f" of profile {profile}"
        absent = "" if ledger.root.is_dir() else ", a folder that is not there"
        typer.echo(
            f"No runs{kind} yet under {ledger.root}{absent}: `colbert-zero run c` makes the first one."
        )
        return
    rows = []
    for run in runs:
        passport, digest = run.passport, run.digest[:12]
        score = f"{passport['mean_ndcg@10']:.4f}"
        rows.append((passport["profile"], str(passport["seed"]), passport["recipe"], score, digest))
    print_table("", ("profile", "seed", "recipe", "nDCG@10", "run"), sorted(rows))


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="A run's digest (its beginning), folder or recipe.")],
) -> None:
    """Show one run: its passport and its metrics per collection."""
    _show_run(_ledger().find(run).sound())


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="A run, named as for `show`.")],
    folder: Annotated[Path, typer.Argument(help="An empty or new folder.")],
    licence: Annotated[str, typer.Option(help="Identifier for the model card, as on the hub.")] = "other",
) -> None:
    """Copy a run's model with a model card, for PyLate, sentence-transformers and the hub."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from .export import export_run

    typer.echo(str(export_run(_ledger().find(run).sound(), folder, licence)))


@app.command()
def explain(
    a: Annotated[str, typer.Argument(help="A run, named as for `show`.")],
    b: Annotated[str, typer.Argument(help="Another run.")],
    queries: Annotated[
        int, typer.Option(min=0, help="Also so many queries that fell most, and as many that rose most.")
    ] = 0,
) -> None:
    """Say what differs between two runs, which figures moved and, if asked, which queries."""
    from .runs import explain as explain_runs
    from .runs.explain import moved_queries

    ledger = _ledger()
    first, second = ledger.find(a), ledger.find(b)
    typer.echo(printable(explain_runs(first, second).to_text()))
    if queries:
        moved = moved_queries(first, second)
        fell, rose = moved[moved["moved"] < 0].head(queries), moved[moved["moved"] > 0].tail(queries)[::-1]
        for title, some in (("fell", fell), ("rose", rose)):
            cells = some.itertuples(index=False)
            rows = [(c, q, f"{x:.4f}", f"{y:.4f}", f"{m:+.4f}") for c, q, x, y, m in cells]
            print_table(title, ("collection", "query", "a", "b", "moved"), rows)


@app.command()
def sweep(
    recipe: Annotated[str, typer.Argument(help="A recipe; the learning rate of its last step is swept.")],
    profile: Profile = "tiny",
    source: FromSource = None,
    seed: Seed = 0,
    rate: Annotated[
        list[float] | None,
        typer.Option(help="A learning rate to try beside the profile's, as often as wanted."),
    ] = None,
    record: Annotated[bool, typer.Option("--record", help="Write the result to data/runs/sweeps.")] = False,
    progress: Annotated[bool, typer.Option("--progress", help="Show progress bars.")] = False,
) -> None:
    """Try learning rates for a recipe's last step on the development collections, ten as in Table 1 or those given."""
    from .home import recording_folder
    from .recipes import find_recipe

    wanted = find_recipe(recipe)
    scale = profile_from(profile, source, begins_elsewhere=wanted.start is not None)
    folder = recording_folder() / "runs" if record else None  # refuses before hours of work
    from .published.recorded import record_sweep
    from .runs.execute import workshop
    from .runs.sweep import sweep as sweep_rates

    shop = workshop(scale, progress=progress)
    found = sweep_rates(wanted, shop, seed, rates=rate or (), say=typer.echo)
    rows = []
    for row in found.rows:
        figures = (row.mean, row.low, row.high, row.behind, row.behind_low, row.behind_high)
        shown = ("" if value is None else f"{value:.4f}" for value in figures)
        marks = {"present": found.present, "best": found.best.rate, "recommended": found.recommended}
        words = [word for word, rate in marks.items() if rate == row.rate]
        if row.diverged:
            words.append("diverged")
        elif row.level_with_best and row != found.best:
            words.append("level with the best")
        rows.append((f"{row.rate:.3g}", *shown, ", ".join(words)))
    print_table(str(wanted), ("rate", "nDCG@10", "low", "high", "behind", "low", "high", ""), rows)
    if found.best_is_at_the_edge:
        typer.echo("the best rate is at the edge of those tried: a better one may lie outside")
    if folder:
        typer.echo(str(record_sweep(found, folder)))


def _ledger() -> Ledger:
    from .home import home
    from .runs import Ledger

    return Ledger(home() / "runs")


def _show_run(run: Run) -> None:
    passport = run.passport
    for field in ("recipe", "profile", "seed", "device", "git_commit"):
        typer.echo(printable(f"{field:>12}  {passport[field]}"))
    seconds = ", ".join(f"{phase} {value:.0f} s" for phase, value in passport["wall_seconds"].items())
    typer.echo(printable(f"{'time':>12}  {seconds}"))
    typer.echo(f"{'folder':>12}  {run.folder}")
    metrics = passport["metrics"]
    columns = list(dict.fromkeys(metric for values in metrics.values() for metric in values))
    rows = [
        (name, *(f"{values[m]:.4f}" if m in values else "" for m in columns))
        for name, values in metrics.items()
    ]
    means = [[v[m] for v in metrics.values() if m in v] for m in columns]
    rows.append(("mean", *(f"{sum(values) / len(values):.4f}" for values in means)))
    print_table("", ("collection", *columns), rows)
