"""Plain text operations that every offline source shares: cleaning markup, cutting, hashing, hiding names.

No file is read here; every function gives the same answer on every Python version the suite supports.
"""

from __future__ import annotations

import hashlib
import html
import re

WHITESPACE = re.compile(r"\s+")
TOKEN = re.compile(r"[a-z0-9]+")
SENTENCE_GAP = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
FUNCTION_WORDS = frozenset(
    {"of", "the", "a", "an", "in", "and", "or", "to", "with", "by", "for", "on", "at", "from", "is", "are"}
    | {"be", "as", "that", "this", "it", "its"}
)


def hash_number(text: str) -> int:
    """The first 32 bits of the SHA-1 of ``text``: splits and samples are drawn with it, never with a seed."""
    return int(hashlib.sha1(text.encode()).hexdigest()[:8], 16)


def percentile(text: str) -> int:
    """A fixed number in 0..99 for ``text``; a split takes a range of them."""
    return hash_number(text) % 100


def squeeze(text: str) -> str:
    """``text`` on one line, with single spaces."""
    return WHITESPACE.sub(" ", text).strip()


def tokens(text: str) -> list[str]:
    """Lower-case ASCII words and numbers."""
    return TOKEN.findall(text.lower())


def normalise(text: str) -> str:
    """What two texts must share to count as equal: their tokens, in order."""
    return " ".join(tokens(text))


def words_of(name: str) -> str:
    """An identifier (snake_case, CamelCase, dotted) as lower-case words; ``Line2D`` stays one word."""
    name = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    name = re.sub(r"([A-Z]+|[0-9])([A-Z][a-z])", r"\1 \2", name)
    return squeeze(re.sub(r"[_.\-]", " ", name)).lower()


def cut(text: str, characters: int = 1500) -> str:
    """The first ``characters`` of ``text``, ending on a whole word."""
    return text if len(text) <= characters else text[:characters].rsplit(" ", 1)[0]


def clean_indentation(docstring: str) -> str:
    """A docstring without its common indentation (inspect.cleandoc changed in Python 3.13, this does not)."""
    lines = docstring.expandtabs().split("\n")
    margins = [len(line) - len(line.lstrip(" ")) for line in lines[1:] if line.strip(" ")]
    margin = min(margins, default=0)
    lines = [lines[0].lstrip(" "), *(line[margin:] for line in lines[1:])]
    return "\n".join(lines).strip("\n")


def strip_html(text: str) -> str:
    """HTML without its tags, on one line."""
    text = re.sub(r"<(script|style).*?</\1>", " ", text, flags=re.S)
    text = re.sub(r"</(p|li|dt|dd|h\d)>", " ", text)
    return squeeze(html.unescape(re.sub(r"<[^>]+>", "", text)))


_RST_RULES = tuple(
    (re.compile(pattern, re.M), replacement)
    for pattern, replacement in (
        (r":[a-zA-Z:]+:`~?\.?([^`<]+?)(?:\s*<[^>]*>)?`", r"\1"),
        (r"`([^`<]+?)\s*<[^>]+>`_+", r"\1"),
        (r"``([^`]+)``", r"\1"),
        (r"`([^`]+)`_?", r"\1"),
        (r"\*\*([^*]+)\*\*", r"\1"),
        (r"\[(\d+|\w+)\]_", ""),
        (r"\|(\w+)\|", r"\1"),
        (r"^\s*\.\. [\w:-]+::.*$", ""),
        (r"^\s*:(width|alt|scale|align|toctree|label|nowrap|include-source|context):.*$", ""),
        (r"^\s*(>>>|\.\.\.).*$", ""),
        (r"^[=\-~^ ]{6,}$", ""),
        (r"%\([\w:]+\)s", ""),
    )
)


def strip_rst(text: str) -> str:
    """reStructuredText without roles, directives, table rules, doctests, unfilled templates; lines stay."""
    for pattern, replacement in _RST_RULES:
        text = pattern.sub(replacement, text)
    return text


def first_sentence(text: str) -> tuple[str, str]:
    """(first sentence of at least 20 characters, the rest)."""
    found = re.match(r"(.{20,}?[.!?])(?:\s+(?=[A-Z`\"(])|$)", text)
    return (found.group(1), text[found.end() :].strip()) if found else (text, "")


def stems(text: str) -> set[str]:
    """The first five letters of each content word: a crude measure of shared vocabulary."""
    return {word[:5] for word in tokens(text) if word not in FUNCTION_WORDS}


def mask_words(text: str, phrase: str) -> str:
    """``text`` with ``___`` for each word that begins like a word of ``phrase`` (plurals, adjectives)."""
    heads = {
        word[: max(4, len(word) - 2)]
        for word in tokens(phrase)
        if word not in FUNCTION_WORDS and len(word) > 2
    }

    def hidden(word: str) -> bool:
        return any(
            token.startswith(head) and len(token) <= len(head) + 5 for token in tokens(word) for head in heads
        )

    masked = " ".join("___" if hidden(word) else word for word in text.split())
    return squeeze(masked.replace("___ ___", "___"))


def replace_names(text: str, names: list[str], stand_in: str) -> str:
    """``text`` with ``stand_in`` for every whole mention, in any case, of one of ``names``."""
    for name in sorted(
        {squeeze(name) for name in names if len(name) > 1}, key=lambda name: (-len(name), name)
    ):
        mention = rf"(?<![\w-])(?:[Tt]he\s+)?{re.escape(name)}(?![\w-])"
        text = re.sub(mention, stand_in, text, flags=re.I)
    repeated = rf"{re.escape(stand_in)}(?:\s*[(,:/-]*\s*{re.escape(stand_in)}\s*\)?)+"
    text = squeeze(re.sub(repeated, stand_in, text))
    return text[:1].upper() + text[1:]
