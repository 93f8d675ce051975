"""Shared fixtures: a tiny encoder with its tokenizer, models built on it, and a small hand-made collection."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# Before any import of torch or transformers: no network, and no spinning threads beside a busy neighbour.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")  # ranx compiles for a minute what runs for a millisecond here

import pytest

from colbert_zero_lib.home import data_folder
from tests.hub.fixtures import hub as hub
from tests.hub.fixtures import hub_root as hub_root

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pylate.models import ColBERT
    from sentence_transformers import SentenceTransformer

    from colbert_zero_lib.corpora import Collection

# The longest files, by the seconds they take one idle core (`pytest --durations=0` adds them up). A file is one
# process's: two processes end together if the long ones are begun first.
SECONDS = {
    "test_notebooks": 190,
    "test_learning": 140,
    "test_processes": 150,
    "test_kit": 120,
    "test_hub_runs": 75,
    "test_benchmarks": 60,
    "test_paper_notebooks": 40,
    "test_training": 35,
    "test_distributed": 35,
    "test_prefixes": 30,
    "test_sweep": 25,
    "test_grid": 25,
    "test_execute": 25,
    "test_adapt": 25,
    "test_suite": 25,
    "test_kernels": 15,
    "test_hosted": 25,
    "test_wheel": 20,
    "test_released": 20,
    "test_starts": 15,
    "test_prefix_study": 15,
    "test_export": 15,
    "test_index_faults": 15,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest files first; the rest keep their order."""
    items.sort(key=lambda item: -SECONDS.get(item.path.stem, 0))


SENTENCES = (
    "The harbour crane lifts two containers at once, and the ship waits until the tide turns.",
    "A lighthouse (built of granite) warns ships away from the rocks; its lamp turns every ten seconds.",
    "Yeast turns sugar into alcohol and carbon dioxide; bakers and brewers both depend on it.",
    "Bread rises because carbon dioxide is trapped in the dough, e.g. between strands of gluten!",
    "The violin has four strings tuned in fifths: G, D, A, E.",
    "A cello is tuned one octave below the viola, and is played sitting down.",
    "Glaciers carve valleys with a U-shaped profile; rivers carve valleys shaped like the letter V.",
    "When a glacier melts, the lake it leaves behind is often deep, narrow and cold...",
    "Bees find their way by the sun and tell each other where the flowers are by dancing.",
    "Honey never spoils: it is too dry for yeast, and slightly acid.",
    "Chess players castle to bring the king to safety and the rook into play.",
    "A tide table lists the times of high and low water for each day of the year.",
)


def build_encoder(
    folder: Path, texts: Sequence[str], layers: int = 2, hidden: int = 64, vocabulary: int = 600
) -> Path:
    """Save a ModernBERT of random weights and a WordPiece tokenizer trained on ``texts``; returns ``folder``."""
    import torch
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    from colbert_zero_lib.models import train_tokenizer

    tokenizer = train_tokenizer(texts, vocabulary, min_frequency=1)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        max_position_embeddings=1024,
        local_attention=32,
        global_attn_every_n_layers=2,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        cls_token_id=2,
        sep_token_id=3,
        attention_dropout=0.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ModernBertForMaskedLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def published_copy(tmp_path: Path) -> Path:
    """The root of a ``data`` folder with a copy of the published figures, which a test may change."""
    for name in ("paper", "mteb"):
        shutil.copytree(data_folder() / name, tmp_path / "data" / name, copy_function=shutil.copyfile)
    return tmp_path / "data"


@pytest.fixture(scope="session")
def tiny_encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved ModernBERT of 2 layers x 64 with random weights and a WordPiece tokenizer of about 600 pieces."""
    return build_encoder(tmp_path_factory.mktemp("tiny-encoder"), SENTENCES)


@pytest.fixture(scope="session")
def tiny_colbert(tiny_encoder_folder: Path) -> ColBERT:
    """A late-interaction model on the tiny encoder: prompts, no query expansion, lengths that cut some texts."""
    import torch
    from pylate import models

    with torch.random.fork_rng():
        torch.manual_seed(1)
        return models.ColBERT(
            str(tiny_encoder_folder),
            embedding_size=32,
            query_length=16,
            document_length=40,
            do_query_expansion=False,
            prompts={"query": "search_query: ", "document": "search_document: "},
            device="cpu",
        )


@pytest.fixture(scope="session")
def tiny_dense(tiny_encoder_folder: Path) -> SentenceTransformer:
    """A single-vector model on the tiny encoder: mean pooling, prompts."""
    from sentence_transformers import SentenceTransformer, models

    transformer = models.Transformer(str(tiny_encoder_folder), max_seq_length=48)
    pooling = models.Pooling(transformer.get_word_embedding_dimension(), pooling_mode="mean")
    return SentenceTransformer(
        modules=[transformer, pooling],
        prompts={"query": "search_query: ", "document": "search_document: "},
        device="cpu",
    )


@pytest.fixture(scope="session")
def sentence_transformers_6(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with that one package, for a process that borrows the rest from here."""
    from benchmarks.apart import packages
    from colbert_zero_lib.errors import RunError

    try:
        return packages(tmp_path_factory.mktemp("peers"))
    except RunError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def toy_collection() -> Collection:
    """Twelve documents of very different lengths and five queries, one with two relevant documents."""
    from colbert_zero_lib.corpora import Collection

    corpus = {f"d{place}": text for place, text in enumerate(SENTENCES)}
    corpus["d3"] = " ".join(SENTENCES[2:7])
    corpus["d9"] = "Honey."
    queries = {
        "q0": "when does the ship leave the harbour?",
        "q1": "why does bread rise",
        "q2": "strings of the violin",
        "q3": "how do bees tell each other where flowers are",
        "q4": "lakes left behind by glaciers",
    }
    qrels = {"q0": {"d0": 1}, "q1": {"d3": 2, "d2": 1}, "q2": {"d4": 1}, "q3": {"d8": 1}, "q4": {"d7": 1}}
    return Collection("toy", corpus, queries, qrels)


@pytest.fixture
def check_drawing(tmp_path: Path) -> Callable[[Callable[[], Figure]], None]:
    """Checks that a figure is legible at print width, inside its edges, and light."""
    from matplotlib.text import Text

    from colbert_zero_lib.figures import save
    from colbert_zero_lib.figures.theme import WIDTH

    def check(make: Callable[[], Figure]) -> None:
        figure = make()
        save(figure, "figure", tmp_path)
        figure.draw_without_rendering()
        assert figure.get_figwidth() <= WIDTH
        texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
        assert texts and min(text.get_fontsize() for text in texts) * 6.3 / WIDTH >= 7
        beyond = {  # the ends of an axis, and so not drawn; inner axes have no labels
            label
            for axes in figure.axes
            for axis in (axes.xaxis, axes.yaxis)
            for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=False)
            if not axes.axison or not min(axis.get_view_interval()) <= place <= max(axis.get_view_interval())
        }
        for drawn in [*(text for text in texts if text not in beyond), *figure.legends]:
            extent = drawn.get_window_extent()
            assert extent.x0 >= -2 and extent.x1 <= figure.bbox.width + 2, drawn
            assert extent.y0 >= -2 and extent.y1 <= figure.bbox.height + 2, drawn
        assert (tmp_path / "figure.svg").stat().st_size < 300_000

    return check
