"""The kit's share of every test run: each of its kinds of fault, and none ends badly."""

from __future__ import annotations

import json
import os

import pytest

from tests.faults import __main__ as kit
from tests.faults.kit import Outcome, Trial

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


@pytest.mark.parametrize("name", [name for name in kit.KITS if kit.exists(name)])
def test_nothing_is_lost_wrong_or_foreign(name: str) -> None:
    found = kit.inject(name, kit.CI)
    assert found and [trial for trial in found if trial.outcome not in kit.GOOD] == []


def test_the_page_is_that_of_the_kept_results() -> None:
    folder = kit.data_folder() / "faults"
    pages = [json.loads(file.read_text()) for name in kit.KITS if (file := folder / f"{name}.json").exists()]
    assert kit.PAGE.read_text() == kit.markdown(pages)
    for page in pages:
        # What was left over is shown; nothing may be lost, wrong or foreign.
        assert page["share"] >= 1 and all(trial["outcome"] == Outcome.LITTER.value for trial in page["bad"])


def test_a_bad_end_is_counted_and_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = [Trial("kills", "a run", "SIGKILL", end, "how", 2) for end in (Outcome.SURVIVED, Outcome.WRONG)]
    (row,) = kit.rows(ends)
    assert (row["injected"], row["survived"], row["silently wrong"], row["ways"]) == (4, 2, 2, {"SIGKILL": 4})
    monkeypatch.setattr(kit, "inject", lambda *_: ends)
    assert kit.main(["--ci", "--only", "kills"]) == 1
    monkeypatch.setattr(kit, "inject", lambda *_: ends[:1])
    assert kit.main(["--ci", "--only", "kills"]) == 0
