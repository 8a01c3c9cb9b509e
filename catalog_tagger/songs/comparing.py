"""Likely copies found among all sketches and compared, in tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import pyarrow as pa

from catalog_tagger.fingerprints.chance import expected_false_matches
from catalog_tagger.fingerprints.landmarks import Peaks
from catalog_tagger.fingerprints.matching import Match
from catalog_tagger.songs.building import without
from catalog_tagger.songs.carrying import carried_duplicates
from catalog_tagger.songs.duplicates import Pair, likely_pairs, same_recording
from catalog_tagger.songs.generations import Generation
from catalog_tagger.songs.recordings import Shard, recordings
from catalog_tagger.songs.segments import SKETCHES, read_sketches
from catalog_tagger.songs.settling import match_columns
from catalog_tagger.songs.work import Work
from catalog_tagger.storage import Store

_PAIRS: Final = 200


@dataclass(frozen=True)
class CompareTask:
    """Pairs to compare, and the shards that their tracks lie in."""

    warehouse: str
    pairs: tuple[Pair, ...]
    shards: tuple[tuple[Shard, frozenset[str]], ...]


def compare(task: CompareTask) -> list[tuple[Pair, Match, float]]:
    """Those of the pairs that are the same recording: how the track lies in the other, and its length in s.

    Raises
    ------
    StorageError
        A file is missing or damaged.
    """
    store = Store(task.warehouse)
    wanted = {track for pair in task.pairs for track in (pair.track_id, pair.other_track_id)}
    held: dict[str, tuple[Peaks, float]] = {}
    for shard, replaced in task.shards:
        for one in recordings(store, shard, replaced=replaced, only=wanted):
            held[one.track_id] = one.peaks(strongest=True), one.duration_s
    found = []
    for pair in task.pairs:
        (peaks, duration_s), (other, _) = held[pair.track_id], held[pair.other_track_id]
        match = same_recording(peaks, other)
        if match is not None:
            found.append((pair, match, duration_s))
    return found


def find_duplicates(work: Work, index: Generation, *, covered: frozenset[str]) -> list[dict[str, Any]]:
    """Rows of ``duplicates``, at most one for a track.

    Parameters
    ----------
    covered
        Runs whose tracks were compared with each other.
    """
    pairs, shards = _likely(work, index)
    runs = {track: shard.run_id for track, shard in shards.items()}
    old = {pair for pair in pairs if {runs[pair.track_id], runs[pair.other_track_id]} <= covered}
    carried = carried_duplicates(work.store, runs, covered=covered) if old else {}
    rows = {pair: row for pair, row in carried.items() if pair in old}
    for pair, match, duration_s in _compared(work, shards, [pair for pair in pairs if pair not in old]):
        # as of a song in a show that is music throughout
        chance = expected_false_matches(match.score, searched_s=duration_s, songs_s=index.songs_s)
        told = {"track_id": pair.track_id, "other_track_id": pair.other_track_id, **match_columns(match)}
        rows[pair] = {**told, "expected_false_matches": chance}
    best: dict[str, dict[str, Any]] = {}
    for pair in pairs:  # of a track the likeliest come first
        if pair in rows:
            best.setdefault(pair.track_id, rows[pair] | {"run_id": work.config.run_id})
    return [best[track] for track in sorted(best)]


def _likely(work: Work, index: Generation) -> tuple[list[Pair], dict[str, Shard]]:
    """Pairs of current tracks that may be the same, and where each track is."""
    sketches = [SKETCHES.empty_table()]
    for segment in index.segments:
        gone = work.catalogue.gone_from(work.store, [segment])
        sketches.append(without(read_sketches(work.store, segment.name), gone))
    current = pa.concat_tables(sketches)
    with duckdb.connect() as connection:
        pairs = likely_pairs(current, connection=connection)
        places = connection.execute("SELECT DISTINCT track_id, run_id, shard FROM sketches").fetchall()
    return pairs, {track: Shard(run_id, shard) for track, run_id, shard in places}


def _compared(work: Work, shards: dict[str, Shard], pairs: list[Pair]) -> Iterator[tuple[Pair, Match, float]]:
    tasks = []
    # of tracks that lie together a task reads fewer files
    ordered = sorted(pairs, key=lambda pair: (shards[pair.track_id], shards[pair.other_track_id]))
    for first in range(0, len(ordered), _PAIRS):
        chosen = ordered[first : first + _PAIRS]
        wanted = {shards[track] for pair in chosen for track in (pair.track_id, pair.other_track_id)}
        files = tuple((shard, work.catalogue.runs[shard.run_id].replaced) for shard in sorted(wanted))
        tasks.append(CompareTask(work.store.uri, tuple(chosen), files))
    for compared in work.results("comparing", compare, tasks):
        yield from compared
