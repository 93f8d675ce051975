"""What Sphinx builds the site from: the committed notebooks, and a page for each arm of the paper's tables.

`python -m book.pages FOLDER` writes it there. Nothing is executed or measured: figures come from ``data``.
"""

from __future__ import annotations

import html
import math
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbformat
import pandas as pd

from colbert_zero_lib.corpora.evaluation_sets import SETS
from colbert_zero_lib.home import data_folder
from colbert_zero_lib.paper_arms import PAPER_ROWS, PaperRow
from colbert_zero_lib.published.crosswalk import PAPER_ITEMS
from colbert_zero_lib.published.models import ModelCard, model_cards
from colbert_zero_lib.published.tables import BEIR, mteb_scores, paper_scores
from colbert_zero_lib.recipes import PIPELINES, Recipe
from colbert_zero_lib.runs.arms import arm_name, baseline_of
from colbert_zero_lib.stamps import address, without_badge
from colbert_zero_lib.suite import find_notebooks, notebooks_folder, read_notebook
from colbert_zero_lib.verdicts.deltas import findings
from colbert_zero_lib.verdicts.evidence import RunEvidence
from colbert_zero_lib.verdicts.grid import delta_findings
from colbert_zero_lib.verdicts.rerun import rerun_summary
from colbert_zero_lib.verdicts.sources import mteb_evidence, recorded_evidence
from colbert_zero_lib.verdicts.verdict import SIGN_RULE

PROFILE = "laptop"  # of the recorded runs that stand behind an arm
COLUMNS = ("average", *BEIR)
PARTS = (
    ("Start here", 0),
    ("Build it", 1),
    ("Reproduce it", 6),
    ("The paper", 10),
    ("Scale it and use it", 12),
)


@dataclass(frozen=True)
class Arm:
    """A distinct row of Tables 2 to 4: ``name`` is its printed recipe, or its model where others trained it."""

    name: str
    rows: tuple[PaperRow, ...]
    card: ModelCard | None

    @property
    def recipe(self) -> Recipe | None:
        """What makes it."""
        return self.rows[0].recipe

    @property
    def slug(self) -> str:
        """Its page's name."""
        return self.recipe.slug if self.recipe else self.name

    @property
    def title(self) -> str:
        """Its name in Table 2, or what the grid of Tables 3 and 4 calls it."""
        row = self.rows[0]
        return row.model if row.table == 2 or row.recipe is None else str(arm_name(row.recipe))

    def command(self, data_set: str) -> str:
        """What measures it on a data set of Table 2, or all: from released weights, or from a run of one's own."""
        card = self.card
        model = f"{card.hub_id}{f'@{card.revision}' * bool(card.revision)}" if card else f"'{self.name}'"
        return f"colbert-zero evaluate {model} --on {beir_name(data_set)}"


def arms() -> list[Arm]:
    """Every arm of Tables 2 to 4, in the paper's order."""
    cards = {card.recipe or card.name: card for card in model_cards()}
    rows: dict[str, list[PaperRow]] = {}
    for row in PAPER_ROWS:
        rows.setdefault(str(row.recipe or row.model), []).append(row)
    return [Arm(name, tuple(of), cards.get(name)) for name, of in rows.items()]


@cache
def beir_name(data_set: str) -> str:
    """A data set's name for `colbert-zero evaluate`; ``beir`` is the average over all."""
    if data_set in ("average", "CQADupstack"):
        return "beir" if data_set == "average" else "beir/cqadupstack"
    tasks = set(mteb_scores().query("beir_name == @data_set")["task"])
    return next(name for name, each in SETS.items() if name.startswith("beir/") and each.task in tasks)


def html_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], ids: Sequence[str] = (), kind: str = ""
) -> str:
    """A table of ready HTML cells on one line, so that Markdown leaves it alone; ``ids`` name its rows."""
    body = ""
    for place, row in enumerate(rows):
        name = f' id="{ids[place]}"' if ids else ""
        body += f"<tr{name}>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
    top = "<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"
    table = f'<table class="table cells {kind}"><thead>{top}</thead><tbody>{body}</tbody></table>'
    return f'<div class="pst-scrollable-table-container">{table}</div>\n'


def link(words: str, target: str) -> str:
    """A link in HTML."""
    return f'<a href="{target}">{words}</a>'


def code(text: str) -> str:
    """A command or a recipe in HTML; an option and its value stay on one line."""
    words = re.sub(r"--\w+ \S+", r'<span class="whole">\g<0></span>', html.escape(text, quote=False))
    return f"<code>{words}</code>"


def points(value: float, low: float = math.nan, high: float = math.nan, sign: str = "+") -> str:
    """A figure or, signed, a difference in points, and its interval where it has one; a dash for none."""
    if math.isnan(value):
        return "–"
    ends = "" if math.isnan(low) else f" [{low:{sign}.2f}, {high:{sign}.2f}]"
    return f"{value:{sign}.2f}{ends}".replace("-", "−")


def comparisons(known: Sequence[Arm], scores: pd.DataFrame, source: RunEvidence) -> pd.DataFrame:
    """Each arm less the one without any switch and less ColBERT-Zero: the paper's difference, and recorded runs'."""
    rows = []
    for arm in known:
        others = (baseline_of(arm.recipe), PIPELINES["c"]) if arm.recipe else ()
        for other in dict.fromkeys(map(str, others)):
            if other in scores.index and other != arm.name:
                paper = float(scores.loc[arm.name, "average"] - scores.loc[other, "average"])
                rows.append(({"arm": arm.name, "other": other, "paper": paper}, {arm.name: 1.0, other: -1.0}))
    return findings(source, rows)


@cache
def _rerun() -> tuple[pd.DataFrame, pd.DataFrame]:
    """MTEB's scores by arm, and how far they lie from the paper's."""
    return mteb_evidence().scores, rerun_summary()


def arm_page(
    arm: Arm,
    slugs: Mapping[str, str],
    scores: pd.Series,
    source: RunEvidence,
    compared: pd.DataFrame,
) -> str:
    """What every cell of an arm's rows opens onto: how to recompute it, its recorded runs, its verdict, its cells."""
    tables = dict.fromkeys(row.table for row in arm.rows)
    printed = ", ".join(f"[Table {table}](../tables.md#table-{table})" for table in tables)
    lines = [f"# {arm.title}\n", f"Printed in {printed}. nDCG@10 in points.\n", "## Recompute it\n"]
    if arm.card:
        lines.append(f"The weights are released as [{arm.card.hub_id}]({arm.card.link}). Measure them:\n")
        lines.append(f"```sh\n{arm.command('average')}\n```\n")
    if arm.recipe:
        lines.append("Train it with the paper's settings, for many GPUs, or small, for two cores:\n")
        trainings = (f"colbert-zero run '{arm.name}' --profile {profile}" for profile in ("paper", PROFILE))
        lines += ["```sh", *trainings, "```\n"]
    else:
        lines.append("Others trained this model by other means, so no recipe here makes it.\n")
    lines += ["## Recorded runs and verdict\n", *_recorded(arm, slugs, source, compared), "## Every cell\n"]
    again, (rerun, summary) = dict.fromkeys(COLUMNS, math.nan), _rerun()
    if arm.name in rerun.index:
        own, found = rerun.loc[arm.name], summary.loc[arm.rows[0].model]
        again |= {**own, "average": own.mean()}
        gap = points(found["mean"], found["low"], found["high"])
        lines.append(f"MTEB's rerun less the paper, with its interval over the 15 data sets: {gap}.\n")
    if arm.card is None:
        lines.append("No checkpoint is released: these commands measure your own run of profile `paper`.\n")
    rows = []
    for name in COLUMNS:
        figures = (
            points(scores[name], sign=""),
            points(again[name], sign=""),
            points(again[name] - scores[name]),
        )
        rows.append((name, *figures, code(arm.command(name))))
    heads = ("data set", "paper", "MTEB's rerun", "rerun less paper", "command")
    return "\n".join([*lines, html_table(heads, rows, COLUMNS)])


def _recorded(
    arm: Arm, slugs: Mapping[str, str], source: RunEvidence, compared: pd.DataFrame
) -> Iterable[str]:
    runs = source.means.get(arm.name, {})
    if not runs:
        yield "No run of it is recorded, so there is no verdict on it.\n"
        return
    yield f"Trained at profile `{PROFILE}`: a small encoder, offline text, the mean of eight collections. Such a run"
    yield "tests orderings and signs, never the paper's absolute score.\n"
    files = {seed: f"{arm.slug}--seed{seed}.json" for seed in runs}
    passports = {seed: link(file, f"../runs/{PROFILE}/{file}") for seed, file in files.items()}
    rows = [(str(seed), points(mean, sign=""), passports[seed]) for seed, mean in runs.items()]
    yield html_table(("seed", "recorded nDCG@10", "passport of the run"), rows)
    held = []
    for row in compared[compared["arm"] == arm.name].itertuples():
        figures = points(row.paper), points(row.value, row.low, row.high), str(row.seeds)
        held.append((link(code(row.other), f"{slugs[row.other]}.html"), *figures, f"<b>{row.verdict}</b>"))
    if held:
        yield html_table(("less", "paper", "recorded", "seeds", "verdict"), held)


def tables_page(known: Sequence[Arm], scores: pd.DataFrame, deltas: pd.DataFrame) -> str:
    """Tables 2 to 5, every cell of which is a link to what stands behind it."""
    slugs = {arm.name: arm.slug for arm in known}
    shows = {item.title: item.shows for item in PAPER_ITEMS}
    heads = {n: f"(table-{n})=\n## Table {n}: {shows[f'Table {n}']}\n" for n in (2, 3, 4, 5)}
    lines = ["---\nhtml_theme.sidebar_secondary.remove: true\n---\n# The paper's tables, cell by cell\n"]
    lines.append(
        "Click a number: behind it are the command that recomputes it, the recorded runs and the verdict.\n"
    )
    for table in (2, 3, 4):
        rows = []
        for row in (row for row in PAPER_ROWS if row.table == table):
            name = str(row.recipe or row.model)
            place = f"arms/{slugs[name]}.html"
            rows.append(
                (row.model, *(link(points(scores.loc[name, c], sign=""), f"{place}#{c}") for c in COLUMNS))
            )
        lines += [heads[table], html_table(("", *COLUMNS), rows, kind="paper")]
    lines += [heads[5], *_deltas(deltas, slugs), f"A verdict asks for the sign only; {SIGN_RULE}.\n"]
    return "\n".join([*lines, "```{toctree}\n:hidden:\n:glob:\n\narms/*\n```\n"])


def _deltas(deltas: pd.DataFrame, slugs: Mapping[str, str]) -> Iterable[str]:
    """Table 5 as printed, then a row for each of its cells."""
    effects = list(dict.fromkeys(deltas["effect"]))
    printed: dict[str, dict[str, str]] = {}
    behind = []
    for place, row in enumerate(deltas.itertuples()):
        name = f"{row.stage} from {row.start}"
        printed.setdefault(name, {})[row.effect] = link(points(row.paper), f"#delta-{place}")
        figures = points(row.paper), points(row.value, row.low, row.high), str(row.seeds)
        sides = {"with": row.arm, "without": row.baseline}
        links = ", ".join(link(words, f"arms/{slugs[arm]}.html") for words, arm in sides.items())
        command = code(f"colbert-zero grid '{row.arm}, {row.baseline}' --profile {PROFILE}")
        behind.append((f"{row.effect}: {name}", *figures, f"<b>{row.verdict}</b>", links, command))
    rows = [(name, *(of.get(effect, "") for effect in effects)) for name, of in printed.items()]
    yield html_table(("", *effects), rows, kind="paper")
    yield "### Behind each delta\n"
    heads = ("delta", "paper", f"recorded ({PROFILE})", "seeds", "verdict", "arms", "command")
    yield html_table(heads, behind, [f"delta-{place}" for place in range(len(behind))])


def index_page(front: str) -> str:
    """The front page: its text, and in the margin the notebooks in reading order under their parts."""
    tree = "```{{toctree}}\n:hidden:\n:glob:\n:caption: {}\n\n{}\n```\n"
    parts: dict[str, list[str]] = {}
    for path in find_notebooks():
        part = next(part for part, first in reversed(PARTS) if int(path.stem[:2]) >= first)
        parts.setdefault(part, []).append(f"notebooks/{path.stem}")
    parts["Look it up"] = ["tables", "notebooks/[A-Z]*", "data/README", "data/*/README"]
    parts["Look it up"].append("Reference <api/colbert_zero_lib/index>")
    return "\n".join([front, *(tree.format(part, "\n".join(names)) for part, names in parts.items())])


def settled(text: str, page: Path, source: Path) -> str:
    """A page's Markdown with the links that the site can follow; others lead to the repository, or are words alone."""

    def mend(found: re.Match[str]) -> str:
        words, target = found[1], re.sub(r"(figures/tables/.*)\.md$", r"\1.csv", found[2])
        place = (page.parent / target).resolve()
        if place.is_file():
            return f"[{words}]({target})"
        name = place.relative_to(source.resolve()) if place.is_relative_to(source.resolve()) else None
        return f"[{words}]({address()}/blob/main/{name})" if address() and name else words

    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!\w+:|#)([^)]+)\)", mend, text)


def write(folder: Path) -> None:
    """Write the site's sources below ``folder``, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    root, source = notebooks_folder().parent, folder / "source"
    for name in ("figures", "data/paper", "data/mteb", "notebooks"):
        shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns(".*"))
    shutil.copy(root / "data" / "README.md", source / "data")
    for page in (*source.glob("notebooks/*.md"), *source.glob("data/**/*.md")):
        page.write_text(settled(page.read_text("utf-8"), page, source), "utf-8")
    for path in find_notebooks(folder=source / "notebooks"):
        notebook = read_notebook(path)
        notebook.cells[0].source = without_badge(
            notebook.cells[0].source
        )  # the theme has a button of its own
        for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
            if text := output.get("data", {}).get("text/markdown"):
                output.data["text/markdown"] = re.sub(r"\((\d\d_\w+)\.ipynb\)", r"(\1.html)", text)
        nbformat.write(notebook, path)
    front = (Path(__file__).parent / "front.md").read_text("utf-8")
    (source / "index.md").write_text(index_page(front), "utf-8")
    _write_tables(source, folder / "extra" / "runs" / PROFILE)


def _write_tables(source: Path, passports: Path) -> None:
    known, scores, recorded = arms(), paper_scores(), recorded_evidence(PROFILE)
    slugs = {arm.name: arm.slug for arm in known}
    compared = comparisons(known, scores, recorded)
    (source / "arms").mkdir()
    passports.mkdir(parents=True)
    for arm in known:
        page = arm_page(arm, slugs, scores.loc[arm.name], recorded, compared)
        (source / "arms" / f"{arm.slug}.md").write_text(page, "utf-8")
        for seed in recorded.means.get(arm.name, {}):
            shutil.copy(data_folder() / "runs" / PROFILE / f"{arm.slug}--seed{seed}.json", passports)
    (source / "tables.md").write_text(tables_page(known, scores, delta_findings(recorded)), "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
