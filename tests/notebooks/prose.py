"""How the notebooks read: words a sentence, and terms of the glossary that are used before they are defined.

`python -m tests.notebooks.prose 04` prints a line for a notebook, and what breaks the rule; without a number, for all.
A term is defined where it stands in bold or is a link to the glossary, in this notebook or an earlier one; the title's
cell, which says what is to come, neither defines nor uses any.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from colbert_zero_lib.suite import find_notebooks, notebooks_folder, read_notebook

AVERAGE, LONGEST = 20, 40  # words a sentence, at most
_NO_PROSE = re.compile(r"```.*?```|\$\$.*?\$\$|<[^>]+>", re.DOTALL)
_ONE_WORD = re.compile(r"`[^`]+`|\$[^$]+\$")
_LINK = re.compile(r"\[([^\]]*)\]\(([^)]*)\)")
_BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*#|>] |\|))")
_END = re.compile(r"(?<!et al)(?<!e\.g)(?<!vs)(?<=[.!?])[\"')*_]*\s+(?=[\"'(*_]*[A-Z`$\d])")


class Prose(NamedTuple):
    """One notebook's sentences, and the terms that it uses before they are defined."""

    name: str
    sentences: list[str]
    undefined: list[str]

    @property
    def lengths(self) -> list[int]:
        """Words of each sentence."""
        return [len(words(sentence)) for sentence in self.sentences]

    @property
    def average(self) -> float:
        """Words a sentence."""
        return sum(self.lengths) / max(1, len(self.lengths))

    def faults(self) -> list[str]:
        """What breaks the rule, one line each."""
        found = [f"{n} words: {s}" for n, s in zip(self.lengths, self.sentences, strict=True) if n > LONGEST]
        found += [f"used before it is defined: {term}" for term in self.undefined]
        return found + [f"{self.average:.1f} words a sentence"] * (self.average > AVERAGE)


def words(sentence: str) -> list[str]:
    """The words of a sentence; code and formulas in a line count as one each."""
    return [word for word in _ONE_WORD.sub("code", sentence).split() if re.search(r"\w", word)]


def blocks(sources: Sequence[str]) -> Iterator[str]:
    """Paragraphs and points of markdown cells up to the references, without headings, tables, code and formulas."""
    for source in sources:
        for block in _BLOCK.split(_NO_PROSE.sub("\n\n", source)):
            text = re.sub(r"^\s*(?:[-*>]|\d+\.|\*\*\d+\.\*\*)\s+", "", " ".join(block.split()))
            if re.match(r"#+ References", text):
                return
            if text and text[0] not in "#|":
                yield text


def glossary(path: Path) -> dict[str, re.Pattern[str]]:
    """The checked terms, `- **term** (other, forms): ...`, each with what finds it in a text."""
    entries = re.findall(
        r"^- \*\*([^*]+)\*\*(?: \(([^)]*)\))?:", path.read_text(encoding="utf-8"), re.MULTILINE
    )
    found = {}
    for term, others in entries:
        forms = "|".join(re.escape(form.strip()) for form in (term, *others.split(",")) if form.strip())
        found[term] = re.compile(rf"(?<![\w-])(?:{forms})(?:s|es)?(?![\w-])", re.IGNORECASE)
    return found


def read(
    sources: Sequence[str], terms: dict[str, re.Pattern[str]], defined: set[str], name: str = ""
) -> Prose:
    """The prose of markdown cells, the title's first; terms that the others define are added to ``defined``."""
    whole, undefined = "\n".join(_ONE_WORD.sub("", text) for text in blocks(sources[1:])), []
    bold = [(m.start(), m[1]) for m in re.finditer(r"\*\*([^*]+)\*\*", whole)]
    bold += [(m.start(), m[1]) for m in _LINK.finditer(whole) if "GLOSSARY" in m[2]]
    plain = _LINK.sub(lambda link: f"[{link[1]}]{' ' * (len(link[0]) - len(link[1]) - 2)}", whole)
    for term, pattern in terms.items():
        first = pattern.search(plain)
        if first is None or term in defined:
            continue
        at = min((place for place, text in bold if pattern.search(text)), default=len(whole))
        defined |= {term} if at < len(whole) else set()
        if at > first.start():
            undefined.append(term)
    sentences = [s for text in blocks(sources) for s in _END.split(_LINK.sub(r"\1", text)) if words(s)]
    return Prose(name, sentences, undefined)


def read_all() -> list[Prose]:
    """Every notebook in reading order; what the first page says in short the others define again."""
    terms, defined = glossary(notebooks_folder() / "GLOSSARY.md"), set[str]()
    found = []
    for path in find_notebooks():
        sources = [cell.source for cell in read_notebook(path).cells if cell.cell_type == "markdown"]
        found.append(read(sources, terms, set() if path.name.startswith("00") else defined, path.stem))
    return found


if __name__ == "__main__":
    for prose in read_all():
        if prose.name.startswith(tuple(sys.argv[1:]) or ""):
            print(f"{prose.name:24}{prose.average:6.1f} words a sentence, longest {max(prose.lengths)}")
            for fault in prose.faults():
                print(f"    {fault}")
