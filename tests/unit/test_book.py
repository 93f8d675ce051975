"""The site's pages: every printed number leads somewhere, every command is one, and the crawl sees what is wrong."""

from __future__ import annotations

import html
import re
import shlex
from pathlib import Path

import pytest
import typer

from book import crawl, pages
from colbert_zero_lib.cli import app
from colbert_zero_lib.corpora.evaluation_sets import expand
from colbert_zero_lib.published.tables import BEIR, paper_scores, paper_table
from colbert_zero_lib.runs.arms import grid_recipes
from colbert_zero_lib.verdicts.evidence import RunEvidence
from colbert_zero_lib.verdicts.grid import delta_findings, paper_deltas
from colbert_zero_lib.verdicts.sources import mteb_evidence

SOURCE = RunEvidence("recorded (none)", {})


@pytest.fixture(scope="module")
def site() -> dict[str, str]:
    """The pages' Markdown by name, with no run recorded."""
    known, scores = pages.arms(), paper_scores()
    slugs = {arm.name: arm.slug for arm in known}
    compared = pages.comparisons(known, scores, SOURCE)
    found = {
        f"arms/{arm.slug}.html": pages.arm_page(arm, slugs, scores.loc[arm.name], SOURCE, compared)
        for arm in known
    }
    return {**found, "tables.html": pages.tables_page(known, scores, delta_findings(SOURCE))}


def ids(text: str) -> set[str]:
    return set(re.findall(r' id="([^"]+)"', text))


def test_every_printed_number_of_tables_2_to_5_leads_to_its_own_row(site: dict[str, str]) -> None:
    links = re.findall(r'<td><a href="([^"]*)#([^"]+)">([−+\d.]+)</a>', site["tables.html"])
    assert all(place in ids(site[page or "tables.html"]) for page, place, _ in links)
    printed = [value for n in (2, 3, 4) for row in paper_table(n)[list(BEIR)].to_numpy() for value in row]
    shown = [float(text) for page, place, text in links if page and place != "average"]
    assert shown == printed
    signed = [float(text.replace("−", "-")) for page, _, text in links if not page]
    assert sorted(signed) == sorted(paper_deltas()["paper"])


def test_a_row_of_an_arm_repeats_the_papers_number_and_the_reruns(site: dict[str, str]) -> None:
    page = site["arms/colbert-unsupervised--colbert-supervised--colbert-distillation.html"]
    row = re.search(r'<tr id="FiQA">(.*?)</tr>', page)
    assert row is not None
    cells = re.findall(r"<td>(.*?)</td>", row[1])
    table, again = paper_table(2).set_index("model"), mteb_evidence().scores
    paper = table.loc["colbert-zero", "FiQA"]
    rerun = again.loc["colbert:unsupervised > colbert:supervised > colbert:distillation", "FiQA"]
    assert cells[:3] == ["FiQA", f"{paper:.2f}", f"{rerun:.2f}"]
    assert cells[3] == f"{rerun - paper:+.2f}".replace("-", "−")
    command = re.sub(r"<[^>]*>", "", cells[4])
    assert re.fullmatch(r"colbert-zero evaluate lightonai/ColBERT-Zero@\w{40} --on beir/fiqa", command)


def test_every_command_is_one_that_the_command_line_takes(site: dict[str, str]) -> None:
    group = typer.main.get_command(app)
    said = [
        html.unescape(re.sub(r"</?span[^>]*>", "", found))
        for page in site.values()
        for found in re.findall(r"(?:<code>|^)(colbert-zero .*?)(?:</code>|$)", page, re.MULTILINE)
    ]
    assert len(said) > 16 * 31
    for verb, *words in {tuple(shlex.split(text)[1:]) for text in said}:
        command = group.commands[verb]  # type: ignore[attr-defined]
        given = command.make_context(verb, list(words)).params
        if verb == "evaluate":
            assert expand(given["on"][0])
        else:
            assert grid_recipes(given["pipeline" if verb == "run" else "name"])


def test_links_lead_to_what_the_site_has_or_are_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "there.csv").touch()
    page = tmp_path / "data" / "README.md"
    text = "[a](there.csv) [b](../tests/gone.md) [c](https://example.org) ![d](gone.png)"
    assert pages.settled(text, page, tmp_path) == "[a](there.csv) b [c](https://example.org) ![d](gone.png)"
    monkeypatch.setattr(pages, "address", lambda: "https://github.com/o/n")
    assert "[b](https://github.com/o/n/blob/main/tests/gone.md)" in pages.settled(text, page, tmp_path)


def test_the_crawl_names_each_fault_once_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "b.html").write_text('<h1 id="here">b</h1>')
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here"></a><a href="b.html#there"></a><a href="c.html"></a><a href="https://example.org"></a>'
        '<script src="https://cdn.example.org/x.js"></script><div class="output traceback">no</div>'
    )
    (tmp_path / "x.css").write_text(
        "@font-face { src: url(//fonts.example.org/f) } a { background: url(b.png) }"
    )
    assert list(crawl.faults(tmp_path)) == [
        "a.html shows 1 errors",
        "a.html asks another host for https://cdn.example.org/x.js",
        "a.html links to b.html#there, a place that the page does not have",
        "a.html links to c.html, which is not there",
        "x.css asks another host for //fonts.example.org/f",
    ]
