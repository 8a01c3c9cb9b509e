"""Every codec and container to 16 kHz mono, against known signals and an independent decoder."""

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from audio_files import ALL_CODECS, EXACT_CODECS, glide, rms, strongest_hz, suffix_of, tone, wav_bytes, write

from catalog_tagger.audio import SAMPLE_RATE_HZ, AudioStream, read_pcm

#: what encoders may do to a sine of level 0.5: LAME and FFmpeg's AAC take 5 % off
LEVEL_TOLERANCE = {"mp3": 0.06, "aac": 0.04, "wav_ulaw": 0.03, "wav_alaw": 0.03}
RATES_HZ = {"opus": (8000, 16000, 48000)}
#: codecs that libsndfile reads too
SECOND_OPINION = ("mp3", "flac", "vorbis", "vorbis_mono", "opus", "wav", "wav_24", "wav_float", "aiff", "w64")


def rates(codec: str) -> tuple[int, ...]:
    return RATES_HZ.get(codec, (8000, 22050, 44100, 48000))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("codec", "rate_hz"), [(codec, rate) for codec in ALL_CODECS for rate in rates(codec)])
def test_a_tone_keeps_its_length_pitch_and_level(codec: str, rate_hz: int, channels: int, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix_of(codec)}"
    pcm = read_pcm(write(path, tone(3.3, rate_hz=rate_hz, channels=channels), rate_hz=rate_hz, codec=codec))
    assert pcm.dtype == np.int16
    assert pcm.ndim == 1
    # whole frames at the end, of as many samples as the codec has
    frames = {"aac": 2 * 1024, "wma": 2 * 2048, "vorbis": 64, "vorbis_mono": 1024}
    padding_s = frames.get(codec, 0) / rate_hz
    missing_s = padding_s if codec == "vorbis_mono" else 0.0  # FFmpeg cuts a block where one page holds it all
    assert -1 - missing_s * SAMPLE_RATE_HZ <= len(pcm) - 3.3 * SAMPLE_RATE_HZ <= padding_s * SAMPLE_RATE_HZ + 1
    middle = pcm[8000:40000]
    assert strongest_hz(middle) == pytest.approx(1000.0, abs=0.6)
    assert rms(middle) == pytest.approx(0.5 / np.sqrt(2), rel=LEVEL_TOLERANCE.get(codec, 0.01))


@pytest.mark.parametrize("codec", EXACT_CODECS)
def test_lossless_files_agree_with_each_other_to_the_last_bit(codec: str, tmp_path: Path) -> None:
    signal = np.round(glide(1.0, rate_hz=16000) * 32767.0) / 32768.0
    if codec in ("wav", "aiff", "flac", "alac"):  # write_audio counts full scale as 32767
        signal = signal * 32768.0 / 32767.0
    pcm = read_pcm(write(tmp_path / f"a{suffix_of(codec)}", signal, rate_hz=16000, codec=codec))
    np.testing.assert_array_equal(pcm, np.round(glide(1.0, rate_hz=16000)[0] * 32767.0))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [16000, 44100, 48000])
@pytest.mark.parametrize("codec", SECOND_OPINION)
def test_samples_are_those_of_an_independent_decoder(codec: str, rate_hz: int, channels: int, tmp_path: Path) -> None:
    rate_hz = 48000 if codec == "opus" else rate_hz
    signal = glide(4.0, rate_hz=rate_hz, channels=channels)
    path = write(tmp_path / f"a{suffix_of(codec)}", signal, rate_hz=rate_hz, codec=codec)
    ours = read_pcm(path) / 32768.0
    frames, theirs_hz = soundfile.read(path, always_2d=True)
    theirs = librosa.resample(frames.mean(axis=1), orig_sr=theirs_hz, target_sr=SAMPLE_RATE_HZ)
    assert abs(len(ours) - len(theirs)) <= (1024 / rate_hz * SAMPLE_RATE_HZ if codec == "vorbis_mono" else 1)
    inside = slice(400, 63000)  # resamplers differ in how they begin and end
    error = ours[inside] - theirs[inside]
    # rounding to 16 bits leaves about 90 dB for a signal of this level
    assert 10 * np.log10(np.mean(ours[inside] ** 2) / (np.mean(error**2) + 1e-20)) > 80.0


def test_channels_are_averaged_so_opposite_ones_cancel() -> None:
    left = (tone(1.0, rate_hz=16000)[0] * 32767).astype(np.int16)
    assert np.abs(read_pcm(wav_bytes(np.stack([left, -left], axis=1)))).max() <= 1
    half = read_pcm(wav_bytes(np.stack([left, 0 * left], axis=1)))
    np.testing.assert_allclose(half, left / 2, atol=1)


@pytest.mark.parametrize("channels", [3, 4, 6, 8])
def test_any_number_of_channels_becomes_one(channels: int) -> None:
    frames = np.tile((tone(1.0, rate_hz=48000)[0] * 20000).astype(np.int16)[:, None], (1, channels))
    pcm = read_pcm(wav_bytes(frames, rate_hz=48000))
    assert len(pcm) == 16000
    assert strongest_hz(pcm) == pytest.approx(1000.0, abs=2.0)
    assert rms(pcm) > 0.1


@pytest.mark.parametrize("rate_hz", [4000, 11025, 32000, 96000, 192000])
def test_unusual_rates_keep_length_and_pitch(rate_hz: int) -> None:
    pcm = read_pcm(wav_bytes((tone(2.0, rate_hz=rate_hz)[0] * 32767).astype(np.int16), rate_hz=rate_hz))
    assert abs(len(pcm) - 32000) <= 1
    assert strongest_hz(pcm[1000:-1000]) == pytest.approx(1000.0, abs=0.6)


def test_what_lies_above_8_khz_is_removed_and_not_folded_down() -> None:
    pcm = read_pcm(wav_bytes((tone(2.0, rate_hz=48000, hz=11000.0)[0] * 32767).astype(np.int16), rate_hz=48000))
    assert rms(pcm[1000:-1000]) < 0.5 * 10 ** (-50 / 20)


def test_full_scale_float_is_clipped_and_does_not_wrap(tmp_path: Path) -> None:
    loud = tone(1.0, rate_hz=16000, level=2.0)
    pcm = read_pcm(write(tmp_path / "loud.wav", loud, rate_hz=16000, codec="wav_float"))
    assert pcm.max() == 32767
    assert pcm.min() == -32768
    np.testing.assert_array_equal(np.sign(pcm[np.abs(loud[0]) > 0.1]), np.sign(loud[0][np.abs(loud[0]) > 0.1]))


@pytest.mark.parametrize("codec", ALL_CODECS)
def test_the_headers_are_told_as_they_are(codec: str, tmp_path: Path) -> None:
    rate_hz = 48000
    path = write(
        tmp_path / f"a{suffix_of(codec)}", tone(2.0, rate_hz=rate_hz, channels=2), rate_hz=rate_hz, codec=codec
    )
    with AudioStream(path) as stream:
        info = stream.info
    assert (info.sample_rate_hz, info.channels) == (rate_hz, 2)
    codecs = {"wav": "pcm_s16le", "aiff": "pcm_s16be", "wma": "wmav2", "vorbis_mono": "vorbis", "w64": "pcm_s16le"}
    codecs |= {"wav_u8": "pcm_u8", "wav_24": "pcm_s24le", "wav_32": "pcm_s32le", "wav_float": "pcm_f32le"}
    codecs |= {"wav_double": "pcm_f64le", "wav_ulaw": "pcm_mulaw", "wav_alaw": "pcm_alaw"}
    codecs |= {"aiff_24": "pcm_s24be", "flac_24": "flac"}
    assert info.codec == codecs.get(codec, codec)
    assert info.announced_s == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("codec", ["mp3", "flac", "aac", "vorbis", "wma"])
def test_the_name_of_a_file_decides_nothing(codec: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a{suffix_of(codec)}", tone(1.5, rate_hz=44100), rate_hz=44100, codec=codec)
    expected = read_pcm(path)
    np.testing.assert_array_equal(read_pcm(path.rename(tmp_path / "a.txt")), expected)


def test_bytes_path_and_file_object_give_the_same_samples(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp3", glide(3.0, rate_hz=44100), rate_hz=44100, codec="mp3")
    expected = read_pcm(path)
    np.testing.assert_array_equal(read_pcm(str(path)), expected)
    np.testing.assert_array_equal(read_pcm(path.read_bytes()), expected)
    with path.open("rb") as file:
        file.seek(1000)  # wherever it stands
        np.testing.assert_array_equal(read_pcm(file), expected)
        assert not file.closed


def test_opened_files_are_closed_also_when_opening_fails(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
    good.write_bytes(wav_bytes(np.zeros(100, np.int16)))
    bad.write_bytes(b"no audio at all")
    for _ in range(20):
        read_pcm(good)
        with pytest.raises(Exception, match="no allowed audio container"):
            read_pcm(bad)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
