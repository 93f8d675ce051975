"""A page of HTML around what a report, an adaptation or a search has to show; none of them runs a program."""

from __future__ import annotations

from html import escape


def whole_page(title: str, style: str, body: str, policy: str = "") -> str:
    """A document with ``body``, which is markup already; ``policy`` tells a browser what it may load and run."""
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">' if policy else ""
    head = f'<meta charset="utf-8">{meta}<title>{escape(title)}</title><style>{style}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'
