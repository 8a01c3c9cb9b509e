"""Decoded clips: the same samples as the decoder gave, rebuilt only when something changed."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_collection import write_collection

from catalog_tagger.audio import read_pcm
from catalog_tagger.errors import UsageError
from catalog_tagger.training.cache import PcmCache, frame_levels_db, open_cache
from catalog_tagger.training.codec import LOSSY_CODECS, LossyCodec, round_trip
from catalog_tagger.training.folders import STALE_S, written_whole
from catalog_tagger.training.manifest import read_manifest


def test_holds_what_the_decoder_gives(tmp_path: Path) -> None:
    clips = read_manifest(write_collection(tmp_path / "data", per_kind=2, seconds=1.3))
    seen: list[tuple[int, int]] = []
    cache = open_cache(clips, tmp_path / "cache", degraded=True, progress=lambda done, of: seen.append((done, of)))
    assert len(cache) == len(clips) == 6
    assert seen[-1] == (6, 6)
    for index, clip in enumerate(clips):
        pcm = read_pcm(clip.path)
        assert np.array_equal(cache.samples(index), pcm)
        assert cache.samples(index, degraded=True).shape == pcm.shape
        levels = frame_levels_db(pcm.astype(np.float32) / 32768)
        assert np.abs(cache.level_db(index) - levels).max() <= 0.51
    seen.clear()
    open_cache(clips, tmp_path / "cache", degraded=True, progress=lambda done, of: seen.append((done, of)))
    assert seen == [], "a whole cache is not built again"


def test_a_manifest_named_from_another_folder_finds_the_same_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_collection(tmp_path / "data", per_kind=1, seconds=1.0)
    open_cache(read_manifest(manifest), tmp_path / "cache", degraded=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    near = read_manifest(Path("../data") / manifest.name)
    open_cache(near, tmp_path / "cache", degraded=False, progress=lambda *_: pytest.fail("decoded again"))


def test_a_clip_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    clips = read_manifest(write_collection(tmp_path / "data", per_kind=1, seconds=1.0))
    clips[1].path.write_bytes(b"<html>not audio</html>")
    with pytest.raises(UsageError, match=str(clips[1].path)):
        open_cache(clips, tmp_path / "cache", degraded=False)
    assert not list((tmp_path / "cache").iterdir()), "nothing is left of a build that failed"
    clips[1].path.unlink()
    with pytest.raises(UsageError, match=str(clips[1].path)):
        open_cache(clips, tmp_path / "cache", degraded=False)


def test_a_cache_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    clips = read_manifest(write_collection(tmp_path / "data", per_kind=1, seconds=1.0))
    (tmp_path / "cache").write_text("a file, no folder")
    with pytest.raises(UsageError, match=r"cache: decoded clips cannot be kept here: .*--cache"):
        open_cache(clips, tmp_path / "cache", degraded=False)
    folder = [replace(clips[0], path=tmp_path / "data")]
    with pytest.raises(UsageError, match=r"1 of the 1 clips cannot be decoded.*\n  .*data: "):
        open_cache(folder, tmp_path / "other", degraded=False)


def test_two_builds_of_one_cache_at_the_same_time_both_end_whole(tmp_path: Path) -> None:
    clips = read_manifest(write_collection(tmp_path / "data", per_kind=1, seconds=1.0))
    other: list[PcmCache] = []

    def build_another(done: int, of: int) -> None:
        if done == 2:
            other.append(open_cache(clips, tmp_path / "cache", degraded=False))

    for cache in (open_cache(clips, tmp_path / "cache", degraded=False, progress=build_another), *other):
        assert all(np.array_equal(cache.samples(index), read_pcm(clip.path)) for index, clip in enumerate(clips))
    assert len(other) == 1
    assert [one.suffix for one in (tmp_path / "cache").iterdir()] == [""], "the slower one's folder is removed"


@pytest.mark.parametrize("name", ["pcm.i16", "degraded.i16", "levels.i8", "index.json"])
def test_a_cache_that_was_cut_short_is_refused(tmp_path: Path, name: str) -> None:
    clips = read_manifest(write_collection(tmp_path / "data", per_kind=1, seconds=1.0))
    open_cache(clips, tmp_path / "cache", degraded=True)
    (folder,) = (tmp_path / "cache").iterdir()
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-2])
    with pytest.raises(UsageError, match=rf"{name}: .*; delete {folder}$"):
        open_cache(clips, tmp_path / "cache", degraded=True)
    (folder / name).unlink()
    with pytest.raises(UsageError, match=rf"{name}: .*; delete {folder}$"):
        open_cache(clips, tmp_path / "cache", degraded=True)


def test_what_a_killed_build_left_is_removed_after_a_day(tmp_path: Path) -> None:
    for name, age_s in (("dead", STALE_S + 60), ("slow", STALE_S + 60), ("young", 60.0)):
        left = tmp_path / f"{name}.ab.unfinished"
        left.mkdir()
        (left / "pcm.i16").write_bytes(b"..")
        for one in (left, left / "pcm.i16"):
            os.utime(one, times=(time.time() - age_s,) * 2)
    os.utime(tmp_path / "slow.ab.unfinished" / "pcm.i16")  # still written to
    with written_whole(tmp_path / "mine"):
        pass
    assert {one.name for one in tmp_path.iterdir()} == {"mine", "slow.ab.unfinished", "young.ab.unfinished"}


@pytest.mark.parametrize("codec", LOSSY_CODECS, ids=lambda one: f"{one.encoder}-{one.bit_rate_bps}")
def test_a_codec_keeps_length_and_most_of_the_sound(codec: LossyCodec) -> None:
    time_s = np.arange(24_000) / 16_000
    tone = (8000 * np.sin(2 * np.pi * 400 * time_s) * (1 + 0.3 * np.sin(20 * time_s))).astype(np.int16)
    back = round_trip(tone, codec, sample_rate_hz=16_000)
    assert back.shape == tone.shape
    assert back.dtype == np.int16
    spectrum = np.abs(np.fft.rfft(back[4000:20_000].astype(float)))
    assert abs(np.argmax(spectrum) * 16_000 / 16_000 - 400) < 5
    for size in (0, 1, 33):
        assert round_trip(tone[:size], codec, sample_rate_hz=16_000).size == size


def test_levels_of_silence_and_full_scale() -> None:
    assert frame_levels_db(np.zeros(320, np.float32)).tolist() == [-100.0, -100.0]
    assert frame_levels_db(np.ones(161, np.float32))[0] == pytest.approx(0.0, abs=1e-3)
    assert frame_levels_db(np.zeros(0, np.float32)).size == 0
