"""The form in which a notebook is committed: cleaned, so that nothing churns, and run again in place.

Running notebooks is in ``suite``; nothing here knows any one notebook.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nbformat

from .errors import NotebookError
from .home import home, repository
from .keeping import write_whole
from .scratch import scratch
from .stamps import address, set_address, stamp
from .suite import find_notebooks, read_notebook, run_notebook

HEAVY_PNG = 102_400
_KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
_KEPT_CELL_METADATA = ("tags", "jupyter", "slideshow")
_WIDGET = "application/vnd.jupyter.widget"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PROGRESS = re.compile(r"\d+%\s*\|.*\||\b\d+(?:\.\d+)?(?:it|s)/(?:s|it)\b|^Map(?: \(num_proc.*)?:")
_ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}")


def _replacements() -> list[tuple[str, str]]:
    root = repository()
    places = [(str(home().resolve()), ".colbert_zero"), (sys.prefix, ".venv")]
    places += [(str(root), ".")] if root else []
    places += [(str(Path(tempfile.gettempdir()).resolve()), "<temporary>"), (str(Path.home()), "~")]
    return sorted((place for place in places if len(place[0]) > 1), key=lambda place: -len(place[0]))


def _clean_text(text: str) -> str:
    kept = (line for line in _ANSI.sub("", text).split("\n") if not _PROGRESS.search(line))
    shown = (line.removesuffix("\r").rpartition("\r")[2].rstrip() for line in kept)
    text = _ADDRESS.sub("", "\n".join(shown))
    for place, name in _replacements():
        text = text.replace(place, name)
    return text


def _light_png(text: str) -> str:
    """A heavy picture (base64) with a palette of 256 colours, a third of its bytes; light ones stay as they are."""
    content = base64.b64decode(text)
    if len(content) <= HEAVY_PNG:
        return text
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(content))
    except (OSError, Image.DecompressionBombError) as error:
        raise NotebookError(
            f"A picture in a notebook cannot be read ({error}): run the notebook again."
        ) from None
    if picture.mode == "P":
        return text
    stream = io.BytesIO()
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii") + "\n" * text.endswith("\n")


def _clean_data(data: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for kind, value in sorted(data.items()):
        if kind.startswith(_WIDGET):
            continue
        if isinstance(value, str) and (kind.startswith("text/") or kind == "image/svg+xml"):
            value = _clean_text(value)
            value = re.sub(r"<dc:date>.*?</dc:date>", "", value, flags=re.DOTALL)
        if kind == "image/png":
            value = _light_png(value)
        kept[kind] = value
    return kept


def _clean_outputs(outputs: Sequence[Any], count: int) -> list[nbformat.NotebookNode]:
    kept: list[nbformat.NotebookNode] = []
    for output in outputs:
        node = nbformat.from_dict(dict(output))
        if node.output_type == "stream":
            if node.name != "stdout":
                continue
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += node.text
                continue
        elif node.output_type in ("display_data", "execute_result"):
            data = _clean_data(node.data)
            if len(data) < len(node.data) and set(data) <= {"text/plain"}:
                continue  # a widget without a still picture: its text/plain twin is only its repr
            node.data = nbformat.from_dict(data)
            node.metadata = nbformat.from_dict({})
            if node.output_type == "execute_result":
                node.execution_count = count
        kept.append(node)
    for node in kept:
        if node.output_type == "stream":
            node.text = _clean_text(node.text)
    return [node for node in kept if node.output_type != "stream" or node.text.strip()]


def cleaned(
    notebook: nbformat.NotebookNode, committed: nbformat.NotebookNode | None = None
) -> nbformat.NotebookNode:
    """A copy without progress bars, widgets, stderr, machine paths, memory addresses or timing metadata.

    A cell tagged ``volatile`` (it prints timings) keeps the outputs it has in ``committed`` while its source
    is the same. Cleaning what is clean changes nothing.
    """
    earlier = {c.source: c.outputs for c in (committed.cells if committed else []) if c.cell_type == "code"}
    cells, count = [], 0
    for place, cell in enumerate(notebook.cells):
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags or "papermill-error-cell-tag" in tags:
            continue
        identity = cell.get("id") or hashlib.sha1(f"{place}\n{cell.source}".encode()).hexdigest()[:8]
        metadata = {name: cell.metadata[name] for name in _KEPT_CELL_METADATA if cell.metadata.get(name)}
        node = {
            "cell_type": cell.cell_type,
            "id": identity,
            "metadata": metadata,
            "source": cell.source.rstrip(),
        }
        if cell.cell_type == "code":
            executed = cell.execution_count is not None
            count += executed
            outputs = cell.outputs
            if "volatile" in tags and earlier.get(cell.source):
                outputs = earlier[cell.source]
            node["execution_count"] = count if executed else None
            node["outputs"] = _clean_outputs(outputs, count)
        cells.append(node)
    metadata = {"kernelspec": dict(_KERNEL), "language_info": {"name": "python"}}
    return nbformat.from_dict({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def _write(path: Path, notebook: nbformat.NotebookNode) -> bool:
    text = nbformat.writes(notebook).rstrip("\n") + "\n"
    if path.read_text(encoding="utf-8") == text:
        return False
    write_whole(path, text)
    return True


def clean_file(path: Path) -> bool:
    """Clean a notebook in place without running it; True when the file changed."""
    notebook = read_notebook(path)
    return _write(path, cleaned(notebook, notebook))


def refresh(
    names: Sequence[str] = (),
    folder: Path | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> list[Path]:
    """Execute notebooks with their own parameters, put the cleaned outputs in place; the changed files.

    A notebook that fails keeps its committed outputs, and NotebookError says where it stopped.
    """
    from .kernels import forked_kernels

    changed, paths = [], find_notebooks(names, folder)
    with scratch("colbert-zero-refresh") as workplace, forked_kernels(len(paths)):
        for path in paths:
            say(f"{path.stem} ...")
            run = run_notebook(path, {}, workplace / path.name)
            differs = _write(path, cleaned(read_notebook(run.output), read_notebook(path)))
            say(f"{path.stem}: {run.seconds:.0f} s, {'changed' if differs else 'unchanged'}")
            changed += [path] if differs else []
    return changed


def stamp_all(place: str | None = None) -> list[Path]:
    """Give every notebook the set-up cell and badge of the repository's address, a new one if given; those changed."""
    if place:
        set_address(place)
    changed = []
    for path in find_notebooks():
        notebook = read_notebook(path)
        if stamp(notebook, path.stem, address()) and _write(path, notebook):
            changed.append(path)
    return changed
