"""What is read of a warehouse: current rows alone, of files of any version, in object storage too."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hand_made import put_tracks, some_tracks, track
from servers import BUCKET, S3Server

from catalog_tagger.errors import StorageError
from catalog_tagger.reconcile.heard import keep_heard, open_warehouse, segments_of
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import committed_runs


def without(store: Store, name: str, *columns: str) -> None:
    """Make a file one of an older version."""
    rows = pq.read_table(io.BytesIO(store.read(name))).drop_columns(list(columns))
    buffer = io.BytesIO()
    pq.write_table(rows, buffer)
    store.write(name, buffer.getvalue())


def check(store: Store, folder: Path) -> None:
    put_tracks(store, some_tracks(), run_id="t1", minute=1, n=2)
    without(store, "tracks/run_id=t1/all.parquet", "content_probabilities", "tags", "voice_gender")
    put_tracks(store, [track("m01", "speech"), track("new")], run_id="t2", minute=2, n=3)
    runs = committed_runs(store)
    with open_warehouse(store, runs, folder) as connection:
        keep_heard(connection, folder / "heard.parquet")
        found = connection.sql(
            "SELECT run_id, count(*), count(content_probabilities.music) FROM heard GROUP BY 1 ORDER BY 1"
        )
        assert found.fetchall() == [("t1", 59, 0), ("t2", 2, 2)]
        assert connection.sql("SELECT count(*) FROM flags").fetchall() == [(0,)]
    wanted = pa.table({"track_id": ["m00", "m01", "m01"], "track_run_id": ["t1", "t2", "t2"]})
    with segments_of(store, runs, wanted) as segments:
        sql = (
            "SELECT track_id, run_id, count(*) FROM segments_history "
            "WHERE (track_id, run_id) IN (('m00', 't1'), ('m01', 't2')) GROUP BY ALL ORDER BY ALL"
        )
        assert segments.sql(sql).fetchall() == [("m00", "t1", 2), ("m01", "t2", 3)]


def test_a_folder_is_read(tmp_path: Path) -> None:
    check(Store(tmp_path / "w"), tmp_path)


def test_object_storage_is_read(s3: S3Server, tmp_path: Path) -> None:
    check(Store(f"s3://{BUCKET}/heard-{s3.kind}"), tmp_path)


def test_a_damaged_file_is_one_error(s3: S3Server, tmp_path: Path) -> None:
    store = Store(f"s3://{BUCKET}/damaged-{s3.kind}")
    put_tracks(store, some_tracks())
    store.write("tracks/run_id=t1/all.parquet", b"nothing")
    with pytest.raises(StorageError, match="a committed file cannot be read"):
        open_warehouse(store, committed_runs(store), tmp_path)
