"""Sketches: a few landmarks of a track by which two copies of a recording find each other.

Of all landmarks of a track (by the peaks that songs are known by) those with the `SIZE` smallest hashes are kept. Two
copies of a recording, in other codecs, levels and lengths of silence before, share a third of their landmarks and
more, so a third of the kept ones agree, too: the smallest hashes of a set are a sample of it that does
not depend on what else is in the set (Broder, 1997, "On the resemblance and containment of documents", section 4).
A sketch is as large for a jingle as for an audiobook of ten hours.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.fingerprints.landmarks import Landmarks

SIZE: Final = 192
_QUARTERS: Final = 4


def sketch(landmarks: Landmarks) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int32]]:
    """Hashes, ascending, and their places in quarters of a hop; of equal landmarks the first.

    Parameters
    ----------
    landmarks
        Of a track, by frame.
    """
    hashes, first = np.unique(_mixed(landmarks.key), return_index=True)
    kept = first[:SIZE]
    return hashes[:SIZE], np.rint(landmarks.frame[kept] * _QUARTERS).astype(np.int32)


def _mixed(key: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Keys in an order that has nothing to do with them (the finalizer of MurmurHash3, Appleby)."""
    mixed: npt.NDArray[np.uint32] = key.copy()
    mixed ^= mixed >> np.uint32(16)
    mixed *= np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    mixed *= np.uint32(0xC2B2AE35)
    mixed ^= mixed >> np.uint32(16)
    return mixed
