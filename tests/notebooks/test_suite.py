"""Claims about headless runs, committed notebooks and the report, on toy notebooks."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from PIL import Image

from colbert_zero_lib import conventions, parameters, report, suite
from colbert_zero_lib.errors import NotebookError, ParameterError, UnknownNameError
from tests.notebooks.form import check_notebook

PARAMETERS = 'profile: str = "tiny"  # tiny | laptop\nseed: int = 0  # of the toy'
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
PIXEL = base64.b64encode(
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
).decode()


def write(folder: Path, name: str, *codes: str, parameters: str | None = PARAMETERS) -> Path:
    cells: list[Any] = [nbformat.v4.new_markdown_cell("# A toy")]
    if parameters is not None:
        cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells += [nbformat.v4.new_code_cell(code) for code in codes]
    for place, cell in enumerate(cells):
        cell["id"] = f"cell-{place}"
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
    path = folder / name
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    return path


def texts(path: Path) -> list[str]:
    notebook = nbformat.read(path, as_version=4)
    return [
        o.text
        for c in notebook.cells
        if c.cell_type == "code"
        for o in c.outputs
        if o.output_type == "stream"
    ]


def test_notebooks_are_found_in_reading_order_by_number_or_name(tmp_path: Path) -> None:
    for name in ("02_b.ipynb", "01_a.ipynb", "draft.ipynb"):
        write(tmp_path, name)
    assert [p.stem for p in suite.find_notebooks(folder=tmp_path)] == ["01_a", "02_b"]
    assert [p.stem for p in suite.find_notebooks(["02", "01_a.ipynb"], tmp_path)] == ["01_a", "02_b"]
    with pytest.raises(UnknownNameError, match="'03'.*01_a, 02_b"):
        suite.find_notebooks(["03"], tmp_path)


def test_parameters_are_read_without_running_them(tmp_path: Path) -> None:
    source = (
        'name: str = "a"  # who\nrates: list[float] = [0.1, 2]  # tried\nlimit: int | None = None\nplain = -3'
    )
    known = suite.read_parameters(write(tmp_path, "01_a.ipynb", parameters=source))
    assert list(known) == ["name", "rates", "limit", "plain"]
    assert known["name"] == parameters.Parameter("name", "str", "a", "who")
    assert known["rates"].default == [0.1, 2]
    assert known["limit"].annotation == "int | None"
    assert known["plain"] == parameters.Parameter("plain", None, -3, None)


@pytest.mark.parametrize("count", [0, 2])
def test_a_notebook_needs_exactly_one_parameters_cell(tmp_path: Path, count: int) -> None:
    path = write(tmp_path, "01_a.ipynb", "x = 1", parameters=None)
    notebook = nbformat.read(path, as_version=4)
    for _ in range(count):
        notebook.cells.append(
            nbformat.v4.new_code_cell("seed: int = 0  # x", metadata={"tags": ["parameters"]})
        )
    nbformat.write(notebook, path)
    with pytest.raises(NotebookError, match=rf"01_a.ipynb has {count} cells tagged 'parameters'"):
        suite.read_parameters(path)


@pytest.mark.parametrize("line", ["rate: float = 1 / 3", "import os", "a, b = 1, 2", "seed: int"])
def test_a_parameters_cell_holds_literals_only(tmp_path: Path, line: str) -> None:
    path = write(tmp_path, "01_a.ipynb", parameters=f"ok: int = 1  # x\n{line}")
    with pytest.raises(NotebookError, match="Line 2 of the parameters cell of 01_a.ipynb"):
        suite.read_parameters(path)


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (1, "int", True),
        (True, "int", False),
        (True, "bool", True),
        (1, "bool", False),
        (1, "float", True),
        (1.0, "int", False),
        ("1", "int", False),
        (None, "str | None", True),
        (None, "str", False),
        ([1, 2], "list[int]", True),
        ([1, "2"], "list[int]", False),
        ((1, 2), "tuple[int, ...]", True),
        ({"a": 1}, "dict[str, int]", True),
        ({"a": "b"}, "dict[str, int]", False),
    ],
)
def test_a_literal_fits_its_annotation(value: object, annotation: str, expected: bool) -> None:
    assert parameters.fits(value, annotation) is expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sed": 1}, "There is no parameter 'sed' in notebook 01_a.ipynb: it knows profile, seed"),
        ({"seed": "1"}, "'seed' of notebook 01_a.ipynb is '1' but must be of type int"),
        ({"profile": "tniy"}, "'profile' of notebook 01_a.ipynb is 'tniy': choose from tiny, laptop"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_runs(
    tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    write(tmp_path, "01_a.ipynb", "print('ran')")
    with pytest.raises(ParameterError, match=message):
        suite.run_notebooks([], given, tmp_path / "out", folder=tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_session_is_checked_by_the_parameters_cell_that_ran_last() -> None:
    first, second = "a: int = 1  # x", "a: int = 1  # x\nb: str = ''  # y"
    cells = ["", first, "check()", "%time later = 3", second, "# Parameters\nb = 'z'\n", "check()"]
    parameters.check_session({"In": cells, "a": 1, "b": "z"})
    parameters.check_session({"a": None})  # a script
    with pytest.raises(ParameterError, match="'b'.*must be of type str"):
        parameters.check_session({"In": cells, "a": 1, "b": 3})
    with pytest.raises(ParameterError, match="no parameter 'b' in this notebook: it knows a"):
        parameters.check_session({"In": ["", first, "# Parameters\nb = 'z'"], "a": 1, "b": "z"})
    with pytest.raises(ParameterError, match="no parameter 'c'"):
        parameters.check_session({"In": [f"{first}\nc = 3"], "a": 1, "c": 3})


def test_the_second_notebook_is_checked_before_the_first_one_runs(tmp_path: Path) -> None:
    write(tmp_path, "01_a.ipynb")
    write(tmp_path, "02_b.ipynb", parameters="other: int = 1  # x")
    with pytest.raises(ParameterError, match="no parameter 'seed' in notebook 02_b.ipynb"):
        suite.run_notebooks([], {"seed": 1}, tmp_path / "out", folder=tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "{}", "not json", '{"cells": 3, "nbformat": 4}'])
def test_a_file_that_is_no_notebook_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "01_a.ipynb"
    path.write_text(text)
    with pytest.raises(NotebookError, match="01_a.ipynb"):
        suite.read_parameters(path)


@pytest.mark.parametrize("jobs", [1, 2])
def test_runs_get_their_parameters_and_this_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, warm_kernels: None
) -> None:
    """A python3 kernel and an IPython start-up file in the user's home must not interfere."""
    users = tmp_path / "user"
    (users / "kernels" / "python3").mkdir(parents=True)
    spec = {"argv": ["no-such-interpreter", "{connection_file}"], "display_name": "x", "language": "python"}
    (users / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec))
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("print('start-up file ran')")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(users))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("JUPYTER_PATH", raising=False)
    before = dict(os.environ)

    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    write(
        notebooks,
        "01_a.ipynb",
        "import os, sys\nprint(profile, seed, sys.executable, os.getcwd(), sep='\\n')",
    )
    write(notebooks, "02_b.ipynb", "print(seed)", parameters="seed: int = 0  # no profile here")
    done = suite.run_notebooks(
        [], {"seed": 7}, tmp_path / "out", profile="laptop", folder=notebooks, jobs=jobs
    )

    assert [run.name for run in done] == ["01_a", "02_b"]
    assert texts(done[0].output) == [f"laptop\n7\n{sys.executable}\n{notebooks}\n"]
    assert texts(done[1].output) == ["7\n"]
    assert dict(os.environ) == before


def test_a_link_in_the_outputs_place_is_not_written_through(tmp_path: Path) -> None:
    path = write(tmp_path, "01_a.ipynb", "seed = 0")
    (tmp_path / "mine").write_text("mine")
    output = tmp_path / "out.ipynb"
    output.symlink_to(tmp_path / "mine")
    suite.run_notebook(path, {}, output)
    assert (tmp_path / "mine").read_text() == "mine" and not output.is_symlink()


def test_a_failing_cell_is_named_and_the_output_up_to_it_is_kept(tmp_path: Path) -> None:
    path = write(
        tmp_path, "01_a.ipynb", "print('before')", "raise ValueError('no such shelf')", "print('after')"
    )
    output = tmp_path / "out" / "01_a.ipynb"
    with pytest.raises(NotebookError, match=r"01_a.ipynb stopped at cell 4: ValueError: no such shelf"):
        suite.run_notebook(path, {"seed": 1}, output)
    assert texts(output) == ["before\n"]


def test_beside_one_another_notebooks_fail_like_one_and_no_further_one_begins(
    tmp_path: Path, warm_kernels: None
) -> None:
    write(tmp_path, "01_a.ipynb", "raise ValueError('no such shelf')")
    for number in range(2, 10):
        write(tmp_path, f"0{number}_b.ipynb", "import time\ntime.sleep(2)")
    with pytest.raises(NotebookError, match=r"01_a.ipynb stopped at cell 3: ValueError: no such shelf"):
        suite.run_notebooks([], {}, tmp_path / "out", folder=tmp_path, jobs=2)
    assert not (tmp_path / "out" / "09_b.ipynb").exists()
    with pytest.raises(ParameterError, match="--jobs 1 or more"):
        suite.run_notebooks([], {}, tmp_path / "out", folder=tmp_path, jobs=0)


def test_beside_one_another_those_begin_first_that_took_longest(tmp_path: Path, warm_kernels: None) -> None:
    begun = tmp_path / "begun"
    code = f"with open({str(begun)!r}, 'a') as file:\n    file.write(NAME + ' ')"
    for name, seconds in (("01_a", 1.0), ("02_b", 2.0), ("03_c", 3.0)):
        write(tmp_path, f"{name}.ipynb", code.replace("NAME", repr(name)))
        before = nbformat.v4.new_notebook(metadata={"papermill": {"duration": seconds}})
        (tmp_path / "out").mkdir(exist_ok=True)
        nbformat.write(before, tmp_path / "out" / f"{name}.ipynb")
    suite.run_notebooks([], {}, tmp_path / "out", folder=tmp_path, jobs=2)
    assert begun.read_text().split()[-1] == "01_a"


def test_a_killed_kernel_is_one_sentence(tmp_path: Path) -> None:
    path = write(tmp_path, "01_a.ipynb", "import os\nos._exit(9)")
    with pytest.raises(NotebookError, match="kernel of notebook 01_a.ipynb died"):
        suite.run_notebook(path, {}, tmp_path / "out.ipynb")


@pytest.mark.skipif(os.name == "nt", reason="runs false")
def test_a_kernel_that_does_not_start_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLBERT_ZERO_KERNELS", raising=False)  # nor one that is forked
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(NotebookError, match="kernel of notebook 01_a.ipynb died or did not answer"):
        suite.run_notebook(write(tmp_path, "01_a.ipynb", "1"), {}, tmp_path / "out.ipynb")


def test_what_a_kernel_leaves_among_temporary_files_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    code = (
        f"import os, tempfile\nleft = tempfile.mkdtemp()\nprint(*os.listdir({str(temporary)!r}), sep='\\n')"
    )
    [run] = suite.run_notebooks(
        [write(tmp_path, "01_a.ipynb", code).stem], {}, tmp_path / "out", folder=tmp_path
    )
    [text] = texts(run.output)
    assert text.startswith("colbert-zero-kernel-") and text.count("\n") == 1
    assert not list(temporary.iterdir())


def test_heavy_pictures_get_a_palette_once_and_light_ones_stay() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    texts = {}
    for name, pixels in (("heavy", noise), ("light", noise[:20, :20])):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        texts[name] = base64.b64encode(stream.getvalue()).decode()
    heavy, light = clean_texts(*(display({"image/png": text}) for text in texts.values()))
    assert light["image/png"] == texts["light"]
    assert len(heavy["image/png"]) < len(texts["heavy"]) / 2
    picture = Image.open(io.BytesIO(base64.b64decode(heavy["image/png"])))
    assert picture.mode == "P" and picture.size == (300, 200)
    assert clean_texts(display(heavy)) == [heavy]


def code_cell(outputs: Sequence[Any], source: str = "x", **metadata: Any) -> nbformat.NotebookNode:
    return nbformat.v4.new_code_cell(source, outputs=list(outputs), execution_count=9, metadata=metadata)


def stream(text: str, name: str = "stdout") -> nbformat.NotebookNode:
    return nbformat.v4.new_output("stream", name=name, text=text)


def display(data: dict[str, Any]) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("display_data", data=data)


def clean_texts(*outputs: Any) -> list[str]:
    notebook = nbformat.v4.new_notebook(cells=[code_cell(outputs)])
    kept = conventions.cleaned(notebook).cells[0].outputs
    return [o.text if o.output_type == "stream" else o.data for o in kept]


def test_cleaning_drops_what_churns_and_keeps_what_is_said() -> None:
    root = conventions.repository()
    assert root is not None
    assert clean_texts(stream("warning", "stderr")) == []
    assert clean_texts(stream("one\n"), stream("noise", "stderr"), stream("two\n")) == ["one\ntwo\n"]
    assert clean_texts(stream("\x1b[31mred\x1b[0m\n")) == ["red\n"]
    assert clean_texts(stream("10%|#   | 1/9\r100%|####| 9/9 [00:01<00:00, 5.2it/s]\nresult 3\n")) == [
        "result 3\n"
    ]
    assert clean_texts(stream("step 1\rstep 2\n")) == ["step 2\n"]
    assert clean_texts(stream(f"saved to {root}/figures/a.svg\n")) == ["saved to ./figures/a.svg\n"]
    assert clean_texts(stream("<Axes at 0x7f12ab34cd>\n")) == ["<Axes>\n"]
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "HBox()"}
    assert clean_texts(display(widget)) == []
    assert clean_texts(display({**widget, "image/png": PIXEL})) == [
        {"image/png": PIXEL, "text/plain": "HBox()"}
    ]


def test_cleaning_twice_is_cleaning_once_and_drops_run_metadata() -> None:
    noisy = nbformat.v4.new_notebook(
        cells=[
            code_cell([stream("a \n"), display({"image/png": PIXEL, "text/plain": "<Fig at 0x7ffff00000>"})],
                      execution={"iopub.execute_input": "2020"}, papermill={"duration": 1}, tags=["verdict"]),
            nbformat.v4.new_code_cell("injected", metadata={"tags": ["injected-parameters"]}),
        ],
        metadata={"papermill": {"duration": 3}, "language_info": {"name": "python", "version": "3.11.1"}},
    )  # fmt: skip
    once = conventions.cleaned(noisy)
    assert nbformat.writes(conventions.cleaned(once)) == nbformat.writes(once)
    assert len(once.cells) == 1
    assert once.cells[0].metadata == {"tags": ["verdict"]}
    assert once.cells[0].execution_count == 1
    assert once.cells[0].outputs[1].data["image/png"] == PIXEL
    assert once.metadata == {
        "kernelspec": KERNEL,
        "language_info": {"name": "python"},
    }


def test_a_volatile_cell_keeps_its_committed_output_until_its_source_changes() -> None:
    def notebook(source: str, text: str) -> nbformat.NotebookNode:
        return nbformat.v4.new_notebook(cells=[code_cell([stream(text)], source, tags=["volatile"])])

    committed = notebook("time()", "3.1 s\n")
    same = conventions.cleaned(notebook("time()", "2.9 s\n"), committed)
    other = conventions.cleaned(notebook("time(2)", "5.9 s\n"), committed)
    assert same.cells[0].outputs[0].text == "3.1 s\n"
    assert other.cells[0].outputs[0].text == "5.9 s\n"


def test_refreshing_an_unchanged_notebook_leaves_an_unchanged_file(tmp_path: Path) -> None:
    code = "import sys\nprint(seed + 1)\nprint('noise', file=sys.stderr)\nobject()"
    path = write(tmp_path, "01_a.ipynb", code)
    assert conventions.refresh(folder=tmp_path) == [path]
    first = path.read_bytes()
    assert texts(path) == ["1\n"]
    assert check_notebook(path) == []
    assert conventions.refresh(folder=tmp_path) == []
    assert path.read_bytes() == first


def test_a_notebook_that_fails_to_refresh_keeps_what_was_committed(tmp_path: Path) -> None:
    path = write(tmp_path, "01_a.ipynb", "1 / 0")
    before = path.read_bytes()
    with pytest.raises(NotebookError, match="cell 3: ZeroDivisionError"):
        conventions.refresh(folder=tmp_path)
    assert path.read_bytes() == before


def _good() -> nbformat.NotebookNode:
    cells = [
        nbformat.v4.new_markdown_cell("# A toy", id="a"),
        nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}, id="b", execution_count=1),
        nbformat.v4.new_code_cell("print(3)", outputs=[stream("3\n")], id="c", execution_count=2),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
    return conventions.cleaned(notebook)


DEFECTS = {
    "the first cell is not a title": lambda n: n.cells[0].update(source="A toy"),
    "put it right after the title": lambda n: n.cells.insert(1, nbformat.v4.new_markdown_cell("x", id="m")),
    "parameter 'seed' needs a type": lambda n: n.cells[1].update(source="seed = 0  # of what"),
    "parameter 'rate' needs a type and a trailing comment": lambda n: n.cells[1].update(
        source="rate: float = 1.0"
    ),
    "the kernelspec is not python3": lambda n: n.metadata.kernelspec.update(name="my-env"),
    "it has no outputs": lambda n: n.cells[2].update(outputs=[]),
    "cell 3 was never run": lambda n: (
        n.cells[1].update(outputs=[stream("kept")]),
        n.cells[2].update(execution_count=None, outputs=[]),
    ),
    "cell 3 has 26 lines": lambda n: n.cells[2].update(source="\n".join(["x = 1"] * 26)),
    "cell 3 shows an error": lambda n: n.cells[2].outputs.append(
        nbformat.v4.new_output("error", ename="E", evalue="v", traceback=[])
    ),
    "cell 3 shows a style sheet": lambda n: n.cells[2].outputs.append(
        nbformat.v4.new_output("display_data", {"text/html": "<style scoped>td {color: red}</style>"})
    ),
    "cell 3 holds an absolute path": lambda n: n.cells[2].update(source="open('/home/me/data.csv')"),
    "it weighs 1.1 MB": lambda n: n.cells[2].update(outputs=[stream("x" * 1_100_000)]),
    "clean form": lambda n: n.metadata.update(papermill={"duration": 1}),
}


def test_a_good_notebook_has_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "01_a.ipynb"
    nbformat.write(_good(), path)
    assert check_notebook(path) == []


@pytest.mark.parametrize("message", DEFECTS)
def test_each_breach_of_the_conventions_is_named(tmp_path: Path, message: str) -> None:
    notebook = _good()
    DEFECTS[message](notebook)
    path = tmp_path / "01_a.ipynb"
    nbformat.write(notebook, path)
    problems = check_notebook(path)
    assert len(problems) == 1
    assert message in problems[0]


def test_cleaning_in_place_mends_the_form_only(tmp_path: Path) -> None:
    path = tmp_path / "01_a.ipynb"
    notebook = _good()
    notebook.metadata.papermill = {"duration": 1}
    nbformat.write(notebook, path)
    assert conventions.clean_file(path) is True
    assert check_notebook(path) == []
    assert conventions.clean_file(path) is False


def test_the_report_shows_verdict_tables_and_every_figure(tmp_path: Path) -> None:
    table = (
        "<style>#T_1 td {color: red}</style><table><thead><tr><th>model</th><th>verdict</th></tr></thead>"
        "<tr><td>a &lt; b | c</td><td><b>agrees</b></td></tr></table>"
    )
    cells = [
        nbformat.v4.new_markdown_cell("# Prompts & length"),
        nbformat.v4.new_markdown_cell("## Which switch matters?"),
        code_cell([display({"image/png": PIXEL}), display({"image/svg+xml": "<svg/>", "image/png": PIXEL})]),
        code_cell([display({"text/html": table})], tags=["verdict"]),
        code_cell([display({"text/html": "<table><tr><td>not a verdict</td></tr></table>"})]),
    ]
    output = tmp_path / "notebooks" / "05_prompts.ipynb"
    output.parent.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), output)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "01_gone-1.png").write_bytes(b"of an earlier report")

    page = report.write_report([suite.NotebookRun("05_prompts", output, 90.0)], tmp_path, "tiny")

    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == [
        "05_prompts-1.png",
        "05_prompts-2.svg",
    ]
    assert (tmp_path / "figures" / "05_prompts-1.png").read_bytes() == base64.b64decode(PIXEL)
    assert (tmp_path / "tables" / "05_prompts-1.csv").read_text() == "model,verdict\na < b | c,agrees\n"
    html, markdown = page.read_text(encoding="utf-8"), (tmp_path / "index.md").read_text(encoding="utf-8")
    assert "<td>a &lt; b | c</td>" in html
    assert "Prompts &amp; length" in html
    assert 'src="figures/05_prompts-2.svg" alt="Which switch matters?"' in html
    assert "| a < b \\| c | agrees |" in markdown
    assert "![Which switch matters?](figures/05_prompts-1.png)" in markdown
    assert "not a verdict" not in html + markdown
    assert "profile tiny" in html
