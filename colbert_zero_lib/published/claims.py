"""The paper's claims as data: which arms are compared, what must hold, and what would refute it.

No figure lives here but the thresholds that a claim states.
"""

from __future__ import annotations

from itertools import product

from ..errors import UnknownNameError
from ..recipes import PIPELINES, Interaction, Phase, Recipe, Step
from .comparison import Claim, Clause, Relation


def _minus(a: str, b: str, relation: Relation = ">", threshold: float = 0.0, label: str = "") -> Clause:
    return Clause(((a, 1.0), (b, -1.0)), relation, threshold, label)


_STARTS = {
    "dense supervised": "dense:unsupervised > dense:supervised",
    "dense": "dense:unsupervised",
    "colbert": "colbert:unsupervised",
    "colbert, no prompts": "colbert:unsupervised[-prompts,-length]",
}
_ENDINGS = {
    "supervised": (Phase.SUPERVISED,),
    "distilled": (Phase.SUPERVISED, Phase.DISTILLATION),
    "distilled only": (Phase.DISTILLATION,),
}


def _arm(start: str, ending: str, prompts: bool = True, length: bool = True) -> str:
    """The printed recipe of an arm of Table 4: its start, its further ColBERT phases and their switches."""
    steps = (Step(Interaction.COLBERT, phase, prompts, length) for phase in _ENDINGS[ending])
    return str(Recipe((*Recipe.parse(_STARTS[start]), *steps)))


def _prompt_gain(start: str, ending: str, sign: float = 1.0) -> dict[str, float]:
    return {_arm(start, ending, True, False): sign, _arm(start, ending, False, False): -sign}


def _interaction(start: str, ending: str) -> tuple[tuple[str, float], ...]:
    """Both switches against neither, less the gain of each alone: above zero when together they do more."""
    return tuple(
        (_arm(start, ending, prompts, length), 1.0 if prompts == length else -1.0)
        for prompts, length in product((True, False), repeat=2)
    )


_A, _B, _C = (str(PIPELINES[letter]) for letter in "abc")
_BARE = _arm("colbert, no prompts", "distilled", False, False)
_KD_GAIN = _prompt_gain("dense supervised", "distilled only")

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "full-pretraining-beats-kd-only",
        "Pre-training ColBERT itself gains more than 1.3 points over distilling a finished dense model.",
        "Figure 2, Table 2",
        "A gain of full pre-training over the KD-only model that is 1.3 points or less.",
        (_minus(_C, _A, threshold=1.3),),
    ),
    Claim(
        "full-pretraining-beats-supervised-kd",
        "Pre-training ColBERT itself is better than starting ColBERT in the supervised phase.",
        "Figure 2, Table 2",
        "A supervised + KD model that is as good as the fully pre-trained one, or better.",
        (_minus(_C, _B),),
    ),
    Claim(
        "supervised-kd-is-close-to-full",
        "Supervised + KD comes within 0.31 points of full pre-training.",
        "Figure 2, Table 2",
        "A distance of more than 0.31 points between the two, either way.",
        (_minus(_C, _B, "about", 0.31),),
    ),
    Claim(
        "almost-all-at-a-tenth-of-the-cost",
        "Supervised + KD keeps 99.4 % of the score of full pre-training for a tenth of its ColBERT hours.",
        "Figure 2, Table 2",
        "A smaller share of the score, or more than a tenth of the hours.",
        (
            Clause(((_B, 1.0), (_C, -0.994)), label="score"),
            Clause(((_B, 1.0), (_C, -0.1)), "<", label="hours", measure="GH200 hours"),
        ),
    ),
    Claim(
        "supervised-kd-beats-kd-only",
        "A supervised ColBERT phase before distillation is better than distillation alone.",
        "Figure 2, Table 2",
        "A KD-only model that is as good as the supervised + KD one, or better.",
        (_minus(_B, _A),),
    ),
    Claim(
        "supervised-kd-is-more-than-half-way",
        "Supervised + KD closes more than half of the gap between KD alone and full pre-training.",
        "Figure 2, Table 2",
        "A supervised + KD model at the middle of the other two, or below it.",
        (Clause(((_B, 1.0), (_A, -0.5), (_C, -0.5))),),
    ),
    Claim(
        "beats-the-gte-models",
        "Trained on public data alone, the full model beats GTE-ModernColBERT and its dense base gte-modernbert.",
        "Abstract, Table 2",
        "Either of the two with a BEIR mean that is as high, or higher.",
        (
            _minus(_C, "gte-moderncolbert", label="GTE-ModernColBERT"),
            _minus(_C, "gte-modernbert", label="gte-modernbert"),
        ),
    ),
    Claim(
        "overcomes-weaker-data",
        "Full pre-training makes up for dense data that are 2.4 points worse than GTE's.",
        "Table 2",
        "Dense models on the two data that are closer than that, or a gte-modernbert that stays ahead.",
        (
            _minus("gte-modernbert", _STARTS["dense supervised"], ">", 2.4, "dense models"),
            _minus(_C, "gte-modernbert", label="after pre-training"),
        ),
    ),
    Claim(
        "colbert-unsupervised-beats-dense-unsupervised",
        "After the unsupervised phase alone, late interaction is ahead of the single vector.",
        "Table 2",
        "A dense model that is as good after the same phase on the same pairs, or better.",
        (_minus(_STARTS["colbert"], _STARTS["dense"]),),
    ),
    Claim(
        "early-start-helps-the-supervised-phase",
        "After the supervised ColBERT phase, the model that was ColBERT from the start is ahead.",
        "Table 2",
        "A supervised model from the dense base that is as good, or better.",
        (_minus(_arm("colbert", "supervised"), _arm("dense", "supervised")),),
    ),
    Claim(
        "supervised-phase-improves-on-unsupervised",
        "The supervised phase improves on the unsupervised one, from either base.",
        "Table 2",
        "A model that the supervised phase leaves as it was, or makes worse.",
        (
            _minus(_arm("dense", "supervised"), _STARTS["dense"], label="dense base"),
            _minus(_arm("colbert", "supervised"), _STARTS["colbert"], label="ColBERT base"),
        ),
    ),
    Claim(
        "kd-improves-on-supervised",
        "Distillation improves on the supervised phase, from every start.",
        "Table 2",
        "A model that distillation leaves as it was, or makes worse.",
        (
            _minus(_A, _STARTS["dense supervised"], label="dense supervised"),
            _minus(_B, _arm("dense", "supervised"), label="dense base"),
            _minus(_C, _arm("colbert", "supervised"), label="ColBERT base"),
        ),
    ),
    Claim(
        "prompts-help-a-base-trained-with-them",
        "Fine-tuning with prompts helps a base that was pre-trained with them.",
        "Section 3.2, Table 3",
        "A base pre-trained with prompts that is as good when fine-tuned without, or better.",
        (
            _minus(_C, _arm("colbert", "distilled", False, False), label="ColBERT base"),
            _minus(_B, _arm("dense", "distilled", False, False), label="dense base"),
        ),
    ),
    Claim(
        "prompts-hurt-a-base-trained-without",
        "Fine-tuning with prompts hurts a base that was pre-trained without them.",
        "Section 3.2, Table 3",
        "A base pre-trained without prompts that fine-tuning with prompts leaves as it was, or improves.",
        (_minus(_arm("colbert, no prompts", "distilled"), _BARE, "<"),),
    ),
    Claim(
        "aligned-with-prompts-beats-aligned-without",
        "With prompts all along is better than without prompts all along.",
        "Section 3.2, Table 3",
        "A model without any prompt that is as good as the one with prompts in every phase, or better.",
        (_minus(_C, _BARE),),
    ),
    Claim(
        "kd-only-is-most-sensitive-to-prompts",
        "Prompts gain more in the KD-only pipeline than in the pipelines with a supervised ColBERT phase.",
        "Appendix, Tables 4 and 5",
        "Another start that gains as much from prompts at the same length, or more.",
        tuple(
            Clause(tuple((_KD_GAIN | _prompt_gain(start, "distilled", -1.0)).items()), label=label)
            for start, label in (("dense", "than dense base"), ("colbert", "than ColBERT base"))
        ),
    ),
    Claim(
        "length-helps-without-prompts",
        "The extra length of the prompts helps even when the prompts themselves are left out.",
        "Appendix, Tables 4 and 5",
        "A start that is as good without the extra length after distillation, or better.",
        tuple(
            _minus(_arm(start, ending, False, True), _arm(start, ending, False, False), label=label)
            for start, ending, label in (
                ("dense supervised", "distilled only", "KD only"),
                ("dense", "distilled", "dense base"),
                ("colbert", "distilled", "ColBERT base"),
            )
        ),
    ),
    Claim(
        "prompt-and-length-work-together-on-the-colbert-base-only",
        "Prompts and length together do less than the sum of both on the dense base, more on the ColBERT base.",
        "Appendix, Tables 4 and 5",
        "A dense base on which the two add up or more, or a ColBERT base on which they add up or less.",
        (
            Clause(_interaction("dense", "distilled"), "<", label="dense base"),
            Clause(_interaction("colbert", "distilled"), ">", label="ColBERT base"),
        ),
    ),
    Claim(
        "supervised-phase-shows-no-prompt-gain",
        "After the supervised phase alone, prompts bring no gain yet.",
        "Appendix, Tables 4 and 5",
        "A gain from prompts at the same length before distillation, from either base.",
        tuple(
            Clause(tuple(_prompt_gain(start, "supervised").items()), "<", label=label)
            for start, label in (("dense", "dense base"), ("colbert", "ColBERT base"))
        ),
    ),
    Claim(
        "length-at-evaluation-alone-changes-little",
        "Lengthening only at evaluation changes the mean by no more than a tenth of a point.",
        "Appendix, Table 4",
        "A change of more than a tenth of a point, either way (the paper says little; the tenth is ours).",
        (_minus(f"{_BARE} @ +length", _BARE, "about", 0.1),),
    ),
)


def find_claim(id: str) -> Claim:
    """The claim called ``id``; UnknownNameError lists the known ones."""
    known = {claim.id: claim for claim in CLAIMS}
    if id not in known:
        raise UnknownNameError(f"There is no claim {id!r} here: use one of {', '.join(known)}.")
    return known[id]
