"""Batches of hub rows, ours beside those of the authors' released scripts on the same rows: same tokens, same order.

Theirs: PyLate's collator with the prompts and columns of examples/train/ColBERT-zero, on rows shaped as there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, load_dataset
from pylate import models, utils

from colbert_zero_lib.corpora import hub as sets
from colbert_zero_lib.corpora.sources import open_source
from colbert_zero_lib.models import open_model
from colbert_zero_lib.profiles import get_profile
from colbert_zero_lib.recipes import Interaction, Phase, Step
from colbert_zero_lib.training.collation import Collator
from colbert_zero_lib.training.data import step_data
from tests.hub.server import Server

QUERY, DOCUMENT = "search_query: ", "search_document: "
LENGTHS = (12, 30)  # short enough to cut some texts
PROMPTS = {
    Phase.UNSUPERVISED: {"query": QUERY, "document": DOCUMENT},
    Phase.SUPERVISED: {
        "query": QUERY,
        "document": DOCUMENT,
        **{f"negative_{n}": DOCUMENT for n in range(50)},
    },
    Phase.DISTILLATION: {"query": QUERY, "documents": DOCUMENT},
}


def authors_rows(phase: Phase, split: str) -> Any:
    """The rows as the scripts load and map them; the supervised script keeps eleven negatives."""
    if phase is Phase.UNSUPERVISED:
        return load_dataset(sets.UNSUPERVISED_DATA, split=split).remove_columns(["dataset", "shard"])
    if phase is Phase.SUPERVISED:
        loaded = load_dataset(sets.SUPERVISED_DATA, split=split)
        count = min(11, min(map(len, loaded["negative"])))
        split_up = [
            {key: row[key] for key in ("query", "document")}
            | {f"negative_{n}": row["negative"][n] for n in range(count)}
            for row in loaded
        ]
        return Dataset.from_list(split_up)
    parts = {
        name: load_dataset(sets.DISTILLATION_DATA, name, split="train")
        for name in ("train", "queries", "documents")
    }
    join = utils.KDProcessing(queries=parts["queries"], documents=parts["documents"])
    return parts["train"].with_transform(join.transform)


def columns(batch: dict[str, Any]) -> list[str]:
    return [name.removesuffix("_input_ids") for name in batch if name.endswith("_input_ids")]


def tokens(batch: dict[str, Any], name: str) -> list[list[int]]:
    """What is attended to, row by row."""
    rows: Iterable[tuple[torch.Tensor, torch.Tensor]] = zip(
        batch[f"{name}_input_ids"], batch[f"{name}_attention_mask"], strict=True
    )
    return [ids[attention.bool()].tolist() for ids, attention in rows]


@pytest.mark.filterwarnings("ignore:.*never drawn")
@pytest.mark.parametrize(
    ("phase", "split"),
    [
        (Phase.UNSUPERVISED, "reddit_title_body"),
        (Phase.UNSUPERVISED, "squad"),
        (Phase.SUPERVISED, "nli_simcse_50negs_fixed"),
        (Phase.SUPERVISED, "hotpotqa_hn_mine_shuffled"),
        (Phase.SUPERVISED, "reddit_triples"),
        (Phase.DISTILLATION, "train"),
    ],
)
def test_a_batch_of_hub_rows_is_the_authors_batch(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: Phase, split: str
) -> None:
    monkeypatch.setitem(sets.published_rows(), phase, {split: 8})
    base = hub.root / "models/answerdotai/ModernBERT-base"
    step, profile = Step(Interaction.COLBERT, phase), get_profile("paper")
    budget = profile.budget(step)
    source = open_source(profile, tmp_path / "home")
    rows = source.triples(11) if phase is Phase.SUPERVISED else step_data(step, budget, source)
    rows = rows if isinstance(rows, Dataset) else rows[split]
    ours_model = open_model(
        base, step, lengths=LENGTHS, prompts=(QUERY, DOCUMENT), projection=128, query_expansion=False
    )
    ours = Collator(ours_model, LENGTHS)([rows[place] for place in range(8)])
    authors_model = models.ColBERT(
        str(base), device="cpu", query_length=LENGTHS[0], document_length=LENGTHS[1]
    )
    collator = utils.ColBERTCollator(tokenize_fn=authors_model.tokenize, prompts=PROMPTS[phase])
    theirs_rows = authors_rows(phase, split)
    theirs = collator([theirs_rows[place] for place in range(8)])
    renamed = [{"document": "positive"}.get(name, name) for name in columns(theirs)]
    assert columns(ours) == (columns(theirs) if phase is Phase.UNSUPERVISED else renamed)
    for name, same in zip(columns(ours), columns(theirs), strict=True):
        assert tokens(ours, name) == tokens(theirs, same)
        assert len(tokens(ours, name)) == 8 * (32 if name == "documents" else 1)
    if phase is Phase.DISTILLATION:
        torch.testing.assert_close(ours["label"], theirs["label"].float(), rtol=0, atol=0)
    if phase is Phase.SUPERVISED:
        ten = step_data(step, budget, source)
        assert isinstance(ten, dict) and budget.documents == 11
        assert ten[split].column_names == rows.column_names[:12]
