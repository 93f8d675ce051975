"""Speed and memory of the suite against PyLate as the authors of the paper use it, as ratios measured in one run.

`python -m benchmarks --help` lists the measurements; what is compared, and how to read it, is in README.md.
"""

from __future__ import annotations

import os

# Before torch is imported, and inherited by the processes that measure memory: spinning threads are many times slower
# beside a busy neighbour, and nothing is downloaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
