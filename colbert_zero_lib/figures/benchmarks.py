"""Figures of the benchmarks: ratios against a peer, memory by batch, throughput, search and the machine's limits.

Contents of `data/benchmarks/*.json` come in; what is measured, and how, is in the `benchmarks` folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator, LogLocator

from colbert_zero_lib.errors import DataError
from colbert_zero_lib.profiles import PhaseBudget

from .marks import count_axis, headline, key, legend, name_rows, with_interval
from .theme import COLOURS, SMALL, WIDTH, canvas

_LOOKS = {  # of a side: the start of its columns, its name, colour and marker
    "ours": ("ours", COLOURS["blue"], "o"),
    "peer": ("the authors' way", COLOURS["orange"], "s"),
}
_OURS, _PEER = (colour for _, colour, _ in _LOOKS.values())
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


def _line(axes: Axes, rows: Rows, x: str, y: str, side: str, factor: float = 1, name: str = "") -> None:
    """Column ``y`` of rows over their column ``x``, in the look of ``side``."""
    label, colour, marker = _LOOKS[side]
    look: dict[str, Any] = {"color": colour, "label": name or label, "markersize": 4.5}
    axes.plot([row[x] for row in rows], [factor * row[y] for row in rows], f"{marker}-", **look)


def _ratios(content: Content, quantity: str, title: str, label: str) -> Figure:
    """Ratios by phase, encoder and length, each with its interval, beside the line of equality."""
    phases = _by_phase(_rows(content, quantity))
    ordered = [row for rows in phases.values() for row in rows]
    figure, axes = canvas(WIDTH, 1.1 + 0.24 * len(ordered))
    for place, row in enumerate(ordered):
        interval = (row["ratio"], row["ratio_low"], row["ratio_high"])
        with_interval(axes, place, interval, *_PHASE[row["phase"]], horizontal=True)
    axes.axvline(1, color=COLOURS["ink"], linewidth=0.9)
    for phase in phases:
        key(axes, phase, *_PHASE[phase])
    name_rows(axes, [_label(row) for row in ordered], label)
    axes.set_xlim(0, None)
    legend(figure, 3)
    return headline(figure, title.format(_span([row["ratio"] for row in ordered])))


def memory_growth(content: Content) -> Figure:
    """Peak memory of the unsupervised step by batch size, between what vectors and what activations alone take."""
    rows = sorted(_rows(content, _PEAK), key=lambda row: row["batch_size"])
    figure, axes = canvas(WIDTH, 3.1)
    sizes = [row["batch_size"] for row in rows]
    _line(axes, rows, "batch_size", "ours_mebibytes", "ours")
    theirs = [row for row in rows if row["peer"].startswith("PyLate")]
    _line(axes, theirs, "batch_size", "peer_mebibytes", "peer")
    for column, dots, name in (
        ("activations_mebibytes", (0, (1, 1.5)), "activations of all tokens, if they were kept"),
        ("vectors_and_gradients_mebibytes", (0, (4, 3)), "token vectors and gradients alone"),
    ):
        axes.plot(sizes, [row[column] for row in rows], color=COLOURS["grey"], linestyle=dots, label=name)
    axes.set(xscale="log", yscale="log", xlabel="pairs in a batch", ylabel="MiB above the loaded model")
    count_axis(axes, sizes)
    axes.legend(loc="upper left", frameon=False)
    beside = [row["ours_mebibytes"] - row["vectors_and_gradients_mebibytes"] for row in (rows[0], rows[-1])]
    times = f"{sizes[-1] / sizes[0]:.0f} times as large takes {beside[1] / beside[0]:.1f} times the memory"
    return headline(figure, f"Beside its token vectors, a batch {times}")


def search_speed(content: Content) -> Figure:
    """Exact search against PyLate's reranking, and seconds a query with and without an index by corpus size."""
    rows, whole, built = _rows(content), "time to encode and search", "time to build an index and search"
    exact = [row for row in rows if row["quantity"] == whole and "peer_encoding_seconds" in row]
    index = [row for row in rows if row["quantity"] == built]
    index.sort(key=lambda row: row["documents"])
    if not exact or not index:
        raise DataError(
            "The results of search lack exact search or index: run 'python -m benchmarks --only search'."
        )
    figure, (left, right) = canvas(WIDTH, 2.9, columns=2)
    for place, row in enumerate(exact):
        ours, times = row["ours_seconds"], f" {row['ratio']:.1f} times as fast"
        left.barh(place - 0.18, row["peer_seconds"], height=0.34, color=_PEER)
        left.barh(place + 0.18, ours, height=0.34, color=_OURS)
        left.text(ours, place + 0.18, times, va="center", fontsize=SMALL)
    for name, colour in (("PyLate, every document reranked", _PEER), ("ours, exact", _OURS)):
        left.bar(0, 0, color=colour, label=name)
    name_rows(left, [row["encoder"] for row in exact], "seconds, encoding included")
    left.set_xlim(0, None)
    left.set_title(f"{exact[0]['documents']:,} documents, {exact[0]['queries']} queries")
    for side, name in (("ours", "exact"), ("peer", "index")):
        _line(right, index, "documents", f"{side}_seconds_per_query", side, 1000, name)
    right.set(xscale="log", yscale="log", xlabel="documents", ylabel="milliseconds a query")
    count_axis(right, [row["documents"] for row in index])
    right.yaxis.set_major_formatter("{x:g}")
    right.legend(frameon=False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False)
    pays = [row for row in index if row["pays_after_queries"] is not None]
    right.set_title(f"An index pays from {pays[0]['documents']:,}" if pays else "An index pays nowhere here")
    return headline(figure, "Exact search in large tiles against one query at a time, and against an index")


def scaling(content: Content) -> Figure:
    """Throughput by batch size, document length and threads, ours and the authors' way."""
    names = {
        "batch_size": "pairs in a batch",
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
        for side in _LOOKS:
            _line(axes, rows, axis, f"{side}_rate", side)
        places = [row[axis] for row in rows]
        if axis != "threads":
            axes.set_xscale("log", base=2)
        axes.set_xticks(places, [f"{place:,}" for place in places])
        axes.minorticks_off()
        axes.set_xlabel(names[axis])
        axes.set_ylim(0, None)
    panels[0][0].set_ylabel("pairs per second")
    panels[0][0].legend(frameon=False)
    ratios = [row["ratio"] for rows in present.values() for row in rows]
    between = f"Between {min(ratios):.1f} and {max(ratios):.1f}"
    return headline(figure, f"{between} times the authors' throughput at every size")


def roofline(content: Content) -> Figure:
    """Share of the machine's matrix-product rate that a step reaches, and the operations it needs."""
    shares = _rows(content, "share of the machine's rate")
    work = _rows(content, "operations of a training step")
    figure, (left, right) = canvas(WIDTH, 1.2 + 0.3 * len(work), columns=2, sharey=True)
    reached = {
        side: [100 * row["ratio"] for row in shares if (row["side"] == "ours") == (side == "ours")]
        for side in _LOOKS
    }
    needed = {side: [row[f"{side}_operations"] / 1e9 for row in work] for side in _LOOKS}
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
    for look in _LOOKS.values():
        key(left, *look)
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
    """Training loss by step and phase: the suite's seeds and the authors' way under the same seeds."""
    rows = _rows(content, "training loss at the end")
    phases = _by_phase(rows)
    figure, panels = canvas(WIDTH, 2.7, columns=len(phases), squeeze=False)
    dashes = (0, (3, 1.5))
    for axes, (phase, own) in zip(panels[0], phases.items(), strict=True):
        for loss in [*own[0]["seeds_loss"], own[0]["ours_loss"]]:
            axes.plot(*zip(*loss, strict=True), color=_OURS, linewidth=1.1, alpha=0.55)
        for row in own:
            axes.plot(*zip(*row["peer_loss"], strict=True), color=_PEER, linewidth=1.1, linestyle=dashes)
        axes.set(title=phase, xlabel="step", yscale="log")
        axes.minorticks_off()
        low, high = axes.get_ylim()
        axes.set_yticks([tick for tick in AutoLocator().tick_values(low, high) if 0 < low <= tick <= high])
        axes.yaxis.set_major_formatter("{x:g}")
    panels[0][0].set_ylabel("training loss")
    seeds, peers = 1 + len(rows[0]["seeds_loss"]), len({row["seed"] for row in rows})
    panels[0][-1].plot([], [], color=_OURS, label=f"ours, {seeds} seeds")
    panels[0][-1].plot([], [], color=_PEER, linestyle=dashes, label=f"the authors' way, {peers} seeds")
    legend(figure, 2, handletextpad=None)
    inside = all(row["difference"] <= row["seed_difference"] for row in rows)
    said = "closer together than two seeds do"
    return headline(
        figure,
        "The authors' way and ours lie "
        + (said if inside else "further apart than two seeds do in at least one phase"),
    )


FIGURES: dict[str, Callable[[Content], Figure]] = {
    "training": lambda content: _ratios(
        content,
        _TIME,
        "A training step is {} times as fast as the authors' way",
        "seconds of the authors' way divided by ours, same batches, 95% interval",
    ),
    "memory": lambda content: _ratios(
        content,
        _PEAK,
        "The authors' way takes {} times the memory of a training step",
        "peak memory of the authors' way divided by ours, model not counted",
    ),
    "growth": memory_growth,
    "search": search_speed,
    "scaling": scaling,
    "roofline": roofline,
    "curves": training_curves,
    "cuda": epoch_hours,
}


def draw(contents: Mapping[str, Content]) -> dict[str, Figure]:
    """A figure of every results file that is there and not empty: ``benchmarks_<name>`` -> Figure."""
    return {
        f"benchmarks_{name}": FIGURES[name](content)
        for name, content in contents.items()
        if name in FIGURES and content["rows"]
    }
