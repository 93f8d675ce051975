"""What the check of prose finds in toy texts, and which notebooks keep to the rule."""

from __future__ import annotations

import re

import pytest

from colbert_zero_lib.suite import notebooks_folder
from tests.notebooks.prose import LONGEST, glossary, read, read_all

HELD = tuple(f"{number:02}" for number in range(16))
TERMS = {"corpus": re.compile("corpus"), "qrels": re.compile("qrels")}
PROSE = {prose.name[:2]: prose for prose in read_all()}


def test_sentences_are_counted_without_headings_tables_code_and_references() -> None:
    text = "# A title\n\nOne `code of four words` and [two words](x.md). Then two:\n\n- A point.\n\n| a | b |"
    found = read([text, "```\nx = 1\n```\n\nLast one.\n\n## References\n\nNobody reads this."], {}, set())
    assert found.sentences == [
        "One `code of four words` and two words.",
        "Then two:",
        "A point.",
        "Last one.",
    ]
    assert found.lengths == [5, 2, 2, 2] and found.average == 2.75 and found.faults() == []


def test_a_long_sentence_is_a_fault() -> None:
    [first, *_] = read([f"{'word ' * LONGEST}end."], {}, set()).faults()
    assert first.startswith("41 words")


def test_a_term_is_defined_in_bold_or_by_a_link_and_stays_so() -> None:
    defined: set[str] = set()
    first = read(
        ["# Of qrels", "The corpus is large. A **corpus** is what is searched: see [qrels](GLOSSARY.md)."],
        TERMS,
        defined,
    )
    assert first.undefined == ["corpus"] and defined == {"corpus", "qrels"}
    assert read(["# Of qrels", "The corpus and its qrels."], TERMS, defined).undefined == []


def test_every_checked_term_has_one_entry() -> None:
    text = (notebooks_folder() / "GLOSSARY.md").read_text(encoding="utf-8")
    terms = re.findall(r"^- \*\*([^*]+)\*\*", text, re.MULTILINE)
    assert list(glossary(notebooks_folder() / "GLOSSARY.md")) == terms and len(set(terms)) == len(terms)


@pytest.mark.parametrize("name", HELD)
def test_a_notebook_keeps_to_the_rule(name: str) -> None:
    assert PROSE[name].faults() == []
