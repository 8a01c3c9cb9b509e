"""Whether a file or an object is still the one that was listed.

What was planned from a listing (the places of a tar's members) holds for the bytes that were listed and
for no others; an etag tells them apart.
"""

from __future__ import annotations

import os
from typing import Final

#: how every message about it ends
CHANGED: Final = "changed since it was listed or first read; run the job again"


def file_etag(stat: os.stat_result) -> str:
    """What stands for S3's ETag where there is none: size and modification time in nanoseconds, in hexadecimal."""
    return f"{stat.st_size:x}-{stat.st_mtime_ns:x}"
