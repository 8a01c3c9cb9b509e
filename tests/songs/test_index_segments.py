"""Segments of the index: what is read is what was written; sketches of equal recordings meet."""

from pathlib import Path

import numpy as np
import pytest
from composed import SHARD, codes_of, excerpt, put_tagged, show, some_songs, song
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from catalog_tagger.errors import RunError, StorageError
from catalog_tagger.fingerprints.index import index_songs
from catalog_tagger.fingerprints.landmarks import Landmarks, landmarks_of, peaks_of
from catalog_tagger.fingerprints.peaks import SONG_PEAKS
from catalog_tagger.songs.building import BuildTask, MergeTask, build, merge, to_merge
from catalog_tagger.songs.generations import Generation, commit_generation, newest_generation
from catalog_tagger.songs.recordings import Shard
from catalog_tagger.songs.segments import INDEX, SegmentInfo, packed_codes, read_segment, read_sketches
from catalog_tagger.songs.sketches import SIZE, sketch
from catalog_tagger.storage import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "w")
    put_tagged(store, "t1", {**some_songs(), "show": show((excerpt(1, 5.0, 17.0), 20.0))})
    return store


def built(store: Store, *runs: str, **options: int) -> list[SegmentInfo]:
    return build(BuildTask(store.uri, tuple((Shard(run, SHARD), frozenset()) for run in runs), **options))


def test_a_segment_is_the_index_of_its_songs(store: Store) -> None:
    (info,) = built(store, "t1")
    segment = read_segment(store, info.name)
    assert [one.track_id for one in segment.songs] == ["song0", "song1", "song2", "song3"]
    expected = index_songs([peaks_of(codes_of(song(number))[:, :SONG_PEAKS]) for number in range(4)])
    np.testing.assert_array_equal(segment.index.key, expected.key)
    np.testing.assert_array_equal(segment.index.song, expected.song)
    np.testing.assert_allclose(segment.index.frame, expected.frame, atol=0.13)
    for mine, theirs in zip(segment.index.peaks, expected.peaks, strict=True):
        np.testing.assert_array_equal(mine.frame, theirs.frame)
        np.testing.assert_array_equal(mine.bin, theirs.bin)
    assert (info.songs, info.postings, info.sources) == (4, len(expected), ["t1"])
    assert info.songs_s == pytest.approx(120.0)
    assert set(read_sketches(store, info.name)["track_id"].to_pylist()) == {"show", "song0", "song1", "song2", "song3"}


def test_a_segment_ends_when_it_is_full_and_songs_are_never_cut(store: Store) -> None:
    parts = built(store, "t1", most_postings=1500)
    assert len(parts) > 1
    found = [song.track_id for part in parts for song in read_segment(store, part.name).songs]
    assert found == ["song0", "song1", "song2", "song3"]
    assert all(part.postings >= 1500 for part in parts[:-1])


def test_a_task_that_was_done_is_not_done_again(store: Store) -> None:
    first = built(store, "t1")
    place = Path(store.path(f"{INDEX}/{first[0].name}/postings.parquet"))
    before = place.stat().st_mtime_ns
    assert built(store, "t1") == first
    assert place.stat().st_mtime_ns == before
    (other,) = built(store, "t1", most_postings=1 << 30)
    assert other.name != first[0].name, "another task"


def test_merged_segments_hold_what_is_current_of_all(store: Store) -> None:
    put_tagged(store, "t2", some_songs((4, 5)))
    parts = (*built(store, "t1"), *built(store, "t2"))
    merged = merge(MergeTask(store.uri, parts, frozenset({("song1", "t1"), ("show", "t1"), ("song4", "t1")})))
    songs = read_segment(store, merged.name).songs
    assert [(song.track_id, song.run_id) for song in songs] == [
        *(("song0", "t1"), ("song2", "t1"), ("song3", "t1")),
        *(("song4", "t2"), ("song5", "t2")),
    ]
    assert merged.sources == ["t1", "t2"]
    assert "show" not in read_sketches(store, merged.name)["track_id"].to_pylist()
    assert merged.postings == sum(len(landmarks_of(song.peaks, fan=4)) for song in songs)


def test_only_many_small_segments_are_merged_and_none_beyond_its_size() -> None:
    def info(number: int, postings: int) -> SegmentInfo:
        return SegmentInfo(
            name=str(number), songs=1, postings=postings, songs_s=1.0, size_bytes=1, sources=[str(number)]
        )

    few = [info(i, 10) for i in range(7)] + [info(9, 900)]
    assert to_merge(few, most_postings=1000) == []
    many = [info(i, 300) for i in range(9)] + [info(10, 900)]
    groups = to_merge(many, most_postings=1000)
    assert [len(group) for group in groups] == [3, 3, 3]
    assert all(sum(one.postings for one in group) <= 1000 for group in groups)


def test_a_generation_is_made_once_and_sweeps_what_none_refers_to(store: Store) -> None:
    (first,) = built(store, "t1")
    assert newest_generation(store) == Generation(0, (), frozenset())
    commit_generation(store, Generation(1, (first,), frozenset({"t1"})))
    put_tagged(store, "t2", some_songs((4, 5)))
    (second,) = built(store, "t2")
    with pytest.raises(RunError, match="another run has updated the index"):
        commit_generation(store, Generation(1, (second,), frozenset({"t2"})))
    for number in (2, 3):
        commit_generation(store, Generation(number, (second,), frozenset({"t1", "t2"})))
    assert newest_generation(store) == Generation(3, (second,), frozenset({"t1", "t2"}))
    assert store.children(f"{INDEX}/{first.name}") == []
    assert [name for name in store.children(INDEX) if name.endswith(".json")] == [
        *("generation-000002.json", "generation-000003.json"),
    ]


def test_a_damaged_index_is_one_error_that_says_what_to_do(store: Store) -> None:
    (info,) = built(store, "t1")
    store.write(f"{INDEX}/{info.name}/postings.parquet", b"no Parquet")
    with pytest.raises(StorageError, match=r"postings\.parquet: missing or damaged; remove .*it is built again"):
        read_segment(store, info.name)
    store.write(f"{INDEX}/generation-000001.json", b"{")
    with pytest.raises(StorageError, match=r"generation-000001\.json: damaged .*it is built again"):
        newest_generation(store)


@given(hnp.arrays(np.int16, st.tuples(st.integers(1, 8), st.just(90)), elements=st.integers(0, 31000)))
def test_codes_of_a_song_are_those_of_its_segments(codes: np.ndarray) -> None:
    counts = np.full(len(codes), codes.shape[1])
    packed = packed_codes(codes.ravel(), counts, most=SONG_PEAKS)
    assert (np.diff(packed) >= 0).all()
    expected = sorted((i << 15) + int(code) for i, row in enumerate(codes) for code in row[:SONG_PEAKS])
    assert packed.tolist() == expected


@given(st.lists(st.integers(0, 2**30), max_size=400), st.lists(st.integers(0, 2**30), max_size=400))
def test_sketches_of_two_sets_share_what_the_sets_share(one: list[int], more: list[int]) -> None:
    def of(keys: list[int]) -> dict[int, int]:
        landmarks = Landmarks(np.array(keys, np.uint32), np.arange(len(keys), dtype=np.float32))
        hashes, places = sketch(landmarks)
        assert len(hashes) == min(SIZE, len(set(keys)))
        assert (np.diff(hashes.astype(np.int64)) > 0).all()
        return dict(zip(hashes.tolist(), places.tolist(), strict=True))

    first, both = of(one), of(one + more)
    limit = max(both, default=0)
    assert {h for h in first if h <= limit and len(both) == SIZE} <= set(both)
    assert all(both[h] == first[h] for h in set(first) & set(both)), "the first of equal ones"
