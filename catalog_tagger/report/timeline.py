"""What is heard in a track and when, from the rows of its segments: stretches per label, as people draw them.

A label is heard in a segment whose probability of it is at least 0.5; neighbouring segments make one stretch, whose
score is their mean, weighted by length. Labels are ``speech``, ``music``, ``female`` and ``male`` (of the voice, where
one is heard) and the tags; embedded songs come with their own times. Segments that nobody heard (`--depth`) end a
stretch, since nothing is known of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import duckdb
import pyarrow as pa

from catalog_tagger.errors import UsageError
from catalog_tagger.storage import Store
from catalog_tagger.tables.views import connect

HEARD: Final = 0.5
_TABLES: Final = ("tracks", "segments", "songs")
_OF_TRACK: Final = ("track_id", "uri", "duration_s", "scanned_s", "content_type")
#: segments touch where the next begins this much after the end of the last
_TOUCH_S: Final = 1e-6
_WANTED_SQL: Final = (
    "CREATE TEMP TABLE wanted AS SELECT track_id, uri, duration_s, scanned_s, content_type FROM tracks "
    "WHERE status = 'tagged' AND ({where})"
)
_SEGMENTS_SQL: Final = (
    "SELECT w.*, s.start_s, s.end_s, s.p_speech, s.p_music, s.p_female, s.tags FROM segments s "
    "JOIN wanted w USING (track_id) ORDER BY w.track_id, s.start_s"
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
    """Timelines of a warehouse's tagged tracks, in the order of their ids; one is held at a time, and all songs.

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
    with tempfile.TemporaryDirectory(prefix="catalog-tagger-") as spilled, connect(store, tables=_TABLES) as connection:
        connection.execute(f"SET temp_directory = '{spilled}'")
        try:
            connection.execute(_WANTED_SQL.format(where=where))
        except duckdb.Error as error:
            raise UsageError(f"--where {where!r}: {str(error).splitlines()[0]}") from error
        if track_ids:
            _keep(connection, track_ids, store)
        songs = {
            track_id: tuple(Stretch(song, start_s, end_s, None) for _, start_s, end_s, song in rows)
            for track_id, rows in groupby(connection.execute(_SONGS_SQL).fetchall(), key=itemgetter(0))
        }
        for track_id, segments in groupby(_rows(connection.execute(_SEGMENTS_SQL)), key=itemgetter("track_id")):
            rows = list(segments)
            yield Timeline(
                **{name: rows[0][name] for name in _OF_TRACK},
                heard=tuple(stretches(rows)),
                songs=songs.get(track_id, ()),
                unheard=tuple(_gaps(rows, rows[0]["duration_s"])),
            )


def _keep(connection: duckdb.DuckDBPyConnection, track_ids: Sequence[str], store: Store) -> None:
    """Want some tracks alone; `UsageError` where one of them is not there."""
    asked = pa.table({"track_id": pa.array(sorted(set(track_ids)), pa.string())})
    connection.register("asked", asked)
    missing = connection.execute("SELECT track_id FROM asked ANTI JOIN wanted USING (track_id) ORDER BY 1").fetchone()
    if missing is not None:
        raise UsageError(f"{store.uri}: no tagged track {missing[0]!r}")
    connection.execute("DELETE FROM wanted WHERE track_id NOT IN (SELECT track_id FROM asked)")
    connection.unregister("asked")


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
