"""Long turns are asked for by a thread alone, and stay what somebody else has chosen."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from catalog_tagger.tagging.turns import ask_for_long_turns

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="reads its turns by a system call of Linux"
)


def _attributes() -> tuple[int, int, int]:
    """(policy, nice, length of a turn in ns) of the calling thread, by sched_getattr(2)."""
    found = ctypes.create_string_buffer(56)
    assert ctypes.CDLL(None).syscall(315, 0, found, 56, 0) == 0
    _, policy, _, nice, _, turn_ns = struct.unpack_from("=IIQiIQ", found)
    return policy, nice, turn_ns


def _asked() -> tuple[bool, tuple[int, int, int], tuple[int, int, int]]:
    before = _attributes()
    return ask_for_long_turns(), before, _attributes()


def test_a_thread_asks_for_itself() -> None:
    own = _attributes()
    with ThreadPoolExecutor(1) as pool:
        taken, before, after = pool.submit(_asked).result()
    assert taken
    assert after[:2] == before[:2], "policy and nice value are what they were"
    if before[2]:  # older systems tell no length, and keep theirs
        assert after[2] > before[2]
    assert _attributes() == own


def _chosen() -> bool:
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    return ask_for_long_turns()


def test_a_policy_that_was_chosen_stays() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(_chosen).result()
        assert pool.submit(os.sched_getscheduler, 0).result() == os.SCHED_BATCH
