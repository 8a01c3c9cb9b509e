"""How far a run has come: actors report to one small board, the driver looks at it.

The board is a Ray actor without resources. Reports are sent without waiting and at most twice a
second per actor; when a board is lost the display stops moving and the run goes on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final

REPORT_EVERY_S: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A run at one moment; what a resumed run found finished is counted in."""

    run_id: str
    tracks: int
    tracks_total: int
    quarantined: int
    audio_s: float
    """Audio tagged since this process started."""
    size_bytes: int
    size_bytes_total: int
    resumed_bytes: int
    elapsed_s: float

    @property
    def times_real_time(self) -> float:
        """Seconds of audio per second, since this process started."""
        return self.audio_s / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Expected seconds to the end, by the bytes that are left; None before there is a rate."""
        done = self.size_bytes - self.resumed_bytes
        if done <= 0 or self.elapsed_s <= 0:
            return None
        return (self.size_bytes_total - self.size_bytes) * self.elapsed_s / done


@dataclass(kw_only=True)
class Counts:
    """What an actor has done since its last report."""

    tracks: int = 0
    quarantined: int = 0
    audio_s: float = 0.0
    size_bytes: int = 0


class _Board:
    """The sum of all reports."""

    def __init__(self) -> None:
        self._total = Counts()

    def add(self, counts: Counts) -> None:
        for name, value in vars(counts).items():
            setattr(self._total, name, getattr(self._total, name) + value)

    def total(self) -> Counts:
        return self._total


def make_board() -> Any:
    """A new board; keep the handle as long as it is needed."""
    import ray  # here, so that showing progress does not need it

    return ray.remote(num_cpus=0, max_restarts=0)(_Board).remote()


@dataclass(kw_only=True)
class Reporter:
    """An actor's way to the board."""

    board: Any
    _held: Counts = field(default_factory=Counts)
    _sent_at: float = 0.0

    def add(self, *, quarantined: bool, size_bytes: int) -> None:
        """Count one finished track."""
        self._held.tracks += 1
        self._held.quarantined += quarantined
        self._held.size_bytes += size_bytes
        self.heard(0.0)

    def heard(self, audio_s: float) -> None:
        """Count audio of a track that is still under way."""
        self._held.audio_s += audio_s
        if time.monotonic() - self._sent_at >= REPORT_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Send what is held."""
        if self.board is not None:
            self.board.add.remote(self._held)
        self._held, self._sent_at = Counts(), time.monotonic()
