"""One comparison has one interval and one verdict, wherever the committed notebooks and the README print it."""

from __future__ import annotations

import html
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from colbert_zero_lib.published import CLAIMS, paper_table
from colbert_zero_lib.recipes import PIPELINES, Recipe
from colbert_zero_lib.runs.arms import arm_name, baseline_of
from colbert_zero_lib.runs.prefix_arms import STARTS, prefix_arms
from colbert_zero_lib.verdicts.grid import paper_deltas
from colbert_zero_lib.verdicts.prefixes import explanations
from colbert_zero_lib.verdicts.verdict import AGREES, CLEAR, DIFFERS, NO_FIGURES, NOT_RESOLVABLE, NOTHING

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = (4, 4)  # the tokens of the offline encoders' prompts
Weights = Mapping[str, float]
_SOURCE = re.compile(r"paper$|MTEB rerun$|recorded \(|yours")
_FIGURES = re.compile(r"([+-]?\d+\.(\d+)) \[([+-]?[\d.]+), ([+-]?[\d.]+)\]")


@dataclass(frozen=True)
class Said:
    """What one place says of a comparison: arms with weights, the first of them counting one."""

    arms: tuple[tuple[str, float], ...]
    source: str
    where: str
    figures: tuple[float, float, float] | None = None
    digits: int = 2
    verdict: str = ""
    claim: str = (
        ""  # ">", "<" or "about" and its bound; "corrected" where nothing is claimed but a difference
    )

    @property
    def direction(self) -> int:
        """Which side of zero the verdict is sure of, for the arms as written here; 0 for neither."""
        if self.verdict == CLEAR:
            return 1 if self.figures is None or self.figures[0] > 0 else -1
        return {AGREES: 1, DIFFERS: -1}.get(self.verdict, 0) * (-1 if self.claim[0] == "<" else 1)


def said(
    weights: Weights, source: str, where: str, cell: str = "", verdict: str = "", claim: str = ""
) -> Said:
    """With the arms in one order and of one scale, so that the same comparison is known again."""
    scale = weights[min(weights)]
    arms = tuple(sorted((arm, round(weight / scale, 6)) for arm, weight in weights.items()))
    found = _FIGURES.match(cell)
    figures, digits = None, 2
    if found:
        value, low, high = (float(found[place]) / scale for place in (1, 3, 4))
        figures, digits = (value, min(low, high), max(low, high)), len(found[2])
    if scale < 0:
        claim = claim.translate(str.maketrans("<>", "><"))
    return Said(arms, source, where, figures, digits, verdict, claim)


def tables(notebook: Mapping) -> Iterator[tuple[int, list[str], list[list[str]]]]:
    """Every HTML table of a notebook's outputs: cell, headings, rows with blanked labels filled in again."""
    for place, cell in enumerate(notebook["cells"]):
        for output in cell.get("outputs", ()):
            text = "".join(output.get("data", {}).get("text/html", ()))
            rows = [
                [html.unescape(re.sub("<[^>]+>", "", cell)).replace("−", "-") for cell in found]
                for found in (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in text.split("</tr>"))
                if found
            ]
            if rows:
                for above, row in pairwise(rows[1:]):
                    for column in range(min(2, len(row))):
                        row[column] = row[column] or above[column]
                yield place, rows[0], rows[1:]


@cache
def compared() -> dict[tuple[str, ...], tuple[Weights, str]]:
    """What the labels of a row stand for: weights of arms and what is claimed of their sum, by those labels."""
    known: dict[tuple[str, ...], tuple[Weights, str]] = {}
    for claim in CLAIMS:
        for clause in claim.clauses:
            text = ": ".join(filter(None, (claim.text.rstrip("."), clause.label)))
            asked = f"about {clause.threshold}" if clause.relation == "about" else clause.relation
            if clause.measure == "nDCG@10":
                known["claim", text] = clause.weights, asked
                if len(claim.clauses) == 1:
                    known["claim", claim.id] = clause.weights, asked
    for row in paper_deltas().itertuples():
        sign = ">" if row.paper > 0 else "<"
        known["effect", row.start, row.stage, row.effect] = {row.arm: 1.0, row.baseline: -1.0}, sign
    for number in (3, 4):
        printed = dict(paper_table(number)[["recipe", "average_printed"]].itertuples(index=False))
        for recipe, mean in printed.items():
            name, below = arm_name(Recipe.parse(recipe)), baseline_of(Recipe.parse(recipe))
            labels = (name.start, name.stage, name.switches.replace("−", "-"))
            known[("mean", *labels)] = {recipe: 1.0}, ""
            if below and str(below) in printed:
                sign = ">" if mean > printed[str(below)] else "<"
                known[("switches", *labels)] = {recipe: 1.0, str(below): -1.0}, sign
    for start in STARTS:
        begin = arm_name(start).stage
        arms = prefix_arms(start, prompts=PROMPTS)
        for arm in arms:
            other = arms[0].recipe if arm.matched else arm.recipe.training
            labels = (
                ("arm", begin, arm.label) if arm.matched else ("evaluated", begin, arm.label, arm.evaluated)
            )
            known[labels] = {str(arm.recipe): 1.0, str(other): -1.0}, "corrected"
        for claim in explanations(start, PROMPTS):
            for clause in claim.clauses:
                known["comparison", begin, claim.title, clause.label] = clause.weights, "corrected"
    return known


def collected(notebook: Mapping, name: str, profiles: Mapping[str, str]) -> Iterator[Said]:
    """What a notebook's tables say; ``profiles``: the full names of the sources ``recorded`` and ``yours``."""
    for place, heads, rows in tables(notebook):
        where = f"{name}, cell {place}"
        kind = next((head for head in heads[:3] if head in ("claim", "effect", "switches", "evaluated")), "")
        kind = kind or (
            "comparison" if "comparison" in heads else "arm" if heads[:2] == ["start", "arm"] else ""
        )
        if kind == "claim" or (not heads[0] and {row[0] for row in rows} <= {claim.id for claim in CLAIMS}):
            judged = "verdict" in heads
            for row in rows:
                key = ("claim", row[0].removesuffix(" (its sign)"))
                if key not in compared():
                    continue
                weights, claim = compared()[key]
                sources = heads[1:-1] if judged else heads[1:]
                for head, cell in zip(sources, row[1:], strict=False):
                    source = profiles.get(head, head)
                    if not _SOURCE.match(source):
                        continue
                    verdict = (row[-1] if head == sources[-1] else "") if judged else cell
                    verdict = "" if verdict in (NOTHING, "–", NO_FIGURES) else verdict
                    yield said(weights, source, where, cell, verdict, claim)
        elif kind:
            labels = heads[: {"effect": 3, "switches": 3, "arm": 2}.get(kind, 3)]
            sources = [head for head in heads if _SOURCE.match(head) and head != "paper"]
            for row in rows:
                if (kind, *row[: len(labels)]) in compared():
                    weights, claim = compared()[(kind, *row[: len(labels)])]
                    own = [head for head in sources if kind != "switches" or head.endswith(": less neither")]
                    for head in own:
                        verdict = row[-1] if head == own[-1] else ""
                        source, cell = head.removesuffix(": less neither"), row[heads.index(head)]
                        yield said(weights, source, where, cell, verdict if verdict != NOTHING else "", claim)
                if kind == "switches":
                    for head in (head for head in sources if not head.endswith(": less neither")):
                        yield said(compared()[("mean", *row[:3])][0], head, where, row[heads.index(head)])


def printed(text: str, where: str, source: str) -> Iterator[Said]:
    """Means of the pipelines and their differences, as sentences have them: ``(c) less (a) ... +2.5 [+0.1, +4.9]``."""
    arms = {letter: str(recipe) for letter, recipe in PIPELINES.items()}
    text = re.sub(r"\s+", " ", text).replace(" points [", " [")
    for letter, cell in re.findall(r"\(([abc])\) ([\d.]+ \[[\d., ]+\])", text):
        yield said({arms[letter]: 1.0}, source, where, cell)
    for a, b, cell in re.findall(r"\(([abc])\) (?:less|−) \(([abc])\)[^\[\]]*?([+-][\d.]+ \[[^\]]+\])", text):
        yield said({arms[a]: 1.0, arms[b]: -1.0}, source, where, cell)


@cache
def everything() -> tuple[Said, ...]:
    found = [*printed((ROOT / "README.md").read_text("utf-8"), "README", "recorded (laptop)")]
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = json.loads(file.read_text("utf-8"))
        given = "\n".join("".join(cell["source"]) for cell in notebook["cells"][:3])
        profiles = {"recorded": "recorded (laptop)"} | {
            name: f"{name} ({asked[1]})"
            for name, of in (("recorded", "recorded"), ("yours", "profile"))
            if (asked := re.search(rf'^{of}: str = "(\w+)"', given, re.M))
        }
        found += collected(notebook, file.stem, profiles)
        for place, cell in enumerate(notebook["cells"]):
            for output in cell.get("outputs", ()):
                text = "".join(output.get("text", ()))
                if "recorded (laptop)" in text:
                    found += printed(text, f"{file.stem}, cell {place}", "recorded (laptop)")
    return tuple(found)


def contradictions(found: Iterable[Said]) -> list[str]:
    """Places that say different things of one comparison in one source, a sentence each."""
    groups: dict[tuple, list[Said]] = defaultdict(list)
    for one in found:
        groups[one.arms, one.source].append(one)
    wrong = []
    for (arms, source), own in groups.items():
        for other in own[1:]:
            first, digits = own[0], min(own[0].digits, other.digits)
            if first.figures and other.figures and not source.startswith("yours"):  # of one home or another
                near = (
                    abs(a - b) <= 0.501 * 10.0**-digits + 0.0051
                    for a, b in zip(first.figures, other.figures, strict=True)
                )
                if not all(near):
                    wrong.append(
                        f"{source} {arms}: {first.figures} in {first.where}, {other.figures} in {other.where}"
                    )
        judged = [one for one in own if one.verdict]
        signs = {
            (one.direction, one.verdict if not one.direction else "")
            for one in judged
            if one.claim in ("<", ">")
        }
        clear = {one.direction for one in judged if one.claim == "corrected" and one.direction}
        about = {(one.claim, one.verdict) for one in judged if one.claim.startswith("about")}
        both = clear | {direction for direction, _ in signs}
        if (
            len(signs) > 1
            or len(clear) > 1
            or (clear and signs and len(both) > 1)
            or len(about) > len(dict(about))
        ):
            told = ", ".join(sorted({f"{one.verdict} ({one.where})" for one in judged}))
            wrong.append(f"{source} {arms}: {told}")
    return wrong


def test_no_two_places_disagree_about_a_comparison() -> None:
    found = everything()
    seen: dict[tuple, set[str]] = defaultdict(set)
    for one in found:
        seen[one.arms, one.source].add(one.where)
    assert contradictions(found) == []
    # Not vacuously: many comparisons are printed in several places.
    assert len(found) > 150 and sum(len(places) > 1 for places in seen.values()) >= 25
    assert {"README"} < set().union(*seen.values())


@pytest.mark.parametrize("source", ["recorded (laptop)", "yours (tiny)"])
def test_a_planted_contradiction_is_found(source: str) -> None:
    found = list(everything())
    first = next(one for one in found if one.source == source and one.verdict and one.claim in ("<", ">"))
    turned = AGREES if first.verdict != AGREES else NOT_RESOLVABLE
    [sentence] = contradictions([*found, replace(first, verdict=turned, where="planted")])
    assert "planted" in sentence and source in sentence
    clear = replace(first, verdict=CLEAR, claim="corrected", where="planted")
    assert contradictions([first, clear]) and not contradictions(
        [first, replace(clear, verdict=NOT_RESOLVABLE)]
    )


def test_a_planted_interval_is_found() -> None:
    found = list(everything())
    first = next(one for one in found if one.source == "recorded (laptop)" and one.figures)
    assert first.figures
    low = replace(
        first, figures=(first.figures[0], first.figures[1] + 0.2, first.figures[2]), where="planted"
    )
    assert "planted" in contradictions([first, low])[0]
    assert contradictions([first, replace(first, where="again")]) == []
