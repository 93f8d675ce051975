"""Parameters of notebooks: what a cell tagged ``parameters`` declares, and whether what was given to it fits.

Cells are read, never run; finding and running notebooks is in ``suite``.
"""

from __future__ import annotations

import ast
import contextlib
import io
import platform
import re
import sys
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from .errors import NotebookError, ParameterError
from .reading import existing
from .steps import check_seed

_TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "list": list,
    "tuple": (tuple, list),
    "dict": dict,
    "None": type(None),
}
_CHOICES = re.compile(r"([\w.+-]+(?: \| [\w.+-]+)+)(?:: .*)?")
_FOLDER = re.compile(r"folder\b")
# What a host's kernel may have imported before this library was installed.
_PRELOADED = ("numpy", "pandas", "matplotlib", "pyarrow", "scipy", "torch", "transformers", "huggingface_hub")
_SHOWN = ("torch", "transformers", "sentence-transformers", "pylate")  # what results depend on most
_INJECTED = "# Parameters"  # papermill's first line of the cell that it adds after the parameters


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell: ``name: annotation = default  # comment``."""

    name: str
    annotation: str | None
    default: Any
    comment: str | None

    @property
    def choices(self) -> tuple[str, ...]:
        """The values allowed by a comment like ``tiny | laptop | mini``; empty when anything goes."""
        found = _CHOICES.fullmatch(self.comment or "") if isinstance(self.default, str) else None
        return tuple(found[1].split(" | ")) if found else ()

    def check(self, value: Any, where: str, folder: Path) -> None:
        """ParameterError unless ``value`` has the type, is among the choices, or is a folder or a seed if it has to.

        A comment that begins with "folder" wants one that is there, empty text aside; ``folder`` is where a relative
        one begins.
        """
        what = f"Parameter {self.name!r} of {where} is {value!r}"
        annotation = self.annotation or type(self.default).__name__
        if not fits(value, annotation):
            like = [value] if fits([value], annotation) else self.default
            raise ParameterError(f"{what} but must be of type {annotation}, like {like!r}.")
        if self.choices and value not in self.choices:
            raise ParameterError(f"{what}: choose from {', '.join(self.choices)}.")
        if value and _FOLDER.match(self.comment or ""):
            place = existing(folder / value)
            if place is None or not place.is_dir():
                raise ParameterError(
                    f"{what}, and there is no folder {folder / value}: make it first, or leave {self.name!r} empty."
                )
        if self.name in ("seed", "seeds"):
            for seed in value if isinstance(value, (list, tuple)) else [value]:
                check_seed(seed)


def declared(source: str, where: str) -> dict[str, Parameter]:
    """What a parameters cell declares, in its order; NotebookError names a line that is no literal's."""
    try:
        statements = ast.parse(source).body
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (SyntaxError, ValueError, MemoryError, RecursionError, tokenize.TokenError) as error:
        raise NotebookError(
            f"The parameters cell of {where} is not valid Python ({error}): mend it."
        ) from None
    comments = {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}
    found: dict[str, Parameter] = {}
    for statement in statements:
        target = (
            statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
        )
        value = getattr(statement, "value", None)
        try:
            if not isinstance(target, ast.Name) or value is None:
                raise ValueError
            default = ast.literal_eval(value)
        except ValueError:
            raise NotebookError(
                f"Line {statement.lineno} of the parameters cell of {where} is not "
                "`name: type = literal`: move what is computed to the next cell."
            ) from None
        annotation = ast.unparse(statement.annotation) if isinstance(statement, ast.AnnAssign) else None
        comment = comments.get(statement.end_lineno or statement.lineno)
        found[target.id] = Parameter(target.id, annotation, default, comment)
    return found


def fits(value: Any, annotation: str) -> bool:
    """Whether a literal has the annotated type, such as ``str | None`` or ``dict[str, int]``."""

    def matches(item: Any, node: ast.expr) -> bool:
        if isinstance(node, ast.BinOp):
            return matches(item, node.left) or matches(item, node.right)
        if isinstance(node, ast.Subscript):
            inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            if not matches(item, node.value):
                return False
            if isinstance(item, dict):
                return all(matches(k, inner[0]) and matches(v, inner[-1]) for k, v in item.items())
            return all(matches(element, inner[0]) for element in item)
        name = ast.unparse(node)
        if isinstance(item, bool) and name in ("int", "float"):
            return False
        return isinstance(item, _TYPES.get(name, object))

    return matches(value, ast.parse(annotation, mode="eval").body)


def check_given(
    given: Mapping[str, Any], known: Mapping[str, Parameter], where: str, folder: Path | None = None
) -> None:
    """ParameterError for an undeclared name or a value that its declaration does not allow (`Parameter.check`)."""
    for name, value in given.items():
        if name not in known:
            raise ParameterError(
                f"There is no parameter {name!r} in {where}: it knows {', '.join(known) or 'none'}."
            )
        known[name].check(value, where, folder or Path.cwd())


def check_session(names: Mapping[str, Any]) -> None:
    """Check what a running notebook was given, by hand or by papermill; its set-up cell calls this with ``globals()``.

    Prints the versions that results depend on most.

    What was declared is read from the cells that IPython ran (its ``In``): the latest with typed literals alone, and
    papermill's own behind it. A script, which has no cells, is not checked. ParameterError as of `check_given`, and
    NotebookError where a package was replaced on disk after it had been imported.
    """
    check_loaded()
    print(
        f"Python {platform.python_version()},",
        ", ".join(f"{name} {metadata.version(name)}" for name in _SHOWN),
    )
    cells: Sequence[str] = names.get("In", ())
    for place in reversed(range(len(cells))):
        try:
            found = declared(cells[place], "this notebook")
        except NotebookError:
            continue
        known = {name: parameter for name, parameter in found.items() if parameter.annotation}
        if known:
            if "".join(cells[place + 1 : place + 2]).startswith(_INJECTED):
                found |= declared(cells[place + 1], "this notebook")
            check_given({name: names.get(name) for name in found}, known, "this notebook")
            return


def check_loaded() -> None:
    """NotebookError names the packages whose imported version is not the installed one: the kernel must start anew."""
    stale = []
    for name in _PRELOADED:
        loaded = getattr(sys.modules.get(name), "__version__", None)
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed = metadata.version(name)
            if loaded and str(loaded).split("+")[0] != installed.split("+")[0]:
                stale.append(f"{name} {loaded} (now {installed})")
    if stale:
        raise NotebookError(
            f"This kernel imported {', '.join(stale)} before they were replaced: restart it and run this cell again."
        )
