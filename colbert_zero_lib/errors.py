"""The exceptions a reader may meet: each message is one sentence that names the culprit and the mend.

Errors from inside a dependency are translated where they arise; nothing is logged here.
"""

from __future__ import annotations

LONGEST = 600  # characters of a sentence


def one_line(text: object, limit: int = LONGEST) -> str:
    """A text on one line of printable characters; a long one loses its middle, since the mend stands at its end."""
    printable = "".join(sign if sign.isprintable() else " " for sign in str(text))
    line = " ".join(printable.split())
    if len(line) <= limit:
        return line
    end = limit // 3
    return f"{line[: limit - end - 7]} [...] {line[-end:]}"


class ColbertZeroError(Exception):
    """Root of every error that this library raises on purpose; prints on one line, whatever it quotes."""

    def __str__(self) -> str:
        return one_line(super().__str__())

    def _render_traceback_(self) -> list[str]:
        """What IPython shows below a cell: the sentence, without the library's inside."""
        return [f"{type(self).__name__}: {self}"]


class UnknownNameError(ColbertZeroError):
    """A name (pipeline, collection, notebook, run) that nothing answers to."""


class RecipeError(ColbertZeroError):
    """A recipe that does not follow the grammar or that no training could follow."""


class ProfileError(ColbertZeroError):
    """An unknown profile, or one that needs something this machine lacks."""


class NotebookError(ColbertZeroError):
    """A notebook that is not one, lacks its parameters cell, or stopped at a failing cell."""


class ParameterError(ColbertZeroError):
    """A notebook or command parameter that is unknown or out of range."""


class DataError(ColbertZeroError):
    """A corpus, collection or table file that is missing, malformed or inconsistent."""


class ClosedError(ColbertZeroError):
    """A kept file that this user may not read: most often another user's, and no damage."""


class WheelError(DataError):
    """A text package that is missing or whose bytes are not the pinned ones."""


class RunError(ColbertZeroError):
    """A run folder that cannot be written, read or trusted."""


class TrainingError(ColbertZeroError):
    """A training step that cannot start or go on."""


class DivergedError(TrainingError):
    """A training step whose weights are no longer finite: its learning rate is too high."""


class CheckpointError(ColbertZeroError):
    """A model that is not there, is none, or cannot be opened safely."""


class HubError(DataError):
    """A data set or model that the Hugging Face hub does not give, or not now."""


class GroupError(ColbertZeroError):
    """Processes of one job that cannot go on together; ``lost`` where another one's end is the cause."""

    def __init__(self, message: str, *, lost: bool = False) -> None:
        super().__init__(message)
        self.lost = lost
