"""Soak: twenty runs in one process, which must not take more memory, files or disk from one to the next."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults import children, kills, material
from tests.faults.children import ENDED
from tests.faults.kit import Outcome, Trial

RUNS = 20
_WARM = 5  # runs until caches and the allocator have what they need
_MOST = 0.02  # of memory that may be added by all runs after that


def trials(share: float, seed: int, scratch: Path) -> Iterator[Trial]:
    """One row each for memory, open files and disk."""
    place = kills.prepare(scratch / "places")["base"]
    count = RUNS if share >= 0.2 else 3
    code = children.end(children.begin(lambda where: _runs(where, seed, count), place), limit=1800)
    lines = (place / "soak.jsonl").read_text().splitlines() if code == ENDED else []
    levels = [json.loads(line) for line in lines]
    if code != ENDED:
        yield Trial(
            "soak", "runs", f"{count} runs", Outcome.FOREIGN, f"ends with {code}: {children.said(place)}"
        )
        return
    first = levels[min(_WARM, count - 2)]
    for name, limit in (("megabytes of memory", _MOST), ("open files", 0.0), ("kilobytes of a run", 0.02)):
        values = [level[name] for level in levels]
        level_ = values[-1] <= first[name] * (1 + limit)
        told = f"{count} runs: {', '.join(str(value) for value in values)}"
        yield Trial("soak", name, "one process", Outcome.SURVIVED if level_ else Outcome.LITTER, told)
    beside = [str(path.relative_to(place)) for path in (place / "home").rglob("*checkpoint*")]
    yield Trial(
        "soak",
        "checkpoints",
        "one process",
        Outcome.LITTER if beside else Outcome.SURVIVED,
        f"left: {beside}",
    )


def _runs(place: Path, seed: int, count: int) -> None:
    import psutil

    from colbert_zero_lib.runs.execute import run_recipe

    process = psutil.Process()
    shop = material.shop(place)
    before = _kilobytes(place)
    for number in range(count):
        run_recipe(material.FIRST, seed=seed + number, shop=shop)
        now = _kilobytes(place)
        level: dict[str, Any] = {
            "megabytes of memory": round(process.memory_info().rss / 1e6),
            "open files": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
            "kilobytes of a run": now - before,
        }
        before = now
        with (place / "soak.jsonl").open("a") as file:
            file.write(json.dumps(level) + "\n")


def _kilobytes(place: Path) -> int:
    return sum(path.lstat().st_size for path in (place / "home").rglob("*") if path.is_file()) // 1000
