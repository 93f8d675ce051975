"""What a committed notebook must look like, whichever it is."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

from colbert_zero_lib.conventions import cleaned
from colbert_zero_lib.errors import NotebookError
from colbert_zero_lib.published.crosswalk import PAPER_ITEMS, TAG
from colbert_zero_lib.suite import parameters_index, read_notebook, read_parameters

MAXIMUM_BYTES = 1_000_000
MAXIMUM_CODE_LINES = 25
_TAGS = ("parameters", "program", "verdict", "volatile")
_ABSOLUTE = re.compile(r"(?<![\w.:/~*-])/(?:home|root|Users|tmp|work|opt|var|mnt|private)/\w|\b[A-Z]:\\\\?\w")


def check_notebook(path: Path) -> list[str]:
    """What is wrong with a committed notebook, one sentence each; an empty list when nothing is."""
    try:
        notebook = read_notebook(path)
        place = parameters_index(path, notebook)
        parameters = read_parameters(path)
    except NotebookError as error:
        return [str(error)]
    problems = []
    first = notebook.cells[0]
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        problems.append("the first cell is not a title: begin with a markdown cell `# ...`")
    if place != 1:
        problems.append(f"the parameters cell is cell {place + 1}: put it right after the title")
    for parameter in parameters.values():
        if parameter.annotation is None or not parameter.comment:
            problems.append(f"parameter {parameter.name!r} needs a type and a trailing comment")
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        problems.append("the kernelspec is not python3")
    problems += _check_cells(notebook)
    if path.stat().st_size > MAXIMUM_BYTES:
        problems.append(
            f"it weighs {path.stat().st_size / 1e6:.1f} MB: keep it under 1 MB with lighter figures"
        )
    if (
        not problems
        and nbformat.writes(cleaned(notebook, notebook)).rstrip() != path.read_text("utf-8").rstrip()
    ):
        problems.append("it is not in its clean form: run `colbert-zero notebooks --clean`")
    return problems


def _check_cells(notebook: nbformat.NotebookNode) -> list[str]:
    problems = []
    code = [
        (n, cell)
        for n, cell in enumerate(notebook.cells, 1)
        if cell.cell_type == "code" and cell.source.strip()
    ]
    if not any(cell.outputs for _, cell in code):
        problems.append("it has no outputs, so a reader on the web sees no result: run `make refresh`")
    else:
        problems += [
            f"cell {n} was never run: run `make refresh`" for n, c in code if c.execution_count is None
        ]
    for number, cell in code:
        lines = len(cell.source.splitlines())
        if lines > MAXIMUM_CODE_LINES:
            problems.append(f"cell {number} has {lines} lines of code: move the plumbing to the library")
        if any(output.output_type == "error" for output in cell.outputs):
            problems.append(f"cell {number} shows an error")
        if any("<style" in output.get("data", {}).get("text/html", "") for output in cell.outputs):
            problems.append(f"cell {number} shows a style sheet, which readers do not get: use `data_table`")
    for number, cell in enumerate(notebook.cells, 1):
        known = (*_TAGS, *(TAG + item.id for item in PAPER_ITEMS))
        problems += [
            f"cell {number} has the unknown tag {tag!r}: use one of {', '.join(known)}"
            for tag in cell.metadata.get("tags", [])
            if tag not in known
        ]
        texts = [cell.source]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            texts += [output.get("text", ""), *(v for k, v in data.items() if k.startswith("text/"))]
        found = next((found for text in texts if (found := _ABSOLUTE.search(str(text)))), None)
        if found:
            problems.append(f"cell {number} holds an absolute path ({found[0]}...)")
    return problems
