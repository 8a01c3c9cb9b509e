"""What the last search found and still holds: of shows and songs that are unchanged since."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from catalog_tagger.fingerprints.matching import Match
from catalog_tagger.songs.duplicates import Pair
from catalog_tagger.songs.keeping import Found, Searched
from catalog_tagger.songs.searching import SEMITONE_BINS
from catalog_tagger.storage import Store
from catalog_tagger.tables.views import connect

_SHOWS_SQL: Final = """
    SELECT s.track_id, s.track_run_id, s.stretches, s.music
    FROM searches s JOIN tracks t ON t.track_id = s.track_id AND t.run_id = s.track_run_id"""
_SONGS_SQL: Final = """
    SELECT s.*, t.run_id AS song_run_id FROM songs s JOIN tracks t ON t.track_id = s.song_track_id"""


def carried_shows(store: Store, *, covered: frozenset[str]) -> Iterator[Searched]:
    """Shows that were searched and have not been tagged again, with the songs for which the same is true.

    Parameters
    ----------
    covered
        Runs that the last search covered.
    """
    with connect(store, tables=("tracks", "songs", "searches")) as connection:
        shows = connection.sql(_SHOWS_SQL).to_arrow_table().to_pylist()
        songs: dict[str, list[Found]] = defaultdict(list)
        for row in connection.sql(_SONGS_SQL).to_arrow_table().to_pylist():
            if row["song_run_id"] in covered:
                songs[row["track_id"]].append(Found(row["song_track_id"], row["song_run_id"], _match(row)))
    for row in shows:
        stretches, music = ([(one["start_s"], one["end_s"]) for one in row[name]] for name in ("stretches", "music"))
        yield Searched(row["track_id"], row["track_run_id"], stretches, music, tuple(songs[row["track_id"]]))


def carried_duplicates(store: Store, runs: dict[str, str], *, covered: frozenset[str]) -> dict[Pair, dict[str, Any]]:
    """Pairs that were found and neither of whose tracks has been tagged again.

    Parameters
    ----------
    runs
        Of every current track, the run that tagged it.
    """
    with connect(store, tables=("tracks", "duplicates")) as connection:
        rows = connection.sql("SELECT * FROM duplicates").to_arrow_table().to_pylist()
    return {
        Pair(row["track_id"], row["other_track_id"]): row
        for row in rows
        if {runs.get(row["track_id"]), runs.get(row["other_track_id"])} <= covered
    }


def _match(row: dict[str, Any]) -> Match:
    return Match(
        song=-1,
        start_s=row["start_s"],
        end_s=row["end_s"],
        song_start_s=row["song_start_s"],
        rate=row["rate"],
        bins=-round(row["pitch_semitones"] * SEMITONE_BINS),
        score=row["score"],
    )
