"""The exercises of a notebook with their own folded solutions filled in, as a reader would who gives up."""

from __future__ import annotations

import re
import textwrap

import nbformat

_UNSOLVED = "    return ...\n"
_ASKED = re.compile(r"^(\w+)(?:: [^=\n]+)? = \.\.\.", re.MULTILINE)


def solution(told: str) -> str:
    """The code of the markdown cell after an exercise: the block, or the first words in backticks."""
    folded = told.partition("Solution</summary>")[2].partition("</details>")[0]
    block = re.search(r"```python\n(.*?)```", folded, re.DOTALL)
    found = block or re.search(r"`([^`]+)`", folded)
    assert found, f"a solution without code: {folded.strip()[:80]!r}"
    return found[1].rstrip()


def solve(notebook: nbformat.NotebookNode) -> list[str]:
    """Fill in every exercise of a notebook; the ids of its exercises' cells."""
    solved = []
    for cell, told in zip(notebook.cells, notebook.cells[1:], strict=False):
        if cell.cell_type != "code" or "Solution</summary>" not in told.source:
            continue
        code, asked = solution(told.source), _ASKED.search(cell.source)
        if _UNSOLVED in cell.source:
            cell.source = cell.source.replace(_UNSOLVED, textwrap.indent(code, "    ") + "\n", 1)
        else:
            assert asked, f"cell {cell.id} asks for nothing"
            assigned = re.search(rf"^{asked[1]} = ", code, re.MULTILINE)
            cell.source = cell.source.replace(asked[0], code if assigned else f"{asked[1]} = {code}", 1)
        solved.append(cell.id)
    return solved
