"""Penalties against values and gradients reckoned by hand, and their effect in a training."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from catalog_tagger.errors import UsageError
from catalog_tagger.training.regularizers import PENALTIES, Regularizer

# theta[k, l]: two time steps, three bins
THETA = [[3.0, 0.0, -1.0], [-4.0, 0.0, 2.0]]
L1, L2 = 10.0, math.sqrt(30.0)


@pytest.mark.parametrize(
    ("penalty", "value"),
    [
        ("l1", L1),
        ("l2", L2),
        ("l1_l2", L1 / L2),
        ("l12", math.sqrt(7**2 + 0 + 3**2)),
        ("l21", 5 + 0 + math.sqrt(5)),
    ],
)
def test_values_by_hand(penalty: str, value: float) -> None:
    assert float(PENALTIES[penalty](torch.tensor(THETA))) == pytest.approx(value)


@pytest.mark.parametrize(
    ("penalty", "first_column"),
    [
        ("l1", (1.0, -1.0)),
        ("l2", (3 / L2, -4 / L2)),
        ("l1_l2", (1 / L2 - L1 * 3 / L2**3, -1 / L2 + L1 * 4 / L2**3)),
        ("l12", (7 / math.sqrt(58), -7 / math.sqrt(58))),
        ("l21", (3 / 5, -4 / 5)),
    ],
)
def test_gradients_by_hand(penalty: str, first_column: tuple[float, float]) -> None:
    theta = torch.tensor(THETA, dtype=torch.float64, requires_grad=True)
    PENALTIES[penalty](theta).backward()
    assert theta.grad is not None
    assert theta.grad[:, 0].tolist() == pytest.approx(first_column)
    # A line of zeros stays where it is.
    assert theta.grad[:, 1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("penalty", sorted(PENALTIES))
def test_zeros_cost_nothing_and_pull_nowhere(penalty: str) -> None:
    theta = torch.zeros(2, 3, 4, 5, requires_grad=True)
    cost = PENALTIES[penalty](theta)
    cost.backward()
    assert float(cost.detach()) == 0.0
    assert theta.grad is not None
    assert bool((theta.grad == 0).all())


@given(st.floats(0.01, 100), st.integers(0, 2**31))
def test_norms_scale_and_the_quotient_does_not(factor: float, seed: int) -> None:
    theta = torch.randn(2, 1, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for name, penalty in PENALTIES.items():
        expected = float(penalty(theta)) * (1.0 if name == "l1_l2" else factor)
        assert float(penalty(factor * theta)) == pytest.approx(expected, rel=1e-9)
    assert 1.0 <= float(PENALTIES["l1_l2"](theta)) <= math.sqrt(theta.numel()) + 1e-9


def test_filters_of_a_layer_add_up() -> None:
    filters = torch.randn(2, 3, 4, 5)
    for name in ("l12", "l21"):
        apart = sum(float(PENALTIES[name](one)) for one in filters.flatten(0, 1))
        assert float(PENALTIES[name](filters)) == pytest.approx(apart, rel=1e-5)


def test_layers_add_up_without_offsets_and_scales() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    with torch.no_grad():
        for value in model.parameters():
            value.fill_(2.0)
    assert float(Regularizer(model, penalty="l1", strength=0.5)().detach()) == pytest.approx(18 + 24)
    assert float(Regularizer(model, penalty="l1_l2", strength=1.0)().detach()) == pytest.approx(18**0.5 + 24**0.5)
    # Mixed norms know filters only: two of them, three bins each, three time steps of 2.
    assert float(Regularizer(model, penalty="l21", strength=1.0)().detach()) == pytest.approx(2 * 3 * 12**0.5)


def test_a_network_without_filters_is_refused() -> None:
    with pytest.raises(UsageError, match="this network has none; use l1, l2 or l1_l2"):
        Regularizer(nn.Linear(2, 2), penalty="l12", strength=1.0)
