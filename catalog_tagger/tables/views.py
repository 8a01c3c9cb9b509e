"""The warehouse as SQL: which rows are current, and an embedded DuckDB that sees them.

Views:

- ``tracks_history``, ``segments_history``, ...: every committed row of a table;
- ``tracks``: the newest committed row of each track: of the run that was committed last, as its manifest's
  ``committed_at`` says, then by ``tagged_at``, then ``run_id``. ``tagged_at`` is the clock of the node that
  made the row, and one clock that is hours ahead must not outlast the runs that follow;
- ``segments``, ``fingerprints``: the rows that belong to those;
- ``songs``, ``duplicates``, ``searches``, and ``flags``, ``label_noise``, ``flag_precision``, ``decisions``:
  the rows of the run of their kind that was committed last;
- ``track_tags``, ``segment_tags``: their tags, one row each: ``track_id, tag, score`` and ``track_id, start_s,
  end_s, tag, score``;
- ``runs``: one row per committed run.

Only files listed in a run's ``manifest.json`` are read, so a run in progress is invisible.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from catalog_tagger.errors import StorageError, UsageError
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import TAG, committed_runs, require_warehouse
from catalog_tagger.tables.published import runs_table
from catalog_tagger.tables.schemas import TABLES, TABLES_OF

#: The rule of "current", the only place that states it: columns of `tracks_history` and `runs`, the weightiest first.
NEWNESS: Final = ("committed_at", "tagged_at", "run_id")
CURRENT_TRACKS_SQL: Final = (
    "SELECT h.* FROM tracks_history h LEFT JOIN runs USING (run_id) QUALIFY row_number() OVER "  # noqa: S608  names of columns
    f"(PARTITION BY track_id ORDER BY {', '.join(f'{column} DESC' for column in NEWNESS)}) = 1"
)
_OF_TRACKS_SQL: Final = "SELECT s.* FROM {table}_history s SEMI JOIN tracks t USING (track_id, run_id)"
_OF_LAST_RUN_SQL: Final = (
    "SELECT * FROM {table}_history "
    "WHERE run_id = (SELECT run_id FROM runs WHERE kind = '{kind}' ORDER BY committed_at DESC, run_id DESC LIMIT 1)"
)
CURRENT_SQL: Final = {
    table: CURRENT_TRACKS_SQL
    if table == "tracks"
    else (_OF_TRACKS_SQL if kind == TAG else _OF_LAST_RUN_SQL).format(table=table, kind=kind)
    for kind, tables in TABLES_OF.items()
    for table in tables
}
#: table -> (view of its tags, statement)
_TAGS_SQL: Final = {
    "tracks": ("track_tags", "SELECT track_id, t.tag, t.score FROM tracks, unnest(tags) AS each(t)"),
    "segments": (
        "segment_tags",
        "SELECT track_id, start_s, end_s, t.tag, t.score FROM segments, unnest(tags) AS each(t)",
    ),
}

_FETCHERS: Final = 16


def connect(
    warehouse: Store, *, tables: Iterable[str] = tuple(TABLES), columns: Sequence[str] | None = None
) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the views above.

    Parameters
    ----------
    tables
        Only these; others have no view. Opening a table reads the footer of each of its files.
    columns
        All that will be asked for. From object storage they are then fetched at once, many files at a time,
        and held in memory: DuckDB asks for one small piece of a file after the other.

    Raises
    ------
    UsageError
        There is no warehouse at that place.
    StorageError
        A committed file is missing or damaged.
    """
    runs = committed_runs(warehouse)
    if not runs:
        require_warehouse(warehouse)
    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")  # it would write into the answer on standard output
    if not warehouse.is_local:
        connection.register_filesystem(warehouse.fs)
    connection.register("runs", runs_table(runs))
    for table in sorted(tables, key=lambda name: name != "tracks"):  # which the views of others look at
        files = [entry.name for run in runs for entry in run.files if entry.table == table]
        try:
            if columns is None or warehouse.is_local or not files:
                _create_history(connection, table, [warehouse.uri_of(name) for name in files])
            else:
                connection.register(f"{table}_history", _fetched(warehouse, table, files, columns))
        except (duckdb.Error, pa.ArrowException, FileNotFoundError) as error:
            reason = str(error).splitlines()[0]
            raise StorageError(f"{warehouse.uri}: a committed file cannot be read ({reason}); restore it") from error
        connection.execute(f"CREATE VIEW {table} AS {CURRENT_SQL[table]}")
        if columns is None and table in _TAGS_SQL:
            view, statement = _TAGS_SQL[table]
            connection.execute(f"CREATE VIEW {view} AS {statement}")
    return connection


def _create_history(connection: duckdb.DuckDBPyConnection, table: str, files: list[str]) -> None:
    """The view of all rows of a table; columns that none of its files has yet are null."""
    empty = connection.from_arrow(TABLES[table].empty_table())
    if not files:
        empty.create_view(f"{table}_history")
        return
    rows = connection.read_parquet(files, hive_partitioning=False, union_by_name=True)
    kinds = dict(zip(empty.columns, empty.types, strict=True))
    later = [f'NULL::{kind} AS "{column}"' for column, kind in kinds.items() if column not in rows.columns]
    rows.project(", ".join(["*", *later])).create_view(f"{table}_history")


def _fetched(warehouse: Store, table: str, files: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """Some columns of a table's files; those that a file does not have yet are null."""
    schema = pa.schema([TABLES[table].field(column) for column in columns])

    def fetch(name: str) -> pa.Table:
        file = pq.ParquetFile(pa.BufferReader(warehouse.read(name)))
        has = [column for column in columns if column in file.schema_arrow.names]
        rows = file.read(columns=has)
        values = [rows[field.name] if field.name in has else pa.nulls(len(rows), field.type) for field in schema]
        return pa.table(values, names=list(columns)).cast(schema)

    with ThreadPoolExecutor(_FETCHERS, thread_name_prefix="table") as pool:
        return pa.concat_tables(pool.map(fetch, files))


def query(warehouse: Store, sql: str) -> pa.Table:
    """Run one statement over the views.

    Raises
    ------
    UsageError
        DuckDB does not accept the statement; the message is DuckDB's.
    """
    with connect(warehouse) as connection:
        try:
            return connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise UsageError(str(error)) from error
        except AttributeError:
            raise UsageError(f"the statement returns no rows: {json.dumps(sql)}; use a SELECT") from None
