"""Songs are found where they were put, in the clear and under voices; what is not in the index is not found."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
import pytest
import torch

from catalog_tagger.audio import SAMPLE_RATE_HZ, cut_segments, pcm_to_float, read_pcm
from catalog_tagger.demo.music import STYLES, compose
from catalog_tagger.demo.render_voices import VOICES_DIR
from catalog_tagger.fingerprints.index import SongIndex, index_songs
from catalog_tagger.fingerprints.landmarks import Peaks, peaks_of
from catalog_tagger.fingerprints.matching import Match, find_songs
from catalog_tagger.fingerprints.peaks import SHOW_PEAKS, SONG_PEAKS, pick_peaks
from catalog_tagger.frontends import CQT
from catalog_tagger.training.effects import resample

Samples = npt.NDArray[np.float32]
SONGS = 6
LENGTH_S = 30.0


@cache
def song(number: int) -> Samples:
    return compose(STYLES[number], seed=7, length_s=LENGTH_S, rate_hz=SAMPLE_RATE_HZ).mean(axis=0).astype(np.float32)


def heard(samples: Samples, most: int) -> Peaks:
    segments = torch.from_numpy(
        np.stack([pcm_to_float(one) for one in cut_segments((samples * 32767).astype(np.int16))])
    )
    return peaks_of(pick_peaks(CQT()(segments), most=most).numpy())


@pytest.fixture(scope="module")
def index() -> SongIndex:
    return index_songs([heard(song(number), SONG_PEAKS) for number in range(SONGS)])


@lru_cache(maxsize=1)
def voices() -> Samples:
    spoken = [pcm_to_float(read_pcm(path)) for path in sorted(VOICES_DIR.iterdir()) if path.suffix == ".opus"]
    joined = np.concatenate(spoken)[: int(60 * SAMPLE_RATE_HZ)]
    return (0.1 * joined / np.sqrt(np.mean(joined**2))).astype(np.float32)


def show(*parts: tuple[Samples, float, float], over: bool = False) -> Samples:
    """Voices with sounds in them: (samples, where in s, level in dB against the voices)."""
    mixed = voices().copy()
    for samples, at_s, level_db in parts:
        place = slice(int(at_s * SAMPLE_RATE_HZ), int(at_s * SAMPLE_RATE_HZ) + len(samples))
        levelled = samples * (0.1 * 10 ** (level_db / 20) / np.sqrt(np.mean(samples**2)))
        mixed[place] = mixed[place] + levelled if over else levelled
    return np.clip(mixed, -1, 1)


def excerpt(number: int, start_s: float, end_s: float) -> Samples:
    return song(number)[int(start_s * SAMPLE_RATE_HZ) : int(end_s * SAMPLE_RATE_HZ)]


def found_in(samples: Samples, index: SongIndex) -> list[Match]:
    return find_songs(index, heard(samples, SHOW_PEAKS))


@pytest.mark.parametrize(("over", "level_db", "within_s"), [(False, 0.0, 1.0), (True, -3.0, 1.5)])
def test_songs_are_found_with_their_times(index: SongIndex, over: bool, level_db: float, within_s: float) -> None:
    parts = ((excerpt(1, 5.0, 17.0), 8.3, level_db), (excerpt(4, 11.0, 25.0), 35.1, level_db))
    first, second = found_in(show(*parts, over=over), index)
    assert (first.song, second.song) == (1, 4)
    for match, start_s, end_s, song_start_s in ((first, 8.3, 20.3, 5.0), (second, 35.1, 49.1, 11.0)):
        assert match.start_s == pytest.approx(start_s, abs=within_s)
        assert match.end_s == pytest.approx(end_s, abs=within_s)
        assert match.song_start_s - match.start_s == pytest.approx(song_start_s - start_s, abs=0.05)
        assert (match.rate, match.bins) == (1.0, 0)


@pytest.mark.parametrize("rate", [0.98, 1.02])
def test_a_song_that_was_played_too_fast_is_found_with_its_rate(index: SongIndex, rate: float) -> None:
    played = resample(excerpt(3, 4.0, 4.0 + 20 * rate), int(20 * SAMPLE_RATE_HZ))
    (match,) = found_in(show((played, 20.0, 0.0)), index)
    assert match.song == 3
    assert match.rate == pytest.approx(rate, abs=0.002)
    assert match.start_s == pytest.approx(20.0, abs=1.0)


def test_one_song_is_found_as_often_as_it_is_heard(index: SongIndex) -> None:
    twice = show((excerpt(2, 3.0, 13.0), 5.0, 0.0), (excerpt(2, 15.0, 27.0), 30.0, 0.0))
    assert [match.song for match in found_in(twice, index)] == [2, 2]


def test_music_that_is_not_in_the_index_is_not_taken_for_its_nearest(index: SongIndex) -> None:
    unknown = [(excerpt(number, 5.0, 20.0), at_s, 0.0) for number, at_s in ((SONGS, 5.0), (SONGS + 2, 30.0))]
    assert found_in(show(*unknown), index) == []
    assert found_in(voices(), index) == []


def test_nothing_is_found_in_silence_nor_among_no_songs(index: SongIndex) -> None:
    assert found_in(np.zeros(10 * SAMPLE_RATE_HZ, np.float32), index) == []
    assert found_in(show((excerpt(1, 5.0, 17.0), 8.3, 0.0)), index_songs([])) == []
