"""PyLate: its model, losses, index and evaluation, as its documentation calls them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pylate import evaluation, indexes, losses, models, scores

from tests.conformance.subjects import encoding

DISTRIBUTION = "pylate"
REFUSALS = (Exception,)


def ndcg(given: dict[str, Any]) -> float:
    queries = list(given["run"])
    found = [
        [{"id": document, "score": score} for document, score in given["run"][query]] for query in queries
    ]
    measures = evaluation.evaluate(found, given["qrels"], queries, metrics=["ndcg@10", "mrr@10"])
    return float(measures["ndcg@10"])


def texts(given: dict[str, Any]) -> Any:
    documents, _, _ = evaluation.load_custom_dataset(given["folder"])
    return {each["id"]: each["text"] for each in documents}


def qrels(given: dict[str, Any]) -> Any:
    return evaluation.load_custom_dataset(given["folder"])[2]


def _model(folder: str) -> Any:
    return models.ColBERT(folder, device="cpu", local_files_only=True)


def _encode(model: Any, listed: list[str], is_query: bool, prompt: bool = True) -> list[np.ndarray]:
    name = ("query" if is_query else "document") if prompt else None
    return model.encode(listed, is_query=is_query, prompt_name=name, show_progress_bar=False)


def late_scores(given: dict[str, Any]) -> Any:
    model = _model(given["model"])
    queries, documents = (_encode(model, given[part], part == "queries") for part in ("queries", "documents"))
    return [[float(scores.colbert_scores([q], [d])[0, 0]) for d in documents] for q in queries]


def plain_call(given: dict[str, Any]) -> Any:
    model = _model(given["model"])
    return [len(each) for each in _encode(model, given["texts"], given["is_query"], prompt=False)]


def first_token(given: dict[str, Any]) -> Any:
    model = _model(given["model"])
    found = model.tokenize([model.prompts["document"] + text for text in given["texts"]], is_query=False)
    pairs = zip(found["input_ids"], found["attention_mask"].bool(), strict=True)
    return [ids[attended].tolist().index(model.tokenizer.cls_token_id) for ids, attended in pairs]


def maxsim(given: dict[str, Any]) -> Any:
    kind = getattr(torch, given["precision"])
    documents = [torch.tensor(each, dtype=kind) for each in given["documents"]]
    padded = torch.nn.utils.rnn.pad_sequence(documents, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence(
        [torch.ones(len(each), dtype=torch.bool) for each in documents], batch_first=True
    )
    query = torch.tensor([given["query"]], dtype=kind)
    return scores.colbert_scores(query, padded, documents_mask=mask).float()[0].tolist()


def _features(model: Any, given: dict[str, Any], documents: list[str]) -> Any:
    prompts = model.prompts
    listed = ((given["queries"], True, prompts["query"]), (documents, False, prompts["document"]))
    return [
        model.tokenize([prompt + t for t in part], is_query=side, pad=True) for part, side, prompt in listed
    ]


def cached_gradient(given: dict[str, Any]) -> float:
    sizes = []
    for kind in (losses.CachedContrastive, losses.Contrastive):
        model = _model(given["model"])
        kind(model)(_features(model, given, given["documents"])).backward()
        sizes.append(sum((each.grad**2).sum() for each in model.parameters() if each.grad is not None) ** 0.5)
    return float(sizes[0] / sizes[1])


def distillation(given: dict[str, Any]) -> float:
    model = _model(given["model"])
    options = {} if given["normalize"] is None else {"normalize_scores": given["normalize"]}
    features = _features(model, given, given["documents"] * len(given["queries"]))
    return float(losses.Distillation(model, **options)(features, torch.tensor(given["teacher"])))


def _search(given: dict[str, Any], model: Any, folder: str, **options: Any) -> Any:
    made = indexes.PLAID(
        index_folder=given["folder"],
        index_name=folder,
        use_triton=False,
        show_progress=False,
        device="cpu",
        **options,
    )
    names = [str(place) for place in range(len(given["documents"]))]
    made.add_documents(names, _encode(model, given["documents"], False))
    return made(_encode(model, given["queries"], True), k=len(names))


def index(given: dict[str, Any]) -> Any:
    return [len({each["id"] for each in row}) for row in _search(given, _model(given["model"]), "index")]


def index_twice(given: dict[str, Any]) -> float:
    model, found = _model(given["models"]["plain"]), []
    for state in (1, 2):
        torch.manual_seed(state)
        rows = _search(given, model, f"index{state}", seed=given["seed"])
        found.append([{each["id"]: each["score"] for each in row} for row in rows])
    pairs = zip(*found, strict=True)
    return max(abs(one.get(name, 0.0) - other.get(name, 0.0)) for one, other in pairs for name in one | other)


_ENCODING = encoding.tasks(_model, _encode)
TASKS = {
    **_ENCODING,
    "ndcg": ndcg,
    "own text": ndcg,
    "qrels": qrels,
    "texts": texts,
    "scores": late_scores,
    "plain call": plain_call,
    "first token": first_token,
    "maxsim": maxsim,
    "cached gradient": cached_gradient,
    "distillation": distillation,
    "index": index,
    "index twice": index_twice,
}
