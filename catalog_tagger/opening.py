"""Opening hostile bytes with FFmpeg: what it may try, and for how long.

- It reads a Python file object and never opens a name; the file's own name is not known to it either. No protocol is
  allowed, so that nothing a file refers to, a playlist's entries or a QuickTime file's external media, is opened.
- The demuxer must be in `CONTAINERS` and the decoder in `CODECS`, whatever the file is called. Both lists hold for
  what FFmpeg opens while it probes, too; cover pictures and other streams are left alone.
- ID3v2 tags at the start are stepped over. Nothing in them is needed, and FFmpeg looks each of their fields up among
  all before it: 200 000 of them, 5 MB, took 500 s.
- Probing ends by FFmpeg's own bounds, at 5 MB or 5 s of audio. Headers are read whole before that, however many
  boxes they are made of. After `MOST_CPU_S` of this thread nothing more is read, which ends it at the next 64 KiB.
"""

from __future__ import annotations

import errno
import io
import time
from typing import IO, Any, Final

import av
import av.error

from catalog_tagger.errors import AudioError
from catalog_tagger.resampling import require_sane

#: FFmpeg's demuxers that may open a track.
CONTAINERS: Final = ("mp3", "aac", "mov", "flac", "ogg", "wav", "w64", "aiff", "asf")
#: FFmpeg's decoders that may run; anything else in the file, cover pictures too, is left alone.
CODECS: Final = (
    *("mp1float", "mp2float", "mp3float", "mp1", "mp2", "mp3", "aac", "aac_fixed", "alac", "flac", "vorbis", "opus"),
    *("libopus", "wmav1", "wmav2", "wmapro", "wmalossless", "wmavoice", "adpcm_ms", "adpcm_ima_wav"),
    *("pcm_mulaw", "pcm_alaw", "pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be"),
    *("pcm_s32le", "pcm_s32be", "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be"),
)
#: headers of honest files of a day are read in a tenth of a second
MOST_CPU_S: Final = 10.0

_READ_BYTES: Final = 1 << 16
_MOST_TAGS: Final = 16
#: beyond a file's end a 32-bit length may lead, and every store takes it
_FARTHEST_BEYOND: Final = 2**32


def open_container(file: IO[bytes], *, size_bytes: int) -> tuple[Any, Any]:
    """Open a file and its first audio stream; gives the container and the stream.

    Raises
    ------
    AudioError
        Codes ``empty``, ``not_audio``, ``no_audio_stream``, ``unsupported_codec``, ``truncated`` (an MP4 file
        without its index), ``decoder_timeout``.
    MemoryError
        Also from FFmpeg.
    """
    if size_bytes == 0:
        raise AudioError("empty", "the file has no bytes")
    view = _View(file, start=_end_of_tags(file, size_bytes), size_bytes=size_bytes)
    # protocol_whitelist must name something to be honoured; no protocol has this name
    options = {
        "format_whitelist": ",".join(CONTAINERS),
        "codec_whitelist": ",".join(CODECS),
        "protocol_whitelist": "none",
    }
    try:
        container = av.open(
            view, mode="r", container_options=options, metadata_errors="replace", buffer_size=_READ_BYTES
        )
    except MemoryError:
        raise
    except (av.error.FFmpegError, ValueError) as error:
        file.seek(0)
        if file.read(8)[4:] == b"ftyp":
            raise AudioError("truncated", f"an MP4 file of {size_bytes} bytes without its index (moov)") from error
        raise AudioError(
            "not_audio", f"{size_bytes} bytes, but no allowed audio container: {reason_of(error)}"
        ) from error
    view.opened = True
    try:
        return container, _audio_stream(container)
    except AudioError:
        container.close()
        raise


def _audio_stream(container: Any) -> Any:
    if not container.streams.audio:
        raise AudioError("no_audio_stream", f"a {container.format.name} file without an audio stream")
    stream = container.streams.audio[0]
    codec = stream.codec_context
    if codec is None or codec.name not in CODECS:
        raise AudioError("unsupported_codec", f"codec {codec.name if codec else 'unknown'!r} is not allowed")
    require_sane(codec.sample_rate or 0, codec.channels or 0)
    codec.thread_count = 1  # one process decodes one track; more threads only contend
    return stream


def reason_of(error: Exception) -> str:
    """FFmpeg's reason alone: its messages carry the name of the file object."""
    return str(getattr(error, "strerror", None) or error).split("; ", maxsplit=1)[0]


def _end_of_tags(file: IO[bytes], size_bytes: int) -> int:
    """Where the ID3v2 tags at the start end; 0 where they would be all of the file."""
    end = 0
    for _ in range(_MOST_TAGS):
        file.seek(end)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 0x7F:
            break
        footer = 10 if head[5] & 0x10 else 0
        end += 10 + footer + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    return end if end < size_bytes else 0


class _View:
    """A file from a point on, as FFmpeg sees it; while it is being opened it can be read only for so long."""

    def __init__(self, file: IO[bytes], *, start: int, size_bytes: int) -> None:
        self._file, self._start, self._size = file, start, size_bytes
        self._since_s = time.thread_time()
        self.opened = False
        file.seek(start)

    def read(self, size: int) -> bytes:
        if not self.opened and time.thread_time() - self._since_s > MOST_CPU_S:
            raise AudioError("decoder_timeout", f"the headers take more than {MOST_CPU_S:.0f} s to read")
        return self._file.read(size)

    def seek(self, to: int, whence: int = io.SEEK_SET) -> int:
        target = to + self._start
        if whence != io.SEEK_SET:
            target = to + (self._size if whence == io.SEEK_END else self._file.tell())
        if not self._start <= target <= self._size + _FARTHEST_BEYOND:
            return -errno.EINVAL  # damaged offsets lead anywhere; raising would blame the store
        return self._file.seek(target) - self._start

    def tell(self) -> int:
        return self._file.tell() - self._start
