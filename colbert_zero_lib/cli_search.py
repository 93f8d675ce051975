"""``colbert-zero index``, ``search``, ``serve`` and ``rerank``: a reader's own documents, searched with a model.

What an index is and does is the room ``searching``'s business.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .edge import printable
from .errors import ParameterError
from .reading import existing

if TYPE_CHECKING:
    from rich.console import Group

    from .evaluation.subjects import Subject
    from .searching.index import SearchIndex
    from .searching.matches import Look

_MODEL = "A ColBERT model: a run as for `show`, a folder, or a hub id (owner/name or owner/name@revision)."
Columns = Annotated[str | None, typer.Option(help="Of tables: by default text, document, contents, ...")]
Ids = Annotated[str | None, typer.Option(help="Of tables: by default _id, id, docid, ...")]
Overlap = Annotated[
    int | None,
    typer.Option(min=0, help="Tokens that two passages of a long document share; a quarter by default."),
]


def index(
    place: Annotated[
        Path,
        typer.Argument(
            help="Documents, with --out: a folder in BEIR's layout, a folder of Markdown or text files, a JSONL, CSV, "
            "TSV or Parquet file. Else an index."
        ),
    ],
    model: Annotated[str | None, typer.Option(help=_MODEL)] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The index: a new one, or one to which the documents are added, in place of namesakes."
        ),
    ] = None,
    add: Annotated[Path | None, typer.Option(help="Documents to add to the index PLACE.")] = None,
    delete: Annotated[
        list[str] | None, typer.Option(help="A document's id to delete from PLACE, as often as wanted.")
    ] = None,
    kind: Annotated[
        str, typer.Option(help="exact, plaid, or auto: PLAID where its look-ups were measured to be faster.")
    ] = "auto",
    overlap: Overlap = None,
    text_column: Columns = None,
    id_column: Ids = None,
) -> None:
    """Build an index of documents, add to one, delete from one, or say what one holds."""
    if out is not None and (add is not None or delete):
        raise ParameterError(
            "--out makes PLACE documents, --add and --delete make it an index: give one of them."
        )
    from .searching.documents import read_documents
    from .searching.index import SearchIndex
    from .searching.state import STATE

    folder, documents = (place, add) if out is None else (out, place)
    if out is None or (out / STATE).is_file():
        found = _opened(folder, model)
        for name, given, left in (("kind", kind, "auto"), ("overlap", overlap, None)):
            if given not in (left, found.settings[name]):
                raise ParameterError(
                    f"{folder} was built with --{name} {found.settings[name]}: leave --{name} out, or build another."
                )
    elif model is None:
        raise ParameterError(
            "A new index needs --model: a run, a folder, or a model of the hub such as lightonai/ColBERT-Zero."
        )
    else:
        if not place.exists():
            raise ParameterError(f"There are no documents at {place}.")
        here = existing(model)
        word = str(here.resolve()) if here else model
        found = SearchIndex.create(out, word, _subject(model), kind, overlap)
    if documents is not None:
        done = found.add(
            read_documents(documents, text_column, id_column), lambda said: typer.echo(said, err=True)
        )
        typer.echo(f"{done.added:,} added, {done.replaced:,} replaced, {done.unchanged:,} as they were")
    if delete:
        typer.echo(f"{found.delete(delete):,} deleted")
    kinds = ", ".join(sorted({segment.kind for segment, _ in found.segments().values()})) or "empty"
    typer.echo(printable(f"{folder}: {len(found):,} documents, {kinds}, model {found.settings['model']}"))


def search(
    place: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")],
    query: Annotated[str, typer.Argument(help="What is looked for.")],
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=1000, help="Documents shown.")] = 5,
    beside: Annotated[
        Path | None, typer.Option(help="Another model's index, whose answer is shown too.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page that needs neither network nor program.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Refuse any model but this one.")] = None,
) -> None:
    """Search an index, and say which query token met which token of a passage, with what share of the score."""
    from rich.console import Console

    from .keeping import write_whole
    from .searching.matches import look_beside
    from .searching.page import page

    opened = [_opened(place, model), *([_opened(beside, None)] if beside else [])]
    found = look_beside({f"{each.folder} ({each.settings['model']})": each for each in opened}, query, k)
    if html is not None:  # before what a pipe may cut off
        write_whole(html, page(query, found))
    for name, looks in found.items():
        typer.echo(printable(name if looks else f"{name}: nothing found"))
        for look in looks:
            Console(highlight=False).print(_shown(look))
    if html is not None:
        typer.echo(f"page: {html}")


def serve(
    place: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8321,
) -> None:
    """Answer on this machine alone, at 127.0.0.1: a page with a search box, and JSON at /search.json?q=...&k=10."""
    import asyncio

    from .searching.serve import ADDRESS, serve

    opened = _opened(place, None)
    opened.search(["ready"], 1)  # the model is opened, and what is wrong with it said, before anybody asks
    asyncio.run(serve(opened, port, lambda taken: typer.echo(f"http://{ADDRESS}:{taken}/ until Ctrl-C")))


def rerank(
    run: Annotated[Path, typer.Argument(help="A TREC run: query Q0 document rank score tag.")],
    model: Annotated[str, typer.Option(help=_MODEL)],
    corpus: Annotated[Path, typer.Option(help="The documents, as for `index`.")],
    out: Annotated[Path, typer.Option(help="The TREC run to write.")],
    queries: Annotated[
        Path | None,
        typer.Option(help="Like documents, or lines of id, tab, text; by default CORPUS/queries.jsonl."),
    ] = None,
    overlap: Overlap = None,
    text_column: Columns = None,
    id_column: Ids = None,
) -> None:
    """Put another system's ranking, a TREC run, in the order of a ColBERT model."""
    from pylate.models import ColBERT

    from .searching.documents import read_documents, read_queries
    from .searching.rerank import read_run, rerank, write_run
    from .training.devices import native_precision

    near = next((f for end in ("jsonl", "jsonl.gz") if (f := corpus / f"queries.{end}").is_file()), None)
    ranked, asked = read_run(run), read_queries(queries or near or corpus / "queries.jsonl")
    subject = _subject(model)
    if subject.open is None or not isinstance(subject.model, ColBERT):
        raise ParameterError(f"{subject.name} is no ColBERT model: reranking needs one.")
    opened = subject.model
    documents = read_documents(corpus, text_column, id_column)
    write_run(rerank(ranked, asked, documents, opened, native_precision(str(opened.device)), overlap), out)
    typer.echo(f"{out}: {len(ranked):,} queries, {sum(map(len, ranked.values())):,} documents")


def _subject(word: str) -> Subject:
    folder = existing(word)
    if "/" not in word or folder is not None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from .evaluation import find_subject
    from .home import home

    return find_subject(word, home())


def _opened(folder: Path, model: str | None) -> SearchIndex:
    from .searching.index import SearchIndex

    return SearchIndex(folder, _subject(model) if model else None)


def _shown(look: Look) -> Group:
    """A result for a terminal: what query tokens met is the brighter, the more it brought."""
    from rich.console import Group
    from rich.text import Text

    hit = look.hit
    part = f"  passage {hit.passage} of {hit.passages}" if hit.passages > 1 else ""
    text = Text()
    for piece, met in look.pieces():
        share = sum(look.matches[n].share for n in met)
        text.append(printable(piece), _style(share) if met else "")
    own = [each for each in look.matches if each.part == "text"]
    tokens = Text("  ").join(
        Text(printable(f"{each.token} → {each.met} {each.share:.0%}"), _style(each.share)) for each in own
    )
    tokens.append(f"  (markers, prompt and expansion: {1 - sum(each.share for each in own):.0%})")
    return Group(Text(printable(f"\n{hit.score:.3f}  {hit.document.id}{part}"), "bold"), text, Text(), tokens)


def _style(share: float) -> str:
    return "bold white on blue" if share >= 0.15 else "bold cyan" if share >= 0.05 else "cyan"
