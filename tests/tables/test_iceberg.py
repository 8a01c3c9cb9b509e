"""Registered files are read back whole, a snapshot for each run, and only once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import five_questions
import pytest
from commands import command
from servers import BUCKET, S3Server
from warehouse import put_run, track_row

from catalog_tagger.errors import RunError, UsageError
from catalog_tagger.storage import Store
from catalog_tagger.tables.iceberg import RUN_ID, open_catalog, own_catalog, register, unregister
from catalog_tagger.tables.schemas import TABLES
from catalog_tagger.tables.views import connect

pytest.importorskip("pyiceberg")
OLD = "20251231T000000Z-0000"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "tags")
    five_questions.make(store)
    return store


def rows_of(catalog: Any, table: str) -> list[dict[str, Any]]:
    return in_order(catalog.load_table(f"catalog_tagger.{table}").scan().to_arrow().to_pylist())


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sorted; PyIceberg's reader makes lists that are null empty ones."""
    lists = ("tags", "embedding")
    same = [{name: [] if name in lists and value is None else value for name, value in row.items()} for row in rows]
    return sorted(same, key=lambda row: json.dumps(row, default=str))


def committed(store: Store, table: str) -> list[dict[str, Any]]:
    name = "runs" if table == "runs" else f"{table}_history"
    with connect(store) as connection:
        return in_order(connection.sql(f"SELECT * FROM {name}").to_arrow_table().to_pylist())


def require_all(store: Store, catalog: Any) -> None:
    for table in ("runs", *TABLES):
        assert rows_of(catalog, table) == committed(store, table), table


def test_every_committed_row_is_there_once(store: Store) -> None:
    catalog = open_catalog(store)
    added = register(store, catalog)
    require_all(store, catalog)
    assert [one.run_id for one in added if one.table == "tracks"] == [OLD, "r1", "r2"]
    snapshots = catalog.load_table("catalog_tagger.tracks").snapshots()
    assert [one.summary[RUN_ID] for one in snapshots] == [OLD, "r1", "r2"]
    assert register(store, catalog) == []
    put_run(store, "r4", [track_row("later", run_id="r4", minute=1)])
    assert {(one.table, one.run_id, one.rows) for one in register(store, catalog)} == {
        ("runs", "r4", 1),
        ("tracks", "r4", 1),
        ("segments", "r4", 2),
    }
    require_all(store, catalog)


def test_nothing_is_copied(store: Store) -> None:
    register(store, open_catalog(store))
    written = [path for path in Path(store.path("iceberg")).rglob("*") if path.is_file()]
    assert {path.suffix for path in written} == {".db", ".json", ".avro"}


def test_snapshots_that_were_expired_are_no_reason_to_register_again(store: Store) -> None:
    catalog = open_catalog(store)
    register(store, catalog)
    table = catalog.load_table("catalog_tagger.tracks")
    table.maintenance.expire_snapshots().by_ids([one.snapshot_id for one in table.snapshots()[:-1]]).commit()
    assert register(store, catalog) == []


def test_registering_that_was_ended_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyiceberg.table import Table

    add, calls = Table.add_files, []

    def ends(self: Table, *arguments: Any, **options: Any) -> None:
        calls.append(arguments)
        if len(calls) == 8:
            raise OSError("the disk is full")
        add(self, *arguments, **options)

    catalog = open_catalog(store)
    monkeypatch.setattr(Table, "add_files", ends)
    with pytest.raises(RunError, match="the disk is full; what is registered stays"):
        register(store, catalog)
    monkeypatch.setattr(Table, "add_files", add)
    register(store, catalog)
    require_all(store, catalog)


def test_a_run_leaves_without_its_files_being_written_anew(store: Store) -> None:
    catalog = open_catalog(store)
    register(store, catalog)
    unregister(catalog, {"r1"})
    assert {row["run_id"] for row in rows_of(catalog, "tracks")} == {OLD, "r2"}
    assert {row["run_id"] for row in rows_of(catalog, "runs")} == {OLD, "r2", "s1", "s2", "c1", "c2"}
    left = catalog.load_table("catalog_tagger.segments").inspect.data_files()["file_path"].to_pylist()
    assert [path.rpartition("tags/")[2] for path in sorted(left)] == [
        "segments/run_id=20251231T000000Z-0000/000000-x.parquet",
        "segments/run_id=r2/000000-x.parquet",
    ]


def test_duckdb_reads_the_tables(store: Store) -> None:
    catalog = open_catalog(store)
    register(store, catalog)
    place = catalog.load_table("catalog_tagger.tracks").metadata_location.removeprefix("file://")
    with duckdb.connect() as connection:
        try:
            connection.execute("LOAD iceberg")
        except duckdb.Error:
            pytest.skip("DuckDB's extension iceberg is not installed here")
        assert connection.execute(f"SELECT count(*) FROM iceberg_scan('{place}')").fetchall() == [(8,)]


def test_the_command_says_what_it_added(store: Store) -> None:
    first = command("iceberg", store.uri, "--json")
    assert first.returncode == 0, first.stderr
    assert {one["run_id"] for one in json.loads(first.stdout)} == {OLD, "r1", "r2", "s1", "s2", "c1", "c2"}
    assert own_catalog(store) is not None
    assert command("iceberg", store.uri).stdout == "all runs are registered\n"


# PyArrow uploads in parts of a length that it does not tell, which rclone's server refuses
@pytest.mark.parametrize("s3", ["moto"], indirect=True)
def test_a_bucket_needs_a_catalogue_elsewhere(s3: S3Server, tmp_path: Path) -> None:
    store = Store(f"s3://{BUCKET}/tags")
    five_questions.make(store)
    with pytest.raises(UsageError, match="SQLite cannot lie in a bucket; name a catalogue of yours"):
        open_catalog(store)
    catalog = open_catalog(store, properties={"uri": f"sqlite:///{tmp_path}/catalog.db"})
    register(store, catalog)
    require_all(store, catalog)


def test_what_is_no_property_is_refused(store: Store) -> None:
    done = command("iceberg", store.uri, "--property", "type")
    assert done.returncode == 2
    assert done.stderr == "catalog-tagger: --property type: give KEY=VALUE\n"
