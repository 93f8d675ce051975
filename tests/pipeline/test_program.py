"""The program of notebooks 01 to 05 is current, short and alone, and computes what the library computes."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typer.testing import CliRunner

import nano_colbert
from colbert_zero_lib.cli import app
from colbert_zero_lib.corpora import read_collection
from colbert_zero_lib.errors import NotebookError
from colbert_zero_lib.evaluation import LateInteractionRetriever, evaluate
from colbert_zero_lib.models import open_model
from colbert_zero_lib.program import check_program, collected, program_text
from colbert_zero_lib.recipes import Interaction, Phase, Step
from colbert_zero_lib.training.collation import Collator
from colbert_zero_lib.training.contrastive import Contrastive
from colbert_zero_lib.training.distillation import Distillation

pytestmark = pytest.mark.pipeline
FILE = Path(nano_colbert.__file__)
LENGTHS = (24, 64)
# The same sums in float32, in another order.
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def text(smoke_base: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program_text("smoke", folder=tmp_path_factory.mktemp("program") / "text")


@pytest.fixture(scope="module")
def models(text: Path) -> tuple[nn.Module, nn.Module]:
    """The program's model and the library's, with the same weights."""
    torch.manual_seed(0)
    ours = nano_colbert.ColBERT(text / "encoder").train()
    step = Step(Interaction.COLBERT, Phase.UNSUPERVISED, prompts=False)
    theirs = open_model(text / "encoder", step, lengths=LENGTHS, prompts=("", "")).train()
    theirs[0].auto_model.load_state_dict(ours.encoder.state_dict())
    theirs[1].linear.load_state_dict(ours.project.state_dict())
    return ours, theirs


@pytest.fixture(scope="module")
def pairs(text: Path) -> list[tuple[str, str]]:
    return [(row["query"], row["document"]) for row in nano_colbert.read_lines(text / "pairs.jsonl")]


def gradient(encoder: nn.Module, projection: nn.Module, loss: Tensor) -> Tensor:
    """All gradients of an encoder and its projection, in the order of the encoder's names."""
    loss.backward()
    found = torch.cat([p.grad.flatten() for part in (encoder, projection) for p in part.parameters()])
    encoder.zero_grad(), projection.zero_grad()
    return found.double()


def same(models: tuple[nn.Module, nn.Module], loss: Tensor, kind: nn.Module, rows: list[dict]) -> None:
    """The loss and gradient of the program are those of a loss of the library on the same rows."""
    ours, theirs = models
    batch = Collator(theirs, LENGTHS)(rows)
    columns = [name for name in rows[0] if name != "scores"]
    features = [{key: batch[f"{name}_{key}"] for key in ("input_ids", "attention_mask")} for name in columns]
    expected = kind(features, batch.get("label"))
    assert loss.item() == pytest.approx(expected.item(), rel=ROUNDING)
    mine, other = (
        gradient(ours.encoder, ours.project, loss),
        gradient(theirs[0].auto_model, theirs[1].linear, expected),
    )
    assert F.cosine_similarity(mine, other, dim=0) > 1 - ROUNDING
    assert mine.norm() == pytest.approx(other.norm().item(), rel=10 * ROUNDING)


def test_the_program_is_what_the_notebooks_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_program()
    monkeypatch.setattr("colbert_zero_lib.program.notebooks_folder", lambda: tmp_path / "notebooks")
    (tmp_path / "nano_colbert.py").write_text(collected().replace("topk", "sort"), encoding="utf-8")
    with pytest.raises(NotebookError, match="run `colbert-zero program`"):
        check_program()


def test_the_program_is_short_and_imports_nothing_of_the_library() -> None:
    source = FILE.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 250 and "import_module" not in source
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= {*sys.stdlib_module_names, "torch", "transformers"}
    [loop] = re.findall(r"^def train\(.*?(?=\n\n\n)", source, re.DOTALL | re.MULTILINE)
    assert len(loop.splitlines()) <= 15


@pytest.mark.parametrize("negatives", [0, 2])
def test_info_nce_is_the_librarys(
    models: tuple[nn.Module, nn.Module], pairs: list[tuple[str, str]], negatives: int
) -> None:
    others = [document for _, document in pairs[16:]]
    rows = [(*pair, *others[place * negatives :][:negatives]) for place, pair in enumerate(pairs[:16])]
    names = ["query", "positive", *(f"negative_{n}" for n in range(negatives))]
    dicts = [dict(zip(names, row, strict=True)) for row in rows]
    same(models, nano_colbert.contrastive(models[0], rows), Contrastive(models[1], 0.2), dicts)


def test_distillation_is_the_librarys(models: tuple[nn.Module, nn.Module], text: Path) -> None:
    dicts = nano_colbert.read_lines(text / "scored.jsonl")[:8]
    rows = [(row["query"], row["documents"], row["scores"]) for row in dicts]
    same(models, nano_colbert.distillation(models[0], rows), Distillation(models[1]), dicts)


@pytest.mark.parametrize("chunk", [3, 64])
def test_gradcache_leaves_the_gradient_of_the_whole_batch_even_under_dropout(
    text: Path, pairs: list[tuple[str, str]], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nano_colbert.ColBERT(text / "encoder").train()
    model.project = nn.Sequential(nn.Dropout(0.5), model.project)
    rows = pairs[:16]
    torch.manual_seed(7)
    cached = nano_colbert.cached_contrastive(model, rows, chunk)
    found = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    # Every chunk encoded once, with the activations of all: the same numbers are dropped for the same seeds.
    torch.manual_seed(7)
    sides = zip(nano_colbert.texts_of(rows), ("[Q] ", "[D] "), strict=True)
    cuts = [[(s[at : at + chunk], m) for at in range(0, len(s), chunk)] for s, m in sides]
    seeds = iter(torch.randint(2**31, (sum(map(len, cuts)),)).tolist())
    encoded = [[(torch.manual_seed(next(seeds)), model(*cut))[1] for cut in side] for side in cuts]
    loss = nano_colbert.info_nce(nano_colbert.maxsim(*map(nano_colbert.padded, encoded)))
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert cached.item() == pytest.approx(loss.item(), rel=ROUNDING)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_ndcg_is_the_librarys(models: tuple[nn.Module, nn.Module], text: Path) -> None:
    ours, theirs = models
    collection = read_collection(text)
    expected = evaluate(LateInteractionRetriever(theirs), {"program": collection}).interval().mean
    # Exact but for two documents whose scores differ by less than rounding, which these texts have not.
    assert nano_colbert.evaluate(ours, nano_colbert.read_collection(text)) == pytest.approx(
        expected, abs=1e-9
    )


def test_mined_negatives_are_beside_the_right_document_and_below_its_margin(
    models: tuple[nn.Module, nn.Module], pairs: list[tuple[str, str]]
) -> None:
    rows = nano_colbert.mine(models[0], pairs[:60], negatives=2, depth=10, margin=0.9)
    assert rows and all(len(set(row)) == 4 and row[:2] in pairs[:60] for row in rows)
    for query, *documents in rows[:5]:
        asked, told = (
            nano_colbert.encode(models[0], *side) for side in (([query], "[Q] "), (documents, "[D] "))
        )
        [[right, *hard]] = nano_colbert.maxsim(asked, told).tolist()
        assert all(score < 0.9 * right for score in hard)


def test_the_program_runs_alone(text: Path, tmp_path: Path) -> None:
    little = shutil.copytree(text, tmp_path / "little")
    for name in ("pairs.jsonl", "scored.jsonl"):  # documents of a few words, so that it takes seconds
        rows = nano_colbert.read_lines(text / name)
        for row in rows:
            row.update({key: shortened(value) for key, value in row.items() if key.startswith("document")})
        (little / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = [sys.executable, "-I", str(FILE), str(text / "encoder"), str(little)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.findall(r"^(\w+) +nDCG@10 (\d\.\d+)", done.stdout, re.MULTILINE)
    assert [phase for phase, _ in found] == ["untrained", "unsupervised", "supervised", "distillation"]
    assert len({score for _, score in found}) > 1


def shortened(value: str | list[str]) -> str | list[str]:
    return value[:30] if isinstance(value, str) else [text[:30] for text in value]


def test_the_text_is_made_once_and_no_folder_is_written_over(text: Path) -> None:
    folder = program_text("smoke")
    before = (folder / "manifest.json").stat().st_mtime_ns
    assert program_text("smoke") == folder and (folder / "manifest.json").stat().st_mtime_ns == before
    assert (folder / "pairs.jsonl").read_bytes() == (text / "pairs.jsonl").read_bytes()
    said = CliRunner().invoke(app, ["data", "program", str(text)])
    assert said.exit_code == 2 and "name a folder that is not" in " ".join(said.output.split())
