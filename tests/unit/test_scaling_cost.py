"""The model of cost: amounts by hand, costs that are found again, a step of one among many, and what is drawn."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from benchmarks import plaid, scaling
from benchmarks.encoders import encoder_folder, open_encoder
from benchmarks.memory import LEAST, PEAK
from benchmarks.statistics import beside_prediction, spread
from colbert_zero_lib.errors import DataError
from colbert_zero_lib.figures.scaling import cost_curves
from colbert_zero_lib.scaling import StepShape
from colbert_zero_lib.scaling_cost import SEARCH, STEP, fit, fitted, on_device, predict, step_amounts
from colbert_zero_lib.training.embedding import Chunk, Encoded
from colbert_zero_lib.training.maxsim import maxsim

SMALL = StepShape(8, 2, 5, devices=4, dimension=4, weights=100, products=60)
COSTS = {"fixed": 0.5, "encoder": 2e-5, "maxsim": 3e-6, "vectors": 1e-4, "sent": 0.0}


def test_a_devices_amounts_by_hand() -> None:
    found = step_amounts(SMALL)
    assert found["encoder"] == 4 * 2 * 60 * (2 * (2 + 5))  # four passes over the tokens of two pairs
    assert found["maxsim"] == 2 * 4 * (2 * 2) * (8 * 5)  # four query tokens against those of all documents
    assert found["vectors"] == 8 * 5 * 4 * 4  # those of all documents, float32
    assert found["sent"] == 2 * 0.75 * (8 * 5 * 4 * 4) + 2 * 0.75 * 100 * 4
    assert step_amounts(SMALL, sends=False)["sent"] == 0.0


def test_costs_are_found_again_and_say_what_a_larger_step_takes() -> None:
    known = [
        step_amounts(StepShape(batch, 2, 5, devices=devices, dimension=4, products=60), sends=False)
        for batch, devices in ((8, 1), (16, 1), (32, 1), (64, 1), (64, 4), (64, 16))
    ]
    costs = fit(known, [predict(COSTS, each) for each in known])
    assert costs == pytest.approx(COSTS)
    large = step_amounts(StepShape(4096, 2, 5, dimension=4, products=60))
    by_hand = 0.5 + 2e-5 * large["encoder"] + 3e-6 * large["maxsim"] + 1e-4 * large["vectors"]
    assert predict(costs, large) == pytest.approx(by_hand)


def test_no_cost_is_below_nothing_and_too_few_measurements_are_refused() -> None:
    falling = fit([{"fixed": 1.0, "tokens": 1.0}, {"fixed": 1.0, "tokens": 2.0}], [2.0, 1.0])
    assert min(falling.values()) == 0.0
    with pytest.raises(DataError, match="1 measurements cannot tell fixed, tokens apart"):
        fit([{"fixed": 1.0, "tokens": 1.0}], [2.0])


def test_another_device_reaches_the_same_share_of_its_rates() -> None:
    rates = ("bfloat16_operations_per_second", "float32_operations_per_second", "copy_bytes_per_second")
    machine = dict(zip(rates, (2e11, 1e11, 1e10), strict=True))
    moved = on_device(COSTS, machine, bfloat16=2e14, float32=5e13, memory=4e12, bandwidth=1e10)
    expected = {"fixed": 0.5, "encoder": 2e-8, "maxsim": 6e-9, "vectors": 2.5e-7, "sent": 1e-10}
    assert moved == pytest.approx(expected)


def test_one_of_many_has_the_loss_of_its_queries_against_all_documents(tmp_path: Path) -> None:
    texts = ["a crane lifts", "yeast turns sugar", "bees find their way", "the violin has strings"]
    model = open_encoder(encoder_folder("nano", texts, tmp_path), 8)
    queries, documents = (model.tokenize(texts, is_query=side) for side in (True, False))
    with torch.no_grad():
        made = (model(dict(each))["token_embeddings"] for each in (queries, documents))
        asked, known = (F.normalize(each, dim=-1) for each in made)
    masks = [each["attention_mask"].bool() for each in (queries, documents)]
    known = known * masks[1][..., None]
    scores = maxsim(asked[:2], [known], masks[0][:2], [masks[1]]) / 0.5
    loss = scaling.OneOfMany(model, 0.5, gradient_cache=True)
    others = known[2:].clone().requires_grad_()
    loss.others = Encoded([others], [masks[1][2:]], [Chunk(torch.arange(2, 4), {}, is_query=False)])
    own = [{key: value[:2] for key, value in each.items()} for each in (queries, documents)]
    assert loss(own).item() == pytest.approx(F.cross_entropy(scores, torch.arange(2)).item(), rel=1e-5)
    assert others.grad is not None and float(others.grad.abs().sum()) > 0
    loss.others = None
    assert loss(own).item() < F.cross_entropy(scores, torch.arange(2)).item()


def _content() -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for batch, devices, processes in scaling.SIZES:
        shape = StepShape(batch, 11, 15, devices=devices, products=344_064, weights=2_457_600)
        amounts = step_amounts(shape, sends=processes > 1)
        seconds = 0.03 + 1.1e-11 * amounts["encoder"] + 3e-11 * amounts["maxsim"] + 4e-10 * amounts["sent"]
        common = {"axis": "batch", "batch_size": batch, "devices": devices, "processes": processes}
        took = spread([seconds, 1.02 * seconds, 1.3 * seconds], "seconds")
        rows.append(common | {"quantity": STEP, "amounts": amounts, "fitted": batch <= scaling.FITTED} | took)
        held = spread([100.0 + 0.1 * batch] * 3, "mebibytes")
        rows.append(common | {"quantity": PEAK, "peer": LEAST, "peer_mebibytes": batch * 0.03} | held)
    for documents in (1_000, 3_000, 10_000, 100_000, 1_000_000):
        took = spread([1e-6 * documents, 1.1e-6 * documents], "seconds")
        amounts = {"fixed": 1.0, "tokens": 16.0 * documents}
        common = {"axis": "documents", "documents": documents, "amounts": amounts}
        rows.append(common | {"quantity": SEARCH, "fitted": documents <= 10_000} | took)
    costs = {quantity: fitted(rows, quantity) for quantity in (STEP, SEARCH)}
    rows = [row if "peer" in row else beside_prediction(row, costs[row["quantity"]]) for row in rows]
    index = {"axis": "index", "quantity": "", "peer": plaid.PLAID_PEER}
    rows += [
        index | {"documents": size, "peer_seconds_per_query": 0.03 + size * 4e-6} for size in (1_000, 3_000)
    ]
    return {"rows": rows}


def test_the_figure_of_costs_is_legible_and_names_the_largest_error(check_drawing: Any) -> None:
    content = _content()
    check_drawing(lambda: cost_curves(content))
    large = [row for row in content["rows"] if not row.get("fitted", True)]
    worst = max(max(row["ratio"], 1 / row["ratio"]) for row in large)
    assert f"{worst:.2f}" in cost_curves(content).get_suptitle()
    measured = {round(1e3 * row["ours_seconds"], 6) for row in content["rows"] if row["quantity"] == SEARCH}
    drawn = {
        round(float(line.get_ydata()[0]), 6)
        for line in cost_curves(content).axes[2].lines
        if len(line.get_ydata()) == 1
    }
    assert measured <= drawn
    with pytest.raises(DataError, match="no prediction"):
        cost_curves({"rows": []})


def test_drawn_vectors_are_unit_and_queries_lie_near_their_documents() -> None:
    vectors, asked = plaid._drawn(300)
    assert vectors.shape == (300, plaid.TOKENS, 128) and asked.shape == (
        plaid.QUERIES,
        plaid.QUERY_TOKENS,
        128,
    )
    assert torch.allclose(torch.from_numpy(vectors).norm(dim=-1), torch.ones(300, plaid.TOKENS))
    found = plaid._exactly([plaid._batch(vectors)], [plaid._batch(asked)], plaid.QUERIES, 1)
    again = plaid._exactly(
        [plaid._batch(vectors[:100]), plaid._batch(vectors[100:], 100)],
        [plaid._batch(asked)],
        plaid.QUERIES,
        1,
    )
    assert (found == again).all()


def test_a_step_takes_the_mean_gradient_of_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Linear(2, 1)
    before = [each.detach().clone() for each in model.parameters()]

    def backward_of(*_: Any) -> None:
        for each in model.parameters():
            each.grad = torch.full_like(each, 0.1)

    side: Any = SimpleNamespace(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=1.0), backward_of=backward_of
    )
    monkeypatch.setattr(scaling.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(
        scaling.dist, "all_reduce", lambda flat: flat.mul_(6)
    )  # the other's are five times ours
    scaling._step(side, None)
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.allclose(new, old - 0.3)
