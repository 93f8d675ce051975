"""The page that goes with an exported model: recipe, data, scores with intervals, use, licences, limits.

Everything is read from the run and the model's own settings; nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import committed
from .home import data_folder
from .hub import COMMIT
from .recipes import Recipe
from .runs import Run
from .steps import Interaction, Step

CARD = "README.md"


def model_card(run: Run, settings: Mapping[str, Any], licence: str = "other") -> str:
    """The README of an exported model, front matter included; ``settings`` is the model's own configuration."""
    passport = run.passport
    recipe, key = Recipe.parse(passport["recipe"]), passport["key"]
    late = "query_length" in settings
    sections = [
        _front_matter(_hub_name(passport), late, licence),
        f"# `{recipe}`\n\n{_summary(passport, recipe, late)}",
        f"## Recipe\n\n{_steps(recipe, passport)}",
        f"## Data\n\n{_data(passport)}",
        f"## Scores\n\n{_scores(run)}",
        f"## Use\n\n{_use(settings, passport, late)}",
        f"## Licence\n\n{_licence(key['data'], licence)}",
        f"## Limits\n\n{_limits(passport)}",
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(base: str | None, late: bool, licence: str) -> str:
    from huggingface_hub import ModelCardData

    other = licence == "other"
    found = ModelCardData(
        language="en",
        license=licence,
        library_name="PyLate" if late else "sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=[
            *(("ColBERT", "PyLate", "multi-vector") if late else ()),
            "sentence-transformers",
            "colbert-zero",
        ],
        base_model=base,
        license_name="see-card" if other else None,
        license_link=CARD if other else None,
    )
    return f"---\n{found.to_yaml()}\n---"


def _summary(passport: Mapping[str, Any], recipe: Recipe, late: bool) -> str:
    kind = (
        "A late-interaction (ColBERT) model: one vector a token, compared with MaxSim."
        if late
        else "A dense model: one vector a text, compared with the cosine."
    )
    done = "Trained" if recipe.steps else "Evaluated"
    return (
        f"{kind} {done} by colbert_zero_lib, a suite on the paper ColBERT-Zero"
        " ([arXiv 2602.16609](https://arxiv.org/abs/2602.16609)),"
        f" at the profile `{passport['profile']}`, seed {passport['seed']}.\n\n"
        f"- begun from: {_base(passport)}\n"
        f"- parameters: {passport.get('parameters', 0):,}\n"
        f"- run: `{passport['digest']}`, commit {passport['git_commit'] or 'unknown'}, {passport['device']}\n"
        f"- versions: {', '.join(f'{name} {version}' for name, version in sorted(passport['versions'].items()))}"
    )


def _started(passport: Mapping[str, Any]) -> str:
    """The name of the checkpoint that the recipe began from, or of the profile's own base encoder."""
    return str(passport.get("start", {}).get("name") or passport["key"]["base"])


def _hub_name(passport: Mapping[str, Any]) -> str | None:
    """What `_started` names, where it is of the hub: its commits have 40 digits, a folder's digest has 64."""
    identity = passport["start"]["identity"] if "start" in passport else ""
    return _started(passport) if COMMIT.fullmatch(identity) else None


def _base(passport: Mapping[str, Any]) -> str:
    key, text = passport["key"], _started(passport)
    shape = key["settings"].get("encoder")
    if "start" in passport or not shape:
        link = f"[{text}](https://huggingface.co/{text})" if _hub_name(passport) else f"`{text}`"
        return f"{link}, {passport.get('start', {}).get('identity', 'of no known revision')}"
    budget = key["settings"]["pretraining"]
    return (
        f"ModernBERT architecture, {shape['layers']} layers x {shape['hidden']}, vocabulary {shape['vocabulary']:,},"
        f" from nothing: {budget['steps']:,} steps of masked-language modelling on the same text"
    )


def _steps(recipe: Recipe, passport: Mapping[str, Any]) -> str:
    budgets = passport["key"]["settings"]["budgets"]
    if not recipe.steps:
        return "No step was trained: this is what it began from, as it was evaluated."
    lines = [
        "| step | in words | steps x queries | documents a query | learning rate | temperature | tokens of query and"
        " document, without the extra length |",
        "|---|---|---|---|---|---|---|",
    ]
    for step in recipe.steps:
        budget = budgets[f"{step.interaction.value}:{step.phase.value}"]
        lines.append(
            f"| `{step}` | {_in_words(step)} | {budget['steps']:,} x {budget['batch_size']:,} | {budget['documents']} |"
            f" {budget['learning_rate']:.3g} | {budget['temperature']:.3g} |"
            f" {budget['query_length']}, {budget['document_length']} |"
        )
    return "\n".join(lines)


_PHASES = {
    "unsupervised": "contrastive, on pairs with in-batch negatives",
    "supervised": "contrastive, with mined hard negatives",
    "distillation": "a teacher's scores over a list, KL divergence",
}


def _in_words(step: Step) -> str:
    late = step.interaction is Interaction.COLBERT
    return (
        f"{'late interaction' if late else 'dense'}: {_PHASES[step.phase.value]};"
        f" {f'prefix {step.prefix}' if step.prefix else 'prompts' if step.prompts else 'no prompts'},"
        f" {'both lengths longer by the prompt' if step.extra_length else 'no extra length'}"
        f"{', queries expanded' if step.expansion else ''}"
        f"{f', teacher: {step.teacher}' if step.teacher else ''}"
        f"{', projected through two wider residual layers' if step.head else ''}"
        f"{', Muon for the matrices of the encoder' if step.muon else ''}"
        f"{', negatives drawn among the mined ones' if step.sampled else ''}"
    )


_ENSEMBLE = " Negatives: BM25, all-MiniLM-L6-v2 and a ColBERT model fine-tuned from it."
_TEACHERS = {
    None: f"{_ENSEMBLE} The teacher's scores are theirs, too.",
    "cross-encoder": f"{_ENSEMBLE} The teacher's scores: a cross-encoder (ms-marco-MiniLM-L-12-v2).",
    "both": f"{_ENSEMBLE} The teacher's scores: theirs, with a cross-encoder's (ms-marco-MiniLM-L-12-v2).",
}


def _is_offline(fingerprint: str) -> bool:
    from .corpora.offline import recorded_fingerprints

    return fingerprint == recorded_fingerprints().get("all")


def _data(passport: Mapping[str, Any]) -> str:
    from .corpora.hub import DISTILLATION_DATA, SUPERVISED_DATA, UNSUPERVISED_DATA

    fingerprint, teacher = passport["key"]["data"], passport["key"]["settings"].get("teacher")
    kind = "Text of whoever trained it."
    if _is_offline(fingerprint):
        kind = "The suite's offline text: what lies inside published Python packages (listed under Licence)."
    elif passport.get("source") == "hub":
        names = (f"`{name}`" for name in (UNSUPERVISED_DATA, SUPERVISED_DATA, DISTILLATION_DATA))
        kind = f"Of the Hugging Face hub, each phase its own, all or sampled: {', '.join(names)}."
    if teacher and _is_offline(fingerprint):
        steps = Recipe.parse(passport["recipe"]).steps
        kind += _TEACHERS[steps[-1].teacher if steps else None]
    facts = {**passport["data"], "fingerprint": fingerprint} | (
        {"teacher's lists": teacher} if teacher else {}
    )
    return "\n".join([kind, "", *(f"- {name}: `{value}`" for name, value in facts.items())])


def _scores(run: Run) -> str:
    from .evaluation import Evaluation

    evaluation = Evaluation(run.per_query())
    lines = ["| collection | queries | nDCG@10 | 95 % interval |", "|---|---|---|---|"]
    for name, series in evaluation.scores().items():
        mean, low, high = evaluation.only([name]).interval()
        lines.append(f"| {name} | {len(series)} | {mean:.4f} | {low:.4f} to {high:.4f} |")
    mean, low, high = evaluation.interval()
    lines.append(f"| **mean** | | **{mean:.4f}** | {low:.4f} to {high:.4f} |")
    return "\n".join([*lines, "", "Over queries, within each collection; one seed, so not over seeds."])


def _use(settings: Mapping[str, Any], passport: Mapping[str, Any], late: bool) -> str:
    prompts = settings["prompts"]
    said = f"Prompts: `{prompts['query']}` before a query, `{prompts['document']}` before a document."
    if not any(prompts.values()):
        said = "No prompts."
    if not late:
        return f"{said}\n\n{_CODE_DENSE}"
    lengths = f"{settings['query_length']} tokens of a query and {settings['document_length']} of a document"
    return (
        f"{said} Token order: `[CLS] [Q] prompt text [SEP]`, with `[D]` for documents. The files give the lengths of"
        f" the evaluation above, {lengths}, markers and prompt included. Query expansion is"
        f" {'on' if settings['do_query_expansion'] else 'off'}; punctuation of documents is not scored.\n\n{_CODE_LATE}"
    )


_CODE_LATE = """\
With [PyLate](https://github.com/lightonai/pylate) 1.6, which uses a prompt only when it is named:

```python
from pylate import models, scores

model = models.ColBERT("path/to/this/folder")
queries = model.encode(["how do I sort a list?"], prompt_name="query", is_query=True)
documents = model.encode(["sorted() returns a new list."], prompt_name="document", is_query=False)
scores.colbert_scores(queries, documents)
```

With sentence-transformers 6:

```python
from sentence_transformers import MultiVectorEncoder

model = MultiVectorEncoder("path/to/this/folder")
queries = model.encode_query(["how do I sort a list?"])
documents = model.encode_document(["sorted() returns a new list."])
model.similarity(queries, documents)
```"""
_CODE_DENSE = """\
With sentence-transformers 5 or 6:

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
queries = model.encode_query(["how do I sort a list?"])
documents = model.encode_document(["sorted() returns a new list."])
model.similarity(queries, documents)
```"""


def _licence(fingerprint: str, licence: str) -> str:
    said = "The code that trained the model is Apache-2.0. " + (
        f"Whoever exported the model gives it under `{licence}`."
        if licence != "other"
        else "Whoever publishes the model chooses its licence (`colbert-zero export --licence`) and answers for the"
        " terms of the text that it learned from."
    )
    if not _is_offline(fingerprint):
        return f"{said} The terms of the text are its owners': see the data named above."
    committed.check(data_folder() / "README.md")
    lines = (data_folder() / "README.md").read_text(encoding="utf-8").splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("| package | version |"))
    table = lines[start : lines.index("", start)]
    return "\n".join([f"{said} The text, by package:", "", *table])


def _limits(passport: Mapping[str, Any]) -> str:
    return (
        f"Trained and measured at the scale of the profile `{passport['profile']}`. Its figures compare recipes with"
        " one another on the collections above; they are no reproduction of the paper's absolute figures, and do not"
        " carry over to other text, languages or lengths."
    )
