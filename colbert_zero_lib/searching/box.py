"""A search box for a notebook: what it shows is the page's own fragment, as it is typed anew for each query."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets

from .index import SearchIndex
from .matches import look_beside
from .page import fragment


def search_box(indexes: Mapping[str, SearchIndex], query: str = "", k: int = 3) -> ipywidgets.VBox:
    """A line to type a query into and, below it, what each index finds; it answers when Enter is pressed."""
    words = ipywidgets.Text(query, continuous_update=False, layout=ipywidgets.Layout(width="40rem"))
    shown = ipywidgets.HTML()

    def answer(_: object = None) -> None:
        shown.value = fragment(words.value, look_beside(indexes, words.value, k))

    words.observe(answer, "value")
    answer()
    return ipywidgets.VBox([words, shown])
