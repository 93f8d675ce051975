"""What stands before texts, arm by arm: each less the arm with nothing, matched or not, and what would explain it.

The arms are those of ``runs.prefix_arms``, figures come from `evidence`, tests from `deltas`; torch is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from ..prefixes import NO_PREFIX, PROMPTS, Prefix
from ..published.comparison import Claim, Clause
from ..recipes import Interaction, Phase, Recipe, Step
from ..runs.arms import arm_name
from ..runs.prefix_arms import CONTEXT, SLOTS, STARTS, PrefixArm, expansion_arms, in_default_size, prefix_arms
from .deltas import Comparison, caption, findings
from .evidence import RunEvidence
from .grid import paper_deltas
from .verdict import CLEAR, CORRECTED_RULE

Prompts = tuple[int, int] | None  # the tokens that the (query, document) prompts take, where they are known


def effect_findings(source: RunEvidence, prompts: Prompts = None) -> pd.DataFrame:
    """Every arm of the study that is evaluated as trained, less the arm with nothing; one a row, in points.

    With ``prompts`` known, ``random`` and ``random/4`` may be one arm. Columns: start, arm, kind (of prefix), tokens
    (put before either side; NA where not known), ``sized`` (whether the arm names that number), recipe, ``paper``
    (where the paper prints the same difference, in Table 5), then those of `findings`, p being corrected over the arms
    with as many tokens as the prompts and over those that name theirs, and the verdict following `CORRECTED_RULE`.
    """
    return _arm_findings(source, prompts, matched=True)


def mismatch_findings(source: RunEvidence, prompts: Prompts = None) -> pd.DataFrame:
    """The same weights with something else before the texts than in training, less evaluated as trained; in points.

    Columns as in `effect_findings`, without ``paper`` (which has no such figure), and ``evaluated``: what stands there;
    ``the prompts as context only`` are there and left out of MaxSim.
    """
    return _arm_findings(source, prompts, matched=False)


def _arm_findings(source: RunEvidence, prompts: Prompts, matched: bool) -> pd.DataFrame:
    printed = paper_deltas().set_index("arm")["paper"]

    def rows() -> Iterator[Comparison]:
        for start in STARTS:
            nothing, *arms = prefix_arms(start, mismatched=not matched, prompts=prompts)
            for arm in (arm for arm in arms if arm.matched == matched):
                other = nothing.recipe if matched else arm.recipe.training
                more = (
                    {"paper": printed.get(str(arm.recipe), math.nan)}
                    if matched
                    else {"evaluated": arm.evaluated}
                )
                yield _about(start, arm, prompts) | more, {str(arm.recipe): 1.0, str(other): -1.0}

    return _findings(source, prompts, rows(), "sized").astype({"tokens": "Int64"})


def explanations(start: Recipe, prompts: Prompts = None) -> tuple[Claim, ...]:
    """What prompts might do, as predictions on arms that begin with ``start``: none is a claim of the paper."""
    nothing, longer = (str(_recipe(start, NO_PREFIX, length)) for length in (False, True))
    own, random, mask, learned, swapped, same, context = (
        str(_recipe(start, Prefix(kind)))
        for kind in ("prompts", "random", "mask", "learned", "swapped", "same", "context")
    )
    unseen = str(replace(Recipe.parse(own), evaluation_prefix=CONTEXT))
    meaningless = {random: 0.5, mask: 0.5}
    aligned = [_less(own, {swapped: 1.0}, "the prompts less the prompts swapped")]
    aligned.append(_less(own, {learned: 1.0}, "the prompts less as many learned tokens"))
    if start.steps[-1].interaction is Interaction.COLBERT:
        bare = Recipe(tuple(replace(s, prompts=False, extra_length=False) for s in start.steps))
        without = {str(_recipe(bare, PROMPTS)): -1.0, str(_recipe(bare, NO_PREFIX, False)): 1.0}
        label = "what prompts add to a start that had them, less what they add to one that had not"
        aligned.append(Clause(tuple({own: 1.0, nothing: -1.0, **without}.items()), label=label))
    told = (
        (
            "budget",
            "Prompts help through the extra length that comes with them.",
            "Extra length alone that adds nothing.",
            (_less(longer, {nothing: 1.0}, "extra length alone less nothing"),),
        ),
        (
            "implicit-query-expansion",
            "Prompts help as implicit query expansion: their positions are extra vectors that MaxSim sums.",
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
        (
            "context",
            "Prompts help as context: other tokens attend to them.",
            "Prompts that are attended to, not scored, and add nothing.",
            (_less(context, {nothing: 1.0}, "the prompts as context only less nothing"),),
        ),
        (
            "content",
            "It matters what the prompts say.",
            "As many tokens without meaning that do as well.",
            (_less(own, meaningless, "the prompts less random words and [MASK], on average"),),
        ),
        (
            "sides",
            "Prompts help by telling queries from documents.",
            "One prompt on both sides that does as well; [Q] and [D] are there anyway.",
            (_less(own, {same: 1.0}, "the prompts less the query prompt on both sides"),),
        ),
        (
            "alignment",
            "Prompts help because pre-training had them in the same place.",
            "Prompts that pre-training had elsewhere, or never, and that do as well.",
            tuple(aligned),
        ),
    )  # fmt: skip
    return tuple(
        Claim(id, text, "left open by the paper", refuted, clauses) for id, text, refuted, clauses in told
    )


def explanation_findings(source: RunEvidence, prompts: Prompts = None) -> pd.DataFrame:
    """Every prediction of `explanations` held against a source's runs; one a row, in points.

    Each says that its difference is above zero. Columns: start, explanation, text, refuted_by, comparison, then those
    of `findings`, and ``speaks``: ``for it`` or ``against it`` where the verdict is clear.
    """

    def rows() -> Iterator[Comparison]:
        for start in STARTS:
            for claim in explanations(start, prompts):
                for clause in claim.clauses:
                    about = {"start": arm_name(start).stage, "explanation": claim.title, "text": claim.text}
                    yield about | {"refuted_by": claim.refuted_by, "comparison": clause.label}, clause.weights

    table = _findings(source, prompts, rows())
    signs = table["value"].map(lambda value: "for it" if value > 0 else "against it")
    return table.assign(speaks=signs.where(table["verdict"] == CLEAR, ""))


def expansion_findings(source: RunEvidence) -> pd.DataFrame:
    """Whether query expansion makes prompts redundant (paper, section 4.2), from arms with and without it; in points.

    One comparison a row, from each start and with or without the extra length: what prompts add without and with
    expansion, the second less the first (below zero where expansion takes over), what expansion adds without and with
    prompts, and what weights trained without (with) expansion gain by it at evaluation. Columns: start, length,
    comparison, then those of `findings`.
    """

    def rows() -> Iterator[Comparison]:
        for start in STARTS:
            arms = expansion_arms(start)
            for longer in (True, False):
                own = {(p, x): str(arms[p, longer, x]) for p in (False, True) for x in (False, True)}
                turned = {
                    (p, x): str(replace(arms[p, longer, x], evaluation_expansion=not x)) for p, x in own
                }
                alone = {own[True, False]: 1.0, own[False, False]: -1.0}
                beside = {own[True, True]: 1.0, own[False, True]: -1.0}
                asked = {
                    "prompts less none, without expansion": alone,
                    "prompts less none, with expansion": beside,
                    "the second less the first": beside | {name: -weight for name, weight in alone.items()},
                    "expansion less none, without prompts": {own[False, True]: 1.0, own[False, False]: -1.0},
                    "expansion less none, with prompts": {own[True, True]: 1.0, own[True, False]: -1.0},
                }
                for x, p in product((False, True), repeat=2):
                    trained = f"trained with{'' if x else 'out'} expansion, prompts {'on' if p else 'off'}"
                    on, off = (own, turned) if x else (turned, own)
                    asked[f"{trained}: evaluated with it less without it"] = {on[p, x]: 1.0, off[p, x]: -1.0}
                about = {"start": arm_name(start).stage, "length": f"{'+' if longer else '−'}length"}
                for words, weights in asked.items():
                    yield about | {"comparison": words}, weights

    return findings(source, rows(), signs=False)


def prefix_caption(findings: pd.DataFrame, what: str) -> str:
    """What stands above such a table: ``what`` is in it, and the rest of `caption`."""
    return caption(findings, what, CORRECTED_RULE)


def _recipe(start: Recipe, prefix: Prefix, extra_length: bool = True) -> Recipe:
    step = Step(Interaction.COLBERT, Phase.SUPERVISED, extra_length=extra_length)
    return Recipe((*start.steps, step.under(prefix)))


def _less(arm: str, others: Mapping[str, float], label: str) -> Clause:
    return Clause(((arm, 1.0), *((other, -weight) for other, weight in others.items())), label=label)


def _trend(start: Recipe, prompts: Prompts) -> dict[str, float]:
    """Weights whose sum is the slope of nDCG@10 over log2 of the number of slots, random words and [MASK] alike."""
    doublings = np.log2(SLOTS) - np.log2(SLOTS).mean()
    slopes = doublings / (doublings**2).sum() / 2  # of two kinds
    found = {}
    for kind, (count, slope) in product(("random", "mask"), zip(SLOTS, slopes.tolist(), strict=True)):
        found[str(in_default_size(_recipe(start, Prefix(kind, count)), prompts))] = slope
    return found


def _about(start: Recipe, arm: PrefixArm, prompts: Prompts) -> dict[str, Any]:
    prefix = arm.recipe.steps[-1].prepended
    tokens = 0 if prefix == NO_PREFIX else prefix.tokens
    if tokens is None and prompts and prompts[0] == prompts[1]:
        tokens = prompts[0]
    about = {"start": arm_name(start).stage, "arm": arm.label, "kind": prefix.kind, "tokens": tokens}
    return {**about, "sized": prefix.tokens is not None, "recipe": str(arm.recipe)}


def _findings(
    source: RunEvidence, prompts: Prompts, rows: Iterator[Comparison], family: str = "source"
) -> pd.DataFrame:
    """The findings of ``rows``, runs of one training under one name; a run that has that name already comes first."""
    if prompts:
        found: dict[str, dict[int, Any]] = {}
        for recipe, of_seeds in sorted(source.evaluations.items()):
            name = str(in_default_size(Recipe.parse(recipe), prompts))
            mine = found.setdefault(name, {})
            found[name] = {**mine, **of_seeds} if name == recipe else {**of_seeds, **mine}
        source = replace(source, evaluations=found)
    return findings(source, rows, family, signs=False)
