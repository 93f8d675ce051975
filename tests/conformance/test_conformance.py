"""Public reports as cases: this suite gives the right value of each, and the peers beside it what is on record."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import Any

import pytest

from tests.conformance.__main__ import BESIDE, NAMES, PAGE, judged, questions, recorded
from tests.conformance.answers import ask
from tests.conformance.cases import CASES
from tests.conformance.inputs import build_models
from tests.conformance.verdicts import RIGHT, page


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return build_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def suite(models: dict[str, str]) -> dict[str, Any]:
    return judged("suite", ask("suite", questions(), models), models)["verdicts"]


def test_every_case_has_a_name_of_its_own_and_there_are_enough_of_them() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_this_suite_gives_the_right_value(suite: dict[str, Any], case: Any) -> None:
    assert suite[case.name].kind == RIGHT, suite[case.name].words


@pytest.mark.parametrize("peer", [name for name in BESIDE if name != "suite"])
def test_a_peer_gives_what_is_on_record(models: dict[str, str], peer: str) -> None:
    kept = recorded()[peer]
    if version(importlib.import_module(f"tests.conformance.subjects.{peer}").DISTRIBUTION) != kept["version"]:
        pytest.skip(f"another version than {kept['version']} is installed")
    quick = [each for each in questions() if not each["task"].startswith("index")]  # those take seconds each
    found = judged(peer, ask(peer, quick, models), models)["verdicts"]
    asked = {each["name"] for each in quick}
    assert {name: verdict.kind for name, verdict in found.items()} == {
        name: verdict.kind for name, verdict in kept["verdicts"].items() if name in asked
    }


def test_the_page_is_what_the_table_and_the_record_give() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(recorded(), NAMES)
