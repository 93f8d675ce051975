"""When a GPU kernel scores, and that what it is given has the scores of our MaxSim."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from pylate.scores import colbert_kd_scores, colbert_scores
from pylate.scores.colbert import LIKUnsupported
from torch import Tensor

from colbert_zero_lib.errors import TrainingError
from colbert_zero_lib.training import kernels
from colbert_zero_lib.training.kernels import choose_kernel, installed_kernels
from colbert_zero_lib.training.maxsim import maxsim, maxsim_lists

BOTH = ("flash", "lik")


@pytest.mark.parametrize(
    ("wanted", "device", "tokens", "installed", "expected"),
    [
        ("torch", "cuda", 40, BOTH, None),
        ("auto", "cuda", 40, BOTH, "flash"),
        ("auto", "cuda", 40, ("lik",), "lik"),
        ("auto", "cuda", 40, (), None),
        ("lik", "cuda", 40, BOTH, "lik"),
        ("lik", "cpu", 40, BOTH, None),
        ("auto", "mps", 40, BOTH, None),
        ("auto", "cuda", 1, BOTH, None),
    ],
)
def test_which_kernel_scores(wanted, device, tokens, installed, expected) -> None:
    assert choose_kernel(wanted, device, tokens, installed) == expected


def test_a_kernel_that_is_missing_or_unknown_is_one_sentence() -> None:
    with pytest.raises(TrainingError, match=r'pip install "pylate\[flash-maxsim\]" or unset it'):
        choose_kernel("flash", "cuda", 40, ("lik",))
    with pytest.raises(TrainingError, match="set it to torch, auto, flash or lik"):
        choose_kernel("fast", "cpu", 40, BOTH)


def test_the_names_are_pylates_and_of_modules_that_are_looked_for(monkeypatch) -> None:
    for name in kernels.KERNELS:
        with pytest.raises(RuntimeError, match="requires CUDA"):
            colbert_scores(torch.ones(1, 2, 8), torch.ones(1, 2, 8), backend=name)
    monkeypatch.setattr(kernels, "find_spec", lambda module: module == "late_interaction_kernels")
    assert installed_kernels() == ("lik",)


@pytest.fixture
def tensors() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Queries, documents, lists of documents, masks; some texts are masked from end to end."""
    generator = torch.Generator().manual_seed(0)
    queries = F.normalize(torch.randn(3, 4, 8, generator=generator), dim=-1)
    lists = F.normalize(torch.randn(3, 5, 6, 8, generator=generator), dim=-1)
    query_mask = torch.rand(3, 4, generator=generator) > 0.3
    list_mask = torch.rand(3, 5, 6, generator=generator) > 0.5
    query_mask[1], list_mask[0, 2] = False, False
    return queries, lists[0], lists, query_mask, list_mask


def scored(
    function: Callable[..., Tensor], queries: Tensor, documents: Tensor, *masks: Tensor | None
) -> tuple[Tensor, ...]:
    q, d = queries.clone().requires_grad_(), documents.clone().requires_grad_()
    scores = function(q, d, *masks)
    return scores, *torch.autograd.grad(scores.square().sum(), (q, d))


@pytest.mark.parametrize("masked", [True, False])
def test_a_kernel_is_given_vectors_whose_plain_maxsim_is_our_masked_one(tensors, monkeypatch, masked) -> None:
    queries, documents, lists, query_mask, list_mask = tensors
    cases = [(maxsim, documents, list_mask[0]), (maxsim_lists, lists, list_mask)]
    given: list[tuple[int, int]] = []

    def plain(score: Callable[..., Tensor], q: Tensor, d: Tensor, backend: str) -> Tensor:
        given.append((q.dim(), d.dim()))
        assert backend == "lik"
        return score(q, d, backend="torch")

    for function, texts, mask in cases:
        masks = (query_mask, mask) if masked else (None, None)
        expected = scored(function, queries, texts, *masks)
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "choose_kernel", lambda *_: "lik")
            patch.setattr(kernels, "colbert_scores", partial(plain, colbert_scores))
            patch.setattr(kernels, "colbert_kd_scores", partial(plain, colbert_kd_scores))
            by_kernel = scored(function, queries, texts, *masks)
        for ours, theirs in zip(expected, by_kernel, strict=True):
            torch.testing.assert_close(theirs, ours, atol=1e-6, rtol=1e-5)
    assert given == [(3, 3), (3, 4)]


def test_what_a_kernel_does_not_take_is_scored_here(tensors, monkeypatch) -> None:
    queries, documents, _, query_mask, list_mask = tensors
    expected = maxsim(queries, documents, query_mask, list_mask[0])

    def refuse(*_: Tensor, backend: str) -> Tensor:
        raise LIKUnsupported("an old GPU")

    monkeypatch.setattr(kernels, "choose_kernel", lambda *_: "lik")
    monkeypatch.setattr(kernels, "colbert_scores", refuse)
    assert maxsim(queries, documents, query_mask, list_mask[0]).equal(expected)


@pytest.mark.parametrize("wanted", ["torch", "auto", "flash", "lik"])
def test_on_a_cpu_no_setting_changes_a_bit(tensors, monkeypatch, wanted) -> None:
    queries, documents, _, query_mask, list_mask = tensors
    monkeypatch.delenv(kernels.SWITCH, raising=False)
    expected = maxsim(queries, documents, query_mask, list_mask[0])
    monkeypatch.setenv(kernels.SWITCH, wanted)
    assert maxsim(queries, documents, query_mask, list_mask[0]).equal(expected)
