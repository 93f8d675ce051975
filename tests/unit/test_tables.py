"""Tables for print: one set of digits in four formats, ranks that are right, markup that no cell can break."""

from __future__ import annotations

import csv
import html
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from colbert_zero_lib.errors import ParameterError, UnknownNameError
from colbert_zero_lib.figures.catalogue import TABLES, tabulate
from colbert_zero_lib.figures.tables import FORMATS, PaperTable, data_table, interval_text, make_table
from colbert_zero_lib.published import BEIR, paper_table
from colbert_zero_lib.report import table_rows

NAMES = list(TABLES)


def toy(**options: object) -> PaperTable:
    frame = pd.DataFrame(
        {
            "group": ["one", "one", "one", "two", "two"],
            "model": ["a_b", "50% & more", "<x>|y", "#1", "{z}~"],
            "score": [10.004, 12.5, 12.499, 3.0, np.nan],
            "delta": [-0.25, 0.0, 1.5, -3.0, 2.0],
        }
    )
    formats = {"score": "{:.2f}", "delta": "{:+.2f}"}
    return make_table(frame, "toy", "A toy, 5 rows", formats, **options)  # type: ignore[arg-type]


def ranks(table: PaperTable, column: str) -> list[int]:
    return table.ranks[column].tolist()


def test_ranks_are_of_the_numbers_as_shown_and_ties_share_theirs() -> None:
    assert ranks(toy(ranked=["score", "delta"]), "score") == [2, 1, 1, 0, 0]  # 12.499 is printed 12.50
    assert ranks(toy(ranked=["delta"]), "delta") == [0, 0, 2, 0, 1]
    assert ranks(toy(ranked=["score"], within=["group"], labels=["group"]), "score") == [2, 1, 1, 1, 0]
    assert ranks(toy(), "score") == [0] * 5


def test_cells_are_formatted_once_and_nothing_is_nothing() -> None:
    table = toy()
    assert table.cells["score"].tolist() == ["10.00", "12.50", "12.50", "3.00", ""]
    assert table.cells["delta"].tolist() == ["-0.25", "+0.00", "+1.50", "-3.00", "+2.00"]
    assert table.numeric == ("score", "delta")
    assert interval_text(-0.304, -0.86, 0.238) == "-0.30 [-0.86, +0.24]"


def test_markup_in_a_cell_is_text_in_every_format() -> None:
    table = toy(ranked=["score"])
    assert (
        r"a\_b" in table.latex()
        and r"50\% \& more" in table.latex()
        and r"\{z\}\textasciitilde{}" in table.latex()
    )
    assert "&lt;x&gt;|y" in table.html() and "<x>" not in table.html()
    assert r"| one | <x>\|y | **12.50** |" in table.markdown()
    assert table.csv().splitlines()[3] == "one,<x>|y,12.50,+1.50"


def test_emphasis_stands_in_html_latex_and_markdown() -> None:
    table = toy(ranked=["score"])
    assert "<b>12.50</b>" in table.html() and "<u>10.00</u>" in table.html()
    assert r"\textbf{12.50}" in table.latex() and r"\underline{10.00}" in table.latex()
    assert "**12.50**" in table.markdown() and "<u>10.00</u>" in table.markdown()
    assert "*" not in table.csv() and "<u>" not in table.csv()


def test_a_minus_is_a_minus_and_a_hyphen_a_hyphen() -> None:
    frame = pd.DataFrame({"name": ["gte-modernbert-2", "1e-5"], "x": ["-0.30 [-0.86, +0.24]", "-1"]})
    table = make_table(frame, "t", "t")
    assert "−0.30 [−0.86, +0.24]" in table.html() and "$-$0.30 [$-$0.86, +0.24]" in table.latex()
    for text in (table.html(), table.latex(), table.markdown()):
        assert "gte-modernbert-2" in text and "1e-5" in text
    assert '"-0.30 [-0.86, +0.24]"' in table.csv()


def test_repeated_labels_are_blank_in_print_and_lines_part_the_groups() -> None:
    table = toy(labels=["group"])
    assert table.rules == (3,)
    body = table.latex().split(r"\midrule")
    assert len(body) == 3 and body[1].count("one") == 1 and body[2].count("two") == 1
    assert table.csv().count("one") == 3 and table.markdown().count("one") == 3


def test_a_frame_in_a_notebook_has_text_to_the_left_and_numbers_to_the_right() -> None:
    frame = pd.DataFrame(
        {
            "claim": ["<b> & more", "other"],
            "n": [1200, 7],
            "mean": [1 / 3, np.nan],
            "written": ["+0.30 [-0.86, +0.24]", "–"],
            "held": [True, False],
            "mixed": ["0.3", "not run"],
        },
        index=[4, 2],
    )
    table = data_table(frame, {"n": "{:,}"})
    assert list(table.cells.iloc[0]) == [
        "<b> & more",
        "1,200",
        "0.333333",
        "+0.30 [-0.86, +0.24]",
        "yes",
        "0.3",
    ]
    assert list(table.cells.iloc[1])[1:5] == ["7", "", "–", "no"]
    assert set(table.numeric) == {"n", "mean", "written"}
    page = table.html()
    assert "<style" not in page and "<caption" not in page and "&lt;b&gt; &amp; more" in page
    assert (
        page.count("text-align:left") == page.count("text-align:right") == 3 * 3
    )  # a head and two rows each


def test_a_frames_names_of_rows_stand_in_front_and_repetitions_are_blank() -> None:
    index = pd.MultiIndex.from_tuples([("one", "a"), ("one", "b"), ("two", "a")], names=["start", "stage"])
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [-1.0, 0.0, 4.0]}, index=index)
    bold = pd.DataFrame({"y": [True, False, False]}, index=index)
    table = data_table(frame, "{:+.2f}", "A caption", bold)
    assert list(table.cells) == ["start", "stage", "x", "y"] and table.rules == (2,)
    assert "<b>−1.00</b>" in table.html() and table.html().count("<b>") == 1 and "A caption" in table.html()
    assert table.html().count(">one<") == 1 and table.csv().count("one") == 2
    alone = data_table(pd.DataFrame({"x": [1, 2]}, index=["a", "b"]))
    assert list(alone.cells) == ["", "x"] and alone.numeric == ("x",)
    assert repr(alone) == "<PaperTable: 2 rows, 2 columns>"
    with pytest.raises(ParameterError, match="'z'"):
        data_table(frame, {"z": "{}"})


def test_an_unknown_column_or_table_is_refused() -> None:
    with pytest.raises(ParameterError, match="'scoer'"):
        toy(ranked=["scoer"])
    with pytest.raises(UnknownNameError, match="paper_table2_gaps"):
        tabulate("table2")


def plain(text: str) -> str:
    """A cell without emphasis and escapes, with an ASCII minus."""
    text = re.sub(r"\\(?:textbf|underline)\{(.*)\}$", r"\1", text.strip())
    text = re.sub(r"\*\*(.*)\*\*$|<u>(.*)</u>$", lambda found: found[1] or found[2], text)
    for latex, sign in ((r"\textasciitilde{}", "~"), ("$-$", "-"), ("$>$", ">"), ("$<$", "<"), ("--", "–")):
        text = text.replace(latex, sign)
    return re.sub(r"\\([&%$#_{}|])", r"\1", text).replace("−", "-")


def parsed(table: PaperTable) -> dict[str, list[list[str]]]:
    body = re.search(r"\\midrule\n(.*)\\bottomrule", table.latex(), re.DOTALL)
    assert body is not None
    tex = [line[: -len(r" \\")] for line in body[1].splitlines() if line != r"\midrule"]
    rows = re.findall(r"<tr>(.*?)</tr>", table.html().split("<tbody>")[1], re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    lines = table.markdown().splitlines()[4:]
    return {
        "html": [[plain(html.unescape(re.sub(r"</?[bu]>", "", cell))) for cell in row] for row in cells],
        "tex": [[plain(cell) for cell in re.split(r"(?<!\\)&", line)] for line in tex],
        "md": [[plain(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines],
        "csv": list(csv.reader(io.StringIO(table.csv())))[1:],
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_table_has_the_same_cells_in_every_format(name: str) -> None:
    table = tabulate(name)
    found = parsed(table)
    assert set(found) == set(FORMATS)
    expected = [[cell.strip() for cell in row] for row in found["csv"]]
    blank = [table.cells.columns.get_loc(label) for label in table.labels]
    for form in ("html", "tex", "md"):
        assert len(found[form]) == len(expected)
        for row, right in zip(found[form], expected, strict=True):
            assert len(row) == len(right)
            for place, (cell, wanted) in enumerate(zip(row, right, strict=True)):
                assert cell == wanted or (cell == "" and place in blank and form != "md")


@pytest.mark.parametrize("name", NAMES)
def test_latex_is_balanced(name: str) -> None:
    text = tabulate(name).latex()
    bare = re.sub(r"\\[{}\\]", "", text)
    assert bare.count("{") == bare.count("}")
    assert re.findall(r"\\begin\{(\w+)\}", text) == re.findall(r"\\end\{(\w+)\}", text)[::-1]
    align = re.search(r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}", text)
    assert align is not None
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(align[1])}
    assert text.isascii()


def test_the_papers_table_2_is_all_there_and_its_best_are_best() -> None:
    table, printed = tabulate("paper_table2"), paper_table(2)
    numbers = table.cells[["mean", *BEIR]].astype(float).to_numpy()
    assert (numbers == printed[["average_printed", *BEIR]].to_numpy()).all()
    for column in BEIR:
        best = table.ranks[column] == 1
        assert printed.loc[best, column].tolist() == [printed[column].max()] * int(best.sum())
    shown = table_rows(table.html())  # the report reads tables like this one
    assert shown[0][:3] == ["section", "model", "mean"] and len(shown) == len(printed) + 1


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        files = tabulate("paper_table5").write(tmp_path / folder)
        assert [file.suffix[1:] for file in files] == list(FORMATS)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
    assert (
        (tmp_path / "one" / "paper_table5.csv").read_text(encoding="utf-8").startswith("start,stage,neither,")
    )


@pytest.mark.parametrize(
    ("name", "file", "old"),
    [
        ("paper_table1", "table1_hyperparameters.csv", "16384"),
        ("paper_table2", "table2_beir_ndcg10.csv", "72.68"),
        ("paper_table3", "table3_prompt_alignment_ndcg10.csv", "33.25"),
        ("paper_table4", "table4_prompt_length_ndcg10.csv", "82.59"),
        ("paper_table5", "table5_deltas.csv", "1.51"),
        ("paper_figure2", "figure2_pipelines.csv", "55.43"),
    ],
)
def test_a_changed_value_arrives_in_all_four_formats(
    name: str, file: str, old: str, published_copy: Path
) -> None:
    source = published_copy / "paper" / file
    text = source.read_text(encoding="utf-8")
    assert text.count(old) == 1
    source.write_text(text.replace(old, "7.77" if "." in old else "7777"), encoding="utf-8")
    table = tabulate(name, published_copy)
    for text in (table.html(), table.latex(), table.markdown(), table.csv()):
        assert "7.77" in text or "7,777" in text
    assert table.csv() != tabulate(name).csv()


def test_a_long_table_is_folded_in_a_notebook_and_a_short_one_is_not():
    rows = [{"value": float(number)} for number in range(9)]
    long, short = (data_table(part, caption="Points: of nine. More.") for part in (rows, rows[:8]))
    assert long._repr_html_().startswith("<details><summary>Points: 9 rows</summary>\n<table")
    assert short._repr_html_() == short.html()
