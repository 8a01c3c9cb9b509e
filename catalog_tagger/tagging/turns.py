"""Longer turns on a core for threads that compute.

More threads compute than there are cores, decoders and scoring threads of all actors, so that no core is idle while
one of them waits. What each has in its core's cache is lost at every turn of another: with the scheduler's own turns of
some 3 ms the whole job takes 1.05 times as long. Linux 6.12 and later let a thread ask for another length; Ray's
threads still come in time, since the scheduler goes by the nearest deadline, and theirs are short.

Failure rule: where the system knows nothing of it or refuses, turns stay as they are.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from typing import Final

_TURN_NS: Final = 100_000_000
#: numbers of the system call sched_setattr(2), for which Python has no function
_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
#: struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period, least and greatest utilisation
_ATTRIBUTES: Final = struct.Struct("=IIQiIQQQII")


def ask_for_long_turns() -> bool:
    """Ask for the calling thread; returns whether the system has taken it.

    A thread that somebody has put under another policy than the usual one (``SCHED_OTHER``) stays as it is.
    """
    if sys.platform != "linux" or platform.machine() not in _SCHED_SETATTR:
        return False
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    asked = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, _TURN_NS, 0, 0, 0, 0)
    return bool(ctypes.CDLL(None).syscall(_SCHED_SETATTR[platform.machine()], 0, asked, 0) == 0)
