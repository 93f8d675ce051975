"""A picture that can be moved: a slider where somebody sits before the notebook, the picture alone anywhere else."""

from __future__ import annotations

import ast
import dis
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

from colbert_zero_lib.suite import find_notebooks, read_notebook
from tests import browser

WIDGET = "application/vnd.jupyter.widget-view+json"
DRAW = """
from IPython.display import HTML
from colbert_zero_lib.lessons import explore
drawn = []
def draw(k=2, word="a"):
    drawn.append((k, word))
    return HTML(f"<p>{k} {word}</p>")
"""
PICTURE = {"text/html": "<p>2 a</p>", "text/plain": "<IPython.core.display.HTML object>"}
Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Run code in a kernel, with or without somebody who can be asked; the data that it shows."""
    manager, client = start_new_kernel(kernel_name="python3")

    def execute(code: str, somebody: bool) -> list[dict[str, Any]]:
        shown = []

        def hook(message: dict[str, Any]) -> None:
            content = message["content"]
            assert message["msg_type"] not in ("error", "stream"), content
            shown.extend(
                [content["data"]] if message["msg_type"] in ("execute_result", "display_data") else []
            )

        client.execute_interactive(code, allow_stdin=somebody, output_hook=hook, timeout=60)
        return shown

    execute(DRAW, False)
    yield execute
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_headless_and_without_ipywidgets_the_picture_stands_alone(run: Run) -> None:
    assert run("explore(draw, k=(1, 3))", False) == [PICTURE]
    hidden = "import sys; kept = sys.modules.pop('ipywidgets', None); sys.modules['ipywidgets'] = None\n"
    shown = run(hidden + "explore(draw, k=(1, 3))", True)
    run("del sys.modules['ipywidgets']", False)
    assert shown == [PICTURE]


def test_a_moved_slider_and_a_typed_text_draw_anew_beside_the_still_picture(run: Run) -> None:
    *_, shown = run("drawn.clear(); explore(draw, k=(1, 3))", True)
    assert shown.pop(WIDGET)["model_id"] and shown == PICTURE
    run(
        "from ipywidgets.widgets.widget import _instances as all_of_them\n"
        "from ipywidgets import SelectionSlider, Text\n"
        "slider, line = (next(w for w in all_of_them.values() if type(w) is t) for t in (SelectionSlider, Text))\n"
        "assert slider.options == (1, 2, 3) and not slider.continuous_update\n"
        "slider.value, line.value = 3, 'b'\n"
        "assert drawn == [(2, 'a'), (3, 'a'), (3, 'b')], drawn",
        False,
    )


def explored() -> dict[str, tuple[str, int, list[Any]]]:
    """Function -> notebook, place of its cell, code cells of the notebook."""
    found = {}
    for path in find_notebooks():
        cells = [cell for cell in read_notebook(path).cells if cell.cell_type == "code"]
        for place, cell in enumerate(cells):
            for call in (n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Call)):
                if ast.unparse(call.func) == "explore":
                    found[ast.unparse(call.args[0])] = (path.stem[:2], place, cells)
    return found


def test_every_picture_that_moves_is_committed_as_a_still_one() -> None:
    assert sorted(name for name, _, _ in explored().values()) == ["01", "03", "03", "04", "09", "15"]
    for _, place, cells in explored().values():
        shown = [
            set(output.data) for output in cells[place].outputs if output.output_type == "execute_result"
        ]
        assert shown in ([{"image/png", "text/plain"}], [{"text/html", "text/plain"}])


def read_by(code: CodeType, functions: dict[str, CodeType]) -> set[str]:
    """The names that a function reads of its module, and those that the functions read that it calls."""
    found = {each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL"}
    found = found.union(*(read_by(c, functions) for c in code.co_consts if isinstance(c, CodeType)))
    return found.union(*(read_by(functions.pop(name), functions) for name in found & set(functions)))


def test_nothing_that_a_moving_picture_reads_is_changed_by_a_later_cell() -> None:
    """Readers run all cells first and move a slider then."""
    for name, (_, place, cells) in explored().items():
        codes = [compile(cell.source, "cell", "exec") for cell in cells]
        functions = {
            part.co_name: part for code in codes for part in code.co_consts if isinstance(part, CodeType)
        }
        read = read_by(functions[name], functions)
        later = [node for cell in cells[place + 1 :] for node in ast.parse(cell.source).body]
        stored = [n for node in later if not isinstance(node, ast.FunctionDef) for n in ast.walk(node)]
        changed = {n.id for n in stored if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        assert not read & changed, (name, read & changed)


def test_without_a_chromium_the_browser_is_asked_for_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("sys.argv", ["browser", "jupyter", "pictures", "01"])
    assert browser.main() == "No Chromium or Chrome is installed, so no notebook was opened: install one."
