"""How every section measures: contenders in turn, round by round, on cores that are said.

A round goes through all contenders of a section, A B C A B C ..., so that a busy moment of the machine hits all
alike, and a ratio is taken within each round. A contender's first call pays for plans and caches and does not count;
a second one says how often it is called in a round to last `Settings.min_round_s`. Speed is seconds of audio per
second on the clock.

A contender that is not installed, or that fails at its first call, keeps the reason in place of figures.
Only torch is needed here: the sections for one device run on machines that have nothing else.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

_FLAGS: Final = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
_PACKAGES: Final = ("torch", "torchaudio", "numpy", "librosa", "nnaudio", "soundfile", "av", "torchcodec", "ray")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run of the suite was asked for."""

    rounds: int = 5
    threads: int = os.cpu_count() or 1
    """Cores that a section may use where it does not say otherwise."""
    min_round_s: float = 0.3
    """Shortest time of a measurement."""
    track_s: float = 240.0
    """Length of the files that are decoded."""
    hours: float = 2.0
    """Of the catalogue that is tagged whole."""
    distinct: int = 6
    """Different tracks in it; the others are copies of these."""

    def quick(self) -> Settings:
        """The same in little: whether everything runs, and no figures to keep."""
        return Settings(rounds=1, threads=self.threads, min_round_s=0.02, track_s=20.0, hours=0.05, distinct=3)


@dataclass
class Contender:
    """One way to do what others do too."""

    name: str
    audio_s: float
    """Seconds of audio in one call."""
    run: Callable[[], Any] | None = None
    reason: str = ""
    """Why there is no `run`."""
    speeds: list[float] = field(default_factory=list)
    """Seconds of audio per second, of each round."""


def made(name: str, audio_s: float, make: Callable[[], Callable[[], Any]]) -> Contender:
    """A contender whose `run` is what `make` returns, or the reason why it cannot be made here."""
    one = Contender(name, audio_s)
    try:
        one.run = make()
    except ImportError as error:
        one.reason = f"not installed: {_in_short(error)}"
    except Exception as error:  # noqa: BLE001  whatever a peer dies of is its row's reason
        one.reason = f"fails: {type(error).__name__}: {_in_short(error)}"
    return one


@torch.inference_mode()
def take_turns(contenders: Sequence[Contender], settings: Settings, *, wait: Callable[[], None] = lambda: None) -> None:
    """Fill `speeds` of all contenders.

    Parameters
    ----------
    wait
        Returns when all work that was begun is done, such as ``torch.cuda.synchronize``.
    """
    repeats: dict[int, int] = {}
    for one in contenders:
        if one.run is None:
            continue
        try:
            _timed(one.run, 1, wait)
            repeats[id(one)] = max(1, round(settings.min_round_s / _timed(one.run, 1, wait)))
        except Exception as error:  # noqa: BLE001  whatever a peer dies of is its row's reason
            one.run, one.reason = None, f"fails: {type(error).__name__}: {_in_short(error)}"
    for number in range(settings.rounds):
        for one in contenders:
            if one.run is not None:
                times = repeats[id(one)]
                one.speeds.append(one.audio_s * times / _timed(one.run, times, wait))
        print(f"round {number + 1} of {settings.rounds}", end="\r", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def _timed(run: Callable[[], Any], times: int, wait: Callable[[], None]) -> float:
    wait()
    begun = time.perf_counter()
    for _ in range(times):
        run()
    wait()
    return time.perf_counter() - begun


def _in_short(error: Exception) -> str:
    return re.sub(r" (object )?at 0x[0-9a-f]+", "", " ".join(str(error).split()))[:90]


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Keep this process's threads, those of BLAS too, on the first `count` cores, where the system can."""
    threads = torch.get_num_threads()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    _pin(set(sorted(cores)[:count]))
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _pin(cores)


def _pin(cores: set[int]) -> None:
    if cores:
        for task in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # it has ended
                os.sched_setaffinity(int(task.name), cores)


def environment(settings: Settings) -> dict[str, Any]:
    """Where the figures were taken."""
    info: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            info.setdefault(key.strip(), value.strip())
    flags = set(info.get("flags", info.get("Features", "")).split())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "cpu": info.get("model name", platform.processor() or platform.machine()),
        "cores": cores,
        "instructions": [flag for flag in _FLAGS if flag in flags],
        "torch_threads": settings.threads,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": versions,
    }
