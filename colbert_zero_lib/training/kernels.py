"""PyLate's GPU kernels for MaxSim, where they are installed and asked for.

Whether a batch may be scored by one is decided here; MaxSim itself, and what is scored otherwise, is in ``maxsim``.
"""

from __future__ import annotations

import os
from collections.abc import Container
from importlib.util import find_spec

import torch
from pylate.scores import colbert_kd_scores, colbert_scores
from pylate.scores.colbert import FlashUnsupported, LIKUnsupported
from torch import Tensor

from colbert_zero_lib.errors import TrainingError

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
    return queries.dtype in (torch.bfloat16, torch.float16) and queries.shape[-1] in (32, 64, 128)


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
