"""The program of notebooks 01 to 05: its cells collected into ``nano_colbert.py``, and the text that it runs on.

What the cells say is in the notebooks; the program itself knows nothing of this library.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import NotebookError
from .keeping import damage, remove, seal, write_whole
from .scratch import scratch
from .suite import find_notebooks, notebooks_folder, read_notebook

if TYPE_CHECKING:
    from .runs.workshop import Workshop

TAG = "program"
HEAD = '''"""ColBERT-Zero in one file: three phases make an encoder a ColBERT model, with a search after each.

    colbert-zero data program TEXT
    python nano_colbert.py TEXT/encoder TEXT [RATE]

The first argument is a folder or hub id of an encoder with its tokenizer. TEXT is a folder with `pairs.jsonl` (query,
document), `scored.jsonl` (query, documents, scores of a teacher) and a collection in BEIR's layout: `corpus.jsonl`,
`queries.jsonl`, `qrels/test.tsv`. RATE is the learning rate of the first phase, 0.003 unless given; an encoder with a
long training behind it wants 0.00005.

Collected from the cells of notebooks 01 to 05 that are tagged `program` (`colbert-zero program`): edit them, not this.
"""

import csv
import json
import math
import random
import string
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import AutoModel, AutoTokenizer, get_linear_schedule_with_warmup
'''
FOOT = """if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) in (3, 4) else sys.exit(__doc__)
"""
# What of the offline text the program reads: pairs, lists with scores, queries and documents of the collection.
_SIZES = {"smoke": (200, 400, 8, 40)}
_ORDINARY = (6000, 4000, 150, 1200)
_SOURCES = ("hpo_name", "hpo_syn")
_COLLECTION = "hpo"


def collected(folder: Path | None = None) -> str:
    """The program: what it imports, cells tagged ``program`` in the order of the notebooks, and its last lines."""
    cells = [
        cell.source.strip()
        for path in find_notebooks(folder=folder)
        for cell in read_notebook(path).cells
        if cell.cell_type == "code" and TAG in cell.metadata.get("tags", [])
    ]
    return "\n\n".join([HEAD, *(f"{cell}\n" for cell in cells), FOOT])


def check_program() -> None:
    """NotebookError unless ``nano_colbert.py`` is what the notebooks say now."""
    file = notebooks_folder().parent / "nano_colbert.py"
    if not file.is_file() or file.read_text(encoding="utf-8") != collected():
        raise NotebookError(f"{file.name} is not what the notebooks say: run `colbert-zero program`.")


def write_program() -> Path:
    """Collect the program into ``nano_colbert.py`` at the root of the checkout."""
    file = notebooks_folder().parent / "nano_colbert.py"
    write_whole(file, collected())
    return file


def program_text(profile: str = "tiny", home: Path | None = None, folder: Path | None = None) -> Path:
    """The folder that the program reads, a small encoder within; made once, by default in the home folder.

    Human phenotypes, whose terms and synonyms ask for their definitions. A profile of the hub takes what tiny does.
    DataError of the offline text where it cannot be had.
    """
    from .profiles import get_profile
    from .runs.execute import obtain_base, workshop

    offline = get_profile(profile).source == "offline" and get_profile(profile).encoder
    shop = workshop(profile if offline else "tiny", home, progress=False)
    base = obtain_base(shop)
    kept = shop.home / "cache" / f"program-{base.folder.name}"
    if folder is None and damage(kept, sizes_alone=True) is None:
        return kept
    target = folder or kept
    target.parent.mkdir(parents=True, exist_ok=True)
    with scratch(".program", target.parent) as temporary:
        _write_text(shop, temporary)
        shutil.copytree(base.model_folder, temporary / "encoder")
        seal(temporary)
        remove(target)
        temporary.rename(target)
    return target


def _write_text(shop: Workshop, folder: Path) -> None:
    from datasets import concatenate_datasets

    from .corpora import write_collection
    from .corpora.sources import OfflineSource

    pairs, lists, queries, documents = _SIZES.get(shop.profile.name, _ORDINARY)
    source = shop.source
    assert isinstance(source, OfflineSource)
    write_collection(source.collections[_COLLECTION].subset(queries, documents), folder)
    training = concatenate_datasets(
        [source.corpora.training[name].select_columns(["query", "document"]) for name in _SOURCES]
    ).shuffle(seed=0)
    _write_lines(folder / "pairs.jsonl", training.select(range(pairs)))
    asked = set(training["query"])
    scored = source.scored(8, 2.0, lists, 0)
    _write_lines(folder / "scored.jsonl", (row for row in scored if row["query"] in asked))


def _write_lines(file: Path, rows: Iterable[Mapping]) -> None:
    with file.open("w", encoding="utf-8", newline="\n") as lines:
        lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
