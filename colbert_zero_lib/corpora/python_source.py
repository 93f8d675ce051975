"""Python objects with their docstrings and source, read statically out of a wheel.

Files go through ``ast.parse``; nothing is imported or run. What is made of the objects is in ``python_docs``.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from typing import NamedTuple
from zipfile import ZipFile

from colbert_zero_lib.corpora.text import clean_indentation

SKIPPED_FILES = re.compile(
    r"/(tests?|testing|_vendor|vendor|externals?|extern|_external|third_party|bundled"
    r"|array_api_compat|array_api_extra|cython_lapack)/|/conftest\.py$|/test_|_test\.py$|/setup\.py$"
    # Its one statement of Python 3.11 would make the text depend on the reader's Python.
    r"|^sklearn/linear_model/_logistic\.py$"
)


class PythonObject(NamedTuple):
    """A public class, function or method; ``code`` is its source without the docstring, or empty."""

    package: str
    qualified_name: str
    docstring: str
    code: str

    @property
    def name(self) -> str:
        """The last part of the qualified name."""
        return self.qualified_name.rsplit(".", 1)[-1]


def python_objects(wheel: ZipFile, package: str) -> Iterator[PythonObject]:
    """Every documented public object of ``package``, once, in the order of files; test files are skipped."""
    seen: set[str] = set()
    for path in sorted(wheel.namelist()):
        if not path.startswith(f"{package}/") or not path.endswith(".py") or SKIPPED_FILES.search(path):
            continue
        source = wheel.read(path).decode("utf-8", errors="replace").replace("\r\n", "\n")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in somebody else's docstrings
            tree = ast.parse(source)
        module = path[: -len(".py")].replace("/", ".").removesuffix(".__init__")
        for found in _definitions(tree, package, module, "", source.split("\n")):
            if found.qualified_name not in seen:
                seen.add(found.qualified_name)
                yield found


def _definitions(
    node: ast.AST, package: str, module: str, prefix: str, lines: list[str]
) -> Iterator[PythonObject]:
    # Backwards: of overloads and version guards the last definition is the one that counts.
    for child in reversed(getattr(node, "body", [])):
        if isinstance(child, (ast.If, ast.Try, ast.With)):
            yield from _definitions(child, package, module, prefix, lines)
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            docstring = ast.get_docstring(child, clean=False)
            if docstring and not child.name.startswith("_"):
                name = _public_name(module, prefix + child.name)
                yield PythonObject(package, name, docstring, _code(child, lines))
            if isinstance(child, ast.ClassDef):
                yield from _definitions(child, package, module, f"{prefix}{child.name}.", lines)
        elif isinstance(child, ast.Expr) and isinstance(child.value, ast.Call):
            yield from _added_docs(child.value, package)


def _public_name(module: str, name: str) -> str:
    return ".".join([part for part in module.split(".") if not part.startswith("_")] + [name])


def _code(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, lines: list[str]) -> str:
    if isinstance(node, ast.ClassDef) or len(node.body) < 3:
        return ""
    docstring, following = node.body[0], node.body[1]
    end, last = docstring.end_lineno or 0, node.end_lineno or 0
    if docstring.lineno <= node.lineno or following.lineno <= end:
        return ""
    kept = lines[node.lineno - 1 : docstring.lineno - 1] + lines[end:last]
    return clean_indentation("\n" + "\n".join(kept))


def _added_docs(call: ast.Call, package: str) -> Iterator[PythonObject]:
    """Docstrings of C functions, given as literals to numpy's or scipy.special's ``add_newdoc``."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name != "add_newdoc" or len(call.args) not in (2, 3):
        return
    try:
        arguments = [ast.literal_eval(argument) for argument in call.args]
    except ValueError:  # a docstring that is computed, not written
        return
    if len(arguments) == 2:
        place, entries = "scipy.special", [("", arguments[1])]
    else:
        place = _public_name(arguments[0].removesuffix(".multiarray").removesuffix(".umath"), "")[:-1]
        documented = arguments[2]
        if isinstance(documented, str):
            entries = [("", documented)]
        else:
            entries = [documented] if isinstance(documented, tuple) else list(documented)
    owner = arguments[0] if len(arguments) == 2 else arguments[1]
    for attribute, docstring in entries:
        full = f"{place}.{owner}.{attribute}" if attribute else f"{place}.{owner}"
        if isinstance(docstring, str) and docstring and not full.rsplit(".", 1)[-1].startswith("_"):
            yield PythonObject(package, full, docstring, "")
