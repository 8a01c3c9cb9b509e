"""What the warehouse says of its tracks, close at hand.

The columns of the current rows of `tracks` that a run needs are written once to a Parquet file of this machine, the
view ``heard``. Of a warehouse in object storage the files of `tracks` and `segments` are fetched many at a time, since
DuckDB asks for one small piece of a file after the other; no more than a few are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalog_tagger.errors import StorageError
from catalog_tagger.reconcile.reading import text
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import RunManifest
from catalog_tagger.tables.schemas import TABLES
from catalog_tagger.tables.views import CURRENT_SQL, connect

COLUMNS: Final = (
    *("track_id", "run_id", "status", "error_code", "error_message", "uri", "audio_etag", "speech_fraction"),
    *("music_fraction", "content_type", "content_confidence", "voice_gender", "voice_gender_confidence", "tags"),
    "content_probabilities",
)
_OTHERS: Final = ("songs", "duplicates", "flags", "decisions")
_SEGMENTS: Final = ("track_id", "run_id", "start_s", "end_s", "p_speech", "p_music", "p_female", "tags")
_FETCHERS: Final = 16
_Made = TypeVar("_Made")


def open_warehouse(store: Store, runs: Sequence[RunManifest], folder: Path) -> duckdb.DuckDBPyConnection:
    """The views of `tables.views` that a run needs; `folder` takes what is fetched."""
    if store.is_local:
        return connect(store, tables=("tracks", *_OTHERS))
    connection = connect(store, tables=_OTHERS)
    _fetch_tracks(store, runs, folder / "history")
    files = sorted(str(path) for path in (folder / "history").iterdir())
    connection.read_parquet(files, hive_partitioning=False).create_view("tracks_history")
    connection.execute(f"CREATE VIEW tracks AS {CURRENT_SQL['tracks']}")
    return connection


def keep_heard(connection: duckdb.DuckDBPyConnection, target: Path) -> None:
    """Write the current rows of `tracks` to a file, once, and make the view ``heard`` of it."""
    columns = ", ".join(COLUMNS)
    connection.execute(f"COPY (SELECT {columns} FROM tracks) TO {text(str(target))} (FORMAT parquet)")  # noqa: S608
    connection.read_parquet(str(target)).create_view("heard")


def segments_of(store: Store, runs: Sequence[RunManifest], tracks: pa.Table) -> duckdb.DuckDBPyConnection:
    """A DuckDB whose view ``segments_history`` has all segments of some tracks.

    Parameters
    ----------
    tracks
        Columns ``track_id`` and ``track_run_id``; both null rows and repeats are allowed.
    """
    if store.is_local:
        return connect(store, tables=("tracks", "segments"))
    wanted = {run_id: _of_run(tracks, run_id) for run_id in pc.unique(tracks["track_run_id"]).to_pylist()}
    names = [
        (entry.name, wanted[run.run_id])
        for run in runs
        for entry in run.files
        if entry.table == "segments" and run.run_id in wanted
    ]

    def fetch(one: tuple[str, pa.Array]) -> pa.Table:
        rows = _columns(store, one[0], "segments", _SEGMENTS)
        return rows.filter(pc.is_in(rows["track_id"], value_set=one[1]))

    empty = TABLES["segments"].empty_table().select(_SEGMENTS)
    connection = duckdb.connect()
    connection.register("segments_history", pa.concat_tables([empty, *_at_once(fetch, names)]))
    return connection


def _of_run(tracks: pa.Table, run_id: str | None) -> pa.Array:
    ids = tracks.filter(pc.equal(tracks["track_run_id"], pa.scalar(run_id, pa.string())))["track_id"]
    return pc.unique(ids)


def _fetch_tracks(store: Store, runs: Sequence[RunManifest], folder: Path) -> None:
    folder.mkdir()
    names = [entry.name for run in runs for entry in run.files if entry.table == "tracks"]
    pq.write_table(TABLES["tracks"].empty_table().select((*COLUMNS, "tagged_at")), folder / "empty.parquet")

    def fetch(one: tuple[int, str]) -> None:
        rows = _columns(store, one[1], "tracks", (*COLUMNS, "tagged_at"))
        pq.write_table(rows, folder / f"{one[0]:08d}.parquet")

    _at_once(fetch, list(enumerate(names)))


def _at_once(fetch: Callable[[_Made], pa.Table | None], names: list[_Made]) -> list[pa.Table | None]:
    with ThreadPoolExecutor(_FETCHERS, thread_name_prefix="table") as pool:
        return list(pool.map(fetch, names))


def _columns(store: Store, name: str, table: str, columns: Sequence[str]) -> pa.Table:
    """Some columns of a table's file; those that it does not have yet are null."""
    schema = pa.schema([TABLES[table].field(column) for column in columns]).remove_metadata()
    try:
        file = pq.ParquetFile(pa.BufferReader(store.read(name)))
        has = [column for column in columns if column in file.schema_arrow.names]
        rows = file.read(columns=has)
    except (pa.ArrowException, FileNotFoundError) as error:
        reason = str(error).splitlines()[0]
        raise StorageError(f"{store.uri}: a committed file cannot be read ({reason}); restore it") from error
    values = [rows[field.name] if field.name in has else pa.nulls(len(rows), field.type) for field in schema]
    return pa.table(values, names=list(columns)).cast(schema)
