"""Figures with their uncertainty.

Clips of one source resemble each other, so the bootstrap resamples whole sources; it says how the
figure would move on other collections. Wilson's interval treats every item as independent; it says
how the figure would move on more items of the same collections, and holds when all are right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
_Z: Final = 1.959964


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


def wilson(right: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson, JASA 22, 1927)."""
    if of == 0:
        return 0.0, 1.0
    p, z2 = right / of, _Z * _Z
    middle = (p + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z * math.sqrt(p * (1 - p) / of + z2 / (4 * of * of)) / (1 + z2 / of)
    return max(0.0, middle - half), min(1.0, middle + half)


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


def f_measure(predicted: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Precision, recall and their harmonic mean; 0 where there is nothing to divide by."""
    both = int(np.sum(predicted & truth))
    precision = both / max(1, int(predicted.sum()))
    recall = both / max(1, int(truth.sum()))
    total = precision + recall
    return {
        "precision": precision,
        "recall": recall,
        "f": 2 * precision * recall / total if total else 0.0,
    }


def calibration_error(probability: FloatArray, truth: FloatArray, *, bins: int = 15) -> float:
    """Expected calibration error: mean gap between confidence and truth in equal-width bins.

    Guo et al., "On calibration of modern neural networks", ICML 2017, for one binary output.
    """
    if probability.size == 0:
        return 0.0
    place = np.minimum((probability * bins).astype(int), bins - 1)
    total = 0.0
    for one in range(bins):
        inside = place == one
        if inside.any():
            total += abs(float(probability[inside].mean() - truth[inside].mean())) * inside.sum()
    return float(total / probability.size)
