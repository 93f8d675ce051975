"""Figures of late interaction: token similarities, pooled against token-wise scores, and storage.

Arrays and plain labels come in; no model is opened here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import shorten

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from colbert_zero_lib.errors import ParameterError

from .marks import headline, name_rows
from .theme import COLOURS, INTERACTION, NAME, SMALL, WIDTH, canvas


def maxsim_heatmap(
    similarity: np.ndarray,
    query_tokens: Sequence[str],
    document_tokens: Sequence[str],
    skipped: Sequence[bool] | None = None,
) -> Figure:
    """Cosines of every query token with every document token, the best of each row framed and written beside it.

    ``similarity`` is [query tokens, document tokens]; ``skipped`` marks document tokens that are not stored
    (punctuation): they are greyed out and never framed.
    """
    similarity = np.asarray(similarity, dtype=float)
    if similarity.shape != (len(query_tokens), len(document_tokens)):
        raise ParameterError(
            f"A heat map of {len(query_tokens)} query and {len(document_tokens)} document tokens needs similarities "
            f"of that shape, not {similarity.shape}."
        )
    skip = np.zeros(len(document_tokens), bool) if skipped is None else np.asarray(skipped, bool)
    scored = np.where(skip[None], -np.inf, similarity)
    best = scored.argmax(axis=1)
    values = scored.max(axis=1)
    figure, axes = canvas(WIDTH, 1.3 + 0.27 * len(query_tokens))
    image = axes.imshow(np.where(skip[None], np.nan, similarity), cmap="Blues", aspect="auto", vmin=0, vmax=1)
    for row, (column, value) in enumerate(zip(best, values, strict=True)):
        corner = (column - 0.5, row - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=COLOURS["vermilion"], linewidth=1.6))
        axes.text(len(document_tokens) - 0.2, row, f"{value:.2f}", va="center", fontsize=SMALL)
    axes.set_xticks(range(len(document_tokens)), document_tokens, rotation=90)
    axes.set_yticks(range(len(query_tokens)), query_tokens)
    for label, out in zip(axes.get_xticklabels(), skip, strict=True):
        label.set_color("#a0a0a0" if out else COLOURS["ink"])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="cosine", fraction=0.03, pad=0.09)
    return headline(figure, f"MaxSim = {values.sum():.2f}, the sum of the {len(query_tokens)} framed cosines")


def pooled_and_late(scores: Mapping[str, Mapping[str, float]], relevant: str) -> Figure:
    """Scores of a few documents under several ways of scoring: ``scores[way][document]``, one panel a way.

    The relevant document is drawn in colour; each panel's title says who wins.
    """
    height = 0.9 + 0.42 * len(next(iter(scores.values())))
    figure, panels = canvas(WIDTH, height, columns=len(scores), sharey=True)
    found = []
    for axes, (way, of_documents) in zip(np.atleast_1d(panels), scores.items(), strict=True):
        names, values = list(of_documents), list(of_documents.values())
        colours = [COLOURS["blue"] if name == relevant else "#b8b8b8" for name in names]
        _bars(axes, values, colours, 0.6, [f" {value:.2f}" for value in values])
        won = max(of_documents, key=lambda name: of_documents[name]) == relevant
        found += [way] if won else []
        axes.set_title(f"{way}: {'right' if won else 'wrong'}")
        name_rows(axes, names, "score")
        axes.set_xlim(0, max(values) * 1.2)
    return headline(figure, f"The right document (blue) is first by {' and '.join(found) or 'neither'}")


def softmax_row(
    probabilities: Mapping[str, np.ndarray], documents: Sequence[str], temperature: float, shown: int = 6
) -> Figure:
    """Softmax over the documents of a batch for one query, a panel for ``dense`` and for ``colbert``.

    ``probabilities[way]`` is [documents], the right one first; beside it stand those that ColBERT likes best, and the
    others together.
    """
    best = [0, *(1 + np.argsort(-np.asarray(probabilities["colbert"])[1:], kind="stable")[: shown - 1])]
    names = [shorten(documents[place], 38, placeholder=" …") for place in best]
    figure, panels = canvas(WIDTH, 1.1 + 0.26 * len(names), columns=2, sharey=True)
    for axes, (way, shares) in zip(panels, probabilities.items(), strict=True):
        values = [float(shares[place]) for place in best]
        values.append(float(sum(shares)) - sum(values))
        colours = [INTERACTION[way], *["#b8b8b8"] * (len(values) - 1)]
        _bars(axes, values, colours, 0.6, [f" {value:.1%}" for value in values])
        axes.set(title=NAME[way], xlim=(0, 1.2))
        name_rows(axes, [*names, f"{len(documents) - len(best)} others together"], "probability")
        axes.set_xticks([0, 0.5, 1])
    told = ", ".join(f"{shares[0]:.0%} ({NAME[way]})" for way, shares in probabilities.items())
    return headline(figure, f"Temperature {temperature:g}: the right document's probability is {told}")


def _bars(axes: Axes, values: list[float], colours: list[str], height: float, texts: list[str]) -> None:
    axes.barh(range(len(values)), values, color=colours, height=height)
    for place, (value, text) in enumerate(zip(values, texts, strict=True)):
        axes.text(value, place, text, va="center", fontsize=SMALL)


def storage_bars(sizes: Mapping[str, float]) -> Figure:
    """Bytes per document of several ways to store it, one of them ``single``: ``sizes`` maps a description to bytes."""
    figure, axes = canvas(WIDTH, 0.8 + 0.34 * len(sizes))
    values = list(sizes.values())
    colours = [COLOURS["orange"] if "single" in name else COLOURS["blue"] for name in sizes]
    texts = [f" {size:,.0f} B" if size < 10_000 else f" {size / 1024:,.1f} KiB" for size in values]
    _bars(axes, values, colours, 0.62, texts)
    axes.set_xlim(0, max(values) * 1.15)
    name_rows(axes, list(sizes), "bytes per document")
    single = next(size for name, size in sizes.items() if "single" in name)
    return headline(
        figure, f"Plain token vectors take {max(values) / single:.0f} times the space of one vector"
    )
