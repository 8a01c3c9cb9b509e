"""The landmarks of songs, sorted by key, so that all that resemble a key lie side by side.

A landmark of a song that is transposed by up to `n` bins has a key within `n` (see `landmarks`), hence a
look-up is one range of the sorted keys, found by bisection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.fingerprints.landmarks import SONG_FAN, Landmarks, Peaks, landmarks_of

#: bits of a key that tell its anchor's bin
_BIN_BITS: Final = 8
_SHAPES: Final = 1 << 22
#: hops, more than a song has
SONG_APART: Final = float(1 << 24)


@dataclass(frozen=True)
class Hits:
    """Landmarks of a recording that resemble landmarks of songs; all arrays [shape=(hits,)].

    Attributes
    ----------
    song
        Number of the song.
    frame
        Where in the recording, in hops.
    offset
        What is added to `frame` to be at that place in the song, in hops.
    bins
        By how many bins the song is lower in the recording.
    """

    song: npt.NDArray[np.int32]
    frame: npt.NDArray[np.float32]
    offset: npt.NDArray[np.float32]
    bins: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.song)

    def only(self, songs: npt.NDArray[np.int64], *, among: int) -> Hits:
        """Those of some of `among` songs, by song."""
        wanted = np.zeros(among, bool)
        wanted[songs] = True
        chosen = np.flatnonzero(wanted[self.song])
        chosen = chosen[np.argsort(self.song[chosen], kind="stable")]
        return Hits(self.song[chosen], self.frame[chosen], self.offset[chosen], self.bins[chosen])

    def of(self, song: int) -> slice:
        """Where the hits of a song lie, of hits by song."""
        return slice(*np.searchsorted(self.song, [song, song + 1]).tolist())


@dataclass(frozen=True)
class Ranges:
    """Where in an index lies what resembles each of some landmarks, those that resemble anything.

    Attributes
    ----------
    landmark
        Number of the landmark, ascending by key [shape=(n,)].
    low, count
        The first posting and how many follow [shape=(n,)].
    """

    landmark: npt.NDArray[np.int64]
    low: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]


@dataclass(frozen=True)
class SongIndex:
    """Landmarks of songs by key, and their peaks.

    Attributes
    ----------
    key, frame, song
        Of each landmark: its key, where in its song its anchor lies, in hops, and the number of the song.
    peaks
        Of each song.
    """

    key: npt.NDArray[np.uint32]
    frame: npt.NDArray[np.float32]
    song: npt.NDArray[np.int32]
    peaks: tuple[Peaks, ...]

    def __len__(self) -> int:
        return len(self.key)

    @cached_property
    def shapes(self) -> npt.NDArray[np.bool_]:
        """Whether any landmark has a key that begins like that [shape=(2^22,)].

        Most of a recording's landmarks resemble none, and bisection in a long list takes longer than a look
        into a short one.
        """
        shapes = np.zeros(_SHAPES, bool)
        shapes[self.key >> _BIN_BITS] = True
        return shapes

    @cached_property
    def lengths(self) -> npt.NDArray[np.float64]:
        """Of each song, in hops, up to its last peak."""
        return np.array([one.frame[-1] if len(one) else 0.0 for one in self.peaks])

    @cached_property
    def places(self) -> npt.NDArray[np.float64]:
        """Of all songs' peaks, where they are: the number of the song times `SONG_APART`, and the frame."""
        every = [number * SONG_APART + one.frame for number, one in enumerate(self.peaks)]
        return np.concatenate([np.zeros(0), *every])

    @cached_property
    def bins(self) -> npt.NDArray[np.int16]:
        """Of all songs' peaks, as `places`."""
        return np.concatenate([np.zeros(0, np.int16), *(one.bin.astype(np.int16) for one in self.peaks)])

    def ranges(self, landmarks: Landmarks, *, bins: int) -> Ranges:
        """Where every landmark of a song transposed by at most `bins` bins lies that resembles one of `landmarks`."""
        likely = np.flatnonzero(self.shapes[landmarks.key >> _BIN_BITS])
        # in the order of the keys neighbours of one look-up are at hand for the next
        likely = likely[np.argsort(landmarks.key[likely])]
        low = np.searchsorted(self.key, landmarks.key[likely] - np.uint32(bins))
        count = np.searchsorted(self.key, landmarks.key[likely] + np.uint32(bins), side="right") - low
        there = np.flatnonzero(count)
        return Ranges(likely[there], low[there], count[there])

    def hits(self, landmarks: Landmarks, ranges: Ranges) -> Hits:
        """What lies in some ranges."""
        asked = np.repeat(ranges.landmark, ranges.count)
        begins = np.cumsum(ranges.count) - ranges.count
        found = np.arange(len(asked)) + np.repeat(ranges.low - begins, ranges.count)
        frame = landmarks.frame[asked]
        bins = (self.key[found].astype(np.int64) - landmarks.key[asked]).astype(np.int8)
        return Hits(song=self.song[found], frame=frame, offset=self.frame[found] - frame, bins=bins)


def index_songs(songs: Sequence[Peaks]) -> SongIndex:
    """The index of songs, each by the peaks it is known by (`peaks.SONG_PEAKS` of a segment)."""
    found = [landmarks_of(one, fan=SONG_FAN) for one in songs]
    key = np.concatenate([np.zeros(0, np.uint32), *(one.key for one in found)])
    frame = np.concatenate([np.zeros(0, np.float32), *(one.frame for one in found)])
    song = np.repeat(np.arange(len(found), dtype=np.int32), [len(one) for one in found])
    order = np.argsort(key, kind="stable")
    return SongIndex(key=key[order], frame=frame[order], song=song[order], peaks=tuple(songs))
