"""The profiles that there are, from a second a run on two cores to the paper's own scale on many nodes.

What a profile is made of is in ``scales``.
"""

from __future__ import annotations

from dataclasses import fields, replace

from colbert_zero_lib.choices import PAPER, RELEASED, chosen
from colbert_zero_lib.errors import ProfileError
from colbert_zero_lib.recipes import TABLE1, Interaction, Phase, Step
from colbert_zero_lib.scales import EncoderShape as EncoderShape
from colbert_zero_lib.scales import EvaluationSize as EvaluationSize
from colbert_zero_lib.scales import PhaseBudget as PhaseBudget
from colbert_zero_lib.scales import PretrainingBudget as PretrainingBudget
from colbert_zero_lib.scales import Profile as Profile
from colbert_zero_lib.starts import MINILM, Start

_UNSUPERVISED, _SUPERVISED, _DISTILLATION = Phase.UNSUPERVISED, Phase.SUPERVISED, Phase.DISTILLATION
_DENSE, _COLBERT = Interaction.DENSE, Interaction.COLBERT


# Fastest with the encoder of tiny and laptop; larger encoders on a CPU prefer the default of a phase. The two differ in
# rounding (benchmarks/README.md).
_CHUNK_TOKENS = 8192


def _budgets(
    steps: tuple[int, int, int],
    batch: tuple[int, ...],
    lengths: tuple[tuple[int, int], tuple[int, int], tuple[int, int]],
    documents: tuple[int, int],
    rates: dict[tuple[Phase, Interaction], float],
    temperatures: dict[tuple[Phase, Interaction], float],
    score_scale: float,
    conversion: float | None = None,
) -> dict[tuple[Phase, Interaction], PhaseBudget]:
    """The five budgets of a profile: two interactions in the contrastive phases, ColBERT alone in distillation."""
    columns = (1, 1 + documents[0], documents[1])
    return {
        (phase, interaction): PhaseBudget(
            steps=steps[place],
            batch_size=batch[place],
            learning_rate=rates[(phase, interaction)],
            query_length=lengths[place][0],
            document_length=lengths[place][1],
            documents=columns[place],
            temperature=temperatures[(phase, interaction)],
            score_scale=score_scale if phase is _DISTILLATION else 1.0,
            conversion_learning_rate=conversion if phase is _DISTILLATION else None,
            mini_batch_tokens=_CHUNK_TOKENS,
        )
        for place, phase in enumerate(Phase)
        for interaction in Interaction
        if (phase, interaction) in rates
    }


# Ten values of each were tried at laptop (data/runs/sweeps, rule in data/README.md): none is better beyond doubt.
_RATES = {
    (_UNSUPERVISED, _DENSE): 3e-3,
    (_UNSUPERVISED, _COLBERT): 3e-3,
    (_SUPERVISED, _DENSE): 1e-3,
    (_SUPERVISED, _COLBERT): 1e-3,
    (_DISTILLATION, _COLBERT): 3e-4,
}
_TEMPERATURES = {
    (_UNSUPERVISED, _DENSE): 0.05,
    (_UNSUPERVISED, _COLBERT): 0.2,
    (_SUPERVISED, _DENSE): 0.05,
    (_SUPERVISED, _COLBERT): 0.2,
    (_DISTILLATION, _COLBERT): 1.0,
}

# What smoke, tiny and laptop share: they differ in steps, the masked-LM phase, evaluation and seeds.
_SMALL_ENCODER = EncoderShape(layers=2, hidden=128, heads=2, intermediate=256, vocabulary=16_384)


def _small_budgets(steps: tuple[int, int, int]) -> dict[tuple[Phase, Interaction], PhaseBudget]:
    return _budgets(
        steps=steps,
        batch=(128, 24, 32),
        lengths=((24, 64), (24, 64), (24, 64)),
        documents=(3, 8),
        rates=_RATES,
        temperatures=_TEMPERATURES,
        score_scale=2.0,
        conversion=1e-3,
    )


_RELEASED_SUFFIX = f"-{RELEASED}"
_FIELDS = {each.name for each in fields(PhaseBudget)}


def _with_choices(profile: Profile, side: str) -> Profile:
    """A profile of the hub with the settings of ``paper`` or ``released`` wherever ``choices`` has one."""
    budgets = {
        key: replace(
            budget, **{name: value for name, value in chosen(side, key[0]).items() if name in _FIELDS}
        )
        for key, budget in profile.budgets.items()
        if key[1] is _COLBERT
    }
    return replace(
        profile,
        name=profile.name + (_RELEASED_SUFFIX if side == RELEASED else ""),
        budgets=profile.budgets | budgets,
        query_expansion=bool(chosen(side, _UNSUPERVISED)["query_expansion"]),
    )


_MINILM_BYTES = 800_000_000
_MINILM_BUDGETS = _budgets(
    steps=(200, 200, 150),
    batch=(128, 24, 24),
    lengths=((32, 128), (32, 128), (32, 128)),
    documents=(3, 8),
    rates={**dict.fromkeys(_RATES, 5e-5), (_DISTILLATION, _COLBERT): 3e-5},
    temperatures={**_TEMPERATURES, (_SUPERVISED, _COLBERT): 0.3},
    score_scale=1.0,
    conversion=1e-4,
)
_PAPER = _with_choices(
    Profile(
        name="paper",
        summary="Table 1 as printed, on many nodes",
        source="hub",
        encoder=None,
        base="answerdotai/ModernBERT-base",
        pretraining=PretrainingBudget(steps=0),
        budgets=_budgets(
            # One epoch of 238,998,494 pairs, 1,695,819 rows and 640,000 lists (data sets of section 3). A batch is of
            # one data set, and the last batch of each is left out where it is not full.
            steps=(14_571, 26_492, 5_000),
            batch=tuple(TABLE1[phase].batch_size for phase in Phase),
            lengths=((32, 180), (32, 512), (32, 512)),  # without the prompt's tokens, which a step adds
            documents=(10, 32),
            rates={key: TABLE1[key[0]].released_learning_rate for key in _RATES},
            # Those of ColBERT are replaced by ``choices``.
            temperatures={key: 0.02 if key[1] is _DENSE else 1.0 for key in _RATES},
            score_scale=1.0,
        ),
        evaluation=EvaluationSize(query_length=32, document_length=512),
        test_sets=("beir",),
        development_sets=("nanobeir",),
        starts={
            (Step(_DENSE, _UNSUPERVISED),): Start("nomic-ai/modernbert-embed-base-unsupervised"),
            (Step(_DENSE, _UNSUPERVISED), Step(_DENSE, _SUPERVISED)): Start("nomic-ai/modernbert-embed-base"),
        },
    ),
    PAPER,
)
_BASE_STEPS = {_UNSUPERVISED: 500, _SUPERVISED: 2_000, _DISTILLATION: 1_000}
_BASE_BATCH = {phase: min(2_048, TABLE1[phase].batch_size) for phase in Phase}

_ALL = (
    Profile(
        name="smoke",
        summary="two CPU cores, no network, a second a run: whether everything works; its figures mean nothing",
        source="offline",
        encoder=EncoderShape(layers=1, hidden=64, heads=1, intermediate=64, vocabulary=2000),
        base="modernbert 1x64, offline text",
        pretraining=PretrainingBudget(steps=5, batch_size=8),
        budgets={key: replace(each, batch_size=8) for key, each in _small_budgets((12, 12, 12)).items()},
        evaluation=EvaluationSize(max_queries=8, max_documents=40, query_length=28, document_length=64),
    ),
    Profile(
        name="tiny",
        summary="two CPU cores, no network, the three pipelines in under 8 minutes",
        source="offline",
        encoder=_SMALL_ENCODER,
        base="modernbert 2x128, offline text",
        pretraining=PretrainingBudget(steps=120),
        budgets=_small_budgets((150, 80, 60)),
        evaluation=EvaluationSize(max_queries=50, max_documents=500, query_length=28, document_length=96),
    ),
    Profile(
        name="laptop",
        summary="two to eight CPU cores, no network, three pipelines x three seeds in under 2.5 hours",
        source="offline",
        encoder=_SMALL_ENCODER,
        base="modernbert 2x128, offline text",
        pretraining=PretrainingBudget(steps=400),
        budgets=_small_budgets((800, 400, 250)),
        evaluation=EvaluationSize(query_length=28, document_length=128),
        seeds=(0, 1, 2),
    ),
    Profile(
        name="mini",
        summary="one GPU, no network, the whole grid x three seeds",
        source="offline",
        encoder=EncoderShape(layers=6, hidden=384, heads=6, intermediate=768, vocabulary=16_384),
        base="modernbert 6x384, offline text",
        pretraining=PretrainingBudget(steps=3000, batch_size=256, learning_rate=1e-3),
        budgets=_budgets(
            steps=(1000, 600, 400),
            batch=(512, 64, 64),
            lengths=((24, 96), (24, 128), (24, 128)),
            documents=(4, 16),
            rates={key: rate / 3 for key, rate in _RATES.items()},
            temperatures=_TEMPERATURES,
            score_scale=2.0,
            conversion=5e-4,
        ),
        evaluation=EvaluationSize(query_length=28, document_length=180),
        seeds=(0, 1, 2),
    ),
    Profile(
        name="minilm",
        summary="two to eight CPU cores, no network: what to make of a dense model that others trained at length",
        source="offline",
        encoder=None,
        base=MINILM,
        pretraining=PretrainingBudget(steps=0),
        # A run in under 4 GB; the teacher's scores as the authors', from 0 to 1.
        budgets={
            key: replace(
                each,
                mini_batch_tokens=2048,
                kept_bytes=_MINILM_BYTES,
                score_range=1.0 if key[0] is _DISTILLATION else None,
            )
            for key, each in _MINILM_BUDGETS.items()
        },
        evaluation=EvaluationSize(max_queries=400, max_documents=1_200, query_length=32, document_length=180),
        seeds=(0, 1, 2),
        # It has been through both dense phases elsewhere; a recipe that has it learn more says so with 'from'.
        starts={
            (Step(_DENSE, _UNSUPERVISED),): Start(MINILM),
            (Step(_DENSE, _UNSUPERVISED), Step(_DENSE, _SUPERVISED)): Start(MINILM),
        },
    ),
    replace(
        _PAPER,
        name="base",
        summary="one GPU, the hub's data sampled, ModernBERT-base",
        budgets={
            key: replace(each, steps=_BASE_STEPS[key[0]], batch_size=_BASE_BATCH[key[0]])
            for key, each in _PAPER.budgets.items()
        },
        rows=tuple(_BASE_STEPS[phase] * _BASE_BATCH[phase] for phase in Phase),  # what the steps read once
        test_sets=("nanobeir",),
        development_sets=("nanobeir/NFCorpus", "nanobeir/SciFact", "nanobeir/SCIDOCS"),
    ),
    _PAPER,
)
PROFILES = {profile.name: profile for profile in _ALL}


def get_profile(name: str, choices: str | None = None) -> Profile:
    """The profile called ``name``; :class:`ProfileError` lists the known ones.

    ``choices`` says whose settings a profile of the hub takes where paper and released scripts differ (``choices``):
    ``paper``, the default, or ``released``, which is a profile of its own called ``<name>-released``.
    """
    plain = name.removesuffix(_RELEASED_SUFFIX)
    if plain not in PROFILES:
        raise ProfileError(f"there is no profile '{name}'; choose one of {', '.join(PROFILES)}")
    if choices not in (None, PAPER, RELEASED):
        raise ProfileError(f"there are no choices '{choices}'; write paper or released")
    found = PROFILES[plain]
    wanted = choices or (RELEASED if plain != name else PAPER)
    if wanted == RELEASED:
        if found.source != "hub":
            raise ProfileError(
                f"profile '{plain}' has settings of its own; --as released is for base and paper"
            )
        return _with_choices(found, RELEASED)
    return found
