"""From tracks to work shards: every track once, limits kept, the same every time."""

import random
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_tagger.errors import StorageError
from catalog_tagger.storage import Store
from catalog_tagger.tagging import plan as planning
from catalog_tagger.tagging.plan import make_plan, read_plan, read_shard_tracks, select_changed, write_plan
from catalog_tagger.tagging.sources import TRACK_LIST


def tracks_of(rows: list[tuple[str, int | None, str | None]]) -> pa.Table:
    """(track, size, tar) to a list of tracks; a tar's members lie in the order of the rows."""
    return pa.Table.from_pylist(
        [
            {
                "track_id": name,
                "uri": f"{tar}#{name}" if tar else f"/audio/{name}",
                "etag": f"e-{name}",
                "size_bytes": size,
                "container": tar,
                "offset": 512 * i if tar else None,
            }
            for i, (name, size, tar) in enumerate(rows)
        ],
        schema=TRACK_LIST,
    )


track_lists = st.lists(
    st.tuples(
        st.integers(0, 10**6).map(str),
        st.one_of(st.none(), st.integers(0, 1000)),
        st.sampled_from([None, None, "/t/a.tar", "/t/b.tar"]),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda row: row[0],
).map(tracks_of)


@pytest.fixture(autouse=True)
def small_catalogues_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the limits given decide, not the floor under which a small catalogue is one shard."""
    monkeypatch.setattr(planning, "_MIN_SHARD_BYTES", 10**12)
    monkeypatch.setattr(planning, "_MIN_SHARD_TRACKS", 10**9)


@given(tracks=track_lists, shard_tracks=st.integers(1, 20), shard_bytes=st.integers(1, 3000))
@settings(deadline=None)
def test_every_track_is_planned_once_and_limits_are_kept(tracks: pa.Table, shard_tracks: int, shard_bytes: int) -> None:
    plan = make_plan(tracks, shard_tracks=shard_tracks, shard_bytes=shard_bytes)
    assert sorted(plan["track_id"].to_pylist()) == sorted(tracks["track_id"].to_pylist())
    shards: dict[str, list[dict[str, object]]] = {}
    for row in plan.to_pylist():
        shards.setdefault(row["shard"], []).append(row)
    assert list(shards) == sorted(shards), "names are in order, so that their number finds their row group"
    assert len(set(plan["shard"].to_pylist())) == len(planning._runs_of(plan["shard"])), "a shard is one stretch"
    for rows in shards.values():
        assert len(rows) <= shard_tracks
        assert len(rows) == 1 or sum(row["size_bytes"] or 0 for row in rows) <= shard_bytes  # type: ignore[misc]


@given(tracks=track_lists)
@settings(deadline=None)
def test_a_tar_is_read_from_front_to_back(tracks: pa.Table) -> None:
    rows = make_plan(tracks, shard_tracks=7, shard_bytes=10**6).to_pylist()
    for tar in ("/t/a.tar", "/t/b.tar"):
        places = [(i, row["offset"]) for i, row in enumerate(rows) if row["container"] == tar]
        assert [offset for _, offset in places] == sorted(offset for _, offset in places)
        assert [i for i, _ in places] == list(range(places[0][0], places[0][0] + len(places))) if places else True


@given(tracks=track_lists, seed=st.integers(0, 99))
@settings(deadline=None)
def test_the_order_of_the_source_does_not_matter(tracks: pa.Table, seed: int) -> None:
    order = list(range(tracks.num_rows))
    random.Random(seed).shuffle(order)
    shuffled = make_plan(tracks.take(order), shard_tracks=5, shard_bytes=2000)
    assert shuffled.equals(make_plan(tracks, shard_tracks=5, shard_bytes=2000))


def test_a_shard_has_another_name_when_its_content_changed() -> None:
    tracks = tracks_of([(f"{i}", 10, None) for i in range(20)])
    before = make_plan(tracks, shard_tracks=5, shard_bytes=10**6)["shard"].unique().to_pylist()
    etags = ["changed" if i == 7 else etag for i, etag in enumerate(tracks["etag"].to_pylist())]
    changed = tracks.set_column(tracks.column_names.index("etag"), TRACK_LIST.field("etag"), pa.array(etags))
    after = make_plan(changed, shard_tracks=5, shard_bytes=10**6)["shard"].unique().to_pylist()
    assert len(before) == len(after) == 4
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1


def test_a_small_catalogue_is_cut_so_that_an_interruption_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_MIN_SHARD_TRACKS", 64)
    many = make_plan(tracks_of([(f"{i:05d}", 1, None) for i in range(3200)]), shard_tracks=4000, shard_bytes=2**30)
    assert len(many["shard"].unique()) == 16
    few = make_plan(tracks_of([(f"{i:05d}", 1, None) for i in range(60)]), shard_tracks=4000, shard_bytes=2**30)
    assert len(few["shard"].unique()) == 1


def test_a_stored_plan_is_read_back_whole_and_by_shard(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = make_plan(tracks_of([(f"{i:03d}", i, None) for i in range(23)]), shard_tracks=4, shard_bytes=10**6)
    write_plan(store, "runs/r/plan.parquet", plan)
    shards = sorted(set(plan["shard"].to_pylist()))
    assert read_plan(store, "runs/r/plan.parquet").equals(plan)
    parts = (read_shard_tracks(store, "runs/r/plan.parquet", i, shard=shard) for i, shard in enumerate(shards))
    assert [row for part in parts for row in part] == plan.to_pylist()
    with pytest.raises(StorageError, match="changed while its run goes on"):
        read_shard_tracks(store, "runs/r/plan.parquet", 2, shard=shards[1])


# --- what has changed ------------------------------------------------------------------------------


def current(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, object]]) -> None:
    """Rows that the warehouse holds now."""
    kinds = {
        "track_id": pa.string(),
        "old_uri": pa.string(),
        "audio_etag": pa.string(),
        "bundles": pa.list_(pa.string()),
    }
    table = pa.Table.from_pylist(rows, schema=pa.schema(kinds))
    monkeypatch.setattr(planning, "query", lambda warehouse, sql: table)


def row(track_id: str, **columns: object) -> dict[str, object]:
    held = {"old_uri": f"/audio/{track_id}", "audio_etag": f"e-{track_id}", "bundles": ["a@1", "b@2"]}
    return {"track_id": track_id, **held, **columns}


@pytest.mark.parametrize(
    ("held", "redo"),
    [
        (row("x"), False),
        (row("y"), True),
        (row("x", audio_etag="other"), True),
        (row("x", audio_etag=None), True),
        (row("x", old_uri="/moved/x"), True),
        (row("x", bundles=["a@1"]), True),
        (row("x", bundles=["a@1", "b@3"]), True),
        (row("x", bundles=[]), True),
    ],
)
def test_a_track_is_done_again_when_anything_it_rests_on_changed(
    held: dict[str, object], redo: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.write("runs/r/manifest.json", b"{}")
    current(monkeypatch, [held])
    selected = select_changed(tracks_of([("x", 1, None)]), store, bundle_ids=["a@1", "b@2"])
    assert selected.todo["track_id"].to_pylist() == (["x"] if redo else [])
    assert selected.up_to_date == (0 if redo else 1)


def test_a_track_whose_etag_is_unknown_now_counts_as_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.write("runs/r/manifest.json", b"{}")
    current(monkeypatch, [row("x")])
    tracks = tracks_of([("x", None, None), ("z", None, None)])
    unknown = tracks.set_column(2, TRACK_LIST.field("etag"), pa.nulls(2, pa.string()))
    selected = select_changed(unknown, store, bundle_ids=["a@1", "b@2"])
    assert (selected.todo["track_id"].to_pylist(), selected.up_to_date) == (["z"], 1)


def test_in_an_empty_warehouse_everything_is_to_do(tmp_path: Path) -> None:
    tracks = tracks_of([("x", 1, None), ("y", 1, None)])
    selected = select_changed(tracks, Store(tmp_path / "new"), bundle_ids=["a@1"])
    assert selected.todo.equals(tracks)
    assert selected.up_to_date == 0
