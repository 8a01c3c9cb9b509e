"""Landmarks: three peaks near each other, as a key that says how they lie to one another.

A landmark is an *anchor* and two later peaks within `REACH_FRAMES` and `REACH_BINS` of it. Its key holds the
distances of both in frames and in bins, and in its lowest byte the anchor's bin::

    bits 25-29   frames to the nearer of the two      bits 14-19   its bins, + 32
    bits 20-24   frames to the other                  bits  8-13   its bins, + 32
                                                      bits  0-7    bin of the anchor, + 8

On an axis of log-frequency a transposition moves all bins alike, so it changes the lowest byte alone: songs
transposed by up to `n` bins have keys within `n` of each other, one range of a sorted list. Changes of speed
by 2 % move the distances by less than half a frame. Two peaks would tell far fewer songs apart: the keys of
triplets hold 24 bits that differ between songs, those of pairs 12.

Time is counted in hops of the CQT-gram (371 samples, 23.19 ms) from the start of the recording. A segment's
5 s are no whole number of hops: its frame `f` lies at ``segment * 80000 / 371 + f``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.audio import SAMPLE_RATE_HZ, SEGMENT_SAMPLES

_HOP_SAMPLES: Final = 371  # of the CQT-gram
HOP_S: Final = _HOP_SAMPLES / SAMPLE_RATE_HZ
SEGMENT_FRAMES: Final = SEGMENT_SAMPLES / _HOP_SAMPLES
BINS: Final = 144
REACH_FRAMES: Final = 22
REACH_BINS: Final = 24
#: later peaks that an anchor is joined with, in pairs: of songs, and of what is searched for them
SONG_FAN: Final = 4
SHOW_FAN: Final = 12

_LEAST_FRAMES: Final = 1.5
_AHEAD: Final = 64
_ROWS: Final = 1 << 15


@dataclass(frozen=True)
class Peaks:
    """Peaks of a recording, by time and then by bin.

    Attributes
    ----------
    frame
        Time in hops, float64 [shape=(n,)].
    bin
        int64 [shape=(n,)].
    """

    frame: npt.NDArray[np.float64]
    bin: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.frame.shape != self.bin.shape or self.frame.ndim != 1:
            raise ValueError(f"peaks need a bin each, not {self.frame.shape} and {self.bin.shape}")

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of a recording.

    Attributes
    ----------
    key
        uint32 [shape=(n,)].
    frame
        Of the anchor, in hops, float32 [shape=(n,)].
    """

    key: npt.NDArray[np.uint32]
    frame: npt.NDArray[np.float32]

    @property
    def bin(self) -> npt.NDArray[np.int64]:
        """Of the anchor."""
        return (self.key & 0xFF).astype(np.int64) - 8

    def __len__(self) -> int:
        return len(self.key)


def peaks_of(codes: npt.NDArray[np.int16], *, first: int = 0) -> Peaks:
    """The peaks of consecutive segments.

    Parameters
    ----------
    codes
        Of `peaks.pick_peaks`, [shape=(segments, peaks)]; those below 0 are none.
    first
        Number of the first segment in the recording.
    """
    segment, place = np.nonzero(codes >= 0)
    return peaks_at(first + segment, codes[segment, place].astype(np.int64))


def peaks_at(segment: npt.NDArray[np.int64], code: npt.NDArray[np.int64]) -> Peaks:
    """Peaks by the number of their segment and their code in it, both [shape=(n,)], in any order."""
    frame = (segment * SEGMENT_FRAMES + code // BINS).astype(np.float64)
    order = np.lexsort((code % BINS, frame))
    return Peaks(frame=frame[order], bin=(code % BINS)[order])


def landmarks_of(peaks: Peaks, *, fan: int) -> Landmarks:
    """All landmarks of an anchor with two of the `fan` peaks nearest to it, for every peak as anchor.

    Near is what comes soon; of what comes as soon, what lies nearer in frequency.
    """
    parts = [_landmarks(peaks, start, min(start + _ROWS, len(peaks)), fan) for start in range(0, len(peaks), _ROWS)]
    if not parts:
        return Landmarks(np.zeros(0, np.uint32), np.zeros(0, np.float32))
    return Landmarks(np.concatenate([one.key for one in parts]), np.concatenate([one.frame for one in parts]))


def _landmarks(peaks: Peaks, start: int, stop: int, fan: int) -> Landmarks:
    anchor = np.arange(start, stop)[:, None]
    later = anchor + np.arange(1, _AHEAD + 1)
    there = later < len(peaks)
    later = np.minimum(later, len(peaks) - 1)
    frames = peaks.frame[later] - peaks.frame[anchor]
    bins = peaks.bin[later] - peaks.bin[anchor]
    there &= (frames >= _LEAST_FRAMES) & (frames < REACH_FRAMES - 0.5) & (np.abs(bins) <= REACH_BINS)
    far = np.where(there, frames + 0.3 * np.abs(bins), np.inf)
    chosen = np.argpartition(far, fan - 1, axis=1)[:, :fan]
    chosen.sort(axis=1)
    there = np.take_along_axis(there, chosen, 1)
    frames = np.rint(np.take_along_axis(frames, chosen, 1)).astype(np.int64)
    bins = np.take_along_axis(bins, chosen, 1)
    one, other = np.triu_indices(fan, 1)
    row, pair = np.nonzero(there[:, one] & there[:, other])
    one, other = one[pair], other[pair]
    near, far_one = _told(frames[row, one], bins[row, one]), _told(frames[row, other], bins[row, other])
    near, far_one = np.minimum(near, far_one), np.maximum(near, far_one)  # one order, whatever was found first
    key = (near >> 6) << 25 | (far_one >> 6) << 20 | (near & 63) << 14 | (far_one & 63) << 8
    anchors = start + row
    return Landmarks((key | peaks.bin[anchors] + 8).astype(np.uint32), peaks.frame[anchors].astype(np.float32))


def _told(frames: npt.NDArray[np.int64], bins: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return frames << 6 | bins + 32
