"""The parts that audio files are made of: chunks, boxes, pages, blocks, objects, frames.

Mutations that know them reach deeper than random bytes do: a length field set to its extreme, a chunk twice, a page
whose checksum is right again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_MOST_PARTS = 400
_MP4_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf", b"udta", b"moof", b"traf", b"mvex", b"edts")
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part, from `start` to `end`, and where its length stands (None: nowhere)."""

    start: int
    end: int
    length_at: int | None = None
    length_bytes: int = 4
    byte_order: str = "little"


def parts_of(container: str, data: bytes) -> list[Part]:
    """The parts of a good file, at most 400; parts may lie within parts."""
    found = []
    for part in _READERS[container](data):
        if part.end <= part.start or len(found) == _MOST_PARTS:
            break
        found.append(part)
    return found


def _riff(data: bytes) -> Iterator[Part]:
    yield Part(start=0, end=12, length_at=4)
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        yield Part(start=at, end=min(at + 8 + size + size % 2, len(data)), length_at=at + 4)
        at += 8 + size + size % 2


def _aiff(data: bytes) -> Iterator[Part]:
    yield Part(start=0, end=12, length_at=4, byte_order="big")
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "big")
        yield Part(start=at, end=min(at + 8 + size + size % 2, len(data)), length_at=at + 4, byte_order="big")
        at += 8 + size + size % 2


def _w64(data: bytes) -> Iterator[Part]:
    yield Part(start=0, end=40, length_at=16, length_bytes=8)
    at = 40
    while at + 24 <= len(data):
        size = max(24, int.from_bytes(data[at + 16 : at + 24], "little"))
        yield Part(start=at, end=min(at + size, len(data)), length_at=at + 16, length_bytes=8)
        at += size + -size % 8


def _mp4(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Part]:
    at, end = start, len(data) if end is None else end
    while at + 8 <= end:
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if size < 8:
            return
        yield Part(start=at, end=min(at + size, end), length_at=at, byte_order="big")
        if kind in _MP4_PARENTS:
            yield from _mp4(data, at + 8, min(at + size, end))
        elif kind in (b"stts", b"stsc", b"stsz", b"stco", b"stsd", b"elst", b"trun"):  # their counts of entries
            count_at = at + (16 if kind == b"stsz" else 12)
            yield Part(start=at, end=min(at + size, end), length_at=count_at, byte_order="big")
        at += size


def _ogg(data: bytes) -> Iterator[Part]:
    at = data.find(b"OggS")
    while 0 <= at < len(data) - 27:
        count = data[at + 26]
        size = 27 + count + sum(data[at + 27 : at + 27 + count])
        yield Part(start=at, end=min(at + size, len(data)), length_at=at + 26, length_bytes=1)
        at += size


def _flac(data: bytes) -> Iterator[Part]:
    at = 4
    while at + 4 <= len(data) and data[at] != 0xFF:
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        yield Part(start=at, end=min(at + 4 + size, len(data)), length_at=at + 1, length_bytes=3, byte_order="big")
        at += 4 + size
    yield from _frames(data, at, b"\xff\xf8")


def _mpeg(data: bytes) -> Iterator[Part]:
    start = data.find(b"\xff\xfb") if b"\xff\xfb" in data[:8192] else data.find(b"\xff")
    if data[:3] == b"ID3":
        yield Part(start=0, end=max(start, 10), length_at=6, byte_order="big")
    yield from _frames(data, max(start, 0), data[start : start + 2])


def _frames(data: bytes, at: int, sync: bytes) -> Iterator[Part]:
    while 0 <= at < len(data):
        after = data.find(sync, at + 8)
        end = after if after > 0 else len(data)
        yield Part(start=at, end=end, length_at=at + 3, length_bytes=2, byte_order="big")
        at = end


def _asf(data: bytes) -> Iterator[Part]:
    at = 0
    while at + 24 <= len(data):
        size = int.from_bytes(data[at + 16 : at + 24], "little")
        yield Part(start=at, end=min(at + max(size, 24), len(data)), length_at=at + 16, length_bytes=8)
        at += 30 if data[at : at + 16] == _ASF_HEADER else max(size, 24)


_READERS: dict[str, Callable[[bytes], Iterator[Part]]] = {
    "wav": _riff,
    "aiff": _aiff,
    "w64": _w64,
    "mp4": _mp4,
    "ogg": _ogg,
    "flac": _flac,
    "mp3": _mpeg,
    "aac": _mpeg,
    "asf": _asf,
}

_CRC = [0] * 256
for _byte in range(256):
    _crc = _byte << 24
    for _ in range(8):
        _crc = ((_crc << 1) ^ 0x04C11DB7 if _crc & 0x80000000 else _crc << 1) & 0xFFFFFFFF
    _CRC[_byte] = _crc


def with_right_checksums(data: bytes) -> bytes:
    """An Ogg file whose pages have the checksums of what they hold now: without it damage is only skipped."""
    out = bytearray(data)
    for part in parts_of("ogg", data):
        if part.end - part.start < 27:
            continue
        out[part.start + 22 : part.start + 26] = bytes(4)
        crc = 0
        for byte in out[part.start : part.end]:
            crc = (crc << 8 & 0xFFFFFFFF) ^ _CRC[crc >> 24 ^ byte]
        out[part.start + 22 : part.start + 26] = struct.pack("<I", crc)
    return bytes(out)
