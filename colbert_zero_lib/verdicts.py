"""One row of a verdict table: a difference between two recipes as printed, rerun, recorded and measured here.

What a single figure says is in ``published``; differences are measured by ``evaluation``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .published import BEIR, MTEB_MODELS, mteb_beir, paper_table, recorded_evaluations, verdict

if TYPE_CHECKING:
    from .evaluation import Difference
    from .recipes import Recipe

NOTHING = "–"


def paper_difference(a: Recipe, b: Recipe) -> float | None:
    """Mean nDCG@10 over BEIR of recipe ``a`` minus that of ``b``, in points; None unless one table prints both."""
    for number in (2, 4, 3):
        table = paper_table(number)
        rows = [table[table["recipe"] == str(recipe)] for recipe in (a, b)]
        if all(len(row) for row in rows):
            first, second = (row.iloc[0][list(BEIR)].astype(float).mean() for row in rows)
            return float(first - second)
    return None


def rerun_difference(a: Recipe, b: Recipe) -> float | None:
    """As :func:`paper_difference`, of the checkpoints that MTEB evaluated again; None unless it did both."""
    table, rerun = paper_table(2).set_index("recipe"), mteb_beir()["average"]
    models = [table["model"].get(str(recipe)) for recipe in (a, b)]
    if not all(model in MTEB_MODELS for model in models):
        return None
    first, second = (float(rerun[MTEB_MODELS[str(model)]]) for model in models)
    return first - second


def recorded_difference(a: Recipe, b: Recipe, profile: str) -> Difference | None:
    """The difference between recorded runs of a profile, over all seeds that both have; None without any."""
    from .evaluation import difference

    first, second = (recorded_evaluations(profile, recipe) for recipe in (a, b))
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    return difference([first[seed] for seed in seeds], [second[seed] for seed in seeds])


def _shown(found: Difference | None) -> str:
    if found is None:
        return NOTHING
    return f"{100 * found.delta:+.2f} [{100 * found.low:+.2f}, {100 * found.high:+.2f}]"


def compare(claim: str, a: Recipe, b: Recipe, yours: Difference, profile: str) -> dict[str, str]:
    """One row: claim, paper, MTEB rerun, recorded, yours (points of nDCG@10) and verdict.

    The verdict is on the sign of the paper's difference, the only question that a run at another scale can answer;
    where the paper prints none, it is left open.
    """
    paper, rerun = paper_difference(a, b), rerun_difference(a, b)
    said = NOTHING if not paper else verdict(paper, 100 * yours.low, 100 * yours.high)
    return {
        "claim": claim,
        "paper": NOTHING if paper is None else f"{paper:+.2f}",
        "MTEB rerun": NOTHING if rerun is None else f"{rerun:+.2f}",
        "recorded": _shown(recorded_difference(a, b, profile)),
        "yours": _shown(yours),
        "verdict": said,
    }
