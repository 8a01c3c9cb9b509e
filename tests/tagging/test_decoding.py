"""What a decoder process reads and yields, here without the process."""

import errno
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from audio_files import glide, suffix_of, wav_bytes, write
from hypothesis import given
from hypothesis import strategies as st

from catalog_tagger.audio import SEGMENT_SAMPLES, AudioStream, StreamInfo, cut_segments, read_pcm
from catalog_tagger.errors import AudioError, StorageError
from catalog_tagger.tagging.decoding import Encoded, Look, Windows, decode
from catalog_tagger.tagging.skimming import Depth, places

DATA = bytes(range(256)) * 20


def items(encoded: Encoded, *, max_duration_s: float = 1e9) -> list[object]:
    return list(decode(encoded, max_duration_s=max_duration_s))


@given(
    offset=st.integers(0, len(DATA)),
    size=st.integers(0, len(DATA)),
    moves=st.lists(
        st.tuples(
            st.one_of(
                st.tuples(st.integers(0, 6000), st.just(os.SEEK_SET)),
                st.tuples(st.integers(0, 300), st.sampled_from([os.SEEK_CUR, os.SEEK_END])),
            ),
            st.integers(0, 700),
        ),
        max_size=8,
    ),
)
def test_a_stretch_of_a_file_behaves_as_a_file_of_its_own(
    offset: int, size: int, moves: list[tuple[tuple[int, int], int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "stretch.bin"
    if not path.exists():
        path.write_bytes(DATA)
    size = min(size, len(DATA) - offset)
    reference = io.BytesIO(DATA[offset : offset + size])
    with Encoded(path=str(path), offset=offset, size_bytes=size).open() as file:
        for (to, whence), count in moves:
            assert file.seek(to, whence) == reference.seek(to, whence)
            assert file.read(count) == reference.read(count)
        file.seek(0)
        assert file.read() == DATA[offset : offset + size]


def test_bytes_file_and_stretch_decode_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp3", glide(3.0, rate_hz=44100), rate_hz=44100, codec="mp3")
    data = path.read_bytes()
    wrapped = tmp_path / "wrapped.bin"
    wrapped.write_bytes(b"x" * 777 + data + b"y" * 5000)
    ways = [
        Encoded(data=np.frombuffer(data, np.uint8)),
        Encoded(path=str(path)),
        Encoded(path=str(wrapped), offset=777, size_bytes=len(data)),
    ]
    for encoded in ways:
        info, block, end = items(encoded)
        with AudioStream(path) as stream:
            assert info == stream.info
        np.testing.assert_array_equal(block, read_pcm(path))
        assert end is None


def test_a_good_track_yields_info_blocks_and_none() -> None:
    found = items(Encoded(data=np.frombuffer(wav_bytes(np.ones(130 * 16000, np.int16)), np.uint8)))
    assert isinstance(found[0], StreamInfo)
    assert [len(block) for block in found[1:-1]] == [120 * 16000, 10 * 16000]  # type: ignore[arg-type]
    assert found[-1] is None


@pytest.mark.parametrize(
    ("data", "code", "before"),
    [
        (b"", "empty", 0),
        (b"no audio", "not_audio", 0),
        (wav_bytes(np.zeros(0, np.int16)), "no_samples", 1),
        (wav_bytes(np.zeros(160000, np.int16))[:100000], "truncated", 1),
        (wav_bytes(np.zeros(50 * 16000, np.int16)), "too_long", 1),
    ],
)
def test_a_broken_track_ends_in_its_error(data: bytes, code: str, before: int) -> None:
    found = items(Encoded(data=np.frombuffer(data, np.uint8)), max_duration_s=30.0)
    assert isinstance(found[-1], AudioError)
    assert found[-1].code == code
    assert len(found) == before + 1, "nothing of it counts as heard"


@pytest.mark.parametrize(("make", "code"), [(None, "not_found"), ("folder", "unreadable")])
def test_a_place_that_is_no_file_is_its_tracks_error(make: str | None, code: str, tmp_path: Path) -> None:
    if make:
        (tmp_path / "a.mp3").mkdir()
    (error,) = items(Encoded(path=str(tmp_path / "a.mp3")))
    assert isinstance(error, AudioError)
    assert error.code == code
    assert str(tmp_path) not in str(error)


def test_a_pipe_in_the_catalogue_does_not_hang_the_decoder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp3")
    (error,) = items(Encoded(path=str(tmp_path / "a.mp3")))
    assert isinstance(error, AudioError)
    assert error.code == "unreadable"


def test_a_stretch_beyond_the_end_of_its_file_is_refused(tmp_path: Path) -> None:
    data = wav_bytes(np.ones(160000, np.int16))
    (tmp_path / "cut.tar").write_bytes(data[:50000])
    found = items(Encoded(path=f"{tmp_path}/cut.tar", offset=0, size_bytes=len(data)))
    assert isinstance(found[-1], AudioError)
    assert found[-1].code == "truncated"


class Faulty(io.BytesIO):
    """A file that cannot be read beyond a point, and remembers why."""

    def __init__(self, data: bytes, *, readable: int, failure: Exception, says_so: bool) -> None:
        super().__init__(data)
        self._readable, self._cause, self._says_so = readable, failure, says_so
        self.failure: Exception | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() < self._readable:
            return super().read(size)
        self.failure = self._cause
        if self._says_so:
            raise self._cause
        return b""


@dataclass(frozen=True, kw_only=True)
class FaultyPlace(Encoded):
    file: Faulty

    def open(self) -> IO[bytes]:
        return self.file


@pytest.mark.parametrize("says_so", [True, False])
@pytest.mark.parametrize("readable", [0, 300_000])
@pytest.mark.parametrize("codec", ["mp3", "wav", "flac"])
@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (StorageError("s3://bucket/a.mp3: cannot be read: the server gave up"), "unreadable"),
        (FileNotFoundError("s3://bucket/a.mp3"), "not_found"),
        (StorageError("s3://bucket: access denied", systemic=True), None),
    ],
)
def test_a_read_that_failed_explains_all_that_came_of_it(
    failure: Exception, code: str | None, codec: str, readable: int, says_so: bool, tmp_path: Path
) -> None:
    sound = glide(60.0, rate_hz=44100)
    data = write(tmp_path / f"a{suffix_of(codec)}", sound, rate_hz=44100, codec=codec).read_bytes()
    assert len(data) > 400_000
    place = FaultyPlace(file=Faulty(data, readable=readable, failure=failure, says_so=says_so))
    end = items(place)[-1]
    if code is None:
        assert isinstance(end, StorageError)
        assert end.systemic
        assert str(end) == str(failure)
    else:
        assert isinstance(end, AudioError)
        assert end.code == code


@pytest.mark.parametrize("codec", ["mp3", "flac", "wav"])
def test_a_disk_that_fails_in_the_middle_leaves_no_half_heard_track(codec: str, tmp_path: Path) -> None:
    class FailingDisk(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 300_000:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    class OnFailingDisk(Encoded):
        def open(self) -> IO[bytes]:
            return FailingDisk(data)

    sound = glide(60.0, rate_hz=44100)
    data = write(tmp_path / f"a{suffix_of(codec)}", sound, rate_hz=44100, codec=codec).read_bytes()
    if codec == "mp3":
        data = data[data.index(b"Info") + 200 :]  # nothing says how long it is
    end = items(OnFailingDisk())[-1]
    assert isinstance(end, AudioError)
    assert end.code == "unreadable"
    assert str(end) == "Input/output error"


@pytest.mark.parametrize("systemic", [True, False])
def test_a_place_that_cannot_be_opened_is_judged_alike(systemic: bool) -> None:
    class Refusing(Encoded):
        def open(self) -> IO[bytes]:
            raise StorageError("s3://bucket: refused", systemic=systemic)

    (end,) = items(Refusing())
    if systemic:
        assert isinstance(end, StorageError)
    else:
        assert isinstance(end, AudioError)
        assert end.code == "unreadable"


def test_the_error_survives_the_way_between_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(AudioError("truncated", "ends after 1.0 s")))
    assert (error.code, str(error)) == ("truncated", "ends after 1.0 s")


def test_an_unknown_code_is_a_defect() -> None:
    with pytest.raises(ValueError, match="unknown quarantine code 'oops'"):
        AudioError("oops", "message")


def looked(encoded: Encoded, look: Look) -> list[object]:
    return list(decode(encoded, max_duration_s=1e9, look=look))


def long_track(folder: Path, *, seconds: float = 130.0, codec: str = "mp3") -> Path:
    """A sine whose pitch names the time, below what any codec leaves out."""
    t = np.arange(round(seconds * 16000)) / 16000
    signal = 0.4 * np.sin(2 * np.pi * (300.0 + 10.0 * t) * t)[None]
    return write(folder / f"long{suffix_of(codec)}", signal, rate_hz=16000, codec=codec)


@pytest.mark.parametrize("codec", ["mp3", "flac", "opus", "aac", "wav"])
def test_a_look_gives_the_segments_at_its_places_by_seeking(codec: str, tmp_path: Path) -> None:
    path = long_track(tmp_path, codec=codec)
    whole = cut_segments(read_pcm(path))
    seen: list[int] = []
    for number in range(3):
        info, windows, end = looked(Encoded(path=str(path)), Look(depth="auto", number=number))
        assert isinstance(info, StreamInfo)
        assert isinstance(windows, Windows)
        assert end is None
        assert windows.samples.shape == (len(windows.places), SEGMENT_SAMPLES)
        assert windows.n_samples == pytest.approx(130 * 16000, abs=4000)
        seen += windows.places
        for place, samples in zip(windows.places, windows.samples, strict=True):
            mine, other = (np.abs(np.fft.rfft(x.astype(np.float64))[:40000]) for x in (samples, whole[place]))
            assert np.corrcoef(mine, other)[0, 1] > 0.98
    assert tuple(sorted(seen)) == places(len(whole), 2)


@pytest.mark.parametrize(
    ("seconds", "depth"),
    [(60.0, "auto"), (60.0, "skim"), (130.0, "scan")],
)
def test_what_is_not_skimmed_is_decoded_whole_though_a_look_was_asked_for(
    seconds: float, depth: Depth, tmp_path: Path
) -> None:
    path = long_track(tmp_path, seconds=seconds)
    found = looked(Encoded(path=str(path)), Look(depth=depth))
    expected = items(Encoded(path=str(path)))
    assert found[0] == expected[0]
    assert np.array_equal(np.concatenate(found[1:-1]), np.concatenate(expected[1:-1]))  # type: ignore[arg-type]


def test_a_track_that_ends_before_its_headers_say_is_decoded_whole_and_found_truncated(tmp_path: Path) -> None:
    path = long_track(tmp_path, codec="wav")
    path.write_bytes(path.read_bytes()[: 16000 * 2 * 90])
    *_, end = looked(Encoded(path=str(path)), Look(depth="auto"))
    assert isinstance(end, AudioError)
    assert end.code == "truncated"


def test_a_track_of_unknown_length_is_decoded_whole(tmp_path: Path) -> None:
    path = long_track(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[2000:])  # without the header that counts its frames
    found = looked(Encoded(path=str(path)), Look(depth="auto"))
    assert not any(isinstance(item, Windows) for item in found)
    assert found[-1] is None
