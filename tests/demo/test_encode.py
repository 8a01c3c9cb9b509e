from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_tagger.audio import AudioStream, read_pcm
from catalog_tagger.demo import CODECS, SUFFIXES, write_audio
from catalog_tagger.errors import UsageError

CANONICAL = {"wav": "pcm_s16le", "aiff": "pcm_s16be", "wma": "wmav2"}
EXACT = ("wav", "aiff", "flac", "alac")


def glide(*, rate_hz: int, length_s: float, channels: int = 1) -> np.ndarray:
    t = np.arange(int(length_s * rate_hz)) / rate_hz
    return np.stack([0.4 * np.sin(2 * np.pi * (300.0 + 100.0 * t) * t + side) for side in range(channels)])


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [16000, 48000])
@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_gives_back_the_signal_it_was_given(
    codec: str, rate_hz: int, channels: int, tmp_path: Path
) -> None:
    signal = glide(rate_hz=rate_hz, length_s=2.5, channels=channels)
    path = write_audio(tmp_path / f"a{SUFFIXES[codec]}", signal, sample_rate_hz=rate_hz, codec=codec)
    with AudioStream(path) as stream:
        assert stream.info.codec == CANONICAL.get(codec, codec)
        assert stream.info.channels == (2 if codec == "vorbis" else channels)
        heard = np.concatenate(list(stream.blocks())) / 32768.0
    wanted = glide(rate_hz=16000, length_s=2.5, channels=channels).mean(axis=0)
    assert -1 <= len(heard) - len(wanted) < 2048
    overlap = min(len(heard), len(wanted))
    likeness = np.corrcoef(heard[:overlap], wanted[:overlap])[0, 1]
    assert likeness > 0.98, f"the signal came back changed or late: correlation {likeness:.3f}"


@pytest.mark.parametrize("codec", EXACT)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_lossless_codecs_keep_every_sample(
    codec: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    n = data.draw(st.integers(1, 5000))
    pcm = np.random.default_rng(n).integers(-32767, 32768, n).astype(np.int16)
    path = tmp_path_factory.mktemp("exact") / f"a{SUFFIXES[codec]}"
    write_audio(path, pcm / 32767.0, sample_rate_hz=16000, codec=codec)
    np.testing.assert_array_equal(read_pcm(path), pcm)


@pytest.mark.parametrize("codec", CODECS)
def test_the_same_samples_make_the_same_bytes(codec: str, tmp_path: Path) -> None:
    files = [
        write_audio(tmp_path / name, glide(rate_hz=48000, length_s=1.0), sample_rate_hz=48000, codec=codec)
        for name in ("first", "second")
    ]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_file_that_holds_these_bytes_already_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    write_audio(path, glide(rate_hz=16000, length_s=1.0), sample_rate_hz=16000, codec="flac")
    before = path.stat().st_ino
    write_audio(path, glide(rate_hz=16000, length_s=1.0), sample_rate_hz=16000, codec="flac")
    assert path.stat().st_ino == before
    write_audio(path, glide(rate_hz=16000, length_s=0.5), sample_rate_hz=16000, codec="flac")
    assert len(read_pcm(path)) == 8000


def test_a_bit_rate_sets_the_size(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 48000 * 4)
    sizes = [
        write_audio(tmp_path / f"{rate}.mp3", noise, sample_rate_hz=48000, codec="mp3", bit_rate_bps=rate)
        .stat()
        .st_size
        for rate in (64000, 128000)
    ]
    assert sizes[1] == pytest.approx(2 * sizes[0], rel=0.05)


@pytest.mark.parametrize(
    ("samples", "rate_hz", "codec", "said"),
    [
        (np.zeros(100), 16000, "realaudio", "unknown codec 'realaudio'; known are mp3"),
        (np.zeros(100), 44100, "opus", "opus has no rate of 44100 Hz"),
        (np.zeros((3, 100)), 16000, "wav", r"got shape \(3, 100\)"),
        (np.zeros((2, 2, 100)), 16000, "wav", r"got shape \(2, 2, 100\)"),
    ],
)
def test_what_cannot_be_written_is_one_error_and_no_file(
    samples: np.ndarray, rate_hz: int, codec: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        write_audio(tmp_path / "a", samples, sample_rate_hz=rate_hz, codec=codec)
    assert list(tmp_path.iterdir()) == []
