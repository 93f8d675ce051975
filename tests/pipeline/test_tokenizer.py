"""Two processes learn one vocabulary."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_two_processes_learn_the_same_tokenizer_from_the_same_text() -> None:
    # Hash tables are seeded once a process: only another process shows an order that leaked out of one.
    script = (
        "import hashlib, json; from tests.unit.test_models import TEXTS, train_tokenizer;"
        "vocabulary = train_tokenizer(TEXTS, 120).get_vocab();"
        "print(hashlib.sha256(json.dumps(sorted(vocabulary.items())).encode()).hexdigest())"
    )
    root = Path(__file__).resolve().parents[2]
    processes = [
        subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    found = [process.communicate()[0] for process in processes]
    assert found[0] and found[0] == found[1]
