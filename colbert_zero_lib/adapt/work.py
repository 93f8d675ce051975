"""An adaptation from folder to finished model: every stage once, through the ledger, and what came of it.

The order of work lives here; reading, mining, training and measuring are called, not done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from filelock import BaseFileLock, FileLock

from colbert_zero_lib.adapt.division import Division, divide
from colbert_zero_lib.adapt.folder import Holding
from colbert_zero_lib.adapt.lists import prepare
from colbert_zero_lib.adapt.plan import Plan, make_plan, measure, profile_for, sized
from colbert_zero_lib.adapt.survey import Survey, survey
from colbert_zero_lib.checkpoint import Checkpoint, find_checkpoint, opening
from colbert_zero_lib.corpora.collections import Collection
from colbert_zero_lib.corpora.cross_encoder import CrossEncoder, PairScorer
from colbert_zero_lib.errors import CheckpointError
from colbert_zero_lib.evaluation import (
    Difference,
    Evaluation,
    Retriever,
    difference,
    evaluate,
    evaluate_baselines,
)
from colbert_zero_lib.keeping import digest_of, write_whole
from colbert_zero_lib.models import open_tokenizer
from colbert_zero_lib.recipes import Interaction, Phase, Recipe, Step
from colbert_zero_lib.runs import Run, origins
from colbert_zero_lib.runs.execute import retriever_of, run_recipe
from colbert_zero_lib.runs.workshop import Workshop, workshop
from colbert_zero_lib.starts import Start

Say = Callable[[str], None]
BM25, START, UNTRAINED = "BM25", "the start", "the start as a ColBERT, untrained"
ALONE, SUPERVISED, BOTH = "distillation alone", "supervised alone", "supervised, then distillation"
TRAINED = (SUPERVISED, ALONE, BOTH)
ARMS = (BM25, START, UNTRAINED, ALONE, SUPERVISED, BOTH)


@dataclass(frozen=True, eq=False)
class Result:
    """What an adaptation led to: evaluations on the test queries by arm, runs of the trained arms and of the start.

    ``chosen`` is the trained arm that is best on development; ``helped`` whether it is above the start on the test
    queries with an interval above zero.
    """

    evaluations: Mapping[str, Evaluation]
    development: Mapping[str, float]
    runs: Mapping[str, Run]

    @property
    def chosen(self) -> str:
        """The trained arm with the highest development figure, the shorter recipe of equal ones."""
        return max(TRAINED, key=lambda arm: self.development[arm])

    def against(self, arm: str) -> Difference:
        """How far the chosen arm is above another, paired by test query."""
        return difference(self.evaluations[self.chosen], self.evaluations[arm])

    @property
    def helped(self) -> bool:
        """Whether anything was gained beyond doubt."""
        return self.against(START).low > 0

    @property
    def kept(self) -> Run:
        """The run whose model is given to the reader."""
        return self.runs[self.chosen if self.helped else START]


@dataclass(frozen=True, eq=False)
class Adaptation:
    """A folder on its way to a model; each part is made on first use, and kept under ``home/adapt``.

    ``teacher`` None is the cross-encoder of the pinned wheel, else a folder or hub id of another; ``budget`` is in
    seconds.
    """

    holding: Holding
    home: Path
    start: Start
    teacher: str | None = None
    budget: float | None = None
    seed: int = 0
    progress: bool = True
    say: Say = lambda _: None

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """What the training begins from."""
        return origins.open_start(self.start, self.home)

    @cached_property
    def survey(self) -> Survey:
        """The report on the data."""
        return survey(self.holding, open_tokenizer(self.checkpoint.folder))

    @cached_property
    def division(self) -> Division:
        """Training, development and test."""
        return divide(self.holding, self.survey.rows)

    @cached_property
    def _graded(self) -> Checkpoint | None:
        return find_checkpoint(self.teacher) if self.teacher else None

    def _open_teacher(self) -> PairScorer:
        if self._graded is None:
            return CrossEncoder(self.home)
        from sentence_transformers import CrossEncoder as Another
        from torch.nn import Identity

        # Logits, as the other one gives.
        with opening(self._graded.name):
            found = Another(str(self._graded.folder), activation_fn=Identity(), local_files_only=True)
        if found.config.num_labels != 1:
            raise CheckpointError(
                f"{self._graded.name} gives {found.config.num_labels} numbers for a query and a document: name with "
                "--teacher a cross-encoder that gives one."
            )
        return found

    @cached_property
    def folder(self) -> Path:
        """Where all of it is kept, by what it follows from: the files, the start, the teacher, the budget."""
        root = self.holding.path if self.holding.path.is_dir() else self.holding.path.parent
        made = {
            "files": {str(file.relative_to(root)): digest_of(file) for file in self.holding.files},
            "columns": self.holding.columns,
            "start": self.checkpoint.identity,
            "teacher": self._graded.identity if self._graded else CrossEncoder.settings(),
            "budget": self.budget,
        }
        digest = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()
        return self.home / "adapt" / digest[:16]

    @cached_property
    def plan(self) -> Plan:
        """Made once: a run that goes on does what it began to do, however busy the machine is now."""
        file = self.folder / "plan.json"
        parts = self.division.parts
        with self._alone():
            if file.is_file():
                found = json.loads(file.read_text(encoding="utf-8"))
                return Plan(**{**found, "stages": tuple(map(tuple, found["stages"]))})
            self.say("timing the start and the teacher on a few of your documents")
            speeds = measure(self.survey, self._open_start(), self._open_teacher())
            plan = make_plan(self.survey, parts, speeds, self.budget)
            write_whole(file, json.dumps(asdict(plan)))
            return plan

    def _alone(self) -> BaseFileLock:
        """No other process plans or prepares this adaptation meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / ".lock")

    @cached_property
    def parts(self) -> dict[str, Collection]:
        """Training, development and test as the plan uses them."""
        return sized(self.plan, self.division.parts)

    def _open_start(self) -> Retriever:
        profile = profile_for(self.start, self.survey.document_length, {})
        return self._retriever(workshop(profile, self.home), Recipe(start=self.start))

    def _retriever(self, shop: Workshop, recipe: Recipe) -> Retriever:
        """What the training begins from, untouched, as the model that the last step of ``recipe`` would train."""
        model = shop.open_folder(self.checkpoint.folder, recipe, shop.prompts(recipe))
        return retriever_of(model, shop.precision)

    @cached_property
    def rows(self) -> Path:
        """The folder of triples, scored lists and collections; mined and scored where it is not there yet."""
        parts = self.parts
        with self._alone():
            return prepare(self.folder, parts, self._open_start, self._open_teacher, self.say)

    def run(self) -> Result:
        """Train and measure whatever is not there yet."""
        shop = workshop(self.plan.profile(self.start, self.rows), self.home, self.progress)
        prompts = origins.has_prompts(self.checkpoint)
        supervised, distillation = (
            Step(Interaction.COLBERT, phase, prompts=prompts, extra_length=prompts)
            for phase in (Phase.SUPERVISED, Phase.DISTILLATION)
        )
        steps = {
            START: (),
            SUPERVISED: (supervised,),
            BOTH: (supervised, distillation),
            ALONE: (distillation,),
        }
        runs: dict[str, Run] = {}
        for arm, of_arm in steps.items():
            self.say(f"{arm}: {'train and measure' if of_arm else 'measure'}")
            runs[arm] = run_recipe(Recipe(of_arm, start=self.start), seed=self.seed, shop=shop)
        found = evaluate_baselines(shop.source, names=(BM25,), cache=self.home / "cache" / "baselines")
        found |= {arm: Evaluation(run.per_query()) for arm, run in runs.items()}
        if self.checkpoint.interaction is Interaction.DENSE:
            recipe = Recipe((supervised,), start=self.start)
            file = self.folder / f"untrained-{shop.source.fingerprint[:12]}.parquet"
            if not file.is_file():
                evaluate(self._retriever(shop, recipe), shop.collections).to_parquet(file)
            found[UNTRAINED] = Evaluation.from_parquet(file)
        development = {arm: run.passport["development_mean_ndcg@10"] for arm, run in runs.items()}
        return Result({arm: found[arm] for arm in ARMS if arm in found}, development, runs)
