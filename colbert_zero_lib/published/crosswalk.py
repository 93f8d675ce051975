"""Where each table and figure of the paper stands in this suite: notebook cell, data file, drawn files.

Read from the notebooks' cell tags (``paper:table-2``), never listed by hand; nothing is drawn here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from colbert_zero_lib.errors import DataError
from colbert_zero_lib.home import data_folder
from colbert_zero_lib.keeping import write_whole
from colbert_zero_lib.suite import find_notebooks, notebooks_folder, read_notebook

TAG = "paper:"


class Answer(NamedTuple):
    """A notebook's cell: name of the notebook, id of the cell and the nearest heading above."""

    notebook: str
    cell: str
    heading: str


@dataclass(frozen=True)
class PaperItem:
    """A table or figure of the paper (or of its announcement): ``id`` is what follows ``paper:`` in a cell's tag.

    ``data`` are files below the data folder; ``figures`` and ``tables`` are names in `figures.catalogue`.
    """

    id: str
    title: str
    shows: str
    data: tuple[str, ...]
    figures: tuple[str, ...]
    tables: tuple[str, ...]


_TABLE1, _TABLE2, _FIGURE2 = (
    "paper/table1_hyperparameters.csv",
    "paper/table2_beir_ndcg10.csv",
    "paper/figure2_pipelines.csv",
)
_TABLE4 = "paper/table4_prompt_length_ndcg10.csv"

PAPER_ITEMS: tuple[PaperItem, ...] = (
    PaperItem(
        "figure-1", "Figure 1", "the three training phases", (_TABLE1, "paper/training_mix.csv"),
        ("paper_figure1",), (),
    ),
    PaperItem(
        "figure-2", "Figure 2", "the three pipelines, their cost and score", (_FIGURE2,),
        ("paper_figure2",), ("paper_figure2",),
    ),
    PaperItem(
        "cost", "Cost figure", "nDCG@10 against GH200 hours", (_TABLE1, _TABLE2, _FIGURE2),
        ("paper_cost",), ("paper_table2_gaps",),
    ),
    PaperItem("table-1", "Table 1", "settings of the phases", (_TABLE1,), (), ("paper_table1",)),
    PaperItem(
        "table-2", "Table 2", "BEIR scores of pipelines and baselines", (_TABLE2,),
        ("paper_table2", "paper_table2_heat_map"), ("paper_table2", "paper_table2_gaps"),
    ),
    PaperItem(
        "table-3", "Table 3", "fine-tuning with the prompts of pre-training, or without",
        ("paper/table3_prompt_alignment_ndcg10.csv",), ("paper_table3",), ("paper_table3",),
    ),
    PaperItem(
        "table-4", "Table 4", "prompts and extra length, each on and off", (_TABLE4,),
        ("paper_table4_heat_map",), ("paper_table4",),
    ),
    PaperItem(
        "table-5", "Table 5", "what prompts and length add", ("paper/table5_deltas.csv", _TABLE4),
        ("paper_table5",), ("paper_table5", "paper_table5_effects"),
    ),
)  # fmt: skip


def crosswalk(notebooks: Path | None = None, folder: Path | None = None) -> dict[str, list[Answer]]:
    """The notebook cells that answer each item of the paper, by the item's id, in the paper's order.

    DataError for an item that no cell answers, a tag that names no item, or a data file that is not there.
    """
    found: dict[str, list[Answer]] = {item.id: [] for item in PAPER_ITEMS}
    for path in find_notebooks(folder=notebooks or notebooks_folder()):
        heading = ""
        for cell in read_notebook(path).cells:
            if cell.cell_type == "markdown":
                heads = re.findall(r"^#+\s+(.+?)\s*$", cell.source, re.MULTILINE)
                heading = heads[-1] if heads else heading
            for tag in cell.metadata.get("tags", []):
                if not tag.startswith(TAG):
                    continue
                if tag.removeprefix(TAG) not in found:
                    names = ", ".join(TAG + name for name in sorted(found))
                    raise DataError(
                        f"Cell {cell.get('id')!r} of {path.name} has the tag {tag!r}: use one of {names}."
                    )
                found[tag.removeprefix(TAG)].append(Answer(path.stem, str(cell.get("id", "")), heading))
    data = folder or data_folder()
    for item in PAPER_ITEMS:
        for name in item.data:
            if not (data / name).is_file():
                raise DataError(f"{data / name}, the data of {item.title}, is missing: restore the file.")
        if not found[item.id]:
            raise DataError(
                f"No notebook cell is tagged {TAG}{item.id}, so {item.title} has no counterpart: tag one."
            )
    return found


def crosswalk_page(notebooks: Path | None = None) -> str:
    """The text of ``notebooks/README.md``: the notebooks in reading order, and the crosswalk as a table."""
    place = notebooks or notebooks_folder()
    lines = [
        "# Notebooks", "",
        "<!-- written by `colbert-zero crosswalk`; edit the notebooks, not this page -->", "",
        "In reading order; each one also stands alone. The words are explained in the [glossary](GLOSSARY.md).", "",
        "| notebook | title |", "|---|---|",
    ]  # fmt: skip
    for path in find_notebooks(folder=place):
        title = read_notebook(path).cells[0].source.splitlines()[0].removeprefix("# ")
        lines.append(f"| [{path.stem}]({path.name}) | {title} |")
    lines += [
        "", "## Where the paper's tables and figures are", "",
        "`make figures` draws every file named here from `data/` alone; tables come as HTML, LaTeX, Markdown and CSV.",
        "",
        "| in the paper | shows | notebook and section (cell) | data | figures | tables |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    answers = crosswalk(place)
    for item in PAPER_ITEMS:
        cells = "<br>".join(
            f"[{notebook}]({notebook}.ipynb), {heading} (`{cell}`)"
            for notebook, cell, heading in answers[item.id]
        )
        files = "<br>".join(f"[{Path(name).name}](../data/{name})" for name in item.data)
        figures = "<br>".join(f"[{name}](../figures/{name}.svg)" for name in item.figures)
        tables = "<br>".join(f"[{name}](../figures/tables/{name}.md)" for name in item.tables)
        lines.append(f"| {item.title} | {item.shows} | {cells} | {files} | {figures} | {tables} |")
    return "\n".join(lines) + "\n"


def check_crosswalk(notebooks: Path | None = None) -> None:
    """DataError unless ``README.md`` beside the notebooks is what they and the data say now."""
    file = (notebooks or notebooks_folder()) / "README.md"
    if not file.is_file() or file.read_text(encoding="utf-8") != crosswalk_page(notebooks):
        raise DataError(f"{file.parent.name}/{file.name} is not current: run `colbert-zero crosswalk`.")


def write_crosswalk(notebooks: Path | None = None) -> tuple[Path, bool]:
    """Write ``README.md`` beside the notebooks; its path, and whether it changed."""
    file = (notebooks or notebooks_folder()) / "README.md"
    text = crosswalk_page(notebooks)
    changed = not file.is_file() or file.read_text(encoding="utf-8") != text
    if changed:
        write_whole(file, text)
    return file, changed
