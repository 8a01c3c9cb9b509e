"""Ways to break a file; everything is decided by the dice that are handed in."""

from __future__ import annotations

import io
import random
import tarfile
import zipfile
from collections.abc import Callable, Sequence

from fuzz_seeds import Seed
from fuzz_structure import parts_of, with_right_checksums

_EXTREMES = (0, 1, 2, 7, 2**15, 2**16 - 1, 2**24 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
#: after these little of a file is looked at
_SHALLOW = {"beheaded", "before", "wrapped", "headers_alone"}
_SUFFIXES = (".mp3", ".m4a", ".flac", ".ogg", ".opus", ".wav", ".wma", ".aiff", ".aac", ".w64")
_PAGE = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>\n"


def mutate(seed: Seed, seeds: Sequence[Seed], dice: random.Random) -> tuple[str, str, bytes]:
    """A broken version of a seed: the names of what was done to it, its suffix, its bytes."""
    data, suffix, done = seed.data, seed.suffix, []
    ways = list(_WAYS) if dice.random() < 0.4 else sorted(_WAYS.keys() - _SHALLOW)
    for name in dice.sample(ways, dice.choice((1, 1, 1, 2, 3))):
        data = _WAYS[name](data, seed, seeds, dice)
        done.append(name)
    if seed.container == "ogg" and dice.random() < 0.6:
        data = with_right_checksums(data)
    if dice.random() < 0.1:
        suffix = dice.choice(_SUFFIXES)
        done.append("suffix")
    return "+".join(done), suffix, data


def _place(data: bytes, dice: random.Random) -> int:
    """Headers are where the arithmetic is: half of all places lie in the first kilobyte."""
    return dice.randrange(max(1, min(len(data), dice.choice((64, 1024, len(data), len(data))))))


def _bits(data: bytes, seed: Seed, seeds: Sequence[Seed], dice: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(dice.choice((1, 3, 20, 300)) if out else 0):
        out[_place(data, dice)] ^= 1 << dice.randrange(8)
    return bytes(out)


def _run(data: bytes, seed: Seed, seeds: Sequence[Seed], dice: random.Random) -> bytes:
    at, size = _place(data, dice), dice.choice((1, 4, 8, 64, 1024, 20000))
    kind = dice.randrange(4)
    fill = dice.randbytes(size) if kind == 0 else bytes([(0, 0xFF, 0x7F)[kind - 1]]) * size
    return data[:at] + fill + data[at + size :]


def _cut(data: bytes, seed: Seed, seeds: Sequence[Seed], dice: random.Random) -> bytes:
    return data[: dice.choice((0, 1, 11, 44, 512)) if dice.random() < 0.2 else dice.randrange(len(data) + 1)]


def _beheaded(data: bytes, seed: Seed, seeds: Sequence[Seed], dice: random.Random) -> bytes:
    return data[_place(data, dice) :]


def _splice(data: bytes, seed: Seed, seeds: Sequence[Seed], dice: random.Random) -> bytes:
    other = dice.choice(seeds).data
    return data[: dice.randrange(len(data) + 1)] + other[dice.randrange(len(other)) :]


def _end_to_end(data: bytes, seed: Seed, seeds: Sequence[Seed], dice: random.Random) -> bytes:
    return data + dice.choice(seeds).data


def _length(data: bytes, seed: Seed, seeds: Sequence[Seed], dice: random.Random) -> bytes:
    out = bytearray(data)
    fields = [part for part in parts_of(seed.container, data) if part.length_at is not None]
    for part in dice.sample(fields, min(len(fields), dice.choice((1, 1, 2, 5)))):
        assert part.length_at is not None
        size = part.length_bytes
        value = dice.choice(_EXTREMES) % 2 ** (8 * size)
        order = "big" if part.byte_order == "big" else "little"
        out[part.length_at : part.length_at + size] = value.to_bytes(size, order)
    return bytes(out[: len(data) + 8])


def _without_part(data: bytes, seed: Seed, seeds: Sequence[Seed], dice: random.Random) -> bytes:
    parts = parts_of(seed.container, data)
    if not parts:
        return data
    part = dice.choice(parts)
    return data[: part.start] + data[part.end :]


def _part_again(data: bytes, seed: Seed, seeds: Sequence[Seed], dice: random.Random) -> bytes:
    parts = parts_of(seed.container, data)
    if not parts:
        return data
    part, before = dice.choice(parts), dice.choice(parts)
    copies = data[part.start : part.end][:65536] * dice.choice((1, 2, 50))
    return data[: before.start] + copies + data[before.start :]


def _parts_swapped(data: bytes, seed: Seed, seeds: Sequence[Seed], dice: random.Random) -> bytes:
    parts = parts_of(seed.container, data)
    if len(parts) < 2:
        return data
    one, other = sorted(dice.sample(parts, 2), key=lambda part: part.start)
    if one.end > other.start:
        return data[one.start : one.end] + data
    pieces = (data[: one.start], data[other.start : other.end], data[one.end : other.start])
    return b"".join(pieces) + data[one.start : one.end] + data[other.end :]


def _headers_alone(data: bytes, seed: Seed, seeds: Sequence[Seed], dice: random.Random) -> bytes:
    parts = parts_of(seed.container, data)
    return data[: parts[min(len(parts) - 1, dice.randrange(1, 6))].start + dice.choice((0, 8, 24))] if parts else data


def _before(data: bytes, seed: Seed, seeds: Sequence[Seed], dice: random.Random) -> bytes:
    return dice.choice((bytes, dice.randbytes))(dice.choice((1, 100, 5000, 70000))) + data


def _after(data: bytes, seed: Seed, seeds: Sequence[Seed], dice: random.Random) -> bytes:
    return data + dice.choice((bytes, dice.randbytes))(dice.choice((1, 100, 5000, 200000)))


def _wrapped(data: bytes, seed: Seed, seeds: Sequence[Seed], dice: random.Random) -> bytes:
    buffer = io.BytesIO()
    match dice.randrange(3):
        case 0:
            with zipfile.ZipFile(buffer, "w") as archive:
                archive.writestr(zipfile.ZipInfo("a"), data)
        case 1:
            with tarfile.open(fileobj=buffer, mode="w") as tar:
                member = tarfile.TarInfo("a")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        case _:
            buffer.write(_PAGE * dice.choice((1, 50)) + data)
    return buffer.getvalue()


_WAYS: dict[str, Callable[[bytes, Seed, Sequence[Seed], random.Random], bytes]] = {
    "bits": _bits,
    "run": _run,
    "cut": _cut,
    "beheaded": _beheaded,
    "splice": _splice,
    "end_to_end": _end_to_end,
    "length": _length,
    "more_lengths": _length,
    "without_part": _without_part,
    "part_again": _part_again,
    "parts_swapped": _parts_swapped,
    "headers_alone": _headers_alone,
    "before": _before,
    "after": _after,
    "wrapped": _wrapped,
}
