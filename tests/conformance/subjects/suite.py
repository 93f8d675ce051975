"""This suite, by the functions that its own evaluation and training go through."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict

from colbert_zero_lib.corpora import Collection, read_collection
from colbert_zero_lib.corpora.collections import judged_collection
from colbert_zero_lib.errors import ColbertZeroError
from colbert_zero_lib.evaluation import LateInteractionRetriever, PlaidRetriever, Ranking, score_ranking
from colbert_zero_lib.evaluation.encode import TokenBatch, encode_positions, precision_type, token_vectors
from colbert_zero_lib.evaluation.maxsim import ExactMaxSim
from colbert_zero_lib.evaluation.ranking import rank
from colbert_zero_lib.evaluation.subjects import find_subject
from colbert_zero_lib.home import home
from colbert_zero_lib.profiles import get_profile
from colbert_zero_lib.recipes import Interaction, Phase, Recipe
from colbert_zero_lib.training.collation import Collator
from colbert_zero_lib.training.contrastive import Contrastive
from colbert_zero_lib.training.distillation import Distillation
from colbert_zero_lib.training.trainer import make_trainer
from tests.conformance.subjects import encoding

DISTRIBUTION = "colbert_zero_lib"
REFUSALS = (ColbertZeroError,)


class _Run:
    """A retriever that has the scores of a run."""

    def __init__(self, run: dict[str, list[Any]]) -> None:
        self.run = run

    def search(self, collection: Collection, k: int = 100) -> Ranking:
        places = {document: place for place, document in enumerate(collection.corpus)}
        indices = np.full((len(collection.queries), len(places)), -1, dtype=np.int32)
        scores = np.full(indices.shape, -np.inf, dtype=np.float32)
        for row, query in enumerate(collection.queries):
            for column, (document, score) in enumerate(self.run.get(query, [])):
                indices[row, column], scores[row, column] = places[document], score
        return Ranking(tuple(collection.queries), indices[:, :k], scores[:, :k])


def _scored(given: dict[str, Any], identical: bool = False) -> Any:
    run = given["run"]
    corpus = given.get("corpus") or dict.fromkeys(document for row in run.values() for document, _ in row)
    collection = judged_collection(
        "case",
        {document: document for document in corpus},
        dict.fromkeys([*run, *given["qrels"]], "text"),
        given["qrels"],
        identical_ids_out=identical,
    )
    return score_ranking(rank(_Run(run), collection), collection)


def ndcg(given: dict[str, Any]) -> float:
    return float(_scored(given)["ndcg@10"].mean())


def own_text(given: dict[str, Any]) -> float:
    return float(_scored(given, given["identical"])["ndcg@10"].mean())


def ranks(given: dict[str, Any]) -> float:
    scored = _scored(given)
    return float(1 / scored["mrr@10"].item() - (2 ** (1 / scored["ndcg@10"].item()) - 1))


def repeats(given: dict[str, Any]) -> float:
    names = sorted(set(given["ranking"]))
    collection = Collection("case", {name: name for name in names}, {"q": "q"}, given["qrels"])
    indices = np.array([[names.index(name) for name in given["ranking"]]], dtype=np.int32)
    ranking = Ranking(("q",), indices, -np.arange(indices.size, dtype=np.float32)[None])
    return float(score_ranking(ranking, collection)["ndcg@10"].item())


def qrels(given: dict[str, Any]) -> Any:
    return {query: dict(grades) for query, grades in read_collection(given["folder"]).qrels.items()}


def texts(given: dict[str, Any]) -> Any:
    return dict(read_collection(given["folder"]).corpus)


def _model(folder: str) -> Any:
    return find_subject(folder, home(), "cpu").model


def _collection(given: dict[str, Any]) -> Collection:
    parts = [
        {str(place): text for place, text in enumerate(given[part])} for part in ("documents", "queries")
    ]
    return Collection("case", parts[0], parts[1], {query: {"0": 1} for query in parts[1]})


def scores(given: dict[str, Any]) -> Any:
    collection = _collection(given)
    ranking = LateInteractionRetriever(_model(given["model"])).search(collection)
    found = np.empty(ranking.scores.shape)
    np.put_along_axis(found, ranking.indices.astype(int), ranking.scores, axis=1)
    return found.tolist()


def first_token(given: dict[str, Any]) -> Any:
    found: list[Any] = [None] * len(given["texts"])
    model = _model(given["model"])
    for batch in encode_positions(model, given["texts"], False):
        for row, ids, attended in zip(batch.rows.tolist(), batch.ids, batch.attended, strict=True):
            found[row] = ids[attended].tolist().index(model.tokenizer.cls_token_id)
    return found


def maxsim(given: dict[str, Any]) -> Any:
    def batch(rows: list[Any]) -> TokenBatch:
        longest = max(map(len, rows))
        padded = torch.tensor([row + row[:1] * (longest - len(row)) for row in rows])
        return TokenBatch(torch.arange(len(rows)), torch.tensor([len(row) for row in rows]), padded)

    dtype = precision_type(given["precision"])
    search = ExactMaxSim([batch([given["query"]])], 1, len(given["documents"]), dtype=dtype)
    search.add(batch(given["documents"]))
    indices, values = search.result()
    return values[0][np.argsort(indices[0])].tolist()


def cached_gradient(given: dict[str, Any]) -> float:
    sizes = []
    for cached in (True, False):
        model = _model(given["model"])
        collator = Collator(model, (model.query_length, model.document_length))
        features = [_features(collator, given[part], part == "queries") for part in ("queries", "documents")]
        Contrastive(model, temperature=1.0, gradient_cache=cached)(features).backward()
        sizes.append(gradient_size(model))
    return sizes[0] / sizes[1]


def gradient_size(model: Any) -> float:
    return float(sum((each.grad**2).sum() for each in model.parameters() if each.grad is not None) ** 0.5)


def _features(collator: Collator, listed: list[str], is_query: bool) -> Any:
    return collator.tokenize(listed, is_query)


def distillation(given: dict[str, Any]) -> float:
    model = _model(given["model"])
    collator = Collator(model, (model.query_length, model.document_length))
    documents = given["documents"] * len(given["queries"])
    features = [_features(collator, given["queries"], True), _features(collator, documents, False)]
    options = {} if given["normalize"] is None else {"normalize_scores": given["normalize"]}
    return float(Distillation(model, **options)(features, torch.tensor(given["teacher"])))


def sources(given: dict[str, Any]) -> Any:
    model = _model(given["models"]["plain"])
    data = DatasetDict(
        {
            name: Dataset.from_dict({"query": [name] * size, "document": [name] * size})
            for name, size in zip(("ship", "honey"), given["sizes"], strict=True)
        }
    )
    step = Recipe.parse("colbert:unsupervised").steps[0]
    budget = get_profile("smoke").budgets[(Phase.UNSUPERVISED, Interaction.COLBERT)]
    budget = budget.__class__(**{**vars(budget), "batch_size": given["batch_size"], "steps": 8})
    with tempfile.TemporaryDirectory() as place:
        trainer = make_trainer(model, data, step, budget, (16, 40), seed=0, folder=Path(place))
        batches = [batch["document_input_ids"] for batch in trainer.get_train_dataloader()]
    return {"batches": len(batches), "mixed": sum(len(set(map(tuple, b.tolist()))) > 1 for b in batches)}


def index(given: dict[str, Any]) -> Any:
    ranking = PlaidRetriever(_model(given["model"])).search(_collection(given))
    return [len({place for place in row if place >= 0}) for row in ranking.indices.tolist()]


def index_twice(given: dict[str, Any]) -> float:
    model = _model(given["models"]["plain"])
    collection = _collection(given)
    found = []
    for state in (1, 2):
        torch.manual_seed(state)
        ranking = PlaidRetriever(model, seed=given["seed"]).search(collection, k=len(collection.corpus))
        matrix = np.zeros((len(ranking.indices), len(collection.corpus)))
        np.put_along_axis(matrix, ranking.indices.astype(int), ranking.scores, axis=1)
        found.append(matrix)
    return float(abs(found[0] - found[1]).max())


_ENCODING = encoding.tasks(_model, token_vectors)
TASKS = {
    **_ENCODING,
    "ndcg": ndcg,
    "own text": own_text,
    "ranks": ranks,
    "repeats": repeats,
    "qrels": qrels,
    "texts": texts,
    "scores": scores,
    "plain call": _ENCODING["lengths"],
    "first token": first_token,
    "maxsim": maxsim,
    "cached gradient": cached_gradient,
    "distillation": distillation,
    "sources": sources,
    "index": index,
    "index twice": index_twice,
}
