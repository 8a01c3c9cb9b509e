"""What a run has to do beside what the warehouse holds: real warehouses of several runs."""

import io
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from servers import BUCKET, S3Server

sys.path.insert(0, str(Path(__file__).parents[1] / "tables"))
from warehouse import manifest_of, put_shard, track_row

from catalog_tagger.errors import QUARANTINE_CODES, StorageError, UsageError
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import commit_run
from catalog_tagger.tagging.changes import PASSING, REMOVED, Selection, select_changed
from catalog_tagger.tagging.track_list import TRACK_LIST

BUNDLES = ["a@1", "b@2"]


def listed(*ids: str, **columns: object) -> pa.Table:
    """Tracks of a source as `held` rows have them."""
    rows = [{"track_id": name, "uri": f"/audio/{name}", "etag": f"e-{name}", **columns} for name in ids]
    return pa.Table.from_pylist(rows, schema=TRACK_LIST)


def held(track_id: str, **columns: object) -> dict[str, object]:
    return {"track_id": track_id, "audio_etag": f"e-{track_id}", "bundles": BUNDLES, "attempts": 1, **columns}


def broken(track_id: str, code: str, **columns: object) -> dict[str, object]:
    return held(track_id, status="quarantined", error_code=code, error_message="m", **columns)


def commit(
    store: Store, run_id: str, *rows: dict[str, Any], source: str = "/audio", minute: int = 0, day: int = 1
) -> None:
    made = [track_row(run_id=run_id, minute=minute, **row) for row in rows]
    files = put_shard(store, run_id=run_id, shard="000000-x", rows=made, segments=0)
    manifest = manifest_of(run_id, files, committed_at=f"2026-01-0{day}T13:00:00")
    commit_run(store, type(manifest)(**{**vars(manifest), "source": source}))


def selected(store: Store, tracks: pa.Table, **options: Any) -> Selection:
    return select_changed(tracks, store, bundle_ids=BUNDLES, **options)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "w")


@pytest.mark.parametrize(
    ("row", "redo"),
    [
        (held("x"), False),
        (held("y"), True),
        (held("x", audio_etag="other"), True),
        (held("x", audio_etag=None), True),
        (held("x", uri="/moved/x"), True),
        (held("x", bundles=["a@1"]), True),
        (held("x", bundles=["a@1", "b@3"]), True),
        (held("x", bundles=["b@2", "a@1"]), True),
        (held("x", bundles=[]), True),
        (broken("x", "not_audio"), False),
        *((broken("x", code), True) for code in PASSING),
    ],
)
def test_a_track_is_done_again_when_anything_it_rests_on_changed(
    row: dict[str, object], redo: bool, store: Store
) -> None:
    commit(store, "r", row)
    found = selected(store, listed("x"))
    assert found.todo["track_id"].to_pylist() == (["x"] if redo else [])
    assert found.up_to_date == (0 if redo else 1)


def test_only_the_newest_row_counts(store: Store) -> None:
    commit(store, "old", held("x"), held("y", audio_etag="old"), minute=1)
    commit(store, "new", held("x", audio_etag="newer"), held("y"), minute=2)
    assert selected(store, listed("x", "y")).todo["track_id"].to_pylist() == ["x"]


def test_a_track_whose_etag_is_unknown_now_counts_as_unchanged(store: Store) -> None:
    commit(store, "r", held("x"))
    found = selected(store, listed("x", "z", etag=None))
    assert (found.todo["track_id"].to_pylist(), found.up_to_date) == (["z"], 1)


def test_in_an_empty_warehouse_everything_is_to_do(store: Store) -> None:
    tracks = listed("x", "y")
    found = selected(store, tracks, source="/audio")
    assert found.todo.drop_columns("attempts").equals(tracks)
    assert found.todo.schema.field("attempts").type == pa.int32()
    assert found.todo["attempts"].to_pylist() == [0, 0]
    assert (found.up_to_date, found.removed.num_rows) == (0, 0)


# --- quarantined tracks ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retry", "again"),
    [
        ((), ["p"]),
        (("truncated",), ["p", "t"]),
        (("truncated", "not_audio"), ["n", "p", "t"]),
        (("all",), ["n", "p", "t"]),
    ],
)
def test_quarantined_tracks_are_planned_again_by_code(retry: tuple[str, ...], again: list[str], store: Store) -> None:
    rows = [broken("p", "unreadable"), broken("t", "truncated"), broken("n", "not_audio"), held("good")]
    commit(store, "r", *rows)
    found = selected(store, listed("p", "t", "n", "good"), retry=retry)
    assert sorted(found.todo["track_id"].to_pylist()) == again
    assert found.up_to_date == 4 - len(again)


def test_an_unknown_code_is_one_error_that_lists_the_known_ones(store: Store) -> None:
    with pytest.raises(UsageError, match="unknown error code 'trunkated'; known codes: empty, ") as caught:
        selected(store, listed("x"), retry=("all", "trunkated"))
    assert all(code in str(caught.value) for code in QUARANTINE_CODES)


@pytest.mark.parametrize(
    ("row", "attempts"),
    [
        (broken("x", "unreadable", attempts=3), 3),
        (broken("x", "unreadable", attempts=None), 1),
        (broken("x", "unreadable", attempts=3, audio_etag="other"), 0),
        (broken("x", "unreadable", attempts=3, uri="/moved/x"), 0),
        (broken("x", "unreadable", attempts=3, bundles=["a@1"]), 0),
        (held("x", attempts=3, audio_etag="other"), 0),
        (broken("y", "unreadable", attempts=3), 0),
    ],
)
def test_failed_attempts_at_the_same_audio_are_counted_on(row: dict[str, object], attempts: int, store: Store) -> None:
    commit(store, "r", row)
    assert selected(store, listed("x")).todo["attempts"].to_pylist() == [attempts]


# --- warehouses in object storage ------------------------------------------------------------------


def test_a_warehouse_in_a_bucket_is_read_the_same(s3: S3Server, tmp_path: Path) -> None:
    """There the rows are fetched by the planner itself, not by DuckDB."""
    tracks = listed("x", "old", "broken", "new")
    found = []
    for store in (Store(f"s3://{BUCKET}/{tmp_path.name}"), Store(tmp_path / "w")):
        commit(store, "a", held("x", audio_etag="old"), held("gone"), broken("old", "unreadable"), minute=1)
        commit(store, "b", held("x"), broken("broken", "not_audio", attempts=4), minute=2)
        (name,) = store.children("tracks/run_id=a")
        kept = pq.read_table(pa.BufferReader(store.read(f"tracks/run_id=a/{name}"))).drop_columns("attempts")
        buffer = io.BytesIO()
        pq.write_table(kept, buffer)
        store.write(f"tracks/run_id=a/{name}", buffer.getvalue())
        found.append(selected(store, tracks, source="/audio", retry=["not_audio"]))
    assert found[0].todo.equals(found[1].todo)
    assert found[0].todo.select(["track_id", "attempts"]).to_pylist() == [
        {"track_id": "old", "attempts": 1},
        {"track_id": "broken", "attempts": 4},
        {"track_id": "new", "attempts": 0},
    ]
    assert [one.up_to_date for one in found] == [1, 1]
    assert [one.removed["track_id"].to_pylist() for one in found] == [["gone"], ["gone"]]


def test_a_lost_file_in_a_bucket_is_one_error(s3: S3Server, tmp_path: Path) -> None:
    store = Store(f"s3://{BUCKET}/{tmp_path.name}")
    commit(store, "a", held("x"))
    store.fs.rm(store.path("tracks/run_id=a/000000-x.parquet"))
    with pytest.raises(StorageError, match="a committed file cannot be read"):
        selected(store, listed("x"))


# --- removed tracks --------------------------------------------------------------------------------


def test_current_rows_that_the_same_source_no_longer_lists_are_removed(store: Store) -> None:
    commit(store, "a", held("x"), held("gone"), held("gone too"), minute=1)
    commit(store, "b", held("elsewhere"), source="/other", minute=2)
    found = selected(store, listed("x", "new"), source="/audio")
    assert found.removed.schema.equals(REMOVED)
    assert found.removed.to_pylist() == [
        {"track_id": "gone", "uri": "/audio/gone"},
        {"track_id": "gone too", "uri": "/audio/gone too"},
    ]
    assert selected(store, listed("x")).removed.num_rows == 0, "without a source nothing can be said"


def test_a_track_that_another_source_has_now_is_not_removed(store: Store) -> None:
    commit(store, "a", held("x"), held("moved"), minute=1)
    commit(store, "b", held("moved"), source="/other", minute=2)
    assert selected(store, listed("x"), source="/audio").removed.num_rows == 0


def test_a_track_planned_again_by_hand_stays_of_its_catalogue(store: Store) -> None:
    commit(store, "a", held("x"), broken("gone", "truncated"), broken("other", "truncated"), minute=1)
    commit(store, "b", broken("other", "truncated"), source="/other", minute=2)
    retry = "/w/runs/c/retry.parquet"
    commit(store, "c", broken("gone", "truncated"), broken("other", "truncated"), source=retry, minute=3)
    found = selected(store, listed("x"), source="/audio")
    assert found.removed["track_id"].to_pylist() == ["gone"]


def test_a_clock_that_is_ahead_does_not_keep_a_track_in_its_old_catalogue(store: Store) -> None:
    commit(store, "a", held("x"), broken("moved", "truncated"), minute=50, day=1)
    commit(store, "b", broken("moved", "truncated"), source="/other", minute=2, day=2)
    commit(store, "c", broken("moved", "truncated"), source="/w/runs/c/retry.parquet", minute=3, day=3)
    assert selected(store, listed("x"), source="/audio").removed.num_rows == 0
    assert selected(store, listed("y"), source="/other").removed["track_id"].to_pylist() == ["moved"]


def test_tracks_with_a_row_from_before_a_column_was_added_are_read(store: Store) -> None:
    """Files of an older version have no column `attempts`."""
    commit(store, "r", broken("x", "unreadable"))
    (path,) = Path(store.root).glob("tracks/run_id=r/*.parquet")
    pq.write_table(pq.read_table(path).drop_columns("attempts"), path)
    assert selected(store, listed("x")).todo["attempts"].to_pylist() == [1]
