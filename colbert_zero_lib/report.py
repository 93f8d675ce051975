"""One page from executed notebooks: their verdict tables and figures, as HTML and as Markdown.

Only reads notebook outputs; what a figure or a verdict means is the notebooks' business.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import html
import os
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import nbformat

from . import __version__
from .errors import NotebookError
from .markup import whole_page
from .scratch import scratch
from .suite import NotebookRun, read_notebook

_COLOURS = {"agrees": "#d7efe0", "within noise": "#fdf3d0", "differs": "#f9d9d3"}
_PARTS = ("figures", "tables")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
# What a drawing needs none of and a browser would run or fetch.
_ACTIVE = re.compile(
    r"<\s*(script|foreignobject|iframe|handler|set|animate)|<[a-z][^>]*\son\w+\s*=|javascript:|<!entity|href\s*=\s*[\"'](?!#|data:image/)",
    re.IGNORECASE,
)
_SPAN = re.compile(r"[1-9][0-9]{0,2}")
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0;font-size:.85rem;display:block;overflow-x:auto}
td,th{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:left}
figure{margin:1.5rem 0}img{max-width:100%}figcaption,footer{color:#555;font-size:.85rem}
"""


@dataclass
class _Section:
    name: str
    title: str
    seconds: float
    tables: list[tuple[str, list[list[str]]]] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)


class _TableReader(HTMLParser):
    """Rows of text of the first table in a fragment; styling is dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            span = dict(attrs).get("colspan") or ""
            self.rows[-1] += [""] * (int(span) if _SPAN.fullmatch(span) else 1)
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {data.strip()}".strip()


def table_rows(fragment: str) -> list[list[str]]:
    """The cells of an HTML table, row by row, padded to one width; empty when there is no table."""
    reader = _TableReader()
    reader.feed(fragment)
    rows = [row for row in reader.rows if any(row)]
    width = max(map(len, rows), default=0)
    return [row + [""] * (width - len(row)) for row in rows]


def _heading(notebook: nbformat.NotebookNode, place: int) -> str:
    for cell in reversed(notebook.cells[:place]):
        if cell.cell_type == "markdown":
            found = re.findall(r"^#+\s+(.+?)\s*$", cell.source, re.MULTILINE)
            if found:
                return str(found[-1])
    return ""


def _images(output: nbformat.NotebookNode) -> Iterator[tuple[str, bytes]]:
    data = output.get("data", {})
    if "image/svg+xml" in data:
        drawing = "".join(data["image/svg+xml"])
        if not _ACTIVE.search(drawing):
            yield "svg", drawing.encode("utf-8", "replace")
    elif "image/png" in data:
        with contextlib.suppress(ValueError):  # no picture
            yield "png", base64.b64decode(data["image/png"])


def _file_stem(name: str) -> str:
    """A notebook's name as the beginning of other files' names: short, and of signs that links hold as they are."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:80]
    return plain if plain == name else f"{plain}-{hashlib.sha1(os.fsencode(name)).hexdigest()[:8]}"


def _link(name: str) -> str:
    """The address of an executed notebook, whatever signs its name has."""
    return f"notebooks/{quote(os.fsencode(name))}.ipynb"


def _collect(run: NotebookRun, folder: Path) -> _Section:
    notebook = read_notebook(run.output)
    title = re.search(r"^#\s+(.+)$", notebook.cells[0].source, re.MULTILINE) if notebook.cells else None
    section = _Section(run.name, title[1].strip() if title else run.name, run.seconds)
    for place, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            heading = _heading(notebook, place)
            for suffix, content in _images(output):
                name = f"figures/{_file_stem(run.name)}-{len(section.figures) + 1}.{suffix}"
                (folder / name).write_bytes(content)
                section.figures.append((heading, name))
            rows = table_rows(str(output.get("data", {}).get("text/html", "")))
            if rows and "verdict" in cell.metadata.get("tags", []):
                section.tables.append((heading, rows))
                file = folder / "tables" / f"{_file_stem(run.name)}-{len(section.tables)}.csv"
                with file.open("w", newline="", encoding="utf-8", errors="replace") as stream:
                    csv.writer(stream, lineterminator="\n").writerows(rows)
    return section


def write_report(runs: Sequence[NotebookRun], folder: Path, profile: str | None = None) -> Path:
    """Write ``index.html`` and ``index.md``, with ``figures/`` and ``tables/`` beside; returns the page.

    Tables come from cells tagged ``verdict``; figures are every SVG or PNG that a notebook shows, named after
    the notebook and captioned with the heading above. An earlier report in the same folder is replaced once this one is
    written whole; NotebookError when it cannot be, and the earlier one stays.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with scratch(".writing", folder) as beside:
            for name in _PARTS:
                (beside / name).mkdir()
            sections = [_collect(run, beside) for run in runs]
            facts = _facts(sections, profile)
            for name, page in (
                ("index.md", _markdown(sections, facts)),
                ("index.html", _html(sections, facts)),
            ):
                (beside / name).write_text(page, encoding="utf-8", errors="replace")
            _move(beside, folder)
    except OSError as error:
        raise NotebookError(
            f"The report cannot be written to {folder} ({error.strerror or error}), and an earlier one stays: make "
            "room, or name another folder with --output."
        ) from error
    return folder / "index.html"


def _move(beside: Path, folder: Path) -> None:
    """Put what is finished in its place, then take away figures and tables of the earlier report."""
    new: dict[str, set[str]] = {}
    for name in _PARTS:
        (folder / name).mkdir(exist_ok=True)
        new[name] = {file.name for file in (beside / name).iterdir()}
        for file in new[name]:
            (beside / name / file).replace(folder / name / file)
    for page in ("index.md", "index.html"):
        (beside / page).replace(folder / page)
    for name in _PARTS:
        for old in (folder / name).glob("[0-9][0-9]_*-*"):
            if old.name not in new[name]:
                old.unlink()


def _facts(sections: Sequence[_Section], profile: str | None) -> str:
    seconds = sum(section.seconds for section in sections)
    return (
        f"{len(sections)} notebook{'s' if len(sections) != 1 else ''}, profile {profile or 'of each notebook'}, "
        f"{seconds / 60:.1f} minutes on {platform.machine()} {platform.system()}, Python {platform.python_version()}, "
        f"colbert_zero_lib {__version__}"
    )


def _plain(text: str) -> str:
    """A text in Markdown, on one line: no tag, link or picture comes of what notebooks show."""
    text = _TAG.sub("&lt;", " ".join(text.split()))
    return text.replace("](", "]\\(").replace("|", "\\|")


def _markdown(sections: Sequence[_Section], facts: str) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    lines = ["# ColBERT-Zero: report", "", facts, "", "## Verdicts", ""]
    for section in sections:
        for heading, rows in section.tables:
            lines += [f"### {_plain(f'{section.title}: {heading}' if heading else section.title)}", ""]
            cells = [line([_plain(cell) for cell in row]) for row in rows]
            lines += [cells[0], line(["---"] * len(rows[0])), *cells[1:], ""]
    lines += ["## Figures", ""]
    for section in sections:
        if section.figures:
            lines += [f"### {_plain(section.title)}", ""]
        for heading, name in section.figures:
            lines += [f"![{_plain(heading)}]({name})", "", f"*{_plain(heading)}*", ""]
    lines += ["## Notebooks", "", line(["notebook", "seconds"]), line(["---", "---"])]
    lines += [line([f"[{_plain(s.title)}]({_link(s.name)})", f"{s.seconds:.0f}"]) for s in sections]
    return "\n".join(lines) + "\n"


def _html(sections: Sequence[_Section], facts: str) -> str:
    def cell(text: str, tag: str = "td") -> str:
        colour = _COLOURS.get(text.strip().lower())
        style = f' style="background:{colour}"' if colour else ""
        return f"<{tag}{style}>{html.escape(text)}</{tag}>"

    parts = ["<h1>ColBERT-Zero: report</h1>", f"<p>{html.escape(facts)}</p>", "<h2>Verdicts</h2>"]
    for section in sections:
        for heading, rows in section.tables:
            parts.append(f"<h3>{html.escape(section.title)}</h3><p>{html.escape(heading)}</p><table>")
            parts.append("<tr>" + "".join(cell(text, "th") for text in rows[0]) + "</tr>")
            parts += ["<tr>" + "".join(map(cell, row)) + "</tr>" for row in rows[1:]]
            parts.append("</table>")
    parts.append("<h2>Figures</h2>")
    for section in sections:
        parts += [f"<h3>{html.escape(section.title)}</h3>"] if section.figures else []
        for heading, name in section.figures:
            caption = html.escape(heading)
            parts.append(
                f'<figure><img src="{name}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
            )
    parts.append("<h2>Notebooks</h2><table><tr><th>notebook</th><th>seconds</th></tr>")
    for section in sections:
        link = f'<a href="{_link(section.name)}">{html.escape(section.title)}</a>'
        parts.append(f"<tr><td>{link}</td><td>{section.seconds:.0f}</td></tr>")
    parts.append("</table>")
    return whole_page("ColBERT-Zero: report", _STYLE, "\n".join(parts))
