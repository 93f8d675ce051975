"""A search's results as one page of HTML, without programs: what it is made of is shown and never run.

A matched token of the query, when pointed at, frames what it met, which style sheets alone can do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from colbert_zero_lib.markup import whole_page

from .matches import Look

# No programs, no pictures, nothing from elsewhere, whatever a document holds.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:90rem;margin:2rem auto;padding:0 1rem;color:#222}
article{border-top:1px solid #ddd;padding:.6rem 0}h2,h3,h4,p{margin:.3rem 0;overflow-wrap:anywhere}
h4 small,footer{color:#555;font-weight:normal}bdi{unicode-bidi:isolate}
.query span{display:inline-block;margin:.1rem;padding:0 .3rem;font-size:.8rem}
input{font:inherit;width:30rem;max-width:70%}
"""
_FOOT = (
    "<footer>Colours say what share of the score a token brings; pointing at a token of the query frames what it met."
    "</footer>"
)
_MOST = 128  # tokens of a query that are framed
_FRAMES = "".join(
    f".hit:has(.q{n}:hover) .t{n}{{outline:2px solid #d55e00;outline-offset:1px}}" for n in range(_MOST)
)


def page(query: str, found: Mapping[str, Sequence[Look]], form: bool = False) -> str:
    """The page: ``found`` has the results of each model, or index, by name; side by side where there are several.

    ``form`` puts a box before them that asks the page's own server.
    """
    box = (
        f'<form><input name="q" value="{escape(query)}" autofocus> <button>Search</button></form>'
        if form
        else ""
    )
    body = f"{box}{fragment(query, found)}{_FOOT}"
    return whole_page(query or "Search", _STYLE + _FRAMES, body, POLICY)


def fragment(query: str, found: Mapping[str, Sequence[Look]]) -> str:
    """The results alone, for a page or a notebook's output; colours are in the elements, where no style sheet is."""
    if not query:
        return "<p>Ask for something.</p>"
    columns = (
        f'<section style="flex:1 1 24rem;min-width:0"><h3>{_shown(name)}</h3>'
        f"{''.join(map(_hit, looks)) or '<p>Nothing found.</p>'}</section>"
        for name, looks in found.items()
    )
    style = "display:flex;gap:2rem;flex-wrap:wrap"
    return f'<h2>{_shown(query)}</h2><main style="{style}">{"".join(columns)}</main>'


def _hit(look: Look) -> str:
    hit = look.hit
    part = f", passage {hit.passage} of {hit.passages}" if hit.passages > 1 else ""
    query = " ".join(
        _tinted("span", f"q{n}", each.share, f"met {each.met!r}: {each.share:.1%}", each.token)
        for n, each in enumerate(look.matches)
    )
    text = "".join(_piece(look, *piece) for piece in look.pieces())
    return (
        f'<article class="hit"><h4>{_shown(hit.document.id)} <small>{hit.score:.3f}{part}</small></h4>'
        f'<p class="query">{query}</p><p style="white-space:pre-wrap">{text}</p></article>'
    )


def _piece(look: Look, text: str, met: Sequence[int]) -> str:
    if not met:
        return _shown(text)
    matches = [look.matches[n] for n in met]
    words = ", ".join(f"{each.token} {each.share:.1%}" for each in matches)
    return _tinted("mark", " ".join(f"t{n}" for n in met), sum(each.share for each in matches), words, text)


def _tinted(tag: str, classes: str, share: float, title: str, text: str) -> str:
    colour = f"background:rgba(1,115,178,{min(1.0, max(0.0, 2 * share)):.2f});color:inherit"
    return f'<{tag} class="{classes}" style="{colour}" title="{escape(title)}">{_shown(text)}</{tag}>'


def _shown(text: str) -> str:
    """Text as a browser shows it: no markup, and its direction is its own."""
    return f"<bdi>{escape(text)}</bdi>"
