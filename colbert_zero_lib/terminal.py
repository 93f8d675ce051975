"""What the command's verbs share: common options and tables on a terminal. No verb lives here."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from .edge import printable
from .starts import MINILM
from .steps import check_seed

if TYPE_CHECKING:
    from rich.table import Table

    from .profiles import Profile

_NUMBER = re.compile(r"[+-]?[\d.,]*|…")

FromSource = Annotated[
    str | None,
    typer.Option(
        "--source", help="offline, hub, or folder:PATH for your own files; the profile's by default."
    ),
]
Seed = Annotated[int, typer.Option(callback=check_seed, help="Seed of initialisation and data order.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]

Processes = Annotated[
    int,
    typer.Option(
        "--processes",
        min=1,
        help="Share the work among so many processes, one to a GPU; the result is that of one.",
    ),
]


def profile_from(
    name: str, source: str | None = None, choices: str | None = None, begins_elsewhere: bool = False
) -> Profile:
    """The profile called ``name``, with another source or other ``choices`` where they are given.

    Where nothing needs the network, not even what a recipe begins from, the hub's libraries are told so; call this
    before they are imported.
    """
    from .profiles import get_profile

    found = get_profile(name, choices)
    if source:
        found = found.on(source)
    own_base = found.encoder is not None or found.base == MINILM
    if found.source != "hub" and own_base and not begins_elsewhere:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    return found


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Rows under a header, all of it text and no markup; columns of figures, but for the first, go to the right."""
    from rich.markup import escape
    from rich.table import Table

    def text(cell: str) -> str:
        return escape(printable(cell))

    shown = Table(title=text(title) or None, title_justify="left", header_style="bold")
    for place, column in enumerate(columns):
        numeric = place > 0 and all(_NUMBER.fullmatch(row[place]) for row in rows)
        shown.add_column(text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        shown.add_row(*map(text, row))
    return shown


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a `table`."""
    from rich.console import Console

    Console().print(table(title, columns, rows))
