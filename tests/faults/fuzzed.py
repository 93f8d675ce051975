"""The readers that `fuzz` tries: what to give each, and what a small reader of our own finds in the same bytes."""

from __future__ import annotations

import ast
import csv
import gzip
import hashlib
import io
import json
import math
import random
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from colbert_zero_lib.errors import LONGEST, ColbertZeroError

UNKNOWN = object()  # the small reader has no opinion

Draw = Callable[[random.Random], Any]
Read = Callable[[Any, Path], Any]


@dataclass(frozen=True)
class Reader:
    """A reader under test.

    ``draw`` gives an input, ``read`` what the reader makes of it, in a folder of its own; ``right`` what it means, or
    `UNKNOWN`; ``names`` is what a refusal must name. ``weight`` is its part of the inputs.
    """

    kind: str
    draw: Draw
    read: Read
    right: Callable[[Any], Any] = lambda given: UNKNOWN
    names: str = ""
    weight: float = 1.0


def one_sentence(error: ColbertZeroError, names: str = "") -> None:
    text = str(error)
    assert "\n" not in text, f"a sentence of {len(text.splitlines())} lines: {text[:200]!r}"
    assert len(text) <= LONGEST, f"a sentence of {len(text)} characters: {text[:200]!r}"
    assert names in text, f"a sentence without {names}: {text[:200]!r}"
    text.encode()


# --- odd things ---------------------------------------------------------------------------------------------------

DIGITS, HUGE = "9" * 4_400, str(10**400)
NUMBERS = [
    *(
        "0",
        "1",
        "2",
        "-1",
        "+1",
        "1.0",
        "1.5",
        "1e0",
        "1e3",
        "1e400",
        "-1e400",
        "1e-400",
        "NaN",
        "nan",
        "inf",
    ),
    *(
        "Infinity",
        "-Infinity",
        "1_0",
        "0x1",
        "٣",
        "１",
        " 1 ",
        "1 ",
        "1,5",
        "true",
        "null",
        "-0",
        "00",
        "1.",
        ".5",
    ),
    *("2147483647", "2147483648", "9223372036854775808", HUGE, DIGITS, "", "²", "1e", "e1", "1\0", "--1"),
]
SIGNS = [
    "\u2028",
    "\u0085",
    "\u00a0",
    "\x1c",
    "\x0b",
    "\x0c",
    "\0",
    "\ufeff",
    "\u200b",
    "é",
    "e\u0301",
    "😀",
    "\x7f",
    '"',
    "'",
    "\\",
]
WORDS = [
    "q1",
    "d1",
    "a b",
    "PLAIN-2",
    "1",
    "01",
    "1.0",
    "-1",
    "None",
    "nan",
    "true",
    " x",
    "x ",
    "query-id",
    "x" * 300,
    "",
]
NAMES = [
    "",
    ".",
    "..",
    "/",
    "~",
    "~nobody-here/x",
    "a/b",
    "a/b/c",
    "a" * 300,
    "é" * 200,
    "\0",
    "a\0b",
    "con",
    "-x",
    "a\nb",
    "\ud800",
    "http://x/y",
]
PIECES = [
    *NUMBERS,
    *SIGNS,
    *WORDS,
    "\t",
    ",",
    "\n",
    "\r\n",
    "\r",
    " ",
    "{",
    "}",
    "[",
    "]",
    ":",
    '"a"',
    "\\ud800",
    "[" * 3000,
]


def chance_text(chance: random.Random, most: int = 3) -> str:
    """A text as people have, or of odd signs."""
    if chance.random() < 0.5:
        return chance.choice(WORDS)
    return "".join(chance.choice(SIGNS + WORDS) for _ in range(chance.randint(1, most)))


def chance_value(chance: random.Random, depth: int = 2) -> Any:
    """A value of JSON, often none that is wanted."""
    kind = chance.randrange(10 if depth else 8)
    if kind < 3:
        return chance_text(chance)
    if kind == 8:
        return [chance_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    if kind == 9:
        return {chance_text(chance): chance_value(chance, depth - 1) for _ in range(chance.randrange(4))}
    simple = (
        None,
        True,
        False,
        0,
        1,
        -1,
        2**31,
        10**30,
        1.0,
        0.5,
        1e308,
        math.nan,
        math.inf,
        -math.inf,
        "\ud800",
    )
    return chance.choice(simple) if chance.random() < 0.97 else 10**4_000


def odd_json(value: Any, chance: random.Random) -> str:
    """``value`` as JSON, sometimes with something in its text that no writer would write."""
    text = json.dumps(value, ensure_ascii=chance.random() < 0.5)
    roll = chance.random()
    if roll < 0.80:
        return text
    if roll < 0.83:
        return text.replace("1", chance.choice(NUMBERS), 1)
    if roll < 0.832:
        return "[" * 100_000
    if roll < 0.834:
        return text.replace("1", DIGITS, 1)
    return mutated(text, chance)


def mutated(text: str, chance: random.Random) -> str:
    """A text with a few pieces cut out, put in, or doubled."""
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(text) + 1)
        until = place + chance.choice((0, 0, 1, 1, 3, 10))
        text = text[:place] + (chance.choice(PIECES) if chance.random() < 0.7 else "") + text[until:]
    return text


def encoded(text: str, chance: random.Random) -> bytes:
    """A text as bytes: UTF-8, sometimes with a byte order mark, other ends of lines, or bytes that are no text."""
    content = text.encode("utf-8", "surrogatepass")
    roll = chance.random()
    if roll < 0.70:
        return content
    if roll < 0.78:
        return b"\xef\xbb\xbf" + content
    if roll < 0.86:
        return content.replace(b"\n", b"\r\n")
    if roll < 0.89:
        return text.encode("utf-16", "surrogatepass")
    if roll < 0.94:
        place = chance.randrange(len(content) + 1)
        return content[:place] + chance.randbytes(chance.randint(1, 3)) + content[place:]
    return content[: chance.randrange(len(content) + 1)]


def packed(content: bytes, chance: random.Random) -> bytes:
    """Gzipped, mostly well."""
    whole, roll = gzip.compress(content, 1), chance.random()
    if roll < 0.6:
        return whole
    if roll < 0.75:
        return content
    if roll < 0.9:
        return whole[: chance.randrange(len(whole))]
    place = chance.randrange(len(whole))
    return whole[:place] + chance.randbytes(2) + whole[place + 2 :]


# --- the small readers --------------------------------------------------------------------------------------------


def unpacked(content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except Exception:
        return b"\xff"  # no text either


def lines_of(content: bytes) -> list[str]:
    text = content.decode("utf-8").removeprefix("\ufeff")
    return [line.rstrip("\r") for line in text.split("\n")]


def objects_of(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines_of(content) if line.strip()]


def _grade(cell: Any) -> int:
    if isinstance(cell, str):
        assert re.fullmatch(r"[0-9.eE+-]+", cell.strip()), cell
        cell = float(cell)
    assert not isinstance(cell, bool) and cell == int(cell), cell
    return int(cell)


def qrels_of_table(content: bytes) -> Any:
    if b'"' in content:
        return UNKNOWN
    found: dict[str, dict[str, int]] = {}
    rows = [line for line in lines_of(content) if line.strip()]
    tabs = bool(rows) and "\t" in rows[0]
    cells = [row.split("\t") if tabs else re.split("[ \t]+", row.strip(" \t")) for row in rows]
    if not cells:
        return {}
    first, width = [cell.strip().lower() for cell in cells[0]], len(cells[0])
    places: tuple[int, int, int | None] = {2: (0, 1, None), 4: (0, 2, 3)}.get(width, (0, 1, 2))  # type: ignore[assignment]
    if "query-id" not in first and {*first} & {"query", "qid", "topic", "query_id", "queryid"}:
        return UNKNOWN
    if "query-id" in first:
        if "corpus-id" not in first or len({*first}) < width:
            return UNKNOWN
        places = (
            first.index("query-id"),
            first.index("corpus-id"),
            first.index("score") if "score" in first else None,
        )
        cells = cells[1:]
    for row in cells:
        grade = 1 if places[2] is None else _grade(row[places[2]])
        found.setdefault(row[places[0]], {})[row[places[1]]] = grade
    return found


def qrels_of_objects(content: bytes) -> Any:
    found: dict[str, dict[str, int]] = {}
    for row in objects_of(content):
        if not {"query-id", "corpus-id"} <= {*row}:
            return UNKNOWN
        grade = 1 if row.get("score") is None else _grade(row["score"])
        found.setdefault(str(row["query-id"]), {})[str(row["corpus-id"])] = grade
    return found


def rows_of_objects(content: bytes, shape: str) -> Any:
    found = []
    for row in objects_of(content):
        query = row.get("query") if row.get("query") is not None else row.get("anchor")
        document = row.get("document") if row.get("document") is not None else row.get("positive")
        if shape == "pair":
            found.append({"query": query, "document": document})
        elif shape == "scored":
            found.append(
                {"query": query, "documents": row["documents"], "scores": [float(s) for s in row["scores"]]}
            )
        elif (
            "positive_passages" in row
            or "negative_passages" in row
            or any(k.startswith("negative_") for k in row)
        ):
            return UNKNOWN
        else:
            negatives = row["negatives"] if row.get("negatives") is not None else row["negative"]
            found.append(
                {
                    "query": query,
                    "positive": document,
                    "negative": [negatives] if isinstance(negatives, str) else negatives,
                }
            )
    for row in found:
        if shape == "scored" and isinstance(row["documents"], str):
            row["documents"] = [row["documents"]]
        if any(
            isinstance(each, dict) for column in row.values() if isinstance(column, list) for each in column
        ):
            return UNKNOWN
    return found


# --- judgements ---------------------------------------------------------------------------------------------------


def draw_qrels_table(chance: random.Random) -> bytes:
    width, gap = chance.choice((2, 3, 3, 3, 4)), chance.choice("\t\t\t ")
    lines = []
    if chance.random() < 0.5:
        heads = {
            2: ["query-id", "corpus-id"],
            3: ["query-id", "corpus-id", "score"],
            4: ["query-id", "Q0", "corpus-id", "score"],
        }
        lines.append(gap.join(heads[width]))
    for _ in range(chance.randrange(5)):
        grade = chance.choice(NUMBERS) if chance.random() < 0.3 else str(chance.randrange(3))
        cells = [chance_text(chance), chance_text(chance), grade]
        lines.append(gap.join({2: cells[:2], 3: cells, 4: [cells[0], "0", *cells[1:]]}[width]))
    text = "\n".join(lines) + chance.choice(("", "\n"))
    return encoded(mutated(text, chance) if chance.random() < 0.3 else text, chance)


def draw_qrels_objects(chance: random.Random) -> bytes:
    rows = []
    for _ in range(chance.randrange(4)):
        row: dict[str, Any] = {"query-id": chance_text(chance), "corpus-id": chance_text(chance), "score": 1}
        if chance.random() < 0.4:
            row[chance.choice([*row, "qid", "docid"])] = chance_value(chance)
        rows.append(odd_json(row, chance))
    return encoded("\n".join(rows), chance)


def in_file(name: str, read: Callable[[Path], Any]) -> Read:
    """A read that finds its bytes in a file."""

    def found(content: bytes, folder: Path) -> Any:
        (folder / name).write_bytes(content)
        return read(folder / name)

    return found


def read_qrels_file(file: Path) -> Any:
    from colbert_zero_lib.corpora.qrels import read_qrels

    return read_qrels(file)


# --- collections and rows -----------------------------------------------------------------------------------------


def draw_collection(chance: random.Random) -> tuple[bytes, bytes, bytes]:
    def texts(begin: str) -> bytes:
        rows = []
        for number in range(chance.randint(1, 3)):
            row: dict[str, Any] = {"_id": f"{begin}{number}", "text": chance_text(chance) or "x"}
            if chance.random() < 0.4:
                row["title"] = chance_text(chance)
            if chance.random() < 0.3:
                row[chance.choice(["_id", "text", "title"])] = chance_value(chance, 1)
            rows.append(odd_json(row, chance))
        return encoded("\n".join(rows), chance if chance.random() < 0.3 else random.Random(1))

    return texts("d"), texts("q"), b"query-id\tcorpus-id\tscore\nq0\td0\t1\n"


def read_collection_of(given: tuple[bytes, bytes, bytes], folder: Path) -> Any:
    from colbert_zero_lib.corpora import read_collection

    (folder / "qrels").mkdir(exist_ok=True)
    for name, content in zip(("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"), given, strict=True):
        (folder / name).write_bytes(content)
    found = read_collection(folder)
    return (
        dict(found.corpus),
        dict(found.queries),
        {query: dict(grades) for query, grades in found.qrels.items()},
    )


def collection_right(given: tuple[bytes, bytes, bytes]) -> Any:
    corpus = {}
    for row in objects_of(given[0]):
        title, text = row.get("title") or "", row.get("text") or ""
        corpus[str(row["_id"])] = f"{title} {text}".strip() if title.strip() else text
    queries = {str(row["_id"]): row["text"] for row in objects_of(given[1])}
    return corpus, {"q0": queries["q0"]}, {"q0": {"d0": 1}}


ROW_KEYS = [
    "query",
    "anchor",
    "document",
    "positive",
    "negatives",
    "negative",
    "documents",
    "scores",
    "positive_passages",
    "negative_passages",
    "negative_0",
    "negative_" + "9" * 4_400,
]


def _row(chance: random.Random, shape: str) -> dict[str, Any]:
    row: dict[str, Any] = {"query": chance_text(chance)}
    if shape == "scored":
        row |= {"documents": [chance_text(chance) or "d", "e"], "scores": [chance.random(), 2]}
    else:
        row["document"] = chance_text(chance)
    if shape == "triple":
        row["negatives"] = [chance_text(chance) or "n" for _ in range(chance.randint(1, 3))]
    if chance.random() < 0.3:
        row[chance.choice(ROW_KEYS)] = chance_value(chance)
    return row


def draw_rows(shape: str) -> Draw:
    def draw(chance: random.Random) -> bytes:
        rows = [odd_json(_row(chance, shape), chance) for _ in range(chance.randint(0, 3))]
        return encoded("\n".join(rows), chance)

    return draw


def draw_table(gap: str) -> Draw:
    """Pairs as CSV or TSV, with the texts that it holds where it was written well."""

    def draw(chance: random.Random) -> tuple[bytes, Any]:
        rows = [
            {"query": chance_text(chance), "document": chance_text(chance)}
            for _ in range(chance.randint(1, 3))
        ]
        if chance.random() < 0.3 and gap == ",":
            rows[0]["document"] += chance.choice(("\r\n", "\n", "\r")) + "x"
        stream = io.StringIO(newline="")
        if gap == ",":
            writer = csv.writer(stream, lineterminator=chance.choice(("\n", "\r\n")))
            writer.writerows([["query", "document"], *([row["query"], row["document"]] for row in rows)])
        else:
            stream.write(
                "".join(
                    f"{one}\t{other}\n"
                    for one, other in [("query", "document"), *(row.values() for row in rows)]
                )
            )
        text = stream.getvalue()
        if chance.random() < 0.5:
            return text.encode("utf-8", "surrogatepass"), rows
        return encoded(mutated(text, chance), chance), UNKNOWN

    return draw


def tables_of(file: Path, shape: str) -> Any:
    from colbert_zero_lib.corpora import readers

    return [row for table in readers.tables(file, getattr(readers, shape)) for row in table.to_pylist()]


def in_table(name: str) -> Read:
    return lambda given, folder: in_file(name, lambda file: tables_of(file, "pair"))(given[0], folder)


def draw_parquet(chance: random.Random) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    values: list[Any] = [
        [chance_text(chance).replace("\ud800", "") for _ in range(2)],
        [["a", "b"], ["c"]],
        [{"text": "a"}, {"text": None}],
        [1, 2],
        [math.nan, 1.0],
        [b"\xff", b"a"],
        [None, "a"],
        [[1.0], [math.inf]],
        [[{"title": "t", "text": "x"}], []],
    ]
    columns = {"query": pa.array(["q1", "é"]), "document": pa.array(["d1", " x"])}
    for key in chance.sample(ROW_KEYS[:11], chance.randrange(3)):
        columns[key] = pa.array(chance.choice(values))
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream, compression="none")
    content = stream.getvalue()
    roll = chance.random()
    if roll < 0.6:
        return content
    place = chance.randrange(len(content))
    if roll < 0.8:
        return content[:place]
    return content[:place] + chance.randbytes(2) + content[place + 2 :]


def rows_of_parquet(content: bytes) -> Any:
    import pyarrow.parquet as pq

    rows = pq.read_table(io.BytesIO(content), use_threads=False).to_pylist()
    return rows_of_objects("\n".join(json.dumps(row, default=repr) for row in rows).encode(), "pair")


# --- passports, manifests, settings -------------------------------------------------------------------------------


def passport() -> dict[str, Any]:
    return {
        "profile": "tiny", "seed": 0, "recipe": "colbert:supervised", "pipeline": None, "arm": None, "device": "cpu",
        "versions": {"torch": "2"}, "git_commit": None, "wall_seconds": {"supervised": 3.0},
        "metrics": {"one": {"ndcg@10": 0.5}}, "mean_ndcg@10": 0.5, "digest": "ab",
        "key": {"recipe": "colbert:supervised", "versions": {"torch": "2"}, "settings": {"prompts": ["a", "b"]}},
    }  # fmt: skip


def draw_passport(chance: random.Random) -> bytes:
    page = passport()
    for _ in range(chance.randrange(3)):
        place = (
            chance.choice((page, page, page["key"], page["metrics"], page["versions"]))
            if isinstance(page.get("key"), dict)
            and isinstance(page.get("metrics"), dict)
            and isinstance(page.get("versions"), dict)
            else page
        )
        place[chance.choice([*place, "other"])] = chance_value(chance)
    if chance.random() < 0.1:
        page.pop(chance.choice([*page]))
    return encoded(odd_json(page, chance), chance)


def read_run(content: bytes, folder: Path) -> Any:
    from colbert_zero_lib.keeping import seal
    from colbert_zero_lib.runs import Run
    from colbert_zero_lib.runs.explain import explain

    (folder / "run.json").write_bytes(content)
    seal(folder, files=["run.json"])
    run = Run.read(folder).sound()
    explain(run, Run(folder, passport())).to_text()
    return run.passport


def json_right(content: bytes) -> Any:
    return json.loads(content.decode("utf-8").removeprefix("\ufeff"))


def draw_manifest(chance: random.Random) -> bytes:
    entries: Any = {"a": {"bytes": 1, "sha256": hashlib.sha256(b"a").hexdigest()}}
    if chance.random() < 0.6:
        entries[chance.choice(["a", *NAMES, "b"])] = chance.choice(
            (chance_value(chance), {"bytes": chance_value(chance), "sha256": chance_value(chance)})
        )
    return encoded(odd_json({"files": entries} if chance.random() < 0.9 else entries, chance), chance)


def read_manifest(content: bytes, folder: Path) -> Any:
    from colbert_zero_lib.errors import DataError
    from colbert_zero_lib.keeping import damage

    (folder / "a").write_bytes(b"a")
    (folder / "manifest.json").write_bytes(content)
    if wrong := damage(folder):
        raise DataError(f"{folder} {wrong}.")
    return "intact"


def manifest_right(content: bytes) -> Any:
    files = json.loads(content.decode("utf-8"))["files"]
    assert all(name == "a" and int(kept["bytes"]) == 1 for name, kept in files.items()), files
    return "intact"


# --- words of commands --------------------------------------------------------------------------------------------

GRAMMAR = [
    *(
        "colbert",
        "dense",
        ":",
        "unsupervised",
        "supervised",
        "distillation",
        " > ",
        ">",
        "[",
        "]",
        "-prompts",
        "+length",
    ),
    *(
        "-length",
        "+expansion",
        "+head",
        "+muon",
        "+sampled",
        "temperature=",
        "prefix=",
        "random",
        "learned",
        "none",
        "swapped",
        " @ ",
        "from ",
        "owner/name",
        "./a",
        "base",
    ),
    *(",", " ", "\n", "4", "random4", "@main", "a", "b", "c"),
]
PHASES = ("unsupervised", "supervised", "distillation")


def draw_recipe(chance: random.Random) -> str:
    roll = chance.random()
    if roll < 0.4:
        return "".join(chance.choice(GRAMMAR) for _ in range(chance.randint(1, 9)))
    late, steps = False, []
    for phase in sorted(chance.sample(PHASES, chance.randint(1, 3)), key=PHASES.index):
        late = late or chance.random() < 0.6 or phase == "distillation"
        switches = [switch for switch in ("-prompts", "-length") if chance.random() < 0.3]
        steps.append(
            f"{'colbert' if late else 'dense'}:{phase}{'[' + ' '.join(switches) + ']' if switches else ''}"
        )
    text = " > ".join(steps)
    return text if roll < 0.7 else mutated(text, chance)


def read_recipe(text: str, folder: Path) -> Any:
    from colbert_zero_lib.recipes import Recipe, find_recipe
    from colbert_zero_lib.runs.arms import grid_recipes

    found = find_recipe(text)
    assert Recipe.parse(str(found)) == found, "what is printed is another recipe"
    assert (
        str(grid_recipes(text)[0]) == str(found)
        or "," in text
        or text.strip().lower() in ("table3", "table4", "all")
    ), "the grid has another"
    assert len(found.slug.encode()) and not {"/", "\0", "\n"} & {*found.slug}
    return [(step.interaction.value, step.phase.value) for step in found.steps]


def recipe_right(text: str) -> Any:
    if text.strip().lower() in ("a", "b", "c", "base") or "from" in text.lower():
        return UNKNOWN
    return re.findall(r"(dense|colbert)\s*:\s*(unsupervised|supervised|distillation)", text.partition("@")[0])


def draw_words(chance: random.Random) -> str:
    return (
        chance_text(chance, 4)
        if chance.random() < 0.5
        else chance.choice([*NUMBERS, *NAMES, *GRAMMAR, "0,1", "0-3", "1..4"])
    )


def read_words(text: str, folder: Path) -> Any:
    """Whatever takes a word: each reads it or refuses it, and only then the next one has it."""
    from colbert_zero_lib.checkpoint import find_checkpoint
    from colbert_zero_lib.corpora.evaluation_sets import expand
    from colbert_zero_lib.corpora.sources import open_source
    from colbert_zero_lib.prefixes import Prefix
    from colbert_zero_lib.profiles import get_profile
    from colbert_zero_lib.runs import Ledger
    from colbert_zero_lib.runs.grid import read_seeds

    profile = get_profile("smoke")
    refused = []
    for read in (
        read_seeds,
        Prefix.parse,
        get_profile,
        lambda word: get_profile("smoke", word),
        expand,
        find_checkpoint,
        Ledger(folder).find,
        lambda word: open_source(_replaced(profile, source=f"folder:{word}"), folder),
        lambda word: open_source(_replaced(profile, source=word), folder),
    ):
        try:
            read(text)
        except ColbertZeroError as error:
            one_sentence(error)
            refused.append(error)
    if refused:
        raise refused[0]


def _replaced(value: Any, **changes: Any) -> Any:
    return replace(value, **changes)


def draw_parameter(chance: random.Random) -> str:
    name = chance.choice(["seeds", "seed", "profile", "recipe", "", "1a", "a-b"])
    value = chance.choice(
        [
            repr(chance_value(chance)),
            chance_text(chance),
            *NUMBERS,
            "[1, 2]",
            "{[]: 1}",
            "(" * 300,
            "{1: {2}}",
            "f'{x}'",
            "__import__('os')",
            "1+1j",
            "b'a'",
            "...",
            "-" * 5000 + "1",
        ]
    )
    return f"{name}={value}" if chance.random() < 0.95 else value


def read_parameter(text: str, folder: Path) -> Any:
    from colbert_zero_lib import cli_notebooks
    from colbert_zero_lib.suite import check_parameters

    given = cli_notebooks._assignments([text])
    if not (folder / "00_a.ipynb").exists():
        source = 'profile: str = "tiny"  # tiny | laptop\nseeds: list[int] | int = 3  # seeds\nseed: int = 0  # one'
        cells = [
            {
                "cell_type": "code",
                "execution_count": None,
                "id": "a",
                "metadata": {"tags": ["parameters"]},
                "outputs": [],
                "source": source,
            }
        ]
        page = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (folder / "00_a.ipynb").write_text(json.dumps(page))
    check_parameters(folder / "00_a.ipynb", given)
    return given


# --- rows of the hub ----------------------------------------------------------------------------------------------


def draw_lists(chance: random.Random) -> tuple[Any, Any]:
    odd = [
        repr(chance_value(chance, 1)),
        chance_text(chance),
        *NUMBERS,
        "[1, 2]",
        "['1', '2']",
        "[" * 3000,
        "[1" + "+1" * 2000 + "]",
        "{1, 2}",
        "None",
        "[None]",
        "[nan]",
        "[[1]]",
        "(1, 2)",
    ]
    cells = [chance.choice(odd) if chance.random() < 0.4 else "[1, 2]" for _ in range(2)]
    return cells[0], cells[1]


def read_lists(given: tuple[Any, Any], folder: Path) -> Any:
    import pyarrow as pa

    from colbert_zero_lib.corpora.hub_rows import parsed_lists

    table = pa.table({"query_id": [7], "document_ids": [given[0]], "scores": [given[1]]})
    found = parsed_lists(table).to_pylist()[0]
    assert all(math.isfinite(score) for score in found["scores"]), "a score that is no number"
    return found["documents"], found["scores"]


def lists_right(given: tuple[Any, Any]) -> Any:
    ids, scores = (list(ast.literal_eval(cell.replace("NaN", "0"))) for cell in given)
    assert all(type(key) in (int, str) for key in ids) and all(
        type(score) in (int, float) for score in scores
    )
    assert all(cell.lstrip()[:1] == "[" for cell in given), given
    return [str(key) for key in ids], [float(score) for score in scores]


def draw_judged(chance: random.Random) -> list[tuple[Any, Any, Any]]:
    return [
        (chance_value(chance, 1), chance_value(chance, 1), chance.choice((1, 1.0, chance_value(chance, 1))))
        for _ in range(chance.randint(1, 3))
    ]


def read_judged(given: list[tuple[Any, Any, Any]], folder: Path) -> Any:
    from colbert_zero_lib.corpora.qrels import collect_qrels

    return collect_qrels(((n, *row) for n, row in enumerate(given, start=1)), "owner/name")


def judged_right(given: list[tuple[Any, Any, Any]]) -> Any:
    found: dict[str, dict[str, int]] = {}
    for query, document, grade in given:
        found.setdefault(str(query), {})[str(document)] = _grade(grade)
    return found


# --- models of others ---------------------------------------------------------------------------------------------


def draw_configs(chance: random.Random) -> tuple[bytes, bytes, bytes]:
    modules: Any = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    own: Any = {
        "model_type": "ColBERT",
        "prompts": {"query": "q: ", "document": "d: "},
        "query_length": 32,
        "document_length": 180,
        "do_query_expansion": False,
    }
    if chance.random() < 0.5:
        own[chance.choice([*own])] = chance_value(chance)
    if chance.random() < 0.2:
        modules = chance.choice((chance_value(chance), [chance_value(chance)], modules * 2))
    return tuple(
        encoded(odd_json(page, chance), chance if chance.random() < 0.2 else random.Random(1))
        for page in ({"a": 1}, modules, own)
    )  # type: ignore[return-value]


def read_configs(given: tuple[bytes, bytes, bytes], folder: Path) -> Any:
    from colbert_zero_lib.checkpoint import find_checkpoint

    for name, content in zip(
        ("config.json", "modules.json", "config_sentence_transformers.json"), given, strict=True
    ):
        (folder / name).write_bytes(content)
    (folder / "model.safetensors").touch()
    found = find_checkpoint(str(folder))
    return found.prompts, found.lengths, found.query_expansion


def configs_right(given: tuple[bytes, bytes, bytes]) -> Any:
    own = json_right(given[2])
    prompts, expansion = own.get("prompts") or {}, own.get("do_query_expansion")
    lengths = tuple(own.get(f"{side}_length") for side in ("query", "document"))
    kept = all(type(length) is int and 0 < length < 2**31 for length in lengths)
    texts = tuple(prompts.get(side) or "" for side in ("query", "document"))
    return texts if prompts else None, lengths if kept else None, expansion


def draw_weights(chance: random.Random) -> bytes:
    """A file of safetensors, its header mostly odd."""
    header: Any = {"linear.weight": {"dtype": "F32", "shape": [8, 16], "data_offsets": [0, 512]}}
    entry = header["linear.weight"]
    if chance.random() < 0.8:
        entry[chance.choice([*entry])] = chance.choice(
            (chance_value(chance), [0, 2**40], [-1, 4], "F64", [2**63, 2])
        )
    if chance.random() < 0.2:
        header[chance_text(chance)] = chance_value(chance)
    text = odd_json(header, chance).encode("utf-8", "surrogatepass")
    size = len(text) if chance.random() < 0.8 else chance.choice((0, 1, 2**40, 2**64 - 1, len(text) + 9))
    return struct.pack("<Q", size) + text + bytes(512 if chance.random() < 0.8 else chance.randrange(600))


def read_weights(content: bytes, folder: Path) -> Any:
    from colbert_zero_lib.evaluation.subjects import find_subject
    from tests.faults.kept import _model, _scratch

    model = folder / "model"
    if not model.exists():
        shutil.copytree(_model(0, _scratch()), model)
    (model / "1_Dense" / "model.safetensors").write_bytes(content)
    return find_subject(str(model), folder, "cpu").model is not None


# --- published and recorded ---------------------------------------------------------------------------------------


def draw_published(chance: random.Random) -> bytes:
    from colbert_zero_lib.home import data_folder

    text = (data_folder() / "paper" / "table1_hyperparameters.csv").read_text()
    rows = list(csv.reader(io.StringIO(text)))
    for _ in range(chance.randrange(3)):
        row = chance.choice(rows)
        row[chance.randrange(len(row))] = chance.choice([*NUMBERS, chance_text(chance)])
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(rows)
    changed = stream.getvalue()
    return encoded(mutated(changed, chance) if chance.random() < 0.2 else changed, chance)


def read_published(file: Path) -> Any:
    from colbert_zero_lib.published.tables import paper_table

    return paper_table(1, file.parent).to_dict("list")


def published_right(content: bytes) -> Any:
    rows = list(csv.DictReader(io.StringIO("\n".join(lines_of(content)))))
    if b'"' in content:
        return UNKNOWN
    numbers = {
        name: [float(row[name]) for row in rows if row[name]]
        for name in rows[0]
        if name not in ("phase", "note", "temperature")
    }
    assert all(re.fullmatch(r"[-+0-9.eE]*", row[name]) for row in rows for name in numbers), rows
    return numbers | {"phase": [row["phase"] for row in rows], "note": [row["note"] for row in rows]}


def draw_sweep(chance: random.Random) -> bytes:
    from colbert_zero_lib.home import data_folder

    page = json.loads(
        next(
            (data_folder() / "runs" / "sweeps" / "laptop").glob("colbert-unsupervised--seed*.json")
        ).read_text()
    )
    place = chance.choice((page, page, page["rows"][0], page["outcome"]))
    place[chance.choice([*place])] = chance_value(chance)
    return encoded(odd_json(page, chance), chance)


def read_sweep_file(content: bytes, folder: Path) -> Any:
    from colbert_zero_lib.published.recorded import read_sweep

    file = folder / "laptop" / "colbert-unsupervised--seed0.json"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    return read_sweep(file).seed


def draw_result(chance: random.Random) -> bytes:
    page: dict[str, Any] = {
        "model": "m",
        "identity": "i",
        "collection": "c",
        "split": "test",
        "revision": None,
    }
    page |= {"settings": {}, "seconds": 1.5, "notes": [], "scores": {"ndcg_at_10": 0.5}}
    page["per_query"] = {"query": ["q"], "ndcg@10": [0.5], "recall@100": [0.5], "mrr@10": [1]}
    place = chance.choice((page, page["per_query"]))
    if chance.random() < 0.6:
        place[chance.choice([*place])] = chance_value(chance)
    return encoded(odd_json(page, chance), chance)


def _read_result(file: Path) -> Any:
    from colbert_zero_lib.evaluation.results import Evaluation
    from colbert_zero_lib.evaluation.sessions import read_result

    found = read_result(file)
    return {"per_query": Evaluation(found.per_query.assign(collection="c")).per_query.to_dict("list")}


def draw_costs(chance: random.Random) -> bytes:
    row: Any = {
        "documents": 100,
        "peer_build_seconds": 1.5,
        "ours_seconds_per_query": 0.5,
        "peer_seconds_per_query": 1,
    }
    row[chance.choice([*row])] = chance_value(chance)
    return encoded(odd_json({"rows": [row, {"documents": 1}]}, chance), chance)


def _read_costs(file: Path) -> Any:
    from colbert_zero_lib.evaluation.choice import measured_costs

    assert all(0 <= cost < math.inf for cost in vars(measured_costs(file)).values()), (
        "costs that are no numbers"
    )


def draw_notebook(chance: random.Random) -> bytes:
    cell: Any = {
        "cell_type": "code",
        "execution_count": None,
        "id": "a",
        "metadata": {"tags": ["parameters"]},
        "outputs": [],
    }
    cell["source"] = chance.choice(
        [
            "seed: int = 0  # one",
            "x = [",
            "x = 1 + y",
            "\0",
            "a: int = " + DIGITS,
            "a = " + "(" * 300,
            chance_text(chance),
        ]
    )
    page: Any = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    place = chance.choice((page, cell, cell["metadata"]))
    if chance.random() < 0.6:
        place[chance.choice([*place])] = chance_value(chance)
    return encoded(odd_json(page, chance), chance)


def _read_notebook(file: Path) -> Any:
    from colbert_zero_lib.suite import read_parameters

    return list(read_parameters(file))


def _packed(draw: Draw) -> Draw:
    return lambda chance: packed(draw(chance), chance)


def _unpacked(right: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    return lambda given: right(unpacked(given))


def _of_rows(kind: str, shape: str) -> Reader:
    read, right = partial(tables_of, shape=shape), partial(rows_of_objects, shape=shape)
    return Reader(f"{kind}, JSON lines", draw_rows(shape), in_file("a.jsonl", read), right, "a.jsonl", 3)


TABLE1 = "table1_hyperparameters.csv"
pairs_of = partial(tables_of, shape="pair")
pair_rows = partial(rows_of_objects, shape="pair")
READERS = (
    Reader("judgements, table", draw_qrels_table, in_file("a.tsv", read_qrels_file), qrels_of_table, "a.tsv", 6),
    Reader(
        "judgements, gzipped", _packed(draw_qrels_table), in_file("a.tsv.gz", read_qrels_file),
        _unpacked(qrels_of_table), "a.tsv.gz", 2,
    ),
    Reader(
        "judgements, JSON lines", draw_qrels_objects, in_file("a.jsonl", read_qrels_file), qrels_of_objects,
        "a.jsonl", 4,
    ),
    Reader("judgements of the hub", draw_judged, read_judged, judged_right, "owner/name", 4),
    Reader("collection", draw_collection, read_collection_of, collection_right, weight=4),
    _of_rows("pairs", "pair"),
    _of_rows("triples", "triple"),
    _of_rows("scored lists", "scored"),
    Reader(
        "pairs, gzipped", _packed(draw_rows("pair")), in_file("a.jsonl.gz", pairs_of), _unpacked(pair_rows),
        "a.jsonl.gz",
    ),
    Reader("pairs, CSV", draw_table(","), in_table("a.csv"), lambda given: given[1], "a.csv", 3),
    Reader("pairs, TSV", draw_table("\t"), in_table("a.tsv"), lambda given: given[1], "a.tsv", 3),
    Reader("rows, Parquet", draw_parquet, in_file("a.parquet", pairs_of), rows_of_parquet, "a.parquet", 0.5),
    Reader("passport", draw_passport, read_run, json_right, weight=3),
    Reader("manifest", draw_manifest, read_manifest, manifest_right, weight=3),
    Reader("recipe", draw_recipe, read_recipe, recipe_right, weight=5),
    Reader("word of a command", draw_words, read_words, weight=2),
    Reader("parameter", draw_parameter, read_parameter, weight=2),
    Reader("lists of the hub", draw_lists, read_lists, lists_right, weight=3),
    Reader("settings of a model", draw_configs, read_configs, configs_right, weight=2),
    Reader("weights", draw_weights, read_weights, weight=0.005),
    Reader("published table", draw_published, in_file(TABLE1, read_published), published_right, TABLE1, 0.7),
    Reader("recorded sweep", draw_sweep, read_sweep_file, names="seed0.json", weight=0.7),
    Reader("benchmark", draw_costs, in_file("search.json", _read_costs), names="search.json"),
    Reader("evaluation's result", draw_result, in_file("r.json", _read_result), weight=0.1),
    Reader("notebook", draw_notebook, in_file("00_a.ipynb", _read_notebook), names="00_a.ipynb", weight=0.3),
)  # fmt: skip
