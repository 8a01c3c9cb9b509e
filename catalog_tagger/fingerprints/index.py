"""The landmarks of songs, sorted by key, so that all that resemble a key lie side by side.

A landmark of a song that is transposed by up to `n` bins has a key within `n` (see `landmarks`), hence a
look-up is one range of the sorted keys, found by bisection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catalog_tagger.fingerprints.landmarks import SONG_FAN, Landmarks, Peaks, landmarks_of


@dataclass(frozen=True)
class Hits:
    """Landmarks of a recording that resemble landmarks of songs, by song; all arrays [shape=(hits,)].

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
    bins: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.song)

    def of(self, song: int) -> slice:
        """Where the hits of a song lie."""
        return slice(*np.searchsorted(self.song, [song, song + 1]).tolist())


@dataclass(frozen=True)
class SongIndex:
    """Landmarks of songs by key, and their peaks.

    Attributes
    ----------
    key, frame, song
        Of each landmark: its key, where in its song its anchor lies, and the number of the song.
    peaks
        Of each song.
    shapes
        Whether any landmark has a key that begins like that [shape=(2^22,)]: most of a recording's resemble
        none, and bisection in a long list takes longer than a look into a short one.
    """

    key: npt.NDArray[np.uint32]
    frame: npt.NDArray[np.float32]
    song: npt.NDArray[np.int32]
    peaks: tuple[Peaks, ...]
    shapes: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.key)

    def hits(self, landmarks: Landmarks, *, bins: int) -> Hits:
        """Every landmark of a song transposed by at most `bins` bins that resembles one of `landmarks`."""
        likely = np.flatnonzero(self.shapes[landmarks.key >> 8])
        low = np.searchsorted(self.key, landmarks.key[likely] - np.uint32(bins))
        count = np.searchsorted(self.key, landmarks.key[likely] + np.uint32(bins), side="right") - low
        asked = np.repeat(likely, count)
        found = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
        order = np.argsort(self.song[found], kind="stable")
        asked, found = asked[order], found[order]
        frame, key = landmarks.frame[asked], self.key[found]
        return Hits(
            song=self.song[found],
            frame=frame,
            offset=self.frame[found] - frame,
            bins=key.astype(np.int64) - landmarks.key[asked].astype(np.int64),
        )


def index_songs(songs: Sequence[Peaks]) -> SongIndex:
    """The index of songs, each by the peaks it is known by (`peaks.SONG_PEAKS` of a segment)."""
    found = [landmarks_of(one, fan=SONG_FAN) for one in songs]
    key = np.concatenate([np.zeros(0, np.uint32), *(one.key for one in found)])
    frame = np.concatenate([np.zeros(0, np.float32), *(one.frame for one in found)])
    song = np.repeat(np.arange(len(found), dtype=np.int32), [len(one) for one in found])
    order = np.argsort(key, kind="stable")
    shapes = np.zeros(1 << 22, bool)
    shapes[key >> 8] = True
    return SongIndex(key=key[order], frame=frame[order], song=song[order], peaks=tuple(songs), shapes=shapes)
