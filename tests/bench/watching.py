"""A job in a process of its own, watched from outside: its time, its first result, all its processes' CPU and memory.

CPU seconds are what all processes below the job have used when they are last seen, once a second, so that up to a
second of one that ends is missed. Memory is proportional (PSS: shared pages count once), the peak of the sum.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench_memory import memory
from processes import descendants

_LOOK_EVERY_S: Final = 0.05
_COUNT_EVERY_S: Final = 1.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Watched:
    """What came of a job."""

    output: str
    wall_s: float
    cpu_s: float
    peak_bytes: int
    first_s: float | None
    """From its start until its first result was there; None where none was looked for or found."""


def watch(command: Sequence[str], *, appeared: Callable[[], bool] | None = None, ends: Sequence[int] = (0,)) -> Watched:
    """Run a command to its end.

    Parameters
    ----------
    appeared
        Whether the first result is there, asked twenty times a second.
    ends
        Exit codes that are no failure.

    Raises
    ------
    RuntimeError
        The command fails; its last words are in the message.
    """
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    used: dict[str, float] = {}
    peak, first, counted = 0, None, -_COUNT_EVERY_S
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:  # a pipe that nobody reads would fill
        begun = time.perf_counter()
        job = subprocess.Popen(command, stdout=output, stderr=errors, env=environment)
        while job.poll() is None:
            now = time.perf_counter() - begun
            if first is None and appeared is not None and appeared():
                first = now
            if now - counted >= _COUNT_EVERY_S:
                counted = now
                peak = max(peak, _count([job.pid, *descendants(job.pid)], used))
            time.sleep(_LOOK_EVERY_S)
        wall = time.perf_counter() - begun
        output.seek(0)
        errors.seek(0)
        if job.returncode not in ends:
            raise RuntimeError(f"{' '.join(command)} ended with {job.returncode}: {errors.read().strip()[-500:]}")
        return Watched(output.read(), wall, sum(used.values()), peak, first)


def cpu_s(pid: int) -> tuple[str, float]:
    """(Start of a process, seconds of CPU that it has used); ids are given out again."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return f"{pid}/{fields[19]}", (int(fields[11]) + int(fields[12])) / _TICKS


def _count(pids: Sequence[int], used: dict[str, float]) -> int:
    """Note what each process has used so far; returns their memory together."""
    total = 0
    for pid in pids:
        total += memory(pid, "smaps_rollup", "Pss")
        try:
            process, seconds = cpu_s(pid)
        except OSError:
            continue  # it has ended
        used[process] = seconds
    return total
