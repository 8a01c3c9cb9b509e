"""How much of a track is heard, by real jobs with the bundle that ships: what is skimmed, and what songs need."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from job_runs import by_track, rows, run

from catalog_tagger.audio import pcm_to_float, read_pcm
from catalog_tagger.demo.catalogue import VOICES_DIR
from catalog_tagger.demo.encode import write_audio
from catalog_tagger.demo.music import STYLES, compose
from catalog_tagger.errors import RunError
from catalog_tagger.songs.config import make_songs_config
from catalog_tagger.songs.deepening import Deepened
from catalog_tagger.songs.job import run_songs_job
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import committed_runs
from catalog_tagger.tagging import job

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("local_ray")]

RATE_HZ = 16000
LONG_S, SHORT_S = 135.0, 30.0
#: where the show plays the song, and what part of it
PLAYED_FROM_S, PLAYED_S, PART_FROM_S = 61.0, 24.0, 77.0
HEARD = "status, content_type, duration_s, scanned_s"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A song of two minutes, a show that plays a part of it, and a short song."""
    folder = tmp_path_factory.mktemp("recordings")
    song = compose(STYLES[4], seed=0, length_s=LONG_S, rate_hz=RATE_HZ).mean(axis=0)
    voice = pcm_to_float(np.concatenate([read_pcm(path) for path in sorted(VOICES_DIR.glob("*.opus"))]))
    show = np.resize(voice, int(LONG_S * RATE_HZ))
    at, part, count = (int(seconds * RATE_HZ) for seconds in (PLAYED_FROM_S, PART_FROM_S, PLAYED_S))
    show[at : at + count] = song[part : part + count]
    short = compose(STYLES[2], seed=0, length_s=SHORT_S, rate_hz=RATE_HZ).mean(axis=0)
    for name, samples in (("song", song), ("show", show), ("short", short)):
        write_audio(folder / f"{name}.mp3", samples[None], sample_rate_hz=RATE_HZ, codec="mp3")
    return folder


def windows(warehouse: Path, track: str) -> list[float]:
    found = rows(warehouse, f"SELECT start_s FROM segments WHERE track_id = '{track}.mp3' ORDER BY start_s")
    return [row["start_s"] for row in found]


def test_clear_music_is_skimmed_the_rest_heard_whole_and_all_called_what_a_scan_calls_them(
    recordings: Path, tmp_path: Path
) -> None:
    run(recordings, tmp_path / "scan", ("speech_music",), depth="scan")
    run(recordings, tmp_path / "auto", ("speech_music",))
    scanned, found = by_track(tmp_path / "scan", HEARD), by_track(tmp_path / "auto", HEARD)
    assert {track: row["content_type"] for track, row in found.items()} == {
        track: row["content_type"] for track, row in scanned.items()
    }
    assert found["song.mp3"]["content_type"] == "music"
    assert found["song.mp3"]["scanned_s"] < 0.3 * found["song.mp3"]["duration_s"]
    assert found["song.mp3"]["duration_s"] == pytest.approx(LONG_S, abs=0.2)
    for track in ("show.mp3", "short.mp3"):
        assert found[track] == scanned[track]
    assert len(windows(tmp_path / "auto", "song")) * 5.0 == found["song.mp3"]["scanned_s"]
    assert set(windows(tmp_path / "auto", "song")) < set(windows(tmp_path / "scan", "song"))
    assert windows(tmp_path / "auto", "show") == windows(tmp_path / "scan", "show")


def test_a_search_for_songs_hears_whole_what_was_skimmed_and_finds_the_part_that_is_played(
    recordings: Path, tmp_path: Path
) -> None:
    run(recordings, tmp_path, ("speech_music",))
    left_out = run_songs_job(make_songs_config(warehouse=str(tmp_path), run_id="s0", processes=1, deepen=False))
    assert (left_out.deepened, left_out.songs.num_rows, left_out.heard_in_part) == (Deepened(), 0, 1)
    result = run_songs_job(make_songs_config(warehouse=str(tmp_path), run_id="s1", processes=1))
    assert (result.deepened, result.heard_in_part) == (Deepened(tagged=1), 0)
    (found,) = result.songs.to_pylist()
    assert (found["track_id"], found["song_track_id"]) == ("show.mp3", "song.mp3")
    assert found["start_s"] == pytest.approx(PLAYED_FROM_S, abs=1.0)
    assert found["end_s"] == pytest.approx(PLAYED_FROM_S + PLAYED_S, abs=1.0)
    song = by_track(tmp_path, HEARD)["song.mp3"]
    assert song["scanned_s"] == pytest.approx(song["duration_s"], abs=0.3)
    assert [one.run_id for one in committed_runs(Store(tmp_path))] == ["r", "s0", "s1-whole", "s1"]
    again = run_songs_job(make_songs_config(warehouse=str(tmp_path), run_id="s2", processes=1))
    assert (again.deepened, again.songs.num_rows) == (Deepened(), 1)
    assert run(recordings, tmp_path, ("speech_music",), run_id="r2").state == "nothing_to_do"


def test_a_search_finishes_what_an_interrupted_one_began_to_hear(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(recordings, tmp_path, ("speech_music",))
    with monkeypatch.context() as broken:

        def lost(*_: object) -> bool:
            raise RunError("the store is gone")

        broken.setattr(job, "commit_run", lost)
        with pytest.raises(RunError, match="is gone"):
            run_songs_job(make_songs_config(warehouse=str(tmp_path), run_id="s1", processes=1))
    result = run_songs_job(make_songs_config(warehouse=str(tmp_path), run_id="s2", processes=1))
    assert (result.deepened, result.songs.num_rows) == (Deepened(tagged=1), 1)
    assert [one.run_id for one in committed_runs(Store(tmp_path))] == ["r", "s1-whole", "s2"]


def test_shows_that_were_skimmed_are_heard_whole_too(recordings: Path, tmp_path: Path) -> None:
    run(recordings, tmp_path, ("speech_music",), depth="skim")
    result = run_songs_job(make_songs_config(warehouse=str(tmp_path), run_id="s", processes=1))
    assert (result.deepened, result.songs.num_rows) == (Deepened(tagged=2), 1)


def test_a_song_whose_audio_is_gone_keeps_its_row_and_is_told(recordings: Path, tmp_path: Path) -> None:
    copies = tmp_path / "audio"
    shutil.copytree(recordings, copies)
    run(copies, tmp_path / "w", ("speech_music",))
    (copies / "song.mp3").unlink()
    result = run_songs_job(make_songs_config(warehouse=str(tmp_path / "w"), run_id="s", processes=1))
    assert (result.deepened, result.heard_in_part) == (Deepened(out_of_reach=1), 1)
    assert by_track(tmp_path / "w", HEARD)["song.mp3"]["status"] == "tagged"


def test_where_nothing_is_to_be_searched_nothing_is_heard(recordings: Path, tmp_path: Path) -> None:
    music = tmp_path / "audio"
    music.mkdir()
    for name in ("song", "short"):
        shutil.copy(recordings / f"{name}.mp3", music)
    run(music, tmp_path / "w", ("speech_music",))
    result = run_songs_job(make_songs_config(warehouse=str(tmp_path / "w"), run_id="s", processes=1))
    assert (result.deepened, result.heard_in_part) == (Deepened(), 1)


def test_a_run_that_is_resumed_keeps_its_depth(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(job, "commit_run", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(recordings, tmp_path, ("speech_music",), depth="skim")
    resumed = run(recordings, tmp_path, ("speech_music",), depth="scan").manifest
    assert resumed is not None
    assert resumed.config["depth"] == "skim"


def test_a_deeper_run_hears_what_a_shallower_one_left_and_a_shallower_one_nothing(
    recordings: Path, tmp_path: Path
) -> None:
    run(recordings, tmp_path, ("speech_music",), run_id="r1", depth="skim")
    skimmed = by_track(tmp_path, HEARD)
    assert skimmed["show.mp3"]["scanned_s"] < skimmed["show.mp3"]["duration_s"] / 2
    assert skimmed["short.mp3"]["scanned_s"] == pytest.approx(SHORT_S, abs=0.2)
    by_run = "SELECT track_id FROM tracks_history WHERE run_id = '{}' ORDER BY track_id"
    run(recordings, tmp_path, ("speech_music",), run_id="r2")
    assert [row["track_id"] for row in rows(tmp_path, by_run.format("r2"))] == ["show.mp3"]
    run(recordings, tmp_path, ("speech_music",), run_id="r3", depth="scan")
    assert [row["track_id"] for row in rows(tmp_path, by_run.format("r3"))] == ["song.mp3"]
    for depth in ("skim", "auto", "scan"):
        assert run(recordings, tmp_path, ("speech_music",), run_id=f"r-{depth}", depth=depth).state == "nothing_to_do"


def test_without_a_bundle_that_tells_music_everything_is_heard_whole(
    recordings: Path, tmp_path: Path, bundles: tuple[str, str, str]
) -> None:
    run(recordings, tmp_path, bundles[1:], depth="auto")
    for row in by_track(tmp_path, HEARD).values():
        assert row["scanned_s"] == pytest.approx(row["duration_s"], abs=0.3)
