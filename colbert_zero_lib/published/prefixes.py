"""What stands before texts, arm by arm: each less the arm with nothing, matched or not, and what would explain it.

The arms are those of ``runs.prefix_arms``, figures come from `evidence`, tests from `deltas`; torch is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..prefixes import NO_PREFIX, PROMPTS, Prefix
from ..recipes import Interaction, Phase, Recipe, Step
from ..runs.arms import arm_name
from ..runs.prefix_arms import CONTEXT, SLOTS, STARTS, PrefixArm, in_default_size, prefix_arms
from .clauses import Claim, Clause
from .deltas import POWER, Delta, compare, lent_words, weigh
from .evidence import LEVEL, RunEvidence
from .grid import EFFECT, NOT_RESOLVABLE, NOT_RUN, WITHIN_NOISE, paper_deltas
from .verdict_tables import holm

CLEAR = "clear"
RULE = (
    f"{CLEAR}: p is below {1 - LEVEL:.2f} after Holm's correction over this table; {WITHIN_NOISE}: it is not, though a "
    f"true difference of {EFFECT:g} points would show in {POWER:.0%} of all cases; {NOT_RESOLVABLE}: it is not, and "
    "such a difference would not show"
)
_SECTION = "left open by the paper"
_FIGURES = ("value", "low", "high", "p", "smallest")


def effect_findings(
    source: RunEvidence, prompts: tuple[int, int] | None = None, folder: Path | None = None
) -> pd.DataFrame:
    """Every arm of the study that is evaluated as trained, less the arm with nothing; one a row, in points.

    ``prompts``: the tokens that the (query, document) prompts take, where they are known: ``random`` and ``random/4``
    may then be one arm. Columns: start, arm, kind (of prefix), tokens (put before either side; NA where not known),
    ``sized`` (whether the arm names that number), recipe, ``paper`` (where the paper prints the same difference, in
    Table 5; ``folder`` as in `paper_deltas`), source, value, low, high, p, smallest, seeds (as in `Delta`; NaN and 0
    seeds where an arm was not run), spread (where the spread between seeds comes from), p_holm (p after Holm's
    correction: the arms with as many tokens as the prompts are one family, those that name theirs another) and verdict
    (see `RULE`).
    """
    source = _in_default_size(source, prompts)
    printed = paper_deltas(folder).set_index("arm")["paper"]
    rows, deltas = [], []
    for start in STARTS:
        nothing, *arms = prefix_arms(start, mismatched=False, prompts=prompts)
        for arm in arms:
            paper = printed.get(str(arm.recipe), math.nan)
            rows.append({"start": _start(start), **_about(arm, prompts), "paper": paper})
            deltas.append(compare(source, str(arm.recipe), str(nothing.recipe)))
    return _table(rows, deltas, source).astype({"tokens": "Int64"})


def mismatch_findings(source: RunEvidence, prompts: tuple[int, int] | None = None) -> pd.DataFrame:
    """The same weights with something else before the texts than in training, less evaluated as trained; in points.

    Columns as in `effect_findings`, without ``paper`` (which has no such figure), and ``evaluated``: what stands there;
    ``the prompts as context only`` are there and left out of MaxSim.
    """
    source = _in_default_size(source, prompts)
    rows, deltas = [], []
    for start in STARTS:
        for arm in prefix_arms(start, prompts=prompts):
            if not arm.matched:
                rows.append({"start": _start(start), **_about(arm, prompts), "evaluated": arm.evaluated})
                deltas.append(compare(source, str(arm.recipe), str(arm.recipe.training)))
    return _table(rows, deltas, source).astype({"tokens": "Int64"})


def explanations(start: Recipe, prompts: tuple[int, int] | None = None) -> tuple[Claim, ...]:
    """What prompts might do, as predictions on arms that begin with ``start``: conjectures, none a claim of the paper.

    ``prompts`` as in `effect_findings`.
    """
    nothing, longer = (_named(start, NO_PREFIX, extra_length=length) for length in (False, True))
    own, random, mask, learned, swapped, same, context = (
        _named(start, Prefix(kind))
        for kind in ("prompts", "random", "mask", "learned", "swapped", "same", "context")
    )
    unseen = str(replace(Recipe.parse(own), evaluation_prefix=CONTEXT))
    meaningless = {random: 0.5, mask: 0.5}
    aligned = [_less(own, {swapped: 1.0}, "the prompts less the prompts swapped")]
    aligned.append(_less(own, {learned: 1.0}, "the prompts less as many learned tokens"))
    if start.steps[-1].interaction is Interaction.COLBERT:
        bare = Recipe(tuple(replace(s, prompts=False, extra_length=False) for s in start.steps))
        without = {_named(bare, PROMPTS): -1.0, _named(bare, NO_PREFIX, extra_length=False): 1.0}
        label = "what prompts add to a start that had them, less what they add to one that had not"
        aligned.append(Clause(tuple({own: 1.0, nothing: -1.0, **without}.items()), label=label))
    return (
        Claim(
            "budget",
            "Prompts help through the extra length that comes with them.",
            _SECTION,
            "Extra length alone that adds nothing.",
            (_less(longer, {nothing: 1.0}, "extra length alone less nothing"),),
        ),
        Claim(
            "implicit-query-expansion",
            "Prompts help as implicit query expansion: their positions are extra vectors that MaxSim sums.",
            _SECTION,
            "Prompts that are worth as much when MaxSim leaves them out, or scored tokens without meaning that add "
            "nothing, however many.",
            (
                _less(own, {context: 1.0}, "the prompts less the prompts as context only"),
                _less(own, {unseen: 1.0}, "the prompts less the same weights with them left out of MaxSim"),
                Clause(
                    (*meaningless.items(), (nothing, -1.0)),
                    label="random words and [MASK], on average, less nothing",
                ),
                Clause(
                    tuple(_trend(start, prompts).items()),
                    label="random words and [MASK], on average: each doubling of their number",
                ),
            ),
        ),
        Claim(
            "context",
            "Prompts help as context: other tokens attend to them.",
            _SECTION,
            "Prompts that are attended to, not scored, and add nothing.",
            (_less(context, {nothing: 1.0}, "the prompts as context only less nothing"),),
        ),
        Claim(
            "content",
            "It matters what the prompts say.",
            _SECTION,
            "As many tokens without meaning that do as well.",
            (_less(own, meaningless, "the prompts less random words and [MASK], on average"),),
        ),
        Claim(
            "sides",
            "Prompts help by telling queries from documents.",
            _SECTION,
            "One prompt on both sides that does as well; [Q] and [D] are there anyway.",
            (_less(own, {same: 1.0}, "the prompts less the query prompt on both sides"),),
        ),
        Claim(
            "alignment",
            "Prompts help because pre-training had them in the same place.",
            _SECTION,
            "Prompts that pre-training had elsewhere, or never, and that do as well.",
            tuple(aligned),
        ),
    )  # fmt: skip


def explanation_findings(source: RunEvidence, prompts: tuple[int, int] | None = None) -> pd.DataFrame:
    """Every prediction of `explanations` held against a source's runs; one a row, in points.

    Each says that its difference is above zero. Columns: start, explanation, text, refuted_by, comparison, then those
    of `effect_findings` from source on, and ``speaks``: ``for it`` or ``against it`` where the verdict is clear.
    """
    source = _in_default_size(source, prompts)
    rows, deltas = [], []
    for start in STARTS:
        for claim in explanations(start, prompts):
            for clause in claim.clauses:
                about = {"start": _start(start), "explanation": claim.title, "text": claim.text}
                rows.append({**about, "refuted_by": claim.refuted_by, "comparison": clause.label})
                deltas.append(weigh(source, clause.weights))
    table = _table(rows, deltas, source)
    clear = table["verdict"] == CLEAR
    signs = table["value"].map(lambda value: "for it" if value > 0 else "against it")
    return table.assign(speaks=signs.where(clear, ""))


def prefix_verdict(delta: Delta | None, p_holm: float) -> str:
    """What a difference says once its p is corrected; see `RULE`. ``not run`` without one."""
    if delta is None:
        return NOT_RUN
    if p_holm < 1 - LEVEL:
        return CLEAR
    return WITHIN_NOISE if delta.smallest <= EFFECT else NOT_RESOLVABLE


def prefix_caption(findings: pd.DataFrame, what: str) -> str:
    """What stands above such a table: ``what`` is in it, how much was run, tested and corrected, and the rule."""
    run = findings[findings["seeds"] > 0]
    tested = int(run["p"].notna().sum())
    sources = ", ".join(sorted(set(findings["source"])))
    return (
        f"{what}, points of nDCG@10, {sources}: {len(run)} of {len(findings)} rows run, {tested} "
        f"tested.{lent_words(run)} {RULE}."
    )


def _start(start: Recipe) -> str:
    return arm_name(start).stage


def _recipe(start: Recipe, prefix: Prefix, extra_length: bool = True) -> Recipe:
    step = Step(Interaction.COLBERT, Phase.SUPERVISED, extra_length=extra_length)
    return Recipe((*start.steps, step.under(prefix)))


def _named(start: Recipe, prefix: Prefix, extra_length: bool = True) -> str:
    return str(_recipe(start, prefix, extra_length))


def _less(arm: str, others: Mapping[str, float], label: str) -> Clause:
    return Clause(((arm, 1.0), *((other, -weight) for other, weight in others.items())), label=label)


def _trend(start: Recipe, prompts: tuple[int, int] | None) -> dict[str, float]:
    """Weights whose sum is the slope of nDCG@10 over log2 of the number of slots, random words and [MASK] alike."""
    doublings = [math.log2(count) for count in SLOTS]
    middle = sum(doublings) / len(doublings)
    squares = sum((doubling - middle) ** 2 for doubling in doublings)
    found = {}
    for kind in ("random", "mask"):
        for count, doubling in zip(SLOTS, doublings, strict=True):
            recipe = _recipe(start, Prefix(kind, count))
            recipe = in_default_size(recipe, prompts) if prompts else recipe
            found[str(recipe)] = (doubling - middle) / squares / 2
    return found


def _about(arm: PrefixArm, prompts: tuple[int, int] | None) -> dict[str, Any]:
    prefix = arm.recipe.steps[-1].prepended
    tokens = 0 if prefix == NO_PREFIX else prefix.tokens
    if tokens is None and prompts and prompts[0] == prompts[1]:
        tokens = prompts[0]
    about = {"arm": arm.label, "kind": prefix.kind, "tokens": tokens, "sized": prefix.tokens is not None}
    return {**about, "recipe": str(arm.recipe)}


def _in_default_size(source: RunEvidence, prompts: tuple[int, int] | None) -> RunEvidence:
    """The same runs, those of one training under one name; a run that has that name already comes first."""
    if prompts is None:
        return source
    found: dict[str, dict[int, Any]] = {}
    for recipe, of_seeds in sorted(source.evaluations.items()):
        name = str(in_default_size(Recipe.parse(recipe), prompts))
        mine = found.setdefault(name, {})
        found[name] = {**mine, **of_seeds} if name == recipe else {**of_seeds, **mine}
    return replace(source, evaluations=found)


def _table(
    rows: Sequence[Mapping[str, Any]], deltas: Sequence[Delta | None], source: RunEvidence
) -> pd.DataFrame:
    table = pd.DataFrame(rows).assign(source=source.name)
    for name in _FIGURES:
        table[name] = [math.nan if delta is None else getattr(delta, name) for delta in deltas]
    table["seeds"] = [0 if delta is None else delta.seeds for delta in deltas]
    table["spread"] = ["" if delta is None else delta.variances.source for delta in deltas]
    families = table["sized"] if "sized" in table else pd.Series(False, index=table.index)
    table["p_holm"] = math.nan
    for _, own in table.groupby(families):
        table.loc[own.index, "p_holm"] = holm(own["p"].to_numpy(float))
    table["verdict"] = [prefix_verdict(*pair) for pair in zip(deltas, table["p_holm"], strict=True)]
    return table
