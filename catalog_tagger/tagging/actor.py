"""The tagging actor: one work shard in, one Parquet file per table out.

An actor owns one GPU where there are any, else a share of the CPUs. For a shard it fetches ahead,
keeps a bounded number of tracks being decoded in other processes, fills batches across tracks, and
at the end writes the shard's rows; only a small status row goes back to Ray Data.

Failure rule: whatever happens to a track, the shard has one row for it. A decoder that dies
quarantines its own track (``decoder_crashed``). A store that refuses access or cannot be written
ends the shard with an error in its status row, which stops the job; the shard then has no file and
is done again when the run is resumed.
"""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import ray.exceptions
import torch

from catalog_tagger.audio import SAMPLE_RATE_HZ, StreamInfo, cut_segments
from catalog_tagger.errors import AudioError, CatalogTaggerError, RunError
from catalog_tagger.resampling import Pcm
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import ShardSummary, write_shard
from catalog_tagger.tables.schemas import TABLES
from catalog_tagger.tagging.decoding import Started, decode_task
from catalog_tagger.tagging.encoded import Encoded
from catalog_tagger.tagging.fetching import fetch_all
from catalog_tagger.tagging.plan import read_shard_tracks
from catalog_tagger.tagging.progress import Reporter
from catalog_tagger.tagging.tagger import Scorer, TrackResult, make_result

#: what Ray raises for an item of a decoder whose process or node is gone
_CRASHES: Final = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.RayTaskError,
)


@dataclass(frozen=True, kw_only=True)
class ActorJob:
    """What an actor needs to know of the job."""

    run_id: str
    warehouse: str
    plan: str
    bundle_ids: tuple[str, ...]
    """What the driver planned with; an actor that loads anything else must not write."""
    bundles: tuple[str, ...]
    device: Literal["auto", "cpu", "gpu"]
    batch_segments: int | None
    tracks_in_flight: int
    max_duration_s: float
    decode_timeout_s: float
    """Most seconds for a minute of audio."""
    decode_memory_bytes: int
    roots: tuple[str, ...]


@dataclass(kw_only=True)
class _Track:
    """A track on its way through the actor."""

    row: dict[str, Any]
    info: StreamInfo | None = None
    n_samples: int = 0
    scores: list[npt.NDArray[np.float32]] = field(default_factory=list)
    unscored: int = 0
    ended: bool = False
    error: AudioError | None = None


class ShardTagger:
    """Callable of `ray.data.Dataset.map_batches`, one shard per call."""

    def __init__(self, job: ActorJob, board: Any) -> None:
        self.job = job
        # a core decodes and a core listens at about 1 000x real time each: share the cores between the two
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
        device = {"auto": None, "cpu": "cpu", "gpu": "cuda"}[job.device]
        self.scorer = Scorer(job.bundles, device=device, batch_segments=job.batch_segments)
        self.warehouse = Store(job.warehouse)
        if tuple(self.scorer.bundle_ids) != job.bundle_ids:
            mine, drivers = ", ".join(self.scorer.bundle_ids), ", ".join(job.bundle_ids)
            raise RunError(f"a node has {mine}, the driver {drivers}; install the same version on all nodes")
        self.reporter = Reporter(board=board)
        context = ray.get_runtime_context()
        gpus = ",".join(context.get_accelerator_ids().get("GPU", []))
        self.worker = f"{context.get_node_id()[:12]}/{os.getpid()}/{self.scorer.device.type}" + (
            f"/gpu{gpus}" if gpus else ""
        )

    def __call__(self, batch: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Tag the shard named in a batch of one row; the status row says what came of it."""
        shard, index = str(batch["shard"][0]), int(batch["index"][0])
        status: dict[str, Any] = {"shard": shard}
        try:
            tracks = read_shard_tracks(self.warehouse, self.job.plan, index, shard=shard)
            summary, tables = self._tag(shard, tracks)
            files = write_shard(self.warehouse, run_id=self.job.run_id, summary=summary, tables=tables)
            status |= {"summary": asdict(summary), "files": [asdict(file) for file in files]}
        except CatalogTaggerError as error:
            status["error"] = str(error)
        self.reporter.flush()
        return {"status": np.array([json.dumps(status)], dtype=object)}

    def _tag(self, shard: str, rows: list[dict[str, Any]]) -> tuple[ShardSummary, dict[str, pa.Table]]:
        built = _ShardRows(run_id=self.job.run_id, bundle_ids=self.scorer.bundle_ids)
        queue: deque[tuple[_Track, Pcm]] = deque()
        queued = 0
        for track, block in self._decoded(rows):
            if block is not None:
                segments = cut_segments(block, continued=track.n_samples > 0)
                track.n_samples += len(block)
                if len(segments):
                    queue.append((track, segments))
                    queued += len(segments)
                    track.unscored += len(segments)
                while queued >= self.scorer.batch_segments:
                    queued -= self._score(queue, built)
            if track.ended and track.unscored == 0:
                self._finish(track, built)
        while queue:
            self._score(queue, built)
        return built.summary(shard, worker=self.worker), built.tables()

    def _score(self, queue: deque[tuple[_Track, Pcm]], built: _ShardRows) -> int:
        """Score one batch from the front of the queue; returns its segments."""
        taken: list[tuple[_Track, Pcm]] = []
        room = self.scorer.batch_segments
        while queue and room:
            track, segments = queue.popleft()
            if len(segments) > room:
                queue.appendleft((track, segments[room:]))
                segments = segments[:room]
            taken.append((track, segments))
            room -= len(segments)
        scores = self.scorer.score(np.concatenate([segments for _, segments in taken]))
        at = 0
        for track, segments in taken:
            track.scores.append(scores[at : at + len(segments)])
            at += len(segments)
            track.unscored -= len(segments)
            if track.ended and track.unscored == 0:
                self._finish(track, built)
        return at

    def _finish(self, track: _Track, built: _ShardRows) -> None:
        built.add(track)
        size = track.row["size_bytes"] or 0
        self.reporter.add(quarantined=track.error is not None, size_bytes=size)

    def _decoded(self, rows: list[dict[str, Any]]) -> Iterator[tuple[_Track, Pcm | None]]:
        """Blocks of all tracks as they come; None when a track has ended."""
        fetched = fetch_all(rows)
        running: dict[Any, _Track] = {}
        more = True
        while more or running:
            while more and len(running) < self.job.tracks_in_flight:
                row, encoded = next(fetched, (None, None))
                if row is None or encoded is None:
                    more = False
                    break
                track = _Track(row=row)
                if isinstance(encoded, AudioError):
                    track.ended, track.error = True, encoded
                    yield track, None
                else:
                    running[self._start(encoded)] = track
            if not running:
                continue
            ready, _ = ray.wait(list(running), num_returns=1, fetch_local=False)
            for stream in ready:
                track = running[stream]
                block = _take(stream, track)
                if track.ended:
                    del running[stream]
                if block is not None:
                    self.reporter.heard(len(block) / SAMPLE_RATE_HZ)
                if block is not None or track.ended:
                    yield track, block

    def _start(self, encoded: Encoded) -> Any:
        return decode_task.remote(
            encoded, max_duration_s=self.job.max_duration_s, memory_bytes=self.job.decode_memory_bytes
        )


def _take(stream: Any, track: _Track) -> Pcm | None:
    """The next item of a decoder: a block is returned, anything else goes into the track."""
    try:
        item = ray.get(next(stream))
    except _CRASHES as error:
        track.ended = True
        track.error = AudioError("decoder_crashed", f"the decoding process died: {type(error).__name__}")
        return None
    if isinstance(item, Started):
        return None
    if isinstance(item, StreamInfo):
        track.info = item
        return None
    if isinstance(item, np.ndarray):
        return item
    track.ended, track.error = True, item
    return None


@dataclass(kw_only=True)
class _ShardRows:
    """The rows of a shard while it is being tagged."""

    run_id: str
    bundle_ids: list[str]
    tracks: list[dict[str, Any]] = field(default_factory=list)
    segments: list[pa.Table] = field(default_factory=list)

    def add(self, track: _Track) -> None:
        row: dict[str, Any] = {
            "track_id": track.row["track_id"],
            "run_id": self.run_id,
            "status": "tagged",
            "uri": track.row["uri"],
            "audio_etag": track.row["etag"],
            "size_bytes": track.row["size_bytes"],
            "bundles": self.bundle_ids,
            "tagged_at": datetime.now(timezone.utc),
        }
        if track.info is not None:
            row |= {"codec": track.info.codec, "channels": track.info.channels}
            row["sample_rate_hz"] = track.info.sample_rate_hz
        if track.error is not None:
            row |= {"status": "quarantined", "error_code": track.error.code, "error_message": str(track.error)}
        elif track.info is not None:
            result = make_result(track.info, track.n_samples, np.concatenate(track.scores))
            row |= {"duration_s": result.duration_s, "scanned_s": result.scanned_s, **asdict(result.verdict)}
            self.segments.append(self._segment_rows(track.row["track_id"], result))
        self.tracks.append(row)

    def _segment_rows(self, track_id: str, result: TrackResult) -> pa.Table:
        count = len(result.start_s)
        columns = {
            "track_id": pa.repeat(track_id, count),
            "run_id": pa.repeat(self.run_id, count),
            "start_s": pa.array(result.start_s),
            "end_s": pa.array(result.end_s),
            "p_speech": pa.array(result.p_speech),
            "p_music": pa.array(result.p_music),
        }
        return pa.table(columns, schema=TABLES["segments"])

    def tables(self) -> dict[str, pa.Table]:
        """Rows sorted by track, so that a retry writes the same file whatever order tracks ended in."""
        segments = pa.concat_tables([TABLES["segments"].empty_table(), *self.segments])
        tracks = pa.Table.from_pylist(self.tracks, schema=TABLES["tracks"])
        return {
            "tracks": tracks.sort_by("track_id"),
            "segments": segments.sort_by([("track_id", "ascending"), ("start_s", "ascending")]),
        }

    def summary(self, shard: str, *, worker: str) -> ShardSummary:
        codes = Counter(row["error_code"] for row in self.tracks if row["status"] == "quarantined")
        return ShardSummary(
            shard=shard,
            tracks=len(self.tracks),
            tagged=len(self.tracks) - codes.total(),
            quarantined=codes.total(),
            segments=sum(table.num_rows for table in self.segments),
            audio_s=sum(row.get("duration_s") or 0.0 for row in self.tracks),
            quarantined_by_code=dict(codes),
            worker=worker,
        )
