"""What tagging counts for Ray's metrics, which Prometheus scrapes from every node (``ray_`` comes before each name).

=====================================  =========  ==================================================================
``catalog_tagger_tracks``              counter    tracks that ended; ``status``, and of quarantined ones ``code``
``catalog_tagger_audio_seconds``       counter    seconds of audio that models heard
``catalog_tagger_audio_bytes``         counter    encoded bytes of the tracks that ended
``catalog_tagger_stage_seconds``       histogram  time of a ``stage``: fetch (a read), decode (a track, or a look at
                                                  it), score (a batch), write (a shard's files)
``catalog_tagger_queue``               gauge      what waits in an actor: ``queue`` decoding (tracks), scoring
                                                  (segments)
``catalog_tagger_shards``              counter    shards by ``outcome``: written, failed, given_up
=====================================  =========  ==================================================================

All carry ``run_id``. Ray prunes what a process had when it ends, so counters are rates, and a run's sums are in its
manifest.

Failure rule: Ray drops what it cannot deliver, and nobody waits for it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from catalog_tagger import tracing

TRACKS: Final = "catalog_tagger_tracks"
AUDIO_SECONDS: Final = "catalog_tagger_audio_seconds"
AUDIO_BYTES: Final = "catalog_tagger_audio_bytes"
STAGE_SECONDS: Final = "catalog_tagger_stage_seconds"
QUEUE: Final = "catalog_tagger_queue"
SHARDS: Final = "catalog_tagger_shards"
NAMES: Final = (TRACKS, AUDIO_SECONDS, AUDIO_BYTES, STAGE_SECONDS, QUEUE, SHARDS)

_BOUNDARIES_S: Final = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]


class TaggingMetrics:
    """The metrics of one process."""

    def __init__(self, run_id: str) -> None:
        from ray.util.metrics import Counter, Gauge, Histogram

        self._run = {"run_id": run_id}
        self._tracks = Counter(TRACKS, "tracks that ended", ("run_id", "status", "code"))
        self._seconds = Counter(AUDIO_SECONDS, "seconds of audio that models heard", ("run_id",))
        self._bytes = Counter(AUDIO_BYTES, "encoded bytes of the tracks that ended", ("run_id",))
        self._queue = Gauge(QUEUE, "what waits in an actor", ("run_id", "queue"))
        self._shards = Counter(SHARDS, "shards by what came of them", ("run_id", "outcome"))
        self._stages = Histogram(STAGE_SECONDS, "time of a stage", _BOUNDARIES_S, ("run_id", "stage"))
        tracing.observe(self.stage)

    def track(self, *, code: str | None, heard_s: float, size_bytes: int) -> None:
        """A track has ended; `code` where it is quarantined."""
        status = "tagged" if code is None else "quarantined"
        self._tracks.inc(1, {**self._run, "status": status, "code": code or ""})
        for counter, value in ((self._seconds, heard_s), (self._bytes, float(size_bytes))):
            if value > 0:
                counter.inc(value, self._run)

    def stage(self, kind: str, seconds: float) -> None:
        """A span of `tracing` has ended."""
        self._stages.observe(seconds, {**self._run, "stage": kind})

    def waiting(self, **queues: int) -> None:
        """How much waits in each queue."""
        for name, length in queues.items():
            self._queue.set(length, {**self._run, "queue": name})

    def shard(self, outcome: str) -> None:
        """A shard, or a part of one, has ended."""
        self._shards.inc(1, {**self._run, "outcome": outcome})


@lru_cache(maxsize=1)
def observed(run_id: str) -> TaggingMetrics:
    """The metrics of this process for a run, made once: a name registered twice is an error of Ray's."""
    return TaggingMetrics(run_id)
