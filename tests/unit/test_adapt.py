"""What a reader's folder is taken for, how its queries are divided, what a plan costs, and when a step ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from colbert_zero_lib.adapt import folder as folders
from colbert_zero_lib.adapt import lists, page, plan, work
from colbert_zero_lib.adapt.division import divide
from colbert_zero_lib.adapt.folder import Holding, Row, documents, open_folder, sections
from colbert_zero_lib.adapt.survey import Survey, survey
from colbert_zero_lib.corpora import Collection
from colbert_zero_lib.errors import DataError, ParameterError
from colbert_zero_lib.evaluation import Evaluation, Ranking
from colbert_zero_lib.training.stopping import KeepBest


def words(texts: Sequence[str], **_: object) -> dict[str, list[list[str]]]:
    """A tokenizer that splits at blanks."""
    return {"input_ids": [text.split() for text in texts]}


def rows(*of: Row) -> Holding:
    return Holding(Path("here"), folders.PAIRS, (), lambda: iter(of))


def write_table(file: Path, suffix: str) -> Path:
    """Two rows: one whose query has quotes and a line break, one without a query."""
    found = [{"Question": 'a "b"\nc', "Answer": "one"}, {"Question": "", "Answer": "two"}]
    path = file / f"asked{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(found), path)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in found))
    elif suffix == ".tsv":
        path.write_text('Question\tAnswer\na "b" c\tone\n\ttwo\n')
    else:
        path.write_bytes(b'\xef\xbb\xbfQuestion,Answer\r\n"a ""b""\r\nc",one\r\n,two\r\n')
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_table_with_a_query_and_a_document_column_is_pairs(tmp_path: Path, suffix: str) -> None:
    holding = open_folder(write_table(tmp_path, suffix).parent)
    assert (holding.form, holding.made) == (folders.PAIRS, False)
    assert [row[1:] for row in holding.rows()] == [('a "b" c', "one", ""), ("", "two", "")]


def test_other_columns_are_named_by_the_reader_and_errors_name_row_and_column(tmp_path: Path) -> None:
    (tmp_path / "faq.csv").write_text("asked,reply\nwhy,because\n")
    with pytest.raises(
        DataError, match=r"faq.csv:2 has no column document or .* but asked, reply: name yours"
    ):
        list(open_folder(tmp_path).rows())
    (row,) = open_folder(tmp_path, "asked", "reply").rows()
    assert row[1:3] == ("why", "because")
    (tmp_path / "faq.csv").write_text("query,document\nwhy,because,of\n")
    with pytest.raises(DataError, match=r"faq.csv:2 has not as many cells"):
        list(open_folder(tmp_path).rows())
    (tmp_path / "faq.csv").unlink()
    (tmp_path / "faq.jsonl").write_text('{"query": "why", "document": 7}\n')
    with pytest.raises(DataError, match=r"faq.jsonl:1 has a int in the column 'document': text is expected"):
        list(open_folder(tmp_path).rows())


@pytest.mark.parametrize("place", ["nowhere", "empty"])
def test_a_folder_without_anything_to_read_says_what_could_be_there(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="give the folder|has nothing to read: put there"):
        open_folder(tmp_path / place)


def test_a_beir_folder_keeps_its_splits_and_what_nobody_asks_for(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    texts = [{"_id": f"d/{n} 1", "title": "", "text": f"text {n}"} for n in range(3)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "one"}\n{"_id": "q2", "text": "two"}\n')
    (tmp_path / "qrels/train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td/0 1\t1\nq1\tgone\t1\n")
    (tmp_path / "qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\nq2\td/1 1\t2\n")
    holding = open_folder(tmp_path)
    assert [row[1:] for row in holding.rows()] == [
        ("two", "text 1", "development"), ("one", "text 0", "training"), ("", "text 2", ""),
    ]  # fmt: skip
    assert any("'gone'" in note for note in holding.notes)
    assert [*documents(holding)] == [(f"d/{n} 1", f"text {n}") for n in range(3)]


def test_documents_alone_are_asked_for_by_their_headings_and_first_sentences(tmp_path: Path) -> None:
    body = "Turn the key twice, then wait until the lamp is green."
    (tmp_path / "manual.md").write_text(
        f"# The boiler\n\n{body}\n\n## Cleaning\n```\n# no heading\n```\nUse a soft and dry cloth.\n"
    )
    (tmp_path / "old.rst").write_text(f"=======\nRepairs\n=======\n\n{body}\n")
    (tmp_path / "plain.txt").write_text("The pump is loud at night. It may be slowed down by the blue valve.")
    (tmp_path / ".hidden.md").write_text("# No\n\nnothing of this is read at all")
    holding = open_folder(tmp_path)
    found = [(row.query, row.document) for row in holding.rows()]
    assert holding.made and found == [
        ("The boiler", body),
        ("The boiler: Cleaning", "``` # no heading ``` Use a soft and dry cloth."),
        ("Repairs", body),
        ("The pump is loud at night.", "It may be slowed down by the blue valve."),
    ]
    assert [*documents(holding)] == [
        ("manual.md:1", f"The boiler {body}"),
        ("manual.md:5", "The boiler: Cleaning ``` # no heading ``` Use a soft and dry cloth."),
        ("old.rst:3", f"Repairs {body}"),
        ("plain.txt:1", "The pump is loud at night. It may be slowed down by the blue valve."),
    ]


def test_a_long_section_is_several_passages_and_only_the_first_answers_its_heading(tmp_path: Path) -> None:
    paragraph = "Each of these sentences is one of many. " + "Then " + "word " * 120
    (tmp_path / "a.md").write_text(f"# Title\n\n{paragraph}\n\n{paragraph}\n")
    found = [row.query for row in open_folder(tmp_path).rows()]
    assert found == ["Title", "Each of these sentences is one of many."]
    assert list(sections(["abc", "---"])) == [] and list(sections(["a longer text", "---"])) == [
        (1, "", "a longer text\n---")
    ]


def test_the_report_counts_what_is_double_empty_and_too_long() -> None:
    said = "The harbour of the town is in use"
    of = [Row("", "what is it", said), Row("", "What  is it", said.lower()), Row("", "", "lighthouse " * 300)]
    of += [Row("", "why", ""), Row("", "为什么", "港口 很 大")]
    found = survey(rows(*of), words)  # type: ignore[arg-type]
    facts = dict(found.facts)
    assert (found.rows, facts["different documents"], facts["different queries"]) == (5, "3", "3")
    assert facts["pairs that stand there twice"] == "1"
    assert (facts["rows without a query"], facts["rows without a document"]) == ("1", "1")
    assert facts["language"] == "Latin, like English 50%, Latin 25%, Cjk 25%"
    assert facts["tokens of a document"].endswith("the longest 301; 25.0% are cut at 256")
    with pytest.raises(DataError, match="no document with text in 1 rows"):
        survey(rows(Row("1", "why", "")), words)  # type: ignore[arg-type]


def test_no_query_or_document_that_is_held_out_is_trained_on() -> None:
    of = [Row("", f"query number {n}", f"document {n // 2} of the shop") for n in range(400)]
    of += [
        Row("", f"whatever {n} then one two three four five six seven eight", f"page {n}") for n in range(99)
    ]
    divided = divide(rows(*of), len(of))
    training, *held = (divided.parts[name] for name in ("training", "test", "development"))
    assert not set(training.queries.values()) & {q for one in held for q in one.queries.values()}
    answers = [{d for grades in one.qrels.values() for d in grades} for one in (training, *held)]
    assert not answers[0] & (answers[1] | answers[2]) and not answers[1] & answers[2]
    # Those that share eight words with a held-out one are gone, all of them.
    assert not any("whatever" in query for query in training.queries.values())
    assert any("whatever" in query for one in held for query in one.queries.values())
    again = divide(rows(*reversed(of)), len(of))
    assert set(again.parts["test"].queries.values()) == set(held[0].queries.values())


def test_a_document_that_is_asked_for_hundreds_of_times_does_not_decide_the_figure() -> None:
    of = [Row("", f"query {n}", f"document {max(0, n - 300)}") for n in range(500)]
    parts = divide(rows(*of), len(of)).parts
    for name in ("test", "development"):
        assert sum("d0" in grades for grades in parts[name].qrels.values()) <= 3
    assert len(parts["development"].queries) > 40


def test_a_query_in_two_splits_of_the_folder_is_held_out() -> None:
    of = [Row("", f"query {n}", f"document {n}", "training") for n in range(100)]
    of += [Row("", f"Query {n}", f"document {n}", "test") for n in range(90, 120)]
    divided = divide(rows(*of), len(of))
    assert len(divided.parts["test"].queries) == 30
    assert dict(divided.facts)["training queries left out: they repeat what is held out"] == "10"
    with pytest.raises(DataError, match="here has 20 different queries; .*give at least 100"):
        divide(rows(*of[:20]), 20)


@dataclass
class Ranked:
    """A retriever that ranks the corpus in its own order."""

    def search(self, collection: Collection, k: int = 100) -> Ranking:
        """See `Retriever`."""
        count = min(k, len(collection.corpus))
        places = np.tile(np.arange(count, dtype=np.int32), (len(collection.queries), 1))
        scores = np.tile(-np.arange(count, dtype=np.float32), (len(collection.queries), 1))
        return Ranking(tuple(collection.queries), places, scores)


def collection(name: str, queries: int, texts: Sequence[str]) -> Collection:
    corpus = {f"d{n}": text for n, text in enumerate(texts)}
    asked = {f"q{n}": f"word{n}" for n in range(queries)}
    return Collection(name, corpus, asked, {f"q{n}": {f"d{n}": 1} for n in range(queries)})


class Suspicious:
    """A teacher for whom the second document of each list is as good as the first."""

    def __init__(self, stop_after: int = 99) -> None:
        self.asked, self.stop_after = 0, stop_after

    def predict(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """See `PairScorer`."""
        self.asked += 1
        if self.asked > self.stop_after:
            raise KeyboardInterrupt
        return np.tile([3.0, 3.0, 2.0, 1.0, 0.0, -1.0, -2.0, -3.0], len(pairs) // 8)


def test_negatives_are_the_hardest_that_the_teacher_does_not_take_for_answers(tmp_path: Path) -> None:
    texts = [f"word{n} alone{n} other{n}" for n in range(120)]
    parts = {name: collection(name, 110, texts) for name in ("training", "development", "test")}
    with pytest.raises(KeyboardInterrupt):
        lists.prepare(tmp_path, parts, Ranked, lambda: Suspicious(1))
    teacher = Suspicious()
    found = lists.prepare(tmp_path, parts, pytest.fail, lambda: teacher)  # mined before the interruption
    assert teacher.asked == 2  # of three blocks, one was scored before
    scored = [json.loads(line) for line in (found / "scored.jsonl").open()]
    triples = [json.loads(line) for line in (found / "triples.jsonl").open()]
    assert [row["query"] for row in triples] == [f"word{n}" for n in range(110)]
    for row, triple in zip(scored, triples, strict=True):
        assert triple["positive"] == row["documents"][0] and triple["negatives"] == row["documents"][2:4]
    assert (found / "collections/test/qrels/test.tsv").is_file()
    assert lists.prepare(tmp_path, parts, pytest.fail, pytest.fail) == found


def test_documents_in_another_script_are_not_all_alike() -> None:
    from colbert_zero_lib.corpora.mining import safe_negatives

    found = safe_negatives(
        np.array([[1, 2]]), np.zeros((1, 2)), [{0}], np.ones(1), ["港口 很 大", "面包", "港口 很 大"]
    )
    assert found.tolist() == [[True, False]]


def made_survey() -> Survey:
    sample = tuple(Row("", f"query {n}", "a document " * 10) for n in range(50))
    return Survey(3000, 3000, (), (), sample, 96, (8.0, 40.0), 44.0)


def test_a_plan_shrinks_with_its_budget_and_says_when_it_is_too_short() -> None:
    texts = [f"text {n}" for n in range(3000)]
    parts = {name: collection(name, 1000, texts) for name in ("training", "development", "test")}
    speeds = plan.Speeds(token=1e-4, pair=1e-2)
    whole = plan.make_plan(made_survey(), parts, speeds)
    assert whole.scale == 1 and whole.stages[1] == ("score", "1,000 lists of 8 documents", pytest.approx(80))
    for share in (0.7, 0.4, 0.2):
        cut = plan.make_plan(made_survey(), parts, speeds, share * whole.seconds)
        assert cut.seconds <= share * whole.seconds and cut.supervised < whole.supervised
    # 3,000 documents of 44 tokens take 13 seconds to index.
    assert whole.indexed and whole.stages[-1] == ("index", "3,000 documents", pytest.approx(13.2))
    assert [plan._scaled(1, made_survey(), parts, speeds, 4 * given).indexed for given in (14, 13)] == [
        True,
        False,
    ]
    with pytest.raises(ParameterError, match=r"takes about \dm here"):
        plan.make_plan(made_survey(), parts, speeds, 1)
    sizes = plan.sized(cut, parts)
    assert len(sizes["training"].queries) == cut.lists and len(sizes["test"].queries) == 500
    budgets = cut.profile(plan.Start("all-MiniLM-L6-v2"), Path("/rows")).budgets.values()
    assert {each.steps for each in budgets} == {cut.supervised, cut.distillation}


def test_a_budget_is_a_time() -> None:
    assert [plan.seconds_of(text) for text in (None, "90s", "15m", "1.5h")] == [None, 90, 900, 5400]
    for wrong in ("15", "0m", "-3m", "m", "1e9h"):
        with pytest.raises(ParameterError, match="is no time: write 90s, 15m or 2h"):
            plan.seconds_of(wrong)


def run_steps(
    folder: Path, figures: Callable[[int], float], first: int = 1, last: int = 20
) -> tuple[KeepBest, int, list]:
    """Steps that add one to a weight; (the callback, the last step, what was measured)."""
    model, seen = torch.nn.Linear(1, 1, bias=False), list[int]()
    torch.nn.init.constant_(model.weight, first - 1)

    def measure(_: torch.nn.Module) -> float:
        seen.append(int(model.weight.item()))
        return figures(seen[-1])

    best = KeepBest(folder, measure, every=2)
    control = SimpleNamespace(should_training_stop=False)
    best.on_train_begin(None, None, control, model=model)
    for step in range(first, last + 1):
        torch.nn.init.constant_(model.weight, step)
        best.on_step_end(None, SimpleNamespace(global_step=step, max_steps=20), control, model=model)
        if control.should_training_stop:
            break
    best.restore(model)
    assert model.weight.item() == best.best[0]
    return best, step, seen


def test_a_step_ends_when_development_does_not_rise_twice_and_leaves_its_best_weights(tmp_path: Path) -> None:
    best, last, seen = run_steps(tmp_path / "a", lambda step: -abs(step - 6))
    assert (best.best, last, seen) == ((6, 0.0), 10, [0, 2, 4, 6, 8, 10])
    run_steps(
        tmp_path / "b", lambda step: -abs(step - 6), last=7
    )  # killed after 7, its last checkpoint is that of 5
    again, last, seen = run_steps(tmp_path / "b", lambda step: -abs(step - 6), first=6)
    assert (again.curve, last, seen) == (best.curve, 10, [8, 10])
    harmful, last, _ = run_steps(tmp_path / "c", lambda step: -step)
    assert (harmful.best[0], last) == (0, 4)  # what it began from is kept


def evaluation(*values: float) -> Evaluation:
    figures = {metric: values for metric in ("ndcg@10", "recall@100", "mrr@10")}
    return Evaluation(
        pd.DataFrame({"collection": "test", "query": [f"q{n}" for n in range(len(values))], **figures})
    )


def result(adapted: Sequence[float], development: float = 0.25) -> work.Result:
    """Arms of which the last is best on development, or level with the supervised one."""
    found = {arm: evaluation(0.4, 0.5, 0.6, 0.5) for arm in work.ARMS}
    found[work.BOTH] = evaluation(*adapted)
    runs = {arm: SimpleNamespace(name=arm) for arm in (work.START, *work.TRAINED)}
    return work.Result(
        found, {work.START: 0.1, work.ALONE: 0.2, work.SUPERVISED: development, work.BOTH: 0.3}, runs
    )  # type: ignore[arg-type]


def test_what_did_not_help_beyond_doubt_is_said_first_and_the_start_is_kept() -> None:
    gained = result((0.5, 0.6, 0.75, 0.6))
    assert gained.helped and gained.kept.name == work.BOTH  # type: ignore[attr-defined]
    assert page.headline(gained).startswith("It helped: supervised, then distillation")
    assert "Training gave +0.113 of it" in page.headline(gained)
    unsure = result((0.9, 0.5, 0.6, 0.4))
    assert not unsure.helped and unsure.kept.name == work.START  # type: ignore[attr-defined]
    assert "nothing helped beyond doubt" in page.headline(unsure) and "The start is kept" in page.headline(
        unsure
    )
    assert "training did harm" in page.headline(result((0.3, 0.4, 0.49, 0.4)))
    assert result((0.5, 0.6, 0.75, 0.6), 0.3).chosen == work.SUPERVISED  # what adds nothing is not chosen
    columns, table = page.arms(gained)
    assert [row[0] for row in table][-1] == "supervised, then distillation (chosen)" and len(columns) == 6
