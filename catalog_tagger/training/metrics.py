"""Figures of how right a network is, and their uncertainty; plain arithmetic on arrays.

Truth is 1, 0 or NaN where nobody knows; what is not known counts nowhere. A figure that does not
exist (the precision of a label that is never true, an area with one class only) is NaN.

Every figure has a form that ends in `_each`: it takes weights (rounds, n) and answers one figure per
row of them. `bootstrap` hands such rows to a statistic: clips of one source resemble each other, so
it resamples whole sources and says how the figure would move on other collections. Wilson's
interval treats every item as independent; it says how the figure would move on more items of the
same collections, and holds when all are right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
_Z: Final = 1.959964
_WEIGHTS_AT_ONCE: Final = 2_000_000


@dataclass(frozen=True)
class Share:
    """A share of items with two 95 % intervals."""

    right: int
    of: int
    share: float
    wilson: tuple[float, float]
    over_sources: tuple[float, float] | None

    def to_json(self) -> dict[str, Any]:
        """Rounded for a card."""
        rounded = asdict(self)
        rounded["share"] = round(self.share, 4)
        for key in ("wilson", "over_sources"):
            pair = rounded[key]
            rounded[key] = None if pair is None else [round(pair[0], 4), round(pair[1], 4)]
        return rounded

    def __str__(self) -> str:
        low, high = self.wilson
        text = f"{100 * self.share:.1f} % of {self.of} (Wilson {100 * low:.1f}-{100 * high:.1f}"
        if self.over_sources is not None:
            text += f", over sources {100 * self.over_sources[0]:.1f}-{100 * self.over_sources[1]:.1f}"
        return text + ")"


@dataclass(frozen=True)
class PairedTest:
    """Student's paired t-test of two models on the same items.

    Attributes
    ----------
    items
        How many differences there are.
    difference
        Their mean, first model minus second, with its 95 % interval in `interval`.
    t, p
        The statistic and the two-sided probability of one at least as far from 0 if the models were
        equal. `t` is infinite where all differences are the same and not 0.
    """

    items: int
    difference: float
    interval: tuple[float, float]
    t: float
    p: float


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of a reliability diagram: what was promised and what was true."""

    low: float
    high: float
    items: int
    probability: float
    true: float


def wilson(right: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson, JASA 22, 1927)."""
    if of == 0:
        return 0.0, 1.0
    p, z2 = right / of, _Z * _Z
    middle = (p + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z * math.sqrt(p * (1 - p) / of + z2 / (4 * of * of)) / (1 + z2 / of)
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(
    statistic: Callable[[FloatArray], FloatArray],
    sources: Sequence[str],
    *,
    rounds: int = 1000,
    seed: int = 0,
    quantiles: Sequence[float] = (0.025, 0.975),
) -> FloatArray:
    """95 % percentile intervals of any figures, resampling whole sources with replacement.

    Parameters
    ----------
    statistic
        From weights (rounds, n), how often each item was drawn, to figures (rounds,) or
        (rounds, figures), one row per row of weights. The `*_each` functions are such statistics.
    sources
        The source of each of the n items.

    Returns
    -------
    float64 [shape=(2,) or (2, figures)], the low and the high end, or what other `quantiles` are asked
    for. NaN where there are fewer than two sources, or where the figure exists in fewer than half of
    the rounds.
    """
    names, place = np.unique(np.asarray(sources, str), return_inverse=True)
    rng = np.random.default_rng(seed)
    if not len(names):
        return np.full((len(quantiles), *statistic(np.zeros((1, 0))).shape[1:]), np.nan)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=rounds).astype(float)
    step = max(1, _WEIGHTS_AT_ONCE // max(1, place.size))
    values = np.concatenate([statistic(drawn[at : at + step][:, place]) for at in range(0, rounds, step)])
    if len(names) < 2:
        return np.full((len(quantiles), *values.shape[1:]), np.nan)
    known = np.isfinite(values)
    found = np.stack([_quantile(values, known, share) for share in quantiles])
    return np.where(known.mean(axis=0) >= 0.5, found, np.nan)


def _quantile(values: FloatArray, known: BoolArray, share: float) -> FloatArray:
    # what does not exist is put at the end, so that a column of nothing needs no case of its own
    ordered = np.sort(np.where(known, values, np.inf), axis=0)
    at = share * np.maximum(known.sum(axis=0) - 1, 0)
    below = np.floor(at).astype(int)
    above = np.ceil(at).astype(int)
    first, second = (np.take_along_axis(ordered, one[None], axis=0)[0] for one in (below, above))
    with np.errstate(invalid="ignore"):
        return np.asarray(first + (at - below) * np.where(above > below, second - first, 0.0))


def bootstrap_over_sources(
    right: Sequence[bool], sources: Sequence[str], *, rounds: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of the share of `right`, resampling whole sources."""
    names, place = np.unique(np.asarray(sources), return_inverse=True)
    hits = np.bincount(place, weights=np.asarray(right, float), minlength=len(names))
    counts = np.bincount(place, minlength=len(names)).astype(float)
    drawn = np.random.default_rng(seed).integers(len(names), size=(rounds, len(names)))
    shares = hits[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(low), float(high)


def share(right: Sequence[bool], sources: Sequence[str]) -> Share:
    """Share of right items with both intervals (the bootstrap needs two sources)."""
    count = int(np.sum(np.asarray(right, bool)))
    several = len(set(sources)) > 1
    return Share(
        right=count,
        of=len(right),
        share=count / len(right) if len(right) else 0.0,
        wilson=wilson(count, len(right)),
        over_sources=bootstrap_over_sources(right, sources) if several else None,
    )


def f_measure(predicted: BoolArray, truth: BoolArray) -> dict[str, float]:
    """Precision, recall and their harmonic mean; 0 where there is nothing to divide by."""
    found = precision_recall_f_each(predicted, truth, np.ones((1, predicted.size)))[0]
    return dict(zip(("precision", "recall", "f"), np.nan_to_num(found).tolist(), strict=True))


def precision_recall_f_each(predicted: BoolArray, truth: BoolArray, weights: FloatArray) -> FloatArray:
    """Precision, recall and F, (rounds, 3).

    Precision is NaN where nothing is predicted; recall and F are where nothing is true: no answer
    could have been right there, and a mean over labels is not one of labels that were not met.
    """
    predicted, truth = np.asarray(predicted, float), np.asarray(truth, float)
    both, said, there = (weights @ one for one in (predicted * truth, predicted, truth))
    f = np.where(there > 0, _divide(2 * both, said + there), np.nan)
    return np.stack([_divide(both, said), _divide(both, there), f], axis=1)


def average_precision(score: FloatArray, truth: FloatArray) -> float:
    """Area under the steps of precision over recall; NaN where nothing is true.

    Equal scores count as one threshold, as in `sklearn.metrics.average_precision_score`.
    """
    return float(areas_each(score, truth, np.ones((1, np.size(score))))[0, 0])


def roc_auc(score: FloatArray, truth: FloatArray) -> float:
    """Probability that a true item scores above one that is not, ties half; NaN with one class only."""
    return float(areas_each(score, truth, np.ones((1, np.size(score))))[0, 1])


def areas_each(score: FloatArray, truth: FloatArray, weights: FloatArray) -> FloatArray:
    """`average_precision` and `roc_auc` per row of weights, (rounds, 2)."""
    positive, negative = _from_the_top(score, truth, weights)
    true, false = (np.diff(one, axis=1, prepend=0.0) for one in (positive, negative))
    precision = np.nan_to_num(_divide(positive, positive + negative))
    found, others = positive[:, -1], negative[:, -1]
    above = positive - 0.5 * true
    return np.stack(
        [
            _divide(np.einsum("rt,rt->r", true, precision), found),
            _divide(np.einsum("rt,rt->r", false, above), found * others),
        ],
        axis=1,
    )


def d_prime(auc: float) -> float:
    """Distance of two unit normal distributions with this area under the curve: ``sqrt(2) Z(AUC)``.

    Yu et al., "Multi-level attention model for weakly supervised audio classification", 2018;
    infinite at 1, NaN for NaN.
    """
    if math.isnan(auc):
        return math.nan
    if auc <= 0.0 or auc >= 1.0:
        return math.inf if auc >= 1.0 else -math.inf
    return math.sqrt(2) * NormalDist().inv_cdf(auc)


def mean_over_labels(
    figure: Callable[[FloatArray, FloatArray], float], scores: FloatArray, truth: FloatArray
) -> tuple[float, list[float]]:
    """A figure of each column of (n, labels), and its mean over the labels where it exists.

    With `average_precision` the mean is mAP, with `roc_auc` the AUC that `d_prime` takes.
    """
    known = ~np.isnan(truth)
    each = [
        figure(scores[known[:, column], column], truth[known[:, column], column]) for column in range(truth.shape[1])
    ]
    found = [one for one in each if not math.isnan(one)]
    return (sum(found) / len(found) if found else math.nan), each


def average_precision_at(scores: FloatArray, truth: FloatArray, *, k: int = 3) -> FloatArray:
    """Per item, how high its true labels rank among its `k` highest; the mean over items is MAP@k.

    ``sum over ranks r <= k of precision(r) * [label at r is true] / min(k, true labels)``: with one
    true label the inverse of its rank. Labels whose truth is NaN are not ranked.

    Parameters
    ----------
    scores, truth
        (n, labels).

    Returns
    -------
    float64 [shape=(n,)], NaN for an item without a true label.
    """
    order = np.argsort(-np.where(np.isnan(truth), -np.inf, scores), axis=1, kind="stable")[:, :k]
    right = np.take_along_axis(np.nan_to_num(truth), order, axis=1)
    precision = np.cumsum(right, axis=1) / np.arange(1, right.shape[1] + 1)
    return _divide((precision * right).sum(axis=1), np.minimum(k, np.nansum(truth, axis=1)))


def mean_average_precision_at(scores: FloatArray, truth: FloatArray, *, k: int = 3) -> float:
    """MAP@k of the items that have a true label; NaN where none has."""
    each = average_precision_at(scores, truth, k=k)
    each = each[~np.isnan(each)]
    return float(each.mean()) if each.size else math.nan


def calibration_error(probability: FloatArray, truth: FloatArray, *, bins: int = 15) -> float:
    """Expected calibration error: mean gap between confidence and truth in equal-width bins.

    Guo et al., "On calibration of modern neural networks", ICML 2017, for one binary output; 0 of
    no items.
    """
    return float(
        np.nan_to_num(calibration_error_each(probability, truth, np.ones((1, probability.size)), bins=bins)[0])
    )


def calibration_error_each(
    probability: FloatArray, truth: FloatArray, weights: FloatArray, *, bins: int = 15
) -> FloatArray:
    """`calibration_error` per row of weights, (rounds,)."""
    place = _bin_of(probability, bins)
    inside = (place[:, None] == np.arange(bins)).astype(float)
    gap = np.asarray(probability, float) - np.asarray(truth, float)
    return _divide(np.abs(weights @ (inside * gap[:, None])).sum(axis=1), weights.sum(axis=1))


def reliability(probability: FloatArray, truth: FloatArray, *, bins: int = 15) -> list[ReliabilityBin]:
    """The bins of a reliability diagram that hold anything; `calibration_error` is their mean gap."""
    place = _bin_of(probability, bins)
    return [
        ReliabilityBin(
            low=one / bins,
            high=(one + 1) / bins,
            items=int((place == one).sum()),
            probability=float(probability[place == one].mean()),
            true=float(truth[place == one].mean()),
        )
        for one in np.unique(place).tolist()
    ]


def confusion(truth: IntArray, said: IntArray, classes: int) -> IntArray:
    """Counts, int64 [shape=(classes, classes)]: rows are the truth, columns what was said."""
    flat = np.bincount(np.asarray(truth) * classes + np.asarray(said), minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def paired_t_test(one: Sequence[float] | FloatArray, other: Sequence[float] | FloatArray) -> PairedTest | None:
    """Compare two models by a score of each of the same items (Student, Biometrika 6, 1908).

    The items must be independent of each other: clips of one source are not, so a test over
    clips promises too much; average each source first to test over sources. None for fewer
    than two items.
    """
    from scipy.special import stdtr, stdtrit

    gap = np.asarray(one, float) - np.asarray(other, float)
    if gap.size < 2:
        return None
    mean, error = float(gap.mean()), float(gap.std(ddof=1) / math.sqrt(gap.size))
    constant = math.copysign(math.inf, mean) if mean else 0.0
    t = mean / error if error else constant
    half = float(stdtrit(gap.size - 1, 0.975)) * error
    p = 1.0 if t == 0.0 else float(2 * stdtr(gap.size - 1, -abs(t)))
    return PairedTest(items=int(gap.size), difference=mean, interval=(mean - half, mean + half), t=t, p=p)


def sign_test(one: int, other: int) -> float:
    """Probability, two-sided, of counts at least as unequal if either were as likely (Dixon and Mood, 1946)."""
    total = one + other
    tail = sum(math.comb(total, count) for count in range(max(one, other), total + 1))
    return min(1.0, tail / 2 ** (total - 1)) if total else 1.0


def mean_by_source(values: FloatArray, sources: Sequence[str]) -> FloatArray:
    """Mean of the values of each source, in the order of the sources' names."""
    names, place = np.unique(np.asarray(sources, str), return_inverse=True)
    totals = np.bincount(place, weights=np.asarray(values, float), minlength=len(names))
    return np.asarray(totals / np.bincount(place, minlength=len(names)), float)


def _from_the_top(score: FloatArray, truth: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weight of true and of other items at or above each distinct score, each (rounds, thresholds)."""
    order = np.argsort(-np.asarray(score), kind="stable")
    ordered = np.asarray(score)[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), ordered.size - 1) if ordered.size else np.zeros(0, int)
    ranked = weights[:, order]
    sums = np.cumsum(ranked, axis=1)
    true = np.cumsum(np.multiply(ranked, np.asarray(truth, float)[order], out=ranked), axis=1)
    empty = np.zeros((len(weights), 1))
    positive = np.concatenate([empty, true[:, last]], axis=1)
    return positive, np.concatenate([empty, sums[:, last]], axis=1) - positive


def _bin_of(probability: FloatArray, bins: int) -> IntArray:
    return np.clip((np.asarray(probability) * bins).astype(np.int64), 0, bins - 1)


def _divide(one: FloatArray, other: FloatArray) -> FloatArray:
    return np.asarray(np.divide(one, other, out=np.full(np.shape(one), np.nan), where=np.asarray(other) > 0), float)
