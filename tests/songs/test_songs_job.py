"""The search as a job: what is found, what is searched again and what is not, and what is refused."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from composed import Sound, excerpt, music, put_tagged, show, some_songs, song, speech, voices

from catalog_tagger.errors import RunError, UsageError
from catalog_tagger.songs import indexing, job, searching
from catalog_tagger.songs.config import make_songs_config
from catalog_tagger.songs.generations import newest_generation
from catalog_tagger.songs.job import SongsResult, run_songs_job
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import read_manifest
from catalog_tagger.tables.prune import prune
from catalog_tagger.tables.views import query


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "w")


def searched(store: Store, run_id: str, **options: Any) -> SongsResult:
    stages: dict[str, int] = {}
    result = run_songs_job(
        make_songs_config(warehouse=store.uri, run_id=run_id, processes=1, **options),
        on_progress=lambda stage, done, total: stages.update({stage: total}),
    )
    result.manifest.config["stages"] = stages  # what had to be done, for the tests to see
    return result


def stages(result: SongsResult) -> dict[str, int]:
    return result.manifest.config["stages"]


def songs(store: Store) -> list[tuple[str, str]]:
    rows = query(store, "SELECT track_id, song_track_id FROM songs ORDER BY track_id, start_s").to_pylist()
    return [tuple(row.values()) for row in rows]


def a_show() -> Sound:
    """Song 1 from 10.2 s, song 3 from 30.1 s, and a song of another catalogue."""
    return show((excerpt(1, 5.0, 17.0), 10.2), (excerpt(3, 8.0, 20.0), 30.1), (excerpt(7, 3.0, 13.0), 45.0))


def test_songs_are_found_with_their_times_and_the_rest_of_the_music_is_unknown(store: Store) -> None:
    put_tagged(store, "t1", {**some_songs(), "show": a_show(), "talk": speech(voices())})
    result = searched(store, "s1")
    rows = query(store, "SELECT * FROM songs ORDER BY start_s").to_pylist()
    assert [(row["track_id"], row["song_track_id"], row["run_id"]) for row in rows] == [
        ("show", "song1", "s1"),
        ("show", "song3", "s1"),
    ]
    for row, start_s, end_s, song_start_s in zip(rows, (10.2, 30.1), (22.2, 42.1), (5.0, 8.0), strict=True):
        assert row["start_s"] == pytest.approx(start_s, abs=1.0)
        assert row["end_s"] == pytest.approx(end_s, abs=1.0)
        assert row["song_start_s"] - row["start_s"] == pytest.approx(song_start_s - start_s, abs=0.05)
        assert (row["rate"], row["pitch_semitones"]) == (1.0, 0.0)
        assert row["expected_false_matches"] < 1e-3
    (search,) = query(store, "SELECT * FROM searches").to_pylist()
    assert search["track_id"] == "show"
    assert search["known_s"] == pytest.approx(24.0, abs=2.0)
    assert search["unknown_s"] == pytest.approx(search["music_s"] - search["known_s"])
    assert search["unknown_s"] >= 10.0
    assert (result.indexed, result.songs.num_rows, result.shows_with_songs) == (4, 2, 1)
    assert result.manifest.kind == "songs"


def test_a_warehouse_without_songs_tells_the_music_of_its_shows_as_unknown(store: Store) -> None:
    put_tagged(store, "t1", {"show": a_show()})
    result = searched(store, "s1")
    assert result.songs.num_rows == 0
    (search,) = result.searches.to_pylist()
    assert search["unknown_s"] == search["music_s"] > 0


def test_what_was_searched_is_not_searched_again(store: Store) -> None:
    put_tagged(store, "t1", {**some_songs(), "show": a_show(), "copy": music(0.5 * song(0))})
    first = searched(store, "s1")
    assert set(stages(first)) == {"indexing", "searching", "comparing"}
    second = searched(store, "s2")
    assert stages(second) == {}
    for table in ("songs", "duplicates", "searches"):
        mine, before = getattr(second, table), getattr(first, table)
        assert mine.num_rows > 0
        assert mine.drop_columns("run_id").equals(before.drop_columns("run_id")), table
    assert newest_generation(store).number == 1
    assert set(stages(searched(store, "s3", again=True))) == {"searching", "comparing"}


def test_a_new_song_is_looked_for_in_old_shows_and_old_songs_in_a_new_show(store: Store) -> None:
    put_tagged(store, "t1", {**some_songs((0, 1)), "show": a_show()}, minute=1)
    searched(store, "s1")
    assert songs(store) == [("show", "song1")]
    put_tagged(store, "t2", {"song3": music(song(3)), "later": show((excerpt(0, 2.0, 14.0), 20.0))}, minute=2)
    second = searched(store, "s2")
    assert songs(store) == [("later", "song0"), ("show", "song1"), ("show", "song3")]
    assert stages(second)["searching"] == 3, "the old show with one segment, the new one with both"
    told = {row["track_id"]: row["known_s"] for row in second.searches.to_pylist()}
    assert told["show"] == pytest.approx(24.0, abs=2.0)


def test_tracks_that_were_tagged_again_are_searched_again_and_their_old_rows_are_gone(store: Store) -> None:
    put_tagged(store, "t1", {**some_songs(), "show": a_show()}, minute=1)
    searched(store, "s1")
    put_tagged(store, "t2", {"show": show((excerpt(2, 5.0, 17.0), 20.0)), "song1": music(song(8))}, minute=2)
    searched(store, "s2")
    assert songs(store) == [("show", "song2")]
    put_tagged(store, "t3", {"show": show((excerpt(8, 5.0, 17.0), 20.0))}, minute=3)
    searched(store, "s3")
    assert songs(store) == [("show", "song1")], "song1 is another recording now"


def test_segments_of_runs_that_are_wholly_replaced_are_dropped(store: Store) -> None:
    tracks = {**some_songs(), "show": a_show()}
    put_tagged(store, "t1", tracks, minute=1)
    searched(store, "s1")
    put_tagged(store, "t2", tracks, minute=2)
    result = searched(store, "s2")
    assert [segment.sources for segment in newest_generation(store).segments] == [["t2"]]
    assert result.indexed == 4
    assert songs(store) == [("show", "song1"), ("show", "song3")]


def test_small_segments_of_many_nights_are_merged_and_find_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for night in range(4):
        tracks = some_songs((night,)) | ({"show": a_show()} if night == 0 else {})
        put_tagged(store, f"t{night}", tracks, minute=night)
        searched(store, f"s{night}")
    assert len(newest_generation(store).segments) == 4
    found = songs(store)
    monkeypatch.setattr(indexing, "to_merge", lambda segments: [tuple(segments)])
    put_tagged(store, "t9", {"song1": music(song(1))}, minute=9)
    searched(store, "s9")
    (segment,) = newest_generation(store).segments
    assert (segment.songs, segment.sources) == (4, ["t0", "t2", "t3", "t9"]), "all of t1 has been tagged again"
    assert songs(store) == found == [("show", "song1"), ("show", "song3")]
    searched(store, "s10", again=True)
    assert songs(store) == found


def test_the_same_recording_under_two_ids_is_told_and_an_excerpt_is_not(store: Store) -> None:
    silence = np.zeros(16000 * 3, np.float32)
    tracks = some_songs((0, 1, 2)) | {
        "copy": music(np.concatenate([silence, 0.3 * song(1)])),
        "part": music(excerpt(2, 0.0, 18.0)),
        "talk": speech(voices()),
        "talk again": speech(0.5 * voices()),
    }
    put_tagged(store, "t1", tracks)
    result = searched(store, "s1")
    rows = {(row["track_id"], row["other_track_id"]): row for row in result.duplicates.to_pylist()}
    assert set(rows) == {("song1", "copy"), ("talk again", "talk")}
    same = rows["song1", "copy"]
    assert same["song_start_s"] - same["start_s"] == pytest.approx(3.0, abs=0.05)
    assert same["rate"] == 1.0
    assert same["expected_false_matches"] < 1e-6


def test_shows_that_begin_and_end_alike_are_not_the_same(store: Store) -> None:
    first = show((excerpt(0, 0.0, 10.0), 0.0), (excerpt(1, 2.0, 28.0), 12.0), (excerpt(2, 0.0, 12.0), 47.0))
    other = show((excerpt(0, 0.0, 10.0), 0.0), (excerpt(3, 2.0, 28.0), 12.0), (excerpt(2, 0.0, 12.0), 47.0))
    put_tagged(store, "t1", {"a": first, "b": other})
    assert searched(store, "s1").duplicates.num_rows == 0


def test_a_finished_run_is_refused_and_so_is_a_warehouse_without_tagging(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no warehouse here"):
        searched(store, "s1")
    store.write("runs/t1/job.json", b"{}")
    with pytest.raises(UsageError, match="no committed run; tag first: catalog-tagger tag"):
        searched(store, "s1")
    assert store.children("runs") == ["t1"]
    assert not store.exists("index")
    other = Store(tmp_path / "other")
    put_tagged(other, "t1", some_songs((0,)))
    searched(other, "s1")
    with pytest.raises(RunError, match="run s1 is finished; choose another --run-id"):
        searched(other, "s1")


def test_what_a_search_that_died_has_found_is_not_searched_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put_tagged(store, "t1", {**some_songs(), "show": a_show()})
    monkeypatch.setattr(job, "find_duplicates", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        searched(store, "s1")
    (found,) = store.children("index/peaks-1/found")
    monkeypatch.undo()
    monkeypatch.setattr(searching, "read_segment", lambda *_: 1 / 0)
    searched(store, "s2")
    assert songs(store) == [("show", "song1"), ("show", "song3")]
    monkeypatch.undo()
    store.write(f"index/peaks-1/found/{found}", b"{")
    searched(store, "s3", again=True)
    assert songs(store) == [("show", "song1"), ("show", "song3")], "a damaged file is a task to do again"


def test_nothing_is_seen_of_a_search_that_dies(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put_tagged(store, "t1", {**some_songs(), "show": a_show()})

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "find_duplicates", die)
    with pytest.raises(KeyboardInterrupt):
        searched(store, "s1")
    assert read_manifest(store, "s1") is None
    assert songs(store) == []
    monkeypatch.undo()
    result = searched(store, "s1")
    assert "indexing" not in stages(result), "the index was finished"
    assert store.children("index/peaks-1/found") == [], "what was kept is swept away"
    assert songs(store) == [("show", "song1"), ("show", "song3")]


def test_a_run_whose_rows_were_all_replaced_leaves_nothing_in_the_index_pruned_or_not(store: Store) -> None:
    everything = some_songs()
    put_tagged(store, "t1", {"show": a_show(), **{name: everything[name] for name in ("song0", "song2")}})
    put_tagged(store, "t2", {name: everything[name] for name in ("song1", "song3")}, minute=1)
    searched(store, "s1")
    assert songs(store) == [("show", "song1"), ("show", "song3")]
    # both become other recordings
    put_tagged(store, "t3", {"song1": music(song(8)), "song3": music(song(9))}, minute=2)
    searched(store, "s2", again=True)
    assert songs(store) == []
    removed = prune(store, keep=timedelta(0))
    assert "t2" in {run.run_id for run in removed}
    searched(store, "s3")
    assert songs(store) == []
    searched(store, "s4", again=True)
    assert songs(store) == []
