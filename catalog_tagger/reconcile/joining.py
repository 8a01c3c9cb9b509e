"""Metadata and tracks in one row, as many as there are, in bounded memory.

The metadata are read once into a narrow Parquet file in a temporary folder (id, values as they are said and
as they compare), checked, and joined with the view ``heard`` (`heard`) by DuckDB, which spills to that folder
what its memory does not hold. The joined rows are a Parquet file too, over which the estimates pass batch by
batch.

Columns of a joined row: ``track_id, run_id, status, error_code, error_message, audio_etag, uri,
content_type, speech_fraction, music_fraction``, and for field ``i`` of the mapping ``v<i>`` (the value as
said), ``k<i>`` (as it compares, null where it is empty) and ``p<i>_<class>``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from catalog_tagger.errors import UsageError, named
from catalog_tagger.reconcile.beliefs import belief_columns
from catalog_tagger.reconcile.mapping import MetadataMapping
from catalog_tagger.reconcile.reading import quoted, text, unreadable

_BATCH_ROWS: Final = 1 << 17
_MOST_UNMAPPED: Final = 1000
_EXAMPLES: Final = 3
_OF_TRACKS: Final = (
    *("track_id", "run_id", "status", "error_code", "error_message", "audio_etag", "uri", "content_type"),
    *("speech_fraction", "music_fraction"),
)


class Rows(Protocol):
    """Joined rows, wherever they are."""

    def map(self, function: Callable[[pa.Table], pa.Table]) -> Iterator[pa.Table]:
        """What the function makes of each batch of them, in no certain order."""
        ...


@dataclass(frozen=True, kw_only=True)
class LocalRows:
    """Joined rows in a Parquet file of this machine."""

    path: Path

    def map(self, function: Callable[[pa.Table], pa.Table]) -> Iterator[pa.Table]:
        """As `Rows.map`, one batch after the other."""
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(_BATCH_ROWS):
                yield function(pa.Table.from_batches([batch]))


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How the ids of metadata and warehouse meet."""

    metadata_rows: int
    tracks: int
    """Of the warehouse."""
    matched: int
    """In both."""
    unknown: tuple[str, ...]
    """Some ids that the warehouse does not know."""

    @property
    def unknown_ids(self) -> int:
        """How many ids of the metadata the warehouse does not know."""
        return self.metadata_rows - self.matched

    @property
    def without_metadata(self) -> int:
        """How many tracks of the warehouse have no metadata."""
        return self.tracks - self.matched


def narrow(
    connection: duckdb.DuckDBPyConnection, mapping: MetadataMapping, target: Path, *, place: str, view: str
) -> None:
    """Write the columns of the metadata that matter, and make a view `metadata` of them.

    Raises
    ------
    UsageError
        A row cannot be read, has no id, or the id of another one; or there are no rows.
    """
    values = [
        f"CAST({quoted(field.column)} AS VARCHAR) AS v{i}, "
        f"nullif(lower(trim(CAST({quoted(field.column)} AS VARCHAR), ' \t\r\n')), '') AS k{i}"
        for i, field in enumerate(mapping.fields)
    ]
    columns = ", ".join([f"CAST({quoted(mapping.track_id)} AS VARCHAR) AS track_id", *values])
    try:
        connection.execute(f"COPY (SELECT {columns} FROM {view}) TO {text(str(target))} (FORMAT parquet)")  # noqa: S608
    except (duckdb.Error, UnicodeDecodeError) as error:
        raise unreadable(place, error) from error
    connection.read_parquet(str(target)).create_view("metadata")
    key = mapping.track_id
    rows, empty = _one(connection, "SELECT count(*), count(*) FILTER (trim(coalesce(track_id, '')) = '') FROM metadata")
    if rows == 0:
        raise UsageError(f"{place}: there are no rows")
    if empty:
        have = "1 row has" if empty == 1 else f"{empty:,} rows have"
        raise UsageError(f"{place}: {have} no {key}; every track needs its id")
    twice = connection.execute(
        "SELECT track_id, count(*) FROM metadata GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 LIMIT 1"
    ).fetchall()
    if twice:
        raise UsageError(f"{place}: duplicate {key} {twice[0][0]!r} in {twice[0][1]} rows; every track needs one row")


def coverage(connection: duckdb.DuckDBPyConnection, *, place: str, warehouse: str) -> Coverage:
    """How the ids of `metadata` and `heard` meet.

    Raises
    ------
    UsageError
        They have none in common.
    """
    rows, tracks = _one(connection, "SELECT (SELECT count(*) FROM metadata), (SELECT count(*) FROM heard)")
    (matched,) = _one(connection, "SELECT count(*) FROM metadata SEMI JOIN heard USING (track_id)")
    sql = f"SELECT track_id FROM metadata ANTI JOIN heard USING (track_id) ORDER BY 1 LIMIT {_EXAMPLES}"  # noqa: S608
    unknown = tuple(str(row[0]) for row in connection.execute(sql).fetchall()) if matched < rows else ()
    if matched == 0:
        theirs = [str(row[0]) for row in connection.execute(f"FROM heard SELECT track_id LIMIT {_EXAMPLES}").fetchall()]
        raise UsageError(
            f"{place}: the warehouse {warehouse} knows none of its ids ({named(unknown, most=_EXAMPLES)}); those of "
            f"the warehouse look like {', '.join(theirs)}; name the right column in a mapping: track_id: COLUMN"
        )
    return Coverage(metadata_rows=rows, tracks=tracks, matched=matched, unknown=unknown)


def joined_sql(mapping: MetadataMapping) -> str:
    """The joined rows of views `metadata` and `heard`."""
    columns = [f"t.{column}" for column in _OF_TRACKS]
    for i, field in enumerate(mapping.fields):
        columns += [f"m.v{i}", f"m.k{i}"]
        columns += [f"CAST({sql} AS FLOAT) AS p{i}_{j}" for j, sql in enumerate(belief_columns(field))]
    return f"SELECT {', '.join(columns)} FROM metadata m JOIN heard t ON m.track_id = t.track_id"  # noqa: S608


def join(connection: duckdb.DuckDBPyConnection, mapping: MetadataMapping, target: Path) -> LocalRows:
    """Write the joined rows to a file of this machine."""
    connection.execute(f"COPY ({joined_sql(mapping)}) TO {text(str(target))} (FORMAT parquet, ROW_GROUP_SIZE 100000)")
    return LocalRows(path=target)


def unmapped(connection: duckdb.DuckDBPyConnection, mapping: MetadataMapping) -> dict[str, dict[str, int]]:
    """Field -> values of the metadata that the mapping does not list -> rows, the most frequent first."""
    found = {}
    for i, field in enumerate(mapping.fields):
        known = pa.table({"value": pa.array(field.values, pa.string())})
        connection.register("known_values", known)
        sql = (
            f"SELECT any_value(trim(v{i})), count(*) AS n FROM metadata m ANTI JOIN known_values k ON m.k{i} = k.value "  # noqa: S608
            f"WHERE k{i} IS NOT NULL GROUP BY k{i} ORDER BY n DESC, k{i} LIMIT {_MOST_UNMAPPED}"
        )
        found[field.name] = dict(connection.execute(sql).fetchall())
        connection.unregister("known_values")
    return found


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, ...]:
    (row,) = connection.execute(sql).fetchall()
    return tuple(row)
