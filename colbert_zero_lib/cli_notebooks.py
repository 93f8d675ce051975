"""``colbert-zero notebooks``, ``figures``, ``crosswalk``, ``program`` and ``stamp``: what is made of the notebooks.

They read their arguments, call and print; the work is in ``suite``, ``conventions``, ``report`` and their neighbours.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import ParameterError


def notebooks(
    names: Annotated[list[str] | None, typer.Argument(help="Numbers or names; all by default.")] = None,
    profile: Annotated[str | None, typer.Option(help="Given to every notebook that has a profile.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="name=value, a Python literal or text.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the executed notebooks and the report.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="How many run at a time.")] = 1,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Execute in place and clean the outputs.")
    ] = False,
    clean: Annotated[bool, typer.Option("--clean", help="Only clean the outputs in place.")] = False,
) -> None:
    """Run the notebooks headless and write a one-page report with their figures and verdicts."""
    from . import conventions, report, suite

    if refresh or clean:
        if refresh == clean or profile or parameter or output:
            raise ParameterError("--refresh and --clean each stand alone, with notebook names at most.")
        paths = suite.find_notebooks(names or ())
        done = (
            conventions.refresh(names or (), say=typer.echo)
            if refresh
            else [path for path in paths if conventions.clean_file(path)]
        )
        typer.echo(f"{len(done)} of {len(paths)} notebooks changed")
        return
    folder = output or suite.notebooks_folder().parent / "report"
    given = _assignments(parameter or [])
    finished = suite.run_notebooks(
        names or (), given, folder / "notebooks", profile=profile, jobs=jobs, say=typer.echo
    )
    page = report.write_report(finished, folder, profile)
    typer.echo(f"report: {page}")


def figures(
    data: Annotated[
        Path | None, typer.Option(help="A folder like data/; the suite's own by default.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Where to write; figures/ by default.")] = None,
    suffix: Annotated[str, typer.Option("--format", help="Format of the figures: svg, pdf or png.")] = "svg",
) -> None:
    """Draw every figure and table that needs nothing but data/: the paper's, and the audit's."""
    from .figures import catalogue, save
    from .home import home, repository

    folder = output or (repository() or home()) / "figures"
    for name, draw in catalogue.FIGURES.items():
        save(draw(data), name, folder, suffix)
    for tabulate in catalogue.TABLES.values():
        tabulate(data).write(folder / "tables")
    typer.echo(f"{len(catalogue.FIGURES)} figures and {len(catalogue.TABLES)} tables in {folder}")


def crosswalk(
    check: Annotated[bool, typer.Option("--check", help="Only say whether the page is current.")] = False,
) -> None:
    """Write notebooks/README.md: which cell and data file answers each table and figure of the paper."""
    from .published.crosswalk import check_crosswalk, write_crosswalk

    if check:
        check_crosswalk()
        typer.echo("notebooks/README.md is current")
        return
    file, changed = write_crosswalk()
    typer.echo(f"notebooks/{file.name}: {'changed' if changed else 'unchanged'}")


def program(
    check: Annotated[bool, typer.Option("--check", help="Only say whether the file is current.")] = False,
) -> None:
    """Collect the cells of notebooks 01 to 05 that are tagged program into nano_colbert.py."""
    from .program import check_program, write_program

    if check:
        check_program()
    else:
        write_program()
    typer.echo("nano_colbert.py is what the notebooks say")


def stamp(
    repository: Annotated[
        str | None, typer.Argument(help="A new address, such as https://github.com/owner/name.")
    ] = None,
) -> None:
    """Write the repository's address, its set-up cell and its Colab badge into every notebook."""
    from . import conventions, stamps

    changed = conventions.stamp_all(repository)
    typer.echo(f"{stamps.address() or 'no address yet, so no badges'}: {len(changed)} notebooks changed")


def _assignments(words: list[str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise ParameterError(f"Parameter {word!r} is not name=value: write for example seeds=[1].")
        try:
            given[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # all are of literal_eval
            given[name] = text
    return given
