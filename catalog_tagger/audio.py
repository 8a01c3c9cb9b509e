"""Bytes of any allowed audio file to mono 16 kHz samples, streamed; the only place that knows codecs.

Input is hostile: `catalog_tagger.opening` says what FFmpeg may do with it, `catalog_tagger.lengths` how long a
track may be at all, and which code it gets beyond that.

Samples leave as int16 at 16 kHz. One rounding, `seconds_to_samples`, ties time to samples, and a
segment is 5 s of them:

    samples  0        80000     160000   n = 191000
             |---------|---------|---x.....|
    segment  0         1         2   ^ end_s = 11.9375; zeros fill the rest for the classifier
                                       (a tail under 0.25 s, such as a codec's padding, makes no segment
                                       of its own unless it is the whole track)

Failure rule: whatever is wrong with the bytes ends as one `AudioError` with a quarantine code.
Damaged packets are skipped, as players do; a file whose own headers announce more than it holds
is `truncated` when under 90 % of it decodes, and nothing of it counts.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, TypeAlias

import av
import av.error
import numpy as np
import numpy.typing as npt

from catalog_tagger.announced import announced_seconds
from catalog_tagger.errors import AudioError
from catalog_tagger.lengths import LengthLimit
from catalog_tagger.opening import open_container, reason_of
from catalog_tagger.resampling import Pcm, ToRate

SAMPLE_RATE_HZ: Final = 16000
SEGMENT_S: Final = 5.0
SEGMENT_SAMPLES: Final = 80000
MIN_TAIL_SAMPLES: Final = 4000
#: a whole number of segments: what is decoded, moved and held at a time
BLOCK_S: Final = 120.0
#: shorter audio than this share of what the headers announce counts as truncated
WHOLE_SHARE: Final = 0.9

_LONGEST_OGG_PAGE_S: Final = 40.0

AudioSource: TypeAlias = "bytes | str | PathLike[str] | IO[bytes]"


def seconds_to_samples(seconds: float) -> int:
    """Sample at 16 kHz nearest to a time, halves up: the only rounding between the two."""
    return math.floor(seconds * SAMPLE_RATE_HZ + 0.5)


def segment_count(n_samples: int, *, continued: bool = False) -> int:
    """Segments of `n_samples` samples at 16 kHz, by the rule in the module's docstring.

    `continued` says that segments of the same track came before, as in a later block.
    """
    whole, tail = divmod(n_samples, SEGMENT_SAMPLES)
    return whole + (tail >= MIN_TAIL_SAMPLES or (whole == 0 and tail > 0 and not continued))


@dataclass(frozen=True, kw_only=True)
class StreamInfo:
    """What the headers of a track say."""

    container: str
    """FFmpeg's name of the demuxer."""
    codec: str
    """FFmpeg's canonical name of the codec: mp3, aac, alac, flac, vorbis, opus, pcm_s16le, wmav2, ..."""
    sample_rate_hz: int
    channels: int
    announced_s: float | None
    """Duration by the headers; None where they hold a guess from the bit rate or nothing."""


@contextmanager
def _memory_as_audio_error() -> Iterator[None]:
    """What is passed on as `MemoryError` below, FFmpeg's too, leaves as an `AudioError`."""
    try:
        yield
    except MemoryError as error:
        raise AudioError("out_of_memory", "decoding asked for more memory than it may have") from error


class AudioStream:
    """One opened track: its `info`, then its samples as `blocks` or as `window`.

    Parameters
    ----------
    source
        The bytes, a path, or a binary file object with ``read`` and ``seek``.
    max_duration_s
        Announcing or decoding more than this ends in `AudioError` ``too_long``.

    Raises
    ------
    AudioError
        On opening the codes of `catalog_tagger.opening.open_container`, and ``out_of_memory``.
    OSError
        A path that cannot be read.
    """

    def __init__(self, source: AudioSource, *, max_duration_s: float = math.inf) -> None:
        self._file, self._owns_file = _as_file(source)
        self._origin_s: float | None = None
        self._rate: ToRate | None = None
        self.decoded_samples = 0
        try:
            size = self._file.seek(0, io.SEEK_END)
            self._limit = LengthLimit(size_bytes=size, max_duration_s=max_duration_s)
            with _memory_as_audio_error():
                self._container, self._stream = open_container(self._file, size_bytes=size)
                self.info = _describe(self._container, self._stream, self._file)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> AudioStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the decoder, and of the file where it was opened here."""
        if hasattr(self, "_container"):
            self._container.close()
        if self._owns_file:
            self._file.close()

    def blocks(self, *, block_s: float = BLOCK_S) -> Iterator[Pcm]:
        """The whole track from its start, in blocks of `block_s` (the last one shorter, never empty).

        Raises
        ------
        AudioError
            Codes ``no_samples``, ``truncated``, ``too_long``, ``implausible``, ``decode_failed``,
            ``out_of_memory``, all but the first perhaps after the blocks that could be had.
        """
        if self.info.announced_s is not None:
            self._limit.check_announced(self.info.announced_s)
        with _memory_as_audio_error():
            yield from self._blocks(seconds_to_samples(block_s))

    def _blocks(self, size: int) -> Iterator[Pcm]:
        held: list[Pcm] = []
        n_held = 0
        for _, piece in self._resampled():
            held.append(piece)
            n_held += len(piece)
            self.decoded_samples += len(piece)
            self._limit.check_decoded(self.decoded_samples / SAMPLE_RATE_HZ)
            if n_held >= size:
                joined = np.concatenate(held)
                whole = n_held - n_held % size
                yield from (joined[i : i + size] for i in range(0, whole, size))
                held, n_held = [joined[whole:]], n_held - whole
        self._check_whole()
        if n_held:
            yield np.concatenate(held)

    @_memory_as_audio_error()
    def window(self, start_s: float, *, length_s: float = SEGMENT_S) -> Pcm:
        """Samples of ``[start_s, start_s + length_s)`` by seeking; shorter at the track's end, empty beyond it.

        The samples differ from those of `blocks` by the phase of the resampler, less than one
        sample in time, and by a codec's state at the seek point, which a lead-in of 0.25 s settles.
        """
        first, want = seconds_to_samples(start_s), seconds_to_samples(length_s)
        lead_in_s = start_s - 0.25
        if self.info.container == "ogg" and self.info.announced_s is not None:
            # after a seek into the last page FFmpeg guesses the time; no page is longer than 255 packets
            lead_in_s = min(lead_in_s, self.info.announced_s - _LONGEST_OGG_PAGE_S)
        if self._origin_s is None:
            self._origin_s = self._first_frame_s()
        try:
            self._container.seek(int(max(0.0, lead_in_s) * av.time_base), backward=True)
        except MemoryError:
            raise
        except av.error.FFmpegError as error:
            if self.info.announced_s is not None and start_s >= self.info.announced_s:
                return np.zeros(0, dtype=np.int16)  # some demuxers refuse to go there
            raise AudioError("decode_failed", f"cannot seek to {start_s:.1f} s: {reason_of(error)}") from error
        out = np.zeros(want, dtype=np.int16)
        filled = 0
        if lead_in_s <= 0.0:
            self._rate = None  # what it holds of the window before would be heard in this one
        for at, piece in self._resampled(origin_s=self._origin_s, until=first + want):
            begin = at - first
            source = piece[max(0, -begin) : max(0, want - begin)]
            begin = max(0, begin)
            out[begin : begin + len(source)] = source
            filled = max(filled, begin + len(source)) if len(source) else filled
            if at + len(piece) >= first + want:
                break
        return out[:filled]

    def _resampled(self, *, origin_s: float = 0.0, until: int | None = None) -> Iterator[tuple[int, Pcm]]:
        """(position at 16 kHz by the stream's clock, samples) of every piece from the present read position on.

        Whoever reads `until` some position jumps about in the stream, and the resampler is kept for the next time.
        """
        rate, self._rate = self._rate, None
        position: int | None = None
        for frame in _frames(self._container, self._stream):
            if position is None:
                seconds = 0.0 if frame.pts is None else float(frame.pts * frame.time_base) - origin_s
                position = seconds_to_samples(seconds)
                if rate is not None and rate.takes(frame):
                    position -= rate.jump()
                else:
                    rate = None
            pieces: list[Pcm] = []
            if rate is None or not rate.takes(frame):  # chained or spliced streams change their format on the way
                pieces += rate.rest() if rate is not None else []
                rate = ToRate(frame, rate_hz=SAMPLE_RATE_HZ)
            self._rate = rate if until is not None else None
            enough = None if until is None else max(0, until - position)
            for piece in pieces + rate.add(frame, enough=enough):
                yield position, piece
                position += len(piece)
        self._rate = None
        if rate is not None and position is not None:
            for piece in rate.rest():
                yield position, piece
                position += len(piece)

    def _first_frame_s(self) -> float:
        """Clock of the first sample that decodes, which is time 0: encoders start it off zero."""
        try:
            self._container.seek(0, backward=True)
            for packet in self._container.demux(self._stream):
                for frame in packet.decode():
                    if frame.pts is not None:
                        return float(frame.pts * frame.time_base)
        except av.error.FFmpegError:
            pass  # reading the window will say what is wrong
        return float((self._stream.start_time or 0) * self._stream.time_base)

    def _check_whole(self) -> None:
        announced = self.info.announced_s
        got_s = self.decoded_samples / SAMPLE_RATE_HZ
        if self.decoded_samples == 0:
            raise AudioError("no_samples", f"the {self.info.codec} stream decodes to nothing")
        if announced is not None and announced - got_s > 1.0 and got_s < WHOLE_SHARE * announced:
            raise AudioError("truncated", f"ends after {got_s:.1f} s of the {announced:.1f} s its headers announce")


def read_pcm(source: AudioSource, *, max_duration_s: float = math.inf) -> Pcm:
    """Decode a whole track.

    Returns
    -------
    ndarray
        Shape (samples,), int16, mono, 16 kHz.

    Raises
    ------
    AudioError
        As `AudioStream` and `AudioStream.blocks`.
    """
    with AudioStream(source, max_duration_s=max_duration_s) as stream:
        return np.concatenate(list(stream.blocks()))


def pcm_to_float(pcm: Pcm) -> npt.NDArray[np.float32]:
    """int16 samples as float32 in [-1, 1): what front ends take."""
    return np.multiply(pcm, 1.0 / 32768.0, dtype=np.float32)


def cut_segments(pcm: Pcm, *, continued: bool = False) -> Pcm:
    """Cut samples into 5 s segments, zeros after the last sample.

    Parameters
    ----------
    pcm
        Shape (samples,): a whole track or a block that starts on a segment's boundary.
    continued
        Whether segments of the same track came before.

    Returns
    -------
    ndarray
        Shape (`segment_count`, 80000), int16.
    """
    count = segment_count(len(pcm), continued=continued)
    if count * SEGMENT_SAMPLES == len(pcm):
        return pcm.reshape(count, SEGMENT_SAMPLES)
    out = np.zeros(count * SEGMENT_SAMPLES, dtype=np.int16)
    kept = min(len(pcm), len(out))
    out[:kept] = pcm[:kept]
    return out.reshape(count, SEGMENT_SAMPLES)


def _as_file(source: AudioSource) -> tuple[IO[bytes], bool]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source), True
    if isinstance(source, (str, PathLike)):
        return Path(source).open("rb"), True
    return source, False


def _describe(container: Any, stream: Any, file: IO[bytes]) -> StreamInfo:
    name = container.format.name
    by_ffmpeg: float | None = None
    if stream.duration is not None:
        by_ffmpeg = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        by_ffmpeg = container.duration / av.time_base
    announced = announced_seconds(file, container=name, by_ffmpeg=by_ffmpeg)
    return StreamInfo(
        container=name,
        codec=stream.codec_context.codec.canonical_name,
        sample_rate_hz=int(stream.codec_context.sample_rate or 0),
        channels=int(stream.codec_context.channels or 0),
        announced_s=announced if announced is not None and announced > 0 else None,
    )


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """Decoded frames from the present read position on; damaged packets are skipped, as players do."""
    failures, started = 0, False
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except MemoryError:
                raise
            except av.error.FFmpegError:
                failures += 1
                if failures >= 100 and not started:
                    raise
                continue
            started = started or bool(frames)
            yield from frames
    except MemoryError:
        raise
    except av.error.PatchWelcomeError as error:  # Ogg alone: FFmpeg would end here, and the rest go unheard
        raise AudioError("decode_failed", "a chain of streams whose format changes on the way") from error
    except av.error.FFmpegError as error:
        if not started:
            raise AudioError("decode_failed", f"nothing could be decoded: {reason_of(error)}") from error
