"""Costs and errors against values reckoned by hand, and what their calibrations repair."""

from __future__ import annotations

import math

import pytest
import torch

from catalog_tagger.models.calibration import Calibration
from catalog_tagger.training.losses import CATEGORICAL, LOSSES, MULTI_LABEL


def test_weight_zero_teaches_nothing() -> None:
    logits = torch.zeros(2, 2, requires_grad=True)
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    weight = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    loss = MULTI_LABEL.cost(logits, target, weight)
    assert float(loss.detach()) == pytest.approx(math.log(2))
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad != 0).tolist() == [[True, False], [False, False]]
    for one in LOSSES.values():
        assert float(one.cost(logits.detach(), target, torch.zeros(2, 2))) == 0.0
        assert one.error(logits.detach(), target, torch.zeros(2, 2)) == 0.0


def test_categorical_cost_is_the_negative_log_likelihood() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [2.0, 2.0]])
    target = torch.tensor([[0.0, 1.0], [0.25, 0.75]])
    weight = torch.tensor([[2.0, 2.0], [1.0, 1.0]])
    expected = (2 * -math.log(0.75) + math.log(2)) / 3
    assert float(CATEGORICAL.cost(logits, target, weight)) == pytest.approx(expected)
    smoothed = -(0.05 * math.log(0.25) + 0.95 * math.log(0.75))
    assert float(CATEGORICAL.cost(logits[:1], target[:1], weight[:1], smoothing=0.1)) == pytest.approx(smoothed)


def test_errors_count_what_is_on_the_wrong_side() -> None:
    logits = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])
    target = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    weight = torch.tensor([[1.0, 1.0], [3.0, 3.0]])
    assert MULTI_LABEL.error(logits, target, weight) == pytest.approx(4 / 8)
    assert CATEGORICAL.error(logits, target, weight) == pytest.approx(3 / 4)


def _confusable(count: int, n_labels: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Honest log probabilities, and truths drawn by them."""
    honest = torch.log_softmax(1.5 * torch.randn(count, n_labels, generator=generator), dim=1)
    drawn = torch.multinomial(honest.exp(), 1, generator=generator)[:, 0]
    return honest, torch.nn.functional.one_hot(drawn, n_labels).float()


def test_softmax_calibration_undoes_overconfidence_and_bias() -> None:
    honest, truth = _confusable(4000, 3, torch.Generator().manual_seed(1))
    boast = 3.0 * honest + torch.tensor([1.0, 0.0, -1.0])
    found = CATEGORICAL.calibrate(boast, truth, torch.ones_like(truth))
    assert found.kind == "softmax"
    assert found.scale[0] == pytest.approx(1 / 3, rel=0.1)
    answered = found.probabilities(boast)
    torch.testing.assert_close(answered.sum(dim=1), torch.ones(4000))
    assert float((answered - honest.exp()).abs().max()) < 0.06
    again = Calibration.from_json(found.to_json())
    torch.testing.assert_close(again.probabilities(boast), answered)


def test_softmax_calibration_leaves_out_what_has_no_weight() -> None:
    honest, truth = _confusable(500, 3, torch.Generator().manual_seed(2))
    weight = torch.ones_like(truth)
    weight[250:] = 0
    half = CATEGORICAL.calibrate(honest[:250], truth[:250], weight[:250])
    whole = CATEGORICAL.calibrate(honest, truth, weight)
    assert (*whole.scale, *whole.offset) == pytest.approx((*half.scale, *half.offset), abs=1e-6)
