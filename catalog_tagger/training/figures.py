"""All figures of a set of clips, as plain data: what cards hold and pages show.

`figures` answers ``{"segments": LEVEL, "clips": LEVEL, "over", "sources": [...], "languages": [...]}``. A
LEVEL has `items`, each share of the task's definitions by its name (`metrics.Share`), `calibration_error`
per label, `labels` (per label: items that are true and known, and each of `PER_LABEL` as ``{"value",
"over_sources"}``) and `mean` (the same of `MEANS`). Figures that do not exist are null, infinite ones
(d-prime of an area of 1) the text "inf". Precision, recall and F are those of a threshold of 0.5, AUC and
its d-prime those of any.

`over_sources` draws `sources` anew or, where all is of one source, `recordings` and voices: `over` says
which. It is null where what a figure is made of comes from fewer than two of them: positives, for an AUC
others too, predictions for a precision; for a mean over labels, where half of them have no interval.
The bootstrap is one of percentiles, with two exceptions: d-prime has the ends of its AUC, and a
calibration error, which grows by drawing alone, is moved back by as much as its median did.

`details` answers what is too long for a card: reliability bins and confusion.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.training.definitions import Definitions
from catalog_tagger.training.items import Items
from catalog_tagger.training.metrics import (
    areas_each,
    average_precision_at,
    bootstrap,
    calibration_error_each,
    confusion,
    d_prime,
    precision_recall_f_each,
    reliability,
    share,
)

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]
PER_LABEL: Final = ("precision", "recall", "f", "average_precision", "auc", "d_prime", "calibration_error")
#: means over the labels where the figure exists; d-prime is that of the mean AUC, as is published
MEANS: Final = ("f", "map", "auc", "d_prime", "calibration_error", "map_at_3")
_RANKED_LABELS: Final = 4
_ROUNDS: Final = 500
_BINS: Final = 15


def figures(definitions: Definitions, *, segments: Items, clips: Items) -> dict[str, Any]:
    """Figures of both levels, per source, and per language where any is known."""
    levels = {"segments": segments, "clips": clips}
    answer: dict[str, Any] = {name: _level(definitions, items) for name, items in levels.items()}
    answer["over"] = clips.over
    answer["sources"] = _rows(definitions, levels, "source")
    if any(clips.languages):
        answer["languages"] = _rows(definitions, levels, "language")
    return answer


def details(definitions: Definitions, items: Items) -> dict[str, Any]:
    """Reliability bins per label, each [low, high, items, mean probability, share true], and the confusion."""
    bins, values = {}, definitions.values(items)
    for column, label in enumerate(definitions.labels):
        known = ~np.isnan(items.truth[:, column])
        found = reliability(values[known, column], items.truth[known, column], bins=_BINS)
        bins[label] = [
            [round(one.low, 4), round(one.high, 4), one.items, round(one.probability, 4), round(one.true, 4)]
            for one in found
        ]
    true, said = definitions.true_class(items), definitions.said_class(items)
    counts = confusion(true[true >= 0], said[true >= 0], len(definitions.classes))
    return {"reliability": bins, "confusion": {"classes": list(definitions.classes), "counts": counts.tolist()}}


def number(value: float) -> float | None:
    """Rounded for JSON; None for what does not exist or is infinite."""
    return round(float(value), 4) if math.isfinite(value) else None


def number_or_infinite(value: float) -> float | str | None:
    """Rounded for JSON; "inf" or "-inf" for what is infinite, None for what does not exist."""
    return str(float(value)) if math.isinf(value) else number(value)


def _level(definitions: Definitions, items: Items) -> dict[str, Any]:
    drawn = np.array(items.drawn, str)
    answer: dict[str, Any] = {"items": len(items)}
    for name, (right, counted) in definitions.shares(items).items():
        answer[name] = share(right[counted].tolist(), drawn[counted].tolist()).to_json()
    per_label = iter(_with_ends(definitions.values(items), items))
    answer["labels"] = {
        label: {
            "true": int((items.truth[:, column] == 1).sum()),
            "known": int((~np.isnan(items.truth[:, column])).sum()),
            **{name: next(per_label) for name in PER_LABEL},
        }
        for column, label in enumerate(definitions.labels)
    }
    answer["mean"] = {name: next(per_label) for name in MEANS}
    answer["calibration_error"] = {label: one["calibration_error"]["value"] for label, one in answer["labels"].items()}
    return answer


def _with_ends(values: FloatArray, items: Items) -> Iterator[dict[str, Any]]:
    """`PER_LABEL` of each label, then `MEANS`, each with its interval."""
    values, truth = values.astype(float), items.truth
    names = [*(name for _ in range(truth.shape[1]) for name in PER_LABEL), *MEANS]
    points = _statistics(values, truth, np.ones((1, len(items))))[0]
    low, middle, high = bootstrap(
        lambda weights: _statistics(values, truth, weights),
        items.drawn,
        rounds=_ROUNDS,
        quantiles=(0.025, 0.5, 0.975),
    )
    ends = np.stack([low, high], axis=1)
    for at, name in enumerate(names):
        if name == "calibration_error":
            ends[at] = np.maximum(points[at] + ends[at] - middle[at], 0.0)
        elif name == "d_prime":  # the area stands before it; rounds without an end to d-prime are no gaps
            ends[at] = [d_prime(float(end)) for end in ends[at - 1]]
    for value, pair, enough in zip(points, ends, _from_several(values, items, points), strict=True):
        exists = enough and not np.isnan(pair).any()
        yield {
            "value": number_or_infinite(value),
            "over_sources": [number_or_infinite(end) for end in pair] if exists else None,
        }


def _from_several(values: FloatArray, items: Items, points: FloatArray) -> list[bool]:
    """Whether two sources at least make up each figure, in the order of `_statistics`, which gave `points`."""
    drawn, truth = np.array(items.drawn, str), items.truth

    def several(used: BoolArray) -> bool:
        return len(set(drawn[used].tolist())) > 1

    each = []
    for column in range(truth.shape[1]):
        known = ~np.isnan(truth[:, column])
        there, absent = several(truth[:, column] == 1), several(truth[:, column] == 0)
        said = several(known & (values[:, column] >= 0.5))
        both = there and absent
        each.append((said, there, there, there, both, both, several(known)))
    exists = ~np.isnan(points[: len(each) * len(PER_LABEL)].reshape(len(each), len(PER_LABEL)))
    place = {name: at for at, name in enumerate(PER_LABEL)}

    def most(name: str) -> bool:
        at = place[name]
        return 2 * sum(label[at] for label in each) > int(exists[:, at].sum())

    ranked = several((truth == 1).any(axis=1))
    means = [*(most(name) for name in ("f", "average_precision", "auc", "auc", "calibration_error")), ranked]
    return [*(one for label in each for one in label), *means]


def _statistics(values: FloatArray, truth: FloatArray, weights: FloatArray) -> FloatArray:
    """`PER_LABEL` of each label, then `MEANS`, (rounds, figures)."""
    columns = []
    for column in range(truth.shape[1]):
        known = ~np.isnan(truth[:, column])
        score, true, weight = values[known, column], truth[known, column], weights[:, known]
        precision, auc = areas_each(score, true, weight).T
        columns.append(
            np.stack(
                [
                    *precision_recall_f_each(score >= 0.5, true > 0, weight).T,
                    precision,
                    auc,
                    _d_prime_each(auc),
                    calibration_error_each(score, true, weight, bins=_BINS),
                ]
            )
        )
    each = np.stack(columns)  # (labels, figures, rounds)
    place = {name: at for at, name in enumerate(PER_LABEL)}
    f, average_precision, auc, error = (
        _mean_known(each[:, place[name]]) for name in ("f", "average_precision", "auc", "calibration_error")
    )
    means = [f, average_precision, auc, _d_prime_each(auc), error, _map_at_3_each(values, truth, weights)]
    return np.asarray(np.concatenate([each.reshape(-1, len(weights)), np.stack(means)]).T)


def _mean_known(each: FloatArray) -> FloatArray:
    known = ~np.isnan(each)
    total = np.where(known, each, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def _d_prime_each(auc: FloatArray) -> FloatArray:
    return np.array([d_prime(float(one)) for one in auc])


def _map_at_3_each(values: FloatArray, truth: FloatArray, weights: FloatArray) -> FloatArray:
    """NaN for so few labels that three of them are nearly all."""
    if truth.shape[1] < _RANKED_LABELS:
        return np.full(len(weights), np.nan)
    each = average_precision_at(values, truth)
    ranked = ~np.isnan(each)
    count = weights[:, ranked].sum(axis=1)
    return np.where(count > 0, weights[:, ranked] @ each[ranked] / np.maximum(count, 1e-12), np.nan)


def _rows(definitions: Definitions, levels: dict[str, Items], key: str) -> list[dict[str, Any]]:
    """One row per source or known language and kind of truth: items and shares at both levels."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for level, items in levels.items():
        groups = np.array(items.sources if key == "source" else items.languages, str)
        shares = definitions.shares(items)
        for kind, is_kind in _kinds(definitions, items):
            for group in sorted(set(groups[is_kind].tolist()) - {""}):
                here = is_kind & (groups == group)
                row = rows.setdefault((kind, group), {"truth": kind, key: group})
                row[level] = int(here.sum())
                for name in definitions.per_source:
                    right, counted = shares[name]
                    if (here & counted).any():
                        row[f"{level}_{name}"] = number(right[here & counted].mean())
    return [rows[at] for at in sorted(rows)]


def _kinds(definitions: Definitions, items: Items) -> Sequence[tuple[str, npt.NDArray[np.bool_]]]:
    known = np.asarray(~np.isnan(items.truth).all(axis=1), bool)
    if definitions.classes == definitions.labels:  # too many to be told apart per source
        return [("any label", known)]
    true = definitions.true_class(items)
    return [(name, np.asarray(true == at, bool)) for at, name in enumerate(definitions.classes)]
