"""The paper's training data from the Hugging Face hub, in the same columns as offline and user data.

Nothing is downloaded on import. How many rows a profile takes is decided in ``profiles``.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbert_zero_lib.errors import DataError, ParameterError

if TYPE_CHECKING:
    from datasets import Dataset

UNSUPERVISED_DATA = "nomic-ai/nomic-embed-unsupervised-data"
SUPERVISED_DATA = "nomic-ai/nomic-embed-supervised-data"
DISTILLATION_DATA = "lightonai/ms-marco-en-bge-gemma"
UNSUPERVISED_SPLITS = (
    "reddit_title_body",
    "amazon_reviews",
    "paq",
    "s2orc_citation_titles",
    "s2orc_title_abstract",
    "s2orc_abstract_citation",
    "s2orc_abstract_body",
    "wikianswers",
    "wikipedia",
    "gooaq",
    "codesearch",
    "yahoo_title_answer",
    "agnews",
    "amazonqa",
    "yahoo_qa",
    "yahoo_title_question",
    "ccnews",
    "npr",
    "eli5",
    "cnn",
    "stackexchange_duplicate_questions",
    "stackexchange_title_body",
    "stackexchange_body_body",
    "sentence_compression",
    "wikihow",
    "altlex",
    "quora",
    "simplewiki",
    "squad",
)
SUPERVISED_SPLITS = (
    "medi_sts_wiki_rephrasal",
    "fever_hn_mine",
    "msmarco_distillation_simlm_rescored_reranked_min15",
    "reddit_triples",
    "medi_sts_flickr_sampled",
    "nq_cocondensor_hn_mine_reranked_min15",
    "nli_simcse_50negs_fixed",
    "medi_supernli_sampled",
    "hotpotqa_hn_mine_shuffled",
    "medi_sts_stackexchange_dupe",
)
REACH_SECONDS = 10


def unsupervised_pairs(split: str, rows: int | None = None, path: str = UNSUPERVISED_DATA) -> Dataset:
    """One of the 29 sources of the unsupervised phase, columns ``query`` and ``document``.

    ``rows`` takes the first so many by streaming, without downloading the rest; None takes all (the largest
    source has tens of millions). ``path`` may be a local copy. DataError if it cannot be had.
    """
    return _load(path, split=split, rows=rows, columns=("query", "document"))


def supervised_triples(
    split: str, rows: int | None = None, negatives: int | None = None, path: str = SUPERVISED_DATA
) -> Dataset:
    """One of the 10 sources of the supervised phase, columns ``query``, ``document``, ``negatives`` (list).

    With ``negatives``, lists are cut to that length and rows with fewer are left out. The authors' script
    means to cap at 10 and keeps 11.
    """
    loaded = _load(path, split=split, rows=rows, columns=("query", "document", "negative"))
    loaded = loaded.rename_column("negative", "negatives")
    if negatives is None:
        return loaded
    if negatives < 1:
        raise ParameterError(f"negatives must be at least 1, not {negatives}.")
    enough = loaded.filter(lambda found: len(found) >= negatives, input_columns="negatives")
    return enough.map(lambda found: {"negatives": found[:negatives]}, input_columns="negatives")


def scored_lists(rows: int | None = None, documents: int = 32, path: str = DISTILLATION_DATA) -> Dataset:
    """MS MARCO queries with documents and the teacher's scores: ``query``, ``documents``, ``scores``.

    Joins the subsets ``train`` (ids and scores of bge-reranker-v2-gemma), ``queries`` and ``documents`` when
    rows are read, so that 8.8 million passages stay on disk. ``documents`` cuts each list. DataError names an
    id that the subsets do not share.
    """
    if documents < 1:
        raise ParameterError(f"documents must be at least 1, not {documents}.")
    lists = _load(
        path, name="train", split="train", rows=rows, columns=("query_id", "document_ids", "scores")
    )
    queries = _load(path, name="queries", split="train", columns=("query_id", "text"))
    texts = _load(path, name="documents", split="train", columns=("document_id", "text"))
    kept = [_as_list(found)[:documents] for found in lists["document_ids"]]
    scores = [[float(score) for score in _as_list(found)[:documents]] for found in lists["scores"]]
    for row, (ids, values) in enumerate(zip(kept, scores, strict=True)):
        if len(ids) != len(values):
            raise DataError(
                f"{path}, subset train, row {row} has {len(ids)} documents and {len(values)} scores."
            )
    query_rows = _rows_of(queries, "query_id", list(lists["query_id"]), path)
    flat = _rows_of(texts, "document_id", [key for ids in kept for key in ids], path)
    places = iter(flat)
    return _joined(
        query_rows,
        [[next(places) for _ in ids] for ids in kept],
        scores,
        queries.data.table,
        texts.data.table,
    )


def _joined(
    query_rows: list[int], document_rows: list[list[int]], scores: list[list[float]], queries: Any, texts: Any
) -> Dataset:
    from datasets import Dataset

    numbers = Dataset.from_dict({"query": query_rows, "documents": document_rows, "scores": scores})

    def join(batch: dict[str, list]) -> dict[str, list]:
        joined = dict(batch)
        if "query" in batch:
            joined["query"] = queries.column("text").take(batch["query"]).to_pylist()
        if "documents" in batch:
            joined["documents"] = [
                texts.column("text").take(places).to_pylist() for places in batch["documents"]
            ]
        return joined

    return numbers.with_transform(join)


def _rows_of(table: Dataset, column: str, wanted: list, path: str) -> list[int]:
    """Row numbers of the wanted ids; ids are compared as text, since subsets differ in their type."""
    import pyarrow as pa
    import pyarrow.compute as pc

    there = pc.cast(table.data.table.column(column), pa.string()).combine_chunks()
    found = pc.index_in(pa.array([str(key) for key in wanted], pa.string()), value_set=there)
    if found.null_count:
        missing = wanted[pc.index(pc.is_null(found), True).as_py()]
        raise DataError(f"{path}: {column} {missing!r} of the subset train has no text in its own subset.")
    return found.to_pylist()


def _as_list(value: Any) -> list:
    """A list that some versions of the data keep as its printed form."""
    return list(ast.literal_eval(value)) if isinstance(value, str) else list(value)


def _load(
    path: str, split: str, columns: tuple[str, ...], name: str | None = None, rows: int | None = None
) -> Dataset:
    from datasets import Dataset, load_dataset
    from huggingface_hub import constants

    if rows is not None and rows < 1:
        raise ParameterError(f"rows must be at least 1, not {rows}.")
    local = Path(path).is_dir()
    if not local and not constants.HF_HUB_OFFLINE:
        _reach(path)
    stream = rows is not None and (local or not constants.HF_HUB_OFFLINE)
    try:
        loaded = load_dataset(path, name, split=split, streaming=stream)
        if stream:
            features = loaded.features
            loaded = Dataset.from_list(list(loaded.take(rows)), features=features)
    except (OSError, ValueError, RuntimeError) as error:
        where = f"{path} ({name})" if name else path
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise DataError(
            f"Split {split!r} of {where} cannot be loaded ({reason}): "
            "connect to the hub, or choose an offline profile (smoke, tiny, laptop, mini)."
        ) from None
    missing = [column for column in columns if column not in loaded.column_names]
    if missing:
        raise DataError(
            f"Split {split!r} of {path} has no column {missing[0]!r} but {', '.join(loaded.column_names)}."
        )
    if rows is not None and rows < len(loaded):
        loaded = loaded.select(range(rows))
    return loaded.select_columns(list(columns))


def _reach(path: str) -> None:
    """One short request first: the download itself would retry for minutes."""
    from huggingface_hub import HfApi

    try:
        HfApi().dataset_info(path, timeout=REACH_SECONDS)
    except Exception as error:  # httpx, requests or the hub's own, by version
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise DataError(
            f"The data set {path} cannot be reached on the hub ({reason}): check the connection, "
            "or choose an offline profile (smoke, tiny, laptop, mini)."
        ) from None
