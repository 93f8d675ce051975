"""``colbert-zero evaluate`` and ``record``: models on collections, and what of it is kept in a checkout.

What is measured and kept is the evaluation package's business.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .edge import printable
from .errors import ParameterError
from .reading import existing
from .terminal import Quiet, print_table

if TYPE_CHECKING:
    from .evaluation import Evaluation


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Runs as for `show`, folders, hub ids (owner/name or owner/name@revision), or the word bm25.",
        ),
    ],
    on: Annotated[
        list[str],
        typer.Option(
            help="offline (the eight whole collections), nanobeir, beir, one set (beir/scifact), or a folder in BEIR's "
            "layout; may be given several times."
        ),
    ],
    split: Annotated[str, typer.Option(help="Split of the judgements, for folders.")] = "test",
    drop_identical_ids: Annotated[
        bool,
        typer.Option(
            "--drop-identical-ids",
            help="For folders: take a document with the query's own id out before scoring.",
        ),
    ] = False,
    query_length: Annotated[
        int | None,
        typer.Option(help="Tokens of a query; by default the model's, on BEIR at least the set's."),
    ] = None,
    document_length: Annotated[
        int | None, typer.Option(help="Tokens of a document; by default the model's.")
    ] = None,
    query_expansion: Annotated[
        bool | None,
        typer.Option("--query-expansion/--no-query-expansion", help="By default as stored with the model."),
    ] = None,
    search: Annotated[
        str, typer.Option(help="exact, index (PLAID) or auto, the cheaper; for ColBERT models.")
    ] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="float32 or bfloat16; by default what is native here.")
    ] = None,
    keep_vectors: Annotated[
        bool,
        typer.Option("--keep-vectors", help="Keep document vectors in the home folder for the next time."),
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="A folder that gets the results in MTEB's layout.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Evaluate models on collections, with intervals; what was measured before is not measured again."""
    if not _may_need_the_hub(models, on):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from .evaluation import SearchOptions, evaluate_model, find_sets, find_subject
    from .home import home

    place = home()
    options = SearchOptions(
        search,
        precision,
        query_length,
        document_length,
        query_expansion,
        place / "vectors" if keep_vectors else None,
    )
    sets = find_sets(on, place, split, drop_identical_ids, progress=not quiet)
    found: dict[str, Evaluation] = {}
    said: set[str] = set()

    def say(sentence: str) -> None:
        if sentence not in said and not quiet:
            typer.echo(printable(sentence))
        said.add(sentence)

    for word in dict.fromkeys(models):
        subject = find_subject(word, place)
        name = subject.name if subject.name not in found else f"{subject.name}@{subject.identity[:12]}"
        found[name] = evaluate_model(subject, sets, place, options, output=output, say=say)
    _print(found)


def record(
    runs: Annotated[list[str] | None, typer.Argument(help="Runs as for `show`; all by default.")] = None,
    profile: Annotated[str | None, typer.Option(help="Only runs of this profile.")] = None,
    mark: Annotated[
        list[str] | None,
        typer.Option(
            help="Not runs but a baseline (BM25, all-MiniLM-L6-v2, cross-encoder) on the profile's collections, "
            "measured if need be; may be given several times."
        ),
    ] = None,
) -> None:
    """Copy the passports of finished runs into the checkout's data/runs."""
    from .home import home, recording_folder

    if mark:
        if profile is None:
            raise ParameterError("--mark needs --profile: a baseline is recorded on a profile's collections.")
        folder = recording_folder() / "runs"  # refuses before an hour of work
        from .evaluation import evaluate_baselines
        from .published.recorded import record_mark
        from .runs.execute import workshop

        shop = workshop(profile, progress=False)
        cache = shop.home / "cache" / "baselines"
        found = evaluate_baselines(
            shop.source, cache, collections=shop.collections, names=mark, progress=True
        )
        for name, figures in found.items():
            typer.echo(str(record_mark(profile, name, figures, folder)))
        return
    from .runs import Ledger
    from .runs import record as record_run

    ledger = Ledger(home() / "runs")
    chosen = [ledger.find(name).sound() for name in runs] if runs else ledger.sound_runs()
    for one in chosen:
        if profile in (None, one.passport["profile"]):
            typer.echo(str(record_run(one)))


def _may_need_the_hub(models: Sequence[str], sets: Sequence[str]) -> bool:
    def is_folder(word: str) -> bool:
        folder = existing(word)
        return folder is not None and folder.is_dir()

    return any("/" in word and not is_folder(word) for word in models) or any(
        word.lower().split("/")[0] in ("beir", "nanobeir") and not is_folder(word) for word in sets
    )


def _print(found: Mapping[str, Evaluation]) -> None:
    from .evaluation.statistics import groups_of

    for name, evaluation in found.items():
        names = evaluation.collections
        rows = [
            _row(group, evaluation.only(names[place] for place in places))
            for group, places in groups_of(names).items()
        ]
        if len(rows) > 1:
            rows.append(_row("mean", evaluation))
        columns = ("collection", "queries", "nDCG@10", "low", "high", "recall@100", "MRR@10")
        print_table(name, columns, rows)
    if len(found) > 1:
        _print_differences(found)


def _row(name: str, evaluation: Evaluation) -> tuple[str, ...]:
    interval = evaluation.interval()
    figures = (*interval, evaluation.mean("recall@100"), evaluation.mean("mrr@10"))
    return name, str(len(evaluation.per_query)), *(f"{figure:.4f}" for figure in figures)


def _print_differences(found: Mapping[str, Evaluation]) -> None:
    """Every pair on the same queries; p-values are Holm's over the pairs."""
    import numpy as np

    from .evaluation import difference
    from .verdicts import holm

    pairs = list(combinations(found, 2))
    differences = [difference(found[a], found[b]) for a, b in pairs]
    adjusted = holm(np.array([one.p for one in differences]))
    rows = [
        (f"{a} - {b}", f"{one.delta:+.4f}", f"{one.low:+.4f}", f"{one.high:+.4f}", f"{p:.4f}")
        for (a, b), one, p in zip(pairs, differences, adjusted, strict=True)
    ]
    print_table("difference in nDCG@10, paired by query", ("models", "mean", "low", "high", "p (Holm)"), rows)
