"""Registries of scientific databases as aligned by bioregistry: names, descriptions, second descriptions.

Databases that bioregistry itself lists are test only; those that only other registries know are trained on.
"""

from __future__ import annotations

import json
import re
from typing import Any
from zipfile import ZipFile

from colbert_zero_lib.corpora.material import Material, titled
from colbert_zero_lib.corpora.text import (
    cut,
    first_sentence,
    normalise,
    replace_names,
    stems,
    strip_html,
    tokens,
)

_ALIGNED = (
    "miriam",
    "obofoundry",
    "prefixcommons",
    "fairsharing",
    "re3data",
    "integbio",
    "bartoc",
    "bioportal",
    "ols",
    "wikidata",
    "n2t",
)
_TRAINED = ("fairsharing", "re3data", "integbio", "bartoc")


def read_databases(wheel: ZipFile) -> Material:
    """registry pairs (name -> description); draft ``registry``: another registry's words -> description."""
    material = Material()
    draft = material.draft("registry")
    mapped: set[tuple[str, str]] = set()
    entries = json.loads(wheel.read("bioregistry/data/bioregistry.json"))
    for prefix in sorted(entries):
        entry = entries[prefix]
        records = {n: entry[n] for n in _ALIGNED if isinstance(entry.get(n), dict)}
        mapped.update((registry, str(record.get("prefix"))) for registry, record in records.items())
        name = entry.get("name") or next((r["name"] for r in records.values() if r.get("name")), "")
        found = [_description(record) for record in (entry, *records.values())]
        descriptions = [text for text in found if len(tokens(text)) >= 10 and text.isascii()]
        if not descriptions:
            continue
        mapped.add(("name", normalise(name)))
        draft.corpus[prefix] = titled(name, cut(descriptions[0], 900))
        known = stems(descriptions[0])
        for text in descriptions[1:]:
            shared = len(stems(text) & known) / max(1, min(len(stems(text)), len(known)))
            if shared < 0.5:
                names = [name, *(record["name"] for record in records.values() if record.get("name"))]
                query = replace_names(first_sentence(text)[0], _spellings(prefix, names), "this resource")
                repeated = len(stems(query) & known) / max(1, len(stems(query)))
                if 8 <= len(tokens(query)) <= 60 and repeated < 0.7:
                    draft.ask(f"q:{prefix}", query, prefix)
                break
    draft.sample(queries=400)
    for registry in _TRAINED:
        records = json.loads(wheel.read(f"bioregistry/external/{registry}/processed.json"))
        for key in sorted(records):
            name, text = records[key].get("name") or "", _description(records[key])
            if (registry, key) in mapped or ("name", normalise(name)) in mapped:
                continue
            if len(tokens(text)) >= 12 and text.isascii() and len(tokens(name)) >= 2:
                material.pair("registry", f"{registry}:{key}", name, text)
    return material


def _description(record: dict[str, Any]) -> str:
    return strip_html(str(record.get("description") or ""))


def _spellings(prefix: str, names: list[str]) -> list[str]:
    """The names, and the parts of them that abbreviate like the prefix (``PSI-MOD`` for ``mod``)."""
    parts = [part for name in names for part in re.findall(r"[\w-]+", name)]
    return [prefix, *names, *(part for part in parts if prefix in part.lower())]
