"""How right a list of claims is expected to be, and where it is cut.

Claims of one kind and field, surest first: the expected precision of those that are at least so sure is the
mean of their confidences. The list is cut at the lowest confidence at which it still reaches what is asked.

The 95 % interval is of the share that will be found right. It adds two uncertainties: whether each claim is right
(Poisson-binomial), and by how much the confidences of that kind are off as a whole, a shift of their log odds whose
spread is 1 before any editor has decided and less with every decision (`decisions`). It is no narrower than
Wilson's, whose pseudo-count of ``z²`` claims that are right by half keeps three sure claims from being called certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.reconcile.decisions import Shift

#: the surest claims at which the list is described, beside the cut
LEVELS: Final = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999)
_Z: Final = 1.959964

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Precision:
    """What to expect of the claims that are at least so sure."""

    confidence: float
    flags: int
    expected: float
    low: float
    high: float
    is_cut: bool


def interval(confidences: Floats, *, spread: float) -> tuple[float, float]:
    """The 95 % interval of the precision of some claims, at least one.

    Parameters
    ----------
    spread
        Standard deviation of the shift of their log odds.
    """
    n, squared, mean = len(confidences), _Z**2, float(confidences.mean())
    middle = (mean * n + squared / 2) / (n + squared)
    wilson = _Z / (n + squared) * np.sqrt(np.sum(confidences * (1.0 - confidences)) + squared / 4)
    ends = []
    for side in (-1.0, 1.0):
        shifted = Shift(mean=side * _Z * spread).applied(confidences)
        chance = _Z / n * np.sqrt(max(np.sum(one * (1.0 - one)) for one in (confidences, shifted)))
        half = np.hypot(shifted.mean() - mean, chance) + 0.5 / n  # a share moves in steps of 1 / n
        ends.append((mean + side * half, middle + side * wilson))
    return max(0.0, float(min(ends[0]))), min(1.0, float(max(ends[1])))


def cut_at(confidences: Floats, precision: float) -> float | None:
    """The lowest confidence at which the list still has this expected precision; None where it never has."""
    order = np.sort(confidences)[::-1]
    reached = np.cumsum(order) / np.arange(1, len(order) + 1) >= precision
    # those of one confidence come or go together
    last = np.append(order[1:] < order[:-1], True)
    kept = np.flatnonzero(reached & last)
    return float(order[kept[-1]]) if len(kept) else None


def describe(confidences: Floats, *, precision: float, spread: float) -> list[Precision]:
    """The list at each of `LEVELS` that leaves any claim, and at its cut, lowest confidence first."""
    cut = cut_at(confidences, precision)
    levels = sorted({*LEVELS, *(() if cut is None else (cut,))})
    told = []
    for level in levels:
        kept = confidences[confidences >= level]
        if len(kept):
            low, high = interval(kept, spread=spread)
            told.append(
                Precision(
                    confidence=level,
                    flags=len(kept),
                    expected=float(kept.mean()),
                    low=low,
                    high=high,
                    is_cut=level == cut,
                )
            )
    return told
