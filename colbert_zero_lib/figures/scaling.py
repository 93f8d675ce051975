"""Figures of scale: memory against the batch, with and without gradient caching, how many devices still pay, and the
cost of a step and a search as measured and as predicted.

Shapes, figures and rows of the benchmark come in; what they mean is worked out in ``scaling`` and ``scaling_cost``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from colbert_zero_lib.errors import DataError
from colbert_zero_lib.scaling import StepShape, cached_memory, direct_memory, efficiency
from colbert_zero_lib.scaling_cost import PREDICTED, SEARCH, STEP

from .marks import count_axis, headline, legend, with_interval, write
from .theme import COLOURS, DASHED, SMALL, WIDTH, canvas

_GIGA = 1e9


def batch_memory(
    shape: StepShape,
    activations_per_token: float,
    chunk_tokens: int,
    batches: Sequence[int],
    limits: Sequence[tuple[str, float]] = (),
) -> Figure:
    """Memory of one device by batch size, cached and not; ``limits`` are devices by name and bytes."""
    figure, axes = canvas(WIDTH, 3.4)
    shapes = [replace(shape, batch=batch) for batch in batches]
    parts = [cached_memory(each, activations_per_token, chunk_tokens) for each in shapes]
    cached = [sum(each.values()) / _GIGA for each in parts]
    direct = [direct_memory(each, activations_per_token) / _GIGA for each in shapes]
    axes.plot(batches, direct, "s-", color=COLOURS["orange"], label="all activations kept", markersize=4.5)
    axes.plot(batches, cached, "o-", color=COLOURS["blue"], label="gradient caching", markersize=4.5)
    for name, size in limits:
        axes.axhline(size / _GIGA, color=COLOURS["grey"], linestyle=DASHED, linewidth=1)
        place = (batches[len(batches) // 2], 1.08 * size / _GIGA)
        axes.text(*place, name, fontsize=SMALL, color=COLOURS["grey"])
    axes.set(yscale="log", xlabel="pairs in a batch", ylabel="GB on one device")
    count_axis(axes, batches)
    axes.legend(loc="upper left", frameon=False)
    told = f"takes {cached[-1]:,.0f} GB, all activations {direct[-1]:,.0f}"
    return headline(figure, f"At {batches[-1]:,} pairs gradient caching {told}")


def device_efficiency(
    shape: StepShape, device_seconds: float, links: Sequence[tuple[str, float]], devices: Sequence[int]
) -> Figure:
    """Share of the ideal speed that is reached, by number of devices; ``links`` are bandwidths by name (bytes/s)."""
    figure, axes = canvas(WIDTH, 3.1)
    colours = (COLOURS["blue"], COLOURS["orange"], COLOURS["green"], COLOURS["purple"])
    last: list[float] = []
    for (name, bandwidth), colour, marker in zip(links, colours, "osD^", strict=False):
        reached = [100 * efficiency(shape.on(count), device_seconds, bandwidth) for count in devices]
        axes.plot(devices, reached, f"{marker}-", color=colour, markersize=4.5, label=name)
        last.append(reached[-1])
    axes.set(ylim=(0, 104), xlabel="devices", ylabel="% of the ideal speed")
    count_axis(axes, devices)
    axes.legend(loc="lower left", frameon=False)
    told = f"{min(last):.0f} to {max(last):.0f} % of the ideal, by the network"
    return headline(figure, f"On {devices[-1]} devices a step reaches {told}")


_SHARE, _INDEX = "one of many devices", "PLAID, a look-up"
_LOOKS = {  # of who steps: colour and marker
    "one process": (COLOURS["blue"], "o"),
    "two processes": (COLOURS["orange"], "s"),
    _SHARE: (COLOURS["green"], "D"),
    "exact search": (COLOURS["blue"], "o"),
    _INDEX: (COLOURS["purple"], "s"),
}


def cost_curves(content: Mapping[str, Any]) -> Figure:
    """Time of a pair by batch and of a query by documents, and memory of a step: measured, and as predicted.

    ``content`` is that of ``data/benchmarks/scaling.json``; DataError where it holds no prediction.
    """
    rows = content["rows"]
    steps = [row for row in rows if row.get("axis") == "batch"]
    searches = [row for row in rows if row["quantity"] == SEARCH]
    large = [row for row in rows if row["peer"] == PREDICTED and not row["fitted"]]
    if not steps or not searches or not large:
        raise DataError(
            "The results of scaling hold no prediction: run 'python -m benchmarks --only scaling'."
        )
    figure, panels = canvas(WIDTH, 3.3, columns=3)
    for who in ("one process", "two processes", _SHARE):
        own = [row for row in steps if _who(row) == who]
        timed = [row for row in own if row["quantity"] == STEP]
        _measured(panels[0], timed, "batch_size", "seconds", who, _milliseconds_a_pair)
        held = [row for row in own if row["quantity"] != STEP]
        _measured(panels[1], held, "batch_size", "mebibytes", who)
    _measured(panels[2], searches, "documents", "seconds", "exact search", lambda row: 1e3)
    index = [row for row in rows if row.get("axis") == "index"]
    sizes = [row["documents"] for row in index]
    times = [1e3 * row["peer_seconds_per_query"] for row in index]
    colour, marker = _LOOKS[_INDEX]
    panels[2].plot(sizes, times, marker, color=colour, markersize=4.5, label=_INDEX)
    for axes, quantity, column in ((panels[0], STEP, "batch_size"), (panels[2], SEARCH, "documents")):
        fitted = [row for row in rows if row["quantity"] == quantity and row.get("fitted")]
        last = max(row[column] for row in fitted if column in row)
        grey, across = COLOURS["grey"], ("data", "axes fraction")
        axes.axvline(last, color=grey, linewidth=0.9, linestyle=DASHED)
        write(axes, "predicted", (last, 0.03), (3, 0), xycoords=across, color=grey)
    titles = ("A step", "Its peak", "A query")
    labels = ("ms of a device for a pair", "MiB above the loaded model", "ms a query")
    for axes, title, label in zip(panels, titles, labels, strict=True):
        axes.set(xscale="log", yscale="log", title=title, ylabel=label, xlabel="pairs in a batch")
        axes.minorticks_off()
    panels[2].set_xlabel("documents")
    known = {
        text: mark for axes in panels for mark, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    legend(figure, 3, handles=list(known.values()), labels=list(known))
    worst = max(max(row["ratio"], 1 / row["ratio"]) for row in large)
    told = f"the model meets the time of every larger one within a factor of {worst:.2f}"
    return headline(figure, f"Fitted on small sizes, {told}")


def _who(row: Mapping[str, Any]) -> str:
    if row["processes"] > 1:
        return "two processes"
    return "one process" if row["devices"] == 1 else _SHARE


def _milliseconds_a_pair(row: Mapping[str, Any]) -> float:
    return 1e3 * row["devices"] / row["batch_size"]


def _measured(
    axes: Axes, rows: Sequence[Mapping[str, Any]], x: str, unit: str, name: str, factor: Any = lambda _: 1
) -> None:
    """Points with intervals, and a line through what is predicted, or through the floor beneath memory.

    Devices of a batch differ from point to point, so that theirs are dashes of their own.
    """
    colour, marker = _LOOKS[name]
    floor = unit == "mebibytes"
    for row in rows:
        values = [factor(row) * row[f"ours_{unit}{end}"] for end in ("", "_low", "_high")]
        with_interval(axes, row[x], values, colour, marker)
    line = [(row[x], factor(row) * row[f"peer_{unit}"]) for row in rows]
    if line:
        join, own = ("none", "_") if name == _SHARE else ("-", "")
        look: dict[str, Any] = {
            "color": COLOURS["grey"] if floor else colour,
            "linestyle": ":" if floor and join == "-" else join,
        }
        axes.plot(*zip(*line, strict=True), linewidth=1.1, marker=own, markersize=13, **look)
        if floor:
            axes.plot([], [], ":", color=COLOURS["grey"], label="floor: vectors and gradients")
        axes.plot([], [], marker=marker, color=colour, label=name, markersize=4.5, linestyle=join)
