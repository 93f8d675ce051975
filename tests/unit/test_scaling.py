"""The arithmetic of scale: memory, traffic and efficiency of a step, by hand on small numbers.

Notebook 13 checks it against two processes.
"""

from __future__ import annotations

import pytest

from colbert_zero_lib.errors import ParameterError
from colbert_zero_lib.figures.scaling import batch_memory, device_efficiency
from colbert_zero_lib.scaling import (
    StepShape,
    cached_memory,
    direct_memory,
    efficiency,
    scaling_table,
    traffic,
)

SMALL = StepShape(batch=8, query_length=2, document_length=5, documents=3, dimension=4, weights=100)


def test_vectors_are_counted_by_hand() -> None:
    assert SMALL.query_bytes == 8 * 2 * 4 * 4
    assert SMALL.document_bytes == 8 * 3 * 5 * 4 * 4


def test_one_device_sends_nothing_and_many_send_all_but_their_own_share() -> None:
    assert set(traffic(SMALL).values()) == {0.0}
    found = traffic(SMALL.on(4))
    assert found["documents' vectors"] == found["documents' gradients"] == 0.75 * SMALL.document_bytes
    assert found["weights' gradients"] == 2 * 0.75 * 100 * 4


def test_memory_has_the_documents_of_all_devices_and_a_share_of_the_rest() -> None:
    alone, four = cached_memory(SMALL, 10, 6), cached_memory(SMALL.on(4), 10, 6)
    assert alone["gathered documents"] == 0 and four["gathered documents"] == 2 * SMALL.document_bytes
    assert four["own token vectors"] == alone["own token vectors"] / 4
    assert alone["activations of one chunk"] == 60 and alone["weights, gradients, optimiser"] == 1600
    assert direct_memory(SMALL, 10) == 1600 + 10 * 8 * (2 + 3 * 5)


def test_efficiency_falls_with_devices_and_rises_with_bandwidth() -> None:
    assert efficiency(SMALL, 1.0, 1e3) == 1.0
    sent = sum(traffic(SMALL.on(2)).values())
    assert efficiency(SMALL.on(2), 1.0, sent) == pytest.approx(0.5 / 1.5)
    table = scaling_table(SMALL, 1.0, 1e5, (1, 2, 8))
    assert list(table["efficiency"]) == sorted(table["efficiency"], reverse=True)
    assert list(table["queries on each"]) == [8, 4, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "batch of a step is 0"),
        ({"devices": 3}, "cannot be shared evenly by 3"),
        ({"dimension": 1.5}, "dimension"),
    ],
)
def test_a_step_that_cannot_be_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        StepShape(**{**vars(SMALL), **change})


def test_the_figures_are_legible(check_drawing) -> None:
    paper = StepShape(16_384, 39, 187)
    check_drawing(lambda: batch_memory(paper, 1e6, 16_384, (256, 1024, 4096, 16_384), (("a card", 24e9),)))
    check_drawing(lambda: device_efficiency(paper, 90, (("fast", 25e9), ("slow", 1e9)), (1, 4, 32, 256)))
