"""The files around the library agree: dependencies, lock, conda, versions, make and README."""

from __future__ import annotations

import ast
import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import colbert_zero_lib
from colbert_zero_lib.recipes import PIPELINES
from colbert_zero_lib.verdicts import recorded_evidence
from colbert_zero_lib.verdicts.grid import delta_findings
from colbert_zero_lib.verdicts.verdict import NOT_RESOLVABLE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(colbert_zero_lib.__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
DEPENDENCIES = [Requirement(line) for line in PROJECT["dependencies"]]
DEVELOPMENT = [Requirement(line) for line in PROJECT["optional-dependencies"]["dev"]]
IMPORT_NAMES = {
    "fast-plaid": "fast_plaid",
    "pillow": "PIL",
    "huggingface-hub": "huggingface_hub",
    "jupyter-client": "jupyter_client",
    "pystemmer": "Stemmer",
    "pyyaml": "yaml",
    "pytrec-eval-terrier": "pytrec_eval",
    "sentence-transformers": "sentence_transformers",
}


def locked(python: str) -> dict[str, str]:
    """Package -> version that the lock gives to one Python on Linux."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.5",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
        "extra": "",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    found: dict[str, str] = {}
    for line in LOCK.splitlines():
        if re.match(r"[A-Za-z0-9]", line):
            requirement = Requirement(line.rstrip(" \\"))
            if requirement.marker is None or requirement.marker.evaluate(environment):
                name = canonicalize_name(requirement.name)
                assert name not in found, f"{name} is pinned twice for Python {python}"
                found[name] = str(requirement.specifier).removeprefix("==")
    return found


def imported_modules(*folders: str) -> set[str]:
    names = set()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"colbert_zero_lib", "benchmarks", "nano_colbert"}


def import_name(requirement: Requirement) -> str:
    name = canonicalize_name(requirement.name)
    return IMPORT_NAMES.get(name, name)


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_the_lock_satisfies_every_declared_range(python: str) -> None:
    assert SpecifierSet(PROJECT["requires-python"]).contains(f"{python}.1")
    pins = locked(python)
    for requirement in DEPENDENCIES + DEVELOPMENT:
        if requirement.marker and not requirement.marker.evaluate({"python_version": python}):
            continue
        version = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} against {version}"


def test_the_lock_is_all_hashes_and_names_no_place() -> None:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK)[1:]
    assert len(blocks) > 100
    for block in blocks:
        assert "==" in block.splitlines()[0], block.splitlines()[0]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block.splitlines()[0]
    assert not re.search(r"://|--index|--find-links|file:|\+cpu", LOCK)


def test_declared_dependencies_are_what_the_library_imports() -> None:
    declared = {import_name(requirement) for requirement in DEPENDENCIES}
    imported = imported_modules("colbert_zero_lib", "benchmarks")
    by_torch = {"triton"}  # comes with it where there is a GPU
    assert imported - declared == by_torch, "imported without being declared"
    assert imported_modules("tests") - declared - {import_name(r) for r in DEVELOPMENT} <= {
        "tomli",
        "packaging",
        "tests",
        "book",
        "playwright",  # of the site's environment
    }


def test_conda_has_the_same_python_and_the_same_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python = next(d for d in environment["dependencies"] if isinstance(d, str) and d.startswith("python="))
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.removeprefix("python=") + ".0")
    assert {"pip": ["-r requirements.lock"]} in environment["dependencies"]


def test_one_version_everywhere() -> None:
    version = colbert_zero_lib.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == version
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)


def test_every_make_target_that_is_written_about_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md", ".ci/run"):
        text = (ROOT / name).read_text(encoding="utf-8")
        named = set(re.findall(r"(?:^|`)make ([a-z]+)\b", text, re.MULTILINE))
        assert named, f"{name} names no make target"
        assert named <= targets, f"{name} names {named - targets}"


def test_every_command_that_is_written_about_exists() -> None:
    from typer.main import get_command

    from colbert_zero_lib.cli import app

    command = get_command(app)
    verbs = dict(command.commands)  # type: ignore[attr-defined]
    for name in ("README.md", "CONTRIBUTING.md"):
        for line in re.findall(r"colbert-zero ((?:[a-z]+ ?)+)", (ROOT / name).read_text(encoding="utf-8")):
            words = line.split()
            assert words[0] in verbs, f"{name} names `colbert-zero {line}`"
            if words[0] == "data" and len(words) > 1:
                assert words[1] in verbs["data"].commands, f"{name} names `colbert-zero {line}`"


def test_links_inside_the_checkout_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "data").rglob("*.md"), *(ROOT / "notebooks").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in link and not link.startswith("mailto:"):
                assert (page.parent / link).exists(), f"{page.relative_to(ROOT)} links to {link}"


def test_the_readme_prints_the_papers_pipelines_as_published() -> None:
    published = list(
        csv.DictReader((ROOT / "data/paper/figure2_pipelines.csv").read_text("utf-8").splitlines())
    )
    rows = re.findall(
        r"^\| ([abc]): .*\| (\d+) \| ([\d.]+) \|$", (ROOT / "README.md").read_text("utf-8"), re.M
    )
    assert rows == [
        (row["pipeline"][0], row["colbert_gpu_hours_gh200"], row["beir_average_ndcg10"]) for row in published
    ]


def test_the_readme_prints_the_recorded_runs_as_they_are() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    printed = re.findall(r"\(([abc])\) ([\d.]+)\s+\[([\d.]+), ([\d.]+)\]", text)
    source = recorded_evidence("laptop")
    for letter, *figures in printed:
        found = source.contrast({str(PIPELINES[letter]): 1.0})
        assert found and figures == [f"{value:.1f}" for value in (found.value, found.low, found.high)]
    assert [letter for letter, *_ in printed] == ["a", "b", "c"]
    deltas = delta_findings(source)
    assert f"none of the {len(deltas)} deltas" in text and set(deltas["verdict"]) == {NOT_RESOLVABLE}


def test_the_readme_has_no_gap_left_to_fill() -> None:
    assert re.findall(r"@@\w+", (ROOT / "README.md").read_text(encoding="utf-8")) == []


def test_make_names_the_python_it_lacks() -> None:
    """With no interpreter to be found, make says what to do instead of failing inside a recipe."""
    done = subprocess.run(
        ["make", "--no-print-directory", "environment", "PYTHON=", "VENV=no-such-environment"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "PYTHON=" in done.stderr
    assert not (ROOT / "no-such-environment").exists()
