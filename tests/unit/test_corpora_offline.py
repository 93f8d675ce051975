"""The stored offline text: loaded as built, built once, rebuilt when damaged, compared with the record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from colbert_zero_lib.corpora import build, offline
from colbert_zero_lib.corpora.material import Draft, Pair


def small_text() -> build.OfflineText:
    sources = (*build.UNSUPERVISED_SOURCES, *build.SUPERVISED_SOURCES)
    names = (*build.TEST_COLLECTIONS, *build.DEVELOPMENT_COLLECTIONS)
    return build.OfflineText(
        pairs={s: [Pair(f"{s}:{n}", f"query {n} é", f"document {n}") for n in range(3)] for s in sources},
        drafts={
            n: Draft({"d1": f"one of {n}", "d2": "two"}, {"q": "which"}, {"q": {"d2", "d1"}}) for n in names
        },
        dropped={source: {"short": 2} for source in sources},
    )


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replaces reading the wheels by a small text, and counts how often it is built."""
    calls: list[int] = []

    def build_small(*_: object) -> build.OfflineText:
        calls.append(1)
        return small_text()

    monkeypatch.setattr(offline, "_build_with_bar", build_small)
    monkeypatch.setattr(offline, "fetch_wheels", lambda *_, **__: {})
    monkeypatch.setattr(offline, "recorded_fingerprints", lambda: build.fingerprints(small_text()))
    return calls


def test_what_is_built_is_what_is_loaded(tmp_path: Path, builds: list[int]) -> None:
    found = offline.load_offline(tmp_path, progress=False)
    text = small_text()
    assert {s: [tuple(row.values()) for row in table] for s, table in found.training.items()} == text.pairs
    assert found.training["icd"].column_names == ["id", "query", "document"]
    assert found.fingerprint == build.fingerprints(text)["all"]
    assert tuple(found.collections) == build.TEST_COLLECTIONS
    assert found.development["dev-aws"].corpus == {"d1": "one of dev-aws", "d2": "two"}
    assert found.collections["cwe"].qrels == {"q": {"d1": 1, "d2": 1}}
    row = found.statistics.loc["training", "py_name"]
    assert (row["phase"], row["rows"], row["dropped"]) == ("unsupervised", 3, 2)
    assert found.statistics.loc[("test", "cwe"), "documents"] == 2


def test_the_second_call_builds_nothing(tmp_path: Path, builds: list[int]) -> None:
    offline.load_offline(tmp_path, progress=False)
    offline.load_offline(tmp_path, progress=False)
    assert len(builds) == 1


@pytest.mark.parametrize(
    "damage", ["summary.json", "training/icd/data-00000-of-00001.arrow", "collections/cwe/corpus.jsonl"]
)
@pytest.mark.parametrize("how", ["removed", "cut off", "altered"])
@pytest.mark.filterwarnings("ignore:The offline text in")
def test_damage_is_noticed_and_mended(tmp_path: Path, builds: list[int], damage: str, how: str) -> None:
    first = offline.load_offline(tmp_path, progress=False)
    rows = first.training["icd"][:]
    path = next((tmp_path / "corpora").glob(f"*/{damage}"))
    if how == "removed":
        path.unlink()
    else:
        content = path.read_bytes()
        path.unlink()  # the first table has the old file mapped into memory
        half = len(content) // 2
        path.write_bytes(
            content[:half] + (bytes([content[half] ^ 1]) + content[half + 1 :] if how == "altered" else b"")
        )
    again = offline.load_offline(tmp_path, progress=False)
    assert len(builds) == 2
    assert again.training["icd"][:] == rows


def test_an_interrupted_build_leaves_nothing_behind(
    tmp_path: Path, builds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(offline, "write_collection", interrupted)
        with pytest.raises(KeyboardInterrupt):
            offline.load_offline(tmp_path, progress=False)
    assert [path for path in (tmp_path / "corpora").iterdir() if path.is_dir()] == []
    assert offline.load_offline(tmp_path, progress=False).fingerprint


def test_another_text_than_the_recorded_one_is_said_plainly(
    tmp_path: Path, builds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = build.fingerprints(small_text()) | {"all": "0" * 64, "training/icd": "1" * 64}
    monkeypatch.setattr(offline, "recorded_fingerprints", lambda: recorded)
    with pytest.warns(
        UserWarning, match=r"recorded runs used 0000000000000000: training/icd differ, so do not compare"
    ):
        offline.load_offline(tmp_path, progress=False)


def test_fingerprints_change_with_any_part_and_only_there() -> None:
    before, text = build.fingerprints(small_text()), small_text()
    text.drafts["cwe"].qrels["q"].remove("d1")
    text.pairs["icd"][0] = text.pairs["icd"][0]._replace(document="another")
    after = build.fingerprints(text)
    assert {name for name in before if before[name] != after[name]} == {
        "all",
        "collections/cwe",
        "training/icd",
    }


def test_the_builder_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    program = (
        "import sys, colbert_zero_lib.corpora.offline\n"
        "known = set(sys.stdlib_module_names) | {'colbert_zero_lib', '__main__'}\n"
        "print(sorted({m.split('.')[0] for m in sys.modules if not m.startswith('_')} - known))"
    )
    root = Path(build.__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"


def test_the_record_names_every_source_and_collection() -> None:
    parts = {f"training/{s}" for s in (*build.UNSUPERVISED_SOURCES, *build.SUPERVISED_SOURCES)}
    parts |= {f"collections/{c}" for c in (*build.TEST_COLLECTIONS, *build.DEVELOPMENT_COLLECTIONS)}
    recorded = offline.recorded_fingerprints()
    assert recorded.keys() == parts | {"all"}
    assert len(set(recorded.values())) == len(recorded)
