"""Hostile and broken bytes: one `AudioError` with the right code, or samples."""

import io
import random
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import av.error
import numpy as np
import pytest
from audio_files import ALL_CODECS, glide, suffix_of, wav_bytes, write

from catalog_tagger.audio import SAMPLE_RATE_HZ, AudioStream, Pcm, read_pcm
from catalog_tagger.errors import QUARANTINE_CODES, AudioError

RATE_HZ = 48000
#: files cut short that nothing gives away: their headers do not say how long they are
CANNOT_TELL = {"opus", "vorbis", "vorbis_mono", "w64"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """10 s in every codec."""
    folder = tmp_path_factory.mktemp("good")
    return {
        codec: write(
            folder / f"{codec}{suffix_of(codec)}", glide(10.0, rate_hz=RATE_HZ), rate_hz=RATE_HZ, codec=codec
        ).read_bytes()
        for codec in ALL_CODECS
    }


def refused(data: bytes) -> AudioError:
    """The one error that the bytes end in; its message must be fit for a table that people read."""
    with pytest.raises(AudioError) as caught:
        read_pcm(data)
    message = str(caught.value)
    assert caught.value.code in QUARANTINE_CODES
    assert message
    assert not re.search(r" object at |<[a-z_]+\.|0x[0-9a-f]{6}|\[Errno|\n|None", message), message
    return caught.value


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"\0", "not_audio", id="one-byte"),
        pytest.param(bytes(100_000), "not_audio", id="zeros"),
        pytest.param(b"<!DOCTYPE html><html><body>404 Not Found</body></html>" * 20, "not_audio", id="html"),
        pytest.param(b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "not_audio", id="s3-error"),
        pytest.param(b"ID3\3\0\0\0\0\x10\0" + bytes(200_000), "not_audio", id="id3-then-zeros"),
        pytest.param(b"ID3\3\0\0\x7f\x7f\x7f\x7f" + bytes(2000), "not_audio", id="id3-longer-than-the-file"),
        pytest.param(b"RIFF" + bytes(40), "not_audio", id="riff-without-wave"),
        pytest.param(b"%PDF-1.4\n" + bytes(3000), "not_audio", id="pdf"),
        pytest.param(b"PK\3\4" + bytes(3000), "not_audio", id="zip"),
        pytest.param(b"\x1aE\xdf\xa3" + bytes(3000), "not_audio", id="matroska"),
        pytest.param(b"\xff\xfb\x90\x44" + bytes(60), "not_audio", id="mp3-frame-header-alone"),
        pytest.param(struct.pack(">I4s", 8, b"ftyp") + bytes(100), "truncated", id="mp4-without-index"),
    ],
)
def test_what_is_no_audio_is_refused_with_its_code(data: bytes, code: str) -> None:
    assert refused(data).code == code


@pytest.mark.parametrize("seed", range(12))
def test_random_bytes_are_refused(seed: int) -> None:
    assert refused(random.Random(seed).randbytes(40_000)).code in ("not_audio", "decode_failed", "no_samples")


@pytest.mark.parametrize("share", [0.3, 0.5, 0.85])
@pytest.mark.parametrize("codec", sorted(set(ALL_CODECS) - CANNOT_TELL))
def test_a_file_cut_short_is_truncated(codec: str, share: float, files: dict[str, bytes]) -> None:
    assert refused(files[codec][: int(share * len(files[codec]))]).code == "truncated"


@pytest.mark.parametrize("codec", sorted(CANNOT_TELL))
def test_a_file_cut_short_without_knowing_gives_what_is_there(codec: str, files: dict[str, bytes]) -> None:
    pcm = read_pcm(files[codec][: len(files[codec]) // 2])
    assert 2 * SAMPLE_RATE_HZ < len(pcm) < 6 * SAMPLE_RATE_HZ


@pytest.mark.parametrize("codec", ["mp3", "flac", "wav", "aiff", "wma"])
def test_the_last_instant_may_be_missing(codec: str, files: dict[str, bytes]) -> None:
    pcm = read_pcm(files[codec][: int(0.96 * len(files[codec]))])
    assert len(pcm) > 9 * SAMPLE_RATE_HZ


def test_a_cut_mp4_whose_index_comes_first_is_truncated(tmp_path: Path) -> None:
    source = write(tmp_path / "a.m4a", glide(10.0, rate_hz=RATE_HZ), rate_hz=RATE_HZ, codec="aac")
    with av.open(str(source)) as old, av.open(str(tmp_path / "b.m4a"), "w", options={"movflags": "faststart"}) as new:
        stream = new.add_stream_from_template(old.streams.audio[0])
        for packet in old.demux(old.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    data = (tmp_path / "b.m4a").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    np.testing.assert_array_equal(read_pcm(data), read_pcm(source))
    assert refused(data[: len(data) // 2]).code == "truncated"


@pytest.mark.parametrize("codec", ["wav", "aiff", "mp3", "flac"])
def test_a_file_of_headers_alone_has_no_samples(codec: str, files: dict[str, bytes], tmp_path: Path) -> None:
    if codec == "wav":
        data = wav_bytes(np.zeros(0, np.int16))
    else:
        data = files[codec][: {"aiff": 54, "mp3": 45 + 288, "flac": 42}[codec]]
    assert refused(data).code in ("no_samples", "not_audio", "truncated", "decode_failed")


def test_a_wav_of_no_samples_says_so() -> None:
    assert refused(wav_bytes(np.zeros(0, np.int16))).code == "no_samples"


def test_an_open_ended_wav_recording_is_heard_whole() -> None:
    data = bytearray(wav_bytes(np.full(32000, 5000, np.int16)))
    at = data.index(b"data")
    data[at + 4 : at + 8] = data[4:8] = b"\xff\xff\xff\xff"  # what a recorder writes before it knows
    np.testing.assert_array_equal(read_pcm(bytes(data)), 5000)


def test_a_file_with_moving_pictures_alone_has_no_audio_stream() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for i in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((96, 64), i, np.uint8), format="yuv420p")))
        container.mux(stream.encode(None))
    assert refused(buffer.getvalue()).code == "no_audio_stream"


@pytest.mark.parametrize(("codec", "container", "kind"), [("ac3", "mp4", "fltp"), ("g722", "wav", "s16")])
def test_a_codec_that_is_not_on_the_list_is_refused(codec: str, container: str, kind: str) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=48000 if codec == "ac3" else 16000, layout="mono")
        stream.bit_rate = 64000
        for i in range(20):
            part = np.zeros((1, 1536), np.float32 if kind == "fltp" else np.int16)
            frame = av.AudioFrame.from_ndarray(part, format=kind, layout="mono")
            frame.sample_rate, frame.pts = stream.rate, i * 1536
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    error = refused(buffer.getvalue())
    assert error.code == "unsupported_codec"
    assert codec in str(error)


def test_a_container_that_is_not_on_the_list_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mka"), "w", format="matroska") as container:
        stream = container.add_stream("flac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4608), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert av.open(str(tmp_path / "a.mka")).streams.audio, "FFmpeg itself can read it"
    assert refused((tmp_path / "a.mka").read_bytes()).code == "not_audio"


# --- mutations -------------------------------------------------------------------------------------


def mutations(data: bytes, seed: int) -> Iterator[bytes]:
    """Bits flipped, stretches removed or repeated, lengths made huge; seeded, so that a failure comes again."""
    dice = random.Random(seed)
    for _ in range(3):
        out = bytearray(data)
        for _ in range(dice.choice([1, 1, 3, 20, 200])):
            # headers are where the arithmetic is
            at = dice.randrange(min(len(out), dice.choice([64, 512, len(out), len(out)])))
            match dice.randrange(5):
                case 0:
                    out[at] ^= 1 << dice.randrange(8)
                case 1:
                    out[at : at + 4] = dice.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4)])
                case 2:
                    out[at : at + dice.randrange(64)] = b""
                case 3:
                    stretch = out[at : at + dice.randrange(64)]
                    out[at:at] = stretch
                case _:
                    out[at] = dice.randrange(256)
        yield bytes(out)


def outcome(mutant: bytes, listen: Callable[[AudioStream], list[Pcm]]) -> AudioError | list[Pcm]:
    try:
        with AudioStream(mutant, max_duration_s=600.0) as stream:
            return listen(stream)
    except AudioError as error:
        return error


@pytest.mark.parametrize("codec", ALL_CODECS)
def test_mutated_files_end_in_samples_or_in_one_error(codec: str, tmp_path: Path) -> None:
    signal = glide(1.0, rate_hz=RATE_HZ)
    data = write(tmp_path / f"a{suffix_of(codec)}", signal, rate_hz=RATE_HZ, codec=codec).read_bytes()
    kinds = set()
    for seed in range(8):
        for mutant in mutations(data, seed):
            result = outcome(mutant, lambda stream: list(stream.blocks(block_s=5.0)))
            kinds.add(type(result))
            if isinstance(result, AudioError):
                assert result.code in QUARANTINE_CODES
                assert " object at " not in str(result)
            else:
                assert all(block.dtype == np.int16 and len(block) for block in result)
    assert kinds == {AudioError, list}, "the mutations must be strong enough to break some and spare some"


@pytest.mark.parametrize("codec", ["mp3", "aac", "opus", "wma", "flac"])
def test_windows_of_mutated_files_end_in_samples_or_in_one_error(codec: str, tmp_path: Path) -> None:
    signal = glide(2.0, rate_hz=RATE_HZ)
    data = write(tmp_path / f"a{suffix_of(codec)}", signal, rate_hz=RATE_HZ, codec=codec).read_bytes()
    for seed in range(100, 105):
        for mutant in mutations(data, seed):
            result = outcome(mutant, lambda stream: [stream.window(1.0, length_s=0.5)])
            if isinstance(result, AudioError):
                assert result.code in QUARANTINE_CODES
            else:
                assert len(result[0]) <= SAMPLE_RATE_HZ // 2
