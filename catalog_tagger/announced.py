"""How long a file says it is, where that can be trusted.

FFmpeg always has a duration, but for MP3 without a frame count and for raw AAC it is a guess from
the first frames' bit rate, and for WAV it may be cut to the bytes that are there. Truncation is
judged by what the headers themselves promise:

- MP3: FFmpeg's figure where the first frame carries a Xing, Info or VBRI header; unknown where it does
  not, or where more bytes follow than it counts (files end to end, a large tag), since FFmpeg guesses then;
- raw AAC (ADTS): unknown;
- WAV: size of the data chunk in blocks of the format; unknown where a live recording left it open. The byte rate
  that stands beside is what an encoder was asked for, and may lie;
- WMA: play duration less preroll of its file properties; unknown in a broadcast. FFmpeg's own figure is
  made from the bytes that are there;
- all others: FFmpeg's figure. Ogg and W64 files that were cut short announce only what is left.
"""

from __future__ import annotations

import io
import struct
from typing import IO, Final

#: PCM, floating point, A-law, mu-law, and the extensible form, which says more after these fields
_PCM_TAGS: Final = (0x0001, 0x0003, 0x0006, 0x0007, 0xFFFE)
_ADPCM_TAGS: Final = (0x0002, 0x0011)
_ASF_FILE_PROPERTIES: Final = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def announced_seconds(file: IO[bytes], *, container: str, by_ffmpeg: float | None) -> float | None:
    """Duration that the headers promise, or None; the file's position is kept.

    Parameters
    ----------
    container
        FFmpeg's name of the demuxer.
    by_ffmpeg
        FFmpeg's own figure in seconds.
    """
    here = file.tell()
    try:
        if container == "wav":
            return _riff_seconds(file)
        if container == "asf":
            return _asf_seconds(file)
        if container == "aac" or (container == "mp3" and not _has_frame_count(file)):
            return None
        return by_ffmpeg
    finally:
        file.seek(here)


def _has_frame_count(file: IO[bytes]) -> bool:
    """Whether an MP3 file's first frame, past its ID3v2 tag, carries a frame count that FFmpeg goes by."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(10)
    skip = 0
    if head[:3] == b"ID3" and len(head) == 10:
        skip = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    file.seek(skip)
    first = file.read(4096)
    for tag in (b"Xing", b"Info", b"VBRI"):
        at = first.find(tag)
        if at < 0:
            continue
        if tag == b"VBRI":
            counted = int.from_bytes(first[at + 10 : at + 14], "big")
        else:
            flags = int.from_bytes(first[at + 4 : at + 8], "big")
            place = at + 8 + 4 * (flags & 1)
            counted = int.from_bytes(first[place : place + 4], "big") if flags & 2 else 0
        return counted == 0 or size - skip <= counted + counted // 16  # FFmpeg's own bound
    return False


def _riff_seconds(file: IO[bytes]) -> float | None:
    """Duration by the fmt and data chunks of a RIFF file; None where they leave it open."""
    file.seek(12)
    bytes_per_s = 0.0
    for _ in range(64):
        head = file.read(8)
        if len(head) < 8:
            return None
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"data":
            return size / bytes_per_s if bytes_per_s and 0 < size < 2**32 - 2**16 else None
        start = file.tell()
        if head[:4] == b"fmt ":
            bytes_per_s = _bytes_per_s(file.read(min(size, 20)))
        file.seek(start + size + size % 2)
    return None


def _bytes_per_s(layout: bytes) -> float:
    """Bytes of a second by the start of a fmt chunk; 0 where it does not say."""
    if len(layout) < 16:
        return 0.0
    tag, _, rate_hz, byte_rate, align, _ = struct.unpack("<HHIIHH", layout[:16])
    if tag in _ADPCM_TAGS:
        samples = int.from_bytes(layout[18:20], "little")  # of a block
        return float(rate_hz * align / samples) if samples else 0.0
    return float(rate_hz * align if tag in _PCM_TAGS else byte_rate)


def _asf_seconds(file: IO[bytes]) -> float | None:
    """Duration by the file properties object of a WMA file, which lies near its start."""
    file.seek(0)
    head = file.read(1 << 16)
    at = head.find(_ASF_FILE_PROPERTIES)
    fields = head[at + 64 : at + 92]  # after its GUID, size, file id, file size, time and packet count
    if at < 0 or len(fields) < 28 or fields[24] & 1:
        return None
    play_100ns, preroll_ms = (int.from_bytes(fields[i : i + 8], "little") for i in (0, 16))
    return play_100ns / 1e7 - preroll_ms / 1e3
