"""Training pairs and collections out of numpydoc docstrings: summary, body, parameters, See Also, source.

Where the objects come from is in ``python_source``; which packages are trained on is decided in ``build``.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from colbert_zero_lib.corpora.material import Draft, Material, titled
from colbert_zero_lib.corpora.python_source import PythonObject
from colbert_zero_lib.corpora.text import (
    clean_indentation,
    cut,
    hash_number,
    normalise,
    percentile,
    squeeze,
    strip_rst,
    tokens,
    words_of,
)

_SECTION = re.compile(r"^([A-Z][A-Za-z ]{2,30})\n[-=~^]{3,}\s*$", re.M)
_SIGNATURES = re.compile(r"\A(?:[\w.]+\((?:[^()\n]|\([^()]*\)|\n(?!\s*\n))*\)(?:\s*->\s*[^\n]*)?\n+)+")
_GOOGLE_TAIL = re.compile(r"^\s*(?:Examples?|Shape|References|Usage)\s*:+\s*$", re.M)
_PARAMETER = re.compile(r"^(\*{0,2}\w[\w, *]*?)\s*(?::\s*.*)?$")
_IDENTIFIER = re.compile(r"[A-Za-z_][\w.]*")
_BODY_SECTIONS = (
    "Parameters",
    "Returns",
    "Yields",
    "Raises",
    "Notes",
    "Attributes",
    "Warns",
    "Other Parameters",
)


class Documented(NamedTuple):
    """An object with its docstring taken apart; only those with a usable one-sentence summary are made."""

    object: PythonObject
    summary: str
    body: str
    sections: dict[str, str]


def documented(objects: Iterable[PythonObject]) -> list[Documented]:
    """The objects whose summary is 4 to 60 ASCII words, with summary, body and sections in plain text."""
    result = []
    for found in objects:
        summary, extended, sections = _split(found.docstring)
        if not _usable(summary):
            continue
        parts = [strip_rst(extended)]
        parts += [f"{name}: {strip_rst(sections[name])}" for name in _BODY_SECTIONS if name in sections]
        result.append(Documented(found, summary, squeeze(" ".join(parts)), sections))
    return result


def _split(docstring: str) -> tuple[str, str, dict[str, str]]:
    text = _SIGNATURES.sub("", clean_indentation(docstring))
    parts = _SECTION.split(text)
    sections = {parts[i].strip(): parts[i + 1].strip("\n") for i in range(1, len(parts) - 1, 2)}
    head = re.split(r"\n\s*\n", parts[0].strip(), maxsplit=1)
    extended = head[1] if len(head) > 1 else ""
    if not sections:
        extended = _GOOGLE_TAIL.split(extended)[0]
    return squeeze(strip_rst(head[0])), extended, sections


def _usable(summary: str) -> bool:
    return (
        4 <= len(tokens(summary)) <= 60
        and summary.isascii()
        and summary[:1].isalpha()
        and "{" not in summary
        and not summary.lower().startswith(("deprecated", "todo"))
    )


def code_text(code: str) -> str:
    """Source without indentation, cut at 1,200 characters: the same form in training and in collections."""
    return cut(re.sub(r"[ \t]*\n[ \t]*", "\n", code).strip(), 1200)


def training_pairs(entries: list[Documented]) -> Material:
    """py_doc, py_name, py_code, py_param and py_seealso of one package."""
    material = Material()
    for entry in entries:
        found, words = entry.object, len(tokens(entry.body))
        name = found.qualified_name
        if words >= 12:
            material.pair("py_doc", name, entry.summary, entry.body)
        if words >= 8:
            ending = words_of(".".join(name.split(".")[-2:]) if name.count(".") > 1 else name)
            text = cut(f"{entry.summary} {entry.body}", 700)
            material.pair("py_name", name, f"{found.package} {ending}", text)
        if 60 <= len(found.code) <= 4000:
            material.pair("py_code", name, entry.summary, code_text(found.code), keep_lines=True)
        for parameter, description in _parameters(entry.sections.get("Parameters", "")):
            if 8 <= len(tokens(description)) <= 250 and description.isascii():
                query = f"{words_of(found.name)}: what is the {parameter} parameter"
                material.pair("py_param", f"{name}#{parameter}", query, description)
    links = see_also_links(entries)
    by_name = {entry.object.qualified_name: entry for entry in entries}
    for name, targets in links.items():
        for target in targets:
            material.pair(
                "py_seealso", f"{name}->{target}", by_name[name].summary, _see_also_text(by_name[target])
            )
    return material


def _parameters(section: str) -> Iterator[tuple[str, str]]:
    current: tuple[str, list[str]] | None = None
    for line in section.split("\n"):
        head = _PARAMETER.match(line) if line and not line[0].isspace() else None
        if head:
            if current:
                yield current[0], squeeze(strip_rst("\n".join(current[1])))
            current = (head.group(1), [])
        elif current:
            current[1].append(line)
    if current:
        yield current[0], squeeze(strip_rst("\n".join(current[1])))


def _see_also_text(entry: Documented) -> str:
    return titled(words_of(entry.object.name), cut(f"{entry.summary} {entry.body}", 900))


def see_also_links(entries: list[Documented]) -> dict[str, list[str]]:
    """{name: names that its See Also section links to}, resolved within the package, sorted, unambiguous."""
    usable = {e.object.qualified_name: e for e in entries if len(tokens(e.body)) >= 8}
    by_ending: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, entry in usable.items():
        by_ending[entry.object.package, entry.object.name].append(name)
    links: dict[str, list[str]] = {}
    for name, entry in usable.items():
        targets = set()
        for mention in _mentions(entry.sections.get("See Also", "")):
            candidates = by_ending.get((entry.object.package, mention.split(".")[-1]), [])
            target = _resolve(name, mention, entry.object.package, candidates)
            if target:
                targets.add(target)
        if targets:
            links[name] = sorted(targets)
    return links


def _mentions(section: str) -> Iterator[str]:
    for line in section.split("\n"):
        if line and not line[0].isspace():
            yield from _IDENTIFIER.findall(strip_rst(line.split(" : ")[0]))


def _resolve(name: str, mention: str, package: str, candidates: list[str]) -> str | None:
    matching = [
        other
        for other in candidates
        if other != name
        and (other.endswith("." + mention) or "." not in mention or mention.startswith(package))
    ]
    if len(matching) > 1:
        siblings = [other for other in matching if other.startswith(name.rsplit(".", 1)[0] + ".")]
        matching = siblings or [other for other in matching if other.split(".")[1] == name.split(".")[1]]
    return matching[0] if len(matching) == 1 else None


def see_also_collection(entries: list[Documented], queries: int, documents: int | None = None) -> Draft:
    """Summary of an object -> the objects its authors link to; an object that asks is not in the corpus."""
    usable = {e.object.qualified_name: e for e in entries if len(tokens(e.body)) >= 8}
    links = see_also_links(entries)
    asking = [name for name in links if len(tokens(usable[name].summary)) >= 6]
    chosen = sorted(asking, key=lambda name: (hash_number("q" + name), name))[:queries]
    draft = Draft({name: _see_also_text(entry) for name, entry in usable.items() if name not in set(chosen)})
    for name in chosen:
        relevant = [target for target in links[name] if target in draft.corpus]
        if relevant:
            draft.ask(f"q:{name}", usable[name].summary, *relevant)
    draft.sample(queries, documents)
    return draft


def code_collection(entries: list[Documented], queries: int, documents: int | None = None) -> Draft:
    """Summary -> source with the function's name masked (otherwise the name repeats the summary)."""
    candidates = [
        entry
        for entry in entries
        if 120 <= len(entry.object.code) <= 6000 and percentile("cs" + entry.object.qualified_name) < 75
    ]
    repeated = Counter(normalise(entry.summary) for entry in candidates)
    draft = Draft()
    seen: set[str] = set()
    for entry in candidates:
        code = re.sub(r"def \w+\(", "def f(", entry.object.code, count=1)
        name = entry.object.qualified_name
        if code in seen:
            continue
        seen.add(code)
        draft.corpus[name] = code_text(code)
        if repeated[normalise(entry.summary)] == 1 and len(tokens(entry.summary)) >= 6:
            draft.ask(f"q:{name}", entry.summary, name)
    chosen = sorted(draft.queries, key=lambda key: (hash_number("c" + key[2:]), key))[:queries]
    draft.keep_queries(chosen)
    draft.sample(queries, documents)
    return draft
