"""Where in a track songs may be heard, by the scores of its segments.

Segments with ``p_music`` of at least `_MAYBE`, those in which nobody speaks for sure, and `SEARCHED_BESIDE` more to
each side, since music under a voice is heard less surely than it is there: these are searched. All peaks are kept
of them and of `KEPT_BESIDE` segments to each side, where the matcher looks for what chance would give.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

_MAYBE: Final = 0.1
_SPEAKS: Final = 0.5
SEARCHED_BESIDE: Final = 1
KEPT_BESIDE: Final = 3

Bools = npt.NDArray[np.bool_]


def may_hold_music(p_speech: npt.NDArray[np.float32], p_music: npt.NDArray[np.float32], *, beside: int) -> Bools:
    """Whether each segment, or one of `beside` to each side of it, may hold music [shape=(segments,)]."""
    maybe: Bools = (p_music >= _MAYBE) | (p_speech < _SPEAKS)
    return near(maybe, beside=beside)


def near(inside: Bools, *, beside: int) -> Bools:
    """Whether each segment, or one of `beside` to each side of it, is inside [shape=(segments,)]."""
    wider: Bools = inside.copy()
    for far in range(1, beside + 1):
        wider[far:] |= inside[:-far]
        wider[:-far] |= inside[far:]
    return wider
