"""The kit: faults of every kind are injected, and a table says what came of each. ``make faults`` is the full mode.

``python -m tests.faults [--share 1.0 | --ci] [--only kills ...] [--seed 0]``
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from colbert_zero_lib import committed
from colbert_zero_lib.home import data_folder as data_folder
from colbert_zero_lib.home import recording_folder
from colbert_zero_lib.keeping import write_whole
from tests.faults.kit import Outcome, Trial

KITS = {
    "kills": "long operations stopped in the middle, then done again",
    "damages": "kept files changed, cut, emptied, deleted",
    "disks": "full and read-only disks, things in the way",
    "crowds": "several processes and users at once, clocks that jump",
    "fuzz": "random inputs to every reader",
    "soak": "twenty runs in one process",
}
CI = 0.02
GOOD = (Outcome.SURVIVED, Outcome.REFUSED)
PAGE = Path(__file__).with_name("README.md")


def exists(kit: str) -> bool:
    """Whether there is a module of that name."""
    return PAGE.with_name(f"{kit}.py").exists()


def inject(kit: str, share: float, seed: int = 0) -> list[Trial]:
    """All trials of a kit, told as they come; a module that is not there yet has none."""
    if not exists(kit):
        return []
    module = importlib.import_module(f"tests.faults.{kit}")
    memory = Path("/dev/shm")  # nothing here has to outlive a power cut, and every file is flushed
    folder = Path(tempfile.mkdtemp(prefix=f"faults-{kit}-", dir=memory if memory.is_dir() else None))
    found: list[Trial] = []
    try:
        for trial in module.trials(share, seed, folder):
            found.append(trial)
            if trial.outcome not in GOOD:
                sys.stderr.write(f"{trial.outcome.value}: {trial.kind}, {trial.what}: {trial.detail}\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def rows(found: Sequence[Trial]) -> list[dict[str, Any]]:
    """A row a kind: how many faults of which sorts, and how many ended in which way."""
    table = []
    for kind in dict.fromkeys(trial.kind for trial in found):
        own = [trial for trial in found if trial.kind == kind]
        ends, ways = Counter[str](), Counter[str]()
        for trial in own:
            ends[trial.outcome.value] += trial.count
            ways[trial.what] += trial.count
        row = {
            "kind": kind,
            "injected": sum(ends.values()),
            **{each.value: ends[each.value] for each in Outcome},
        }
        table.append(row | {"ways": dict(sorted(ways.items()))})
        if len(own) == 1:
            table[-1]["said"] = own[0].detail
    return table


def markdown(pages: Sequence[dict[str, Any]]) -> str:
    """The page of all kits that have results."""
    columns = ["injected", *(each.value for each in Outcome)]
    lines = ["# What was broken, and what came of it", "", " ".join((
        "Made by `make faults` from `data/faults/`. Survived: the right result came, at once or made anew. Refused:",
        "one sentence named the place and the mend. All other columns are faults of this suite and must be 0.",
    )), ""]  # fmt: skip
    heads = ["kit", *columns, "date", "machine", "minutes"]
    lines += [_line(heads), _line(["---", *["---:"] * len(columns), "---", "---", "---:"])]
    for page in pages:
        sums = [f"{sum(row[name] for row in page['rows']):,}" for name in columns]
        machine, minutes = page["machine"], f"{page['seconds'] / 60:.0f}"
        what = f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"
        lines.append(_line([f"{page['kit']}: {KITS[page['kit']]}", *sums, page["date"], what, minutes]))
    for page in pages:
        lines += ["", f"## {page['kit']}", "", _line(["hit", *columns, "how"])]
        lines.append(_line(["---", *["---:"] * len(columns), "---"]))
        for row in page["rows"]:
            how = row.get("said") or ", ".join(row["ways"])
            lines.append(
                _line([row["kind"], *(f"{row[name]:,}" for name in columns), how.replace("|", "\\|")])
            )
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def keep(kit: str, found: Sequence[Trial], share: float, seed: int, seconds: float) -> None:
    """Write the results of a kit to ``data/faults`` and draw the page anew."""
    from benchmarks.records import machine
    from colbert_zero_lib.runs import environment_versions, git_commit

    folder = recording_folder() / "faults"
    folder.mkdir(exist_ok=True)
    page = {
        "kit": kit, "date": f"{datetime.now(timezone.utc):%Y-%m-%d}", "machine": machine(),
        "versions": environment_versions(), "git_commit": git_commit(), "share": share, "seed": seed,
        "seconds": round(seconds, 1), "rows": rows(found),
        "bad": [trial._replace(outcome=trial.outcome.value)._asdict() for trial in found if trial.outcome not in GOOD],
    }  # fmt: skip
    file = folder / f"{kit}.json"
    write_whole(file, json.dumps(page, indent=1, sort_keys=True) + "\n")
    committed.seal_again(file)
    write_page(folder)


def write_page(folder: Path) -> None:
    """``tests/faults/README.md`` from the kits' files."""
    files = [folder / f"{kit}.json" for kit in KITS]
    write_whole(PAGE, markdown([json.loads(file.read_text()) for file in files if file.exists()]))


def main(words: Sequence[str] | None = None) -> int:
    """The command: 1 where a trial ended badly."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the full number of faults")
    parser.add_argument("--ci", action="store_const", dest="share", const=CI, help="every kind, few of each")
    parser.add_argument("--only", nargs="+", choices=KITS, default=list(KITS))
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(words)
    bad = 0
    for kit in chosen.only:
        started = time.monotonic()
        found = inject(kit, chosen.share, chosen.seed)
        seconds = time.monotonic() - started
        if not found:
            continue
        for row in rows(found):
            ends = ", ".join(f"{row[each.value]} {each.value}" for each in Outcome if row[each.value])
            sys.stdout.write(f"{kit}: {row['kind']}: {row['injected']} injected, {ends}\n")
        sys.stdout.write(f"{kit}: {sum(trial.count for trial in found):,} in {seconds:.0f} s\n")
        bad += sum(trial.outcome not in GOOD for trial in found)
        if chosen.share >= 1:
            keep(kit, found, chosen.share, chosen.seed, seconds)
    return 1 if bad else 0


if __name__ == "__main__":
    os.environ.update(
        HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive", TOKENIZERS_PARALLELISM="false"
    )
    sys.exit(main())
