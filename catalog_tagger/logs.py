"""Structured logs: one JSON object a line, with the run, the shard and the track that it is about.

    {"at": "2026-11-29T20:31:05.123+00:00", "event": "track_quarantined", "run_id": "...", "shard": "...",
     "track_id": "...", "code": "truncated", "message": "...", "pid": 71}

Tagging actors write to standard error, which Ray keeps in its worker logs. Drivers write where ``CATALOG_TAGGER_LOG``
says: to a file, or for ``-`` to standard error; unset, nowhere, since people read their progress instead.

Events: ``run_begun``, ``run_committed``, ``run_failed``; ``shard_begun``, ``shard_written``, ``shard_failed``;
``track_quarantined``; ``actor_failed``.

Failure rule: a log that cannot be written is no reason to end: the line is lost.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

VARIABLE: Final = "CATALOG_TAGGER_LOG"
_lock = threading.Lock()


class Log:
    """Where a process writes its events, with what all of them are about."""

    def __init__(self, write: Callable[[str], object] | None, **about: object) -> None:
        self._write = write
        self._about = about

    def event(self, name: str, **about: object) -> None:
        """Write one line; what is None is left out."""
        if self._write is None:
            return
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        said = {"at": now, "event": name, **self._about, **about, "pid": os.getpid()}
        line = json.dumps({key: value for key, value in said.items() if value is not None}, default=str)
        try:
            with _lock:
                self._write(f"{line}\n")
        except (OSError, ValueError):
            self._write = None


def actor_log(**about: object) -> Log:
    """Of a process that Ray started: to its standard error."""
    return Log(_to_standard_error, **about)


def driver_log(**about: object) -> Log:
    """Of a process that a person or a scheduler started: where `VARIABLE` says."""
    place = os.environ.get(VARIABLE)
    if not place:
        return Log(None, **about)
    return Log(_to_standard_error if place == "-" else _Appended(place), **about)


def _to_standard_error(line: str) -> None:
    sys.stderr.write(line)
    sys.stderr.flush()


class _Appended:
    """A file that several processes may write lines to."""

    def __init__(self, place: str) -> None:
        self._place = Path(place).expanduser()

    def __call__(self, line: str) -> None:
        with self._place.open("a", encoding="utf-8") as file:
            file.write(line)
