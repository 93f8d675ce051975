"""What an adaptation will do, how long it will take and how much disk: fitted to a time where one is given.

Seconds follow from two speeds measured here, the start's and the teacher's; nothing is trained for a plan.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from colbert_zero_lib.adapt.lists import DOCUMENTS, NEGATIVES
from colbert_zero_lib.adapt.survey import QUERY_TOKENS, Survey
from colbert_zero_lib.corpora.collections import Collection
from colbert_zero_lib.corpora.cross_encoder import PairScorer
from colbert_zero_lib.errors import ParameterError
from colbert_zero_lib.evaluation import Retriever
from colbert_zero_lib.profiles import EvaluationSize, Profile, get_profile
from colbert_zero_lib.recipes import Phase
from colbert_zero_lib.starts import Start

SCALES = tuple(step / 20 for step in range(20, 0, -1))
BATCH = 24
TRAINED_TOKENS = 128  # of a document in training; longer ones cost more than they teach
MEASURED = 5  # times that development is searched in a step
# The most lists, and the most documents that are looked through in mining, test and development.
_LISTS, _POOL, _TEST, _DEVELOPMENT = 5_000, 20_000, 6_000, 800
# The most queries that are measured: the interval of 500 is narrow enough.
_QUERIES = {"test": 500, "development": 150}
_STEPS = {Phase.SUPERVISED: 200, Phase.DISTILLATION: 150}
_EPOCHS = 4
# How many times as long as reading it a token takes in a training step: forward and back, some of it twice. Measured
# on two cores: ten supervised steps planned at 22 seconds took 22, ten of distillation planned at 41 took 47.
_TRAINING = 4.0
_INDEXING = 0.25  # of the time given, at most
_VECTOR = 2 * 256  # bytes of a token's vector, here and in the reader's folder
_MODEL = 95_000_000  # bytes of a saved model; a checkpoint holds three times as much


@dataclass(frozen=True)
class Speeds:
    """Seconds the start needs for a token, and the teacher for a query with a document."""

    token: float
    pair: float


@dataclass(frozen=True)
class Plan:
    """What is done, whole or cut to a time: ``stages`` are (name, how much, seconds).

    ``indexed`` says whether all documents become an index at the end.
    """

    scale: float
    lists: int
    pool: int
    test_documents: int
    development_documents: int
    supervised: int
    distillation: int
    document_length: int
    stages: tuple[tuple[str, str, float], ...]
    disk: int
    indexed: bool = True

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(seconds for _, _, seconds in self.stages)

    def profile(self, start: Start, rows: Path) -> Profile:
        """The profile of this plan on the folder ``rows``."""
        steps = {Phase.SUPERVISED: self.supervised, Phase.DISTILLATION: self.distillation}
        return profile_for(start, self.document_length, steps, rows)


def profile_for(
    start: Start, document_length: int, steps: Mapping[Phase, int], rows: Path | None = None
) -> Profile:
    """The profile ``adapt``: that of all-MiniLM-L6-v2 on the reader's rows, from ``start``, stopped by development."""
    scale = get_profile("minilm")
    documents = {Phase.SUPERVISED: 1 + NEGATIVES, Phase.DISTILLATION: DOCUMENTS}
    budgets = {
        (phase, interaction): replace(
            budget,
            steps=steps[phase],
            batch_size=BATCH,
            documents=documents[phase],
            query_length=QUERY_TOKENS,
            document_length=min(document_length, TRAINED_TOKENS),
            measured=MEASURED,
        )
        for (phase, interaction), budget in scale.budgets.items()
        if phase in steps
    }
    return replace(
        scale,
        name="adapt",
        summary="a reader's own documents",
        source=f"folder:{rows}",
        base=str(start),
        starts={},
        budgets=budgets,
        evaluation=EvaluationSize(query_length=QUERY_TOKENS, document_length=document_length),
    )


def measure(survey: Survey, start: Retriever, teacher: PairScorer) -> Speeds:
    """Time the start on a few dozen documents of the sample, and the teacher on some of its pairs."""
    few = [row for row in survey.sample if row.document][:48]
    corpus = {str(place): row.document for place, row in enumerate(few)}
    probe = Collection("probe", corpus, {"0": few[0].document[:50]}, {"0": {"0": 1}})
    start.search(replace(probe, corpus=dict(list(corpus.items())[:4])), 1)  # the first call prepares
    began = time.perf_counter()
    start.search(probe, 1)
    between = time.perf_counter()
    pairs = [(row.query or row.document[:50], row.document) for row in few[:16]]
    teacher.predict(pairs)
    token = (between - began) / (len(few) * survey.tokens[1])
    return Speeds(token, (time.perf_counter() - between) / len(pairs))


def make_plan(
    survey: Survey, parts: dict[str, Collection], speeds: Speeds, budget: float | None = None
) -> Plan:
    """The whole plan, or the largest that ``budget`` seconds allow; ParameterError where none does."""
    for scale in SCALES:
        plan = _scaled(scale, survey, parts, speeds, budget)
        if budget is None or plan.seconds <= budget:
            return plan
    raise ParameterError(
        f"The budget is too short for these documents: the least that could teach anything takes about "
        f"{plan.seconds / 60 + 1:.0f}m here, so give that with --budget or leave it out."
    )


def _scaled(
    scale: float, survey: Survey, parts: dict[str, Collection], speeds: Speeds, budget: float | None
) -> Plan:
    training, development, test = (parts[name] for name in ("training", "development", "test"))
    documents, queries = len(training.corpus), len(training.queries)
    tests, developing = (min(_QUERIES[of.name], len(of.queries)) for of in (test, development))

    def part(most: int, there: int, least: int) -> int:
        return min(there, max(least, int(scale * min(most, there))))

    lists, pool = part(_LISTS, queries, 120), part(_POOL, documents, 500)
    of_test, of_development = part(_TEST, documents, 500), part(_DEVELOPMENT, documents, 250)
    steps = {
        phase: max(10, min(int(scale * most), _EPOCHS * lists // BATCH)) for phase, most in _STEPS.items()
    }
    query, document = survey.tokens
    short = min(document, TRAINED_TOKENS)
    test_tokens = of_test * document + tests * query
    development_tokens = of_development * document + developing * query
    searching = development_tokens * (MEASURED + 1) * speeds.token
    seconds = {
        phase: searching + steps[phase] * BATCH * (query + texts * short) * speeds.token * _TRAINING
        for phase, texts in ((Phase.SUPERVISED, 1 + NEGATIVES), (Phase.DISTILLATION, DOCUMENTS))
    }
    supervised, distilled = seconds[Phase.SUPERVISED], seconds[Phase.DISTILLATION]
    indexing = survey.documents * survey.whole * speeds.token
    indexed = budget is None or indexing <= _INDEXING * budget
    searched = f"5 models, {tests:,} queries, {of_test:,} of {documents:,} documents"
    stages = (
        ("mine", f"{lists:,} queries, {pool:,} of {documents:,} documents", pool * document * speeds.token),
        ("score", f"{lists:,} lists of {DOCUMENTS} documents", lists * DOCUMENTS * speeds.pair),
        ("supervised", f"{steps[Phase.SUPERVISED]} steps of {BATCH} queries", supervised),
        ("distillation", f"{steps[Phase.DISTILLATION]} steps of {BATCH} lists", distilled),
        ("distillation alone", "as many, to compare", distilled),
        ("measure", searched, 5 * (test_tokens + development_tokens) * speeds.token),
        (
            "index",
            f"{survey.documents:,} documents" if indexed else "left out: too long for the time given",
            indexed * indexing,
        ),
    )
    text = sum(len(row.document) for row in survey.sample) / max(len(survey.sample), 1)
    disk = int(6 * _MODEL + 4 * 3 * _MODEL + text * (documents * 2 + lists * DOCUMENTS * 2))
    disk += int(indexed * survey.documents * survey.whole * _VECTOR)
    return Plan(
        scale, lists, pool, of_test, of_development, steps[Phase.SUPERVISED], steps[Phase.DISTILLATION],
        survey.document_length, stages, disk, indexed,
    )  # fmt: skip


def seconds_of(text: str | None) -> float | None:
    """``15m``, ``2h`` or ``90s`` as seconds; ParameterError for anything else."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)\s*([smh])", text.strip())
    if not found or float(found[1]) == 0:
        raise ParameterError(f"--budget {text!r} is no time: write 90s, 15m or 2h.")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def sized(plan: Plan, parts: dict[str, Collection]) -> dict[str, Collection]:
    """The parts as the plan uses them: so many training queries, and of the corpus what is searched."""
    sizes = {
        "training": (plan.lists, plan.pool),
        "development": (_QUERIES["development"], plan.development_documents),
        "test": (_QUERIES["test"], plan.test_documents),
    }
    return {name: of.subset(*sizes[name]) for name, of in parts.items()}
