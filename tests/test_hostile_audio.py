"""Files that claim or hold more audio than their bytes can, or that ask for more memory than they may have."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from audio_files import glide, ogg_crc, suffix_of, wav_bytes, write
from hostile_files import with_chunk_offset
from hypothesis import given
from hypothesis import strategies as st

from catalog_tagger.audio import SAMPLE_RATE_HZ, AudioStream, StreamInfo, read_pcm
from catalog_tagger.errors import AudioError
from catalog_tagger.lengths import FLOOR_S, LEAST_BYTES_PER_S, LONGEST_CLAIM_S, LengthLimit
from catalog_tagger.tagging.decoding import decode
from catalog_tagger.tagging.encoded import Encoded
from catalog_tagger.tagging.memory import data_bytes, within

HOUR_S = 3600.0
MIB = 2**20


def items(data: bytes, *, max_duration_s: float = 24 * HOUR_S, memory_bytes: int | None = None) -> list[object]:
    encoded = Encoded(data=np.frombuffer(data, np.uint8))
    return list(decode(encoded, max_duration_s=max_duration_s, memory_bytes=memory_bytes))


def end_of(data: bytes, *, max_duration_s: float = 24 * HOUR_S, memory_bytes: int | None = None) -> AudioError:
    *_, end = items(data, max_duration_s=max_duration_s, memory_bytes=memory_bytes)
    assert isinstance(end, AudioError), end
    return end


# --- length ----------------------------------------------------------------------------------------


CLAIMS = ["flac", "mp3", "aac", "wma", "opus"]


def claiming(codec: str, seconds: float, folder: Path) -> bytes:
    """Two seconds of sound whose headers announce another length."""
    rate_hz = 48000
    path = write(folder / f"a{suffix_of(codec)}", glide(2.0, rate_hz=rate_hz), rate_hz=rate_hz, codec=codec)
    data = bytearray(path.read_bytes())
    samples = int(seconds * rate_hz)
    match codec:
        case "flac":  # the low 36 of the 64 bits that hold rate, channels, bits and samples
            field = int.from_bytes(data[18:26], "big")
            data[18:26] = (field >> 36 << 36 | samples).to_bytes(8, "big")
        case "mp3":
            at = data.index(b"Info")
            data[at + 8 : at + 12] = struct.pack(">I", samples // 1152)
        case "aac":
            at = data.index(b"mdhd")
            data[at + 20 : at + 24] = struct.pack(">I", int(seconds * 4800))
            data[at + 16 : at + 20] = struct.pack(">I", 4800)
            data = data.replace(b"edts", b"free")  # an edit list would win
            at = data.index(b"stts")
            data[at + 8 : at + 16] = struct.pack(">II", 1, 94)
            data[at + 16 : at + 20] = struct.pack(">I", int(seconds * 4800 / 94))
        case "wma":
            at = data.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
            data[at + 64 : at + 72] = struct.pack("<Q", int((seconds + 3.1) * 1e7))  # with the preroll
        case "opus":
            at = data.rindex(b"OggS")
            data[at + 6 : at + 14] = struct.pack("<Q", int(seconds * 48000))
            data[at + 22 : at + 26] = bytes(4)
            data[at + 22 : at + 26] = struct.pack("<I", ogg_crc(bytes(data[at:])))
    return bytes(data)


@pytest.mark.parametrize("codec", CLAIMS)
def test_a_header_that_claims_100_hours_in_a_few_kilobytes_is_implausible(codec: str, tmp_path: Path) -> None:
    data = claiming(codec, 100 * HOUR_S, tmp_path)
    info, end = items(data)
    assert isinstance(info, StreamInfo)
    assert info.announced_s == pytest.approx(100 * HOUR_S, rel=0.01)
    assert isinstance(end, AudioError)
    assert end.code == "implausible"
    assert f"from {len(data)} bytes" in str(end)


@pytest.mark.parametrize("codec", CLAIMS)
def test_a_claim_beyond_the_allowed_duration_is_refused_undecoded(codec: str, tmp_path: Path) -> None:
    with AudioStream(claiming(codec, 1.5 * HOUR_S, tmp_path), max_duration_s=HOUR_S) as stream:
        with pytest.raises(
            AudioError, match=r"more than 3600 s of audio: the headers announce 5[34][0-9][0-9] s"
        ) as caught:
            next(stream.blocks())
        assert stream.decoded_samples == 0
    assert caught.value.code == "too_long"


@pytest.mark.parametrize("codec", CLAIMS)
def test_a_download_that_stopped_early_is_truncated_and_not_implausible(codec: str, tmp_path: Path) -> None:
    data = claiming(codec, 10 * HOUR_S, tmp_path)
    assert len(data) / LEAST_BYTES_PER_S + FLOOR_S < 10 * HOUR_S
    assert end_of(data).code == "truncated"


def silence(encoder: str, container: str, *, rate_hz: int, length_s: float, frame_size: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        options = {"frame_size": str(frame_size)} if encoder == "flac" else {}
        stream = output.add_stream(encoder, rate=rate_hz, layout="mono", format=kind, options=options)
        for start in range(0, int(length_s * rate_hz), frame_size):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, frame_size), np.int16), format=kind, layout="mono")
            frame.sample_rate, frame.pts = rate_hz, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """Six hours of silence in a few kilobytes, whose headers announce nothing."""
    data = bytearray(silence("flac", "flac", rate_hz=4000, length_s=6 * HOUR_S, frame_size=65535, kind="s16"))
    data[18:26] = (int.from_bytes(data[18:26], "big") >> 36 << 36).to_bytes(8, "big")
    assert len(data) < 30_000
    return bytes(data)


def test_a_few_kilobytes_that_decode_to_hours_of_silence_are_implausible(bomb: bytes) -> None:
    longest_s = FLOOR_S + len(bomb) / LEAST_BYTES_PER_S
    with AudioStream(bomb) as stream:
        assert stream.info.announced_s is None
        with pytest.raises(AudioError) as caught:
            list(stream.blocks())
        assert stream.decoded_samples < (longest_s + 60.0) * SAMPLE_RATE_HZ, "decoding must end there"
    assert caught.value.code == "implausible"
    assert str(caught.value).startswith(f"more than {longest_s:.0f} s decode from {len(bomb)} bytes")


def test_the_allowed_duration_comes_first_where_it_is_shorter(bomb: bytes) -> None:
    assert end_of(bomb, max_duration_s=900.0).code == "too_long"


def test_digital_silence_of_common_encoders_is_heard_whole() -> None:
    """40 minutes in the sparsest of them, several times what the floor alone allows."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 4000, 1, subtype="PCM_16", format="FLAC") as file:
        for _ in range(2400):
            file.write(np.zeros(4000, np.int16))
    assert len(buffer.getvalue()) / 2400 < 1.7 * LEAST_BYTES_PER_S, "this must be close to the bound"
    assert len(read_pcm(buffer.getvalue())) == 2400 * SAMPLE_RATE_HZ


def test_silence_in_alac_is_heard_whole() -> None:
    data = silence("alac", "ipod", rate_hz=8000, length_s=1200.0, frame_size=4096, kind="s16p")
    assert len(read_pcm(data)) >= 1200 * SAMPLE_RATE_HZ


@given(
    size=st.integers(0, 10**10),
    allowed_s=st.one_of(st.floats(1.0, 1e7), st.just(float("inf"))),
    seconds=st.floats(0.0, 1e12),
)
def test_claims_and_samples_get_one_verdict(size: int, allowed_s: float, seconds: float) -> None:
    limit = LengthLimit(size_bytes=size, max_duration_s=allowed_s)

    def code(check: object) -> str | None:
        try:
            check(seconds)  # type: ignore[operator]
        except AudioError as error:
            return error.code
        return None

    announced, decoded = code(limit.check_announced), code(limit.check_decoded)
    too_much = seconds > limit.longest_s
    assert decoded == ("implausible" if too_much else "too_long" if seconds > allowed_s else None)
    if too_much and seconds > LONGEST_CLAIM_S:
        assert announced == "implausible"
    else:
        assert announced == ("too_long" if seconds > allowed_s else None)


# --- memory ----------------------------------------------------------------------------------------


def asking(folder: Path, entries: int) -> bytes:
    """A small MP4 file whose table of sizes claims so many entries of four bytes."""
    data = bytearray(write(folder / "a.m4a", glide(2.0, rate_hz=44100), rate_hz=44100, codec="alac").read_bytes())
    at = data.index(b"stsz")
    data[at + 12 : at + 16] = struct.pack(">I", entries)
    return bytes(data)


def with_large_frames(folder: Path, samples: int) -> bytes:
    """An ALAC file whose decoder must allocate buffers for frames of so many samples."""
    data = bytearray(write(folder / "a.m4a", glide(2.0, rate_hz=44100), rate_hz=44100, codec="alac").read_bytes())
    at = data.index(b"alac", data.index(b"alac", data.index(b"stsd")) + 4)
    data[at + 8 : at + 12] = struct.pack(">I", samples)
    return bytes(data)


def test_a_file_that_asks_for_more_than_it_may_have_is_out_of_memory(tmp_path: Path) -> None:
    data = asking(tmp_path, 30_000_000)
    assert end_of(data, memory_bytes=64 * MIB).code == "out_of_memory"
    assert "the 64 MiB it may have" in str(end_of(data, memory_bytes=64 * MIB))
    assert end_of(data, memory_bytes=None).code != "out_of_memory", "without a limit it gets what it asks for"


RUNS_SHORT = """
import numpy as np
from audio_files import wav_bytes
from catalog_tagger.tagging.decoding import decode
from catalog_tagger.tagging.encoded import Encoded
data = np.frombuffer(wav_bytes(np.ones(1200 * 16000, np.int16)), np.uint8)
held = list(decode(Encoded(data=data), max_duration_s=1e9, memory_bytes=30 * 2**20))
print(len(held) > 2, held[-1].code)
"""


def test_memory_that_runs_short_in_the_middle_of_a_track_ends_it() -> None:
    # in a process of its own: the blocks, 3.8 MB each, must not find room that earlier tests have left
    command = [sys.executable, "-c", RUNS_SHORT]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["True", "out_of_memory"], done.stderr


def test_a_track_that_was_refused_memory_leaves_the_next_one_alone(tmp_path: Path) -> None:
    good = wav_bytes(np.ones(5 * SAMPLE_RATE_HZ, np.int16))
    for data in (asking(tmp_path, 30_000_000), with_large_frames(tmp_path, 1 << 24), good):
        end = items(data, memory_bytes=64 * MIB)[-1]
    assert end is None


def test_tracks_that_fail_leave_no_memory_behind(tmp_path: Path) -> None:
    data = with_large_frames(tmp_path, 1 << 22)  # some 80 MB of buffers
    items(data)
    before = data_bytes()
    for _ in range(3):
        assert end_of(data).code == "truncated"
    assert data_bytes() - before < 16 * MIB


def test_the_limit_holds_only_while_an_item_is_made() -> None:
    import resource

    def soft() -> int:
        return resource.getrlimit(resource.RLIMIT_DATA)[0]

    free = soft()
    seen = []
    made = within(64 * MIB, (soft() for _ in range(3)))
    for inside in made:
        seen.append((inside, soft()))
    assert [outside for _, outside in seen] == [free] * 3
    assert all(0 < inside < data_bytes() + 65 * MIB for inside, _ in seen)

    def failing() -> object:
        yield np.zeros(10 * MIB, np.uint8)
        yield np.zeros(4096 * MIB, np.uint8)  # more than other tests in this process may free meanwhile

    made = within(64 * MIB, failing())  # type: ignore[arg-type]
    next(made)
    with pytest.raises(MemoryError):
        next(made)
    assert soft() == free


# --- opening ---------------------------------------------------------------------------------------


def test_headers_that_take_too_long_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Millions of empty boxes before the index: read one by one, in whatever time that takes."""
    data = struct.pack(">I4s", 16, b"ftyp") + b"M4A \0\0\0\0" + struct.pack(">I4s", 8, b"free") * 1_000_000
    assert end_of(data).code == "truncated"
    monkeypatch.setattr("catalog_tagger.opening.MOST_CPU_S", 0.05)
    end = end_of(data)
    assert end.code == "decoder_timeout"
    assert str(end) == "the headers take more than 0 s to read"


def test_only_opening_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with AudioStream(wav_bytes(np.ones(600 * SAMPLE_RATE_HZ, np.int16))) as stream:
        monkeypatch.setattr("catalog_tagger.opening.MOST_CPU_S", 0.0)
        assert sum(len(block) for block in stream.blocks()) == 600 * SAMPLE_RATE_HZ
        assert len(stream.window(300.0)) == 5 * SAMPLE_RATE_HZ


def test_a_tag_of_very_many_fields_is_stepped_over(tmp_path: Path) -> None:
    """FFmpeg would look each of them up among all before it: minutes for these 5 MB."""
    fields = b"".join(b"TXXX\0\0\0\x0e\0\0\0%08d\0def." % i for i in range(200_000))
    size = bytes((len(fields) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    plain = write(tmp_path / "a.mp3", glide(2.0, rate_hz=44100), rate_hz=44100, codec="mp3").read_bytes()
    np.testing.assert_array_equal(read_pcm(b"ID3\4\0\0" + size + fields + plain), read_pcm(plain))


@pytest.mark.parametrize("offset", [2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
def test_an_offset_that_leads_nowhere_is_the_files_fault_and_not_the_stores(offset: int, tmp_path: Path) -> None:
    good = write(tmp_path / "a.m4a", glide(2.0, rate_hz=44100), rate_hz=44100, codec="aac").read_bytes()
    (tmp_path / "b.m4a").write_bytes(with_chunk_offset(good, offset))
    for encoded in (Encoded(path=str(tmp_path / "b.m4a")), Encoded(data=np.fromfile(tmp_path / "b.m4a", np.uint8))):
        *_, end = decode(encoded, max_duration_s=HOUR_S)
        assert isinstance(end, AudioError)
        assert end.code in ("truncated", "no_samples", "decode_failed")
