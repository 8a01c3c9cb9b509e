"""Whether a file or an object is still the one that was listed.

What was planned from a listing (the places of a tar's members) holds for the bytes that were listed and
for no others; an etag tells them apart.
"""

from __future__ import annotations

import os
from typing import Final

#: how every message about it ends
CHANGED: Final = "changed since it was listed or first read; run the job again"


def member_etag(tar: str, offset: int, size_bytes: int) -> str:
    """Of a member of a tar: the tar's own, and the member's place in it."""
    return f"{tar}:{offset:x}+{size_bytes:x}"


def member_place(etag: str) -> tuple[str, int, int] | None:
    """(The tar's etag, offset, bytes) that a member's says; None where it is somebody else's."""
    tar, _, place = etag.rpartition(":")
    try:
        offset, size_bytes = (int(number, 16) for number in place.split("+"))
    except ValueError:
        return None
    return (tar, offset, size_bytes) if member_etag(tar, offset, size_bytes) == etag else None


def file_etag(stat: os.stat_result) -> str:
    """What stands for S3's ETag where there is none: size and modification time in nanoseconds, in hexadecimal."""
    return f"{stat.st_size:x}-{stat.st_mtime_ns:x}"
