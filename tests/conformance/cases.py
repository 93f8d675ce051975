"""The table: what was reported where, a small input, and the right value with how it was worked out.

A value is what JSON holds. Nothing is run here: subjects answer, ``verdicts`` compares.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

REFUSED = "refused"
THIRD = 0.63093  # 1 / log2(3), the discount of rank 2


@dataclass(frozen=True)
class Convention:
    """Another value that is no mistake: a documented rule of some peers (of all, if none is named), in words."""

    value: Any
    words: str
    peers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One report. ``right`` is a value, `REFUSED`, or ``reference``: what the plain implementation gives.

    ``source`` names issues and pull requests as owner/repository#number; empty where the kind is known but no report of
    it was found. ``why`` is how the right value is worked out.
    """

    name: str
    task: str
    given: dict[str, Any]
    right: Any
    why: str
    source: str = ""
    conventions: tuple[Convention, ...] = ()
    tolerance: float = 1e-3


def ranked(*documents: str) -> list[list[Any]]:
    """A run of one query: documents with falling scores."""
    return [[document, float(len(documents) - place)] for place, document in enumerate(documents)]


QUERIES = ["when does the ship leave the harbour?", "strings of the violin"]
DOCUMENTS = [
    "The harbour crane lifts two containers at once, and the ship waits until the tide turns.",
    "The violin has four strings tuned in fifths: G, D, A, E.",
    "Honey.",
]
LONG = " ".join(["the ship leaves the harbour when the tide turns"] * 8)
# Words in an order of its own in each text.
WORDS = [
    "harbour",
    "ship",
    "tide",
    "yeast",
    "bread",
    "honey",
    "violin",
    "cello",
    "glacier",
    "valley",
    "bees",
    "king",
    "rook",
    "lake",
]
MANY = [
    " ".join(WORDS[(number * step) % 13] for step in range(1, 11)) + f" {number}" for number in range(120)
]
OWN_WAY = {"queries": QUERIES, "documents": DOCUMENTS}


def corpus(*texts: tuple[str, str]) -> str:
    """A corpus of (id, text), without titles."""
    rows = ({"_id": name, "title": "", "text": text} for name, text in texts)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


HEADER = "query-id\tcorpus-id\tscore\n"
TEXTS = {
    "corpus.jsonl": corpus(("d1", "one"), ("d2", "two")),
    "queries.jsonl": '{"_id": "q1", "text": "which"}\n{"_id": "q2", "text": "what"}\n',
}


def folder(qrels: str, file: str = "test.tsv", **more: str) -> dict[str, Any]:
    """A collection in BEIR's layout: files by name."""
    return {
        "files": {**TEXTS, **{f"{name}.jsonl": text for name, text in more.items()}, f"qrels/{file}": qrels}
    }


BINARY = Convention(1.0, "takes judgements as a set: relevant or not")
TREC_TIES = "equal scores go by id, as in trec_eval"
ANSWERED = "averages over the queries that have results, as trec_eval does without -c"
BY_NAME = "encode takes the prompt by name: prompt_name"

METRICS = (
    Case(
        "a query's own text is in the corpus",
        "own text",
        {
            "qrels": {"a1": {"b1": 1}},
            "run": {"a1": ranked("a1", "b1")},
            "texts": {"a1": DOCUMENTS[0], "b1": DOCUMENTS[1]},
            "query": DOCUMENTS[0],
            "identical": True,
        },
        1.0,
        "ArguAna and Quora hold their queries: without the document of the query's id the answer stands first",
        "lightonai/pylate#198, beir-cellar/beir#91, thakur-nandan/sprint#2",
        (
            Convention(
                THIRD,
                "keeps it on purpose: ids may be equal by chance, and the user takes such documents out",
                ("sentence_transformers",),
            ),
        ),
    ),
    Case(
        "ids of a query and of its answer are equal by chance",
        "own text",
        {
            "qrels": {"7": {"7": 1}},
            "run": {"7": ranked("7", "8")},
            "texts": {"7": DOCUMENTS[0], "8": DOCUMENTS[1]},
            "query": DOCUMENTS[0],
            "identical": False,
        },
        1.0,
        "numbered ids meet in collections whose queries are no documents: the answer must stay",
        "beir-cellar/beir#91",
        (Convention(0.0, "takes equal ids out of every set unless told not to (ignore_identical_ids)"),),
    ),
    Case(
        "a judged document is not in the corpus",
        "ndcg",
        {"qrels": {"q": {"a": 1, "gone": 1}}, "run": {"q": ranked("a", "b")}},
        1 / (1 + THIRD),
        "it stays in the ideal ranking, as in BEIR's published figures: 1 / (1 + 1/log2 3)",
        "beir-cellar/beir#101, beir-cellar/beir#172, embeddings-benchmark/mteb#5170",
    ),
    Case(
        "the ideal ranking holds what was not found",
        "ndcg",
        {
            "qrels": {"q": {"a": 1, "z": 1}},
            "run": {"q": ranked("a", "b", "c")},
            "corpus": ["a", "b", "c", "z"],
        },
        1 / (1 + THIRD),
        "all judged documents are ranked for the ideal, not those that were found",
        "NTMC-Community/MatchZoo#598, spiceai/spiceai#12277",
    ),
    Case(
        "more relevant documents than the cut-off",
        "ndcg",
        {
            "qrels": {"q": {f"d{n:02}": 1 for n in range(14)}},
            "run": {"q": ranked(*(f"d{n:02}" for n in range(14)))},
        },
        1.0,
        "the ideal ranking is cut at ten too",
        "usnistgov/trec_eval#11",
    ),
    Case(
        "a judged query has no results",
        "ndcg",
        {"qrels": {"q1": {"a": 1}, "q2": {"b": 1}}, "run": {"q1": ranked("a", "b")}},
        0.5,
        "it counts as 0 and stays in the mean",
        "cvangysel/pytrec_eval#30, AmenRa/ranx#27, spiceai/spiceai#12277",
        (Convention(1.0, ANSWERED),),
    ),
    Case(
        "a query without judgements has results",
        "ndcg",
        {"qrels": {"q1": {"a": 1}}, "run": {"q1": ranked("a", "b"), "q2": ranked("b", "a")}},
        1.0,
        "nothing is known about it: it is left out of the mean",
        "AmenRa/ranx#27, AmenRa/retriv#12",
    ),
    Case(
        "a query has judgements but nothing relevant",
        "ndcg",
        {"qrels": {"q1": {"a": 1}, "q2": {"b": 0}}, "run": {"q1": ranked("a", "b"), "q2": ranked("b", "a")}},
        1.0,
        "no ranking could be better than another: it is left out, and said",
        "joaopalotti/trectools#51, cvangysel/pytrec_eval#49",
        (Convention(0.5, "counts it as 0, as trec_eval does"),),
    ),
    Case(
        "graded judgements",
        "ndcg",
        {"qrels": {"q": {"a": 2, "b": 1}}, "run": {"q": ranked("b", "a")}},
        (1 + 2 * THIRD) / (2 + THIRD),
        "gain is the grade, as in trec_eval and BEIR: (1 + 2/log2 3) / (2 + 1/log2 3); with 2^grade - 1 it is .797",
        "castorini/anserini#92, sunnweiwei/RankGPT#18, huggingface/sentence-transformers#1349",
        (BINARY, Convention(0.79671, "gain is 2^grade - 1")),
    ),
    Case(
        "a grade below zero",
        "ndcg",
        {"qrels": {"q": {"spam": -1, "a": 1}}, "run": {"q": ranked("spam", "a")}},
        THIRD,
        "not relevant, and no loss either: 1/log2 3",
        "AmenRa/ranx#58",
    ),
    Case(
        "equal scores",
        "ndcg",
        {
            "qrels": {"q1": {"a": 1}, "q2": {"b": 1}},
            "run": {"q1": [["a", 1.0], ["b", 1.0]], "q2": [["b", 1.0], ["a", 1.0]]},
        },
        1.0,
        "the ranking is judged in the order in which it was returned, whatever documents are called",
        "usnistgov/trec_eval#22, terrierteam/ir_measures#18, cvangysel/pytrec_eval#56",
        (Convention((1 + THIRD) / 2, TREC_TIES),),
    ),
    Case(
        "reciprocal rank and nDCG see one ranking",
        "ranks",
        {"qrels": {"q": {"a": 1}}, "run": {"q": [["a", 1.0], ["b", 1.0]]}},
        0.0,
        "with one relevant document each measure tells its rank; with equal scores the two ranks must be one",
        "beir-cellar/beir#105, embeddings-benchmark/mteb#5136",
    ),
    Case(
        "a run names a document twice",
        "repeats",
        {"ranking": ["a", "b", "a"], "qrels": {"q": {"a": 1}}},
        REFUSED,
        "nDCG may rise above 1 and is not defined: trec_eval refuses such runs",
        "cvangysel/pytrec_eval#50, castorini/anserini#720, TREMA-UNH/trec-car-tools#9",
    ),
)

READING = (
    Case(
        "a judged query is missing",
        "qrels",
        folder(HEADER + "q1\td1\t1\nlost\td2\t1\n"),
        {"q1": {"d1": 1}},
        "it cannot be asked: left out, counted and said",
        "beir-cellar/beir#202",
    ),
    Case(
        "grades are written 1.0",
        "qrels",
        folder(HEADER + "q1\td1\t1.0\nq2\td2\t2.0\n"),
        {"q1": {"d1": 1}, "q2": {"d2": 2}},
        "whole numbers, however written",
        "cvangysel/pytrec_eval#16, embeddings-benchmark/mteb#5516",
    ),
    Case(
        "a grade is no whole number",
        "qrels",
        folder(HEADER + "q1\td1\t0.5\nq2\td2\t2\n"),
        REFUSED,
        "cut to 0 it would be another judgement: refused with file and line",
        "usnistgov/trec_eval#49, AmenRa/ranx#8",
    ),
    Case(
        "judgements without a header",
        "qrels",
        folder("q1\td1\t1\nq2\td2\t2\n"),
        {"q1": {"d1": 1}, "q2": {"d2": 2}},
        "the first line is a judgement and must not be lost",
        conventions=(
            Convention({"q2": {"d2": 2}}, "the format has a header, and the first line is taken for it"),
        ),
    ),
    Case(
        "judgements in TREC's four columns",
        "qrels",
        folder("q1 0 d1 1\nq2 0 d2 2\n"),
        {"q1": {"d1": 1}, "q2": {"d2": 2}},
        "query, iteration, document, grade",
    ),
    Case(
        "a pair is judged twice, equally",
        "qrels",
        folder(HEADER + "q1\td1\t1\nq1\td1\t1\n"),
        {"q1": {"d1": 1}},
        "counted once",
        "NVIDIA-NeMo/nemo-platform#2207",
    ),
    Case(
        "a pair is judged twice, differently",
        "qrels",
        folder(HEADER + "q1\td1\t2\nq1\td1\t1\n"),
        REFUSED,
        "nobody knows which one is meant: refused with both lines",
        "NVIDIA-NeMo/nemo-platform#2207",
    ),
    Case(
        "two documents have one id",
        "texts",
        folder(HEADER + "q1\td1\t1\n", corpus=corpus(("d1", "one"), ("d1", "other"))),
        REFUSED,
        "one of the texts would be lost",
        "castorini/pyserini#1902, SuDIS-ZJU/nlcTables#5",
    ),
    Case(
        "a title without a text",
        "texts",
        folder(HEADER + "q1\td1\t1\n", corpus='{"_id": "d1", "title": "Heron"}\n'),
        {"d1": "Heron"},
        "the title is the document",
        "beir-cellar/beir#25, embeddings-benchmark/mteb#3512",
    ),
    Case(
        "a text without a title",
        "texts",
        folder(HEADER + "q1\td1\t1\n", corpus='{"_id": "d1", "text": "A bird."}\n'),
        {"d1": "A bird."},
        "nothing is put before it",
        "beir-cellar/beir#25",
    ),
    Case(
        "unusual signs in ids",
        "texts",
        folder(
            HEADER + "007\t\u00e9\t1\n",
            corpus=corpus(("\u00e9", "x\u2028y"), ("e\u0301", "z")),
            queries='{"_id": "007", "text": "y"}\n',
        ),
        {"\u00e9": "x\u2028y", "e\u0301": "z"},
        "lines end at line feeds only, and ids that look alike are two",
        "wbolster/jsonlines#53, datalad/datalad#3523",
    ),
    Case(
        "a stray quotation mark",
        "qrels",
        folder(HEADER + 'q1\t"d1\t1\nq2\td2\t2\n', corpus=corpus(('"d1', "x"), ("d2", "y"))),
        REFUSED,
        "read on as a quoted cell it swallows the judgements that follow: refused with its line",
        "facebookresearch/pytext#777",
    ),
    Case(
        "a byte order mark",
        "qrels",
        folder("\ufeff" + HEADER + "q1\td1\t1\n", corpus="\ufeff" + TEXTS["corpus.jsonl"]),
        {"q1": {"d1": 1}},
        "it is no part of the first id",
    ),
)

MODELS = (
    Case(
        "a saved model scores the same in other libraries",
        "scores",
        {"model": "plain", **OWN_WAY},
        "reference",
        "markers, prompts, projection and skip list written out with the bare encoder",
        "huggingface/sentence-transformers#3794, embeddings-benchmark/mteb#4120",
    ),
    Case(
        "a saved prompt is used without being asked for",
        "plain call",
        {"model": "plain", "texts": ["violin", "bees", "the lake"], "is_query": True},
        "reference",
        "a query's vectors are those of its saved prompt too",
        "huggingface/sentence-transformers#3394, embeddings-benchmark/mteb#3757, embeddings-benchmark/mteb#4120",
        (Convention("without", BY_NAME),),
    ),
    Case(
        "a query shorter than the limit, without expansion",
        "lengths",
        {"model": "plain", "texts": ["violin", *QUERIES], "is_query": True},
        "reference",
        "as many vectors as tokens: nothing is padded",
        "lightonai/pylate#91, lightonai/pylate#148",
    ),
    Case(
        "a query shorter than the limit, with expansion",
        "lengths",
        {"model": "expanded", "texts": ["violin", *QUERIES], "is_query": True},
        [16, 16, 16],
        "filled with [MASK] up to query_length, and every position is scored",
        "stanford-futuredata/ColBERT#69, lightonai/pylate#9, lightonai/pylate#109",
    ),
    Case(
        "expansion leaves a query's own vectors alone",
        "expansion",
        {"texts": QUERIES},
        0.0,
        "nothing attends to [MASK]: the largest change of a vector",
        "stanford-futuredata/ColBERT#16, lightonai/pylate#9",
    ),
    Case(
        "the prompt counts within the limit",
        "lengths",
        {"model": "plain", "texts": [LONG], "is_query": True},
        [16],
        "query_length holds for markers, prompt and text together",
    ),
    Case(
        "punctuation of documents is not scored",
        "lengths",
        {"model": "plain", "texts": DOCUMENTS, "is_query": False},
        "reference",
        "tokens without those of the skip list, the prompt's colon among them",
        "lightonai/pylate#5, terrierteam/pyterrier_colbert#50",
    ),
    Case(
        "a document beside longer ones",
        "beside others",
        {"model": "plain", "texts": DOCUMENTS},
        0.0,
        "the largest difference of its vectors from those of the document alone",
        "stanford-futuredata/ColBERT#314",
        tolerance=1e-4,
    ),
    Case(
        "a tokenizer that pads on the left",
        "first token",
        {"model": "left", "texts": DOCUMENTS},
        [0, 0, 0],
        "the place of [CLS] among each text's tokens: first, the marker behind it, wherever padding stands",
        "illuin-tech/colpali#12, illuin-tech/colpali#333",
    ),
    Case(
        "documents without a word",
        "empty",
        {"model": "plain", "texts": ["", " ", "...", "Honey."]},
        [True, True, True, True],
        "each has at least one vector, and none is NaN",
        "terrierteam/pyterrier_colbert#51, terrierteam/pyterrier_colbert#59, embeddings-benchmark/mteb#3512",
    ),
    Case(
        "a best match below zero",
        "maxsim",
        {
            "query": [[1.0, 0.0]],
            "documents": [[[-0.6, 0.8]], [[-1.0, 0.0], [-0.8, 0.6]]],
            "precision": "float32",
        },
        [-0.6, -0.8],
        "padding of the shorter document must not score 0",
        "lightonai/pylate#10",
        (Convention([0.0, -0.8], "what is padded scores 0, and a shorter document never less"),),
    ),
    Case(
        "MaxSim in bfloat16",
        "maxsim",
        {
            "query": [[1.0, 0.0]] * 33,
            "documents": [[[1.0, 0.0]], [[0.99609375, 0.0]]],
            "precision": "bfloat16",
        },
        [33.0, 32.87109375],
        "products in bfloat16, their sum in float32: 33 times 1 and 33 times .99609375",
        "lightonai/pylate#237",
        tolerance=1e-6,
    ),
    Case(
        "the gradient of a cached contrastive loss",
        "cached gradient",
        {"model": "plain", "queries": QUERIES * 2, "documents": [*DOCUMENTS, LONG]},
        1.0,
        "GradCache changes memory, not the gradient: its length over that of the plain loss, at a batch of 4",
        "lightonai/pylate#98, lightonai/pylate#100, luyug/GradCache#7",
        tolerance=1e-2,
    ),
    Case(
        "distillation without normalised scores",
        "distillation",
        {"model": "plain", "normalize": False, **OWN_WAY, "teacher": [[0.0, 1.0, 0.5], [2.0, 0.0, 1.0]]},
        "reference",
        "mean over queries of sum t (log t - log s), with softmax over each list",
        "lightonai/pylate#59",
    ),
    Case(
        "distillation as it is by default",
        "distillation",
        {"model": "plain", "normalize": None, **OWN_WAY, "teacher": [[0.0, 1.0, 0.5], [2.0, 0.0, 1.0]]},
        "reference",
        "the student's scores are min-max scaled first, as in the released recipe",
        "lightonai/pylate#59",
        (Convention("plain", "scores are not scaled by default"),),
    ),
    Case(
        "a batch holds one source",
        "sources",
        {"sizes": [24, 8], "batch_size": 4},
        {"batches": 8, "mixed": 0},
        "texts of another source give themselves away",
        "huggingface/sentence-transformers#3040, huggingface/sentence-transformers#3243",
    ),
    Case(
        "an index of three documents",
        "index",
        {"model": "plain", **OWN_WAY},
        [3, 3],
        "every document is found for every query",
        "lightonai/fast-plaid#13",
    ),
    Case(
        "the same index twice",
        "index twice",
        {"documents": MANY, "queries": MANY[:3], "seed": 5},
        0.0,
        "one seed, one index: the largest difference of a score",
        "lightonai/fast-plaid#44, lightonai/fast-plaid#15",
        tolerance=1e-5,
    ),
)

CASES: tuple[Case, ...] = METRICS + READING + MODELS
