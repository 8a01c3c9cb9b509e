"""Blocks, windows and odd streams: nothing lost at a boundary or the end, nothing held that need not be."""

import io
import struct
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
from audio_files import ALL_CODECS, Signal, glide, ogg_crc, rms, strongest_hz, suffix_of, tone, wav_bytes, write
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_tagger.audio import SAMPLE_RATE_HZ, AudioStream, read_pcm
from catalog_tagger.errors import AudioError


def murmur(length_s: float, *, rate_hz: int) -> Signal:
    """Noise below 400 Hz: unlike a tone it tells every place from every other, and half a sample hardly matters."""
    n = round(length_s * rate_hz)
    spectrum = np.fft.rfft(np.random.default_rng(5).standard_normal(n))
    spectrum[int(400 * length_s) :] = 0
    noise = np.fft.irfft(spectrum, n)
    return (0.5 * noise / np.abs(noise).max())[None]


@pytest.fixture(scope="module")
def long_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """65 s in every codec: longer than any page of an Ogg file."""
    folder = tmp_path_factory.mktemp("long")
    files = {}
    for codec in ALL_CODECS:
        rate_hz = 24000
        path = folder / f"{codec}{suffix_of(codec)}"
        files[codec] = write(path, murmur(65.0, rate_hz=rate_hz), rate_hz=rate_hz, codec=codec)
    return files


@pytest.mark.parametrize("codec", ALL_CODECS)
def test_windows_by_seeking_are_those_of_the_whole_decode(codec: str, long_files: dict[str, Path]) -> None:
    whole = read_pcm(long_files[codec]).astype(np.float64)
    with AudioStream(long_files[codec]) as stream:
        for start_s in (0.0, 0.1, 31.7, 5.0, 49.9, 60.0, 63.5):  # back and forth
            window = stream.window(start_s).astype(np.float64)
            first = round(start_s * SAMPLE_RATE_HZ)
            assert len(window) == pytest.approx(len(whole[first : first + 80000]), abs=16)
            inner = window[800:16000]  # a codec settles in the first instants after a seek
            likeness = {
                lag: np.corrcoef(inner, whole[first + 800 + lag :][: len(inner)])[0, 1] for lag in range(-20, 21)
            }
            best = max(likeness, key=lambda lag: likeness[lag])
            assert likeness[best] > 0.99, (start_s, likeness[best])
            # the clock of WMA counts milliseconds
            assert abs(best) <= (17 if codec == "wma" else 1), (start_s, best)


@pytest.mark.parametrize("codec", ALL_CODECS)
def test_a_window_beyond_the_end_is_empty(codec: str, long_files: dict[str, Path]) -> None:
    with AudioStream(long_files[codec]) as stream:
        assert len(stream.window(66.0)) == 0
        assert len(stream.window(300.0)) == 0
        assert len(stream.window(10.0, length_s=1.0)) == SAMPLE_RATE_HZ


@pytest.mark.parametrize("block_s", [0.5, 5.0, 7.3, 64.0, 65.0, 120.0])
@pytest.mark.parametrize("codec", ["mp3", "aac", "opus", "wav"])
def test_blocks_are_cuts_of_the_whole(codec: str, block_s: float, long_files: dict[str, Path]) -> None:
    whole = read_pcm(long_files[codec])
    with AudioStream(long_files[codec]) as stream:
        blocks = list(stream.blocks(block_s=block_s))
        assert stream.decoded_samples == len(whole)
    assert {len(block) for block in blocks[:-1]} <= {round(block_s * SAMPLE_RATE_HZ)}
    assert 0 < len(blocks[-1]) <= round(block_s * SAMPLE_RATE_HZ)
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


@given(n=st.integers(400, 60000), rate_hz=st.sampled_from([16000, 22050, 44100, 48000]), block_s=st.floats(0.01, 2.0))
@settings(max_examples=60, deadline=None)
def test_the_last_sample_is_never_lost(n: int, rate_hz: int, block_s: float) -> None:
    with AudioStream(wav_bytes(np.full(n, 9000, np.int16), rate_hz=rate_hz)) as stream:
        pcm = np.concatenate(list(stream.blocks(block_s=block_s)))
    assert abs(len(pcm) - n * SAMPLE_RATE_HZ / rate_hz) <= 1
    if rate_hz == SAMPLE_RATE_HZ:
        np.testing.assert_array_equal(pcm, 9000)


@pytest.mark.parametrize("codec", ["alac", "flac", "aac", "wma"])
def test_the_end_of_a_file_with_large_frames_is_heard(codec: str, tmp_path: Path) -> None:
    signal = tone(5.0, rate_hz=8000, level=0.0)
    signal[:, -8000:] = tone(1.0, rate_hz=8000, hz=500.0)
    pcm = read_pcm(write(tmp_path / f"a{suffix_of(codec)}", signal, rate_hz=8000, codec=codec))
    assert rms(pcm[3 * SAMPLE_RATE_HZ : 4 * SAMPLE_RATE_HZ - 4000]) < 0.01
    ending = pcm[4 * SAMPLE_RATE_HZ + 400 : 5 * SAMPLE_RATE_HZ - 400]
    assert len(ending) == 15200
    assert rms(ending) > 0.3
    assert strongest_hz(ending) == pytest.approx(500.0, abs=2.0)


def test_memory_is_bounded_by_the_block(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(wav_bytes(np.zeros(600 * SAMPLE_RATE_HZ, np.int16)))  # ten minutes: 19 MB decoded
    tracemalloc.start()
    with AudioStream(path) as stream:
        total = sum(len(block) for block in stream.blocks(block_s=5.0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 600 * SAMPLE_RATE_HZ
    assert peak < 2_000_000


def test_more_than_the_allowed_duration_is_refused_without_decoding_it_all() -> None:
    data = wav_bytes(np.zeros(300 * SAMPLE_RATE_HZ, np.int16))
    with AudioStream(data, max_duration_s=20.0) as stream:
        blocks = stream.blocks(block_s=5.0)
        with pytest.raises(AudioError, match="more than 20 s") as caught:
            list(blocks)
        assert stream.decoded_samples < 30 * SAMPLE_RATE_HZ
    assert caught.value.code == "too_long"
    assert len(read_pcm(wav_bytes(np.zeros(20 * SAMPLE_RATE_HZ, np.int16)), max_duration_s=20.0)) == 320000


@pytest.mark.parametrize("new_serial", [False, True])
@pytest.mark.parametrize("codec", ["opus", "vorbis", "vorbis_mono"])
def test_chained_ogg_streams_are_heard_to_the_end(codec: str, new_serial: bool, tmp_path: Path) -> None:
    pcm = read_pcm(_chained(tmp_path, codec, (48000, 48000), (1, 1), new_serial=new_serial))
    assert len(pcm) == pytest.approx(6 * SAMPLE_RATE_HZ, abs=3000)
    assert strongest_hz(pcm[8000:40000]) == pytest.approx(500.0, abs=1.0)
    assert strongest_hz(pcm[56000:88000]) == pytest.approx(1000.0, abs=1.0)


@pytest.mark.parametrize(("codec", "rates_hz"), [("opus", (48000, 48000)), ("vorbis_mono", (44100, 22050))])
def test_a_chained_ogg_that_changes_its_format_is_not_cut_silently(
    codec: str, rates_hz: tuple[int, int], tmp_path: Path
) -> None:
    with pytest.raises(AudioError, match="format changes") as caught:
        read_pcm(_chained(tmp_path, codec, rates_hz, (1, 2), new_serial=True))
    assert caught.value.code == "decode_failed"


@pytest.mark.parametrize(("codec", "suffix"), [("mp3", ".mp3"), ("adts", ".aac")])
def test_a_stream_whose_rate_and_channels_change_is_heard_to_the_end(codec: str, suffix: str, tmp_path: Path) -> None:
    data = b""
    for i, (rate_hz, channels) in enumerate([(44100, 1), (48000, 2), (22050, 1)]):
        signal = tone(2.0, rate_hz=rate_hz, hz=500.0 * (i + 1), channels=channels)
        if codec == "adts":
            data += _adts(signal, rate_hz=rate_hz)
        else:
            data += write(tmp_path / f"{i}.mp3", signal, rate_hz=rate_hz, codec="mp3").read_bytes()
    pcm = read_pcm(data)
    assert len(pcm) == pytest.approx(6 * SAMPLE_RATE_HZ, abs=8000)
    for i in range(3):
        part = pcm[i * 32000 + 10000 : i * 32000 + 26000]
        assert strongest_hz(part) == pytest.approx(500.0 * (i + 1), abs=1.5)


def _adts(signal: Signal, *, rate_hz: int) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="adts") as container:
        layout = "stereo" if len(signal) == 2 else "mono"
        stream = container.add_stream("aac", rate=rate_hz, layout=layout)
        for start in range(0, signal.shape[1], 1024):
            part = np.ascontiguousarray(signal[:, start : start + 1024], dtype=np.float32)
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate_hz, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _chained(
    folder: Path, codec: str, rates_hz: tuple[int, int], channels: tuple[int, int], *, new_serial: bool
) -> bytes:
    """Two Ogg files end to end: 500 Hz, then 1 kHz, three seconds each."""
    parts = []
    for i, rate_hz in enumerate(rates_hz):
        signal = tone(3.0, rate_hz=rate_hz, hz=500.0 * (i + 1), channels=channels[i])
        data = write(folder / f"{i}.ogg", signal, rate_hz=rate_hz, codec=codec).read_bytes()
        parts.append(_with_serial(data, 7 + i) if new_serial else data)
    return b"".join(parts)


def _with_serial(ogg: bytes, serial: int) -> bytes:
    """The file with another stream number, as a chain of streams must have; checksums made anew."""
    out = bytearray(ogg)
    at = 0
    while at < len(out):
        count = out[at + 26]
        size = 27 + count + sum(out[at + 27 : at + 27 + count])
        out[at + 14 : at + 18] = struct.pack("<I", serial)
        out[at + 22 : at + 26] = bytes(4)
        out[at + 22 : at + 26] = struct.pack("<I", ogg_crc(out[at : at + size]))
        at += size
    return bytes(out)


def _picture() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="image2pipe") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize("size", [None, 900_000, 1_100_000, 8_000_000])
@pytest.mark.parametrize("tags", [1, 3])
def test_a_cover_picture_in_an_mp3_is_left_alone(size: int | None, tags: int, tmp_path: Path) -> None:
    plain = write(tmp_path / "a.mp3", glide(3.0, rate_hz=44100), rate_hz=44100, codec="mp3").read_bytes()
    image = _picture() if size is None else np.random.default_rng(0).bytes(size)
    picture = b"\0image/png\0\3\0" + image
    frame = b"APIC" + struct.pack(">I", len(picture)) + b"\0\0" + picture
    size = len(frame)
    header = b"ID3\3\0\0" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    audio = plain[plain.index(b"\xff\xfb") :]
    data = (header + frame) * tags + audio
    for source in (data, tmp_path / "a.bin"):  # neither has a name that tells what it is
        if isinstance(source, Path):
            source.write_bytes(data)
        with AudioStream(source) as stream:
            assert stream.info.codec == "mp3"
            pcm = np.concatenate(list(stream.blocks()))
            window = stream.window(1.0, length_s=1.0)
        np.testing.assert_array_equal(pcm, read_pcm(plain))
        assert len(window) == SAMPLE_RATE_HZ


@pytest.mark.parametrize("codec", ["aac", "alac"])
def test_moving_pictures_in_an_mp4_are_left_alone(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        audio = container.add_stream(codec, rate=16000, layout="mono")
        sound = tone(3.0, rate_hz=16000)
        for i in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((96, 64), i, np.uint8), format="yuv420p")
            container.mux(video.encode(frame))
            kind = "fltp" if codec == "aac" else "s16p"
            part = sound[:, i * 1600 : (i + 1) * 1600]
            part = part.astype(np.float32) if codec == "aac" else (part * 32767).astype(np.int16)
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format=kind, layout="mono")
            block.sample_rate, block.pts = 16000, i * 1600
            container.mux(audio.encode(block))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    pcm = read_pcm(path)
    assert len(pcm) == pytest.approx(48000, abs=4096)
    assert strongest_hz(pcm[8000:40000]) == pytest.approx(1000.0, abs=1.0)
