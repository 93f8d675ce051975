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

from .theme import COLOURS, SMALL, WIDTH, canvas, headline, with_interval

_OURS, _PEER = COLOURS["blue"], COLOURS["orange"]
_PHASE = {
    "unsupervised": COLOURS["blue"],
    "supervised": COLOURS["green"],
    "distillation": COLOURS["orange"],
}
_MARKER = {"unsupervised": "o", "supervised": "s", "distillation": "D"}
_TIME, _PEAK = "time of a training step", "peak memory of a step"

Rows = Sequence[Mapping[str, Any]]


def _rows(content: Mapping[str, Any], quantity: str | None = None) -> Rows:
    found = [row for row in content["rows"] if quantity in (None, row["quantity"])]
    if not found:
        raise DataError(f"The results hold no row of {quantity or 'any quantity'}: run the benchmark first.")
    return found


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


def _ratios(rows: Rows, title: Callable[[str], str], label: str) -> Figure:
    """Ratios by phase, encoder and length, each with its interval, beside the line of equality."""
    phases = [phase for phase in _PHASE if any(row["phase"] == phase for row in rows)]
    ordered = [row for phase in phases for row in rows if row["phase"] == phase]
    figure, axes = canvas(WIDTH, 1.1 + 0.24 * len(ordered))
    for place, row in enumerate(ordered):
        interval = (row["ratio"], row["ratio_low"], row["ratio_high"])
        with_interval(axes, place, interval, _PHASE[row["phase"]], _MARKER[row["phase"]], horizontal=True)
    axes.axvline(1, color=COLOURS["ink"], linewidth=0.9)
    for phase in phases:
        axes.plot([], [], _MARKER[phase], color=_PHASE[phase], label=phase)
    axes.set_yticks(range(len(ordered)), [_label(row) for row in ordered])
    axes.set(ylim=(len(ordered) - 0.5, -0.5), xlabel=label)
    axes.set_xlim(0, None)
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, handletextpad=0.2)
    headline(figure, title(_span([row["ratio"] for row in ordered])))
    return figure


def training_speed(content: Mapping[str, Any]) -> Figure:
    """How many times faster a training step is than PyLate's, by phase, encoder and length."""
    return _ratios(
        _rows(content, _TIME),
        lambda span: f"A training step is {span} times as fast as the authors' way",
        "seconds of the authors' way divided by ours, same batches, 95% interval",
    )


def training_memory(content: Mapping[str, Any]) -> Figure:
    """How many times less memory a training step takes than PyLate's, by phase, encoder and length."""
    return _ratios(
        _rows(content, _PEAK),
        lambda span: f"The authors' way takes {span} times the memory of a training step",
        "peak memory of the authors' way divided by ours, model not counted",
    )


def memory_growth(content: Mapping[str, Any]) -> Figure:
    """Peak memory of the unsupervised step by batch size, between what vectors and what activations alone take."""
    rows = sorted(_rows(content, _PEAK), key=lambda row: row["batch_size"])
    figure, axes = canvas(WIDTH, 3.1)
    sizes = [row["batch_size"] for row in rows]
    axes.plot(sizes, [row["ours_mebibytes"] for row in rows], "o-", color=_OURS, label="ours", markersize=4.5)
    theirs = [row for row in rows if row["peer"].startswith("PyLate")]
    axes.plot(
        [row["batch_size"] for row in theirs],
        [row["peer_mebibytes"] for row in theirs],
        "s-",
        color=_PEER,
        label="the authors' way",
        markersize=4.5,
    )
    for key, dots, name in (
        ("activations_mebibytes", (0, (1, 1.5)), "activations of all tokens, if they were kept"),
        ("vectors_and_gradients_mebibytes", (0, (4, 3)), "token vectors and gradients alone"),
    ):
        axes.plot(sizes, [row[key] for row in rows], color=COLOURS["grey"], linestyle=dots, label=name)
    axes.set(xscale="log", yscale="log", xlabel="pairs in a batch", ylabel="MiB above the loaded model")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.legend(loc="upper left", frameon=False)
    beside = [row["ours_mebibytes"] - row["vectors_and_gradients_mebibytes"] for row in (rows[0], rows[-1])]
    headline(
        figure,
        f"Beside its token vectors, a batch {sizes[-1] / sizes[0]:.0f} times as large takes "
        f"{beside[1] / beside[0]:.1f} times the memory",
    )
    return figure


def search_speed(content: Mapping[str, Any]) -> Figure:
    """Exact search against PyLate's reranking, and seconds a query with and without an index by corpus size."""
    rows = _rows(content)
    exact = [
        row
        for row in rows
        if row["quantity"] == "time to encode and search" and "peer_encoding_seconds" in row
    ]
    index = sorted(
        (row for row in rows if row["quantity"] == "time to build an index and search"),
        key=lambda row: row["documents"],
    )
    if not exact or not index:
        raise DataError(
            "The results of search lack exact search or index: run 'python -m benchmarks --only search'."
        )
    figure, (left, right) = canvas(WIDTH, 2.9, columns=2)
    for place, row in enumerate(exact):
        left.barh(place - 0.18, row["peer_seconds"], height=0.34, color=_PEER)
        left.barh(place + 0.18, row["ours_seconds"], height=0.34, color=_OURS)
        left.text(
            row["ours_seconds"],
            place + 0.18,
            f" {row['ratio']:.1f} times as fast",
            va="center",
            fontsize=SMALL,
        )
    for name, colour in (("PyLate, every document reranked", _PEER), ("ours, exact", _OURS)):
        left.bar(0, 0, color=colour, label=name)
    left.set_yticks(range(len(exact)), [row["encoder"] for row in exact])
    left.set(ylim=(len(exact) - 0.5, -0.5), xlabel="seconds, encoding included")
    left.set_xlim(0, None)
    left.set_title(f"{exact[0]['documents']:,} documents, {exact[0]['queries']} queries")
    left.grid(axis="y", visible=False)
    sizes = [row["documents"] for row in index]
    for key, name, colour, marker in (
        ("ours_seconds_per_query", "exact", _OURS, "o"),
        ("peer_seconds_per_query", "index", _PEER, "s"),
    ):
        right.plot(
            sizes, [1000 * row[key] for row in index], f"{marker}-", color=colour, label=name, markersize=4.5
        )
    right.set(xscale="log", yscale="log", xlabel="documents", ylabel="milliseconds a query")
    right.set_xticks(sizes, [f"{size:,}" for size in sizes])
    right.minorticks_off()
    right.yaxis.set_major_formatter("{x:g}")
    right.legend(frameon=False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False)
    pays = [row for row in index if row["pays_after_queries"] is not None]
    right.set_title(f"An index pays from {pays[0]['documents']:,}" if pays else "An index pays nowhere here")
    headline(figure, "Exact search in large tiles against one query at a time, and against an index")
    return figure


def scaling(content: Mapping[str, Any]) -> Figure:
    """Throughput by batch size, document length and threads, ours and the authors' way."""
    names = {
        "batch_size": "pairs in a batch",
        "document_length": "document tokens",
        "mini_batch_tokens": "tokens at once",
        "threads": "threads",
    }
    axis_rows = {axis: [row for row in content["rows"] if row.get("axis") == axis] for axis in names}
    present = [axis for axis, rows in axis_rows.items() if rows]
    if not present:
        raise DataError("The results of scaling hold no axis: run 'python -m benchmarks --only scaling'.")
    figure, panels = canvas(WIDTH, 2.7, columns=len(present), sharey=True, squeeze=False)
    for number, (axis, axes) in enumerate(zip(present, panels[0], strict=True)):
        rows = sorted(axis_rows[axis], key=lambda row: row[axis])
        places = [row[axis] for row in rows]
        axes.plot(places, [row["ours_rate"] for row in rows], "o-", color=_OURS, markersize=4.5, label="ours")
        axes.plot(
            places,
            [row["peer_rate"] for row in rows],
            "s-",
            color=_PEER,
            markersize=4.5,
            label="the authors' way",
        )
        if axis != "threads":
            axes.set_xscale("log", base=2)
        axes.set_xticks(places, [f"{place:,}" for place in places])
        axes.minorticks_off()
        axes.set_xlabel(names[axis])
        axes.set_ylim(0, None)
        if not number:
            axes.set_ylabel("pairs per second")
            axes.legend(frameon=False)
    ratios = [row["ratio"] for axis in present for row in axis_rows[axis]]
    headline(
        figure, f"Between {min(ratios):.1f} and {max(ratios):.1f} times the authors' throughput at every size"
    )
    return figure


def roofline(content: Mapping[str, Any]) -> Figure:
    """Share of the machine's matrix-product rate that a step reaches, and the operations it needs."""
    shares = _rows(content, "share of the machine's rate")
    work = _rows(content, "operations of a training step")
    labels = [f"{row['phase']}, {_label(row)}" for row in work]
    figure, (left, right) = canvas(WIDTH, 1.2 + 0.3 * len(work), columns=2, sharey=True)
    for axes, side, offset in ((left, "ours", -0.16), (left, "peer", 0.16)):
        values = [row[f"{side}_operations"] / 1e9 for row in work]
        _dots(axes, values, offset, side == "ours")
    for ours, offset in ((True, -0.16), (False, 0.16)):
        values = [100 * row["ratio"] for row in shares if (row["side"] == "ours") == ours]
        _dots(right, values, offset, ours)
    left.set_yticks(range(len(work)), labels)
    left.set(ylim=(len(work) - 0.5, -0.5), xlabel="billion operations a step", xscale="log")
    left.minorticks_off()
    left.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    left.xaxis.set_major_formatter("{x:g}")
    right.set(xlabel="share of the machine's rate (%)")
    right.set_xlim(0, None)
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
    for name, colour, marker in (("ours", _OURS, "o"), ("the authors' way", _PEER, "s")):
        left.plot([], [], marker, color=colour, label=name)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, handletextpad=0.2)
    span = _span([row["ratio"] for row in work])
    headline(figure, f"Padding is work: the authors' way needs {span} times the products")
    return figure


def _dots(axes: Axes, values: Sequence[float], offset: float, ours: bool) -> None:
    places = [place + offset for place in range(len(values))]
    axes.plot(values, places, "o" if ours else "s", color=_OURS if ours else _PEER, markersize=5)


def epoch_hours(content: Mapping[str, Any]) -> Figure:
    """GPU hours of an epoch of each phase on this device, beside the paper's GH200 hours."""
    rows = _rows(content, _TIME)
    figure, axes = canvas(WIDTH, 1.0 + 0.5 * len(rows))
    looks = (
        ("ours_epoch_hours", "ours", _OURS, -0.27),
        ("peer_epoch_hours", "the authors' way, same device", _PEER, 0.0),
        ("paper_gpu_hours", "the paper, GH200", COLOURS["grey"], 0.27),
    )
    for key, name, colour, offset in looks:
        places = [place + offset for place, row in enumerate(rows) if row.get(key) is not None]
        axes.barh(
            places,
            [row[key] for row in rows if row.get(key) is not None],
            height=0.25,
            color=colour,
            label=name,
        )
    axes.set_yticks(range(len(rows)), [row["phase"] for row in rows])
    axes.set(ylim=(len(rows) - 0.5, -0.5), xscale="log", xlabel="GPU hours of one epoch (log scale)")
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    headline(figure, f"One epoch of each phase on {content['machine']['device']}")
    return figure


def training_curves(content: Mapping[str, Any]) -> Figure:
    """Training loss by step and phase: the suite's seeds and the authors' way under the same seeds."""
    rows = _rows(content, "training loss at the end")
    phases = [phase for phase in _PHASE if any(row["phase"] == phase for row in rows)]
    figure, panels = canvas(WIDTH, 2.7, columns=len(phases), squeeze=False)
    for axes, phase in zip(panels[0], phases, strict=True):
        of_phase = [row for row in rows if row["phase"] == phase]
        for loss in [*of_phase[0]["seeds_loss"], of_phase[0]["ours_loss"]]:
            axes.plot(*zip(*loss, strict=True), color=_OURS, linewidth=1.1, alpha=0.55)
        for row in of_phase:
            axes.plot(
                *zip(*row["peer_loss"], strict=True), color=_PEER, linewidth=1.1, linestyle=(0, (3, 1.5))
            )
        axes.set(title=phase, xlabel="step", yscale="log")
        axes.minorticks_off()
        ticks = AutoLocator().tick_values(*axes.get_ylim())
        axes.set_yticks(
            [tick for tick in ticks if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1] and tick > 0]
        )
        axes.yaxis.set_major_formatter("{x:g}")
    panels[0][0].set_ylabel("training loss")
    seeds, peers = 1 + len(rows[0]["seeds_loss"]), len({row["seed"] for row in rows})
    panels[0][-1].plot([], [], color=_OURS, label=f"ours, {seeds} seeds")
    panels[0][-1].plot([], [], color=_PEER, linestyle=(0, (3, 1.5)), label=f"the authors' way, {peers} seeds")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    inside = all(row["difference"] <= row["seed_difference"] for row in rows)
    headline(
        figure,
        "The authors' way and ours lie closer together than two seeds do"
        if inside
        else "The authors' way and ours lie further apart than two seeds do in at least one phase",
    )
    return figure


FIGURES: dict[str, Callable[[Mapping[str, Any]], Figure]] = {
    "training": training_speed,
    "memory": training_memory,
    "growth": memory_growth,
    "search": search_speed,
    "scaling": scaling,
    "roofline": roofline,
    "curves": training_curves,
    "cuda": epoch_hours,
}


def draw(contents: Mapping[str, Mapping[str, Any]]) -> dict[str, Figure]:
    """A figure of every results file that is there and not empty: ``benchmarks_<name>`` -> Figure."""
    return {
        f"benchmarks_{name}": FIGURES[name](content)
        for name, content in contents.items()
        if name in FIGURES and content["rows"]
    }
