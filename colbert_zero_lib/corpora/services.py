"""Amazon Web Services documentation (botocore's service models): operations, types, fields.

Whole services are held out: a quarter for the test collection, 15 % for development.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from typing import Any
from zipfile import ZipFile

from colbert_zero_lib.corpora.material import Draft, Material
from colbert_zero_lib.corpora.text import (
    cut,
    first_sentence,
    hash_number,
    normalise,
    percentile,
    strip_html,
    tokens,
    words_of,
)

_MODEL = re.compile(r"^botocore/data/([^/]+)/([^/]+)/service-2\.json(\.gz)?$")
_TYPE_ENDING = re.compile(r"(Request|Input|Response|Output|Result)$")


def read_services(wheel: ZipFile) -> Material:
    """aws_op, aws_doc, aws_shape, aws_field pairs; drafts ``aws`` (25 % of services), ``dev-aws`` (15)."""
    material = Material()
    held_out: dict[str, list[tuple[str, str, str]]] = {"aws": [], "dev-aws": []}
    for service, model in _models(wheel):
        share = percentile("svc" + service)
        collection = "aws" if share < 25 else "dev-aws" if share < 40 else None
        title = model["metadata"].get("serviceFullName", service)
        for operation, description in model["operations"].items():
            text = strip_html(description.get("documentation", ""))
            if len(tokens(text)) < 6:
                continue
            key = f"{service}.{operation}"
            sentence, rest = first_sentence(text)
            if collection:
                if len(tokens(rest)) >= 12 and 6 <= len(tokens(sentence)) <= 40:
                    held_out[collection].append((key, sentence, rest))
                continue
            material.pair("aws_op", key, f"{title}: {words_of(operation)}", text)
            if len(tokens(rest)) >= 20 and len(tokens(sentence)) >= 5:
                material.pair("aws_doc", key, sentence, rest)
        if not collection:
            _types(material, service, title, model["shapes"])
    material.drafts["aws"] = _collection(held_out["aws"], queries=400)
    material.drafts["dev-aws"] = _collection(held_out["dev-aws"], queries=150, documents=1500)
    return material


def _models(wheel: ZipFile) -> list[tuple[str, dict[str, Any]]]:
    newest: dict[str, tuple[str, str]] = {}
    for path in wheel.namelist():
        found = _MODEL.match(path)
        if found:
            service, version = found.group(1), found.group(2)
            newest[service] = max(newest.get(service, ("", "")), (version, path))
    models = []
    for service, (_, path) in sorted(newest.items()):
        raw = wheel.read(path)
        models.append((service, json.loads(gzip.decompress(raw) if path.endswith(".gz") else raw)))
    return models


def _types(material: Material, service: str, title: str, shapes: dict[str, Any]) -> None:
    for shape, description in shapes.items():
        text = strip_html(description.get("documentation", ""))
        if len(tokens(text)) >= 8:
            material.pair("aws_shape", f"{service}.{shape}", f"{title}: {words_of(shape)}", text)
        for member, member_description in (description.get("members") or {}).items():
            if percentile(service + shape + member) >= 45:  # templated text: a sample says as much
                continue
            text = strip_html(member_description.get("documentation", ""))
            if len(tokens(text)) >= 10:
                query = f"{words_of(member)} of {words_of(_TYPE_ENDING.sub('', shape))}"
                material.pair("aws_field", f"{service}.{shape}.{member}", query, text)


def _collection(items: list[tuple[str, str, str]], queries: int, documents: int | None = None) -> Draft:
    """First sentence -> the rest; a sentence or a rest that several operations share asks nothing."""
    sentences = Counter(normalise(sentence) for _, sentence, _ in items)
    rests = Counter(normalise(rest) for *_, rest in items)
    draft = Draft()
    for key, sentence, rest in items:
        if rests[normalise(rest)] > 1:
            continue
        draft.corpus[key] = cut(rest, 1200)
        if sentences[normalise(sentence)] == 1:
            draft.ask(f"q:{key}", sentence, key)
    draft.keep_queries(sorted(draft.queries, key=lambda key: (hash_number(key), key))[:queries])
    draft.sample(queries, documents)
    return draft
