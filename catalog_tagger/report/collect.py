"""What a report says, gathered from a warehouse: counts, costs, agreement, and flags with their tracks' timelines.

`Report.flags` and `Report.tracks` go into the page as JSON, with short keys, since there may be thousands:

flag   ``i`` id, ``t`` index of its track, ``k`` kind, ``f`` field, ``c`` what the metadata say, ``s`` what was heard,
       ``p`` confidence, ``r`` the reason, ``n`` state, ``w`` the run that made it first, ``x`` the run that
       has it, ``e`` evidence as ``[start,
       end, [[name, score], ...]]``
track  ``i`` id, ``u`` its uri, ``a`` where a browser finds its audio (null: nowhere), ``d`` and ``h`` seconds of it and
       heard of it, ``y`` content type, ``v`` the voice's gender, ``s`` and ``m`` speech and music, a character for each
       5 s: the probability times 35 as a digit of base 36, or ``.`` where nothing was heard; ``o`` embedded songs as
       ``[start, end, song, start in the song]``
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import duckdb

from catalog_tagger.errors import QUARANTINE_CODES
from catalog_tagger.storage import Store
from catalog_tagger.tables.views import connect
from catalog_tagger.tagging.runs import RunSummary, list_runs
from catalog_tagger.tagging.skimming import IN_PART_SQL

#: seconds that one character of a timeline stands for
STEP_S: Final = 5.0
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: states of flags that somebody has still to look at come first
_STATES: Final = ("new", "open", "accepted", "resolved", "dismissed")
_RUNS_SHOWN: Final = 20
_PADDING_S: Final = 1.0
#: extension -> type, of what browsers play
PLAYED: Final = {
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".mp4": "audio/mp4",
    ".aac": "audio/aac",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
}

#: tables that are asked; each costs the footers of its files
_TABLES: Final = ("tracks", "segments", "songs", "flags", "label_noise", "flag_precision", "decisions")
#: the view of current tracks looks at all rows of all runs, and is asked once
_ONCE_SQL: Final = (
    "CREATE TEMP TABLE told AS SELECT track_id, status, error_code, error_message, uri, audio_etag, duration_s, "
    "scanned_s, content_type, content_confidence, voice_gender, tags FROM tracks"
)

_COUNTS_SQL: Final = (
    "SELECT count(*) FILTER (status = 'tagged') AS tagged, count(*) FILTER (status = 'quarantined') AS quarantined, "  # noqa: S608
    "coalesce(sum(duration_s), 0) AS duration_s, coalesce(sum(scanned_s), 0) AS scanned_s, "
    f"count(*) FILTER ({IN_PART_SQL}) AS in_part FROM told"
)
_TYPES_SQL: Final = (
    "SELECT content_type, count(*), sum(duration_s), avg(content_confidence) FROM told "
    "WHERE content_type IS NOT NULL GROUP BY 1 ORDER BY 2 DESC"
)
_VOICES_SQL: Final = "SELECT voice_gender, count(*) FROM told WHERE voice_gender IS NOT NULL GROUP BY 1 ORDER BY 2 DESC"
_TAGS_SQL: Final = (
    "SELECT tag, count(*) FROM (SELECT unnest(tags, max_depth := 2) FROM told) "
    "WHERE score >= 0.5 AND tag NOT IN ('speech', 'music') GROUP BY 1 "
    "ORDER BY 2 DESC, 1 LIMIT 12"
)
_QUARANTINED_SQL: Final = (
    "SELECT error_code, count(*), min(track_id), arg_min(error_message, track_id) FROM told "
    "WHERE status = 'quarantined' GROUP BY 1 ORDER BY 2 DESC, 1"
)
_NOISE_SQL: Final = (
    "SELECT field, current_value, true_value, tracks, expected FROM label_noise WHERE expected >= 0.05 "
    "ORDER BY field, tracks DESC, expected DESC"
)
_PRECISION_SQL: Final = (
    "SELECT kind, field, flags, expected_precision, low, high FROM flag_precision WHERE is_cut ORDER BY kind, field"
)
_FLAG_COUNTS_SQL: Final = "SELECT kind, state, count(*) FROM flags GROUP BY 1, 2 ORDER BY 1, 2"
_FLAGS_SQL: Final = (
    "SELECT flag_id, track_id, kind, field, current_value, suggested_value, confidence, reason, state, "
    "first_seen_run, evidence, run_id FROM flags ORDER BY list_position({states}, state), confidence DESC, track_id, "
    "flag_id LIMIT {limit}"
)
_TRACKS_SQL: Final = (
    "SELECT track_id, uri, audio_etag, duration_s, scanned_s, content_type, voice_gender FROM told SEMI JOIN wanted "
    "USING (track_id) ORDER BY track_id"
)
_SEGMENTS_SQL: Final = (
    "SELECT track_id, list(start_s ORDER BY start_s), list(p_speech ORDER BY start_s), list(p_music ORDER BY start_s) "
    "FROM segments SEMI JOIN wanted USING (track_id) GROUP BY track_id"
)
_SONGS_SQL: Final = (
    "SELECT track_id, start_s, end_s, song_track_id, song_start_s FROM songs SEMI JOIN wanted USING (track_id) "
    "ORDER BY track_id, start_s"
)
_DECIDED_SQL: Final = (
    "SELECT d.flag_id, d.decision FROM decisions d JOIN flags f USING (flag_id) "
    "WHERE d.audio_etag IS NOT DISTINCT FROM "
    "f.audio_etag AND d.current_value IS NOT DISTINCT FROM f.current_value"
)
_SHOWS_SQL: Final = (
    "SELECT track_id, count(*), sum(end_s - start_s) FROM songs GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {limit}"
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a page says."""

    warehouse: str
    made_at: str
    runs: list[RunSummary]
    """The newest ones, the newest first."""
    counts: dict[str, Any]
    types: list[tuple[str, int, float, float]]
    """(content type, tracks, seconds, mean confidence)."""
    voices: list[tuple[str, int]]
    tags: list[tuple[str, int]]
    quarantined: list[tuple[str, str, int, str, str]]
    """(code, its meaning, tracks, one of them, its message)."""
    noise: list[tuple[str, str, str, int, float]]
    precision: list[tuple[str, str | None, int, float, float, float]]
    flag_counts: dict[str, dict[str, int]]
    """Kind -> state -> flags, all of them."""
    flags: list[dict[str, Any]]
    tracks: list[dict[str, Any]]
    etags: list[str | None]
    """Of `tracks`, for whoever opens their audio."""
    decided: dict[str, str] = field(default_factory=dict)
    """Flag -> decision that was kept, of those whose audio and label are still the same."""
    shows: list[tuple[int, int, float]] = field(default_factory=list)
    """(index of the track, songs in it, seconds of them), the most first."""


def collect(store: Store, *, page: Path | None, most_flags: int, most_shows: int) -> Report:
    """Gather a report.

    Parameters
    ----------
    page
        Where the page will lie, if on this machine: local audio is linked relative to it.
    most_flags, most_shows
        Flags, and tracks with songs inside, that the page lists.

    Raises
    ------
    UsageError
        There is no warehouse at that place.
    """
    runs = list_runs(store)
    with connect(store, tables=_TABLES) as connection:
        connection.execute(_ONCE_SQL)

        def ask(sql: str) -> list[tuple[Any, ...]]:
            return connection.execute(sql).fetchall()

        counts = dict(
            zip(("tagged", "quarantined", "duration_s", "scanned_s", "in_part"), ask(_COUNTS_SQL)[0], strict=True)
        )
        flags = ask(_FLAGS_SQL.format(states=list(_STATES), limit=most_flags))
        shows = ask(_SHOWS_SQL.format(limit=most_shows))
        tracks, etags = _tracks(connection, {row[1] for row in flags} | {row[0] for row in shows}, page)
        at = {track["i"]: number for number, track in enumerate(tracks)}
        flag_counts: dict[str, dict[str, int]] = {}
        for kind, state, count in ask(_FLAG_COUNTS_SQL):
            flag_counts.setdefault(kind, {})[state] = count
        return Report(
            warehouse=store.uri,
            made_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            runs=runs[::-1][:_RUNS_SHOWN],
            counts=counts,
            types=ask(_TYPES_SQL),
            voices=ask(_VOICES_SQL),
            tags=ask(_TAGS_SQL),
            quarantined=[
                (code, QUARANTINE_CODES.get(code, ""), count, track_id, message or "")
                for code, count, track_id, message in ask(_QUARANTINED_SQL)
            ],
            noise=ask(_NOISE_SQL),
            precision=ask(_PRECISION_SQL),
            flag_counts=flag_counts,
            flags=[_flag(row, at) for row in flags],
            tracks=tracks,
            etags=etags,
            decided=dict(ask(_DECIDED_SQL)),
            shows=[(at[track_id], songs, seconds) for track_id, songs, seconds in shows if track_id in at],
        )


def _flag(row: tuple[Any, ...], at: Mapping[str, int]) -> dict[str, Any]:
    flag_id, track_id, kind, about, current, suggested, confidence, reason, state, first, evidence, run_id = row
    return {
        "i": flag_id,
        "t": at.get(track_id, track_id),
        "k": kind,
        "f": about,
        "c": current,
        "s": suggested,
        "p": round(confidence, 4),
        "r": reason,
        "n": state,
        "w": first,
        "x": run_id,
        "e": [
            [part["start_s"], part["end_s"], [[one["name"], round(one["score"], 3)] for one in part["scores"] or ()]]
            for part in evidence or ()
        ],
    }


def _tracks(
    connection: duckdb.DuckDBPyConnection, track_ids: set[str], page: Path | None
) -> tuple[list[dict[str, Any]], list[str | None]]:
    connection.execute("CREATE TEMP TABLE wanted (track_id VARCHAR)")
    if track_ids:
        connection.executemany("INSERT INTO wanted VALUES (?)", [[track_id] for track_id in sorted(track_ids)])
    heard = {row[0]: row[1:] for row in connection.execute(_SEGMENTS_SQL).fetchall()}
    songs: dict[str, list[list[Any]]] = {}
    for track_id, *song in connection.execute(_SONGS_SQL).fetchall():
        songs.setdefault(track_id, []).append([round(song[0], 2), round(song[1], 2), song[2], round(song[3], 2)])
    tracks, etags = [], []
    for track_id, uri, etag, duration_s, scanned_s, content_type, voice in connection.execute(_TRACKS_SQL).fetchall():
        starts, speech, music = heard.get(track_id, ((), (), ()))
        tracks.append(
            {
                "i": track_id,
                "u": uri,
                "a": playable(uri, page),
                "d": round(duration_s or 0.0, 2),
                "h": round(scanned_s or 0.0, 2),
                "y": content_type,
                "v": voice,
                "s": line_of(starts, speech, duration_s=duration_s or 0.0),
                "m": line_of(starts, music, duration_s=duration_s or 0.0),
                "o": songs.get(track_id, []),
            }
        )
        etags.append(etag)
    return tracks, etags


def line_of(starts_s: Sequence[float], p: Sequence[float | None], *, duration_s: float = 0.0) -> str:
    """Probabilities of segments as a timeline's characters, as far as the track goes but for a codec's padding."""
    if not starts_s:
        return ""
    line = ["."] * max(round(starts_s[-1] / STEP_S) + 1, math.ceil((duration_s - _PADDING_S) / STEP_S))
    for start_s, value in zip(starts_s, p, strict=True):
        if value is not None:
            line[round(start_s / STEP_S)] = _DIGITS[round(value * (len(_DIGITS) - 1))]
    return "".join(line)


def playable(uri: str, page: Path | None) -> str | None:
    """What an ``audio`` element of the page takes for a track; None where a browser cannot have it."""
    if ".tar#" in uri.lower() or not uri.lower().endswith(tuple(PLAYED)):
        return None
    if uri.startswith(("https://", "http://")):
        return uri
    if "://" in uri or page is None:
        return None
    try:
        return quote(Path(os.path.relpath(uri, page.parent)).as_posix())
    except ValueError:  # another drive
        return Path(uri).as_uri()


def as_json(value: Any) -> str:
    """JSON that can stand in a ``script`` element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
