"""Claims that a search for songs has found: what the views `songs` and `duplicates` hold.

A match that chance alone would give a track ``e`` times is right with probability ``1 / (1 + e)``. Occurrences of
one song in one track are told apart by their order, so that an end that moves by a second keeps its flag.
"""

from __future__ import annotations

from typing import Any, Final

import duckdb
import pyarrow as pa

from catalog_tagger.errors import named
from catalog_tagger.reconcile.claims import CLAIMS, DUPLICATE_AUDIO, EMBEDDED_SONG
from catalog_tagger.reconcile.reading import quoted

_MOST_COLUMNS: Final = 5
_MATCHES: Final = (
    "SELECT s.*, t.audio_etag, t.uri, t.run_id AS track_run_id, "
    "row_number() OVER (PARTITION BY s.track_id, s.{other} ORDER BY s.start_s) AS ordinal "
    "FROM {table} s JOIN heard t USING (track_id) ORDER BY s.track_id, s.start_s"
)


def embedded_songs(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """A claim for each song that is heard inside another track."""
    claims = []
    for row in _rows(connection, _MATCHES.format(table="songs", other="song_track_id")):
        song = row["song_track_id"]
        claims.append(
            {
                **_claim(row, kind=EMBEDDED_SONG, suggested=song),
                "other": f"{song}\x00{row['ordinal']}",
                "reason": f"plays {song} from {at(row['start_s'])} to {at(row['end_s'])}, its part from "
                f"{at(row['song_start_s'])} on{_altered(row)}",
            }
        )
    return pa.Table.from_pylist(claims, schema=CLAIMS)


def duplicates(connection: duckdb.DuckDBPyConnection, *, key: str, view: str, columns: list[str]) -> pa.Table:
    """A claim for each track that is the same recording as another one, with the metadata that conflict.

    Parameters
    ----------
    key, view, columns
        The metadata as they are: the column of their ids, their view and all of their columns.
    """
    found = _rows(connection, _MATCHES.format(table="duplicates", other="other_track_id"))
    said = _said(connection, found, key=key, view=view, columns=columns)
    claims = []
    for row in found:
        other = row["other_track_id"]
        mine, theirs = said.get(row["track_id"]), said.get(other)
        reason, current = f"the same recording as {other}", None
        if mine is None or theirs is None:
            reason += "; one of the two has no metadata"
        else:
            conflicts = [column for column in mine if mine[column] != theirs[column]]
            if conflicts:
                reason += f", yet other metadata: {named(conflicts, most=_MOST_COLUMNS)}"
                current = "; ".join(f"{column}: {mine[column] or ''}" for column in conflicts[:_MOST_COLUMNS])
            else:
                reason += ", and the same metadata"
        claim = _claim(row, kind=DUPLICATE_AUDIO, suggested=other)
        claims.append({**claim, "other": other, "reason": reason, "current_value": current})
    return pa.Table.from_pylist(claims, schema=CLAIMS)


def at(seconds: float) -> str:
    """A time in a track as m:ss."""
    whole = int(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def _claim(row: dict[str, Any], *, kind: str, suggested: str) -> dict[str, Any]:
    scores = [{"name": name, "score": row[name]} for name in ("score", "song_start_s", "rate", "pitch_semitones")]
    return {
        "track_id": row["track_id"],
        "kind": kind,
        "suggested_value": suggested,
        "confidence": 1.0 / (1.0 + row["expected_false_matches"]),
        "evidence": [{"start_s": row["start_s"], "end_s": row["end_s"], "scores": scores}],
        "track_run_id": row["track_run_id"],
        "audio_etag": row["audio_etag"],
        "uri": row["uri"],
    }


def _altered(row: dict[str, Any]) -> str:
    """How it sounds other than the song, where it does."""
    told = []
    if abs(row["rate"] - 1.0) >= 0.005:
        told.append(f"{row['rate'] - 1.0:+.1%} in speed")
    if abs(row["pitch_semitones"]) >= 0.25:
        told.append(f"{row['pitch_semitones']:+.1f} semitones")
    return f" ({', '.join(told)})" if told else ""


def _said(
    connection: duckdb.DuckDBPyConnection, found: list[dict[str, Any]], *, key: str, view: str, columns: list[str]
) -> dict[str, dict[str, str | None]]:
    """All metadata of the tracks of some matches, by id."""
    ids = sorted({row[name] for row in found for name in ("track_id", "other_track_id")})
    if not ids:
        return {}
    connection.register("wanted_ids", pa.table({"wanted": pa.array(ids, pa.string())}))
    others = [column for column in columns if column != key]
    values = [f"nullif(trim(CAST(m.{quoted(column)} AS VARCHAR)), '') AS c{i}" for i, column in enumerate(others)]
    sql = (
        f"SELECT {', '.join(['w.wanted', *values])} FROM {view} m "  # noqa: S608
        f"JOIN wanted_ids w ON CAST(m.{quoted(key)} AS VARCHAR) = w.wanted"
    )
    rows = connection.execute(sql).fetchall()
    connection.unregister("wanted_ids")
    return {str(row[0]): dict(zip(others, row[1:], strict=True)) for row in rows}


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
    return rows
