"""The index's segments, built from shards and merged where they are small.

A segment ends when it has `MOST_POSTINGS`, which is what bounds the memory of building and of searching it: about
30 bytes a posting. Runs that tag a little every night add little segments; those under half of that size are
merged once there are `_MANY_SMALL` of them, without the songs that were tagged again or are gone since.

Failure rule: a task that has written its segments leaves ``index/peaks-<version>/<task>.built.json``, a list of them,
which the same task finds when it is run again after its driver died. They are removed with the next generation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field
from typing import Final

import pyarrow as pa

from catalog_tagger.fingerprints.landmarks import SONG_FAN, Landmarks, landmarks_of
from catalog_tagger.fingerprints.peaks import SONG_PEAKS
from catalog_tagger.songs.recordings import Recording, Shard, recordings
from catalog_tagger.songs.segments import (
    BUILT,
    INDEX,
    SKETCHES,
    IndexedSong,
    SegmentInfo,
    name_of,
    packed_codes,
    read_sketches,
    read_songs,
    write_segment,
)
from catalog_tagger.songs.sketches import sketch
from catalog_tagger.storage import Store

#: 1 300 songs of four minutes
MOST_POSTINGS: Final = 16_000_000
_MANY_SMALL: Final = 8
#: shorter tracks are jingles and rests, of which many are the same
_LEAST_SKETCHED_S: Final = 10.0


@dataclass(frozen=True)
class BuildTask:
    """Shards to make segments of."""

    warehouse: str
    shards: tuple[tuple[Shard, frozenset[str]], ...]
    """With the tracks of each that a later run has replaced."""
    most_postings: int = MOST_POSTINGS


@dataclass(frozen=True)
class MergeTask:
    """Segments to make one of."""

    warehouse: str
    segments: tuple[SegmentInfo, ...]
    gone: frozenset[tuple[str, str]]
    """``(track_id, run_id)`` of what is left out."""


@dataclass
class _Open:
    """A segment that is being filled."""

    songs: list[IndexedSong] = field(default_factory=list)
    landmarks: list[Landmarks] = field(default_factory=list)
    sketches: list[pa.Table] = field(default_factory=list)
    postings: int = 0

    def add(self, recording: Recording) -> None:
        landmarks = landmarks_of(recording.peaks(strongest=True), fan=SONG_FAN)
        if recording.duration_s >= _LEAST_SKETCHED_S:
            self.sketches.append(_sketch_rows(recording, landmarks))
        if recording.is_song:
            codes = packed_codes(recording.codes, recording.counts, most=SONG_PEAKS)
            self.songs.append(IndexedSong(recording.track_id, recording.shard.run_id, recording.duration_s, codes))
            self.landmarks.append(landmarks)
            self.postings += len(landmarks)

    def write(self, store: Store, name: str, sources: list[str]) -> SegmentInfo:
        sketches = pa.concat_tables([SKETCHES.empty_table(), *self.sketches])
        return write_segment(
            store, name, songs=self.songs, landmarks=self.landmarks, sketches=sketches, sources=sources
        )


def build(task: BuildTask) -> list[SegmentInfo]:
    """Segments of the tracks of some shards, written and not yet committed.

    Raises
    ------
    StorageError
        A file is missing or damaged, or the store refuses.
    """
    store = Store(task.warehouse)
    task_name = name_of([*(f"{shard.run_id}/{shard.name}" for shard, _ in task.shards), str(task.most_postings)])
    before = _built(store, task_name)
    if before is not None:
        return before
    sources = sorted({shard.run_id for shard, _ in task.shards})
    made: list[SegmentInfo] = []
    opened = _Open()
    for shard, replaced in task.shards:
        for recording in recordings(store, shard, replaced=replaced):
            opened.add(recording)
            if opened.postings >= task.most_postings:
                made.append(opened.write(store, f"{task_name}-{len(made)}", sources))
                opened = _Open()
    if opened.sketches or opened.songs:
        made.append(opened.write(store, f"{task_name}-{len(made)}", sources))
    store.write(f"{INDEX}/{task_name}{BUILT}", json.dumps([asdict(segment) for segment in made]).encode())
    return made


def _built(store: Store, task_name: str) -> list[SegmentInfo] | None:
    try:
        return [SegmentInfo(**segment) for segment in json.loads(store.read(f"{INDEX}/{task_name}{BUILT}"))]
    except (FileNotFoundError, ValueError, TypeError):
        return None


def merge(task: MergeTask) -> SegmentInfo:
    """One segment of several, written and not yet committed."""
    store = Store(task.warehouse)
    opened = _Open()
    for segment in task.segments:
        for song in read_songs(store, segment.name):
            if (song.track_id, song.run_id) not in task.gone:
                opened.songs.append(song)
                opened.landmarks.append(landmarks_of(song.peaks, fan=SONG_FAN))
        opened.sketches.append(without(read_sketches(store, segment.name), task.gone))
    sources = sorted({run_id for segment in task.segments for run_id in segment.sources})
    return opened.write(store, name_of([segment.name for segment in task.segments]), sources)


def to_merge(segments: Iterable[SegmentInfo], *, most_postings: int = MOST_POSTINGS) -> list[tuple[SegmentInfo, ...]]:
    """Groups of small segments that are to become one each; none while there are few."""
    small = sorted((one for one in segments if one.postings < most_postings / 2), key=lambda one: one.postings)
    if len(small) < _MANY_SMALL:
        return []
    groups: list[list[SegmentInfo]] = [[]]
    for one in small:
        if sum(other.postings for other in groups[-1]) + one.postings > most_postings:
            groups.append([])
        groups[-1].append(one)
    return [tuple(group) for group in groups if len(group) > 1]


def all_of(store: Store, runs: AbstractSet[str], segments: Sequence[SegmentInfo]) -> frozenset[tuple[str, str]]:
    """Everything in some segments that comes from some runs."""
    if not runs:
        return frozenset()
    held = (read_sketches(store, segment.name).select(["track_id", "run_id"]) for segment in segments)
    pairs = (zip(rows["track_id"].to_pylist(), rows["run_id"].to_pylist(), strict=True) for rows in held)
    return frozenset(pair for rows in pairs for pair in rows if pair[1] in runs)


def without(sketches: pa.Table, gone: frozenset[tuple[str, str]]) -> pa.Table:
    """Rows of `SKETCHES` whose track is not gone."""
    if not gone:
        return sketches
    pairs = zip(sketches["track_id"].to_pylist(), sketches["run_id"].to_pylist(), strict=True)
    return sketches.filter(pa.array([pair not in gone for pair in pairs], pa.bool_()))


def group_shards(
    shards: Sequence[tuple[Shard, frozenset[str], int]], *, most_rows: int
) -> list[tuple[tuple[Shard, frozenset[str]], ...]]:
    """Shards, with their rows of fingerprints, in groups of about so many rows."""
    groups: list[list[tuple[Shard, frozenset[str]]]] = []
    held = most_rows
    for shard, replaced, rows in shards:
        if held + rows > most_rows:
            groups.append([])
            held = 0
        groups[-1].append((shard, replaced))
        held += rows
    return [tuple(group) for group in groups]


def _sketch_rows(recording: Recording, landmarks: Landmarks) -> pa.Table:
    hashes, places = sketch(landmarks)
    count = len(hashes)
    columns = {
        "track_id": pa.repeat(recording.track_id, count),
        "run_id": pa.repeat(recording.shard.run_id, count),
        "shard": pa.repeat(recording.shard.name, count),
        "hash": pa.array(hashes),
        "place": pa.array(places),
    }
    return pa.table(columns, schema=SKETCHES)
