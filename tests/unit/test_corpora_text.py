"""Cleaning, cutting, hashing and masking of text, against answers written by hand."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbert_zero_lib.corpora import text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("numpy.linalg.matrix_rank", "numpy linalg matrix rank"),
        ("RidgeClassifierCV", "ridge classifier cv"),
        ("HTTPRedirect", "http redirect"),
        ("Line2D", "line2d"),
        ("Conv2dTranspose", "conv2d transpose"),
        ("EC2Instance", "ec2 instance"),
    ],
)
def test_identifiers_become_words(name: str, words: str) -> None:
    assert text.words_of(name) == words


def test_hash_number_is_the_head_of_sha1() -> None:
    assert text.hash_number("hpoHP:0000001") == int(hashlib.sha1(b"hpoHP:0000001").hexdigest(), 16) >> 128


def test_cut_ends_on_a_whole_word() -> None:
    assert text.cut("alpha beta gamma", 12) == "alpha beta"
    assert text.cut("alpha beta", 10) == "alpha beta"


@given(st.text(alphabet="ab \n", max_size=80), st.integers(min_value=1, max_value=40))
def test_cut_is_a_prefix_within_the_limit(source: str, limit: int) -> None:
    assert source.startswith(text.cut(source, limit))
    assert len(text.cut(source, limit)) <= limit


def test_indentation_is_removed_as_the_first_line_allows() -> None:
    assert (
        text.clean_indentation("Sum.\n\n        More.\n            Deeper.\n    ")
        == "Sum.\n\nMore.\n    Deeper."
    )


def test_rst_markup_goes_and_words_stay() -> None:
    source = "See :func:`~numpy.dot` and ``x`` or `the guide <http://a.b>`_ [1]_.\n.. versionadded:: 1.2\n>>> dot(1)"
    assert text.squeeze(text.strip_rst(source)) == "See numpy.dot and x or the guide ."


def test_html_is_reduced_to_its_words() -> None:
    assert (
        text.strip_html("<p>Deletes a <code>queue</code>.</p><p>Fish &amp; chips</p>")
        == "Deletes a queue. Fish & chips"
    )


def test_first_sentence_needs_twenty_characters() -> None:
    assert text.first_sentence("It is. It returns the inverse matrix. More.") == (
        "It is. It returns the inverse matrix.",
        "More.",
    )
    assert text.first_sentence("no end here") == ("no end here", "")


def test_masking_hides_inflections_of_the_title() -> None:
    masked = text.mask_words("Glaciers carve valleys; a glacial lake stays.", "Glacier")
    assert masked == "___ carve valleys; a ___ lake stays."


def test_names_are_replaced_whole_and_read_naturally() -> None:
    source = "The Rfam (Rfam) database lists families; Rfam-like ones are kept."
    assert text.replace_names(source, ["Rfam"], "this resource") == (
        "This resource database lists families; Rfam-like ones are kept."
    )
