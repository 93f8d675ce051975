"""One page from executed notebooks: their verdict tables and figures, as HTML and as Markdown.

Only reads notebook outputs; what a figure or a verdict means is the notebooks' business.
"""

from __future__ import annotations

import base64
import csv
import html
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import nbformat

from . import __version__
from .suite import NotebookRun, read_notebook

_COLOURS = {"agrees": "#d7efe0", "within noise": "#fdf3d0", "differs": "#f9d9d3"}
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
            span = dict(attrs).get("colspan") or "1"
            self.rows[-1] += [""] * int(span)
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
        yield "svg", data["image/svg+xml"].encode()
    elif "image/png" in data:
        yield "png", base64.b64decode(data["image/png"])


def _collect(run: NotebookRun, folder: Path) -> _Section:
    notebook = read_notebook(run.output)
    title = re.search(r"^#\s+(.+)$", notebook.cells[0].source, re.MULTILINE) if notebook.cells else None
    section = _Section(run.name, title[1].strip() if title else run.name, run.seconds)
    for place, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            heading = _heading(notebook, place)
            for suffix, content in _images(output):
                name = f"figures/{run.name}-{len(section.figures) + 1}.{suffix}"
                (folder / name).write_bytes(content)
                section.figures.append((heading, name))
            rows = table_rows(output.get("data", {}).get("text/html", ""))
            if rows and "verdict" in cell.metadata.get("tags", []):
                section.tables.append((heading, rows))
                file = folder / "tables" / f"{run.name}-{len(section.tables)}.csv"
                with file.open("w", newline="", encoding="utf-8") as stream:
                    csv.writer(stream, lineterminator="\n").writerows(rows)
    return section


def write_report(runs: Sequence[NotebookRun], folder: Path, profile: str | None = None) -> Path:
    """Write ``index.html`` and ``index.md``, with ``figures/`` and ``tables/`` beside; returns the page.

    Tables come from cells tagged ``verdict``; figures are every SVG or PNG that a notebook shows, named after
    the notebook and captioned with the heading above. An earlier report in the same folder is replaced.
    """
    for name in ("figures", "tables"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for old in (folder / name).glob("[0-9][0-9]_*-*"):
            old.unlink()
    sections = [_collect(run, folder) for run in runs]
    seconds = sum(section.seconds for section in sections)
    facts = (
        f"{len(sections)} notebook{'s' if len(sections) != 1 else ''}, profile {profile or 'of each notebook'}, "
        f"{seconds / 60:.1f} minutes on {platform.machine()} {platform.system()}, Python {platform.python_version()}, "
        f"colbert_zero_lib {__version__}"
    )
    (folder / "index.md").write_text(_markdown(sections, facts), encoding="utf-8")
    page = folder / "index.html"
    page.write_text(_html(sections, facts), encoding="utf-8")
    return page


def _markdown(sections: Sequence[_Section], facts: str) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    lines = ["# ColBERT-Zero: report", "", facts, "", "## Verdicts", ""]
    for section in sections:
        for heading, rows in section.tables:
            lines += [f"### {section.title}: {heading}" if heading else f"### {section.title}", ""]
            lines += [line(rows[0]), line(["---"] * len(rows[0])), *map(line, rows[1:]), ""]
    lines += ["## Figures", ""]
    for section in sections:
        if section.figures:
            lines += [f"### {section.title}", ""]
        for heading, name in section.figures:
            lines += [f"![{heading}]({name})", "", f"*{heading}*", ""]
    lines += ["## Notebooks", "", line(["notebook", "seconds"]), line(["---", "---"])]
    lines += [line([f"[{s.title}](notebooks/{s.name}.ipynb)", f"{s.seconds:.0f}"]) for s in sections]
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
        link = f'<a href="notebooks/{section.name}.ipynb">{html.escape(section.title)}</a>'
        parts.append(f"<tr><td>{link}</td><td>{section.seconds:.0f}</td></tr>")
    parts.append("</table>")
    head = f'<meta charset="utf-8"><title>ColBERT-Zero: report</title><style>{_STYLE}</style>'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n'
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
