"""What differs between two runs and which figures moved: the maths of ``colbert-zero explain A B``.

Reads passports and per-query values; trains, measures and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RunError
from ..evaluation.statistics import tested
from .run import Run

if TYPE_CHECKING:
    import pandas as pd

METRIC = "ndcg@10"
_COMPARED = (
    "recipe", "start", "profile", "settings", "seed", "base", "data", "device", "git_commit", "versions"
)  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """One setting that differs, by dotted path; a side without it holds None."""

    path: str
    a: Any
    b: Any


@dataclass(frozen=True)
class Moved:
    """One figure of both runs, b - a, and the 95 % paired interval over queries of that where it can be had."""

    collection: str
    a: float
    b: float
    low: float | None = None
    high: float | None = None

    @property
    def delta(self) -> float:
        """How far the figure moved from a to b."""
        return self.b - self.a


@dataclass(frozen=True)
class Explanation:
    """Differences in what made two runs, and their nDCG@10 by collection with the mean last."""

    differences: tuple[Difference, ...]
    figures: tuple[Moved, ...]

    def to_text(self) -> str:
        """Both lists as plain lines for a terminal."""
        lines = ["What differs:"] if self.differences else ["Nothing that is recorded differs."]
        width = max((len(difference.path) for difference in self.differences), default=0)
        lines += [f"  {d.path:<{width}}  {_show(d.a)} -> {_show(d.b)}" for d in self.differences]
        if not self.figures:
            return "\n".join([*lines, "No collection was measured in both runs."])
        lines.append("nDCG@10:")
        width = max(len(figure.collection) for figure in self.figures)
        for figure in self.figures:
            line = f"  {figure.collection:<{width}}  {figure.a:.4f} -> {figure.b:.4f}  {figure.delta:+.4f}"
            if figure.low is not None and figure.high is not None:
                line += f"  [{figure.low:+.4f}, {figure.high:+.4f}]"
            lines.append(line)
        return "\n".join(lines)


def explain(a: Run, b: Run) -> Explanation:
    """Compare two runs.

    Intervals are over queries, paired, and need per-query values of both. RunError if a passport lacks what others
    rely on, or a table cannot be read.
    """
    first, second = a.sound().passport, b.sound().passport
    flat_a, flat_b = dict(_flatten(_settings(first))), dict(_flatten(_settings(second)))
    differences = tuple(
        Difference(path, flat_a.get(path), flat_b.get(path))
        for path in dict.fromkeys([*flat_a, *flat_b])
        if flat_a.get(path) != flat_b.get(path)
    )
    metrics_a, metrics_b = first["metrics"], second["metrics"]
    shared = [name for name in metrics_a if name in metrics_b]
    values = {name: (float(metrics_a[name][METRIC]), float(metrics_b[name][METRIC])) for name in shared}
    intervals = _intervals(a, b, shared)
    figures = [Moved(name, *values[name], *intervals.get(name, (None, None))) for name in shared]
    if len(shared) > 1:
        means = (float(np.mean([values[name][side] for name in shared])) for side in (0, 1))
        figures.append(Moved("mean", *means, *intervals.get("mean", (None, None))))
    return Explanation(differences, tuple(figures))


def _settings(passport: Mapping[str, Any]) -> dict[str, Any]:
    """The compared fields; those of the key win, but the passport knows more versions, and its start by name."""
    key = passport.get("key", {})
    merged = {**passport, **key, "recipe": passport["recipe"]}
    merged["versions"] = {**key.get("versions", {}), **passport["versions"]}
    return {name: merged[name] for name in _COMPARED if name in merged}


def _flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name in value:
            yield from _flatten(value[name], f"{path}.{name}".lstrip("."))
    else:
        yield path, value


def _intervals(a: Run, b: Run, collections: list[str]) -> dict[str, tuple[float, float]]:
    """95 % intervals of the paired difference over queries: each collection, and the mean if all have one."""
    if not (a.has_per_query and b.has_per_query):
        return {}
    moved = moved_queries(a, b)
    queries = {name: moved.loc[moved["collection"] == name, "moved"].to_numpy() for name in collections}
    scores = {name: own[None] for name, own in queries.items() if len(own)}
    found = {name: tested({name: own}) for name, own in scores.items()}
    if len(scores) == len(collections) > 1:
        found["mean"] = tested(scores)
    known = {name: test for name, test in found.items() if not np.isnan(test.low)}
    return {name: (test.low / 100, test.high / 100) for name, test in known.items()}


def moved_queries(a: Run, b: Run) -> pd.DataFrame:
    """Which queries rose or fell from a to b, those that fell most first.

    Columns: collection, query, a, b (nDCG@10 of each) and moved, b - a. RunError where a side has no per-query values.
    """
    if not (a.has_per_query and b.has_per_query):
        raise RunError("One of the two runs kept no per-query values: evaluate it again.")
    tables = [run.per_query() for run in (a, b)]
    for table in tables:
        missing = {"collection", "query", METRIC} - set(table.columns)
        if missing:
            raise RunError(f"Per-query values lack the column {min(missing)!r}: evaluate the run again.")
    pairs = tables[0].merge(
        tables[1], on=["collection", "query"], suffixes=("_a", "_b"), validate="one_to_one"
    )
    found = pairs[["collection", "query"]].astype(str).assign(a=pairs[f"{METRIC}_a"], b=pairs[f"{METRIC}_b"])
    found["moved"] = found["b"] - found["a"]
    return found.sort_values(["moved", "collection", "query"], ignore_index=True)


def _show(value: Any) -> str:
    return "absent" if value is None else str(value)
