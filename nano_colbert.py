"""ColBERT-Zero in one file: three phases make an encoder a ColBERT model, with a search after each.

    colbert-zero data program TEXT
    python nano_colbert.py TEXT/encoder TEXT [RATE]

The first argument is a folder or hub id of an encoder with its tokenizer. TEXT is a folder with `pairs.jsonl` (query,
document), `scored.jsonl` (query, documents, scores of a teacher) and a collection in BEIR's layout: `corpus.jsonl`,
`queries.jsonl`, `qrels/test.tsv`. RATE is the learning rate of the first phase, 0.003 unless given; an encoder with a
long training behind it wants 0.00005.

Collected from the cells of notebooks 01 to 05 that are tagged `program` (`colbert-zero program`): edit them, not this.
"""

import csv
import json
import math
import random
import string
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import AutoModel, AutoTokenizer, get_linear_schedule_with_warmup


# A text becomes token ids, with a marker that says which side it is on.
def collate(tokenizer, texts, marker, limit):
    """Token ids and attention mask [texts, tokens], padded to the longest text: [CLS] marker text [SEP]."""
    batch = tokenizer(list(texts), truncation=True, max_length=limit - 1, padding=True, return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    place = torch.full((len(ids), 1), tokenizer.convert_tokens_to_ids(marker))
    return torch.cat([ids[:, :1], place, ids[:, 1:]], dim=1), F.pad(mask, (1, 0), value=1)


# Token ids become vectors: an encoder, a linear layer, length 1.
class ColBERT(torch.nn.Module):
    """Texts to (vectors [texts, tokens, 128] of length 1, mask [texts, tokens] of those that are scored)."""

    def __init__(self, encoder, dimension=128, query_length=24, document_length=64):
        super().__init__()
        self.tokenizer = AutoTokenizer.from_pretrained(encoder)
        self.encoder = AutoModel.from_pretrained(encoder, dtype=torch.float32, use_safetensors=True)
        self.tokenizer.add_tokens(["[Q] ", "[D] "])
        self.encoder.resize_token_embeddings(len(self.tokenizer), mean_resizing=False)
        self.project = torch.nn.Linear(self.encoder.config.hidden_size, dimension, bias=False)
        self.lengths = {"[Q] ": query_length, "[D] ": document_length}
        self.skipped = torch.tensor(self.tokenizer.convert_tokens_to_ids(list(string.punctuation)))

    def forward(self, texts, marker):
        ids, mask = collate(self.tokenizer, texts, marker, self.lengths[marker])
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        vectors, scored = F.normalize(self.project(hidden), dim=-1), mask.bool()
        # Punctuation of a document has no vector.
        return vectors, scored & ~torch.isin(ids, self.skipped) if marker == "[D] " else scored


# Query and document meet: every query token takes its best document token.
def maxsim(queries, documents):
    """Scores [queries, documents] of every query with every document; each side is (vectors, mask)."""
    (q, asked), (d, scored) = queries, documents
    similarity = torch.einsum("bih,njh->bnij", q, d)
    similarity = similarity.masked_fill(~scored[None, :, None], -1.0)  # no cosine is smaller
    return (similarity.amax(dim=-1) * asked[:, None]).sum(dim=-1)


def padded(parts):
    """Several (vectors, mask) as one, padded to the longest."""
    longest = max(mask.shape[1] for _, mask in parts)
    vectors = [F.pad(vectors, (0, 0, 0, longest - vectors.shape[1])) for vectors, _ in parts]
    return torch.cat(vectors), torch.cat([F.pad(mask, (0, longest - mask.shape[1])) for _, mask in parts])


@torch.no_grad()
def encode(model, texts, marker, batch=64):
    """(vectors, mask) of any number of texts, without gradient."""
    model.eval()
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))  # short with short: less padding
    parts = [[texts[place] for place in order[at : at + batch]] for at in range(0, len(texts), batch)]
    vectors, mask = padded([model(part, marker) for part in parts])
    back = torch.tensor(order).argsort()
    return vectors[back], mask[back]


def search(model, queries, corpus, k=10):
    """Places and scores [queries, k] of the best documents: every one is looked at, no index."""
    documents, found = encode(model, corpus, "[D] "), []
    for at in range(0, len(queries), 16):
        found.append(maxsim(encode(model, queries[at : at + 16], "[Q] "), documents).topk(k, dim=1))
    return torch.cat([best.indices for best in found]), torch.cat([best.values for best in found])


def ndcg(ranking, grades, k=10):
    """nDCG@k of one query's ranking (ids, best first) under its judgements {id: grade}."""
    gain = [grades.get(name, 0) for name in ranking[:k]]
    best = sorted(grades.values(), reverse=True)[:k]
    got, most = (sum(g / math.log2(place + 2) for place, g in enumerate(each)) for each in (gain, best))
    return got / most if most else 0.0


def evaluate(model, collection):
    """Mean nDCG@10 over the queries of a collection."""
    corpus, queries, qrels = collection
    names, asked = list(corpus), list(qrels)
    places, _ = search(model, [queries[name] for name in asked], list(corpus.values()))
    rankings = [[names[place] for place in row] for row in places.tolist()]
    return sum(ndcg(found, qrels[name]) for name, found in zip(asked, rankings, strict=True)) / len(asked)


def read_lines(file):
    """The rows of a file with one JSON object a line."""
    with Path(file).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_collection(folder):
    """Corpus {id: text}, queries {id: text} and judgements {query: {document: grade}} in BEIR's layout."""
    folder, qrels = Path(folder), {}
    documents, asked = read_lines(folder / "corpus.jsonl"), read_lines(folder / "queries.jsonl")
    corpus = {row["_id"]: f"{row.get('title', '')} {row['text']}".strip() for row in documents}
    queries = {row["_id"]: row["text"] for row in asked}
    with (folder / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    return corpus, queries, qrels


# Phase 1: find the right document among all of the batch. Phase 2 adds mined negatives to every row.
def info_nce(scores, temperature=0.2):
    """Cross-entropy of every query's own document, on the diagonal of scores [queries, documents]."""
    return F.cross_entropy(scores / temperature, torch.arange(len(scores)))


def texts_of(rows):
    """Queries and documents of rows (query, its document, negatives ...); the queries' own documents come first."""
    queries, *columns = zip(*rows, strict=True)
    return queries, [text for column in columns for text in column]


def contrastive(model, rows):
    """InfoNCE of a batch of rows; every document of the batch is a candidate for every query."""
    queries, documents = texts_of(rows)
    return info_nce(maxsim(model(queries, "[Q] "), model(documents, "[D] ")))


# One loop for all three phases.
def train(model, loss_of, rows, steps, batch, rate, seed=0):
    """AdamW with warm-up, linear decay and clipped gradients; the loss of every step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(0.05 * steps), steps)
    draw, losses = random.Random(seed), []
    for _ in range(steps):
        model.train()
        loss = loss_of(model, draw.sample(rows, batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.item())
    return losses


# A batch that does not fit: the loss needs all vectors at once, the encoder does not (GradCache).
def cached_contrastive(model, rows, chunk=32):
    """`contrastive`, its gradient already in the model, with the activations of one chunk of texts at a time."""
    sides = zip(texts_of(rows), ("[Q] ", "[D] "), strict=True)
    cuts = [(side[at : at + chunk], marker) for side, marker in sides for at in range(0, len(side), chunk)]
    seeds = torch.randint(2**31, (len(cuts),)).tolist()  # dropout must fall the same way twice

    def encoded(number):
        torch.manual_seed(seeds[number])
        return model(*cuts[number])

    with torch.no_grad():  # 1. all vectors, no activations
        parts = [encoded(number) for number in range(len(cuts))]
    leaves, asked = [vectors.requires_grad_() for vectors, _ in parts], math.ceil(len(rows) / chunk)
    loss = info_nce(maxsim(padded(parts[:asked]), padded(parts[asked:])))
    for number, gradient in enumerate(torch.autograd.grad(loss, leaves)):  # 2. of each vector
        encoded(number)[0].backward(gradient)  # 3. chunk by chunk through the encoder
    return loss.detach().requires_grad_()


# Hard negatives: what the model finds beside the right document, unless it may be right as well.
def mine(model, pairs, negatives=3, depth=20, margin=0.95):
    """Rows (query, document, negatives ...): the best other documents that score below margin x the right one's."""
    corpus = list(dict.fromkeys(document for _, document in pairs))
    places, scores = search(model, [query for query, _ in pairs], corpus, depth)
    rows = []
    for (query, right), found, values in zip(pairs, places.tolist(), scores.tolist(), strict=True):
        found = {corpus[place]: value for place, value in zip(found, values, strict=True)}
        limit = margin * found.get(right, values[-1])
        hard = [text for text, value in found.items() if text != right and value < limit]
        if len(hard) >= negatives:
            rows.append((query, right, *hard[:negatives]))
    return rows


# Phase 3: put the documents of a list into the teacher's order.
def kl(scores, teacher):
    """KL(teacher || student) of scores [queries, documents]; the student's are mapped to [0, 1] in each list."""
    low, high = scores.amin(dim=1, keepdim=True), scores.amax(dim=1, keepdim=True)
    student = ((scores - low) / (high - low + 1e-8)).log_softmax(dim=1)
    return F.kl_div(student, teacher.log_softmax(dim=1), reduction="batchmean", log_target=True)


def distillation(model, rows):
    """A row is (query, documents, the teacher's scores); all lists are of one length."""
    queries, lists, teacher = zip(*rows, strict=True)
    texts = [text for documents in lists for text in documents]
    scores = maxsim(model(queries, "[Q] "), model(texts, "[D] ")).unflatten(1, (len(rows), -1))
    own = scores[range(len(rows)), range(len(rows))]  # of every query with its own list
    return kl(own, torch.tensor(teacher))


def main(encoder, text, rate=3e-3):
    """Train all three phases; print nDCG@10 before the first and after each."""
    torch.manual_seed(0)
    rate, text, began = float(rate), Path(text), time.time()
    model, collection = ColBERT(encoder), read_collection(text)
    pairs = [(row["query"], row["document"]) for row in read_lines(text / "pairs.jsonl")]
    lists = [(row["query"], row["documents"], row["scores"]) for row in read_lines(text / "scored.jsonl")]

    def say(phase):
        score, seconds = evaluate(model, collection), time.time() - began
        print(f"{phase:13} nDCG@10 {score:.3f}  {seconds:4.0f} s", flush=True)

    say("untrained")
    train(model, cached_contrastive, pairs, steps=100, batch=64, rate=rate)
    say("unsupervised")
    train(model, contrastive, mine(model, pairs[:2000]), steps=80, batch=32, rate=rate / 3)
    say("supervised")
    train(model, distillation, lists, steps=40, batch=16, rate=rate / 10)
    say("distillation")


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) in (3, 4) else sys.exit(__doc__)
