"""Two processes learn one vocabulary."""

from __future__ import annotations

import json
import subprocess
import sys

from colbert_zero_lib.models import train_tokenizer
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
