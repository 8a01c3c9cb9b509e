"""Two models on the same items, by Student's paired t-test.

Two quantities of each item are compared: whether it is right, by the task's primary definition, and
its squared error (Brier, 1950), the mean over its known labels, which also sees by how much. Tests
over items take every clip as independent, which clips of one source are not: they say how the models
compare on more clips of these sources. Tests over sources average each source first: they say how
the models compare on other sources, and need several of them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from catalog_tagger.training.definitions import Definitions
from catalog_tagger.training.figures import number
from catalog_tagger.training.items import Items
from catalog_tagger.training.metrics import mean_by_source, paired_t_test


def compare(definitions: Definitions, one: Items, other: Items) -> dict[str, Any]:
    """Tests of the first model against the second, ready for JSON.

    Answers ``{quantity: {"one", "other", "items": TEST, "sources": TEST}}`` for the quantities
    `right` and `squared_error`; a test is `metrics.PairedTest` as a mapping, or null where there
    are too few items. A positive difference of `right` and a negative one of `squared_error` speak
    for the first model.
    """
    first, second = (definitions.shares(items)[definitions.primary] for items in (one, other))
    counted = first[1] & second[1]
    answer = {"right": _tests(first[0][counted], second[0][counted], one.sources, counted)}
    known = np.asarray(~np.isnan(one.truth).all(axis=1), bool)
    answer["squared_error"] = _tests(
        _squared_error(definitions, one)[known], _squared_error(definitions, other)[known], one.sources, known
    )
    return {"definition": definitions.primary, **answer}


def _squared_error(definitions: Definitions, items: Items) -> npt.NDArray[np.floating]:
    gap = np.square(definitions.values(items) - items.truth)
    known = np.maximum((~np.isnan(gap)).sum(axis=1), 1)
    return np.asarray(np.nansum(gap, axis=1) / known)


def _tests(
    one: npt.NDArray[Any], other: npt.NDArray[Any], sources: tuple[str, ...], used: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    names = [source for source, use in zip(sources, used, strict=True) if use]
    first, second = one.astype(float), other.astype(float)
    return {
        "one": number(first.mean()) if first.size else None,
        "other": number(second.mean()) if second.size else None,
        "items": _test(first, second),
        "sources": _test(mean_by_source(first, names), mean_by_source(second, names)),
    }


def _test(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> dict[str, Any] | None:
    found = paired_t_test(one, other)
    if found is None:
        return None
    low, high = found.interval
    return {
        **asdict(found),
        "difference": number(found.difference),
        "interval": [number(low), number(high)],
        "t": number(found.t),
        "p": float(f"{found.p:.3g}"),
    }
