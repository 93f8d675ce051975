"""The public evaluation sets: BEIR's fifteen of the paper's tables and NanoBEIR's thirteen, from the hub.

Which sets there are and by which rules they are judged; a reader's own folder is read in ``collections``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbert_zero_lib.corpora.collections import Collection, joined, judged_collection
from colbert_zero_lib.corpora.qrels import Qrels, collect_qrels, identifier, read_qrels
from colbert_zero_lib.errors import DataError, UnknownNameError
from colbert_zero_lib.hub import check_blobs, commit_of, plain_hub_errors, without_bars

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class HubSet:
    """Where a set is on the hub and how it is judged.

    ``task`` is MTEB's name of it. ``query_length`` is the length, in tokens without a prompt's, that PyLate's BEIR
    evaluation gives its queries; None for NanoBEIR, which PyLate's evaluator searches at a model's own lengths.
    ``identical_ids_out``: see `Collection`; NanoBEIR's published figures leave such documents in.
    """

    name: str
    repository: str
    task: str
    split: str = "test"
    query_length: int | None = None
    identical_ids_out: bool = False

    @property
    def qrels_repository(self) -> str:
        """Where its judgements are: BEIR keeps them in a repository of their own."""
        return f"{self.repository}-qrels" if self.repository.startswith("BeIR/") else self.repository


FORUMS = (
    "android",
    "english",
    "gaming",
    "gis",
    "mathematica",
    "physics",
    "programmers",
    "stats",
    "tex",
    "unix",
    "webmasters",
    "wordpress",
)
# name: MTEB's task and PyLate's query length
_BEIR = {
    "arguana": ("ArguAna", 64),
    "climate-fever": ("ClimateFEVER", 64),
    "cqadupstack": ("CQADupstackRetrieval", 32),
    "dbpedia-entity": ("DBPedia", 32),
    "fever": ("FEVER", 32),
    "fiqa": ("FiQA2018", 32),
    "hotpotqa": ("HotpotQA", 32),
    "msmarco": ("MSMARCO", 32),
    "nfcorpus": ("NFCorpus", 32),
    "nq": ("NQ", 32),
    "quora": ("QuoraRetrieval", 32),
    "scidocs": ("SCIDOCS", 48),
    "scifact": ("SciFact", 48),
    "trec-covid": ("TRECCOVID", 48),
    "webis-touche2020": ("Touche2020", 32),
}
_NANO = (
    "ClimateFEVER",
    "DBPedia",
    "FEVER",
    "FiQA2018",
    "HotpotQA",
    "MSMARCO",
    "NFCorpus",
    "NQ",
    "QuoraRetrieval",
    "SCIDOCS",
    "ArguAna",
    "SciFact",
    "Touche2020",
)
# PyLate's BEIR evaluation cuts documents here; a model that says its own length keeps it.
DOCUMENT_LENGTH = 300
_OWN_TEXT_IN_CORPUS = ("arguana", "quora")


def _sets() -> dict[str, HubSet]:
    found = [
        HubSet(
            f"beir/{name}",
            f"BeIR/{name}",
            task,
            "dev" if name == "msmarco" else "test",
            length,
            name in _OWN_TEXT_IN_CORPUS,
        )
        for name, (task, length) in _BEIR.items()
        if name != "cqadupstack"
    ]
    found += [
        HubSet(
            f"beir/cqadupstack/{forum}",
            f"mteb/cqadupstack-{forum}",
            f"CQADupstack{forum.capitalize()}Retrieval",
            query_length=_BEIR["cqadupstack"][1],
        )
        for forum in FORUMS
    ]
    found += [
        HubSet(
            f"nanobeir/{name}",
            f"zeta-alpha-ai/Nano{name}",
            f"Nano{name.removesuffix('Retrieval')}Retrieval",
            "train",
        )
        for name in _NANO
    ]
    return {entry.name: entry for entry in found}


SETS = _sets()


def expand(name: str) -> tuple[str, ...]:
    """``beir`` -> its 15 names, ``nanobeir`` -> its 13; a name of one set -> that name as it is written.

    ``beir/cqadupstack`` is one of the fifteen and stands for its twelve forums: `parts` names them. UnknownNameError
    for anything else.
    """
    families = {
        "beir": tuple(f"beir/{known}" for known in _BEIR),
        "nanobeir": tuple(f"nanobeir/{known}" for known in _NANO),
    }
    lower = name.lower()
    if lower in families:
        return families[lower]
    for known in (*families["beir"], *SETS):
        if known.lower() == lower:
            return (known,)
    raise UnknownNameError(
        f"No evaluation set is called {name!r}: choose beir, nanobeir or one of them, such as beir/scifact or "
        "nanobeir/SciFact."
    )


def parts(name: str) -> tuple[str, ...]:
    """The collections of one set: itself, or the twelve forums of ``beir/cqadupstack``, whose means are averaged."""
    (known,) = expand(name)
    return (known,) if known in SETS else tuple(f"{known}/{forum}" for forum in FORUMS)


def evaluation_set(name: str, progress: bool = False) -> Collection:
    """One collection from the hub, at the commit that its main branch means now, or from the hub's cache.

    DataError when ``name`` stands for several (`expand`, `parts`) or a part is malformed; HubError when the hub cannot
    give it. ``progress`` shows the downloads.
    """
    meant = [part for known in expand(name) for part in parts(known)]
    if len(meant) > 1:
        raise DataError(f"{name} is several collections: ask for one of them, such as {meant[0]}.")
    with nullcontext() if progress else without_bars():
        return _read(SETS[meant[0]])


def _read(found: HubSet) -> Collection:
    repository, nano = found.repository, found.name.startswith("nanobeir/")
    commit = commit_of(repository, "dataset")
    corpus, queries = (
        _texts(repository, part, "train" if nano else part, commit) for part in ("corpus", "queries")
    )
    if nano:  # as every NanoBEIR evaluator does
        corpus, queries = ({key: text for key, text in texts.items() if text} for texts in (corpus, queries))
    if found.qrels_repository == repository:
        judged = _load(repository, "qrels" if nano else "default", found.split, commit)
        qrels = _judgements(judged, repository)
    else:
        qrels = read_qrels(_qrels_file(found.qrels_repository, found.split))
    return judged_collection(
        found.name,
        corpus,
        queries,
        qrels,
        identical_ids_out=found.identical_ids_out,
        split=found.split,
        revision=commit,
    )


def _qrels_file(repository: str, split: str) -> Path:
    """BEIR's judgements are tables; read as they are, ids stay the text that they were."""
    from huggingface_hub import hf_hub_download

    commit = commit_of(repository, "dataset")
    with plain_hub_errors(repository, "dataset"):
        file = Path(hf_hub_download(repository, f"{split}.tsv", repo_type="dataset", revision=commit))
    check_blobs(file)
    return file


def _load(repository: str, name: str, split: str, commit: str) -> Dataset:
    from datasets import load_dataset

    with plain_hub_errors(repository, "dataset"):
        return load_dataset(repository, name, split=split, revision=commit)


def _rows(table: Dataset, columns: tuple[str, ...], where: str) -> Iterator[tuple[Any, ...]]:
    for column in columns[:2]:
        if column not in table.column_names:
            raise DataError(f"{where} has no column {column!r} but {', '.join(table.column_names)}.")
    for batch in table.iter(batch_size=8192):
        missing = [None] * len(batch[columns[0]])
        yield from zip(*(batch.get(column, missing) for column in columns), strict=True)


def _texts(repository: str, part: str, split: str, commit: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    where = f"{repository} ({part})"
    table = _load(repository, part, split, commit)
    for number, (key, text, title) in enumerate(_rows(table, ("_id", "text", "title"), where), start=1):
        found = identifier(key)
        if found is None or found in texts:
            raise DataError(f"{where}, row {number} has {'no' if found is None else 'a repeated'} id.")
        texts[found] = joined(title or "", text or "") if part == "corpus" else text or ""
    return texts


def _judgements(table: Dataset, where: str) -> Qrels:
    rows = enumerate(_rows(table, ("query-id", "corpus-id", "score"), where), start=1)
    graded = (
        (number, query, document, 1 if score is None else score) for number, (query, document, score) in rows
    )
    return collect_qrels(graded, where)
