"""Arithmetic of the figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from catalog_tagger.training import metrics
from catalog_tagger.training.metrics import (
    bootstrap,
    bootstrap_over_sources,
    calibration_error,
    f_measure,
    paired_t_test,
    share,
    wilson,
)

#: few distinct scores, so that ties are common
SCORES = arrays(np.float64, st.integers(2, 40), elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]))


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


def test_bootstrap_of_a_share_is_that_of_any_statistic() -> None:
    rng = np.random.default_rng(3)
    right = rng.random(300) < 0.8
    sources = [str(one) for one in rng.integers(12, size=300)]
    low, high = bootstrap(lambda weights: (weights @ right) / weights.sum(axis=1), sources, rounds=4000)
    assert (low, high) == pytest.approx(bootstrap_over_sources(list(right), sources, rounds=4000), abs=0.006)


def test_bootstrap_of_nothing_knows_nothing() -> None:
    found = bootstrap(lambda weights: np.ones((len(weights), 3)), [])
    assert found.shape == (2, 3)
    assert np.isnan(found).all()


def test_bootstrap_draws_as_many_sources_as_there_are() -> None:
    seen = []

    def statistic(weights: np.ndarray) -> np.ndarray:
        seen.append(weights)
        return weights[:, :2]

    bootstrap(statistic, ["a", "b", "b", "c"], rounds=50)
    weights = np.concatenate(seen)
    assert weights.shape == (50, 4)
    assert bool((weights[:, 1] == weights[:, 2]).all())
    assert set(weights[:, [0, 1, 3]].sum(axis=1)) == {3.0}


def test_bootstrap_leaves_out_what_does_not_exist() -> None:
    sources = [str(one) for one in range(6)]
    low, high = bootstrap(lambda weights: np.where(weights[:, [0, 0]] > 0, [1.0, np.nan], np.nan), sources)
    assert (low[0], high[0]) == (1.0, 1.0)  # drawn in two rounds of three
    assert bool(np.isnan([low[1], high[1]]).all())
    assert bool(np.isnan(bootstrap(lambda weights: weights.sum(axis=1), ["a", "a"])).all())


def test_bootstrap_goes_in_steps_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(20.0)
    sources = [str(one % 7) for one in range(20)]
    whole = bootstrap(lambda weights: weights @ values, sources, rounds=101)
    monkeypatch.setattr(metrics, "_WEIGHTS_AT_ONCE", 200)
    assert bool((bootstrap(lambda weights: weights @ values, sources, rounds=101) == whole).all())


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


@settings(max_examples=40)
@given(arrays(np.bool_, st.just((2, 30))), arrays(np.int64, st.just(30), elements=st.integers(0, 3)))
def test_precision_recall_and_f_are_those_of_scikit_learn(said_and_truth: np.ndarray, counts: np.ndarray) -> None:
    said, truth = said_and_truth
    counts[0] = 1  # scikit-learn takes no empty arrays
    found = metrics.precision_recall_f_each(said, truth, counts[None].astype(float))[0]
    theirs = sklearn.metrics.precision_recall_fscore_support(
        np.repeat(truth, counts), np.repeat(said, counts), average="binary", zero_division=np.nan
    )[:3]
    np.testing.assert_allclose(found[:2], theirs[:2])
    np.testing.assert_allclose(found[2], theirs[2] if (truth & (counts > 0)).any() else np.nan)


@settings(max_examples=60)
@given(SCORES, st.data())
def test_areas_are_those_of_scikit_learn(score: np.ndarray, data: st.DataObject) -> None:
    truth = data.draw(arrays(np.float64, score.size, elements=st.sampled_from([0.0, 1.0])))
    if truth.any():
        expected = sklearn.metrics.average_precision_score(truth, score)
        assert metrics.average_precision(score, truth) == pytest.approx(expected)
    else:
        assert math.isnan(metrics.average_precision(score, truth))
    if 0 < truth.sum() < truth.size:
        assert metrics.roc_auc(score, truth) == pytest.approx(sklearn.metrics.roc_auc_score(truth, score))
    else:
        assert math.isnan(metrics.roc_auc(score, truth))


@settings(max_examples=60)
@given(SCORES, st.data())
def test_a_weight_is_as_good_as_repetition(score: np.ndarray, data: st.DataObject) -> None:
    truth = data.draw(arrays(np.float64, score.size, elements=st.sampled_from([0.0, 1.0])))
    counts = data.draw(arrays(np.int64, score.size, elements=st.integers(0, 3)))
    weights = np.stack([np.ones(score.size), counts])
    weighted = [*metrics.areas_each(score, truth, weights)[1], metrics.calibration_error_each(score, truth, weights)[1]]
    plain = (metrics.average_precision, metrics.roc_auc, calibration_error)
    repeated = [figure(np.repeat(score, counts), np.repeat(truth, counts)) for figure in plain]
    np.testing.assert_allclose(np.nan_to_num(weighted), np.nan_to_num(repeated), atol=1e-12)


def test_d_prime_of_the_published_areas() -> None:
    assert metrics.d_prime(0.934) == pytest.approx(2.133, abs=0.01)
    assert metrics.d_prime(0.963) == pytest.approx(2.520, abs=0.01)
    assert metrics.d_prime(0.5) == pytest.approx(0.0)
    assert metrics.d_prime(1.0) == math.inf
    assert metrics.d_prime(0.0) == -math.inf
    assert math.isnan(metrics.d_prime(math.nan))


def test_mean_over_labels_leaves_out_what_is_not_known() -> None:
    scores = np.array([[0.9, 0.2, 0.5], [0.1, 0.3, 0.5], [0.8, 0.4, 0.5]])
    truth = np.array([[1.0, 0.0, 0.0], [0.0, np.nan, 0.0], [np.nan, 1.0, 0.0]])
    mean, each = metrics.mean_over_labels(metrics.average_precision, scores, truth)
    assert each[:2] == [1.0, 1.0]
    assert math.isnan(each[2])
    assert mean == 1.0
    assert math.isnan(metrics.mean_over_labels(metrics.roc_auc, scores[:, 2:], truth[:, 2:])[0])


def test_map_at_three_is_the_inverse_of_the_rank() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.6]] * 4)
    truth = np.eye(4)
    assert metrics.average_precision_at(scores, truth).tolist() == pytest.approx([1, 1 / 2, 1 / 3, 0])
    assert metrics.mean_average_precision_at(scores, truth) == pytest.approx((1 + 1 / 2 + 1 / 3) / 4)
    assert metrics.mean_average_precision_at(scores, truth, k=1) == pytest.approx(1 / 4)


def test_map_at_three_of_several_labels() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.6]])
    both = metrics.average_precision_at(scores, np.array([[1.0, 0.0, 1.0, 0.0]]))
    assert both[0] == pytest.approx((1 + 2 / 3) / 2)
    unknown = metrics.average_precision_at(scores, np.array([[np.nan, 0.0, 1.0, 0.0]]))
    assert unknown[0] == pytest.approx(1 / 2)
    assert math.isnan(metrics.average_precision_at(scores, np.zeros((1, 4)))[0])
    assert math.isnan(metrics.mean_average_precision_at(scores, np.zeros((1, 4))))


def test_calibration_error() -> None:
    rng = np.random.default_rng(0)
    honest = rng.random(50_000)
    truth = (rng.random(50_000) < honest).astype(float)
    assert calibration_error(honest, truth) < 0.01
    assert calibration_error(np.full(100, 0.9), np.zeros(100)) == pytest.approx(0.9)
    assert calibration_error(np.zeros(0), np.zeros(0)) == 0.0


@given(SCORES, st.data())
def test_reliability_bins_hold_every_item_and_give_the_error(probability: np.ndarray, data: st.DataObject) -> None:
    truth = data.draw(arrays(np.float64, probability.size, elements=st.sampled_from([0.0, 1.0])))
    bins = metrics.reliability(probability, truth, bins=10)
    assert sum(one.items for one in bins) == probability.size
    assert all(one.low - 1e-9 <= one.probability <= one.high + 1e-9 for one in bins)
    gap = sum(one.items * abs(one.probability - one.true) for one in bins) / probability.size
    assert calibration_error(probability, truth, bins=10) == pytest.approx(gap)


def test_confusion_has_the_truth_in_its_rows() -> None:
    counts = metrics.confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_paired_t_test_of_a_known_case() -> None:
    # Student's sleep data, hours gained by ten patients on two drugs
    one = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    other = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = paired_t_test(one, other)
    assert found is not None
    assert found.items == 10
    assert found.difference == pytest.approx(-1.58)
    assert found.t == pytest.approx(-4.0621, abs=1e-4)
    assert found.p == pytest.approx(0.00283, abs=1e-5)
    assert found.interval == pytest.approx((-2.4599, -0.7001), abs=1e-4)


def test_paired_t_test_of_equal_and_of_constant_differences() -> None:
    same = paired_t_test([1.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    assert same is not None
    assert (same.t, same.p, same.difference) == (0.0, 1.0, 0.0)
    better = paired_t_test([1.0, 1.0], [0.0, 0.0])
    assert better is not None
    assert (better.t, better.p, better.interval) == (math.inf, 0.0, (1.0, 1.0))
    assert paired_t_test([1.0], [0.0]) is None


def test_sign_test_of_known_cases() -> None:
    assert metrics.sign_test(0, 0) == 1.0
    assert metrics.sign_test(5, 5) == 1.0
    assert metrics.sign_test(6, 0) == pytest.approx(0.03125)
    assert metrics.sign_test(1, 9) == metrics.sign_test(9, 1) == pytest.approx(22 / 1024)


def test_mean_by_source() -> None:
    means = metrics.mean_by_source(np.array([1.0, 0.0, 1.0, 1.0]), ["b", "b", "a", "a"])
    assert means.tolist() == [1.0, 0.5]
