"""The repository's address, written once in pyproject.toml, and what every notebook carries of it.

Each notebook gets the same set-up cell, which installs the library where it is missing, and a badge that opens it in
Colab, which needs an address on GitHub. How a notebook is cleaned is in ``conventions``.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

from .errors import NotebookError, ParameterError
from .home import recording_folder
from .keeping import write_whole

CHECK = "check_session(globals())"
_WORDS = (
    "**Set-up.** In a checkout this finds the library by itself; elsewhere it installs it, beside the torch that is "
    "there. Its last line checks the parameters above."
)
_SET_UP = """\
import importlib.util
{os}import subprocess
import sys
from importlib import metadata
from pathlib import Path

{offline}address = "{address}"  # where a missing library is installed from
folders = (Path.cwd(), *Path.cwd().parents)
checkout = next((folder for folder in folders if (folder / "colbert_zero_lib").is_dir()), None)
if checkout:
    sys.path.insert(0, str(checkout))
elif importlib.util.find_spec("colbert_zero_lib") is None:
    kept = [f"torch=={{metadata.version('torch')}}".split("+")[0]] if importlib.util.find_spec("torch") else []
    install = [sys.executable, "-m", "pip", "install", "--quiet", f"git+{{address}}", *kept]
    if not address or subprocess.run(install).returncode:
        source = f"could not be installed from {{address}}" if address else "has no address yet"
        raise ModuleNotFoundError(f"colbert_zero_lib {{source}}: open this notebook inside a checkout.")
    importlib.invalidate_caches()

from colbert_zero_lib.parameters import check_session

check_session(globals())"""
_FOLDED = {"source_hidden": True}  # a reader wants to see what comes after it
_OFFLINE = re.compile(r'^os\.environ\.setdefault\("HF_HUB_OFFLINE".*\n', re.MULTILINE)
_BADGE = re.compile(r"\n\n\[!\[Open in Colab\][^\n]*")
_URLS = re.compile(r'^\[project\.urls\]\nRepository = "(.*)"\n\n', re.MULTILINE)
_ADDRESS = re.compile(r"(https|ssh|file)://[^\s\"'\\{}]+")
_GITHUB = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")


def _project() -> Path:
    return recording_folder().parent / "pyproject.toml"


def address() -> str:
    """What ``[project.urls]`` of pyproject.toml has for ``Repository``; empty text where there is none yet."""
    found = _URLS.search(_project().read_text(encoding="utf-8"))
    return found[1] if found else ""


def set_address(given: str) -> None:
    """Write the repository's address to pyproject.toml; ParameterError for one that git could not clone."""
    given = given.rstrip("/").removesuffix(".git")
    if not _ADDRESS.fullmatch(given):
        raise ParameterError(
            f"{given!r} is no address of a repository: give one like https://github.com/owner/name."
        )
    text = _URLS.sub("", _project().read_text(encoding="utf-8"))
    head, before, tail = text.partition("[project.optional-dependencies]")
    write_whole(_project(), f'{head}[project.urls]\nRepository = "{given}"\n\n{before}{tail}')


def badge(place: str, name: str) -> str:
    """Markdown that opens notebook ``name`` in Colab; empty for an address that is not on GitHub."""
    if not _GITHUB.fullmatch(place):
        return ""
    colab = "https://colab.research.google.com"
    opens = f"{colab}/github/{place.removeprefix('https://github.com/')}/blob/main/notebooks/{name}.ipynb"
    return f"\n\n[![Open in Colab]({colab}/assets/colab-badge.svg)]({opens})"


def without_badge(source: str) -> str:
    """A title cell as it was before its badge."""
    return _BADGE.sub("", source, count=1)


def stamp(notebook: nbformat.NotebookNode, name: str, place: str) -> bool:
    """Give a notebook its set-up cell and badge; whether that changed it. NotebookError where it has no such cell.

    A line of the cell that sets ``HF_HUB_OFFLINE`` stays: whether the hub is asked is the notebook's own business.
    """
    cells = notebook.cells
    number = next((n for n, c in enumerate(cells) if c.cell_type == "code" and CHECK in c.source), None)
    if number is None:
        raise NotebookError(f"{name} has no cell that ends in `{CHECK}`: add one after the parameters.")
    line = _OFFLINE.search(cells[number].source)
    offline, needs = (line[0], "import os\n") if line else ("", "")
    title, _, rest = without_badge(cells[0].source).partition("\n")
    wanted = {
        0: f"{title}{badge(place, name)}" + (f"\n{rest}" if rest else ""),
        number: _SET_UP.format(os=needs, offline=offline, address=place),
    }
    if cells[number - 1].source.startswith("**Set-up.**"):
        wanted[number - 1] = _WORDS
    changed = any(cells[n].source != source for n, source in wanted.items())
    changed |= cells[number].metadata.get("jupyter") != _FOLDED
    for n, source in wanted.items():
        cells[n].source = source
    cells[number].metadata["jupyter"] = dict(_FOLDED)
    return changed
