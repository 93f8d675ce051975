"""sentence-transformers 6: MultiVectorEncoder, its losses and evaluator; run by a process that has this version."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import (
    MultiVectorEncoder,
    MultiVectorEncoderTrainer,
    MultiVectorEncoderTrainingArguments,
)
from sentence_transformers.multi_vector_encoder import losses
from sentence_transformers.multi_vector_encoder.evaluation import MultiVectorInformationRetrievalEvaluator
from sentence_transformers.util.similarity import maxsim as maxsim_of

from tests.conformance.subjects import encoding

DISTRIBUTION = "sentence-transformers"
REFUSALS = (Exception,)


def _evaluator(given: dict[str, Any], corpus: dict[str, str], queries: dict[str, str]) -> Any:
    relevant = {
        query: {name for name, grade in row.items() if grade > 0} for query, row in given["qrels"].items()
    }
    return MultiVectorInformationRetrievalEvaluator(queries, corpus, relevant, write_csv=False)


def ndcg(given: dict[str, Any]) -> float:
    corpus = given.get("corpus") or dict.fromkeys(name for row in given["run"].values() for name, _ in row)
    queries = dict.fromkeys([*given["run"], *given["qrels"]], "text")
    evaluator = _evaluator(given, {name: name for name in corpus}, queries)
    rows = [
        [{"corpus_id": name, "score": score} for name, score in given["run"].get(q, [])]
        for q in evaluator.queries_ids
    ]
    return float(evaluator.compute_metrics(rows)["ndcg@k"][10])


def own_text(given: dict[str, Any]) -> float:
    evaluator = _evaluator(given, given["texts"], {query: given["query"] for query in given["run"]})
    measures = evaluator(_model(given["models"]["plain"]))
    return float(next(value for name, value in measures.items() if name.endswith("ndcg@10")))


def _model(folder: str) -> Any:
    return MultiVectorEncoder(folder, device="cpu", local_files_only=True)


def _encode(model: Any, texts: list[str], is_query: bool) -> list[np.ndarray]:
    encode = model.encode_query if is_query else model.encode_document
    return [np.asarray(each) for each in encode(texts, convert_to_numpy=True)]


def scores(given: dict[str, Any]) -> Any:
    model = _model(given["model"])
    return model.similarity(
        model.encode_query(given["queries"]), model.encode_document(given["documents"])
    ).tolist()


def first_token(given: dict[str, Any]) -> Any:
    model = _model(given["model"])
    found = _features(model, given["texts"], "document")
    pairs = zip(found["input_ids"], found["attention_mask"].bool(), strict=True)
    return [ids[attended].tolist().index(model.tokenizer.cls_token_id) for ids, attended in pairs]


def maxsim(given: dict[str, Any]) -> Any:
    kind = getattr(torch, given["precision"])
    documents = [torch.tensor(each, dtype=kind) for each in given["documents"]]
    return maxsim_of([torch.tensor(given["query"], dtype=kind)], documents).float()[0].tolist()


def _features(model: Any, texts: list[str], task: str) -> Any:
    return {**model.preprocess(texts, prompt=model.prompts[task], task=task), "task": task}


def cached_gradient(given: dict[str, Any]) -> float:
    kinds = (
        losses.CachedMultiVectorMultipleNegativesRankingLoss,
        losses.MultiVectorMultipleNegativesRankingLoss,
    )
    sizes = []
    for kind in kinds:
        model = _model(given["model"])
        columns = [
            _features(model, given["queries"], "query"),
            _features(model, given["documents"], "document"),
        ]
        kind(model)(columns).backward()
        sizes.append(sum((each.grad**2).sum() for each in model.parameters() if each.grad is not None) ** 0.5)
    return float(sizes[0] / sizes[1])


def distillation(given: dict[str, Any]) -> float:
    model = _model(given["model"])
    count = len(given["queries"])
    columns = [_features(model, given["queries"], "query")]
    columns += [_features(model, [document] * count, "document") for document in given["documents"]]
    return float(losses.MultiVectorDistillKLDivLoss(model)(columns, torch.tensor(given["teacher"])))


def sources(given: dict[str, Any]) -> Any:
    data = DatasetDict(
        {
            name: Dataset.from_dict({"query": [name] * size, "document": [name] * size})
            for name, size in zip(("ship", "honey"), given["sizes"], strict=True)
        }
    )
    model = _model(given["models"]["plain"])
    with tempfile.TemporaryDirectory() as place:
        arguments = MultiVectorEncoderTrainingArguments(
            place, per_device_train_batch_size=given["batch_size"], use_cpu=True, report_to="none"
        )
        loss = losses.MultiVectorMultipleNegativesRankingLoss(model)
        trainer = MultiVectorEncoderTrainer(model=model, args=arguments, train_dataset=data, loss=loss)
        batches = [batch["document_input_ids"] for batch in trainer.get_train_dataloader()]
    return {"batches": len(batches), "mixed": sum(len(set(map(tuple, b.tolist()))) > 1 for b in batches)}


_ENCODING = encoding.tasks(_model, _encode)
TASKS = {
    **_ENCODING,
    "ndcg": ndcg,
    "own text": own_text,
    "scores": scores,
    "plain call": _ENCODING["lengths"],
    "first token": first_token,
    "maxsim": maxsim,
    "cached gradient": cached_gradient,
    "distillation": distillation,
    "sources": sources,
}
