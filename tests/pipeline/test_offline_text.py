"""The real offline text: built from its pinned packages it is the recorded one, and nothing held out is trained on."""

from __future__ import annotations

import pytest

from colbert_zero_lib.corpora import offline


@pytest.mark.pipeline
def test_the_real_text_is_the_recorded_one_and_nothing_held_out_leaks() -> None:
    corpora = offline.load_offline(progress=False)
    assert corpora.fingerprint == offline.recorded_fingerprints()["all"]
    held_out = {**corpora.collections, **corpora.development}
    queries = {" ".join(q.lower().split()) for c in held_out.values() for q in c.queries.values()}
    runs = {
        run for c in held_out.values() if "icd" not in c.name for d in c.corpus.values() for run in _runs(d)
    }
    identifiers: set[str] = set()
    for table in corpora.training.values():
        rows = table[:]
        identifiers.update(rows["id"])
        for query, document in zip(rows["query"], rows["document"], strict=True):
            assert " ".join(query.lower().split()) not in queries
            assert runs.isdisjoint(_runs(document))
    assert len(identifiers) == sum(len(table) for table in corpora.training.values())


def _runs(text: str) -> set[str]:
    """Runs of twelve words, written independently of the library: split at whatever is no letter or digit."""
    letters = "".join(c if c.isascii() and c.isalnum() else " " for c in text.lower()).split()
    return {" ".join(letters[i : i + 12]) for i in range(len(letters) - 11)}
