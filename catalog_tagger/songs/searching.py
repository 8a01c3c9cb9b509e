"""Shows searched for the songs of one segment.

Only stretches in which music may be heard are searched (`fingerprints.where`). The whole of it is a function of
one segment of the index and some shards; what several segments say of a show is settled afterwards (`settling`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

import numpy as np
import numpy.typing as npt

from catalog_tagger.audio import SEGMENT_S
from catalog_tagger.fingerprints.chance import least_score
from catalog_tagger.fingerprints.matching import find_songs
from catalog_tagger.fingerprints.where import SEARCHED_BESIDE, may_hold_music
from catalog_tagger.songs.keeping import Found, Searched, Stretches, keep, kept
from catalog_tagger.songs.recordings import Recording, Shard, recordings
from catalog_tagger.songs.segments import Segment, read_segment
from catalog_tagger.storage import Store

_SURELY: Final = 0.5
SEMITONE_BINS: Final = 2


@dataclass(frozen=True)
class SearchTask:
    """Shows to search for the songs of a segment."""

    warehouse: str
    segment: str | None
    """None where there are no songs: the music of the shows is told all the same."""
    shards: tuple[tuple[Shard, frozenset[str]], ...]
    """With the tracks of each that a later run has replaced."""
    gone: frozenset[tuple[str, str]]
    """``(track_id, run_id)`` of songs of the segment that are not current any more."""
    songs_s: float
    """Seconds of all songs of the index."""
    most_false: float
    part: int = 0
    parts: int = 1
    """Only tracks whose ids fall into one part of so many."""

    @property
    def depends_on(self) -> list[str]:
        """All that decides what is found."""
        files = [f"{shard.run_id}/{shard.name}/{','.join(sorted(replaced))}" for shard, replaced in self.shards]
        gone = [f"{run_id}/{track_id}" for track_id, run_id in sorted(self.gone)]
        return [*map(str, (self.segment, self.songs_s, self.most_false, self.part, self.parts)), *files, *gone]


def search(task: SearchTask) -> list[Searched]:
    """Search; one entry for each show with stretches that may hold music.

    Raises
    ------
    StorageError
        A file is missing or damaged.
    """
    store = Store(task.warehouse)
    before = kept(store, task.depends_on)
    if before is not None:
        return before
    segment = None if task.segment is None else read_segment(store, task.segment)
    shows = []
    for shard, replaced in task.shards:
        for show in recordings(store, shard, replaced=replaced, songs=False):
            if task.parts == 1 or crc32(show.track_id.encode()) % task.parts == task.part:
                searched = may_hold_music(show.p_speech, show.p_music, beside=SEARCHED_BESIDE)
                stretches = stretches_of(searched, show.duration_s)
                if stretches:
                    found = () if segment is None else _found(segment, show, stretches, task)
                    music = stretches_of(show.p_music >= _SURELY, show.duration_s)
                    shows.append(Searched(show.track_id, show.shard.run_id, stretches, music, found))
    keep(store, task.depends_on, shows)
    return shows


def _found(segment: Segment, show: Recording, stretches: Stretches, task: SearchTask) -> tuple[Found, ...]:
    least = least_score(searched_s=length_s(stretches), songs_s=task.songs_s, most_false=task.most_false)
    found = []
    for match in find_songs(segment.index, show.peaks(), least_score=least, stretches=stretches):
        song = segment.songs[match.song]
        if (song.track_id, song.run_id) not in task.gone and song.track_id != show.track_id:
            found.append(Found(song.track_id, song.run_id, match))
    return tuple(found)


def stretches_of(inside: npt.NDArray[np.bool_], duration_s: float) -> Stretches:
    """Starts and ends in s of the stretches of a track's segments that are inside."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]])))
    return [
        (float(begin * SEGMENT_S), float(min(end * SEGMENT_S, duration_s)))
        for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    ]


def length_s(stretches: Sequence[tuple[float, float]]) -> float:
    """Seconds of stretches that do not overlap."""
    return sum(end - begin for begin, end in stretches)
