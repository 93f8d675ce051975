"""Figures of scale: memory against the batch, with and without gradient caching, and how many devices still pay.

Shapes and figures come in; what they mean is worked out in ``scaling``.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from colbert_zero_lib.scaling import StepShape, cached_memory, direct_memory, efficiency

from .marks import count_axis, headline
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
    shapes = [StepShape(**{**vars(shape), "batch": batch}) for batch in batches]
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
    for (name, bandwidth), colour in zip(links, colours, strict=False):
        reached = [100 * efficiency(shape.on(count), device_seconds, bandwidth) for count in devices]
        axes.plot(devices, reached, "o-", color=colour, markersize=4.5, label=name)
        last.append(reached[-1])
    axes.set(ylim=(0, 104), xlabel="devices", ylabel="% of the ideal speed")
    count_axis(axes, devices)
    axes.legend(loc="lower left", frameon=False)
    told = f"{min(last):.0f} to {max(last):.0f} % of the ideal, by the network"
    return headline(figure, f"On {devices[-1]} devices a step reaches {told}")
