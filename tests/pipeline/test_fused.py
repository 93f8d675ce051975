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
from triton.runtime import interpreter
attach = interpreter._LangPatchScope.set_attr
def attach_for_numpy_2_4(scope, holder, name, value):  # which makes no number of an array of one
    attach(scope, holder, name, (lambda self: int(self.handle.data.item())) if name == "__index__" else value)
interpreter._LangPatchScope.set_attr = attach_for_numpy_2_4
import colbert_zero_lib.training.maxsim as training
training.fuses = lambda queries: queries.dtype == torch.float16
g = torch.Generator().manual_seed(0)
unit = lambda *shape: F.normalize(torch.randn(*shape, generator=g), dim=-1).half()
queries, scored = unit(9, 20, 32), torch.rand(9, 20, generator=g) < 0.7
documents = [unit(3, 70, 32), unit(11, 9, 32), unit(2, 300, 32)]
masks = [torch.rand(d.shape[:2], generator=g) < 0.8 for d in documents]
weights, found = torch.randn(9, 16, generator=g), []
for kind in (torch.float16, torch.float64):
    q, *ds = (each.detach().to(kind, copy=True).requires_grad_() for each in (queries, *documents))
    scores = training.maxsim(q, ds, scored, masks)
    (scores * weights).sum().backward()
    found.append([scores.detach().double(), *(each.grad.double() for each in (q, *ds))])
for ours, exact in zip(*found):
    assert float((ours - exact).norm() / exact.norm()) < 1e-3
import colbert_zero_lib.training.fused as fused
kind = torch.bfloat16
torch.bfloat16 = torch.float16  # of which the interpreter knows the products
assert training.fused_right(torch.device("cpu"))
training.fused_right.cache_clear()
fused.FusedPairs.apply = lambda q, owner, count, d: (q @ d.flatten(0, 1).T).view(9, 20, 14, 150).amax(-1).sum(1) * 1.1
warned = []
import warnings
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    assert not training.fused_right(torch.device("cpu"))
assert "without this library's kernels" in str(warned[-1].message)
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
    assert ran.stdout.strip() == "equal", ran.stderr[-2000:]
