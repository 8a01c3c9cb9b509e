"""Tracks that are the same recording.

Tracks that share kept landmarks at the same distance in time are likely copies (`sketches`): of all tracks that have
a landmark, each is joined with each where they are few, else with the one of least id, so that a hundred copies of
a jingle give a hundred pairs and not five thousand. Likely ones are compared by the matcher that finds songs in
shows, over both in full length: they are the same recording where the match covers nearly all of both, and they
agree in nearly all of its stretches: shows that begin and end alike have a match as long, too. An excerpt is not,
and a live version is not.

All sketches are sorted by DuckDB, which spills to disk what does not fit into memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from catalog_tagger.fingerprints.index import index_songs
from catalog_tagger.fingerprints.landmarks import HOP_S, Peaks
from catalog_tagger.fingerprints.matching import Match, find_songs, shares_along

#: kept landmarks that two tracks share at one distance; unrelated ones share one or two
_FEWEST_SHARED: Final = 6
#: tracks that have a landmark up to which each is joined with each, and most that one is compared with
_FEW: Final = 12
_COMPARED: Final = 4
_SHARE_OF_BOTH: Final = 0.9
#: share of the peaks in a stretch of so many seconds that are there in a copy: of copies in other codecs it is two
#: thirds and more, of different recordings a tenth
_BLOCK_S: Final = 5.0
_ALIKE: Final = 0.3
_NEARLY_S: Final = 3.0
_LEAST_SCORE: Final = 100.0

_PAIRS_SQL: Final = f"""
    WITH kept AS (
        SELECT hash, track_id, place, count(*) OVER same AS tracks, min(track_id) OVER same AS first_id
        FROM sketches WINDOW same AS (PARTITION BY hash)),
    apart AS (
        SELECT a.track_id, b.track_id AS first_id, round((a.place - b.place) / 16.0) AS distance, count(*) AS shared
        FROM kept a JOIN kept b USING (hash)
        WHERE a.track_id > b.track_id AND (a.tracks <= {_FEW} OR b.track_id = b.first_id) GROUP BY ALL),
    near AS (
        SELECT a.track_id, a.first_id, max(a.shared + coalesce(b.shared, 0)) AS shared
        FROM apart a LEFT JOIN apart b
        ON a.track_id = b.track_id AND a.first_id = b.first_id AND b.distance = a.distance + 1
        GROUP BY a.track_id, a.first_id)
    SELECT track_id, first_id AS other_track_id FROM near WHERE shared >= {_FEWEST_SHARED}
    QUALIFY row_number() OVER (PARTITION BY track_id ORDER BY shared DESC, first_id) <= {_COMPARED}
    ORDER BY track_id, shared DESC, first_id"""  # noqa: S608  a number


@dataclass(frozen=True)
class Pair:
    """Two tracks that may be the same recording, the lesser id second."""

    track_id: str
    other_track_id: str


def likely_pairs(sketches: pa.Table | duckdb.DuckDBPyRelation, *, connection: duckdb.DuckDBPyConnection) -> list[Pair]:
    """Pairs that share enough to be compared, at most `_COMPARED` for a track.

    Parameters
    ----------
    sketches
        ``track_id, hash, place`` of current tracks.
    """
    connection.register("sketches", sketches)
    rows = connection.execute(_PAIRS_SQL).fetchall()
    return [Pair(*row) for row in rows]


def same_recording(track: Peaks, other: Peaks) -> Match | None:
    """How a track lies in another of which it is a copy; None where it is none.

    Parameters
    ----------
    track, other
        What they are known by (the strongest peaks).
    """
    matches = find_songs(index_songs([other]), track, least_score=_LEAST_SCORE)
    best = max(matches, key=lambda match: match.end_s - match.start_s, default=None)
    if best is None:
        return None
    for whole_s in (_span_s(track), _span_s(other)):
        if best.end_s - best.start_s < min(_SHARE_OF_BOTH * whole_s, whole_s - _NEARLY_S):
            return None
    shares = shares_along(best, other, track, block_s=_BLOCK_S)
    return best if np.mean(shares >= _ALIKE) >= _SHARE_OF_BOTH else None


def _span_s(peaks: Peaks) -> float:
    """From the first to the last that is heard: copies differ in the silence around them."""
    return float(peaks.frame[-1] - peaks.frame[0]) * HOP_S
