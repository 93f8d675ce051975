"""Passports say what others rely on, recorded copies are stable, and two of them can be compared."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbert_zero_lib.errors import RunError
from colbert_zero_lib.paper_arms import PAPER_ROWS
from colbert_zero_lib.recipes import PIPELINES, ZERO, Recipe
from colbert_zero_lib.runs import (
    Ledger,
    Run,
    RunKey,
    canonical_json,
    environment_versions,
    explain,
    git_commit,
    read_passport,
    record,
    thin,
    validate_passport,
)
from colbert_zero_lib.runs.explain import moved_queries
from colbert_zero_lib.runs.passport import arm_of

PASSPORT: dict[str, Any] = {
    "profile": "tiny",
    "seed": 3,
    "recipe": "dense:unsupervised > colbert:supervised > colbert:distillation",
    "pipeline": "b",
    "arm": {"table": 4, "row": 11},
    "device": "cpu",
    "versions": {"python": "3.11.9", "torch": "2.11.0"},
    "git_commit": None,
    "wall_seconds": {"unsupervised": 12.5, "supervised": 3},
    "metrics": {"cwe": {"ndcg@10": 0.25}, "hpo": {"ndcg@10": 0.5}},
    "mean_ndcg@10": 0.375,
}


def changed(**changes: Any) -> dict[str, Any]:
    return {**deepcopy(PASSPORT), **changes}


def test_a_complete_passport_is_accepted_and_gives_its_recipe() -> None:
    assert validate_passport(PASSPORT) == PIPELINES["b"]
    assert validate_passport(changed(pipeline=None, arm=None)) == PIPELINES["b"]


@pytest.mark.parametrize("field", sorted(PASSPORT))
def test_each_field_is_needed(field: str) -> None:
    without = {name: value for name, value in PASSPORT.items() if name != field}
    with pytest.raises(RunError, match=field):
        validate_passport(without)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", True),
        ("seed", "3"),
        ("recipe", "colbert:kd"),
        ("pipeline", "a"),
        ("arm", "table 4"),
        ("wall_seconds", {"unsupervised": -1.0}),
        ("wall_seconds", {"unsupervised": None}),
        ("metrics", {}),
        ("metrics", {"cwe": {"recall@100": 0.5}}),
        ("metrics", {"cwe": {"ndcg@10": 25.0}}),
        ("metrics", {"cwe": {"ndcg@10": float("nan")}}),
        ("mean_ndcg@10", 0.38),
    ],
)
def test_a_field_that_says_something_else_is_named(field: str, value: Any) -> None:
    with pytest.raises(RunError) as refused:
        validate_passport(changed(**{field: value}), "x.json")
    assert field in str(refused.value) and "x.json" in str(refused.value)


@given(st.lists(st.integers(), max_size=500))
def test_a_thinned_curve_keeps_its_ends_and_its_order(curve: list[int]) -> None:
    numbered = list(enumerate(curve))
    thinned = thin(numbered)
    assert len(thinned) == min(100, len(curve))
    assert thinned == sorted(set(thinned))
    assert set(thinned) <= set(numbered)
    assert not curve or (thinned[0], thinned[-1]) == (numbered[0], numbered[-1])


def test_versions_are_those_of_the_environment() -> None:
    versions = environment_versions()
    assert versions["numpy"] == np.__version__
    assert {"python", "torch", "transformers", "sentence-transformers", "pylate", "datasets"} <= set(versions)


def test_the_commit_is_that_of_the_checkout_and_says_when_files_changed(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None

    def git(*words: str) -> str:
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        command = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    assert git_commit(tmp_path) is None
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "first")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "untracked").write_text("1")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("2")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD") + "+changes"


def test_the_arm_is_a_printed_row_of_the_same_recipe() -> None:
    by_place = {(row.table, row.row): row.recipe for row in PAPER_ROWS}
    for row in PAPER_ROWS:
        if row.recipe is not None:
            arm = arm_of(row.recipe)
            assert arm is not None and by_place[arm["table"], arm["row"]] == row.recipe
    assert arm_of(ZERO) is None


def run_with(
    root: Path, scores: Mapping[str, list[float]], seed: int = 3, device: str = "cpu", rate: float = 1e-3
) -> Run:
    rows = [(name, str(place), score) for name, kept in scores.items() for place, score in enumerate(kept)]
    table = pd.DataFrame(rows, columns=["collection", "query", "ndcg@10"])
    means = table.groupby("collection")["ndcg@10"].mean()

    def build(work: Path) -> dict[str, Any]:
        table.to_parquet(work / "per_query.parquet", index=False)
        metrics = {name: {"ndcg@10": value} for name, value in means.items()}
        return changed(seed=seed, device=device, metrics=metrics, **{"mean_ndcg@10": means.mean()})

    settings = canonical_json({"batch_size": 8, "learning_rates": {"supervised": rate}})
    versions = (("torch", "2.11.0"),)
    return Ledger(root).obtain(
        RunKey(PASSPORT["recipe"], "tiny", settings, seed, "encoder", "data", versions), build
    )


def test_a_recorded_run_is_its_passport_and_its_per_query_values(tmp_path: Path) -> None:
    run = run_with(tmp_path / "ledger", {"cwe": [0.0, 1 / 3], "hpo": [1.0]})
    file = record(run, tmp_path / "recorded")
    assert file == (
        tmp_path / "recorded/tiny/dense-unsupervised--colbert-supervised--colbert-distillation--seed3.json"
    )
    assert read_passport(file) == json.loads(canonical_json(run.passport))
    recorded = pd.read_parquet(file.with_suffix(".parquet"))
    assert recorded["ndcg@10"].dtype == np.float32
    np.testing.assert_allclose(recorded["ndcg@10"], [0.0, 1 / 3, 1.0], rtol=1e-7)
    assert sorted(path.name for path in file.parent.iterdir()) == [
        file.name,
        file.with_suffix(".parquet").name,
    ]
    before = file.read_bytes()
    assert record(run, tmp_path / "recorded").read_bytes() == before


def test_a_run_that_others_could_not_rely_on_is_not_recorded(tmp_path: Path) -> None:
    run = run_with(tmp_path / "ledger", {"cwe": [0.5]})
    with pytest.raises(RunError, match="device"):
        record(Run(run.folder, {**run.passport, "device": None}), tmp_path / "recorded")
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(RunError, match="taken"):
        record(run, tmp_path / "taken")
    assert not (tmp_path / "recorded").exists()


@pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
def test_a_passport_that_cannot_be_read_names_its_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "broken.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    for broken in (file, tmp_path / "missing.json"):
        with pytest.raises(RunError, match=broken.name):
            read_passport(broken)


def test_what_differs_is_named_by_path_and_figures_move_by_their_difference(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    base = random.uniform(0, 0.8, size=(2, 200))
    a = run_with(tmp_path, {"cwe": list(base[0]), "hpo": list(base[1])})
    b = run_with(
        tmp_path, {"cwe": list(base[0] + 0.1), "hpo": list(base[1])}, seed=4, device="cuda", rate=2e-3
    )
    found = explain(a, b)
    assert [(d.path, d.a, d.b) for d in found.differences] == [
        ("settings.learning_rates.supervised", 1e-3, 2e-3),
        ("seed", 3, 4),
        ("device", "cpu", "cuda"),
    ]
    cwe, hpo, mean = found.figures
    assert (cwe.collection, hpo.collection, mean.collection) == ("cwe", "hpo", "mean")
    # Every query of cwe moved by exactly 0.1 and none of hpo: no resampling of pairs can say otherwise.
    assert (cwe.delta, cwe.low, cwe.high) == pytest.approx((0.1, 0.1, 0.1))
    assert (hpo.delta, hpo.low, hpo.high) == pytest.approx((0, 0, 0))
    assert (mean.delta, mean.low, mean.high) == pytest.approx((0.05, 0.05, 0.05))


def test_the_interval_is_the_normal_one_where_the_normal_one_holds(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    first, second = random.uniform(0, 1, size=(2, 400))
    found = explain(run_with(tmp_path, {"cwe": list(first)}), run_with(tmp_path, {"cwe": list(second)}, 4))
    moved = found.figures[0]
    half = 1.96 * np.std(second - first) / np.sqrt(400)
    assert moved.low == pytest.approx(moved.delta - half, abs=0.1 * half)
    assert moved.high == pytest.approx(moved.delta + half, abs=0.1 * half)


def test_queries_that_fell_most_come_first(tmp_path: Path) -> None:
    a = run_with(tmp_path, {"cwe": [0.5, 0.5, 0.5], "hpo": [1.0]})
    b = run_with(tmp_path, {"cwe": [0.75, 0.25, 0.5], "hpo": [0.0]}, seed=4)
    found = moved_queries(a, b)
    assert found["moved"].tolist() == [-1.0, -0.25, 0.0, 0.25]
    assert found["collection"].tolist() == ["hpo", "cwe", "cwe", "cwe"]
    assert (found["b"] - found["a"]).tolist() == found["moved"].tolist()
    assert moved_queries(b, a)["moved"].tolist() == [-0.25, 0.0, 0.25, 1.0]


def test_runs_without_queries_move_without_an_interval_and_equal_runs_differ_in_nothing(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path, PASSPORT)
    other = changed(metrics={"cwe": {"ndcg@10": 0.5}}, versions={"python": "3.11.9"}, **{"mean_ndcg@10": 0.5})
    found = explain(run, Run(tmp_path, other))
    assert [(d.path, d.a, d.b) for d in found.differences] == [("versions.torch", "2.11.0", None)]
    assert [(f.collection, f.a, f.b, f.low) for f in found.figures] == [("cwe", 0.25, 0.5, None)]
    assert explain(run, run).differences == ()
    text = found.to_text()
    assert "versions.torch" in text and "0.2500" in text and "+0.2500" in text


def test_the_empty_recipe_can_be_recorded(tmp_path: Path) -> None:
    passport = changed(recipe=str(Recipe(())), pipeline=None, arm=None)
    assert record(Run(tmp_path, passport), tmp_path / "recorded").name == "base--seed3.json"
