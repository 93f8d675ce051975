"""A DataFrame as a table for page and paper: HTML, LaTeX (booktabs), Markdown and CSV with the same numbers in each.

Best and second of a column are bold and underlined. What stands in a table is decided by whoever makes it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from colbert_zero_lib.errors import ParameterError
from colbert_zero_lib.keeping import write_whole

FORMATS = ("html", "tex", "md", "csv")
_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "–": "--", ">": "$>$", "<": "$<$",
    "×": r"$\times$",
})  # fmt: skip
_NEGATIVE = re.compile(r"(?<![\w.)])-(?=\d)")
_NUMBER = re.compile(r"–|[+−-]?\d[\d,]*(\.\d+)?( ?%)?( \[[^]]*\])?")
_MANY_COLUMNS = 9  # from here on LaTeX turns the headings and fits the table to the text's width
_SHORT = 8  # rows: a longer table is folded in a notebook


@dataclass(frozen=True, repr=False, eq=False)
class PaperTable:
    """A finished table: every cell as text, and which cells are best (1) or second (2) of their column.

    ``name`` is the file and LaTeX label; ``numeric`` names the columns aligned right; ``labels`` are leading columns
    whose repetitions are left blank in HTML and LaTeX.
    """

    name: str
    caption: str
    cells: pd.DataFrame
    ranks: pd.DataFrame
    numeric: tuple[str, ...]
    labels: tuple[str, ...] = ()

    def __repr__(self) -> str:
        name = f"PaperTable {self.name}".strip()
        return f"<{name}: {len(self.cells)} rows, {len(self.cells.columns)} columns>"

    def _repr_html_(self) -> str:
        """Open where it is short; folded away where a picture beside it says what is in it."""
        if len(self.cells) <= _SHORT:
            return self.html()
        title = html.escape(re.split(r"[.:](?: |$)", self.caption)[0] or "Table")
        return f"<details><summary>{title}: {len(self.cells)} rows</summary>\n{self.html()}\n</details>"

    def html(self) -> str:
        """The table as an HTML fragment; styles are in its elements, since style sheets are stripped where a reader's
        notebook is not trusted yet.
        """
        lines, rules = [], self.rules
        rows = self._marked(self._blanked(), lambda text: html.escape(_minus(text)), "<b>{}</b>", "<u>{}</u>")
        for place, shown in enumerate(rows):
            more = ";border-top:1px solid #999" if place in rules else ""
            lines.append(self._html_row("td", shown, "text-align:right;white-space:nowrap", more))
        heads = self._html_row("th", [html.escape(str(name)) for name in self.cells.columns])
        style = "caption-side:top;text-align:left;font-weight:bold;padding:.4em 0"
        caption = f'<caption style="{style}">{html.escape(self.caption)}</caption>'
        top = ['<table style="border-collapse:collapse">', *([caption] if self.caption else [])]
        return "\n".join([*top, f"<thead>\n{heads}\n</thead>", "<tbody>", *lines, "</tbody>", "</table>"])

    def _marked(
        self, cells: pd.DataFrame, escape: Callable[[str], str], best: str, second: str
    ) -> Iterator[list[str]]:
        """The escaped texts of each row, those of rank 1 and 2 in the forms ``best`` and ``second``."""
        forms = {1: best, 2: second}
        for row, ranks in zip(cells.to_numpy(), self.ranks.to_numpy(), strict=True):
            texts = (escape(str(text)) for text in row)
            yield [forms.get(rank, "{}").format(text) for text, rank in zip(texts, ranks, strict=True)]

    def _html_row(
        self, tag: str, texts: Sequence[str], numbers: str = "text-align:right", more: str = ""
    ) -> str:
        styles = [numbers if name in self.numeric else "text-align:left" for name in self.cells.columns]
        cells = [
            f'<{tag} style="{style}{more}">{text}</{tag}>' for style, text in zip(styles, texts, strict=True)
        ]
        return f"<tr>{''.join(cells)}</tr>"

    def latex(self) -> str:
        """The table as a LaTeX float with booktabs rules; wide ones turn their headings (graphicx)."""
        wide = len(self.cells.columns) >= _MANY_COLUMNS
        heads = []
        for name in self.cells.columns:
            head = str(name).translate(_LATEX)
            heads.append(rf"\rotatebox{{60}}{{{head}}}" if wide and name in self.numeric else head)
        lines, rules = [], self.rules
        bold, lined = r"\textbf{{{}}}", r"\underline{{{}}}"
        rows = self._marked(self._blanked(), lambda text: _minus(text).translate(_LATEX), bold, lined)
        for place, texts in enumerate(rows):
            lines += [r"\midrule"] if place in rules else []
            lines.append(" & ".join(texts) + r" \\")
        align = "".join("r" if name in self.numeric else "l" for name in self.cells.columns)
        tabular = [
            rf"\begin{{tabular}}{{@{{}}{align}@{{}}}}", r"\toprule", " & ".join(heads) + r" \\", r"\midrule",
            *lines, r"\bottomrule", r"\end{tabular}",
        ]  # fmt: skip
        if wide:
            tabular = [r"\resizebox{\textwidth}{!}{%", *tabular, "}"]
        top = [
            r"% \usepackage{booktabs,graphicx}", r"\begin{table}[t]", r"\centering", r"\small",
            rf"\caption{{{self.caption.translate(_LATEX)}}}", rf"\label{{tab:{self.name}}}",
        ]  # fmt: skip
        return "\n".join([*top, *tabular, r"\end{table}"]) + "\n"

    def markdown(self) -> str:
        """The table in GitHub's Markdown, its caption above."""
        lines = [f"**{self.caption}**", "", _pipes(self.cells.columns)]
        lines.append(_pipes(["---:" if name in self.numeric else "---" for name in self.cells.columns]))
        rows = self._marked(self.cells, lambda text: _minus(text).replace("|", r"\|"), "**{}**", "<u>{}</u>")
        lines += [_pipes(texts) for texts in rows]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """The table as CSV for machines: no emphasis, ASCII minus."""
        return self.cells.to_csv(index=False, lineterminator="\n")

    def write(self, folder: Path) -> list[Path]:
        """Write ``<name>.html``, ``.tex``, ``.md`` and ``.csv`` into ``folder``; equal tables give equal bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        page = f'<!doctype html>\n<meta charset="utf-8">\n<title>{html.escape(self.caption)}</title>\n{self.html()}'
        texts = (page, self.latex(), self.markdown(), self.csv())
        files = [folder / f"{self.name}.{suffix}" for suffix in FORMATS]
        for file, text in zip(files, texts, strict=True):
            write_whole(file, text)
        return files

    @property
    def rules(self) -> tuple[int, ...]:
        """The rows above which a line is drawn: those where a label changes, but for the first."""
        return tuple(np.flatnonzero(self._changed().any(axis=1))[1:].tolist())

    def _blanked(self) -> pd.DataFrame:
        """The cells with a leading label only where it, or one to its left, changes."""
        changed = self._changed().cummax(axis=1)
        shown = self.cells.copy()
        shown[changed.columns] = shown[changed.columns].where(changed, "")
        return shown

    def _changed(self) -> pd.DataFrame:
        labels = self.cells[list(self.labels)]
        return labels != labels.shift()


def make_table(
    frame: pd.DataFrame,
    name: str,
    caption: str,
    formats: Mapping[str, str] | None = None,
    ranked: Sequence[str] = (),
    within: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> PaperTable:
    """Format each cell once and rank the columns ``ranked`` (higher is better; ties share their rank).

    ``formats`` gives a column's format, such as ``"{:.2f}"``; other numbers are written plainly, NaN and None are
    empty. Ranks are those of the numbers as shown, among the rows that agree in the columns ``within``. A line is
    drawn wherever one of ``labels`` changes. ParameterError for a column that is not there.
    """
    formats = formats or {}
    for column in (*formats, *ranked, *within, *labels):
        if column not in frame.columns:
            raise ParameterError(
                f"Table {name!r} has no column {column!r}: it has {', '.join(map(str, frame.columns))}."
            )
    frame = frame.reset_index(drop=True)
    cells = pd.DataFrame(
        {c: [_shown(value, formats.get(c)) for value in frame[c]] for c in frame}, dtype=object
    )
    ranks = pd.DataFrame(0, index=cells.index, columns=cells.columns)
    blocks = frame.groupby(list(within), sort=False).groups.values() if within else [frame.index]
    for column in ranked:
        numbers = pd.to_numeric(cells[column].str.replace(",", ""), errors="coerce")
        for rows in blocks:
            place = numbers.loc[rows].rank(method="dense", ascending=False)
            ranks.loc[rows, column] = place.where(place <= 2, 0).fillna(0).astype(int)
    numeric = tuple(c for c in frame if pd.api.types.is_numeric_dtype(frame[c]))
    return PaperTable(name, caption, cells, ranks, numeric, tuple(labels))


def data_table(
    frame: pd.DataFrame | Mapping[str, Any] | Iterable[Mapping[str, Any]],
    formats: str | Mapping[str, str] | None = None,
    caption: str = "",
    bold: pd.DataFrame | None = None,
) -> PaperTable:
    """A frame as notebooks show it: text to the left, numbers to the right, named rows with their names in front.

    ``frame``: or columns by name, or rows, to make one of. ``formats``: one format for all columns of numbers, or
    formats by column; other numbers are written short, truth values as yes and no. ``bold``: truth values, one a cell
    of the columns that it has. Without a ``caption`` it is that of the frame's ``attrs``. Rows with whole numbers for
    names are shown without them; of several levels, repetitions are left blank.
    """
    frame = (frame if isinstance(frame, pd.DataFrame) else pd.DataFrame(frame)).infer_objects()
    caption = caption or frame.attrs.get("caption", "")
    names = [] if pd.api.types.is_integer_dtype(frame.index) else [name or "" for name in frame.index.names]
    frame = frame.reset_index(names=names) if names else frame.reset_index(drop=True)
    for column in frame.select_dtypes("bool"):
        frame[column] = frame[column].map({True: "yes", False: "no"})
    numbers = list(frame.select_dtypes("number"))
    if isinstance(formats, str):
        formats = dict.fromkeys(numbers, formats)
    short = {column: "{:,g}" for column in frame.select_dtypes("floating")}
    table = make_table(frame, "", caption, {**short, **(formats or {})}, labels=names[:-1])
    shown = {column: table.cells[column] for column in table.cells if column not in numbers}
    numbers += [column for column, cells in shown.items() if _numbers(cells)]
    ranks = table.ranks.copy()
    for column, cells in bold.items() if bold is not None else ():
        ranks[column] = cells.to_numpy(int)
    return replace(table, numeric=tuple(numbers), ranks=ranks)


def _numbers(cells: pd.Series) -> bool:
    """Whether what was made text before is still numbers, alone or with an interval."""
    written = [cell for cell in cells if cell]
    return bool(written) and all(_NUMBER.fullmatch(cell) for cell in written)


def interval_text(value: float, low: float, high: float) -> str:
    """A difference with its interval, such as ``-0.30 [-0.86, +0.24]``."""
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def interval_texts(table: pd.DataFrame, empty: str = "") -> list[str]:
    """The `interval_text` of each row by its columns value, low and high; ``empty`` where there is no value."""
    rows = table[["value", "low", "high"]].itertuples(index=False)
    return [empty if pd.isna(row.value) else interval_text(*row) for row in rows]


def _shown(value: object, form: str | None) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return ""
    return form.format(value) if form else str(value)


def _minus(text: str) -> str:
    """A typographic minus before numbers; hyphens in names and exponents stay."""
    return _NEGATIVE.sub("−", text)


def _pipes(cells: Sequence[str] | pd.Index) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
