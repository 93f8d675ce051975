"""The verbs ``colbert-zero data ...``: the offline text and its teacher, and what any profile's data will take.

They read arguments, call and print.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import committed
from .errors import DataError
from .terminal import FromSource, Quiet, print_table, profile_from

if TYPE_CHECKING:
    from .profiles import Profile

data_app = typer.Typer(help="Fetch, build and describe the offline text.", no_args_is_help=True)


@data_app.command("fetch")
def data_fetch(
    profile: Annotated[
        str | None, typer.Option(help="A profile of the hub, such as base: its rows and collections.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Download the pinned text packages, or a profile's data, into the home folder; then no network is needed."""
    from .corpora import fetch_wheels
    from .home import home

    if profile is not None and (scale := profile_from(profile)).source == "hub":
        _fetch_hub(scale, progress=not quiet)
        return
    packages = fetch_wheels(home(), quiet=quiet)
    typer.echo(f"{len(packages)} text packages in {home() / 'wheels'}")


def _fetch_hub(profile: Profile, progress: bool) -> None:
    from .corpora.sources import open_source
    from .home import home
    from .recipes import Interaction, Phase, Step
    from .training.data import step_data

    source = open_source(profile, home(), progress)
    for step in (Step(Interaction.COLBERT, phase) for phase in Phase):
        rows = step_data(step, profile.budget(step), source)
        count = sum(map(len, rows.values())) if isinstance(rows, dict) else len(rows)
        typer.echo(f"{step.phase.value}: {count:,} rows")
    wanted = {name: sets for sets in (source.collections, source.development) for name in sets}
    for name, sets in wanted.items():
        sets[name]  # brought, and let go: few memories hold all of BEIR at once
    typer.echo(f"{len(wanted)} collections; everything is in {home()} and the hub's cache")


@data_app.command("build")
def data_build(quiet: Quiet = False) -> None:
    """Build the training pairs and the test collections from the fetched packages."""
    from .corpora import load_offline

    corpora = load_offline(progress=not quiet)
    pairs = sum(len(split) for split in corpora.training.values())
    typer.echo(
        f"{pairs:,} training pairs from {len(corpora.training)} sources, "
        f"{len(corpora.collections)} test collections"
    )
    typer.echo(f"fingerprint {corpora.fingerprint}")


@data_app.command("describe")
def data_describe(quiet: Quiet = False) -> None:
    """Print the sources and collections with their sizes."""
    from .corpora import load_offline

    corpora = load_offline(progress=not quiet)
    sources = [(name, f"{len(split):,}") for name, split in corpora.training.items()]
    print_table("training sources", ("source", "pairs"), sources)
    for title, part in (("test collections", "test"), ("development", "development")):
        sizes = corpora.statistics.loc[part, ["documents", "rows", "relevant"]].itertuples()
        rows = [(each[0], f"{each[1]:,}", f"{each[2]:,}", f"{each[3]:.2f}") for each in sizes]
        print_table(title, ("collection", "documents", "queries", "relevant per query"), rows)


@data_app.command("forecast")
def data_forecast(
    profile: Annotated[str, typer.Option(help="smoke, tiny, laptop, mini, minilm, base or paper.")] = "base",
    source: FromSource = None,
) -> None:
    """Say what a profile's data will take, before the first byte: rows, batches, download, disk."""
    from .corpora.forecast import forecast
    from .home import home
    from .runs.grid import size

    scale = profile_from(profile, source)
    found = forecast(scale, home())
    rows = []
    for phase in found:
        sets = sum(count > 0 for count in phase.rows.values())
        figures = (f"{sets}", f"{phase.total:,}", f"{phase.batch_size:,}", f"{phase.batches:,}")
        rows.append((phase.phase.value, *figures, size(phase.download), size(phase.disk)))
    columns = ("phase", "data sets", "rows", "batch", "batches", "download", "disk")
    print_table(f"{scale.name}, one epoch", columns, rows)
    for phase in found:
        for name, count in phase.never_drawn.items():
            typer.echo(
                f"{phase.phase.value}: {name} has {count:,} rows, less than a batch, and is never drawn"
            )
    typer.echo(
        f"in all: download {size(sum(phase.download for phase in found))}, "
        f"disk {size(sum(phase.disk for phase in found))}, kept in {home()}"
    )
    typer.echo("Bytes are estimates: a sample's are its share of the whole, evaluation sets are not counted.")


@data_app.command("teach")
def data_teach(quiet: Quiet = False) -> None:
    """Fine-tune the teacher, mine hard negatives and score every list anew (about an hour on two cores)."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from .training.teaching import teach

    passport = teach(progress=not quiet)
    rows = []
    for name, metrics in passport["development"].items():
        values = [of["ndcg@10"] for of in metrics.values()]
        rows.append((name, f"{sum(values) / len(values):.4f}"))
    print_table("development collections", ("scorer", "nDCG@10"), rows)
    typer.echo(f"{passport['rows']:,} lists in data/teacher, digest {passport['digest'][:12]}")


@data_app.command("score")
def data_score(
    lists: Annotated[int, typer.Option(min=1, help="How many of the mined lists are scored in all.")] = 4000,
    quiet: Quiet = False,
) -> None:
    """Score mined lists with the cross-encoder (about 130 a minute on a core); goes on where it stopped."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from .corpora import load_offline
    from .corpora.cross_encoder import CrossEncoder
    from .corpora.scores import score_lists
    from .corpora.teacher import load_lists

    mined, scorer = load_lists(load_offline(progress=not quiet)), CrossEncoder()
    say = (lambda _: None) if quiet else typer.echo
    typer.echo(str(score_lists(mined, scorer, scorer.settings(), lists, say=say)))


@data_app.command("teachers")
def data_teachers(
    queries: Annotated[int, typer.Option(min=1, help="Of each development collection.")] = 60,
    depth: Annotated[int, typer.Option(min=1, help="Documents that BM25 and MiniLM propose each.")] = 20,
) -> None:
    """Compare the teachers on the development collections, and write data/teacher/teachers.json."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from .corpora import load_offline
    from .corpora.cross_encoder import CrossEncoder
    from .home import home, recording_folder
    from .keeping import write_whole
    from .training.teaching import compare_teachers

    file = recording_folder() / "teacher" / "teachers.json"
    found = compare_teachers(load_offline(), CrossEncoder(), home(), queries, depth)
    write_whole(file, json.dumps({"queries": queries, "depth": depth, "teachers": found}, indent=1) + "\n")
    committed.seal_again(file)
    columns = list(dict.fromkeys(name for of in found.values() for name in of))
    rows = [(name, *(f"{of[c]:.4f}" if c in of else "" for c in columns)) for name, of in found.items()]
    print_table("nDCG@10 of reranking", ("teacher", *columns), rows)


@data_app.command("program")
def data_program(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    profile: Annotated[
        str, typer.Option(help="smoke, tiny or laptop: whose base encoder, how much text.")
    ] = "tiny",
) -> None:
    """Write the text and the start encoder that nano_colbert.py takes, the program of notebooks 01 to 05."""
    from .program import program_text

    if folder.exists():
        raise DataError(f"{folder} is there already: name a folder that is not.")
    written = program_text(profile, folder=folder)
    typer.echo(f"python nano_colbert.py {written / 'encoder'} {written}")


@data_app.command("seal")
def data_seal() -> None:
    """List the size and sha256 of every file of the checkout's data folder, which readers compare."""
    typer.echo(f"{committed.seal()} files are listed in data/manifest.json")
