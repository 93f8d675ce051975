"""Small repositories with the true names, splits, columns, types and file names of what the paper uses.

Text is random words, so that nothing can be learned; weights are random. The same call writes the same text.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from colbert_zero_lib.corpora.evaluation_sets import FORUMS
from colbert_zero_lib.corpora.hub import published_rows
from colbert_zero_lib.recipes import Phase

WORDS = """
    tide moon harbour ship cello bee honey dance bread yeast flour river stone bridge market grain copper lamp night
    star map north wind sail
""".split()  # noqa: SIM905
NEGATIVES = {
    "medi_sts_wiki_rephrasal": 1,
    "fever_hn_mine": 12,
    "msmarco_distillation_simlm_rescored_reranked_min15": 15,
    "reddit_triples": 1,
    "medi_sts_flickr_sampled": 1,
    "nq_cocondensor_hn_mine_reranked_min15": 15,
    "nli_simcse_50negs_fixed": 50,
    "medi_supernli_sampled": 1,
    "hotpotqa_hn_mine_shuffled": 7,
    "medi_sts_stackexchange_dupe": 1,
}
NANO = """
    ClimateFEVER DBPedia FEVER FiQA2018 HotpotQA MSMARCO NFCorpus NQ QuoraRetrieval SCIDOCS ArguAna SciFact Touche2020
""".split()  # noqa: SIM905
BEIR = {
    "scifact": ("train", "test"),
    "nfcorpus": ("train", "dev", "test"),
    "arguana": ("test",),
    "msmarco": ("train", "dev", "test"),
}
PROMPTS = {"query": "search_query: ", "document": "search_document: "}
# (query, document) tokens and whether there are prompts; the lengths are those on the hub.
RELEASED = {
    "ColBERT-Zero-unsupervised": (39, 187, True),
    "ColBERT-Zero-supervised": (39, 519, True),
    "ColBERT-Zero": (39, 519, True),
    "ColBERT-Zero-unsupervised-noprompts": (32, 180, False),
    "ColBERT-Zero-supervised-noprompts": (32, 512, False),
    "ColBERT-Zero-noprompts": (32, 512, False),
    "ModernColBERT-embed-base": (39, 519, True),
    "ModernColBERT-embed-base-supervised": (39, 519, True),
    "ModernColBERT-embed-base-kd-only": (39, 519, True),
}


def _sentences(seed: int) -> Callable[[int], str]:
    drawn = random.Random(seed)
    return lambda words: " ".join(drawn.choice(WORDS) for _ in range(words))


def parquet(rows: list[dict[str, Any]], path: Path) -> None:
    from datasets import Dataset

    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows).to_parquet(str(path))


def card(folder: Path, configurations: Mapping[str, Mapping[str, str]]) -> None:
    """The README that tells ``datasets`` which files make which split of which configuration."""
    lines = ["---", "configs:"]
    for name, splits in configurations.items():
        lines += [f"- config_name: {name}", "  data_files:"]
        for split, pattern in splits.items():
            lines += [f"  - split: {split}", f"    path: {pattern}"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))


def stock_training(root: Path) -> None:
    """The three training sets, some hundred rows each."""
    sentence = _sentences(0)
    pairs = root / "datasets/nomic-ai/nomic-embed-unsupervised-data"
    for place, split in enumerate(published_rows()[Phase.UNSUPERVISED]):
        count, parts = (400 if place < 6 else 60), (2 if place < 2 else 1)
        rows = [
            {"query": sentence(5), "document": sentence(30), "dataset": split, "shard": 0}
            for _ in range(count)
        ]
        for part in range(parts):
            parquet(rows[part::parts], pairs / f"data/{split}-{part:05d}-of-{parts:05d}.parquet")
    card(pairs, {"default": {split: f"data/{split}-*" for split in published_rows()[Phase.UNSUPERVISED]}})
    triples = root / "datasets/nomic-ai/nomic-embed-supervised-data"
    drawn = random.Random(1)
    for split in published_rows()[Phase.SUPERVISED]:
        rows = [
            {
                "query": sentence(6),
                "document": sentence(30),
                "negative": [sentence(30) for _ in range(NEGATIVES[split] + drawn.randint(0, 2))],
                "dataset": split,
            }
            for _ in range(90)
        ]
        rows[17]["negative"] = rows[17]["negative"][: NEGATIVES[split]]  # the shortest is always there
        parquet(rows, triples / f"data/{split}-00000-of-00001.parquet")
    card(triples, {"default": {split: f"data/{split}-*" for split in published_rows()[Phase.SUPERVISED]}})
    lists = root / "datasets/lightonai/ms-marco-en-bge-gemma"
    parquet(
        [{"document_id": i, "text": sentence(30)} for i in range(3000)],
        lists / "documents/train-00000-of-00001.parquet",
    )
    parquet(
        [{"query_id": i, "text": sentence(6)} for i in range(500)],
        lists / "queries/train-00000-of-00001.parquet",
    )
    rows = []
    for query in range(500):
        ids = drawn.sample(range(3000), 32)
        scores = sorted((round(drawn.random(), 4) for _ in ids), reverse=True)
        rows.append({"query_id": query, "document_ids": str(ids), "scores": str(scores)})
    parquet(rows, lists / "train/train-00000-of-00001.parquet")
    card(lists, {name: {"train": f"{name}/*"} for name in ("train", "queries", "documents")})


def stock_collections(root: Path) -> None:
    """NanoBEIR's thirteen; of BEIR scifact, nfcorpus, arguana and msmarco; the twelve forums of CQADupstack."""
    sentence, drawn = _sentences(2), random.Random(3)
    for name in NANO:
        folder = root / f"datasets/zeta-alpha-ai/Nano{name}"
        parts: dict[str, list[dict[str, Any]]] = {
            "corpus": [{"_id": f"d{i}", "text": sentence(25)} for i in range(80)],
            "queries": [{"_id": f"q{i}", "text": sentence(5)} for i in range(10)],
            "qrels": [{"query-id": f"q{i}", "corpus-id": f"d{drawn.randrange(80)}"} for i in range(10)],
        }
        for part, rows in parts.items():
            parquet(rows, folder / f"{part}/train-00000-of-00001.parquet")
        card(folder, {part: {"train": f"{part}/*"} for part in parts})
    for name, splits in BEIR.items():
        folder = root / f"datasets/BeIR/{name}"
        corpus, queries, qrels = _collection(sentence, drawn, name, splits)
        for part, rows in (("corpus", corpus), ("queries", queries)):
            parquet(rows, folder / f"{part}/{part}-00000-of-00001.parquet")
        card(folder, {part: {part: f"{part}/*"} for part in ("corpus", "queries")})
        judged = folder.with_name(f"{name}-qrels")
        card(judged, {})
        for split in splits:
            lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in qrels[split]), ""]
            (judged / f"{split}.tsv").write_text("\n".join(lines), encoding="utf-8")
    for forum in FORUMS:
        folder = root / f"datasets/mteb/cqadupstack-{forum}"
        corpus, queries, qrels = _collection(sentence, drawn, forum, ("test",))
        keys = ("query-id", "corpus-id", "score")
        rows = [
            dict(zip(keys, (query, document, float(grade)), strict=True))
            for query, document, grade in qrels["test"]
        ]
        parquet(corpus, folder / "corpus/corpus-00000-of-00001.parquet")
        parquet(queries, folder / "queries/queries-00000-of-00001.parquet")
        parquet(rows, folder / "data/test-00000-of-00001.parquet")
        layout = {
            "corpus": {"corpus": "corpus/*"},
            "queries": {"queries": "queries/*"},
            "default": {"test": "data/*"},
        }
        card(folder, layout)


def _collection(
    sentence: Callable[[int], str], drawn: random.Random, name: str, splits: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, list[tuple[str, str, int]]]]:
    """Forty documents with titles, some of them graded 0 to 2 for five queries of each split.

    ArguAna's queries are documents of the corpus, under the same ids. Nfcorpus judges a document that is not there.
    """
    corpus = [{"_id": str(1000 + i), "title": sentence(2), "text": sentence(20)} for i in range(40)]
    queries, qrels = [], {}
    for place, split in enumerate(splits):
        qrels[split] = []
        for number in range(5):
            key, text = f"{split}-{number}", sentence(5)
            if name == "arguana":
                own = corpus[5 * place + number]
                key, text = own["_id"], own["text"]
            queries.append({"_id": key, "title": "", "text": text})
            documents = [row["_id"] for row in corpus if row["_id"] != key]
            found = drawn.sample(documents, 3)
            qrels[split] += [(key, found[0], 2), (key, found[1], 1), (key, found[2], 0)]
        if name == "nfcorpus":
            qrels[split].append((key, "gone", 1))
    return corpus, queries, qrels


def stock_models(root: Path) -> None:
    """ModernBERT-base, Nomic's two dense models and the released checkpoints, all tiny and random."""
    import torch
    from pylate import models as pylate_models
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from tokenizers import Tokenizer, pre_tokenizers, processors, trainers
    from tokenizers import models as tokenizer_models
    from transformers import ModernBertConfig, ModernBertForMaskedLM, PreTrainedTokenizerFast

    sentence = _sentences(4)
    tokenizer = Tokenizer(tokenizer_models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    tokenizer.train_from_iterator(
        [*(sentence(20) for _ in range(500)), "search_query: search_document: "],
        trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, mask_token="[MASK]", model_max_length=8192, **names
    )
    config = ModernBertConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=1024,
        pad_token_id=3,
        cls_token_id=1,
        sep_token_id=2,
        bos_token_id=1,
        eos_token_id=2,
    )
    base = root / "models/answerdotai/ModernBERT-base"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ModernBertForMaskedLM(config).save_pretrained(base)
        fast.save_pretrained(base)
        for name in ("modernbert-embed-base-unsupervised", "modernbert-embed-base"):
            encoder = Transformer(str(base))
            pooling = Pooling(encoder.get_word_embedding_dimension(), pooling_mode="mean")
            dense = SentenceTransformer(modules=[encoder, pooling], device="cpu", prompts=PROMPTS)
            dense.save_pretrained(str(root / "models/nomic-ai" / name), create_model_card=False)
        for name, (query, document, prompted) in RELEASED.items():
            model = pylate_models.ColBERT(
                str(base), device="cpu", embedding_size=128, query_length=query, document_length=document
            )
            if prompted:
                model.prompts = dict(PROMPTS)
            model.save_pretrained(str(root / "models/lightonai" / name), create_model_card=False)


def stock(root: Path) -> Path:
    """Everything; returns ``root``."""
    stock_training(root)
    stock_collections(root)
    stock_models(root)
    return root
