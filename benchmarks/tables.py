"""Results as tables for the terminal; measuring is elsewhere, files are in `records`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table


def tables(name: str, content: dict[str, Any]) -> Iterator[Any]:
    """The rows of one benchmark as rich tables, one for each quantity and peer."""
    head = content["machine"]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in content["rows"]:
        groups.setdefault((row["quantity"], row["peer"]), []).append(row)
    for (quantity, peer), rows in groups.items():
        where = f"{head['processor']}, {head['torch_threads']} threads, {head['device']}"
        title = f"{name}: {quantity}, against {peer}\n{where}"
        made = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
        made.add_column("case", overflow="fold")
        for column in ("ratio", "95% interval", "ours", "peer"):
            made.add_column(column, justify="right", no_wrap=True)
        for row in rows:
            interval = f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}" if row["rounds"] > 1 else ""
            made.add_row(row["case"], f"{row['ratio']:.2f}", interval, *_amounts(row))
        yield made


def _amounts(row: dict[str, Any]) -> tuple[str, str]:
    """What ours and the peer took, in the row's own unit."""
    for key, unit in (
        ("rate", row.get("rate_unit", "")),
        ("mebibytes", "MiB"),
        ("seconds", "s"),
        ("operations", ""),
    ):
        if f"ours_{key}" in row:
            return tuple(  # type: ignore[return-value]
                f"{row[side]:,.4g} {unit}".strip() if side in row else ""
                for side in (f"ours_{key}", f"peer_{key}")
            )
    return "", ""
