"""How many labels of each kind are wrong, and how probable it is that a certain one is.

Confident learning (Northcutt et al., 2021, by cleanlab) in two passes over batches of any size:

1. the threshold of a class is the mean of its probability over the rows whose label means that class alone;
2. a row counts as the likeliest class among those that reach their threshold: the confident joint, a row
   per value of the metadata, calibrated to as many rows as there are.

A class that no label means alone takes its threshold from the rows in which it is the likeliest, and no
threshold lies below half of that one, or a label that is always wrong would count all rows for itself. A
value no row of which reaches any threshold has no estimate, and is told as such.

For one row ``P(true = j | label, audio)`` is proportional to ``P(j | audio) / P(j) * P(true = j | label)``, where
``P(j)`` is how often the class was among what the networks are calibrated on: all alike, however rare it is in
this catalogue; of tags the mean of ``P(j | audio)``. ``P(true = j | label)`` starts from the confident joint, which
takes every sure error of the audio for one of the label, and is refined in `ROUNDS` passes of expectation and
maximisation, which weigh how sure the audio is. A Dirichlet prior worth `PRIOR_TRACKS` tracks, of which
`PRIOR_WRONG` are wrong, keeps few tracks from making a claim certain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from catalog_tagger.reconcile.beliefs import beliefs
from catalog_tagger.reconcile.joining import Rows
from catalog_tagger.reconcile.mapping import TAGS, LabelField, MetadataMapping

UNMAPPED: Final = -1
MISSING: Final = -2
PRIOR_TRACKS: Final = 4.0
PRIOR_WRONG: Final = 0.05
ROUNDS: Final = 4
_UNREACHABLE: Final = 2.0
_MOST_CELLS: Final = 1 << 22

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What confident learning says of the labels of one field."""

    tracks: npt.NDArray[np.int64]
    """Shape (values,): tracks that carry each value and could be judged."""
    confident: npt.NDArray[np.int64]
    """Shape (values, classes): the calibrated confident joint; zeros where `known` is false."""
    expected: Floats
    """Shape (values, classes): so many of them are expected to be that class, refined."""
    known: npt.NDArray[np.bool_]
    """Shape (values,): whether there is an estimate."""
    rates: Floats
    """Shape (values, classes): P(true | label), smoothed."""
    prior: Floats
    """Shape (classes,): how often each class was among what the scores are calibrated on."""

    def posterior(self, p: Floats, labels: npt.NDArray[np.int64]) -> Floats:
        """P(true | label, audio), shape (rows, classes), for rows that have a label."""
        weighed = p / self.prior * self.rates[labels]
        normal: Floats = weighed / weighed.sum(axis=1, keepdims=True)
        return normal

    def refined(self, sums: Floats, field: LabelField) -> Noise:
        """With what its posteriors add up to, by value and class."""
        expected = sums.reshape(self.expected.shape)
        return replace(self, expected=expected, rates=_rates(field, expected, self.prior))


def labels_of(rows: pa.Table, field: LabelField, i: int) -> npt.NDArray[np.int64]:
    """For each joined row the number of its value among `field.values`, or `UNMAPPED` or `MISSING`."""
    keys = rows[f"k{i}"]
    found = pc.fill_null(pc.index_in(keys, value_set=pa.array(field.values, pa.string())), UNMAPPED)
    labels: npt.NDArray[np.int64] = pc.if_else(pc.is_null(keys), MISSING, found).to_numpy().astype(np.int64)
    return labels


def beliefs_of(rows: pa.Table, field: LabelField, i: int) -> Floats:
    """Probabilities of the classes of field `i` in joined rows; nan where nothing is heard of it."""
    return beliefs(rows, field, [f"p{i}_{j}" for j in range(len(field.classes))])


def estimate(rows: Rows, mapping: MetadataMapping) -> list[Noise]:
    """Pass over the joined rows some times; one `Noise` per field of the mapping."""
    tallies = [
        _Tally.of(total, field) for total, field in _summed(rows.map(partial(_tally, mapping=mapping)), mapping.fields)
    ]
    thresholds = [tally.thresholds(field) for tally, field in zip(tallies, mapping.fields, strict=True)]
    passed = rows.map(partial(_count, mapping=mapping, thresholds=thresholds))
    counts = [total.reshape(len(field.values), len(field.classes)) for total, field in _summed(passed, mapping.fields)]
    noise = [_noise(*of_field) for of_field in zip(mapping.fields, tallies, counts, strict=True)]
    for _ in range(ROUNDS):
        passed = rows.map(partial(_expect, mapping=mapping, noise=noise))
        sums = _summed(passed, mapping.fields)
        noise = [before.refined(total, field) for before, (total, field) in zip(noise, sums, strict=True)]
    return noise


@dataclass(frozen=True, kw_only=True)
class _Tally:
    """Sums over the judged rows of a field."""

    tracks: Floats
    """Shape (values,)."""
    sums: Floats
    """Shape (values, classes): of the probabilities."""
    heard: Floats
    """Shape (classes,): of the probabilities in all rows."""
    likeliest: Floats
    """Shape (classes,): of its probability where a class is the likeliest."""
    times: Floats
    """Shape (classes,): how often it is."""

    @classmethod
    def of(cls, total: Floats, field: LabelField) -> _Tally:
        values, classes = len(field.values), len(field.classes)
        parts = np.split(total, np.cumsum([values, values * classes, classes, classes]))
        return cls(
            tracks=parts[0],
            sums=parts[1].reshape(values, classes),
            heard=parts[2],
            likeliest=parts[3],
            times=parts[4],
        )

    def thresholds(self, field: LabelField) -> Floats:
        """Of each class, shape (classes,)."""
        lone = np.array([[means == {j} for j in range(len(field.classes))] for means in field.means])
        carried = (lone * self.tracks[:, None]).sum(axis=0)
        clear = np.where(self.times > 0, self.likeliest / np.maximum(self.times, 1), 1.0)
        labelled = (lone * self.sums).sum(axis=0) / np.maximum(carried, 1)
        limits: Floats = np.where(carried > 0, np.maximum(labelled, clear / 2), clear)
        return limits


def _tally(rows: pa.Table, mapping: MetadataMapping) -> pa.Table:
    totals = []
    for i, field in enumerate(mapping.fields):
        labels, p = _judged(rows, field, i)
        values, classes = len(field.values), len(field.classes)
        mapped = labels >= 0
        top = p.argmax(axis=1)
        totals.append(
            np.concatenate(
                [
                    np.bincount(labels[mapped], minlength=values),
                    _by_value(labels[mapped], p[mapped], values).ravel(),
                    p.sum(axis=0),
                    np.bincount(top, weights=p.max(axis=1, initial=0.0), minlength=classes),
                    np.bincount(top, minlength=classes),
                ]
            )
        )
    return _as_table(totals)


def _count(rows: pa.Table, mapping: MetadataMapping, thresholds: list[Floats]) -> pa.Table:
    totals = []
    for i, field in enumerate(mapping.fields):
        labels, p = _judged(rows, field, i)
        mapped = labels >= 0
        totals.append(_confident_counts(labels[mapped], p[mapped], thresholds[i], len(field.values)).ravel())
    return _as_table(totals)


def _expect(rows: pa.Table, mapping: MetadataMapping, noise: list[Noise]) -> pa.Table:
    totals = []
    for i, field in enumerate(mapping.fields):
        labels, p = _judged(rows, field, i)
        mapped = labels >= 0
        posterior = noise[i].posterior(p[mapped], labels[mapped])
        totals.append(_by_value(labels[mapped], posterior, len(field.values)).ravel())
    return _as_table(totals)


def _by_value(labels: npt.NDArray[np.int64], weights: Floats, values: int) -> Floats:
    """Sums of rows by label, shape (values, classes)."""
    return np.column_stack([np.bincount(labels, weights=column, minlength=values) for column in weights.T])


def _judged(rows: pa.Table, field: LabelField, i: int) -> tuple[npt.NDArray[np.int64], Floats]:
    p = beliefs_of(rows, field, i)
    heard = np.isfinite(p).all(axis=1)
    return labels_of(rows, field, i)[heard], p[heard]


def _confident_counts(labels: npt.NDArray[np.int64], p: Floats, thresholds: Floats, values: int) -> Floats:
    """The confident joint before calibration, shape (values, classes).

    cleanlab counts labels that are classes. Here the values of the metadata follow the classes as ones that no
    row can reach: values that mean the same stay apart, and none is given a right row that it has not.
    """
    from cleanlab.count import compute_confident_joint  # takes two seconds

    classes = p.shape[1]
    limits = np.concatenate([thresholds, np.full(values, _UNREACHABLE)])
    counts = np.zeros((values, classes))
    step = max(1, _MOST_CELLS // (classes + values))
    for start in range(0, len(labels), step):
        part = np.pad(p[start : start + step], ((0, 0), (0, values)))
        joint = compute_confident_joint(
            labels[start : start + step] + classes, part, thresholds=limits, calibrate=False
        )
        counts += joint[classes:, :classes]
    return counts


def _noise(field: LabelField, tally: _Tally, counts: Floats) -> Noise:
    from cleanlab.count import calibrate_confident_joint

    values, classes = counts.shape
    tracks = tally.tracks.astype(np.int64)
    known = (counts.sum(axis=1) > 0) & (tracks > 0)
    confident = np.zeros((values, classes), np.int64)
    if known.any():
        square = np.zeros((classes + values, classes + values))
        square[classes:, :classes][known] = counts[known]
        carried = np.repeat(np.arange(values) + classes, np.where(known, tracks, 0))
        confident = calibrate_confident_joint(square, carried)[classes:, :classes].astype(np.int64)
    prior = _prior(field, tally)
    expected = confident.astype(np.float64)
    rates = _rates(field, expected, prior)
    return Noise(tracks=tracks, confident=confident, expected=expected, known=known, rates=rates, prior=prior)


def _prior(field: LabelField, tally: _Tally) -> Floats:
    """How often each class was among what the networks' scores were calibrated on, shape (classes,)."""
    classes = len(field.classes)
    heard = tally.heard.sum()
    if field.name == TAGS:
        return tally.heard / heard if heard else np.full(classes, 1 / classes)
    both = np.isin(np.arange(classes), list(field.mixtures))
    weights = np.where(both, 1.0 / max(both.sum(), 1), 1.0)
    prior: Floats = weights / weights.sum()
    return prior


def _rates(field: LabelField, expected: Floats, prior: Floats) -> Floats:
    """P(true | label) by how many are expected, and what is expected of any label."""
    rates = np.empty(expected.shape)
    for value, means in enumerate(field.means):
        right = np.isin(np.arange(len(prior)), list(means))
        base = np.where(right, (1 - PRIOR_WRONG) * _share(prior, right), PRIOR_WRONG * _share(prior, ~right))
        weighed = expected[value] + PRIOR_TRACKS * base / base.sum()
        rates[value] = weighed / weighed.sum()
    return rates


def _share(prior: Floats, among: npt.NDArray[np.bool_]) -> Floats:
    shares: Floats = np.where(among, prior, 0.0) / max(prior[among].sum(), 1e-12)
    return shares


def _as_table(totals: list[Floats]) -> pa.Table:
    return pa.table({"field": np.arange(len(totals)), "total": pa.array([t.tolist() for t in totals], _TOTAL)})


_TOTAL: Final = pa.list_(pa.float64())


def _summed(parts: Iterable[pa.Table], fields: tuple[LabelField, ...]) -> Iterable[tuple[Floats, LabelField]]:
    sums: list[Floats | None] = [None] * len(fields)
    for part in parts:
        for field, total in zip(part["field"].to_pylist(), part["total"].to_pylist(), strict=True):
            values = np.array(total, np.float64)
            before = sums[field]
            sums[field] = values if before is None else before + values
    return [(total, field) for total, field in zip(sums, fields, strict=True) if total is not None]
