"""What is left in the reader's folder: the model with its card, its passport, an index, and one page that compares.

Everything on the page is text: what stands in documents and queries is shown and never run.
"""

from __future__ import annotations

import html
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from colbert_zero_lib.adapt.folder import documents
from colbert_zero_lib.adapt.plan import Plan
from colbert_zero_lib.adapt.survey import Survey
from colbert_zero_lib.adapt.work import BM25, START, UNTRAINED, Adaptation, Result
from colbert_zero_lib.errors import ParameterError
from colbert_zero_lib.evaluation import find_subject
from colbert_zero_lib.export import export_run, written_whole
from colbert_zero_lib.markup import whole_page
from colbert_zero_lib.runs.grid import duration, size
from colbert_zero_lib.runs.run import PASSPORT
from colbert_zero_lib.searching.index import SearchIndex
from colbert_zero_lib.searching.state import STATE

REPORT = "report.html"
_SHOWN = 300  # characters of a text
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0;font-size:.9rem}
td,th{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}
td{overflow-wrap:anywhere}
"""
Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def check_free(out: Path) -> Path:
    """``out`` as it may be written to; ParameterError where something is in it."""
    out = out.expanduser().absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ParameterError(f"--out {out} is not empty: name a folder that is, or is not there yet.")
    return out


def deliver(adaptation: Adaptation, result: Result, out: Path) -> Path:
    """Write model, passport, index and report to ``out``, which appears whole or not at all; returns the report."""
    with written_whole(out) as partial:
        partial.mkdir()
        export_run(result.kept, partial / "model")
        shutil.copyfile(result.kept.folder / PASSPORT, partial / PASSPORT)
        if result.helped and adaptation.plan.indexed:
            _index(adaptation, partial)
        (partial / REPORT).write_text(report(adaptation, result), encoding="utf-8", newline="\n")
    return out / REPORT


def _index(adaptation: Adaptation, partial: Path) -> None:
    """Copy to ``partial`` an index for its model of all documents; made at home, so that a kill loses no part of it."""
    model = find_subject(str(partial / "model"), adaptation.home)
    place = adaptation.folder / f"index-{model.identity[:12]}"
    begun = (place / STATE).is_file()
    index = SearchIndex(place, model) if begun else SearchIndex.create(place, "../model", model)
    index.add(documents(adaptation.holding), adaptation.say)
    shutil.copytree(place, partial / "index", copy_function=shutil.copyfile)


def headline(result: Result) -> str:
    """Whether it helped, in a sentence or two, with the intervals."""
    gain = result.against(START)
    said = f"{gain.delta:+.3f} nDCG@10 (95 % interval {gain.low:+.3f} to {gain.high:+.3f})"
    if not result.helped:
        found = "nothing helped" if gain.high > 0 else "training did harm"
        return (
            f"On the test queries {found} beyond doubt: the best arm on development, {result.chosen}, is {said} from "
            "the start. The start is kept."
        )
    lexical = result.against(BM25)
    than = "above" if lexical.low > 0 else "below" if lexical.high < 0 else "not to be told from"
    return (
        f"It helped: {result.chosen}, chosen on development, is {said} above the start. It is {than} BM25 "
        f"({lexical.delta:+.3f}, {lexical.low:+.3f} to {lexical.high:+.3f}).{_by_training(result)}"
    )


def _by_training(result: Result) -> str:
    if UNTRAINED not in result.evaluations:
        return ""
    of = result.against(UNTRAINED)
    gained = f"{of.delta:+.3f} of it ({of.low:+.3f} to {of.high:+.3f})"
    return f" Training gave {gained}, the rest is the change to a ColBERT."


def arms(result: Result) -> Table:
    """nDCG@10 of every arm with its interval, and how far the chosen one is above it, paired by query."""
    rows = []
    for arm, evaluation in result.evaluations.items():
        mean, low, high = evaluation.interval()
        gap = result.against(arm)
        development = result.development.get(arm)
        rows.append(
            (
                f"{arm} (chosen)" if arm == result.chosen else arm,
                f"{mean:.3f}",
                f"{low:.3f} to {high:.3f}",
                "" if development is None else f"{development:.3f}",
                "" if arm == result.chosen else f"{gap.delta:+.3f}",
                "" if arm == result.chosen else f"{gap.low:+.3f} to {gap.high:+.3f}",
            )
        )
    return ("arm", "nDCG@10", "95 % interval", "development", "chosen less this", "its interval"), rows


def stages(plan: Plan) -> Table:
    """The plan: what is done, how much of it, how long."""
    rows = [(name, amount, duration(seconds)) for name, amount, seconds in plan.stages]
    return ("stage", "how much", "time"), [
        *rows,
        ("all", f"{size(plan.disk)} of disk", duration(plan.seconds)),
    ]


def examples(survey: Survey, count: int = 5) -> Table:
    """Some rows as they are read."""
    rows = [row for row in survey.sample if row.query and row.document][:count]
    return ("query", "document"), [(row.query[:_SHOWN], row.document[:_SHOWN]) for row in rows]


def movers(adaptation: Adaptation, result: Result, count: int = 5) -> Table:
    """The test queries that fell most against the start, worst first, and those that rose most."""
    ours, theirs = (result.evaluations[arm].scores()["test"] for arm in (result.chosen, START))
    moved = (ours - theirs).sort_values(kind="stable")
    queries = adaptation.parts["test"].queries
    shown = [*moved[moved < 0].index[:count], *moved[moved > 0].index[::-1][:count]]
    rows = [(queries[name][:_SHOWN], f"{theirs[name]:.2f}", f"{ours[name]:.2f}") for name in shown]
    return ("query", "start", result.chosen), rows


def curves(result: Result) -> Table:
    """Development nDCG@10 during each trained arm's last step."""
    rows = []
    for arm, run in result.runs.items():
        points = run.passport.get("measured", ())
        rows += [(arm, ", ".join(f"{step}: {value:.3f}" for step, value in points))] if points else []
    return ("arm, its last step", "optimiser step: nDCG@10 on development"), rows


def report(adaptation: Adaptation, result: Result) -> str:
    """The page as HTML without scripts, which a browser is told to run none of."""
    survey, division, plan = adaptation.survey, adaptation.division, adaptation.plan
    spent = sum(run.passport["wall_seconds"]["evaluation"] for run in result.runs.values())
    spent += sum(
        seconds
        for arm, run in result.runs.items()
        for phase, seconds in run.passport["wall_seconds"].items()
        if phase in run.passport["queries_per_second"]
    )
    notes = [*survey.notes]
    searched, there = (len(parts["test"].corpus) for parts in (adaptation.parts, division.parts))
    if searched < there:
        notes.append(
            f"The test queries search {searched:,} of {there:,} documents, those that answer them among these: among "
            "all of them every figure would be lower."
        )
    if adaptation.holding.made:
        notes.append(
            "Nobody asked these queries: they are titles, headings and first sentences, taken out of their documents. "
            "What helps with them may not help with what your readers ask."
        )
    body = [
        "<h1>A model for your own documents</h1>",
        f"<p><strong>{_escaped(headline(result))}</strong></p>",
        _table(*arms(result)),
        "<p>Intervals are over the test queries, for these weights: one seed was trained. Queries count as independent "
        "of each other, though some may ask for one document. The chosen arm is the best "
        "on the development queries, which are neither trained on nor the test queries.</p>",
        "<h2>Your data</h2>",
        _table(("", ""), [*survey.facts, *division.facts]),
        *(f"<p>{_escaped(note)}</p>" for note in notes),
        "<h3>Some rows</h3>",
        _table(*examples(survey)),
        "<h2>The plan</h2>",
        _table(*stages(plan)),
        f"<p>Training and measuring took {_escaped(duration(spent))}.</p>",
        "<h2>While it trained</h2>",
        _table(*curves(result)),
        "<p>A step ends where development has not risen twice in a row, and leaves its best weights.</p>",
        "<h2>Queries that fell most, and that rose most</h2>",
        _table(*movers(adaptation, result)),
    ]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return whole_page("A model for your own documents", _STYLE, "\n".join(body), policy)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{_escaped(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "\n".join(["<table>", line(columns, "th"), *(line(row, "td") for row in rows), "</table>"])


def _escaped(text: str) -> str:
    return html.escape(text.encode("utf-8", "replace").decode())
