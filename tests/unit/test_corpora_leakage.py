"""The leakage rule, duplicates and templates, on pairs small enough to judge by eye."""

from __future__ import annotations

from colbert_zero_lib.corpora.leakage import HeldOut, clean_draft, clean_pairs
from colbert_zero_lib.corpora.material import Draft, Pair

SENTENCE = "alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november"
LETTERS = SENTENCE.split(" ")


def words(count: int, start: int = 0) -> str:
    return " ".join(LETTERS[start : start + count])


def held_out(document: str = words(14), query: str = "x", withheld: dict[str, str] | None = None) -> HeldOut:
    found = HeldOut()
    found.add(Draft({"d": document}, {"q": query}, {"q": {"d"}}, withheld or {}))
    return found


def test_twelve_shared_words_with_a_document_leak_and_eleven_do_not() -> None:
    found = held_out()
    assert found.overlaps(Pair("1", "some query", f"lead in {words(12, 1).upper()}, tail"))
    assert not found.overlaps(Pair("1", "some query", f"lead in {words(11, 1)} tail"))
    assert found.overlaps(Pair("1", f"query {words(12)}", "some document"))


def test_eight_shared_words_with_a_query_leak_and_seven_do_not() -> None:
    found = held_out(document="unrelated", query=words(9))
    assert found.overlaps(Pair("1", "some query", f"lead {words(8, 1)} tail"))
    assert found.overlaps(Pair("1", f"lead {words(8)}", "some document"))
    assert not found.overlaps(Pair("1", f"lead {words(7)}", "some document"))


def test_an_equal_query_leaks_however_short() -> None:
    found = held_out(query="Enlarged liver")
    assert found.overlaps(Pair("1", "enlarged LIVER!", "anything"))


def test_an_equal_document_leaks_however_short() -> None:
    found = held_out(document="Undergrowth of the outer labia.")
    assert found.overlaps(Pair("1", "some query", "undergrowth of the outer labia"))
    assert not found.overlaps(Pair("1", "some query", "undergrowth of the labia"))


def test_only_the_withheld_part_of_a_document_counts_where_there_is_one() -> None:
    found = held_out(withheld={"d": "golf hotel"})
    assert not found.overlaps(Pair("1", "some query", words(13)))
    assert held_out().overlaps(Pair("1", "some query", words(13)))


def kept(source: str, *pairs: tuple[str, str]) -> list[int]:
    numbered = [Pair(str(number), query, document) for number, (query, document) in enumerate(pairs)]
    return [int(pair.id) for pair in clean_pairs(source, numbered, HeldOut())[0]]


def test_short_and_quoted_pairs_go() -> None:
    assert (
        kept("py_doc", ("sum it", "four words are short"), ("sum the rows", "they sum the rows of it")) == []
    )
    # A name that its text mentions is no quotation.
    assert kept("hpo_name", ("sum the rows", "they sum the rows of it")) == [0]


def test_repeated_queries_and_documents_go_except_where_they_are_meant() -> None:
    pairs = [("same query", f"five words make {place} long enough") for place in ("paris", "london")]
    assert kept("py_doc", *pairs) == [0]
    assert kept("py_seealso", *pairs) == [0, 1]
    pairs = [(f"query number {n}", "one document with five words") for n in range(6)]
    assert kept("py_doc", *pairs) == [0]
    assert kept("icd", *pairs) == [0, 1, 2, 3]


def test_a_query_asked_more_than_five_times_is_a_template() -> None:
    pairs = [("next token", f"token of page {n} in the listing {n}") for n in range(6)]
    found, dropped = clean_pairs(
        "aws_field", [Pair(str(n), q, d) for n, (q, d) in enumerate(pairs)], HeldOut()
    )
    assert found == []
    assert dropped == {"query repeated more than five times": 6}


def test_documents_that_differ_in_the_asked_name_only_are_kept_once() -> None:
    pairs = [
        (f"{name} settings", f"The settings of the {name} service in your account")
        for name in ("lambda", "glue")
    ]
    assert kept("aws_shape", *pairs) == [0]


def test_equal_documents_are_merged_and_judgements_follow() -> None:
    draft = Draft({"a": "Same text.", "b": "same TEXT", "c": "other"}, {"q": "where"}, {"q": {"b", "c"}})
    clean_draft(draft, near_duplicates=False)
    assert list(draft.corpus) == ["a", "c"]
    assert draft.qrels == {"q": {"a", "c"}}


def test_sibling_classes_merge_only_where_asked() -> None:
    graph = f"add edge. Add an edge between {words(12)} of the graph"
    corpus = {"Graph": graph, "DiGraph": graph + " today"}
    one, two = Draft(dict(corpus)), Draft(dict(corpus))
    clean_draft(one, near_duplicates=False)
    clean_draft(two, near_duplicates=True)
    assert (len(one.corpus), len(two.corpus)) == (2, 1)


def test_quoted_and_deprecated_queries_go() -> None:
    draft = Draft(
        {"a": "Return the sum of rows, fast.", "b": "Other"},
        {"1": "the sum of rows", "2": "A deprecated alias", "3": "add up lines"},
        {"1": {"a"}, "2": {"b"}, "3": {"a"}},
    )
    clean_draft(draft, near_duplicates=False)
    assert list(draft.queries) == ["3"]
    assert draft.qrels == {"3": {"a"}}


def test_sampling_a_draft_keeps_what_is_relevant() -> None:
    draft = Draft({str(n): f"text {n}" for n in range(50)})
    for n in range(10):
        draft.ask(f"q{n}", f"query {n}", str(n))
    draft.sample(queries=4, documents=9)
    assert len(draft.queries) == 4
    assert len(draft.corpus) == 9
    assert all(found <= draft.corpus.keys() for found in draft.qrels.values())
