"""One home, whoever asks and from where."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from colbert_zero_lib import home as places
from colbert_zero_lib.errors import ParameterError
from colbert_zero_lib.suite import run_notebook


@pytest.mark.parametrize(
    ("chosen", "meant"),
    [("a home", "{cwd}/a home"), ("../x", "{cwd}/../x"), ("~/a b", "{user}/a b"), ("/x y", "/x y")],
)
def test_the_home_is_absolute(
    chosen: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("COLBERT_ZERO_HOME", chosen)
    assert str(places.home()) == meant.format(cwd=tmp_path, user=tmp_path / "user")


def test_a_relative_home_is_the_same_folder_in_a_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [
        nbformat.v4.new_code_cell("seed: int = 0", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("from colbert_zero_lib.home import home\nprint(home())"),
    ]
    (tmp_path / "notebooks").mkdir()
    notebook, output = tmp_path / "notebooks" / "00_x.ipynb", tmp_path / "out.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLBERT_ZERO_HOME", "my home")
    run_notebook(notebook, {}, output)
    assert nbformat.read(output, 4).cells[1].outputs[0].text.strip() == str(tmp_path / "my home")
    assert str(places.home()) == str(tmp_path / "my home")


def test_an_installed_package_is_not_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert places.recording_folder() == places.data_folder()
    monkeypatch.setattr(places, "repository", lambda: None)
    assert places.data_folder() == Path(places.__file__).parent / "data"
    with pytest.raises(ParameterError, match="checkout"):
        places.recording_folder()
