"""MaxSim's GPU kernels on a CPU, in Triton's interpreter, against float64."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")
pytestmark = pytest.mark.pipeline

CHECK = """
import torch, torch.nn.functional as F
from colbert_zero_lib.training.maxsim import fused_pieces, maxsim_pieces
g = torch.Generator().manual_seed(0)
unit = lambda *shape: F.normalize(torch.randn(*shape, generator=g), dim=-1).half()
queries, scored = unit(9, 20, 32), torch.rand(9, 20, generator=g) < 0.7
documents = [unit(3, 70, 32), unit(11, 9, 32), unit(2, 300, 32)]
masks = [torch.rand(d.shape[:2], generator=g) < 0.8 for d in documents]
masks[1] = None
weights, found = torch.randn(9, 16, generator=g), []
for kind in (torch.float16, torch.float64):
    q, *ds = (each.detach().to(kind, copy=True).requires_grad_() for each in (queries, *documents))
    fused = kind is torch.float16
    scores = fused_pieces(q, scored, ds, masks) if fused else maxsim_pieces(q, ds, scored, masks)
    (scores * weights).sum().backward()
    found.append([scores.detach().double(), *(each.grad.double() for each in (q, *ds))])
for ours, exact in zip(*found):
    assert float((ours - exact).norm() / exact.norm()) < 1e-3
print("equal")
"""


def test_scores_and_gradients_are_those_of_float64() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CHECK],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "only 0-dimensional arrays" in ran.stderr:
        pytest.skip("Triton's interpreter does not know this NumPy")
    assert ran.stdout.strip() == "equal", ran.stderr[-2000:]
