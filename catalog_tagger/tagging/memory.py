"""A limit on the memory that decoding may take, kept by the kernel.

The limit is `RLIMIT_DATA`, since Linux 4.7 all private writable memory of a process: it is set to what the
process has plus what decoding may add, for as long as FFmpeg works on a file, and put back whenever an item goes
out, so that Ray, which lives in the same process, is hardly ever the one that is refused. An allocation beyond it
fails: `MemoryError` from Python and numpy, ENOMEM from FFmpeg. `RLIMIT_AS` would not do: a Ray worker maps the
whole object store. Memory counts when it is asked for, touched or not, so a length field that asks for gigabytes
fails at once.

Other systems have no such limit; there nothing is set.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar

_IS_LINUX: Final = sys.platform.startswith("linux")
_Item = TypeVar("_Item")


def within(memory_bytes: int | None, items: Iterator[_Item]) -> Iterator[_Item]:
    """The same items, each made under the limit and handed out without it.

    Parameters
    ----------
    memory_bytes
        What making them may take beyond what the process has now; None: no limit.
    """
    if memory_bytes is None or not _IS_LINUX:
        yield from items
        return
    ceiling = data_bytes() + memory_bytes
    while True:
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        lowest = min(limit for limit in (ceiling, soft, hard) if limit != resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_DATA, (lowest, hard))
        try:
            item = next(items)
        except StopIteration:
            return
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        yield item


def data_bytes() -> int:
    """Private writable memory of this process, touched or not: what `RLIMIT_DATA` counts."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
