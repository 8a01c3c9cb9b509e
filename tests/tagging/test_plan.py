"""From tracks to work shards: every track once, limits kept, the same every time."""

import hashlib
import random
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_tagger.errors import StorageError
from catalog_tagger.storage import Store
from catalog_tagger.tagging import plan as planning
from catalog_tagger.tagging.plan import (
    make_plan,
    plan_shards,
    read_plan,
    read_plan_shards,
    read_shard_tracks,
    write_plan,
)
from catalog_tagger.tagging.track_list import TRACK_LIST


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


@given(tracks=track_lists)
@settings(deadline=None)
def test_a_catalogue_whose_text_passes_what_one_array_holds_is_planned_the_same(tracks: pa.Table) -> None:
    expected = make_plan(tracks, shard_tracks=5, shard_bytes=2000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "_MOST_TEXT_BYTES", 0)
        patch.setattr(planning, "_ROWS_PER_CHUNK", 7)
        assert make_plan(tracks, shard_tracks=5, shard_bytes=2000).equals(expected)


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


def numbered(count: int) -> pa.Table:
    return tracks_of([(f"{i:04d}", i, None) for i in range(count)])


def test_a_stored_plan_is_read_back_whole_and_by_shard(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = make_plan(numbered(300), shard_tracks=2, shard_bytes=10**6)
    write_plan(store, "runs/r/plan", plan)
    shards = plan["shard"].unique().to_pylist()
    assert len(shards) > 2 * planning.SHARDS_PER_PART
    assert read_plan(store, "runs/r/plan").equals(plan)
    parts = [read_shard_tracks(store, "runs/r/plan", i, shard=shard) for i, shard in enumerate(shards)]
    assert [row for part in parts for row in part] == plan.to_pylist()
    for index, shard in [(2, shards[1]), (len(shards), shards[-1])]:
        with pytest.raises(StorageError, match="changed while its run goes on"):
            read_shard_tracks(store, "runs/r/plan", index, shard=shard)


def test_a_part_of_a_shard_is_so_many_rows_from_one_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = make_plan(numbered(20), shard_tracks=10, shard_bytes=10**6)
    write_plan(store, "p", plan)
    (first, second) = plan["shard"].unique().to_pylist()

    def ids(index: int, shard: str, **part: int) -> list[str]:
        return [row["track_id"] for row in read_shard_tracks(store, "p", index, shard=shard, **part)]

    assert ids(1, second, first=3, count=2) == ["0013", "0014"]
    assert ids(0, first, first=8) == ["0008", "0009"]
    assert ids(0, first, count=1) == ["0000"]
    assert ids(0, first, first=8, count=100) == ["0008", "0009"]


def test_the_shards_of_a_plan_add_up(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = make_plan(tracks_of([("a", 10, None), ("b", None, None), ("c", 5, None)]), shard_tracks=2, shard_bytes=99)
    write_plan(store, "p", plan)
    shards = read_plan_shards(store, "p")
    assert shards.equals(plan_shards(plan))
    assert shards.select(["tracks", "size_bytes"]).to_pylist() == [
        {"tracks": 2, "size_bytes": 10},
        {"tracks": 1, "size_bytes": 5},
    ]


def test_what_one_reads_of_a_stored_plan_for_a_shard_does_not_grow_with_the_plan(tmp_path: Path) -> None:
    sizes = {}
    for count in (64, 640):
        store = Store(tmp_path / str(count))
        write_plan(store, "p", make_plan(numbered(count), shard_tracks=1, shard_bytes=10**6))
        sizes[count] = max(path.stat().st_size for path in (tmp_path / str(count)).glob("p/0*.parquet"))
    assert sizes[640] <= sizes[64] * 1.02


def test_a_plan_that_was_not_written_to_its_end_is_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write_plan(store, "p", make_plan(numbered(300), shard_tracks=2, shard_bytes=10**6))
    (tmp_path / "p" / "shards.parquet").unlink()
    with pytest.raises(FileNotFoundError):
        read_plan(store, "p")
    smaller = make_plan(numbered(100), shard_tracks=2, shard_bytes=10**6)
    write_plan(store, "p", smaller)
    assert read_plan(store, "p").equals(smaller), "parts that a longer plan left behind are not read"


def test_a_plan_that_is_gone_or_not_to_be_seen_is_one_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = make_plan(numbered(4), shard_tracks=2, shard_bytes=10**6)
    write_plan(store, "p", plan)
    (tmp_path / "p" / "000000.parquet").unlink()
    for place in (store, Store(tmp_path / "not mounted")):
        with pytest.raises(StorageError, match="every node must see the warehouse") as caught:
            read_shard_tracks(place, "p", 0, shard=plan["shard"][0].as_py())
        assert str(caught.value).startswith(f"{place.uri}/p/000000.parquet: ")


def test_names_of_shards_stay_what_they_are() -> None:
    """A run that was planned by an older version is resumed by its finished shards' names."""
    plan = make_plan(numbered(6), shard_tracks=3, shard_bytes=10**6)
    digests = [
        hashlib.blake2b(b"".join(f"{i:04d}\0e-{i:04d}\n".encode() for i in part), digest_size=6).hexdigest()
        for part in (range(3), range(3, 6))
    ]
    assert plan["shard"].unique().to_pylist() == [f"{i:06d}-{digest}" for i, digest in enumerate(digests)]


def test_attempts_of_a_track_list_are_kept() -> None:
    tracks = numbered(2).append_column("attempts", pa.array([3, 0], pa.int32()))
    assert make_plan(tracks, shard_tracks=9, shard_bytes=99)["attempts"].to_pylist() == [3, 0]
    assert make_plan(numbered(2), shard_tracks=9, shard_bytes=99)["attempts"].to_pylist() == [0, 0]
