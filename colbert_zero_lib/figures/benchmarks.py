"""Figures of the benchmarks: ratios against a peer, memory by batch, throughput, search and the machine's limits.

Contents of `data/benchmarks/*.json` come in; what is measured, and how, is in the `benchmarks` folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from colbert_zero_lib.errors import DataError
from colbert_zero_lib.profiles import PhaseBudget

from .marks import count_axis, headline, key, legend, name_rows, with_interval
from .scaling import cost_curves
from .theme import COLOURS, SMALL, WIDTH, canvas

_LOOKS = {  # of a side: the beginning of its name in the results, its name here, colour and marker
    "ours": ("ours", COLOURS["blue"], "o"),
    "PyLate": ("the authors' way", COLOURS["orange"], "s"),
    "sentence-transformers": ("sentence-transformers 6.2", COLOURS["purple"], "D"),
}
_OURS, _PEER, _OTHER = (colour for _, colour, _ in _LOOKS.values())
_PHASE = {
    "unsupervised": (COLOURS["blue"], "o"),
    "supervised": (COLOURS["green"], "s"),
    "distillation": (COLOURS["orange"], "D"),
}
_TIME, _PEAK = "time of a training step", "peak memory of a step"

Content = Mapping[str, Any]
Rows = Sequence[Mapping[str, Any]]


def _rows(content: Content, quantity: str | None = None) -> Rows:
    found = [row for row in content["rows"] if quantity in (None, row["quantity"])]
    if not found:
        raise DataError(f"The results hold no row of {quantity or 'any quantity'}: run the benchmark first.")
    return found


def _by_phase(rows: Rows) -> dict[str, Rows]:
    found = {phase: [row for row in rows if row["phase"] == phase] for phase in _PHASE}
    return {phase: own for phase, own in found.items() if own}


def _by_peer(rows: Rows) -> dict[str, Rows]:
    found = {peer: [row for row in rows if row["peer"].startswith(peer)] for peer in _LOOKS if peer != "ours"}
    return {peer: own for peer, own in found.items() if own}


def _label(row: Mapping[str, Any]) -> str:
    """Encoder and length of a training case, and what is unusual about it."""
    words = f"{row['encoder']}, {row['document_length']} tokens"
    if row.get("query_expansion"):
        words += ", expanded queries"
    if row.get("activations_kept") and row["phase"] == "unsupervised":
        words += ", activations kept"
    if row.get("mini_batch_tokens", PhaseBudget.mini_batch_tokens) != PhaseBudget.mini_batch_tokens:
        words += f", {row['mini_batch_tokens']:,} tokens at once"
    return words


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low} to {high}"


def _times(found: Mapping[str, Rows], words: str) -> str:
    """The ratios of each peer's rows as words: "1.2 to 3 times as fast as one, 1.1 times as fast as another"."""
    spans = {peer: _span([row["ratio"] for row in rows]) for peer, rows in found.items()}
    return ", ".join(f"{span} times {words} {_LOOKS[peer][0]}" for peer, span in spans.items())


def _line(axes: Axes, rows: Rows, x: str, y: str, side: str, factor: float = 1, name: str = "") -> None:
    """Column ``y`` of rows over their column ``x``, in ``side``'s look; the first row of an ``x`` counts."""
    label, colour, marker = _LOOKS[side]
    look: dict[str, Any] = {"color": colour, "label": name or label, "markersize": 4.5}
    points = {row[x]: factor * row[y] for row in reversed(rows)}
    axes.plot(*zip(*sorted(points.items()), strict=True), f"{marker}-", **look)


def _lines(axes: Axes, rows: Rows, x: str, quantity: str) -> None:
    """Ours and every peer's ``quantity`` over column ``x``."""
    _line(axes, rows, x, f"ours_{quantity}", "ours")
    for peer, own in _by_peer(rows).items():
        _line(axes, own, x, f"peer_{quantity}", peer)


def _ratios(content: Content, quantity: str, title: str, words: str, label: str) -> Figure:
    """Ratios by phase, encoder and length, each with its interval beside the line of equality; a panel a peer."""
    peers = _by_peer(_rows(content, quantity))
    phases = _by_phase(next(iter(peers.values())))
    ordered = [row for rows in phases.values() for row in rows]
    places = {row["case"]: place for place, row in enumerate(ordered)}
    figure, panels = canvas(WIDTH, 1.3 + 0.24 * len(ordered), columns=len(peers), sharey=True, squeeze=False)
    for axes, (peer, rows) in zip(panels[0], peers.items(), strict=True):
        for row in rows:
            interval = (row["ratio"], row["ratio_low"], row["ratio_high"])
            with_interval(axes, places[row["case"]], interval, *_PHASE[row["phase"]], horizontal=True)
        axes.axvline(1, color=COLOURS["ink"], linewidth=0.9)
        axes.set_title(_LOOKS[peer][0], fontsize=9)
        name_rows(axes, [_label(row) for row in ordered], label)
        axes.set_xlim(0, None)
    for phase in phases:
        key(panels[0][0], phase, *_PHASE[phase])
    legend(figure, 3)
    return headline(figure, title.format(_times(peers, words)))


def memory_growth(content: Content) -> Figure:
    """Peak memory of the unsupervised step by batch size, between what vectors and what activations alone take."""
    rows = sorted(_rows(content, _PEAK), key=lambda row: row["batch_size"])
    figure, axes = canvas(WIDTH, 3.1)
    sizes = sorted({row["batch_size"] for row in rows})
    _lines(axes, rows, "batch_size", "mebibytes")
    for column, dots, name in (
        ("activations_mebibytes", (0, (1, 1.5)), "activations of all tokens, if they were kept"),
        ("vectors_and_gradients_mebibytes", (0, (4, 3)), "token vectors and gradients alone"),
    ):
        points = {row["batch_size"]: row[column] for row in rows}
        axes.plot(list(points), list(points.values()), color=COLOURS["grey"], linestyle=dots, label=name)
    axes.set(xscale="log", yscale="log", xlabel="pairs in a batch", ylabel="MiB above the loaded model")
    count_axis(axes, sizes)
    axes.legend(loc="upper left", frameon=False)
    beside = [row["ours_mebibytes"] - row["vectors_and_gradients_mebibytes"] for row in (rows[0], rows[-1])]
    times = f"{sizes[-1] / sizes[0]:.0f} times as large takes {beside[1] / beside[0]:.1f} times the memory"
    return headline(figure, f"Beside its token vectors, a batch {times}")


def search_speed(content: Content) -> Figure:
    """Exact search against its peers', and seconds a query with and without an index by corpus size."""
    rows, whole, built = _rows(content), "time to encode and search", "time to build an index and search"
    exact = [row for row in rows if row["quantity"] == whole]
    index = [row for row in rows if row["quantity"] == built]
    index.sort(key=lambda row: row["documents"])
    if not exact or not index:
        raise DataError(
            "The results of search lack exact search or index: run 'python -m benchmarks --only search'."
        )
    figure, (left, right) = canvas(WIDTH, 3.1, columns=2)
    bars: dict[str, dict[str, float]] = {}
    for row in exact:
        half = row["case"].endswith("bfloat16")
        took = bars.setdefault(row["encoder"], {})
        took["ours, bfloat16" if half else "ours, float32"] = row["ours_seconds"]
        if row["peer"].startswith("PyLate"):
            took["PyLate, every document reranked"] = row["peer_seconds"]
        elif row["peer"].startswith("sentence") and not half:
            took["sentence-transformers 6.2"] = row["peer_seconds"]
    looks = {
        "PyLate, every document reranked": (_PEER, 1.0),
        "sentence-transformers 6.2": (_OTHER, 1.0),
        "ours, float32": (_OURS, 0.55),
        "ours, bfloat16": (_OURS, 1.0),
    }
    for number, (name, (colour, alpha)) in enumerate(looks.items()):
        known = {place: took[name] for place, took in enumerate(bars.values()) if name in took}
        heights = [place + 0.2 * (number - 1.5) for place in known]
        drawn = left.barh(heights, list(known.values()), height=0.19, color=colour, alpha=alpha, label=name)
        left.bar_label(drawn, fmt=" {:.0f}", fontsize=SMALL)
    name_rows(left, list(bars), "seconds, encoding included")
    left.set_xlim(0, None)
    left.set_title(f"{exact[0]['documents']:,} documents, {exact[0]['queries']} queries")
    for side, look, name in (("ours", "ours", "exact"), ("peer", "PyLate", "index")):
        _line(right, index, "documents", f"{side}_seconds_per_query", look, 1000, name)
    right.set(xscale="log", yscale="log", xlabel="documents", ylabel="milliseconds a query")
    count_axis(right, [row["documents"] for row in index])
    right.yaxis.set_major_formatter("{x:g}")
    right.legend(frameon=False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False)
    pays = [row for row in index if row["pays_after_queries"] is not None]
    right.set_title(f"An index pays from {pays[0]['documents']:,}" if pays else "An index pays nowhere here")
    faster = _span([row["ratio"] for row in exact if not row["peer"].startswith("ours")])
    return headline(figure, f"Exact search is {faster} times as fast as that of its peers, encoding included")


def throughput(content: Content) -> Figure:
    """Throughput by document length, tokens at once and threads, ours and its peers'."""
    names = {
        "document_length": "document tokens",
        "mini_batch_tokens": "tokens at once",
        "threads": "threads",
    }
    found = {axis: [row for row in content["rows"] if row.get("axis") == axis] for axis in names}
    present = {axis: sorted(rows, key=lambda row: row[axis]) for axis, rows in found.items() if rows}
    if not present:
        raise DataError("The results of scaling hold no axis: run 'python -m benchmarks --only scaling'.")
    figure, panels = canvas(WIDTH, 2.7, columns=len(present), sharey=True, squeeze=False)
    for (axis, rows), axes in zip(present.items(), panels[0], strict=True):
        _lines(axes, rows, axis, "rate")
        places = sorted({row[axis] for row in rows})
        if axis != "threads":
            axes.set_xscale("log", base=2)
        axes.set_xticks(places, [f"{place:,}" for place in places])
        axes.minorticks_off()
        axes.set_xlabel(names[axis])
        axes.set_ylim(0, None)
    panels[0][0].set_ylabel("pairs per second")
    legend(figure, 3, handles=panels[0][0].lines, handletextpad=None)
    peers = _by_peer([row for rows in present.values() for row in rows])
    return headline(figure, f"Throughput is {_times(peers, 'that of')}")


def roofline(content: Content) -> Figure:
    """Share of the machine's matrix-product rate that a step reaches, and the operations it needs."""
    shares = _rows(content, "share of the machine's rate")
    work = _rows(content, "operations of a training step")
    figure, (left, right) = canvas(WIDTH, 1.2 + 0.3 * len(work), columns=2, sharey=True)
    columns = {"ours": "ours", "PyLate": "peer"}
    reached = {
        side: [100 * row["ratio"] for row in shares if row["side"].startswith(side)] for side in columns
    }
    needed = {side: [row[f"{column}_operations"] / 1e9 for row in work] for side, column in columns.items()}
    for axes, of_sides in ((left, needed), (right, reached)):
        for (side, values), offset in zip(of_sides.items(), (-0.16, 0.16), strict=True):
            _, colour, marker = _LOOKS[side]
            places = [place + offset for place in range(len(values))]
            axes.plot(values, places, marker, color=colour, markersize=5)
    name_rows(left, [f"{row['phase']}, {_label(row)}" for row in work], "billion operations a step")
    left.set_xscale("log")
    left.minorticks_off()
    left.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    left.xaxis.set_major_formatter("{x:g}")
    right.set(xlabel="share of the machine's rate (%)")
    right.set_xlim(0, None)
    right.grid(axis="y", visible=False)
    for side in columns:
        key(left, *_LOOKS[side])
    legend(figure, 2)
    span = _span([row["ratio"] for row in work])
    return headline(figure, f"Padding is work: the authors' way needs {span} times the products")


def epoch_hours(content: Content) -> Figure:
    """GPU hours of an epoch of each phase on this device, beside the paper's GH200 hours."""
    rows = _rows(content, _TIME)
    figure, axes = canvas(WIDTH, 1.0 + 0.5 * len(rows))
    looks = (
        ("ours_epoch_hours", "ours", _OURS, -0.27),
        ("peer_epoch_hours", "the authors' way, same device", _PEER, 0.0),
        ("paper_gpu_hours", "the paper, GH200", COLOURS["grey"], 0.27),
    )
    for column, name, colour, offset in looks:
        known = {place + offset: row[column] for place, row in enumerate(rows) if row.get(column) is not None}
        axes.barh(list(known), list(known.values()), height=0.25, color=colour, label=name)
    name_rows(axes, [row["phase"] for row in rows], "GPU hours of one epoch (log scale)")
    axes.set_xscale("log")
    legend(figure, 3, handletextpad=None)
    return headline(figure, f"One epoch of each phase on {content['machine']['device']}")


def training_curves(content: Content) -> Figure:
    """How far losses are from ours at each step: those of our other seeds, and of the authors' way at the same seed."""
    rows = _rows(content, "training loss at the end")
    phases = _by_phase(rows)
    figure, panels = canvas(WIDTH, 2.7, columns=len(phases), squeeze=False)
    for axes, (phase, own) in zip(panels[0], phases.items(), strict=True):
        first = own[0]["ours_loss"]
        seeds = [(_OURS, loss, first) for loss in own[0]["seeds_loss"]]
        peers = [(_PEER, row["peer_loss"], row["ours_loss"]) for row in own]
        for colour, loss, ours in seeds + peers:
            apart = [(step, value - other) for (step, value), (_, other) in zip(loss, ours, strict=True)]
            axes.plot(*zip(*apart, strict=True), color=colour, linewidth=0.9)
        axes.set(title=phase, xlabel="step")
    panels[0][0].set_ylabel("training loss minus ours")
    for colour, label in ((_OURS, "our other seeds"), (_PEER, "the authors' way, same seed")):
        panels[0][-1].plot([], [], color=colour, label=label)
    legend(figure, 2, handletextpad=None)
    told = "closer together than two seeds do"
    if any(row["difference"] > row["seed_difference"] for row in rows):
        told = "further apart than two seeds do in at least one phase"
    return headline(figure, f"The authors' way and ours lie {told}")


FIGURES: dict[str, Callable[[Content], Figure]] = {
    "training": lambda content: _ratios(
        content, _TIME, "A training step is {}", "as fast as", "its seconds divided by ours"
    ),
    "memory": lambda content: _ratios(
        content,
        _PEAK,
        "Peak memory of a step, model not counted: ours is {}",
        "less than",
        "its peak divided by ours",
    ),
    "growth": memory_growth,
    "search": search_speed,
    "scaling": cost_curves,
    "throughput": throughput,
    "roofline": roofline,
    "curves": training_curves,
    "cuda": epoch_hours,
}


# A figure's results file, where that has another name.
_FILES = {"throughput": "scaling"}


def draw(contents: Mapping[str, Content]) -> dict[str, Figure]:
    """The figures of every results file that is there and not empty: ``benchmarks_<name>`` -> Figure."""
    files = {name: contents.get(_FILES.get(name, name)) for name in FIGURES}
    return {
        f"benchmarks_{name}": FIGURES[name](content)
        for name, content in files.items()
        if content and content["rows"]
    }
