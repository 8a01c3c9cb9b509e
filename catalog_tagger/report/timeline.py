"""What is heard in a track and when, from the rows of its segments: stretches per label, as people draw them.

A label is heard in a segment whose probability of it is at least 0.5; neighbouring segments make one stretch, whose
score is their mean, weighted by length. Labels are ``speech``, ``music``, ``female`` and ``male`` (of the voice, where
one is heard) and the tags; embedded songs come with their own times. Segments that nobody heard (`--depth`) end a
stretch, since nothing is known of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

import duckdb

from catalog_tagger.errors import UsageError
from catalog_tagger.storage import Store
from catalog_tagger.tables.views import connect

HEARD: Final = 0.5
#: segments touch where the next begins this much after the end of the last
_TOUCH_S: Final = 1e-6
_TRACKS_SQL: Final = (
    "SELECT track_id, uri, duration_s, scanned_s, content_type FROM tracks WHERE status = 'tagged' AND ({where}) "
    "ORDER BY track_id"
)
_SEGMENTS_SQL: Final = (
    "SELECT s.track_id, s.start_s, s.end_s, s.p_speech, s.p_music, s.p_female, s.tags FROM segments s "
    "SEMI JOIN wanted USING (track_id) ORDER BY s.track_id, s.start_s"
)
_SONGS_SQL: Final = (
    "SELECT track_id, start_s, end_s, song_track_id FROM songs SEMI JOIN wanted USING (track_id) "
    "ORDER BY track_id, start_s, song_track_id"
)
_ROWS: Final = 100_000


@dataclass(frozen=True)
class Stretch:
    """A part of a track in which something is heard."""

    label: str
    start_s: float
    end_s: float
    score: float | None
    """Mean probability; None of a song, which is found by other means."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """A track and its stretches, by label and then by time."""

    track_id: str
    uri: str
    duration_s: float
    scanned_s: float
    content_type: str | None
    heard: tuple[Stretch, ...]
    """Of `speech`, `music`, voices and tags."""
    songs: tuple[Stretch, ...] = ()
    """The label is the song's id."""
    unheard: tuple[tuple[float, float], ...] = field(default=())
    """Stretches of which nothing is known."""


def timelines(store: Store, *, where: str = "true", track_ids: Sequence[str] = ()) -> Iterator[Timeline]:
    """Timelines of a warehouse's tagged tracks, in the order of their ids; one is held at a time.

    Parameters
    ----------
    where
        Condition on columns of ``tracks``, as DuckDB takes it.
    track_ids
        Only these; all where empty.

    Raises
    ------
    UsageError
        There is no warehouse, the condition is none, or a track is not there.
    """
    with connect(store, tables=("tracks", "segments", "songs")) as connection:
        try:
            tracks = connection.execute(_TRACKS_SQL.format(where=where)).fetchall()
        except duckdb.Error as error:
            raise UsageError(f"--where {where!r}: {str(error).splitlines()[0]}") from error
        if track_ids:
            wanted = set(track_ids)
            tracks = [row for row in tracks if row[0] in wanted]
            missing = sorted(wanted - {row[0] for row in tracks})
            if missing:
                raise UsageError(f"{store.uri}: no tagged track {missing[0]!r}")
        connection.execute("CREATE TEMP TABLE wanted (track_id VARCHAR)")
        if tracks:
            connection.executemany("INSERT INTO wanted VALUES (?)", [[row[0]] for row in tracks])
        songs = {
            track_id: tuple(Stretch(song, start_s, end_s, None) for _, start_s, end_s, song in rows)
            for track_id, rows in groupby(connection.execute(_SONGS_SQL).fetchall(), key=lambda row: row[0])
        }
        of_tracks = groupby(_rows(connection.execute(_SEGMENTS_SQL)), key=lambda row: row["track_id"])
        found = {row[0]: row for row in tracks}
        for track_id, segments in of_tracks:
            _, uri, duration_s, scanned_s, content_type = found[track_id]
            rows = list(segments)
            yield Timeline(
                track_id=track_id,
                uri=uri,
                duration_s=duration_s,
                scanned_s=scanned_s,
                content_type=content_type,
                heard=tuple(stretches(rows)),
                songs=songs.get(track_id, ()),
                unheard=tuple(_gaps(rows, duration_s)),
            )


def _rows(found: duckdb.DuckDBPyConnection) -> Iterator[dict[str, Any]]:
    names = [column[0] for column in found.description or ()]
    while rows := found.fetchmany(_ROWS):
        yield from (dict(zip(names, row, strict=True)) for row in rows)


def stretches(segments: Sequence[Mapping[str, Any]]) -> list[Stretch]:
    """Stretches of a track's segments, rows of the table that are ascending in time, by label and then by time."""
    scores: dict[str, list[tuple[float, float, float]]] = {}
    for row in segments:
        for label, score in _scores(row):
            if score >= HEARD:
                scores.setdefault(label, []).append((row["start_s"], row["end_s"], score))
    first = ("speech", "music", "female", "male")
    order = sorted(scores, key=lambda label: (first.index(label) if label in first else len(first), label))
    return [stretch for label in order for stretch in _joined(label, scores[label])]


def _scores(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for label in ("speech", "music"):
        if row[f"p_{label}"] is not None:
            yield label, row[f"p_{label}"]
    if row["p_female"] is not None:
        yield "female", row["p_female"]
        yield "male", 1.0 - row["p_female"]
    for tag in row["tags"] or ():
        if tag["tag"] not in ("speech", "music"):  # which another model has said with more right
            yield tag["tag"], tag["score"]


def _joined(label: str, parts: Iterable[tuple[float, float, float]]) -> Iterator[Stretch]:
    begin = end = weight = 0.0
    for start_s, end_s, score in parts:
        if weight and start_s - end > _TOUCH_S:
            yield Stretch(label, begin, end, weight / (end - begin))
            weight = 0.0
        if not weight:
            begin = start_s
        end = end_s
        weight += score * (end_s - start_s)
    if weight:
        yield Stretch(label, begin, end, weight / (end - begin))


def _gaps(segments: Sequence[Mapping[str, Any]], duration_s: float) -> Iterator[tuple[float, float]]:
    """Stretches longer than what a codec pads that have no segment."""
    at = 0.0
    for row in segments:
        if row["start_s"] - at > _TOUCH_S:
            yield at, row["start_s"]
        at = row["end_s"]
    if duration_s - at >= 1.0:
        yield at, duration_s
