"""Where the command meets its reader: whatever a verb ends in becomes an exit code and one sentence.

Errors are worded where they arise; here they are put on one line, and what nobody worded is told apart: a disk that
does not let us write, a closed pipe, an interrupt, or a fault of this suite.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from . import group
from .errors import ColbertZeroError, one_line
from .home import home
from .keeping import FULL, is_full, write_whole

REFUSED, FAULT, INTERRUPTED, PIPE_CLOSED = 2, 70, 130, 141

_STANDS_IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
_NOT_WRITTEN = {
    **dict.fromkeys(FULL, "free some space"),
    errno.EROFS: "name another place",
    errno.EACCES: "name another place",
    errno.EPERM: "name another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "mend the link",
}
# As torch, Arrow and the loader of libraries say it.
_NO_MEMORY = re.compile(r"out of memory|allocate memory|failed to map segment", re.IGNORECASE)
# click's, or the copy of them that later versions of typer have.
_Refused = typer.BadParameter.__mro__[2]


def printable(text: object) -> str:
    """A text whose lines a terminal shows and does not obey: other control characters are written out."""
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" else sign.encode("unicode_escape").decode("ascii")
        for sign in str(text)
    )


class Verbs(TyperGroup):
    """The command's verbs: each ends in its result, or in one sentence on stderr.

    Exit codes: 2 for what the reader can mend, 70 for a fault of this suite, 130 for an interrupt, 141 where whoever
    read the output closed it.
    """

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run a command line, this process's own by default, and exit."""
        try:
            words = list(sys.argv[1:] if args is None else args)
            with self.make_context(prog_name or "colbert-zero", words, **extra) as context:
                self.invoke(context)
            if sys.stdout is not None:  # it was closed before we began
                sys.stdout.flush()
        except typer.Exit as stop:
            raise SystemExit(stop.exit_code) from None
        except (Exception, KeyboardInterrupt) as error:
            end(error)
        raise SystemExit(0)


def end(error: BaseException) -> NoReturn:
    """Say what ``error`` means in one sentence, unless another process of the job does, and exit."""
    code, sentence = _meaning(error)
    if sentence and group.speaks(error if isinstance(error, Exception) else "interrupted"):
        if code == FAULT:
            sentence = f"{sentence} {_report(error)}"
        typer.secho(one_line(sentence), fg=typer.colors.RED if code != INTERRUPTED else None, err=True)
    _let_go_of_stdout()
    group.leave(code)


def _meaning(error: BaseException) -> tuple[int, str]:
    if isinstance(error, ColbertZeroError):
        return REFUSED, f"error: {error}"
    if type(error).__name__ == "NoArgsIsHelpError":
        if shown := error.ctx.get_help():  # type: ignore[attr-defined]
            typer.echo(shown)
        return REFUSED, ""
    if isinstance(error, _Refused):
        where = getattr(error, "ctx", None)
        more = f" `{where.command_path} --help` says what it takes." if where else ""
        return REFUSED, f"error: {error.format_message()}{more}"  # type: ignore[attr-defined]
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return INTERRUPTED, "interrupted: the same command goes on where this one stopped"
    if isinstance(error, BrokenPipeError):
        return PIPE_CLOSED, ""
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        return (
            REFUSED,
            "error: there is not enough memory: choose a smaller profile, or fewer or shorter inputs.",
        )
    if isinstance(error, OSError) and (sentence := _of_a_disk(error)):
        return REFUSED, f"error: {sentence}"
    if is_full(error):
        return REFUSED, f"error: a disk is full ({one_line(error, 200)}): free some space."
    return (
        FAULT,
        f"error: a fault of this suite, not of yours ({type(error).__name__}: {one_line(error, 200)}).",
    )


def _of_a_disk(error: OSError) -> str | None:
    named = error.filename2 or error.filename  # of a rename, what it was to become
    known = error.errno in _STANDS_IN_THE_WAY or error.errno in _NOT_WRITTEN
    unnamed = "the output" if known else "something that is read or written"
    place = os.fsdecode(named) if isinstance(named, (str, bytes)) else unnamed
    if error.errno in _STANDS_IN_THE_WAY:
        return f"{place} is in the way ({error.strerror}): move it, or name another place."
    mend = _NOT_WRITTEN.get(error.errno or 0, "look whether it is there and sound, or name another place")
    return f"{place} cannot be used ({error.strerror}): {mend}." if error.errno else None


def _report(error: BaseException) -> str:
    """Keep the traceback for whoever mends the fault; the sentence that says where it is."""
    told = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    please = "please report it, as CONTRIBUTING.md says"
    try:
        folder = home() / "errors"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{datetime.now():%Y-%m-%d-%H%M%S}-{os.getpid()}.txt"
        content = f"colbert-zero {one_line(' '.join(sys.argv[1:]))}\n\n{told}"
        write_whole(file, content.encode("utf-8", "replace"))
    except (OSError, ColbertZeroError):
        with suppress(OSError):
            sys.stderr.write(told)
        return f"Its traceback stands above: {please}."
    return f"Its traceback is in {file}: {please}."


def _let_go_of_stdout() -> None:
    """Flush what was printed; where nobody takes it, keep the interpreter from trying again at its end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
