"""`make figures`, whole: twice the same files, light, and with nothing of this machine in them."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from colbert_zero_lib.cli import app
from colbert_zero_lib.figures.catalogue import FIGURES, TABLES


def test_the_command_writes_the_same_files_twice_from_data_alone(tmp_path: Path) -> None:
    for name in ("one", "two"):
        result = CliRunner().invoke(app, ["figures", "--output", str(tmp_path / name)])
        assert result.exit_code == 0, result.stderr
    one = {file.relative_to(tmp_path / "one"): file.read_bytes() for file in (tmp_path / "one").rglob("*.*")}
    two = {file.relative_to(tmp_path / "two"): file.read_bytes() for file in (tmp_path / "two").rglob("*.*")}
    assert one == two and len(one) == len(FIGURES) + 4 * len(TABLES)
    assert max(map(len, one.values())) <= 300_000
    assert not [
        name for name, content in one.items() if re.search(rb"/(home|tmp|work|Users)/|<dc:date>", content)
    ]
