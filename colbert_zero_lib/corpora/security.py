"""MITRE's Common Weakness Enumeration (cwe2): real vulnerabilities and the weaknesses they show.

Test only: nothing of it is ever trained on.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from zipfile import ZipFile

from colbert_zero_lib.corpora.material import Material, titled
from colbert_zero_lib.corpora.text import cut, hash_number, squeeze, tokens

_NAMESPACE = {"c": "http://cwe.mitre.org/cwe-7"}
# These remarks name the answer or how famous the case is.
_GIVE_AWAY = re.compile(
    r"\s*\(CWE-\d+(?:[^)]*)?\)|,? as exploited in the wild per CISA KEV|^Chain:\s*|CWE-\d+"
)


def read_weaknesses(wheel: ZipFile) -> Material:
    """Draft ``cwe``: description of an observed vulnerability -> the weaknesses MITRE files it under."""
    material = Material()
    draft = material.draft("cwe")
    observed: dict[str, set[str]] = defaultdict(set)
    catalogue = ElementTree.fromstring(wheel.read("cwe2/database_v49/cwec_v4.14.xml"))
    for weakness in catalogue.iterfind("c:Weaknesses/c:Weakness", _NAMESPACE):
        if weakness.get("Status") in ("Deprecated", "Obsolete"):
            continue
        identifier = f"CWE-{weakness.get('ID')}"
        description = " ".join(
            _text(weakness.find(f"c:{n}", _NAMESPACE)) for n in ("Description", "Extended_Description")
        )
        draft.corpus[identifier] = titled(weakness.get("Name") or "", cut(squeeze(description), 1200))
        for example in weakness.iterfind("c:Observed_Examples/c:Observed_Example", _NAMESPACE):
            query = squeeze(_GIVE_AWAY.sub("", _text(example.find("c:Description", _NAMESPACE))))
            if 6 <= len(tokens(query)) <= 60:
                observed[query].add(identifier)
    for query in sorted(observed, key=lambda text: (hash_number(text), text))[:400]:
        draft.ask(f"ex{hash_number(query):08x}", query, *observed[query])
    return material


def _text(element: ElementTree.Element | None) -> str:
    return "" if element is None else squeeze(" ".join(element.itertext()))
