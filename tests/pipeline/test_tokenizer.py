"""Two processes learn one vocabulary, from words counted as they stand in the text."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable

from colbert_zero_lib.models import _repeated, _stretches, _wordpiece, train_tokenizer
from tests.conftest import SENTENCES


def test_two_processes_learn_the_same_tokenizer_from_the_same_text() -> None:
    # Hash tables are seeded once a process: only another process shows an order that leaked out of one.
    script = (
        "import json, sys; from colbert_zero_lib.models import train_tokenizer;"
        "print(json.dumps(train_tokenizer(json.load(sys.stdin), 400, min_frequency=1).get_vocab()))"
    )
    command = [sys.executable, "-c", script]
    other = subprocess.run(command, input=json.dumps(SENTENCES), capture_output=True, text=True, check=True)
    found = train_tokenizer(SENTENCES, 400, min_frequency=1).get_vocab()
    assert len(found) > 200 and json.loads(other.stdout.splitlines()[-1]) == found


def test_stretches_between_spaces_have_the_words_of_the_whole_texts() -> None:
    odd = [
        "a\x1cb  c\x00d\te\r\n\u0301É ß\u00a0ΣΑΣ",
        "東京 x\u2028y ﬁn\u200b",
        "İstanbul,don't\n\n-e\u0301",
        "",
    ]
    texts, tokenizer = [*SENTENCES, *odd, "the " * 2345], _wordpiece()

    def words(normalised: Iterable[str]) -> Counter[str]:
        split = tokenizer.pre_tokenizer.pre_tokenize_str
        return Counter(word for text in normalised for word, _ in split(text))

    found = words(_repeated(_stretches(texts, tokenizer.normalizer)))
    assert found == words(map(tokenizer.normalizer.normalize_str, texts))
    assert found["the"] > 2345 and found["東"] == 1
