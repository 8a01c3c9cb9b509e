"""Expected precision of a list, its interval and where it is cut."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_tagger.reconcile.cut import cut_at, describe, interval

confidences = st.lists(st.floats(0.5, 1.0), min_size=1, max_size=60).map(np.array)


@given(confidences, st.floats(0.5, 0.99))
def test_the_cut_is_the_lowest_confidence_that_keeps_the_precision(values: np.ndarray, precision: float) -> None:
    cut = cut_at(values, precision)
    reached = [v for v in values if values[values >= v].mean() >= precision - 1e-12]
    if cut is None:
        assert values.max() <= precision + 1e-9
    else:
        assert values[values >= cut].mean() >= precision - 1e-9
        assert cut == pytest.approx(min(reached), abs=1e-9)


@given(confidences, st.floats(0.0, 1.0))
def test_the_interval_holds_the_expectation_and_stays_within_0_and_1(values: np.ndarray, spread: float) -> None:
    low, high = interval(values, spread=spread)
    assert 0.0 <= low <= values.mean() <= high + 1e-9
    assert high <= 1.0


@given(confidences)
def test_what_is_known_better_has_a_narrower_interval(values: np.ndarray) -> None:
    vague, known = interval(values, spread=1.0), interval(values, spread=0.0)
    assert vague[0] <= known[0] <= known[1] <= vague[1]


def test_three_sure_claims_are_not_called_certain() -> None:
    low, high = interval(np.ones(3), spread=0.0)
    assert low == pytest.approx(0.4385, abs=1e-3)  # Wilson's for 3 of 3
    assert high == 1.0


@given(st.integers(0, 10_000), st.integers(3, 300), st.floats(-1.5, 1.5))
@settings(max_examples=20, deadline=None)
def test_nineteen_of_twenty_observed_precisions_lie_within(seed: int, n: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.7, 0.999, n)
    truth = 1 / (1 + np.exp(-(np.log(values / (1 - values)) + shift)))
    low, high = interval(values, spread=1.0)
    observed = (rng.random((400, n)) < truth).mean(axis=1)
    assert np.mean((observed >= low) & (observed <= high)) >= 0.94


@given(confidences, st.floats(0.5, 0.99))
def test_the_description_has_one_cut_at_most_and_precision_that_rises(values: np.ndarray, precision: float) -> None:
    levels = describe(values, precision=precision, spread=1.0)
    assert sum(level.is_cut for level in levels) == (cut_at(values, precision) is not None)
    assert [level.confidence for level in levels] == sorted(level.confidence for level in levels)
    assert all(a.expected <= b.expected + 1e-12 for a, b in pairwise(levels))
    assert all(a.flags >= b.flags for a, b in pairwise(levels))


def test_no_claims_have_no_levels() -> None:
    assert describe(np.array([]), precision=0.95, spread=1.0) == []
    assert cut_at(np.array([]), 0.95) is None
