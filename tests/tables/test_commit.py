"""Runs appear whole or not at all, and can be accounted for from what lies in the warehouse."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from warehouse import manifest_of, put_run, put_shard, track_row

from catalog_tagger.errors import RunError, StorageError
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import (
    RunManifest,
    commit_run,
    committed_runs,
    finished_shards,
    read_manifest,
    read_shard,
    read_shards,
    unfinished_runs,
)
from catalog_tagger.tables.schemas import TABLES


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_files_carry_the_schema_with_its_comments(store: Store) -> None:
    entries = put_shard(store, run_id="r", shard="s", rows=[track_row("a", run_id="r", minute=0)])
    for entry in entries:
        found = pq.read_schema(store.path(entry.name))
        assert found.remove_metadata().equals(TABLES[entry.table].remove_metadata())
        for field in found:
            assert field.metadata[b"comment"] == TABLES[entry.table].field(field.name).metadata[b"comment"]


def test_entries_and_footers_tell_the_same(store: Store) -> None:
    rows = [track_row(name, run_id="r", minute=0) for name in "abc"]
    entries = put_shard(store, run_id="r", shard="s", rows=rows)
    accounted = read_shard(store, "r", "s")
    assert accounted is not None
    summary, found = accounted
    assert sorted(found, key=lambda entry: entry.name) == sorted(entries, key=lambda entry: entry.name)
    assert (summary.shard, summary.tracks, summary.segments, summary.worker) == ("s", 3, 6, "node/1/cpu")
    for entry in entries:
        path = Path(store.path(entry.name))
        assert (entry.size_bytes, entry.rows) == (path.stat().st_size, pq.read_metadata(path).num_rows)
    assert {entry.table: entry.rows for entry in entries} == {"tracks": 3, "segments": 6, "fingerprints": 0}


def test_a_shard_ends_with_its_tracks_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Store.write

    def refuse_tracks(self: Store, name: str, data: bytes) -> None:
        if name.startswith("tracks/"):
            raise StorageError("the disk is full")
        real(self, name, data)

    monkeypatch.setattr(Store, "write", refuse_tracks)
    with pytest.raises(StorageError):
        put_shard(store, run_id="r", shard="s", rows=[track_row("a", run_id="r", minute=0)])
    assert store.children("segments/run_id=r") == ["s.parquet"], "the other tables were written before"
    assert finished_shards(store, "r") == []
    monkeypatch.undo()
    put_shard(store, run_id="r", shard="s", rows=[track_row("a", run_id="r", minute=0)])
    assert finished_shards(store, "r") == ["s"]


def test_the_same_rows_make_the_same_bytes(store: Store) -> None:
    rows = [track_row("a", run_id="r", minute=0)]
    first = {e.name: store.read(e.name) for e in put_shard(store, run_id="r", shard="s", rows=rows)}
    again = {e.name: store.read(e.name) for e in put_shard(store, run_id="r", shard="s", rows=rows)}
    assert first == again


def test_a_run_exists_once_its_manifest_does(store: Store) -> None:
    files = put_shard(store, run_id="r", shard="s", rows=[track_row("a", run_id="r", minute=0)])
    store.write("runs/r/job.json", b"{}")
    assert read_manifest(store, "r") is None
    assert committed_runs(store) == []
    assert unfinished_runs(store) == ["r"]
    manifest = manifest_of("r", files)
    commit_run(store, manifest)
    assert read_manifest(store, "r") == manifest
    assert committed_runs(store) == [manifest]
    assert unfinished_runs(store) == []


def test_runs_come_in_the_order_of_their_commits(store: Store) -> None:
    for run_id, committed_at in (("a", "2026-01-03"), ("b", "2026-01-01"), ("d", "2026-01-02"), ("c", "2026-01-02")):
        commit_run(store, manifest_of(run_id, [], committed_at=committed_at))
    assert [run.run_id for run in committed_runs(store)] == ["b", "c", "d", "a"]


def test_a_manifest_survives_its_file(store: Store) -> None:
    put_run(store, "r", [track_row("a", run_id="r", minute=0)])
    manifest = read_manifest(store, "r")
    assert manifest is not None
    assert RunManifest.from_json(manifest.to_json(), place="here") == manifest


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"files": []}', json.dumps({"run_id": "r"}).encode()])
def test_a_damaged_manifest_is_one_error_that_names_it(store: Store, data: bytes) -> None:
    store.write("runs/r/manifest.json", data)
    with pytest.raises(StorageError, match=r"runs/r/manifest\.json: not a run manifest .*restore or remove the file"):
        committed_runs(store)


def test_a_commit_removes_what_no_reader_should_find(store: Store, tmp_path: Path) -> None:
    files = put_shard(store, run_id="r", shard="s", rows=[track_row("a", run_id="r", minute=0)])
    store.write("tracks/run_id=r/of-another-driver.parquet", b"the same rows once more")
    store.write("tracks/run_id=other/of-another-run.parquet", b"kept")
    (tmp_path / "segments/run_id=r/.partial-0123").write_bytes(b"half a file")
    assert commit_run(store, manifest_of("r", files))
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    listed = {file.name for file in files}
    assert left == listed | {"tracks/run_id=other/of-another-run.parquet", "runs/r/manifest.json"}


def test_a_run_is_committed_once(store: Store) -> None:
    assert commit_run(store, manifest_of("r", []))
    assert not commit_run(store, manifest_of("r", [], committed_at="2031-01-01T00:00:00"))
    manifest = read_manifest(store, "r")
    assert manifest is not None
    assert not manifest.committed_at.startswith("2031")


def test_a_shard_with_a_missing_or_damaged_file_does_not_count(store: Store, tmp_path: Path) -> None:
    for shard in ("whole", "missing", "damaged", "foreign"):
        put_shard(store, run_id="r", shard=shard, rows=[track_row(shard, run_id="r", minute=0)])
    (tmp_path / "segments/run_id=r/missing.parquet").unlink()
    (tmp_path / "segments/run_id=r/damaged.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "tracks/run_id=r/foreign.parquet")
    assert list(read_shards(store, "r")) == ["whole"]


@pytest.mark.parametrize("seed", range(10))
def test_a_shard_with_a_damaged_footer_does_not_count(store: Store, tmp_path: Path, seed: int) -> None:
    put_shard(store, run_id="r", shard="s", rows=[track_row("a", run_id="r", minute=0)])
    path = tmp_path / "tracks/run_id=r/s.parquet"
    data = bytearray(path.read_bytes())
    footer = int.from_bytes(data[-8:-4], "little")
    for at in random.Random(seed).sample(range(min(footer, 200)), 8):
        data[len(data) - 8 - footer + at] ^= 0xFF
    path.write_bytes(data)
    assert read_shards(store, "r") == {}


def test_files_of_two_attempts_at_a_shard_do_not_count_together(store: Store, tmp_path: Path) -> None:
    put_shard(store, run_id="r", shard="s", rows=[track_row("a", run_id="r", minute=0)])
    first = (tmp_path / "tracks/run_id=r/s.parquet").read_bytes()
    put_shard(store, run_id="r", shard="s", rows=[track_row("a", run_id="r", minute=0)], segments=5)
    (tmp_path / "tracks/run_id=r/s.parquet").write_bytes(first)
    assert read_shards(store, "r") == {}


def test_a_driver_that_comes_late_neither_sweeps_nor_replaces_what_was_committed(store: Store) -> None:
    theirs = put_shard(store, run_id="r", shard="s", rows=[track_row("a", run_id="r", minute=0)])
    mine = put_shard(store, run_id="r", shard="s.000000-000001", rows=[track_row("a", run_id="r", minute=0)])
    assert commit_run(store, manifest_of("r", theirs))
    assert not commit_run(store, manifest_of("r", mine))
    manifest = read_manifest(store, "r")
    assert manifest is not None
    assert manifest.files == theirs
    assert all(store.exists(file.name) for file in theirs)


def test_a_manifest_whose_files_are_gone_is_not_committed(store: Store) -> None:
    files = put_shard(store, run_id="r", shard="s", rows=[track_row("a", run_id="r", minute=0)])
    store.remove(files[0].name)
    with pytest.raises(RunError, match=r"/s\.parquet: gone; run it again with --run-id r"):
        commit_run(store, manifest_of("r", files))
    assert read_manifest(store, "r") is None
