"""PyLate's GPU kernels for MaxSim, where they are installed and asked for.

Whether a batch may be scored by one is decided here; MaxSim itself, and what is scored otherwise, is in ``maxsim``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Container
from functools import cache
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from pylate.scores import colbert_kd_scores, colbert_scores
from pylate.scores.colbert import FlashUnsupported, LIKUnsupported
from torch import Tensor

from colbert_zero_lib.errors import TrainingError, one_line

# Their names in PyLate, in the order in which its "auto" tries them, and the modules that hold them.
KERNELS = {"flash": "flash_maxsim", "lik": "late_interaction_kernels"}
EXTRAS = {"flash": "flash-maxsim", "lik": "lik"}
SWITCH = "PYLATE_SCORES_BACKEND"


def installed_kernels() -> tuple[str, ...]:
    """Which of :data:`KERNELS` can be imported."""
    return tuple(name for name, module in KERNELS.items() if find_spec(module))


def choose_kernel(wanted: str, device: str, tokens: int, installed: Container[str]) -> str | None:
    """The kernel that scores documents of ``tokens`` tokens on ``device``; None for this library's own MaxSim.

    ``wanted`` is ``torch`` (none), ``auto`` (the first that is installed), ``flash`` or ``lik``. Kernels run on CUDA
    alone, and a single vector per document needs none. TrainingError for another word, or a kernel that is missing.
    """
    if wanted not in ("torch", "auto", *KERNELS):
        raise TrainingError(f"{SWITCH} is '{wanted}'; set it to torch, auto, flash or lik")
    if wanted == "torch" or device != "cuda" or tokens < 2:
        return None
    if wanted == "auto":
        return next((name for name in KERNELS if name in installed), None)
    if wanted not in installed:
        raise TrainingError(
            f"{SWITCH} asks for {wanted}, which is not installed;"
            f' run pip install "pylate[{EXTRAS[wanted]}]" or unset it'
        )
    return wanted


def fuses(queries: Tensor) -> bool:
    """Whether this library's own kernels score: half precision on CUDA, unless the environment names a way."""
    if not queries.is_cuda or SWITCH in os.environ or not find_spec("triton"):
        return False
    fit = queries.dtype in (torch.bfloat16, torch.float16) and queries.shape[-1] in (32, 64, 128)
    return fit and fused_right(queries.device)


@cache
def fused_right(device: torch.device) -> bool:
    """Whether this library's own kernels give the scores and gradients of plain products on a device; else a warning.

    Asked once a process, of 9 queries and 14 documents, with the tolerance that half precision needs.
    """
    from colbert_zero_lib.training.fused import FusedPairs

    chance = torch.Generator().manual_seed(0)
    queries, documents = (
        F.normalize(torch.randn(*size, 64, generator=chance), dim=-1).to(device, torch.bfloat16)
        for size in ((9, 20), (14, 150))
    )
    owner = torch.arange(9, dtype=torch.int32, device=device).repeat_interleave(20)
    try:
        found = []
        for kind in (torch.bfloat16, torch.float32):
            q, d = (
                queries.to(kind, copy=True).requires_grad_(),
                documents.to(kind, copy=True).requires_grad_(),
            )
            if kind is torch.bfloat16:
                scores = FusedPairs.apply(q.flatten(0, 1), owner, 9, d)
            else:
                scores = torch.einsum("qsh,dth->qdst", q, d).amax(dim=-1).sum(dim=-1)
            gradients = torch.autograd.grad((scores * scores.detach()).sum(), (q, d))
            found.append([scores.detach(), *(gradient.float() for gradient in gradients)])
        off = max(float((ours - plain).norm() / plain.norm()) for ours, plain in zip(*found, strict=True))
        wrong = None if off < 0.02 else f"they are off by {off:.2g}"
    except Exception as error:  # Triton's compiler has errors of its own
        wrong = one_line(error, 200)
    if wrong:
        warnings.warn(f"MaxSim is scored without this library's kernels on {device}: {wrong}.", stacklevel=3)
    return wrong is None


def kernel_scores(
    queries: Tensor, documents: Tensor, query_mask: Tensor | None, document_mask: Tensor | None
) -> Tensor | None:
    """Scores by a kernel, float32 and differentiable, or None where the caller is to compute them.

    ``documents`` is ``[documents, tokens, dimension]`` (all pairs) or ``[queries, list, tokens, dimension]``. A kernel
    is used only if the environment's ``PYLATE_SCORES_BACKEND`` says so, since both multiply in half precision whatever
    the vectors are. The tests have no GPU: they check which kernel is chosen and what it is given, not what it returns.

    Masked vectors are set to zero instead of handing the masks over, so that a masked token scores 0, as everywhere
    here and in PyLate's torch path. (Handed a mask, ``lik`` leaves masked tokens out, and ``flash`` counts them and
    cuts as many off the end, punctuation or not.)
    """
    wanted = os.environ.get(SWITCH, "torch").lower()
    installed = installed_kernels() if queries.is_cuda else ()
    name = choose_kernel(wanted, queries.device.type, documents.shape[-2], installed)
    if name is None:
        return None
    if query_mask is not None:
        queries = queries * query_mask[..., None].to(queries.dtype)
    if document_mask is not None:
        documents = documents * document_mask[..., None].to(documents.dtype)
    score = colbert_scores if documents.dim() == 3 else colbert_kd_scores
    try:
        return score(queries, documents, backend=name).to(torch.float32)
    except (FlashUnsupported, LIKUnsupported):
        return None  # an older GPU, or a shape that the kernel does not take
