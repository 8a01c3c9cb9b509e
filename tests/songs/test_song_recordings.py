"""What is read of a tagged shard: whole tracks, in step with their scores, and what counts as a song."""

from pathlib import Path

import numpy as np
import pytest
from composed import SHARD, codes_of, excerpt, put_tagged, show, some_songs, song, speech, voices

from catalog_tagger.errors import StorageError
from catalog_tagger.fingerprints.landmarks import peaks_of
from catalog_tagger.fingerprints.peaks import SONG_PEAKS
from catalog_tagger.songs import recordings as module
from catalog_tagger.songs.recordings import Shard, is_song, recordings
from catalog_tagger.storage import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "w")
    played = show((excerpt(1, 5.0, 17.0), 20.0))
    put_tagged(store, "t1", {**some_songs(), "show": played, "talk": speech(voices())})
    return store


@pytest.mark.parametrize("rows", [1, 5, 1 << 14])
def test_a_track_is_whole_whatever_batches_its_rows_come_in(
    store: Store, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROWS", rows)
    found = {one.track_id: one for one in recordings(store, Shard("t1", SHARD))}
    assert list(found) == ["show", "song0", "song1", "song2", "song3", "talk"]
    for number in range(4):
        expected = peaks_of(codes_of(song(number))[:, :SONG_PEAKS])
        for peaks in (found[f"song{number}"].peaks(), found[f"song{number}"].peaks(strongest=True)):
            np.testing.assert_array_equal(peaks.frame, expected.frame)
            np.testing.assert_array_equal(peaks.bin, expected.bin)
    assert found["show"].p_music.tolist() == [1.0 if 4 <= i <= 6 else 0.0 for i in range(12)]
    assert len(found["show"].peaks()) > 3 * len(found["show"].peaks(strongest=True))


def test_songs_shows_and_chosen_tracks_are_told_apart_and_replaced_ones_left_out(store: Store) -> None:
    shard = Shard("t1", SHARD)
    assert [one.track_id for one in recordings(store, shard, songs=False)] == ["show", "talk"]
    songs = recordings(store, shard, songs=True, replaced=frozenset({"song0", "song2"}))
    assert [one.track_id for one in songs] == ["song1", "song3"]
    assert [one.track_id for one in recordings(store, shard, only={"talk", "gone"})] == ["talk"]


@pytest.mark.parametrize(
    ("content_type", "music", "speech_share", "duration_s", "expected"),
    [
        ("music", 1.0, 0.0, 9000.0, True),
        ("speech", 0.0, 1.0, 100.0, False),
        ("mixed", 0.95, 0.4, 200.0, True),
        ("mixed", 0.95, 0.4, 3600.0, False),
        ("mixed", 0.95, 0.9, 200.0, False),
        ("mixed", 0.5, 0.4, 200.0, False),
        ("other", 0.0, 0.0, 200.0, True),
        ("other", 0.0, 0.0, 7200.0, False),
        (None, None, None, 200.0, True),
    ],
)
def test_a_song_is_music_or_may_be_heard_as_something_else(
    content_type: str | None, music: float | None, speech_share: float | None, duration_s: float, expected: bool
) -> None:
    row = {
        "content_type": content_type,
        "music_fraction": music,
        "speech_fraction": speech_share,
        "duration_s": duration_s,
    }
    assert is_song(row) is expected


def test_a_shard_whose_files_do_not_belong_together_is_one_error(store: Store) -> None:
    put_tagged(store, "t2", some_songs((0, 1)))
    store.write("segments/run_id=t1/000000-x.parquet", store.read("segments/run_id=t2/000000-x.parquet"))
    with pytest.raises(StorageError, match=r"fingerprints/run_id=t1/000000-x.parquet: .*restore its files"):
        list(recordings(store, Shard("t1", SHARD)))
    store.remove("fingerprints/run_id=t2/000000-x.parquet")
    with pytest.raises(StorageError, match="restore its files"):
        list(recordings(store, Shard("t2", SHARD)))
