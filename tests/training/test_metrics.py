"""Arithmetic of the figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_tagger.training.metrics import (
    bootstrap_over_sources,
    calibration_error,
    f_measure,
    share,
    wilson,
)


@given(st.integers(0, 500), st.integers(1, 500))
def test_wilson_holds_the_share(right: int, more: int) -> None:
    of = right + more
    low, high = wilson(right, of)
    assert 0.0 <= low <= right / of + 1e-12
    assert right / of - 1e-12 <= high <= 1.0


def test_wilson_of_a_known_case() -> None:
    assert wilson(95, 100) == pytest.approx((0.8882, 0.9785), abs=1e-4)
    assert wilson(100, 100)[0] == pytest.approx(0.9630, abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_bootstrap_resamples_sources_not_items() -> None:
    right = [True] * 100 + [False] * 100
    narrow = bootstrap_over_sources(right, [str(i) for i in range(200)])
    wide = bootstrap_over_sources(right, ["a"] * 100 + ["b"] * 100)
    assert wide == (0.0, 1.0)
    assert narrow[1] - narrow[0] < 0.2


def test_share_of_one_source_has_no_interval_over_sources() -> None:
    one = share([True, True, False], ["a", "a", "a"])
    assert (one.right, one.of) == (2, 3)
    assert one.over_sources is None
    assert "66.7 % of 3" in str(one)
    assert share([True, False], ["a", "b"]).to_json()["over_sources"] == [0.0, 1.0]


def test_f_measure() -> None:
    predicted = np.array([True, True, False, False, True])
    truth = np.array([True, False, True, False, True])
    found = f_measure(predicted, truth)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["f"] == pytest.approx(2 / 3)
    assert f_measure(np.zeros(3, bool), np.zeros(3, bool))["f"] == 0.0


def test_calibration_error() -> None:
    rng = np.random.default_rng(0)
    honest = rng.random(50_000)
    truth = (rng.random(50_000) < honest).astype(float)
    assert calibration_error(honest, truth) < 0.01
    assert calibration_error(np.full(100, 0.9), np.zeros(100)) == pytest.approx(0.9)
    assert calibration_error(np.zeros(0), np.zeros(0)) == 0.0
